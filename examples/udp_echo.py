"""A UDP echo server on NetBSD's stack: sends back what it gets.

    rumphyper run -i virt0=tap:tap0,10.0.0.2/24 examples/udp_echo.py 7
    echo hello | nc -u -w1 10.0.0.2 7

The port is the argument; Ctrl-C ends it with what the interfaces have carried.
"""

from __future__ import annotations

import socket
import sys

import rumphyper


def main() -> None:
    kernel = rumphyper.current_kernel()
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        port = int(sys.argv[1]) if len(sys.argv) > 1 else 7
        server.bind(("", port))
        print("echo on port", port, flush=True)
        while True:
            data, sender = server.recvfrom(65535)
            server.sendto(data, sender)


if __name__ == "__main__":
    main()
