"""A hostile other side of a Xen link: rings, keys, states, and xenstored itself."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, LinkError, RumphyperError
from rumphyper.link import open_link
from rumphyper.link.xen import XenBack, XenFront
from rumphyper.ring import netif_abi as abi
from rumphyper.xen import Xenstore
from rumphyper.xen.errors import XenstoreGoneError
from rumphyper.xen.nodes import SOCKETS
from tests.vm.xen_support import FRONT, error_of, pair, run, tables, unload, vif

pytestmark = pytest.mark.vm("xen", timeout=60)


@pytest.fixture(autouse=True)
def drivers() -> None:
    """The kernel has no driver for either end."""
    unload("xen-netfront")
    unload("xen-netback")


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
