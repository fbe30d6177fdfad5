"""What is known of one hypercall: a frozen record, from which all else follows."""

from __future__ import annotations

import ctypes
from typing import Any

import attrs

from rumphyper.hypercalls.ctype import ERRNO, CType
from rumphyper.hypercalls.errno import Errno

RUMPUSER_VERSION = 17
"""The version of the contract: NetBSD sys/rump/include/rump/rumpuser.h."""

_PREFIXES = (
    "rumpuser_component_",
    "rumpuser_",
    "rumpcomp_virt_",
    "rumpcomp_shmif_",
    "rumpcomp_pci_",
)


@attrs.frozen
class Argument:
    """One parameter of a hypercall."""

    name: str
    type: CType
    meaning: str
    """One line; units where there are any."""


@attrs.frozen
class Failure:
    """An errno that a hypercall may return, and when."""

    errno: Errno
    when: str


@attrs.frozen
class Hypercall:
    """One C function that a rump kernel calls in its host."""

    name: str
    result: CType
    arguments: tuple[Argument, ...]
    family: str
    summary: str
    """One line on what it does."""

    returns: str = ""
    """What the result means; empty for a plain errno or void."""

    errors: tuple[Failure, ...] = ()
    variadic: bool = False
    noreturn: bool = False
    blocks: bool = False
    """It may wait, and gives up the virtual CPU meanwhile."""

    failure: Errno = Errno.EIO
    """What it returns where nothing says more: an exception in Python."""

    @property
    def method(self) -> str:
        """The name without its prefix: what a family calls its function."""
        for prefix in _PREFIXES:
            if self.name.startswith(prefix):
                return self.name[len(prefix) :]
        return self.name

    @property
    def signature(self) -> str:
        """The C declaration, as in a header, without the semicolon."""
        parameters = [a.type.declare(a.name) for a in self.arguments]
        if self.variadic:
            parameters.append("...")
        return self.result.declare(f"{self.name}({', '.join(parameters) or 'void'})")

    @property
    def fails_with_errno(self) -> bool:
        """Whether the result is an errno: 0 or why it did not work."""
        return self.result is ERRNO

    def prototype(self) -> Any:
        """The ctypes function type for somebody who calls it by address.

        Calls release the GIL, as they must: a hypercall may wait for a thread
        that needs it. A variadic one has its fixed parameters only.
        """
        return ctypes.CFUNCTYPE(
            self.result.ctype, *(a.type.ctype for a in self.arguments)
        )

    def callback_type(self, extra: int = 0) -> Any:
        """The ctypes function type for a Python function that answers it.

        ``extra`` integer parameters follow the fixed ones of a variadic call.
        """
        fixed = [a.type.callback_type() for a in self.arguments]
        rest = [ctypes.c_size_t] * extra
        return ctypes.CFUNCTYPE(self.result.callback_type(), *fixed, *rest)
