"""Libraries with link sets of modules and components, and what is made of them.

``python -m tests.hypercalls.linksets STOCK LIBRARY...`` loads libraries, makes the
hypercall rumpuser_dl_bootstrap, and the stock library's one if STOCK is its path
and not empty, and prints what the kernel's upcalls were given, as JSON. It is a
process of its own because libraries stay loaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from ctypes import c_char_p, c_size_t
from pathlib import Path
from typing import Any

from rumphyper.host.linkmap import SYMBOL
from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.families.dl import COMPLOAD, MODINIT, SYMLOAD
from tests.hypercalls.support import Setup
from tests.judges import tool

ROOT = Path(__file__).parents[2]
VISIBLE = "-Wl,-z,start-stop-visibility=default"
"""Newer linkers hide the ends of link sets unless they are told."""

ELEMENT = """
static const char *{kind}_{index} = "{library} {kind} {index}";
static const char **{kind}_p{index}
    __attribute__((section("link_set_{kind}"), used)) = &{kind}_{index};
"""
ENDS = """
extern const char **__start_link_set_{kind}[], **__stop_link_set_{kind}[];
long {library}_{kind}(void)
{{
    return __stop_link_set_{kind} - __start_link_set_{kind};
}}
"""


def build(
    folder: Path,
    library: str,
    *flags: str,
    modules: int = 0,
    components: int = 0,
    more: str = "",
) -> str:
    """Compile a library with so many of each; returns its path."""
    source = more
    for kind, count in (("modules", modules), ("rump_components", components)):
        for index in range(count):
            source += ELEMENT.format(library=library, kind=kind, index=index)
        if count:
            source += ENDS.format(library=library, kind=kind)
    (folder / f"{library}.c").write_text(source)
    path = str(folder / f"lib{library}.so")
    command = [tool("gcc"), "-shared", "-fPIC", "-w", VISIBLE, "-o", path]
    subprocess.run(
        [*command, str(folder / f"{library}.c"), *flags], check=True, timeout=60
    )
    return path


def named(address: int) -> str:
    """What a module or component calls itself."""
    return (c_char_p.from_address(address).value or b"?").decode()


class Kernel:
    """The upcalls of rumpuser_dl_bootstrap, which keep what they are given."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.symbols: list[tuple[Any, ...]] = []
        self.upcalls = (
            MODINIT(self._modules),
            SYMLOAD(self._symload),
            COMPLOAD(lambda address: self.events.append(named(address))),
        )

    def _modules(self, start: int, count: int) -> None:
        pointers = (c_size_t * count).from_address(start)
        self.events.append([named(address) for address in pointers])

    def _symload(self, table: int, size: int, strings: int, length: int) -> int:
        assert not self.symbols
        text = ctypes.string_at(strings, length)
        for name, *rest in struct.iter_unpack(SYMBOL, ctypes.string_at(table, size)):
            end = text.index(b"\0", name)
            self.symbols.append((text[name:end].decode(), *rest))
        self.events.append("symbols")
        return 0

    def report(self) -> dict[str, Any]:
        return {"events": self.events, "symbols": self.symbols}


def bootstrap(*paths: str, stock: str = "") -> dict[str, dict[str, Any]]:
    """What was handed over, by ``ours`` and perhaps ``stock``."""
    command = [sys.executable, "-m", "tests.hypercalls.linksets", stock, *paths]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def main(stock: str, *paths: str) -> None:
    """Do it and print the object."""
    setup = Setup()
    library = None
    if stock:
        library = ctypes.CDLL(stock, os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    addresses = {}
    for path in paths:
        loaded = ctypes.CDLL(path, os.RTLD_GLOBAL)
        for name in ("rump_known", "RUMP_KNOWN"):
            if hasattr(loaded, name):
                symbol = ctypes.c_int.in_dll(loaded, name)
                addresses[name] = ctypes.addressof(symbol)
    found: dict[str, Any] = {"addresses": addresses}
    kernel = Kernel()
    setup.call("dl_bootstrap", *kernel.upcalls)
    found["ours"] = {**kernel.report(), "problems": setup.reports}
    if library is not None:
        kernel = Kernel()
        prototype: Any = lookup("dl_bootstrap").prototype()
        prototype(("rumpuser_dl_bootstrap", library))(*kernel.upcalls)
        found["stock"] = kernel.report()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
