"""What goes wrong in the mini kernel."""

from __future__ import annotations

from rumphyper.errors import RumphyperError
from rumphyper.kernel.mini.abi import ERRNO_NAMES


class MiniKernelError(RumphyperError):
    """A hypercall failed, or the kernel refused what was asked of it.

    ``netbsd_errno`` is NetBSD's number for it.
    """

    def __init__(
        self, thing: str, cause: str, remedy: str = "", netbsd_errno: int = 0
    ) -> None:
        super().__init__(thing, cause, remedy)
        self.netbsd_errno = netbsd_errno


class ContextError(MiniKernelError):
    """The hypercall layer broke the rules; ``violations`` says how, in order."""

    def __init__(self, violations: list[str]) -> None:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            "mini kernel",
            violations[0] + more,
            "this is a bug of the hypercalls, please report it",
        )
        self.violations = violations


def errno_name(number: int) -> str:
    """``ENOMEM`` for 12; a plain number where this kernel has no name."""
    return ERRNO_NAMES.get(number, f"errno {number}")
