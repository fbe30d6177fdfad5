"""``rumphyper pack``: one file that runs on any host with Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from rumphyper.packing import pack


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("file", nargs="?", default="rumphyper.pyz", metavar="FILE",
        help="default: rumphyper.pyz")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    target = Path(args.file).absolute()
    size = pack(target)
    print(f"{target}: {size / 1e6:.1f} MB, run it as it is or by python3")
    return 0
