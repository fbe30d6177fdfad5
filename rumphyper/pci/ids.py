"""Names of vendors, devices and classes from pci.ids, where the host has it.

Facts: https://pci-ids.ucw.cz (the comment at the head of the file). The file is
read once, when the first name is asked for; without it classes still have the
names of `rumphyper.pci.regs` and the rest none.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from rumphyper.pci import regs

FILES = (
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/usr/share/pci.ids",
    "/usr/share/misc/pci.ids.gz",
)
"""Where Debian, Fedora, Alpine and older hosts keep it."""

_LINE = re.compile(r"(\t{0,2})(?:C )?([0-9a-f]{2,4})  (.+)")


@attrs.define(eq=False)
class Names:
    """The names in the first of ``files`` that can be read."""

    files: Sequence[str | Path] = FILES
    _lines: list[str] | None = attrs.field(default=None, init=False)
    _vendors: dict[int, int] = attrs.field(factory=dict, init=False)
    _classes: dict[int, int] = attrs.field(factory=dict, init=False)

    def vendor(self, vendor: int) -> str:
        """The vendor's name, empty where it is not known."""
        return self._name(self._index()[0].get(vendor))

    def device(self, vendor: int, device: int) -> str:
        """The device's name, empty where it is not known."""
        line = self._below(self._index()[0].get(vendor), 1, device)
        return self._name(line)

    def kind(self, class_code: int) -> str:
        """The name of a class of 24 bits: of its subclass, or else its base class."""
        base = self._index()[1].get(class_code >> 16)
        sub = self._below(base, 1, class_code >> 8 & 0xFF)
        name = self._name(sub) or self._name(base)
        return name or regs.CLASSES.get(class_code >> 16, "unknown class")

    def _index(self) -> tuple[dict[int, int], dict[int, int]]:
        """Where in the file each vendor and each base class starts."""
        if self._lines is None:
            self._lines = _read(self.files)
            for number, line in enumerate(self._lines):
                if line[:1] in "#\t":  # an empty line, too
                    continue
                found = _LINE.match(line)
                if found is not None:
                    top = self._classes if line[0] == "C" else self._vendors
                    top.setdefault(int(found[2], 16), number)
        return self._vendors, self._classes

    def _below(self, start: int | None, depth: int, number: int) -> int | None:
        """The line of an entry ``depth`` tabs deep in the block from ``start`` on."""
        lines = self._lines
        if start is None or lines is None:
            return None
        for place in range(start + 1, len(lines)):
            found = _LINE.match(lines[place])
            if found is None:
                continue
            if len(found[1]) < depth:
                return None
            if len(found[1]) == depth and int(found[2], 16) == number:
                return place
        return None

    def _name(self, line: int | None) -> str:
        if line is None or self._lines is None:
            return ""
        found = _LINE.match(self._lines[line])
        return found[3].strip() if found else ""


def _read(files: Sequence[str | Path]) -> list[str]:
    for file in files:
        try:
            with open(file, "rb") as stream:
                data = stream.read()
            if str(file).endswith(".gz"):
                data = gzip.decompress(data)
        except (OSError, EOFError):
            continue
        return data.decode("utf-8", "replace").splitlines()
    return []
