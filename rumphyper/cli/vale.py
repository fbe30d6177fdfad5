"""``rumphyper vale``: VALE switches, with the options of vale-ctl.

Without an option it lists the ports of all switches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import attrs

from rumphyper.cli.common import print_json
from rumphyper.link import vale

Action = Callable[[argparse.Namespace], object]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: -h is vale-ctl's, only --help is help."""
    one = parser.add_mutually_exclusive_group()
    for letter, metavar, text in (
        ("a", "valeN:IF", "attach an interface to a switch"),
        ("h", "valeN:IF", "attach an interface and the host's stack"),
        ("d", "valeN:PORT", "detach a port"),
        ("n", "NAME", "create a persistent interface"),
        ("r", "NAME", "remove one that was created"),
        ("l", "valeN:PORT", "where a port is"),
        ("g", "PORT", "sizes of a port"),
        ("G", "PORT", "pools of a port's memory region"),
        ("p", "valeN:PORT", "let kernel threads poll a port (-C all-or-one,cpu,cpus)"),
        ("P", "valeN:PORT", "end that"),
    ):
        one.add_argument(f"-{letter}", metavar=metavar, help=text, dest=f"do_{letter}")
    parser.add_argument(
        "-C", dest="config", type=_numbers, default=(), metavar="N,...",
        help="tx slots, rx slots, tx rings, rx rings; or see -p",
    )  # fmt: skip
    parser.add_argument(
        "-m", dest="memory", type=int, default=0, metavar="ID", help="memory region"
    )
    parser.add_argument(
        "--json", action="store_true", help="print an object, or a list"
    )


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not 1 <= len(numbers) <= 4 or min(numbers) < 0 or max(numbers) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"{text}: 1 to 4 numbers from 0 to 65535")
    return numbers


def _sizes(args: argparse.Namespace) -> vale.Sizes:
    """vale-ctl's shorthand: what is left out of a pair is as its first."""
    slots, *rest = args.config or (0,)
    rx_slots, *rest = rest or (slots,)
    rings, *rest = rest or (0,)
    (rx_rings,) = rest or (rings,)
    return vale.Sizes(slots, rx_slots, rings, rx_rings)


def _attach(args: argparse.Namespace) -> object:
    name = args.do_a or args.do_h
    index = vale.attach(
        name, host=bool(args.do_h), sizes=_sizes(args), memory_id=args.memory
    )
    return {"name": name, "port": index}


def _detach(args: argparse.Namespace) -> object:
    return {"name": args.do_d, "port": vale.detach(args.do_d)}


def _create(args: argparse.Namespace) -> object:
    sizes = vale.create(args.do_n, sizes=_sizes(args), memory_id=args.memory)
    return {"name": args.do_n, **attrs.asdict(sizes)}


def _remove(args: argparse.Namespace) -> object:
    vale.remove(args.do_r)
    return {"name": args.do_r}


def _poll(args: argparse.Namespace) -> object:
    one_each, *rest = args.config or (0,)
    cpu, *rest = rest or (0,)
    cpus = (rest[0] if rest else 1) if one_each else 0
    vale.start_polling(args.do_p, cpu=cpu, cpus=cpus)
    return {"name": args.do_p, "cpu": cpu, "cpus": cpus or 1}


def _unpoll(args: argparse.Namespace) -> object:
    vale.stop_polling(args.do_P)
    return {"name": args.do_P}


ACTIONS: dict[str, Action] = {
    "do_a": _attach,
    "do_h": _attach,
    "do_d": _detach,
    "do_n": _create,
    "do_r": _remove,
    "do_l": lambda args: attrs.asdict(vale.find(args.do_l)),
    "do_g": lambda args: attrs.asdict(vale.info(args.do_g)),
    "do_G": lambda args: attrs.asdict(vale.pools(args.do_G)),
    "do_p": _poll,
    "do_P": _unpoll,
}


def run(args: argparse.Namespace) -> int:
    """Do the one thing that was asked for, or list all ports."""
    for option, action in ACTIONS.items():
        if getattr(args, option) is not None:
            _show(action(args), args.json)
            return 0
    listed = [attrs.asdict(port) for port in vale.ports()]
    if args.json:
        print_json(listed)
    for port in [] if args.json else listed:
        print(f"{port['name']} bridge_idx {port['switch']} port_idx {port['port']}")
    return 0


def _show(found: object, as_json: bool) -> None:
    assert isinstance(found, dict)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{part} {number}" for part, number in value.items())
        print(f"{name + ':':<15} {value}")
