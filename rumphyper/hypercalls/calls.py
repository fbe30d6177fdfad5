"""All hypercalls as typed C functions, by their full names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rumphyper.hypercalls.catalogue import CATALOGUE

Function = Callable[[str], Callable[..., Any]]
"""What gives the C function of a hypercall by its name: `Hypervisor.function`."""

if TYPE_CHECKING:
    from librumpcomp import LibRumpcomp
    from librumpuser import LibRumpuser

    class Calls(LibRumpuser, LibRumpcomp):
        """The faces of stubs/ over a hypervisor."""

        def __init__(self, function: Function) -> None: ...

else:

    class Calls:
        """The functions of a hypervisor as attributes."""

        def __init__(self, function: Function) -> None:
            self._function = function

        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name not in CATALOGUE:
                raise AttributeError(name)
            function = self._function(name)
            setattr(self, name, function)
            return function
