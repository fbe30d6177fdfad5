"""``rumphyper pci read``, ``write`` and ``dump``."""

from __future__ import annotations

import argparse
import json

from rumphyper.cli.pci import device_argument
from rumphyper.pci.device import Device
from rumphyper.pci.opening import open_device
from rumphyper.pci.place import Place, hex_dump


def configure(parser: argparse.ArgumentParser, job: str) -> None:
    """Add the arguments of a job."""
    device_argument(parser)
    where = "config:OFFSET or barN:OFFSET"
    if job == "dump":
        where += "; default: all of config (reading a BAR may have effects)"
        parser.add_argument(
            "register", nargs="?", default="config", metavar="WHERE", help=where
        )
        parser.add_argument(
            "-n", "--count", type=_number, metavar="OCTETS", help="default: to the end"
        )
    else:
        parser.add_argument("register", metavar="WHERE", help=where)
    if job == "write":
        parser.add_argument("value", type=_number, metavar="VALUE")
        parser.add_argument(
            "--force", action="store_true", help="write beside the device's driver"
        )
    parser.add_argument(
        "-w", "--width", type=int, choices=(8, 16, 32, 64), default=32, help="bits"
    )
    parser.add_argument(
        "--via",
        choices=("vfio", "uio", "sysfs"),
        help="default: the driver that it is bound to, sysfs to read config; "
        "opening and closing a device by vfio resets it",
    )


def run(args: argparse.Namespace) -> int:
    """Do it by one access, or by one for each register of a dump."""
    place = Place.parse(args.register)
    with _open(args, place) as device:
        if args.job == "dump":
            return _dump(args, place, device)
        if args.job == "write":
            place.write(device, args.value, args.width)
            return 0
        value = place.read(device, args.width)
    if args.json:
        print(json.dumps({"register": str(place), "value": value}))
    else:
        print(f"{value:#0{args.width // 4 + 2}x}")
    return 0


def _open(args: argparse.Namespace, place: Place) -> Device:
    via = args.via
    if args.job == "write":
        return open_device(args.device, driver=via, writable=True, force=args.force)
    if via is None and place.bar is None:
        via = "sysfs"  # which disturbs nobody
    return open_device(args.device, driver=via, writable=False)


def _dump(args: argparse.Namespace, place: Place, device: Device) -> int:
    data = place.dump(device, args.count, args.width)
    if args.json:
        print(json.dumps({"register": str(place), "data": data.hex()}))
    else:
        print("\n".join(hex_dump(data, place.offset)))
    return 0


def _number(text: str) -> int:
    number = int(text, 0)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number
