"""The ``pcap:FILE`` link: capture files as links, one for each direction.

``pcap:-`` is standard input or output. See docs/pcap.md for the options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rumphyper.errors import LinkstrError
from rumphyper.net.mac import parse_mac

if TYPE_CHECKING:
    from rumphyper.link.base import Link

MODES = ("r", "w", "a")
FORMATS = ("pcap", "pcapng")


def open_pcap(
    rest: str,
    /,
    mode: str = "r",
    format: str | None = None,
    follow: bool = False,
    nanosecond: bool = True,
    cut: bool = False,
    mac: bytes | str | None = None,
) -> Link:
    """Open the capture file ``rest`` for one direction.

    ``mode`` is ``r`` (`PcapReader`), ``w`` or ``a`` (`PcapWriter`: a new file, or
    more at the end of one). ``format`` is ``pcap`` or ``pcapng``; without it the
    name's ending decides. ``nanosecond`` false writes microseconds, for old
    readers of classic pcap. ``follow`` reads on when the file grows; ``cut``
    also returns frames that the capture has cut off. ``mac`` is the address of
    the station at this end, random by default.

    Raises LinkstrError, HostError, CorruptError and UnsupportedError.
    """
    linkstr = f"pcap:{rest}"
    if mode not in MODES or format not in (None, *FORMATS):
        bad = f"mode {mode!r}" if mode not in MODES else f"format {format!r}"
        raise LinkstrError(
            linkstr, f"unknown {bad}", "modes are r, w and a, formats pcap and pcapng"
        )
    address = parse_mac(mac) if isinstance(mac, str) else mac
    if mode == "r":
        from rumphyper.link.pcapread import PcapReader

        return PcapReader(rest, follow=follow, cut=cut, mac=address)
    from rumphyper.link.pcapwrite import PcapWriter

    ending = "pcapng" if rest.endswith(".pcapng") else "pcap"
    return PcapWriter(
        rest, append=mode == "a", format=format or ending,
        nanosecond=nanosecond, mac=address,
    )  # fmt: skip
