"""``rumphyper pci bind`` and ``unbind``, with dpdk-devbind's habits."""

from __future__ import annotations

import argparse
import contextlib
import json

from rumphyper.cli.pci import device_argument
from rumphyper.pci.binding import AUTO, Binding, bind, unbind
from rumphyper.pci.sysfs import Sysfs


def configure(parser: argparse.ArgumentParser, job: str) -> None:
    """Add the arguments of a job."""
    if job == "bind":
        parser.add_argument(
            "driver",
            metavar="DRIVER",
            help=f"vfio-pci, uio_pci_generic, e1000e ...; {AUTO}: the kernel chooses",
        )
    device_argument(parser, "+")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also a device that is in use: its interface is up and carries a "
        "route, or a process has it open",
    )


def run(args: argparse.Namespace) -> int:
    """Change the drivers of all devices, or of none."""
    sysfs = Sysfs()
    addresses = [sysfs.resolve(text) for text in args.devices]
    done: list[Binding] = []
    with contextlib.ExitStack() as undo:
        for address in addresses:
            if args.job == "bind":
                binding = bind(address, args.driver, force=args.force, sysfs=sysfs)
            else:
                binding = unbind(address, force=args.force, sysfs=sysfs)
            undo.callback(binding.restore)
            done.append(binding)
        undo.pop_all()
    if args.json:
        print(json.dumps([_as_dict(binding) for binding in done]))
    else:
        for each in done:
            print(f"{each.address}: {each.former or 'none'} -> {each.driver or 'none'}")
    return 0


def _as_dict(binding: Binding) -> dict[str, str | None]:
    return {
        "address": str(binding.address),
        "driver": binding.driver,
        "former": binding.former,
    }
