"""``rumphyper pci list`` and ``show``."""

from __future__ import annotations

import argparse
import json

from rumphyper.cli.pci import device_argument
from rumphyper.pci.address import Address
from rumphyper.pci.capability import Capability
from rumphyper.pci.errors import DeniedError
from rumphyper.pci.ids import Names
from rumphyper.pci.opening import open_device
from rumphyper.pci.report import as_dict, capability_dict, list_line, show_lines
from rumphyper.pci.sysfs import Sysfs


def configure(parser: argparse.ArgumentParser, job: str) -> None:
    """Add the arguments of a job."""
    if job == "show":
        device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print one device, or all of them."""
    return _show(args) if args.job == "show" else _list(args)


def _list(args: argparse.Namespace) -> int:
    names = Names()
    devices = Sysfs().devices()
    if args.json:
        print(json.dumps([as_dict(info, names) for info in devices], indent=1))
    else:
        for info in devices:
            print(list_line(info, names))
    return 0


def _show(args: argparse.Namespace) -> int:
    names, sysfs = Names(), Sysfs()
    info = sysfs.info(sysfs.resolve(args.device))
    others = [] if info.group is None else sysfs.group_of(info.group)
    neighbours = [str(each) for each in others if each != info.address]
    found = _capabilities(info.address)
    if args.json:
        whole = as_dict(info, names)
        whole["neighbours"] = neighbours
        whole["capabilities"] = (
            None if found is None else [capability_dict(each) for each in found]
        )
        print(json.dumps(whole, indent=1))
    else:
        print("\n".join(show_lines(info, names, neighbours, found)))
    return 0


def _capabilities(address: Address) -> list[Capability] | None:
    """None for who may not see them."""
    with open_device(address, driver="sysfs", writable=False) as device:
        try:
            return device.config.capabilities()
        except DeniedError:
            return None
