"""Sockets that servers listen on. They run on their own, outside the package."""

import os
import socket


def listeners(port: int) -> list[socket.socket]:
    """One for each family of IP that the kernel has, so that a client's address is what it is and no mixture. Raises
    OSError if the port cannot be had."""
    found = [socket.create_server(("0.0.0.0", port), backlog=1024)]
    if os.path.exists("/proc/net/if_inet6"):
        found.append(socket.create_server(("::", port), family=socket.AF_INET6, backlog=1024))
    return found
