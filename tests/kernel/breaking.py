"""Hosts for the mini kernel that break a rule of the virtual CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rumphyper.kernel.mini import ContextError, MiniKernel
from tests.kernel.machine import ADDRESSES, Machine, finish


def violations(host: Machine, use: Callable[[MiniKernel], object] = repr) -> list[str]:
    """What a kernel that is booted on ``host`` and used has to report."""
    kernel = MiniKernel(host.hypervisor)

    def run() -> None:
        with kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            use(kernel)

    error = finish(run)
    assert error is None or isinstance(error, ContextError), error
    assert not kernel.running
    assert host.memory.held == {}
    found = [] if error is None else error.violations
    assert found == kernel.violations
    for text in found:
        assert f"mini: {text}\n" in host.printed
    return found


def upcalls(host: Machine) -> Any:
    family: Any = host.hypervisor.families["init"]
    return family.upcalls


def original(host: Machine, name: str) -> Any:
    return host.hypervisor.bindings[name].target
