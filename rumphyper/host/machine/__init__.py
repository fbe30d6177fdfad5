"""Machine code templates, one module per architecture that has them."""

from __future__ import annotations

import functools

from rumphyper.host.arch import abi
from rumphyper.host.machine.template import Machine


def current() -> Machine | None:
    """The templates of the ABI that runs here, or None when there are none."""
    return named(abi())


@functools.cache
def named(name: str) -> Machine | None:
    """The templates of an ABI as `rumphyper.host.arch` names it, or None."""
    if name == "x86_64":
        from rumphyper.host.machine.x86_64 import X86_64

        return X86_64()
    if name == "aarch64":
        from rumphyper.host.machine.aarch64 import AArch64

        return AArch64()
    return None
