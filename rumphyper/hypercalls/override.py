"""What a user wants answered in another way, by family or by hypercall.

{"getrandom": function}       answers this hypercall
{"getrandom": Around(f)}      stands before the answer
{"clock": MyClock}            a Family class in place of Python's: same arguments
{"clock": MyClock(upcalls)}   a Family that has been made already
"""

from __future__ import annotations

from collections.abc import Mapping

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.catalogue import FAMILIES
from rumphyper.hypercalls.family import Family, Target
from rumphyper.hypercalls.hypervisor import Hypervisor

Override = Family | type[Family] | Target | Around


class Overrides:
    """Overrides sorted by kind. Raises UnsupportedError for what cannot be.

    ``bases`` names families whose replacement has to be of a certain class.
    """

    def __init__(
        self,
        wanted: Mapping[str, Override],
        bases: Mapping[str, type[Family]],
    ) -> None:
        self.classes: dict[str, type[Family]] = {}
        """Families to be made in place of Python's own."""

        self.instances: dict[str, Family] = {}
        """Families that exist."""

        self._calls: dict[str, Target | Around] = {}
        for name, value in wanted.items():
            if isinstance(value, type) and issubclass(value, Family):
                _check(name, value, bases)
                self.classes[name] = value
            elif isinstance(value, Family):
                _check(name, type(value), bases)
                self.instances[name] = value
            else:
                self._calls[name] = value

    @property
    def families(self) -> frozenset[str]:
        """The names of all replaced families."""
        return frozenset((*self.classes, *self.instances))

    def __bool__(self) -> bool:
        return bool(self.families or self._calls)

    def apply(self, hypervisor: Hypervisor) -> None:
        """Bind what answers single hypercalls."""
        for name, value in self._calls.items():
            if isinstance(value, Around):
                hypervisor.add_around(name, value)
            else:
                hypervisor.bind(name, value)


def _check(name: str, kind: type[Family], bases: Mapping[str, type[Family]]) -> None:
    if name not in FAMILIES:
        raise UnsupportedError(
            f"override of {name!r}", "no such family", f"known: {', '.join(FAMILIES)}"
        )
    if getattr(kind, "family", None) != name:
        raise UnsupportedError(
            f"override of {name!r} by {kind.__name__}",
            f"its objects answer the family {getattr(kind, 'family', None)!r}",
            "give it under its own name",
        )
    base = bases.get(name)
    if base is not None and not issubclass(kind, base):
        raise UnsupportedError(
            f"override of {name!r} by {kind.__name__}",
            f"it is no {base.__name__}, which the kernel's interfaces work with",
            f"derive it from {base.__module__}.{base.__name__}",
        )
