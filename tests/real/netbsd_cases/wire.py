"""One interface and Linux behind a TAP."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
from typing import Any

from tests.real.echo_request import ping_patiently
from tests.real.netbsd_cases.kit import (
    LINUX4,
    LINUX6,
    NETBSD4,
    NETBSD6,
    memory,
    settled,
    taps,
    wired,
)
from tests.real.rump import boot


def linux_and_netbsd_ping_each_other() -> dict[str, Any]:
    with boot() as kernel:
        interface = wired(kernel)
        found: dict[str, Any] = {
            "linux to netbsd 4": ping_patiently(socket.socket, NETBSD4),
            "linux to netbsd 6": ping_patiently(socket.socket, NETBSD6),
            "netbsd to linux 4": ping_patiently(kernel.socket, LINUX4),
            "netbsd to linux 6": ping_patiently(kernel.socket, LINUX6),
        }
        counters = interface.counters
        found["counted"] = counters.received > 10 and counters.sent > 10
        slots = kernel.hypervisor.bindings
        found["send by"] = slots["rumpcomp_virt_send"].provider
        found["locks by"] = slots["rumpuser_mutex_enter"].provider
    found["left"] = taps()
    return found


def down_and_up_many_times(times: str) -> dict[str, Any]:
    with boot() as kernel:
        interface = wired(kernel)
        before = ping_patiently(socket.socket, NETBSD4)
        start = settled()
        for _ in range(int(times)):
            interface.down()
            silent = interface.is_up
            interface.up()
        after = ping_patiently(socket.socket, NETBSD4)
        end = settled()
        return {
            "before": before,
            "silent": silent,
            "after": after,
            "leaked": [end[0] - start[0], end[1] - start[1]],
        }


def create_and_destroy_many_times(kind: str, times: str, path: str) -> dict[str, Any]:
    linkstr = {"virt": "tap:tap0", "shmif": f"shmif:{path}"}[kind]
    with boot() as kernel:

        def once() -> None:
            interface = kernel.create_interface(f"{kind}0", linkstr)
            interface.add_address(f"{NETBSD4}/24")
            interface.destroy()

        for _ in range(20):
            once()
        gc.collect()
        start = (*settled(), memory())
        for _ in range(int(times)):
            once()
        gc.collect()
        end = settled()
        leaked = [end[0] - start[0], end[1] - start[1]]
        grown = (memory() - start[2]) // int(times)
        return {
            "leaked": leaked,
            "octets each": grown,
            "interfaces": [state.name for state in kernel.interfaces()],
            "taps": taps(),
        }


def settings(ncpu: str) -> dict[str, Any]:
    with boot(ncpu=int(ncpu)) as kernel:
        import ctypes

        cpus = ctypes.c_int.in_dll(kernel.library, "rumpns_ncpu").value
        environment = os.environ.get("RUMP_NCPU")
        interface = wired(kernel)
        interface.mac = "b2:a0:00:00:00:77"
        interface.mtu = 1300
        answered = ping_patiently(socket.socket, NETBSD4)
        neighbours = subprocess.run(
            ["ip", "neigh"], capture_output=True, text=True, check=True
        ).stdout
        kernel.set_gateway(LINUX4)
        kernel.set_gateway("10.66.0.8")
        kernel.add_route("10.77.0.0/16", LINUX4)
        routes = {str(r.destination): str(r.gateway) for r in kernel.routes()}
        kernel.delete_route("10.77.0.0/16")
        interface.remove_address(f"{NETBSD6}/64")
        return {
            "cpus": cpus,
            "environment": environment,
            "mac": interface.mac.hex(":"),
            "mac seen": "b2:a0:00:00:00:77" in neighbours,
            "mtu": interface.mtu,
            "ping": answered,
            "routes": [routes["0.0.0.0/0"], routes["10.77.0.0/16"]],
            "gateway": str(kernel.gateway()),
            "removed": NETBSD6 not in str(interface.addresses),
        }
