"""The address of the station at a link's end, from an option."""

from __future__ import annotations

from rumphyper.errors import LinkstrError
from rumphyper.net.errors import ParseError
from rumphyper.net.mac import is_group, parse_mac, random_mac


def station(linkstr: str, mac: bytes | str | None) -> bytes:
    """The octets of an address of one station, a random one for None.

    LinkstrError for anything else.
    """
    if mac is None:
        return random_mac()
    try:
        octets = parse_mac(mac) if isinstance(mac, str) else bytes(mac)
    except ParseError as error:
        raise LinkstrError(linkstr, str(error), error.remedy) from None
    if len(octets) != 6 or is_group(octets):
        cause = f"{octets.hex(':')} is no address of one station"
        raise LinkstrError(linkstr, cause, "6 octets, the first of them even")
    return octets
