"""The kernel's routing table."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rumphyper.errors import InterfaceError
from rumphyper.kernel.control import change_route
from rumphyper.kernel.names import DEFAULTS, parse_network, parse_plain
from rumphyper.kernel.netaddr import Address, embed_scope, pack, pack_link, pack_mask
from rumphyper.kernel.rtsock import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_IFP,
    RTA_NETMASK,
    RTF_GATEWAY,
    RTF_STATIC,
    RTF_UP,
    RTM_ADD,
    RTM_DELETE,
)
from rumphyper.kernel.state import Network, Route, all_routes

if TYPE_CHECKING:
    from rumphyper.kernel.interface import Interface
    from rumphyper.kernel.netbsd import Kernel


class RouteCalls:
    """What a `Kernel` can do with its routes."""

    @property
    def _self(self) -> Kernel:
        return cast("Kernel", self)

    def routes(self, hidden: bool = False) -> list[Route]:
        """The routing table; ``hidden``: with neighbours and own addresses."""
        return all_routes(self._self, hidden)

    def add_route(
        self,
        destination: str | Network,
        gateway: str | Address,
        interface: Interface | str | None = None,
    ) -> None:
        """Send what goes to ``destination`` by ``gateway``.

        A link-local IPv6 gateway needs the ``interface`` that it is behind.
        Raises InterfaceError for text that does not parse, KernelError
        (EEXIST, ENETUNREACH).
        """
        network = parse_network(destination)
        hop = parse_plain(f"gateway {gateway!r}", gateway)
        flags = RTF_UP | RTF_STATIC | RTF_GATEWAY
        self._route(RTM_ADD, flags, network, hop, interface)

    def delete_route(self, destination: str | Network) -> None:
        """Remove a route; KernelError (ESRCH) when there is none."""
        self._route(RTM_DELETE, RTF_UP, parse_network(destination))

    def _route(
        self,
        kind: int,
        flags: int,
        network: Network,
        gateway: Address | None = None,
        interface: Interface | str | None = None,
    ) -> None:
        thing = f"route to {network}"
        first = network.network_address
        addresses = {
            RTA_DST: pack(first),
            RTA_NETMASK: pack_mask(first, network.prefixlen),
        }
        with self._self.guard:
            index = 0
            if interface is not None:
                name = interface if isinstance(interface, str) else interface.name
                index = self._self.interface(name).index
                addresses[RTA_IFP] = pack_link(b"", index)
            if gateway is not None:
                thing += f" by {gateway}"
                if gateway.version != network.version:
                    raise InterfaceError(thing, "IPv4 and IPv6 do not mix")
                addresses[RTA_GATEWAY] = pack(embed_scope(gateway, index))
            change_route(self._self, kind, flags, addresses, thing)

    def gateway(self, version: int = 4) -> Address | None:
        """The default gateway for IP ``version`` 4 or 6, None without one."""
        network = DEFAULTS[version]
        found = (route for route in self.routes() if route.destination == network)
        return next((route.gateway for route in found if route.gateway), None)

    def set_gateway(
        self, gateway: str | Address, interface: Interface | str | None = None
    ) -> None:
        """Make ``gateway`` the default one of its IP version, in place of another.

        Raises as `add_route` does.
        """
        hop = parse_plain(f"gateway {gateway!r}", gateway)
        network = DEFAULTS[hop.version]
        with self._self.guard:
            if self.gateway(hop.version) is not None:
                self.delete_route(network)
            self.add_route(network, hop, interface)
