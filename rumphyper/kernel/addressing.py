"""Adding addresses to an interface and removing them."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from rumphyper.errors import RumphyperError
from rumphyper.kernel import ioctls
from rumphyper.kernel.control import ioctl
from rumphyper.kernel.names import parse_address
from rumphyper.kernel.netaddr import AF_INET, AF_INET6, Address, pack, pack_mask
from rumphyper.kernel.state import InterfaceAddress

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

DETECTION = 10.0
"""Seconds after which duplicate address detection must have ended."""


class AddressCalls:
    """What an `Interface` can do with its addresses."""

    kernel: Kernel
    name: str

    def _ioctl(
        self, request: int, rest: bytes = b"", family: int = AF_INET
    ) -> bytearray:
        """Make an ioctl on the interface; ``rest`` goes behind its name."""
        size = request >> 16 & 0x1FFF
        argument = ioctls.ifreq(self.name, rest)
        argument.extend(bytes(max(0, size - len(argument))))
        return ioctl(self.kernel, request, argument, self.name, family)

    def add_address(
        self, address: str | InterfaceAddress, *, detect: bool = False
    ) -> None:
        """Add an IPv4 or IPv6 address with its prefix length: ``10.0.0.2/24``.

        The interface comes up with it, as ifconfig(8) does it. The address is
        ready when this returns. ``detect`` first asks the network whether
        somebody has it (duplicate address detection, takes seconds).

        Raises InterfaceError for text that does not parse, KernelError with
        EADDRINUSE for a duplicate.
        """
        given = parse_address(self.name, address)
        with self.kernel.guard, detection(self.kernel, detect):
            if isinstance(given, IPv4Interface):
                broadcast = given.network.broadcast_address
                argument = ioctls.ifaliasreq(
                    self.name,
                    pack(given.ip),
                    pack(broadcast),
                    pack_mask(given.ip, given.network.prefixlen),
                )
                ioctl(self.kernel, ioctls.SIOCAIFADDR, argument, self._about(given))
            else:
                mask = pack_mask(given.ip, given.network.prefixlen)
                argument = ioctls.in6_aliasreq(self.name, pack(given.ip), mask)
                ioctl(
                    *(self.kernel, ioctls.SIOCAIFADDR_IN6, argument),
                    *(self._about(given), AF_INET6),
                )
        if detect:
            self._await_detection(given)

    def _about(self, address: object) -> str:
        return f"{self.name}: address {address}"

    def _await_detection(self, address: InterfaceAddress) -> None:
        end = time.monotonic() + DETECTION
        waiting, taken = (
            (ioctls.TENTATIVE | ioctls.TRYTENTATIVE, ioctls.DUPLICATED)
            if address.version == 4
            else (ioctls.TENTATIVE6, ioctls.DUPLICATED6)
        )
        while True:
            flags = self._address_flags(address.ip)
            if flags & taken:
                self.remove_address(address)
                raise self.kernel.error(
                    48, self._about(address), "another station has it: choose another"
                )
            if not flags & waiting:
                return
            if time.monotonic() > end:
                raise RumphyperError(
                    self._about(address),
                    "duplicate address detection does not end",
                    "is the interface up?",
                )
            time.sleep(0.05)

    def _address_flags(self, address: Address) -> int:
        if isinstance(address, IPv4Address):
            answer = self._ioctl(ioctls.SIOCGIFAFLAG_IN, pack(address))
        else:
            answer = self._ioctl(ioctls.SIOCGIFAFLAG_IN6, pack(address), AF_INET6)
        return int.from_bytes(answer[16:20], sys.byteorder)

    def remove_address(self, address: str | InterfaceAddress | Address) -> None:
        """Remove an address; a prefix length may be there or not.

        Raises InterfaceError for text that does not parse, KernelError with
        EADDRNOTAVAIL when the interface does not have it.
        """
        given = parse_address(self.name, address).ip
        about = self._about(given)
        if isinstance(given, IPv4Address):
            argument = ioctls.ifreq(self.name, pack(given))
            ioctl(self.kernel, ioctls.SIOCDIFADDR, argument, about)
        else:
            argument = ioctls.in6_ifreq(self.name, pack(given))
            ioctl(self.kernel, ioctls.SIOCDIFADDR_IN6, argument, about, AF_INET6)


@contextlib.contextmanager
def detection(kernel: Kernel, wanted: bool) -> Iterator[None]:
    """NetBSD's duplicate address detection on or off while addresses are added.

    The variables behind the sysctls net.inet.ip.dad_count and
    net.inet6.ip6.dad_count: how many probes are sent. The kernel looks at them
    in the call that adds the address (NetBSD sys/netinet6/nd6_nbr.c,
    nd6_dad_start; sys/netinet/if_arp.c, arp_dad_start).
    """
    counts = []
    for name, usual in (("rumpns_ip_dad_count", 3), ("rumpns_ip6_dad_count", 1)):
        with contextlib.suppress(ValueError):
            count = ctypes.c_int.in_dll(kernel.library, name)
            counts.append((count, count.value))
            count.value = usual if wanted else 0
    try:
        yield
    finally:
        for count, before in counts:
            count.value = before
