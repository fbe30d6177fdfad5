"""The rump kernel's components: which there are, what they need, in what order.

NetBSD names a component ``net`` or ``tmpfs`` and its library after the faction
it belongs to: librumpnet_net.so, librumpfs_tmpfs.so. The factions themselves
are librumpvfs, librumpnet and librumpdev, and librump is the kernel's core
(``vfs``, ``rumpnet``, ``dev``, ``kern`` here). Most libraries do not say what
they need (no DT_NEEDED), so that is worked out from their symbols.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from rumphyper.errors import LibraryError
from rumphyper.host.elfread import ElfFile, own_abi
from rumphyper.kernel.folders import (
    VARIABLE,
    candidate_folders,
    library_files,
    library_folders,
)

FACTIONS = {
    "rump": "kern",
    "rumpvfs": "vfs",
    "rumpnet": "rumpnet",
    "rumpdev": "dev",
}
"""The core and the three factions: library to the name used here."""

KINDS = ("net", "dev", "vfs", "fs", "kern")
"""What stands between ``rump`` and the underscore, in the order of search."""

NOT_COMPONENTS = ("rumpuser", "rumpclient", "rumphijack")
SEE_DOCTOR = "`rumphyper doctor` lists the components that are here"
HYPERCALL_PREFIXES = ("rumpuser_", "rumpcomp_")


@attrs.define(eq=False)
class Component:
    """One library of the kernel."""

    name: str
    """NetBSD's name: ``net``, ``tmpfs``, ``vfs``."""

    library: str
    """``rumpnet_net`` for librumpnet_net.so."""

    path: str
    _elf: ElfFile | None = None

    @property
    def elf(self) -> ElfFile:
        """The library's tables; LibraryError when it is not of this host's kind."""
        if self._elf is None:
            elf, own = ElfFile(self.path), own_abi()
            if elf.abi != own.abi:
                raise LibraryError(
                    self.path,
                    f"the library is for {elf.architecture}, this Python is "
                    f"for {own.architecture}",
                    f"set {VARIABLE} to the folder of matching libraries",
                )
            self._elf = elf
        return self._elf


@attrs.frozen
class Plan:
    """What has to be loaded for some components, worked out."""

    order: tuple[Component, ...]
    """Every library, each behind those it needs (except within a circle)."""

    search: tuple[Component, ...]
    """The same in the order in which symbols are to be looked up."""

    needs: dict[str, frozenset[str]]
    """Component name to the names of those that it needs directly."""

    hypercalls: frozenset[str]
    """Symbols of hypercalls (``rumpuser_*``, ``rumpcomp_*``) they import or hold."""

    cycles: tuple[tuple[str, ...], ...]
    """Circles of components that need each other."""


class Libraries:
    """The components found in some folders.

    Raises LibraryError with all the folders looked into when there is no
    librump in them.
    """

    def __init__(self, folders: Sequence[str] | None = None) -> None:
        found = list(folders) if folders is not None else library_folders()
        self.folders = tuple(found)
        files: dict[str, str] = {}
        for folder in reversed(found):
            files.update(library_files(folder))
        if "rump" not in files:
            looked = found if folders is not None else candidate_folders()
            raise LibraryError(
                "librump.so",
                "no such file in " + (", ".join(looked) or f"an empty {VARIABLE}"),
                "install the rump kernel's libraries, or name their folder "
                f"in {VARIABLE}",
            )
        self._files = files
        self.components = {
            component.name: component
            for library in sorted(files, key=self._rank, reverse=True)
            for component in self._component(library)
        }
        """Every component by NetBSD's name."""

    @property
    def rumpuser(self) -> str | None:
        """Path of the stock librumpuser, None without one."""
        return self._files.get("rumpuser")

    def _rank(self, library: str) -> int:
        kind = library.removeprefix("rump").partition("_")[0]
        return KINDS.index(kind) if "_" in library and kind in KINDS else -1

    def _component(self, library: str) -> Iterable[Component]:
        if library in NOT_COMPONENTS:
            return
        name = FACTIONS.get(library)
        if name is None and self._rank(library) >= 0:
            name = library.partition("_")[2]
        if name is not None:
            yield Component(name, library, self._files[library])

    def find(self, name: str) -> Component:
        """The component called ``name`` (``net``, also ``rumpnet_net``).

        Raises LibraryError that says which files were looked for, and where.
        """
        short = os.path.basename(name).removeprefix("lib").partition(".so")[0]
        for component in self.components.values():
            if short == component.library:
                return component
        if name in self.components:
            return self.components[name]
        wanted = [f"librump{kind}_{name}.so" for kind in KINDS]
        if short.startswith("rump"):
            wanted = [f"lib{short}.so"]
        close = difflib.get_close_matches(short, self.components)
        raise LibraryError(
            f"component {name!r}",
            f"none of {', '.join(wanted)} is in {', '.join(self.folders)}",
            f"names like it: {', '.join(close)}" if close else SEE_DOCTOR,
        )

    def plan(self, names: Iterable[str]) -> Plan:
        """Work out what the components called ``names`` need, and the order.

        Raises LibraryError for a component that is not there, for a symbol
        that no library defines and for a library of another architecture.
        """
        chosen: dict[str, Component] = {}
        defined: dict[str, str] = {}
        waiting = [self.components["kern"], *map(self.find, names)]
        while waiting:
            component = waiting.pop(0)
            if component.name in chosen:
                continue
            chosen[component.name] = component
            defined.update(dict.fromkeys(component.elf.exports, component.name))
            if waiting:
                continue  # those asked for come first, then what they need
            for user in chosen.values():
                for symbol in sorted(user.elf.imports - defined.keys()):
                    provider = self._provider(symbol, user)
                    if provider is not None and provider not in waiting:
                        waiting.append(provider)
        needs = needs_of(chosen.values())
        order, cycles = sort_by_need(needs)
        in_order = tuple(chosen[name] for name in order)
        return Plan(
            order=in_order,
            search=strong_first(in_order[::-1]),
            needs=needs,
            hypercalls=frozenset(
                symbol
                for component in in_order
                for symbol in (*component.elf.imports, *component.elf.exports)
                if symbol.startswith(HYPERCALL_PREFIXES)
            ),
            cycles=cycles,
        )

    def _provider(self, symbol: str, user: Component) -> Component | None:
        """Who defines ``symbol``; None when that is the host's business.

        The factions are asked first, then all others: their tables are read
        only when it comes to that.
        """
        if symbol.startswith(HYPERCALL_PREFIXES) or not symbol.startswith("rump"):
            return None  # hypercalls, and libc's names: all of the kernel's begin so
        for component in sorted(self.components.values(), key=by_faction):
            if symbol in component.elf.exports:
                return component
        raise LibraryError(
            user.path,
            f"it needs the symbol {symbol}, which no library in "
            f"{', '.join(self.folders)} defines",
            "install the missing library, or libraries of one version",
        )


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
