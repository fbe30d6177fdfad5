"""Superframes of the TAP link, against the host kernel."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Interface

import pytest

from rumphyper.errors import LinkClosedError, LinkstrError
from rumphyper.link.tap import TapLink, open_tap
from rumphyper.net.stack import Stack
from tests.link.tap_support import frame, ip, packet_socket
from tests.namespace import isolated

LINUX, STATION = "10.9.0.1", "10.9.0.2"


def answer(link: TapLink, seen: list[int]) -> None:
    """A station that echoes UDP: it drops what has a wrong checksum."""
    stack = Stack(link.mac, [IPv4Interface(f"{STATION}/24")])
    try:
        while True:
            for octets in link.recv():
                seen.append(len(octets))
                link.send(stack.input(octets))
    except LinkClosedError:
        pass


@isolated
def test_the_host_leaves_checksums_to_us_and_they_are_right() -> None:
    seen: list[int] = []
    with open_tap("tap0", superframes=True) as link:
        assert (link.io, link.mtu, link.frame_header) == ("superframes", 65535, 10)
        ip("addr", "add", f"{LINUX}/24", "dev", "tap0")
        station = threading.Thread(target=answer, args=(link, seen))
        station.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.connect((STATION, 7))
            end.settimeout(5)
            for size in (0, 1, 2, 17, 18, 1000, 1471, 1472):
                octets = bytes(range(256)) * 6
                end.send(octets[:size])
                assert end.recv(2000) == octets[:size]
        link.close()
        station.join()
    assert link.counters.received == len(seen)
    assert link.counters.received_bytes == sum(seen)


@isolated
def test_frames_of_any_size_go_out_whole() -> None:
    with open_tap("tap0", superframes=True) as link, packet_socket("tap0") as host:
        for size in (0, 46, 1500, 9000, 60000):
            octets = frame(bytes([size % 251]) * size)
            assert link.send([octets]) == 1
            assert host.recv(1 << 17) == octets


@isolated
def test_a_device_that_had_superframes_loses_them() -> None:
    open_tap("tap0", superframes=True, persistent=True).close()
    with open_tap("tap0", persistent=False) as link, packet_socket("tap0") as host:
        host.send(frame(b"whole"))
        assert link.recv(timeout=5) == [frame(b"whole")]
        assert link.frame_header == 0
        assert link.mtu == 1500


@pytest.mark.parametrize("options", [{"queues": 2}, {"io": "uring"}])
def test_what_does_not_go_together(options: dict[str, object]) -> None:
    with pytest.raises(LinkstrError, match="superframes"):
        open_tap("tap0", superframes=True, **options)  # type: ignore[arg-type]
