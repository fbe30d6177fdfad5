"""Xen's back end in Python: against a front end in Python, and the kernel's."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, LinkError, RumphyperError
from rumphyper.link import Link, open_link
from rumphyper.link.xen import XenBack, XenFront
from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.ring import netif_abi as abi
from rumphyper.xen import Xenstore
from rumphyper.xen.errors import XenstoreGoneError
from rumphyper.xen.nodes import SOCKETS
from tests.vm.xen_support import (
    FRONT,
    LINUX,
    PYTHON,
    address,
    answering,
    error_of,
    eventually,
    linux_pings,
    load,
    pair,
    part,
    run,
    serving,
    tables,
    unload,
    vif,
)

pytestmark = pytest.mark.vm("xen", timeout=60)


@pytest.fixture(autouse=True)
def drivers() -> None:
    """The kernel has no driver for either end."""
    unload("xen-netfront")
    unload("xen-netback")


def mixed(count: int, most: int) -> list[bytes]:
    source = random.Random(count)
    octets = source.randbytes(2 * most)
    sizes = [14, most, *(source.randint(14, most) for _ in range(count - 2))]
    return [octets[size : 2 * size].ljust(size, b"x") for size in sizes]


def carried(source: Link, target: Link, frames: list[bytes]) -> list[bytes]:
    """What arrives of frames, as many at once as there is room for."""
    got: list[bytes] = []
    sent = 0
    while len(got) < len(frames):
        sent += source.send(frames[sent:])
        some = target.recv(timeout=5)
        assert some
        got += some
    return got


@pytest.mark.parametrize(
    ("mtu", "options"), [(1500, {}), (1500, {"split": False}), (9000, {"tx_slots": 18})]
)
def test_frames_pass_between_two_pythons(mtu: int, options: dict[str, int]) -> None:
    frames = mixed(300, mtu + 14)
    with pair(mtu=mtu, **options) as (front, back):
        assert carried(front, back, frames) == frames
        assert carried(back, front, frames) == frames
        for link in (front, back):
            assert link.counters.sent == link.counters.received == 300
            assert link.counters.sent_bytes == sum(map(len, frames))
            assert link.counters.dropped == 0
    with Xenstore() as store:
        assert store.get(f"{FRONT}/5") is None  # made and removed by the back end
    assert tables()[0] == 0


def test_front_ends_come_and_go_and_so_do_back_ends() -> None:
    frames = mixed(20, 100)
    before = tables()
    with vif():
        for _ in range(3):
            back = open_link("xen:back/0/0")
            assert isinstance(back, XenBack)
            for _ in range(2):
                with serving(back), open_link("xen:vif/0") as front:
                    assert carried(front, back, frames) == frames
                    assert carried(back, front, frames) == frames
                    assert isinstance(front, XenFront)
                    part(front, back)
            assert back.connects == 2
            back.close()
    eventually(lambda: tables() == before)


def test_a_front_end_that_was_killed_does_no_harm() -> None:
    with open_link("xen:back/0/5") as back:
        assert isinstance(back, XenBack)
        case = [sys.executable, "-m", "tests.vm.xen_cases", "hold", "xen:vif/5"]
        with subprocess.Popen(case, stdout=subprocess.PIPE) as process:
            with serving(back):
                pass
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            process.kill()
        back.send([bytes(60)] * 3)
        with answering(back), open_link("xen:vif/5") as front:
            assert front.send([bytes(60)]) == 1
            eventually(lambda: back.counters.received == 1)
    assert tables()[0] == 0


# -- the kernel's front end ---------------------------------------------------------


@pytest.fixture
def served() -> Iterator[XenBack]:
    """A back end whose front end is Linux's, with an address."""
    with open_link("xen:back/0/0") as back:
        assert isinstance(back, XenBack)
        with serving(back):
            load("xen-netfront")
        (interface,) = Path("/sys/bus/xen/devices/vif-0/net").iterdir()
        address(interface.name, f"{LINUX}/24")
        yield back


def test_linux_netfront_pings_a_back_end_in_python(served: XenBack) -> None:
    with answering(served):
        for size in (64, 1472):
            assert linux_pings(100, size)
    assert served.counters.dropped == 0


def test_checksums_that_netfront_leaves_out_are_filled_in(served: XenBack) -> None:
    run("ip", "neigh", "add", PYTHON, "lladdr", served.mac.hex(":"), "dev", "eth0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"odd number of octets!", (PYTHON, 99))
        frame = b""
        while frame[23:24] != b"\x11" or frame[12:14] != b"\x08\x00":
            (frame,) = served.recv(1, timeout=10)
    source, target, datagram = frame[26:30], frame[30:34], frame[34:]
    assert checksum(pseudo_header(source, target, 17, len(datagram)) + datagram) == 0


# -- a hostile other side ------------------------------------------------------------

Break = Callable[[XenFront, XenBack], None]


def poke(way: str, offset: int, form: str, *values: int) -> Break:
    """Write to a ring page, by the back end's mapping."""

    def work(front: XenFront, back: XenBack) -> None:
        rings = back._rings
        assert rings is not None
        ring = {"tx": rings._tx, "rx": rings._rx}[way].ring  # type: ignore[attr-defined]
        struct.pack_into(form, ring._octets, offset, *values)

    return work


def received(number: int, offset: int, flags: int, size: int) -> Break:
    """A response on the receive ring."""

    def work(front: XenFront, back: XenBack) -> None:
        poke("rx", abi.ENTRIES, "=HHHh", number, offset, flags, size)(front, back)
        poke("rx", abi.RSP_PROD, "=I", 1)(front, back)

    return work


AGAINST_FRONT = {
    "an index beyond the ring": (
        poke("rx", abi.RSP_PROD, "=I", 999),
        "rx: rsp_prod is 999: at most 256",
    ),
    "an id not in flight": (received(999, 0, 0, 60), "id of a response is 999"),
    "past the page": (received(0, 4000, 0, 200), r"offset \+ size is 4000 \+ 200"),
    "an unknown flag's meaning": (received(0, 0, 8, 60), "flags is 0x8"),
}


@pytest.mark.parametrize("name", AGAINST_FRONT)
def test_a_hostile_back_end_ends_the_front_end_alone(name: str) -> None:
    work, named = AGAINST_FRONT[name]
    with pair() as (front, back):
        work(front, back)
        for _ in range(2):  # and it stays so
            with pytest.raises(CorruptError, match=f"xen:vif/5.*{named}"):
                front.recv(timeout=0)
        with pytest.raises(CorruptError, match=named):
            front.send([bytes(60)])
        assert not front.connected
        with Xenstore() as store:
            assert store.read(f"{FRONT}/5/state") == "6"
    assert tables()[0] == 0  # kept while the other side had them mapped


def test_a_response_twice_ends_the_front_end() -> None:
    with pair() as (front, back):
        front.send([bytes(60)] * 2)
        assert len(back.recv(timeout=5)) == 2
        poke("tx", abi.ENTRIES + abi.TX_ENTRY, "=Hh", 0, 0)(front, back)
        with pytest.raises(CorruptError, match="id of a response is 0"):
            front.send([bytes(60)])
        with pytest.raises(CorruptError):
            front.recv(timeout=0)


def test_a_hostile_front_end_ends_the_back_end_or_loses_its_frame() -> None:
    with pair() as (front, back):
        # A page that is not granted: that frame is lost, and nothing else.
        poke("tx", abi.ENTRIES, "=IHHHH", 0xFFFFFF, 0, 0, 0, 60)(front, back)
        poke("tx", abi.REQ_PROD, "=I", 1)(front, back)
        assert back.recv(timeout=0) == []
        assert back.counters.dropped == 1
        poke("tx", abi.ENTRIES + 12, "=IHHHH", 1, 4090, 0, 0, 60)(front, back)
        poke("tx", abi.REQ_PROD, "=I", 2)(front, back)
        with pytest.raises(CorruptError, match=r"offset \+ size is 4090 \+ 60"):
            back.recv(timeout=0)
        with pytest.raises(CorruptError):
            back.send([bytes(60)])
        front.recv(timeout=0)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("state", "77", "state: 77 is more than 8"),
        ("state", "four", "state: 'four' is not a number"),
    ],
)
def test_a_state_that_does_not_exist_ends_a_link(
    key: str, value: str, named: str
) -> None:
    with pair() as (front, back):
        run("xenstore-write", f"{back.own}/{key}", value)
        with pytest.raises(CorruptError, match=named):
            error_of(front)
        assert not front.connected


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"tx-ring-ref": "x", "rx-ring-ref": "1"}, "tx-ring-ref: 'x' is not a number"),
        ({"tx-ring-ref": "1"}, "rx-ring-ref: the key is missing"),
        ({"tx-ring-ref": "1", "rx-ring-ref": "99999999999"}, "is more than"),
        ({"tx-ring-ref": "1", "rx-ring-ref": "2"}, "event-channel: the key is missing"),
        ({"request-rx-copy": "0"}, "the front end wants pages"),
        (
            {"tx-ring-ref": "100", "rx-ring-ref": "200", "event-channel": "3"},
            "grants 100, 200 of domain 0",
        ),
    ],
)
def test_keys_that_make_no_sense_end_a_back_end(
    keys: dict[str, str], named: str
) -> None:
    with vif(), open_link("xen:back/0/0") as back:
        assert isinstance(back, XenBack)
        back.recv(timeout=0)
        with Xenstore() as store:
            for key, value in {"request-rx-copy": "1", **keys, "state": "4"}.items():
                store.write(f"{FRONT}/0/{key}", value)
        with pytest.raises(RumphyperError, match=named):
            back.start(20)
        assert not back.connected


def test_a_back_end_without_copies_is_refused() -> None:
    with vif():
        run("xenstore-write", "/local/domain/0/backend/vif/0/0/state", "2")
        with pytest.raises(LinkError, match="feature-rx-copy"):
            open_link("xen:vif/0")


@contextlib.contextmanager
def proxy(path: str) -> Iterator[Callable[[], None]]:
    """A socket at ``path`` before xenstored's; what is yielded lets it die."""
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as real,
    ):
        listener.bind(path)
        listener.listen()
        real.connect(SOCKETS[0])
        client = socket.socket(socket.AF_UNIX)

        def pump(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while octets := source.recv(4096):
                    target.sendall(octets)

        def serve() -> None:
            nonlocal client
            client, _ = listener.accept()
            threading.Thread(target=pump, args=(real, client), daemon=True).start()
            pump(client, real)

        threading.Thread(target=serve, daemon=True).start()

        def die() -> None:
            client.shutdown(socket.SHUT_RDWR)
            real.shutdown(socket.SHUT_RDWR)

        yield die
        client.close()


def test_a_xenstored_that_dies_ends_the_link(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with proxy(path) as die, pair(xenstore=path) as (front, _):
        assert front.send([bytes(60)]) == 1
        descriptors = len(os.listdir("/proc/self/fd"))
        die()
        with pytest.raises(XenstoreGoneError, match="xenstored is gone"):
            error_of(front)
        with pytest.raises(XenstoreGoneError):
            front.send([bytes(60)])
        front.close()
        assert len(os.listdir("/proc/self/fd")) < descriptors
