"""From text to names, addresses and networks; InterfaceError for what is none."""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from rumphyper.errors import InterfaceError
from rumphyper.kernel.ioctls import IFNAMSIZ
from rumphyper.kernel.netaddr import Address
from rumphyper.kernel.state import InterfaceAddress, Network

NAME = re.compile(r"([a-z][a-z0-9]*?[a-z]|[a-z])(0|[1-9]\d{0,4})")
"""A driver's name and a unit number."""

DEFAULTS: dict[int, Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


def check_name(name: str) -> tuple[str, str, str]:
    """(driver, unit, name) of an interface's name; InterfaceError for another text."""
    match = NAME.fullmatch(name)
    if match is None or len(name) >= IFNAMSIZ:
        raise InterfaceError(
            f"interface {name!r}",
            "a name is a driver and a number, of at most 15 characters",
            "such as virt0",
        )
    return match[1], match[2], name


def parse_network(text: str | Network) -> Network:
    """``10.1.0.0/16``, an address, or ``default``; InterfaceError for other text."""
    if not isinstance(text, str):
        return text
    if text == "default":
        return DEFAULTS[4]
    try:
        return ip_network(text)
    except ValueError as error:
        raise InterfaceError(
            f"network {text!r}", str(error), "write it as 10.1.0.0/16"
        ) from None


def parse_address(
    thing: str, address: str | InterfaceAddress | Address
) -> InterfaceAddress:
    """An address with a prefix length; InterfaceError for what does not parse."""
    try:
        if isinstance(address, (IPv4Address, IPv6Address)):
            return ip_interface(address)
        return ip_interface(address) if isinstance(address, str) else address
    except ValueError as error:
        raise InterfaceError(
            f"{thing}: address {address!r}",
            str(error),
            "write it as 10.0.0.2/24 or fd00::2/64",
        ) from None


def parse_plain(thing: str, address: str | Address) -> Address:
    """An address without a prefix length; InterfaceError for other text."""
    try:
        return ip_address(address) if isinstance(address, str) else address
    except ValueError as error:
        raise InterfaceError(thing, str(error), "write it as 10.0.0.1") from None
