"""``rumphyper completion``: what a shell has to know to complete the command."""

from __future__ import annotations

import argparse

from rumphyper.cli import shells, tree


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=tuple(shells.SHELLS),
        help="whose script is printed: see docs/completion.md")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from rumphyper.cli.main import VERBS, build_parser

    command = tree.read(build_parser(VERBS))
    print(shells.SHELLS[args.shell](command))
    return 0
