"""httpbin behind gunicorn: `httpbin_server.py IMPORT_DIRECTORY... -- [arguments of the image's own server]`.

It runs on its own, outside the package. One worker with a few threads: memory counts more than throughput here, and
gunicorn's thread worker is the one that keeps connections of a proxy open.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs.listening import listeners
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from listening import listeners


def listen_port(arguments: list[str], default: str) -> int:
    """The port from gunicorn's `-b HOST:PORT` or go-httpbin's `-port PORT`, which people put into manifests."""
    port = default
    pairs = iter(arguments)
    for argument in pairs:
        name, equals, value = argument.partition("=")
        if name in ("-b", "--bind", "-port", "--port"):
            port = (value if equals else next(pairs, "")).rpartition(":")[2]
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        sys.exit(f"httpbin: {port!r} is not a port to listen on")
    return int(port)


def main() -> None:
    split = sys.argv.index("--")
    sys.path += sys.argv[1:split]
    port = listen_port(sys.argv[split + 1 :], os.environ.get("PORT", "8080"))

    import logging  # noqa: PLC0415

    logging.disable(logging.WARNING)  # httpbin warns at import of an optional page it can do without
    from gunicorn.app.base import BaseApplication  # noqa: PLC0415
    from httpbin import app  # noqa: PLC0415

    logging.disable(logging.NOTSET)

    listening = listeners(port)

    class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
        def load_config(self) -> None:
            settings = {
                "bind": [f"fd://{listener.fileno()}" for listener in listening],
                "worker_class": "gthread",
                "threads": 4,
                "keepalive": 75,
                "preload_app": True,
                "accesslog": "-",
                "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
                "proc_name": "httpbin",
                "control_socket_disable": True,
            }
            for key, value in settings.items():
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self) -> object:
            return app

    Server().run()


if __name__ == "__main__":
    main()
