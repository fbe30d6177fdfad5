"""bench xen in dom0: a link on a vif, and the kernel's netfront used by AF_PACKET.

Two vifs of dom0 to itself are made, both served by the kernel's netback. Python is
the front end of one; the other's is xen-netfront, whose interface the same Python uses
as ``packet:IF``. Both ends are on one machine, and who generates or counts is the same
for both. TCP is the kernel's, from another namespace by a TAP that Python joins with
the link, to the address of netback's interface.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import attrs

from rumphyper.errors import UnsupportedError
from rumphyper.host.netns import within
from rumphyper.link import Link, open_link
from rumphyper.net.pinger import Pinger
from rumphyper.net.stack import Stack
from rumphyper.xen import Xenstore, domain_kind
from rumphyper.xen.operations import Operations

from .harness import Row, interleave, skipped

CASES = ("ping", "send 32", "receive 32", "tcp")
OURS, THEIRS = 10, 11
"""Handles of the two vifs, and third octets of their networks."""
NETNS = "rhbench"
PORT = 7002
PEER = "netfront by AF_PACKET"
FRONT, BACK = "/local/domain/0/device/vif", "/local/domain/0/backend/vif/0"


@attrs.frozen
class Side:
    """One of the vifs: Python's link, and the interface of the kernel's netback."""

    link: Link
    number: int

    @property
    def there(self) -> str:
        return f"10.99.{self.number}.1"

    @property
    def here(self) -> str:
        return f"10.99.{self.number}.2"

    @property
    def interface(self) -> str:
        return f"vif0.{self.number}"


def links(quick: bool) -> Iterator[Row]:
    """Yield a row for each of `CASES`."""
    why = _lack()
    if why:
        for case in CASES:
            yield skipped("xen", case, why)
        return
    with contextlib.ExitStack() as stack:
        ours, theirs = _sides(stack)
        runs = 5 if quick else 15
        for case, unit, more, work in (
            ("ping", "us", False, _ping),
            ("send 32", "frames/s", True, _send),
            ("receive 32", "frames/s", True, _receive),
            ("tcp", "MB/s", True, _tcp),
        ):
            yield interleave(
                "xen",
                case,
                unit,
                lambda work=work: work(ours),  # type: ignore[misc]
                PEER,
                lambda work=work: work(theirs),  # type: ignore[misc]
                runs,
                more_is_better=more,
            )


def _lack() -> str:
    """Why there can be no links here."""
    if domain_kind() != "dom0" or os.geteuid():
        return "needs root in Xen's dom0"
    for bus, module in (("xen", "xen-netfront"), ("xen-backend", "xen-netback")):
        if not Path(f"/sys/bus/{bus}/drivers/vif").exists():
            return f"needs the module {module}"
    return "" if shutil.which("ip") else "needs the command ip"


def _sides(stack: contextlib.ExitStack) -> tuple[Side, Side]:
    """Both vifs, connected and with addresses."""
    for number in (OURS, THEIRS):
        stack.enter_context(_vif(number))
    with Xenstore() as store:
        states = [f"{BACK}/{number}/state" for number in (OURS, THEIRS)]
        _until(lambda: all(store.get(path) == "4" for path in states))
    Path("/sys/bus/xen/drivers/vif/unbind").write_text(f"vif-{OURS}")
    (interface,) = Path(f"/sys/bus/xen/devices/vif-{THEIRS}/net").iterdir()
    _quiet(interface.name)
    _ip("link", "set", interface.name, "up")
    front = stack.enter_context(open_link(f"xen:vif/{OURS}"))
    peer = stack.enter_context(open_link(f"packet:{interface.name}"))
    sides = Side(front, OURS), Side(peer, THEIRS)
    for side in sides:
        _quiet(side.interface)
        _ip("addr", "add", f"{side.there}/24", "dev", side.interface)
        _ip("link", "set", side.interface, "up")
    _ip("netns", "add", NETNS)
    stack.callback(_ip, "netns", "del", NETNS)
    _until(lambda: all(_ping(side, 1) for side in sides))
    return sides


@contextlib.contextmanager
def _vif(handle: int) -> Iterator[None]:
    """The keys that a toolstack writes for a vif between dom0 and itself."""
    front, back = f"{FRONT}/{handle}", f"{BACK}/{handle}"
    both = {"mac": f"00:16:3e:00:10:{handle:02x}", "handle": f"{handle}", "state": "1"}
    ours = {"frontend": front, "frontend-id": "0", "online": "1", "script": "none"}
    ours["hotplug-status"] = "connected"
    theirs = {"backend": back, "backend-id": "0"}

    def write(inside: Operations) -> None:
        for folder, keys in ((back, ours), (front, theirs)):
            for key, value in {**keys, **both}.items():
                inside.write(f"{folder}/{key}", value)

    with Xenstore() as store:
        store.transact(write)
        try:
            yield
        finally:
            store.write(f"{back}/online", 0)
            store.remove(front)
            store.remove(back)


def _until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        if time.monotonic() > end:
            raise UnsupportedError("bench xen", "the vifs do not connect", "see dmesg")
        time.sleep(0.05)


def _quiet(interface: str) -> None:
    """Keep IPv6 from sending frames of its own."""
    path = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if path.exists():
        path.write_text("1")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _ping(side: Side, count: int = 100) -> float:
    """Microseconds of a round trip of 1,400 octets to the kernel, on average."""
    stack = Stack(side.link.mac, [IPv4Interface(f"{side.here}/24")], [])
    target = IPv4Address(side.there)
    pinger = Pinger(stack, target, size=1400, count=count, interval=0, timeout=5)
    while (deadline := pinger.deadline()) is not None:
        side.link.send(pinger.poll(time.monotonic()))
        left = max(0.0, deadline - time.monotonic())
        for frame in side.link.recv(timeout=left):
            side.link.send(pinger.input(frame, time.monotonic()))
    return (pinger.summary().average or 0) * 1e6


def _frame(target: bytes, source: bytes) -> bytes:
    return target + source + b"\x88\xb5" + bytes(1500)


COUNT = 3200
BATCH = 32


def _send(side: Side) -> float:
    """Frames a second until all have arrived at netback's interface."""
    counter = Path(f"/sys/class/net/{side.interface}/statistics/rx_packets")
    frames = [_frame(b"\xff" * 6, side.link.mac)] * BATCH
    begin = int(counter.read_text())
    start = time.perf_counter()
    for _ in range(COUNT // BATCH):
        left = frames
        while left:
            left = left[side.link.send(left) :]
    while int(counter.read_text()) - begin < COUNT:
        if time.perf_counter() - start > 30:
            raise UnsupportedError("bench xen", "frames were lost", "see dmesg")
    return COUNT / (time.perf_counter() - start)


def _receive(side: Side) -> float:
    """Frames a second that are sent by AF_PACKET at netback's end, and arrive."""
    with open_link(f"packet:{side.interface}") as source:
        frames = [_frame(side.link.mac, b"\2\0\0\0\0\1")] * BATCH
        while side.link.recv(timeout=0):
            pass
        got = 0
        start = time.perf_counter()
        for _ in range(COUNT // BATCH):
            left = frames
            while left:
                left = left[source.send(left) :]
            want = got + BATCH
            while got < want:
                some = side.link.recv(timeout=5)
                if not some:
                    raise UnsupportedError("bench xen", "frames were lost", "see dmesg")
                got += sum(len(frame) == 1514 for frame in some)
        return got / (time.perf_counter() - start)


OCTETS = 4_000_000


def _tcp(side: Side) -> float:
    """Megabytes a second from another namespace to netback's address."""
    with (
        open_link("tap:rhbench0", netns=NETNS) as tap,
        socket.create_server((side.there, PORT)) as listener,
    ):
        inside = ("netns", "exec", NETNS, "ip")
        _ip(*inside, "link", "set", "rhbench0", "address", side.link.mac.hex(":"), "up")
        _ip(*inside, "addr", "add", f"{side.here}/24", "dev", "rhbench0")
        over = threading.Event()
        mover = threading.Thread(target=_move, args=(side.link, tap, over))
        mover.start()
        try:
            address = side.there, PORT
            client = within(NETNS, lambda: socket.create_connection(address, 30))
            server, _ = listener.accept()
            with client, server:
                start = time.perf_counter()
                sender = threading.Thread(target=client.sendall, args=(bytes(OCTETS),))
                sender.start()
                left = OCTETS
                while left:
                    left -= len(server.recv(1 << 18))
                seconds = time.perf_counter() - start
                sender.join()
        finally:
            over.set()
            mover.join()
    return OCTETS / seconds / 1e6


def _move(link: Link, tap: Link, over: threading.Event) -> None:
    """Move frames both ways."""
    while not over.is_set():
        select.select([link, tap], [], [], 0.1)
        for source, target in ((link, tap), (tap, link)):
            left = source.recv(timeout=0)
            while left and not over.is_set():
                left = left[target.send(left) :]
