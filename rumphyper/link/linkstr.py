"""From a linkstr to an open link.

NetBSD calls the string that names an interface's other end a linkstr. Here it
is ``SCHEME:REST``; ``valeN:PORT`` is a scheme of its own in netmap's grammar.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from rumphyper.errors import LinkstrError

if TYPE_CHECKING:
    from rumphyper.link.base import Link


class Opener(Protocol):
    """What a link's module offers: ``open_LINK(rest, **options)``."""

    def __call__(self, rest: str, /, **options: object) -> Link: ...


@attrs.frozen
class Scheme:
    """One kind of linkstr and where its opener lives."""

    name: str
    form: str
    module: str
    opener: str
    whole: bool = False
    """Whether the opener gets the whole linkstr, not what is behind the colon."""

    @property
    def page(self) -> str:
        """The page of docs/ that lists its options."""
        return f"docs/{self.module.rpartition('.')[2]}.md"


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("tap", "tap:NAME", "rumphyper.link.tap", "open_tap"),
        Scheme("shmif", "shmif:PATH", "rumphyper.link.shmif", "open_shmif"),
        Scheme("netmap", "netmap:IF", "rumphyper.link.netmap", "open_netmap"),
        Scheme("vale", "valeN:PORT", "rumphyper.link.netmap", "open_vale", whole=True),
        Scheme("pcap", "pcap:FILE", "rumphyper.link.pcap", "open_pcap"),
        Scheme("packet", "packet:IF", "rumphyper.link.packet", "open_packet"),
        Scheme("dpdk", "dpdk:DEVICE", "rumphyper.link.dpdk", "open_dpdk"),
        Scheme("xdp", "xdp:IF", "rumphyper.link.xdp", "open_xdp"),
        Scheme("xen", "xen:vif/N", "rumphyper.link.xen", "open_xen"),
        Scheme("pci", "pci:ADDRESS", "rumphyper.link.e1000", "open_pci"),
        Scheme(
            "faulty", "faulty:SETTINGS:LINKSTR", "rumphyper.link.faulty", "open_faulty"
        ),
    )
}
"""The schemes that this version opens, by name."""


def split_linkstr(linkstr: str) -> tuple[Scheme, str]:
    """Return the scheme and the rest of a linkstr; LinkstrError if it has none."""
    name, colon, rest = linkstr.partition(":")
    known = ", ".join(scheme.form for scheme in SCHEMES.values())
    if not colon or not name:
        raise LinkstrError(
            repr(linkstr), "a linkstr is SCHEME:NAME", f"known forms: {known}"
        )
    scheme = SCHEMES.get(re.sub(r"^vale\w*$", "vale", name))
    if scheme is None:
        raise LinkstrError(
            repr(linkstr), f"unknown scheme {name!r}", f"known forms: {known}"
        )
    if not rest:
        raise LinkstrError(
            repr(linkstr), "the name behind the colon is empty", f"use {scheme.form}"
        )
    return scheme, rest


def open_link(linkstr: str, **options: object) -> Link:
    """Open the link that ``linkstr`` names.

    ``options`` go to the back end as keyword arguments (see docs/ for each).
    Raises LinkstrError for a linkstr that does not parse, and what the back
    end raises: HostError, UnsupportedError, CorruptError, LinkError.
    """
    scheme, rest = split_linkstr(linkstr)
    opener = cast(Opener, getattr(import_module(scheme.module), scheme.opener))
    try:
        return opener(linkstr if scheme.whole else rest, **options)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        raise LinkstrError(
            repr(linkstr), str(error), f"{scheme.page} lists the options"
        ) from error
