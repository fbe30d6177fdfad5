"""Hosts for the tests of the bridge: network namespaces that talk to each other."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator

import attrs

from rumphyper.host.netif import Netif
from rumphyper.host.netns import within
from tests.judges import tool
from tests.link.tap_support import ip
from tests.namespace import other_namespace

PORT = 5001


@attrs.frozen
class Host:
    """A network namespace, by the process that lives in it."""

    pid: int
    address: str
    stop: int
    """What the process waits for."""

    @classmethod
    def born(cls, address: str) -> Host:
        """A new one, without any interface yet."""
        pid, stop = other_namespace()
        return cls(pid, address, stop)

    def die(self) -> None:
        """End it; the kernel deletes what interfaces it had."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.stop)

    def take(self, interface: str, name: str = "eth0") -> None:
        """Move an interface of this namespace into the host, with its address."""
        ip("link", "set", interface, "netns", str(self.pid), "name", name)
        with Netif(self.pid) as netif:
            # The same address each time: ARP would remember the one before.
            netif.set_mac(name, b"\2\0" + socket.inet_aton(self.address))
            netif.add_address(name, f"{self.address}/24")
            netif.set_up(name)

    def command(self, *words: str) -> list[str]:
        """The words that run a command there."""
        return [tool("nsenter"), "-t", str(self.pid), "-n", *words]

    def answers(self, other: Host, count: int, seconds: int = 20) -> int:
        """How many pings of ``count`` or more the other host answers in time."""
        limits = ("-c", str(count), "-w", str(seconds), "-i", "0.05")
        words = ("ping", *limits, other.address)
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False
        )
        found = re.search(r" (\d+) received", done.stdout)
        assert found is not None, done
        return int(found[1])


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts; whoever replaces one in the list has ended it."""
    made: list[Host] = []
    try:
        for number in range(count):
            made.append(Host.born(f"10.78.0.{number + 1}"))
        yield made
    finally:
        for host in made:
            host.die()


def move_tcp(source: Host, target: Host, size: int = 1 << 18) -> None:
    """Send octets from one host to the other by TCP; they arrive as they were."""
    octets = random.Random(source.pid).randbytes(size)
    got = hashlib.sha256()
    with within(target.pid, socket.socket) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.settimeout(20)
        server.bind((target.address, PORT))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(20)
                while part := peer.recv(1 << 16):
                    got.update(part)

        thread = threading.Thread(target=serve)
        thread.start()
        with within(source.pid, socket.socket) as client:
            client.settimeout(20)
            client.connect((target.address, PORT))
            client.sendall(octets)
        thread.join(20)
    assert got.digest() == hashlib.sha256(octets).digest()
