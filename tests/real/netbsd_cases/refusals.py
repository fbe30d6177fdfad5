"""What cannot be, and that nothing is left of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.real.echo_request import ping_patiently
from tests.real.netbsd_cases.kit import (
    NETBSD4,
    failure,
    settled,
    taps,
    wired,
)
from tests.real.rump import boot


def bad_input(folder: str) -> dict[str, Any]:
    """Errors, and that nothing is left of what failed."""
    with boot() as kernel:
        interface = wired(kernel)
        before = (settled(), taps())
        create = kernel.create_interface
        Path(folder, "nobus").write_bytes(b"x" * 100)
        calls: dict[str, Callable[[], object]] = {
            "unknown driver": lambda: create("foo0"),
            "name": lambda: create("virt"),
            "long name": lambda: create("virtualinterface0"),
            "taken": lambda: create("virt0", "tap:tap1"),
            "busy tap": lambda: create("virt1", "tap:tap0"),
            "no linkstr": lambda: create("virt1"),
            "scheme": lambda: create("virt1", "tape:tap1"),
            "option": lambda: create("virt1", "tap:tap1", nonsense=1),
            "bus folder": lambda: create("shmif0", f"shmif:{folder}/no/bus"),
            "bus file": lambda: create("shmif0", f"shmif:{folder}/nobus"),
            "link of a bridge": lambda: create("bridge0", "tap:tap1"),
            "address": lambda: interface.add_address("10.66.0.300/24"),
            "length": lambda: interface.add_address("10.66.0.3/33"),
            "absent address": lambda: interface.remove_address("10.1.1.1"),
            "mtu": lambda: setattr(interface, "mtu", 9000),
            "mac": lambda: setattr(interface, "mac", "ff:ff:ff:ff:ff:ff"),
            "no interface": lambda: kernel.interface("virt9"),
            "loopback": lambda: kernel.destroy_interface("lo0"),
            "gateway": lambda: kernel.set_gateway("10.66.0.400"),
            "far gateway": lambda: kernel.set_gateway("192.0.2.1"),
            "no route": lambda: kernel.delete_route("192.0.2.0/24"),
            "member": lambda: kernel.create_bridge("bridge0", ["virt9"]),
            "second boot": boot,
        }
        found: dict[str, Any] = {name: failure(call) for name, call in calls.items()}
        after = (settled(), taps())  # a bridge's thread ends in its own time
        found["unchanged"] = before == after or [before, after]
        found["interfaces"] = [state.name for state in kernel.interfaces()]
        found["still there"] = ping_patiently(socket.socket, NETBSD4)
        child = os.fork()
        if not child:
            words = failure(lambda: kernel.syscall("getpid"))
            kernel.close()  # of no effect here
            os._exit(0 if "forked" in words[1] else 1)
        found["fork"] = os.waitpid(child, 0)[1]
        found["after fork"] = ping_patiently(socket.socket, NETBSD4)
    found["closed"] = failure(lambda: kernel.syscall("getpid"))
    found["interface of a closed kernel"] = failure(interface.up)
    return found


def not_permitted() -> dict[str, Any]:
    """Without the right to make a TAP."""
    with boot() as kernel:
        before = settled()
        words = failure(lambda: kernel.create_interface("virt0", "tap:rumptest0"))
        after = settled()
        names = [state.name for state in kernel.interfaces()]
        return {"error": words, "same": before == after, "interfaces": names}


def missing_component() -> list[str]:
    return failure(lambda: boot(["net", "netinet", "flux"]))
