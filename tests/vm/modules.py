"""Which files of a kernel's modules to insert, in which order.

Debian's package has no modules.dep, which depmod makes when it is installed. The
modules name what they depend on themselves, in their section .modinfo.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path


class Modules:
    """The modules below a lib/modules/RELEASE."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> dict[str, Path]:
        """Each module's file by its name, with underscores."""
        return {_name(path.name): path for path in self.folder.rglob("*.ko*")}

    @cached_property
    def builtin(self) -> set[str]:
        """The modules that are part of the kernel itself."""
        lines = (self.folder / "modules.builtin").read_text().split()
        return {_name(Path(line).name) for line in lines}

    def order(self, wanted: Iterable[str]) -> list[Path]:
        """The files of the wanted modules, each after what it depends on.

        One wanted by a path, which ends in ``.ko``, need not be in the folder.
        A ValueError names a module that this kernel does not have.
        """
        done: dict[str, Path] = {}
        for name in wanted:
            path = Path(name) if name.endswith(".ko") else None
            self._add(_name(Path(name).name), path, done, ())
        return list(done.values())

    def _add(
        self,
        name: str,
        path: Path | None,
        done: dict[str, Path],
        above: tuple[str, ...],
    ) -> None:
        if name in done or name in self.builtin:
            return
        path = path or self.files.get(name)
        if path is None or name in above:
            chain = " for ".join((name, *reversed(above)))
            raise ValueError(f"{self.folder.name} has no module {chain}")
        for other in depends(contents(path)):
            self._add(other, None, done, (*above, name))
        done[name] = path


def contents(path: Path) -> bytes:
    """The module as the kernel takes it, uncompressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def depends(module: bytes) -> list[str]:
    """The names of modules that one depends on itself."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    return (
        [_name(name) for name in found[1].decode().split(",") if name] if found else []
    )


def _name(file: str) -> str:
    return file.partition(".ko")[0].replace("-", "_")
