"""One network interface of the kernel."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from rumphyper.errors import InterfaceError, KernelError
from rumphyper.kernel import ioctls
from rumphyper.kernel.addressing import AddressCalls, detection
from rumphyper.kernel.control import ioctl
from rumphyper.kernel.netaddr import (
    AF_LINK,
    pack_link,
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

SMALLEST_MTU, LARGEST_MTU = 46, 1500
"""What ether_ioctl takes: NetBSD sys/net/if_ethersubr.c (no jumbo frames)."""


class Interface(AddressCalls):
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
