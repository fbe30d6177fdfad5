"""``rumphyper pci``: list, show, bind and unbind devices, read and write registers."""

from __future__ import annotations

import argparse
from importlib import import_module

JOBS = {
    "list": ("pci_show", "every device, its driver and its IOMMU group"),
    "show": ("pci_show", "all of a device: BARs, capabilities"),
    "bind": ("pci_bind", "give devices to a driver"),
    "unbind": ("pci_bind", "take the driver away from devices"),
    "read": ("pci_access", "read a register"),
    "write": ("pci_access", "write a register"),
    "dump": ("pci_access", "show configuration space, or registers, in hexadecimal"),
}
"""The module of each job, and what it does."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's jobs and their arguments."""
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    for job, (module, summary) in JOBS.items():
        child = jobs.add_parser(job, help=summary, description=summary)
        child.add_argument("--json", action="store_true", help="print JSON")
        import_module(f"rumphyper.cli.{module}").configure(child, job)


def run(args: argparse.Namespace) -> int:
    """Do the job."""
    module, _ = JOBS[args.job]
    status: int = import_module(f"rumphyper.cli.{module}").run(args)
    return status


def device_argument(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the devices, named as everywhere in this verb."""
    parser.add_argument(
        "device" if nargs is None else "devices",
        nargs=nargs,
        metavar="DEVICE",
        help="PCI address such as 0000:00:03.0, or its network interface",
    )
