"""One library of the rump kernel."""

from __future__ import annotations

import attrs

from rumphyper.errors import LibraryError
from rumphyper.host.elfread import ElfFile, own_abi
from rumphyper.kernel.folders import VARIABLE

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
