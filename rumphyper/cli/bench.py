"""``rumphyper bench``: run the benchmarks and print their table.

The benchmarks lie beside the package in a source tree and inside it when it is
installed or packed; all are loaded under one name.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import importlib.util
import json
import keyword
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from zipimport import zipimporter

from rumphyper.errors import RumphyperError, UnsupportedError

PACKAGE = "rumphyper_benchmarks"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument(
        "--quick", action="store_true", help="at most 30 s a name, wider spread"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of rows")
    form.add_argument(
        "--markdown", action="store_true", help="print docs/performance.md's table"
    )


def _package() -> ModuleType:
    """Load the benchmarks as a package, wherever they lie."""
    here = Path(__file__).resolve().parent.parent
    loader = __spec__.loader if __spec__ is not None else None
    if isinstance(loader, zipimporter):
        here = _unpack(loader.archive)
    for folder in (here / "_benchmarks", here.parent / "benchmarks"):
        init = folder / "__init__.py"
        if (folder / "harness.py").is_file():
            spec = importlib.util.spec_from_file_location(
                PACKAGE, init, submodule_search_locations=[str(folder)]
            )
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[PACKAGE] = module
            spec.loader.exec_module(module)
            return module
    raise UnsupportedError(
        "rumphyper bench",
        "the benchmarks are not installed",
        "install the project from its source tree",
    )


def _unpack(archive: str) -> Path:
    """The benchmarks of a packed file in a folder: they start their own programs."""
    folder = tempfile.TemporaryDirectory(prefix="rumphyper-bench-")
    atexit.register(folder.cleanup)
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name.startswith("rumphyper/_benchmarks/"):
                packed.extract(name, folder.name)
    return Path(folder.name, "rumphyper")


def run(args: argparse.Namespace) -> int:
    """Run the named benchmarks; what cannot run is a row that says why."""
    known = _package().NAMES
    unknown = [name for name in args.names if name not in known]
    if unknown:
        raise UnsupportedError(
            f"benchmark {unknown[0]}", "there is none of that name", ", ".join(known)
        )
    rows: list[dict[str, Any]] = []
    show = _show_markdown if args.markdown else _show
    if not args.json:
        print(MARKDOWN if args.markdown else _line(*HEADS))
    try:
        for name in args.names or known:
            for row in _rows(name, args.quick):
                rows.append(row)
                if not args.json:
                    show(row)
    finally:  # after Ctrl-C, too: what has been measured is true
        if args.json:
            print(json.dumps(rows, indent=1))
    return 0


def _rows(name: str, quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of one benchmark; an error of ours becomes its last row."""
    stem = f"{name}_" if keyword.iskeyword(name) else name
    try:
        module = importlib.import_module(f"{PACKAGE}.{stem}")
        for row in module.run(quick):
            yield row.as_dict()
    except RumphyperError as error:
        yield {"bench": name, "case": "", "skipped": " ".join(str(error).split())}


HEADS = ("bench", "case", "value", "unit", "peer", "ratio", "spread")
MARKDOWN = "| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS)
WIDTHS = (8, 22, 14, 9, 44, 7, 6)


def _line(*cells: str) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
    return " ".join(padded).rstrip()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("skipped"):
        return row["bench"], row["case"], f"skipped: {row['skipped']}"
    return (
        row["bench"],
        row["case"],
        f"{row['value']:,.1f}",
        row["unit"],
        f"{row['peer_value']:,.1f} {row['peer']}",
        f"{row['ratio']:.2f}",
        f"{row['spread']:.2f}",
    )


def _show(row: dict[str, Any]) -> None:
    print(_line(*_cells(row)), flush=True)


def _show_markdown(row: dict[str, Any]) -> None:
    cells = _cells(row)
    print("| " + " | ".join([*cells, *[""] * (len(HEADS) - len(cells))]) + " |")
