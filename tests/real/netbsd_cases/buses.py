"""Several stations on a shared-memory bus."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tests.real.echo_request import ping, ping_patiently
from tests.real.netbsd_cases.kit import LINUX4, NETBSD4, linux_up
from tests.real.rump import boot


def on_a_bus(name: str, path: str, address: str, other: str) -> dict[str, Any]:
    """One of two kernels on a bus: answers pings until its input ends."""
    with boot() as kernel:
        interface = kernel.create_interface(name, f"shmif:{path}")
        interface.add_address(f"{address}/24")
        interface.add_address(f"fd00::{address.rpartition('.')[2]}/64")
        in_step("ready")
        found = {
            "4": ping_patiently(kernel.socket, other),
            "6": ping_patiently(kernel.socket, f"fd00::{other.rpartition('.')[2]}"),
        }
        in_step("done")
        return found


def in_step(word: str) -> None:
    """Tell the test that it came this far; go on when the test says so."""
    print(word, flush=True)
    sys.stdin.readline()


def bridged_from_bus_to_tap(path: str) -> dict[str, Any]:
    """shmif0 and virt0 in a bridge of NetBSD; Linux behind the TAP."""
    with boot() as kernel:
        bus = kernel.create_interface("shmif0", f"shmif:{path}")
        tap = kernel.create_interface("virt0", "tap:tap0")
        linux_up("tap0")
        bus.up()
        tap.up()
        bridge = kernel.create_bridge("bridge0", [bus, tap])
        with station(path, "10.66.0.9/24"):
            found: dict[str, Any] = {
                "linux to station": ping_patiently(socket.socket, "10.66.0.9")
            }
            # With an address on a member NetBSD sends into the bridge itself:
            # through bridge_output, which without the bridge component is a
            # stub that panics.
            bus.add_address(f"{NETBSD4}/24")
            found["netbsd to linux"] = ping_patiently(kernel.socket, LINUX4)
            found["netbsd to station"] = ping_patiently(kernel.socket, "10.66.0.9")
            found["linux to netbsd"] = ping_patiently(socket.socket, NETBSD4)
            kernel.bridge_remove(bridge, tap)
            found["parted"] = ping(socket.socket, "10.66.0.9", 1, 0.5)
            bridge.destroy()
        return found


@contextlib.contextmanager
def station(path: str, address: str) -> Iterator[None]:
    """rumphyper's own small station on a bus, answering."""
    from ipaddress import IPv4Interface

    from rumphyper.link import open_link
    from rumphyper.net.stack import Stack

    with open_link(f"shmif:{path}") as link:
        stack = Stack(link.mac, [IPv4Interface(address)], [])

        def answer() -> None:
            for frame in link:
                replies = stack.input(frame)
                if replies:
                    link.send(replies)

        worker = threading.Thread(target=answer)
        worker.start()
        try:
            yield
        finally:
            link.close()
            worker.join()


def with_a_station_on_the_bus(path: str) -> dict[str, Any]:
    with boot() as kernel:
        interface = kernel.create_interface("shmif0", f"shmif:{path}")
        interface.add_address(f"{NETBSD4}/24")
        with station(path, "10.66.0.9/24"):
            by_netbsds_driver = ping_patiently(kernel.socket, "10.66.0.9")
            interface.destroy()
            ours = kernel.create_interface("virt0", f"shmif:{path}")
            ours.add_address(f"{NETBSD4}/24")
            return {
                "shmif0": by_netbsds_driver,
                "virt0": ping_patiently(kernel.socket, "10.66.0.9"),
            }
