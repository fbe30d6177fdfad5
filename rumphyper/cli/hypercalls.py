"""``rumphyper hypercalls``: the catalogue, for people who want to learn."""

from __future__ import annotations

import argparse
import json

from rumphyper.hypercalls.catalogue import CATALOGUE, lookup, members
from rumphyper.hypercalls.describe import as_dict, details, listing


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="one hypercall, with or without its prefix: everything about it",
    )
    which.add_argument(
        "--family", metavar="F", help="only the hypercalls of this family"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the list, or the one that is asked for."""
    if args.name is not None:
        call = lookup(args.name)
        print(json.dumps(as_dict(call)) if args.json else "\n".join(details(call)))
        return 0
    if args.json:
        calls = members(args.family) if args.family is not None else CATALOGUE.values()
        print(json.dumps([as_dict(call) for call in calls]))
        return 0
    if args.family is not None:
        members(args.family)  # names the known ones where it is none of them
    print("\n".join(listing(args.family)))
    return 0
