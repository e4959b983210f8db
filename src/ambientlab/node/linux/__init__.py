"""How Linux runs the node: the only package with system calls and netlink.

`launch` makes the process tree, `zygote` forks what runs in it, `rootfs` builds what a container sees, `runtime` drives
both from asyncio; `netlink`, `links` and `nft` speak to the kernel's network; `capture` holds the in-pod mesh rules;
`support` says whether a machine can do all this.
"""
