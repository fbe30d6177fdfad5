"""Fetch a page through NetBSD's TCP/IP stack.

Python's own HTTP client, on a socket of the kernel in this process:

    sudo ip tuntap add tap0 mode tap user $USER
    sudo ip addr add 10.0.0.1/24 dev tap0 && sudo ip link set tap0 up
    python3 -m http.server --bind 10.0.0.1 8000 &
    rumphyper run -i virt0=tap:tap0,10.0.0.2/24 \\
        examples/http_get.py http://10.0.0.1:8000/
"""

from __future__ import annotations

import http.client
import sys
from typing import Any, cast
from urllib.parse import urlsplit

import rumphyper


class Connection(http.client.HTTPConnection):
    """An HTTP connection that NetBSD makes."""

    def connect(self) -> None:
        kernel = rumphyper.current_kernel()
        sock = kernel.create_connection((self.host, self.port), 10)
        self.sock = cast(Any, sock)  # it has all of socket.socket's methods


def main() -> int:
    url = urlsplit(sys.argv[1])
    connection = Connection(url.hostname or "", url.port or 80)
    connection.request("GET", url.path or "/", headers={"Accept": "*/*"})
    response = connection.getresponse()
    print(response.status, response.reason, file=sys.stderr)
    while data := response.read(65536):
        sys.stdout.buffer.write(data)
    connection.close()
    return 0 if response.status < 400 else 1


if __name__ == "__main__":
    sys.exit(main())
