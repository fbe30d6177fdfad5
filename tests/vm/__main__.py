"""``python -m tests.vm``: guests by hand; see `tests.vm.plugin`."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from tests.vm.guest import Guest
from tests.vm.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.vm", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    shell = verbs.add_parser("shell", help="a shell inside")
    shell.add_argument("kind", nargs="?", default="plain", choices=KINDS)
    for name, what in (("run", "pytest inside"), ("exec", "a command inside")):
        verb = verbs.add_parser(name, help=what)
        verb.add_argument("kind", choices=KINDS)
        verb.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    environment = {"PS1": f"{given.kind} guest:\\w# "}
    if sys.stdin.isatty():
        size = os.get_terminal_size(0)
        environment |= {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
    match given.verb:
        case "shell":
            stty = 'stty rows "$LINES" cols "$COLUMNS" 2>/dev/null'
            command = ["sh", "-c", f"{stty}; exec bash --norc"]
        case "run":
            command = ["python", "-m", "pytest", "-p", "no:cacheprovider"]
            command += given.arguments
        case _:
            command = given.arguments
    try:
        guest = Guest(KINDS[given.kind], command, environment, interactive=True)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        sys.exit(f"no guest: {error}")
    try:
        status = guest.wait()
    except KeyboardInterrupt:
        status = 130
    finally:
        guest.close()
    return 125 if status is None else status


if __name__ == "__main__":
    sys.exit(main())
