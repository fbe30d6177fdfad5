"""NetBSD on a PCI device of a guest, in a process of its own; test_netbsd judges.

    python -m tests.vm.netbsd_cases CASE [ARGUMENT...]

What a case returns is printed as one line of JSON, the last of the output. The
other card, on the same wire, is Linux's: see test_netbsd.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import time
from typing import Any

import rumphyper
from rumphyper.errors import RumphyperError
from rumphyper.kernel.netbsd import Kernel
from tests.real.echo_request import ping, ping_patiently
from tests.real.netbsd_cases.kit import LINUX4, NETBSD4
from tests.real.traffic_cases import PORT, stream, tcp, udp

PATIENCE = 100
LINK_PATIENCE = 40
"""Seconds until both cards have found the wire, on a busy host."""
GATEWAY = "10.0.2.2"
"""Of QEMU's user network."""


def booted(spec: str, **options: Any) -> Kernel:
    """NetBSD with wm0 up and addressed, once frames pass."""
    kernel = rumphyper.boot(pci=[spec], **options)
    wm0 = kernel.interface("wm0")
    wm0.add_address(f"{NETBSD4}/24")
    wm0.up()
    end = time.monotonic() + LINK_PATIENCE
    while not answers(kernel):
        assert time.monotonic() < end, wm0.state()
    return kernel


def answers(kernel: Kernel) -> bool:
    """Whether Linux does; EHOSTDOWN says that it has not for a while."""
    try:
        return bool(ping(kernel.socket, LINUX4, 1, 0.5))
    except OSError:
        return False


def traffic(spec: str, mode: str, mebibytes: str) -> dict[str, Any]:
    """Pings, TCP and UDP with Linux, down and up."""
    with booted(spec, hypercalls=mode) as kernel:
        devices = kernel.provided.devices
        assert devices is not None
        (service,) = devices.pci.services.values()
        wm0 = kernel.interface("wm0")
        bindings = kernel.hypervisor.bindings
        found: dict[str, Any] = {
            "to linux": ping_patiently(kernel.socket, LINUX4),
            "to netbsd": ping_patiently(socket.socket, NETBSD4),
            "tcp": tcp(kernel, socket.AF_INET, LINUX4, int(mebibytes) << 20),
            "udp": udp(kernel, socket.AF_INET, LINUX4, NETBSD4, 9000),
        }
        for _ in range(3):
            wm0.down()
            wm0.up()
        found["after down and up"] = ping_patiently(kernel.socket, LINUX4)
        found["interrupt"] = service.interrupt.kind
        found["served"] = service.served > 10
        found["memory by"] = bindings["rumpuser_malloc"].provider
        found["addresses by"] = bindings["rumpcomp_pci_virt_to_mach"].provider
        found["locks by"] = bindings["rumpuser_mutex_enter"].provider
        found["destroyed"] = refused(wm0.destroy)
    return found


def leases(*specs: str) -> dict[str, Any]:
    """Each card gets a lease from QEMU's network and pings its gateway."""
    with rumphyper.boot(pci=specs) as kernel:
        found = {}
        for number in range(len(specs)):
            wm = kernel.interface(f"wm{number}")
            network = wm.dhcp().address.network
            answered = ping_patiently(kernel.socket, GATEWAY)
            found[wm.name] = [wm.mac.hex(":"), str(network), answered]
            wm.release()
            wm.down()
        return found


def endless(spec: str) -> None:
    """Send to Linux until killed."""
    kernel = booted(spec)
    with kernel.create_connection((LINUX4, PORT)) as connection:
        for piece in stream(1, 1 << 40):
            connection.sendall(piece)


def starved(spec: str, mebibytes: str, limit: str) -> dict[str, Any]:
    """Boot with too little memory, or with a limit that is too low."""
    if limit != "none":
        os.environ["RUMP_MEMLIMIT"] = limit
    start = time.monotonic()
    error = refused(lambda: rumphyper.boot(pci=[spec], pci_memory=int(mebibytes) << 20))
    again = refused(rumphyper.boot)
    quick = time.monotonic() - start < 30
    return {"error": error, "again": again, "quick": quick}


def tight(spec: str) -> dict[str, Any]:
    """Something takes all memory, so there is none for receive buffers; then some."""
    with rumphyper.boot(pci=[spec]) as kernel:
        assert kernel.provided.devices is not None
        arena = kernel.provided.devices.arena
        places = []
        while (place := arena.allocate(4096)) is not None:
            places.append(place)
        error = refused(kernel.interface("wm0").up)
        for place in places:
            arena.free(place)
        kernel.interface("wm0").up()
        return {"error": error, "up": kernel.interface("wm0").is_up}


def idle(spec: str, components: str) -> dict[str, Any]:
    """A device that no driver takes: the kernel runs all the same."""
    names = components.split(",")
    with rumphyper.boot(names, pci=[spec]) as kernel:
        return {"interfaces": [state.name for state in kernel.interfaces()]}


def refused(call: Any) -> str:
    """The text of the error that a call gives."""
    try:
        call()
    except RumphyperError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    name, *arguments = sys.argv[1:]
    result = globals()[name](*arguments)
    print()
    print(json.dumps(result), flush=True)
