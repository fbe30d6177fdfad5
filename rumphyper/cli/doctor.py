"""``rumphyper doctor``: what works on this host, and the remedy for the rest."""

from __future__ import annotations

import argparse
import json
import sys

from rumphyper.doctor import Finding, check_all


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(args: argparse.Namespace) -> int:
    """Print the findings; the status is 0, for looking always works."""
    findings = check_all()
    if args.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        for finding in findings:
            _show(finding, colour=sys.stdout.isatty())
    return 0


COLOURS = {"ready": 32, "missing": 33, "denied": 33, "unsupported": 90}


def _show(finding: Finding, colour: bool) -> None:
    status = f"{finding.status:<11}"
    if colour:
        status = f"\033[{COLOURS[finding.status]}m{status}\033[0m"
    print(f"{finding.name:<7} {status} {finding.reason}")
    if finding.remedy:
        print(f"{'':<19} -> {finding.remedy}")
