"""What runs inside a guest of Xen's, alone with busybox; test_xen_domu judges."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Interface

from rumphyper.link import open_link
from rumphyper.net.pinger import Pinger
from rumphyper.net.stack import Stack
from rumphyper.xen import domain_kind

HERE, THERE = "10.9.0.2", "10.9.0.1"
ANSWERING = 20.0
"""Seconds at most in which dom0 may ping."""


def load() -> None:
    """Have everything loaded that `main` needs."""
    import encodings.ascii
    import encodings.latin_1  # noqa: F401
    import traceback  # noqa: F401

    import rumphyper.link.xen  # noqa: F401
    from rumphyper.host.atomic import Word

    Word(bytearray(4), 0).close()  # by thunks, which are loaded when first used


def main() -> None:
    with open_link("xen:vif/0", timeout=60) as link:
        print(f"domU: {domain_kind()}, vif {link.mac.hex(':')}", flush=True)
        stack = Stack(link.mac, [IPv4Interface(f"{HERE}/24")], [])
        target = IPv4Address(THERE)
        pinger = Pinger(stack, target, size=1400, count=100, interval=0, timeout=10)
        while (deadline := pinger.deadline()) is not None:
            link.send(pinger.poll(time.monotonic()))
            for frame in link.recv(timeout=max(0, deadline - time.monotonic())):
                link.send(pinger.input(frame, time.monotonic()))
        figures = pinger.summary()
        print(
            f"domU: {figures.received} of {figures.transmitted} pings of {THERE} "
            f"answered to {HERE}",
            flush=True,
        )
        print("domU answers", flush=True)
        end, asked = time.monotonic() + ANSWERING, 0
        while time.monotonic() < end and asked < 50:
            for frame in link.recv(timeout=0.5):
                asked += frame[23:24] == b"\x01"
                link.send(stack.input(frame))
    print("domU is done", flush=True)
