"""What a family is: an object whose methods answer hypercalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from rumphyper.hypercalls.record import Hypercall

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

Target = Callable[..., Any] | int
"""What answers a hypercall: a Python callable or the address of C code."""


class Family:
    """Base of all families: methods are named as the hypercall without prefix.

    `rumpuser_malloc` of the family ``memory`` is answered by the method
    ``malloc``, called with the C arguments: integers, bytes (or None) for
    ``const char *``, ctypes pointers for out-parameters (``memp[0] = address``;
    a null pointer is false) and plain addresses for all other pointers (NULL is
    0). It returns what C wants: a NetBSD errno, an address, or None for void.
    An attribute that is an int is the address of C code to be called instead.
    """

    family: ClassVar[str]
    """Its name in the catalogue."""

    provider: ClassVar[str] = "python"
    """Who answers, in a word, for people."""

    def target(self, call: Hypercall) -> Target | None:
        """What answers ``call``; None where this family does not."""
        found: Target | None = getattr(self, call.method, None)
        return found

    def start(self, hypervisor: Hypervisor) -> None:
        """Called once the symbols exist, before any kernel runs."""

    def stop(self) -> None:
        """Called when the hypervisor is closed: free what the family holds."""
