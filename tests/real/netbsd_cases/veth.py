"""NetBSD on an interface of the host, and Linux behind the wire."""

from __future__ import annotations

import threading
from typing import Any

from tests.link.veth_support import host
from tests.real.rump import boot

OCTETS = 2_000_000

STREAM = """
import socket, sys
with socket.create_connection(("10.9.0.2", 5001), timeout=40) as end:
    end.sendall(b"x" * int(sys.argv[1]))
    end.shutdown(socket.SHUT_WR)
    back = 0
    while part := end.recv(65536):
        assert not part.strip(b"x")
        back += len(part)
print(back)
"""


def over_a_veth(kind: str) -> dict[str, Any]:
    """Pings, and a stream of TCP that NetBSD sends back."""
    with host("near", "eth0", ["10.9.0.1/24"]) as linux:
        if kind == "xdp":  # which sees frames before their checksums are made
            linux.run("ethtool", "-K", "eth0", "tx", "off")
        kernel = boot()
        virt0 = kernel.create_interface("virt0", f"{kind}:near")
        virt0.add_address("10.9.0.2/24")
        virt0.up()
        pings = linux.run("ping", "-c3", "-i0.05", "-W5", "10.9.0.2")
        server = kernel.socket()
        server.bind(("10.9.0.2", 5001))
        server.listen(1)

        def serve() -> None:
            end, _ = server.accept()
            whole = b"".join(iter(lambda: end.recv(65536), b""))
            end.sendall(whole)
            end.close()

        thread = threading.Thread(target=serve)
        thread.start()
        client = linux.python(STREAM, str(OCTETS))
        output, errors = client.communicate(timeout=50)
        thread.join(10)
        server.close()
        kernel.close()
        return {"pings": "3 received" in pings, "back": output, "errors": errors}
