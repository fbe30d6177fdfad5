"""In what order libraries are loaded, and symbols are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from rumphyper.kernel.component import FACTIONS, Component


def by_faction(component: Component) -> tuple[bool, str]:
    """Sort key: the core and the factions first, then by name."""
    return component.library not in FACTIONS, component.name


def needs_of(components: Iterable[Component]) -> dict[str, frozenset[str]]:
    """Which of ``components`` each needs to be there before it can be loaded.

    A symbol that a faction defines, if only as a stub, is the faction's.
    """
    ranked = sorted(components, key=by_faction)
    owner: dict[str, str] = {}
    for component in reversed(ranked):
        owner.update(dict.fromkeys(component.elf.exports, component.name))
    return {
        component.name: frozenset(
            owner[symbol]
            for symbol in component.elf.imports & owner.keys()
            if owner[symbol] != component.name
        )
        for component in ranked
    }


def sort_by_need(
    needs: Mapping[str, AbstractSet[str]],
) -> tuple[list[str], tuple[tuple[str, ...], ...]]:
    """Order names so that each follows what it needs; also return the circles.

    The circles are the strongly connected parts of more than one name (Tarjan).
    """
    order: list[str] = []
    circles: list[tuple[str, ...]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(needs[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            order.extend(part)
            if len(part) > 1:
                circles.append(tuple(part))

    for name in sorted(needs):
        if name not in number:
            visit(name)
    return order, tuple(circles)


def strong_first(components: Sequence[Component]) -> tuple[Component, ...]:
    """Move libraries so that a strong definition is found before a weak one.

    A faction has weak stubs that panic ("component not available") for what an
    optional component defines (NetBSD sys/rump/librump/rumpnet/net_stub.c). A
    linker and NetBSD's loader prefer the strong one, glibc's takes the first.
    """
    strong: dict[str, list[Component]] = {}
    for component in components:
        for name, weak in component.elf.exports.items():
            if not weak:
                strong.setdefault(name, []).append(component)
    result: dict[str, Component] = {}
    seen: set[str] = set()

    def place(component: Component) -> None:
        if component.name in seen:
            return
        seen.add(component.name)
        for name, weak in component.elf.exports.items():
            if weak:
                for other in strong.get(name, ()):
                    place(other)
        result[component.name] = component

    for component in components:
        place(component)
    return tuple(result.values())
