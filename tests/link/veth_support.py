"""Pairs of virtual interfaces, and hosts of their own behind them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from rumphyper.errors import LinkClosedError, LinkEndedError
from rumphyper.host.ifreq import IFF_RUNNING
from rumphyper.host.netif import Netif
from rumphyper.link import Link
from tests.judges import tool
from tests.link.tap_support import ip, until
from tests.namespace import other_namespace


def veth(near: str = "near", far: str = "far", *, queues: int = 1) -> None:
    """A pair of interfaces that are up; what one sends the other receives."""
    many = ("numrxqueues", str(queues), "numtxqueues", str(queues))
    ip("link", "add", near, *many, "type", "veth", "peer", "name", far, *many)
    for name in (near, far):
        ip("link", "set", name, "up")
    running(near, far)


def running(*names: str) -> None:
    """Wait until the kernel has noticed that both ends of a pair are up.

    It does so some time after, and before that drops what is sent by a queue.
    """
    with Netif() as netif:
        assert until(lambda: all(netif.flags(n) & IFF_RUNNING for n in names))
    time.sleep(0.01)  # the flag is set a little before the queue is


class Host:
    """A network namespace of its own, by the id of the process that keeps it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *words: str) -> str:
        """What a command there says. Raises CalledProcessError."""
        command = [tool("nsenter"), "-t", str(self.pid), "-n", *words]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=50
        )
        return done.stdout

    def python(self, code: str, *words: str) -> subprocess.Popen[str]:
        """A Python program there."""
        command = [tool("nsenter"), "-t", str(self.pid), "-n", sys.executable]
        return subprocess.Popen(
            [*command, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextlib.contextmanager
def host(near: str, far: str, addresses: Sequence[str]) -> Iterator[Host]:
    """A host whose interface ``far`` is the other end of our ``near``."""
    pid, stop = other_namespace()
    there = Host(pid)
    try:
        if not any(":" in address for address in addresses):
            quiet = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
            there.run("sh", "-c", f"test ! -e {quiet} || echo 1 > {quiet}")
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", str(pid))
        for address in addresses:
            more = ("nodad",) if ":" in address else ()
            there.run("ip", "address", "add", address, "dev", far, *more)
        there.run("ip", "link", "set", far, "up")
        ip("link", "set", near, "up")
        running(near)
        yield there
    finally:
        os.close(stop)
        os.waitpid(pid, 0)


def cross(one: Link, two: Link, capture: Link | None = None) -> list[threading.Thread]:
    """Hand on whatever arrives on either link to the other, until both close.

    All of it also goes to ``capture``.
    """

    def carry(source: Link, target: Link) -> None:
        try:
            while True:
                frames = list(source.recv())
                if capture is not None:
                    capture.send(frames)
                while frames:
                    frames = frames[target.send(frames) :]
        except (LinkClosedError, LinkEndedError):
            pass

    carriers = [
        threading.Thread(target=carry, args=ends) for ends in ((one, two), (two, one))
    ]
    for carrier in carriers:
        carrier.start()
    return carriers


SERVE = """
import hashlib, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 5001), family=family) as server:
    print("ready", flush=True)
    end, _ = server.accept()
    with end:
        seen = hashlib.sha256()
        while part := end.recv(65536):
            seen.update(part)
        end.sendall(seen.digest())
"""

STREAM = """
import hashlib, random, socket, sys
data = random.Random(7).randbytes(int(sys.argv[2]))
with socket.create_connection((sys.argv[1], 5001), timeout=40) as end:
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)
    answer = b""
    while part := end.recv(64):
        answer += part
print(answer == hashlib.sha256(data).digest())
"""


def tcp_arrives(one: Host, two: Host, address: str, octets: int = 4_000_000) -> None:
    """A stream of TCP from ``one`` to ``address`` of ``two``, and what it says back.

    Both ends are the kernel's own.
    """
    server = two.python(SERVE, address)
    with server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            client = one.python(STREAM, address, str(octets))
            output, errors = client.communicate(timeout=50)
            assert (output, errors) == ("True\n", "")
        finally:
            server.kill()
