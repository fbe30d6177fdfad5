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
from collections.abc import Iterable, Sequence

import attrs

from rumphyper.errors import LibraryError
from rumphyper.kernel.component import (
    FACTIONS,
    HYPERCALL_PREFIXES,
    KINDS,
    NOT_COMPONENTS,
    Component,
)
from rumphyper.kernel.folders import (
    VARIABLE,
    candidate_folders,
    library_files,
    library_folders,
)
from rumphyper.kernel.ordering import by_faction, needs_of, sort_by_need, strong_first

SEE_DOCTOR = "`rumphyper doctor` lists the components that are here"


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
            if component.name not in chosen:
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
