"""One network interface of the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address, ip_interface
from typing import TYPE_CHECKING

from rumphyper.errors import InterfaceError, KernelError, RumphyperError
from rumphyper.kernel import ioctls
from rumphyper.kernel.control import ioctl
from rumphyper.kernel.netaddr import (
    AF_INET,
    AF_INET6,
    AF_LINK,
    Address,
    pack,
    pack_link,
    pack_mask,
)
from rumphyper.kernel.state import (
    InterfaceAddress,
    InterfaceCounters,
    InterfaceState,
    interface_states,
)
from rumphyper.net.dhcp import Lease
from rumphyper.net.mac import format_mac, is_group, parse_mac

if TYPE_CHECKING:
    from rumphyper.kernel.dhcp import Client
    from rumphyper.kernel.netbsd import Kernel
    from rumphyper.link.base import Link

_ORDER = sys.byteorder

DETECTION = 10.0
"""Seconds after which duplicate address detection must have ended."""

SMALLEST_MTU, LARGEST_MTU = 46, 1500
"""What ether_ioctl takes: NetBSD sys/net/if_ethersubr.c (no jumbo frames)."""


class Interface:
    """An interface of the kernel, by its name.

    `Kernel.create_interface` makes one, `Kernel.interface` finds one. All
    methods raise KernelError when the kernel refuses (ENXIO: the interface is
    gone), and KernelClosedError.
    """

    def __init__(
        self, kernel: Kernel, name: str, linkstr: str = "", link: Link | None = None
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.linkstr = linkstr
        """What it is connected to; empty for lo0, bridges and the like."""

        self.link = link
        """The link behind a virt interface."""

        self.dhcp_client: Client | None = None
        """Set by `dhcp`: holds the lease until the interface goes."""

    def __repr__(self) -> str:
        return f"<Interface {self.name} {self.linkstr}".rstrip() + ">"

    def _ioctl(
        self, request: int, rest: bytes = b"", family: int = AF_INET
    ) -> bytearray:
        size = request >> 16 & 0x1FFF
        argument = ioctls.ifreq(self.name, rest)
        argument.extend(bytes(max(0, size - len(argument))))
        return ioctl(self.kernel, request, argument, self.name, family)

    def _number(self, request: int) -> int:
        answer = self._ioctl(request)
        return int.from_bytes(answer[16:20], _ORDER, signed=True)

    @property
    def index(self) -> int:
        """The kernel's number of the interface."""
        return self._number(ioctls.SIOCGIFINDEX)

    def state(self) -> InterfaceState:
        """Everything about it at this moment."""
        with self.kernel.guard:
            states = interface_states(self.kernel, self.index)
        if not states:
            raise self.kernel.error(6, self.name)  # ENXIO: gone just now
        return states[0]

    @property
    def is_up(self) -> bool:
        return bool(self._flags() & ioctls.IFF_UP)

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Its addresses, IPv6 link-local ones included."""
        return self.state().addresses

    @property
    def counters(self) -> InterfaceCounters:
        return self.state().counters

    def _flags(self) -> int:
        return int.from_bytes(self._ioctl(ioctls.SIOCGIFFLAGS)[16:18], _ORDER)

    def up(self) -> None:
        """Let it carry frames. No effect when it does already."""
        with self.kernel.guard, detection(self.kernel, False):
            flags = self._flags() | ioctls.IFF_UP
            self._ioctl(ioctls.SIOCSIFFLAGS, flags.to_bytes(2, _ORDER))

    def down(self) -> None:
        """Stop it; its addresses stay."""
        with self.kernel.guard:
            flags = self._flags() & ~ioctls.IFF_UP
            self._ioctl(ioctls.SIOCSIFFLAGS, flags.to_bytes(2, _ORDER))

    def destroy(self) -> None:
        """Remove it and close its link."""
        self.kernel.destroy_interface(self)

    @property
    def mac(self) -> bytes:
        """6 octets; may be set, also from ``b2:a0:...``. Empty for lo0."""
        return self.state().mac

    @mac.setter
    def mac(self, value: bytes | str) -> None:
        new = parse_mac(value) if isinstance(value, str) else bytes(value)
        if len(new) != 6 or is_group(new) or not any(new):
            raise InterfaceError(
                f"{self.name}: Ethernet address {format_mac(new) or repr(new)}",
                "not the address of one station",
                "give 6 octets, the lowest bit of the first one clear",
            )
        with self.kernel.guard:
            old = self.mac
            self._link_address(ioctls.SIOCALIFADDR, new, ioctls.IFLR_ACTIVE)
            if old != new:
                # The one it was born with stays (EBUSY), earlier ones go.
                with contextlib.suppress(KernelError):
                    self._link_address(ioctls.SIOCDLIFADDR, old)

    def _link_address(self, request: int, mac: bytes, flags: int = 0) -> None:
        argument = ioctls.if_laddrreq(self.name, flags, pack_link(mac))
        ioctl(self.kernel, request, argument, self.name, AF_LINK)

    @property
    def mtu(self) -> int:
        """Octets of payload in a frame; may be set, at most 1500."""
        return self._number(ioctls.SIOCGIFMTU)

    @mtu.setter
    def mtu(self, value: int) -> None:
        largest = min(LARGEST_MTU, self.link.mtu) if self.link else LARGEST_MTU
        if not SMALLEST_MTU <= value <= largest:
            raise InterfaceError(
                f"{self.name}: MTU {value}",
                f"not between {SMALLEST_MTU} and {largest}",
                "raise the link's MTU first" if largest < LARGEST_MTU else "",
            )
        self._ioctl(ioctls.SIOCSIFMTU, value.to_bytes(4, _ORDER))

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
        return int.from_bytes(answer[16:20], _ORDER)

    def dhcp(self, timeout: float = 30.0, hostname: str = "") -> Lease:
        """Get an address and a default gateway from a DHCP server; bring it up.

        Once: the lease is not renewed. It is given back when the interface is
        destroyed or the kernel is closed. Raises RumphyperError when no server
        gives one within ``timeout`` seconds, KernelError without bpf.
        """
        from rumphyper.kernel.dhcp import Client

        self.release()
        client = Client(self, hostname)
        lease = client.run(timeout)
        self.dhcp_client = client
        return lease

    def release(self) -> None:
        """Give a lease of `dhcp` back. No effect without one."""
        client, self.dhcp_client = self.dhcp_client, None
        if client is not None:
            client.release()

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
