"""The kernel's network as a whole: making interfaces and bridges."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rumphyper.errors import (
    InterfaceError,
    KernelError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.kernel import ioctls
from rumphyper.kernel.busfile import check_bus_file
from rumphyper.kernel.control import ioctl
from rumphyper.kernel.interface import Interface
from rumphyper.kernel.interrupt import no_signals
from rumphyper.kernel.jumbo import set_mtu
from rumphyper.kernel.names import check_name
from rumphyper.kernel.routing import RouteCalls
from rumphyper.kernel.settle import settle
from rumphyper.kernel.state import InterfaceState, interface_states
from rumphyper.link.linkstr import open_link, split_linkstr

if TYPE_CHECKING:
    from rumphyper.hypercalls.families.virtif import Virtif


class NetworkCalls(RouteCalls):
    """What a `Kernel` can do with its network."""

    virtif: Virtif
    """The family that connects virt interfaces to links."""

    def __init__(self) -> None:
        self._made: dict[str, Interface] = {}
        self._found: dict[str, Interface] = {}
        """Those of the kernel's own: lo0, and what drivers of devices make."""

        self._destroying = threading.Lock()
        """One at a time: see rumphyper.kernel.busdriver."""

    def interfaces(self) -> list[InterfaceState]:
        """All interfaces as they are now, lo0 included."""
        return interface_states(self._self)

    def interface(self, name: str) -> Interface:
        """The interface called ``name``; KernelError (ENXIO) without one."""
        known = self._made.get(name) or self._found.get(name)
        found = known or Interface(self._self, check_name(name)[2])
        _ = found.index  # asks the kernel
        return known or self._found.setdefault(name, found)

    def create_interface(
        self, name: str, linkstr: str = "", **link_options: object
    ) -> Interface:
        """Create an interface and connect it.

        ``virtN`` goes over any link: ``linkstr`` and ``link_options`` are what
        `open_link` takes. ``shmifN`` is NetBSD's own driver for ``shmif:PATH``.
        Others (``bridge0``) take no linkstr. A failure leaves nothing behind:
        InterfaceError and LinkstrError for what cannot be right, KernelError
        (EEXIST when it is there already), and what `open_link` raises.
        """
        driver, unit, _ = check_name(name)
        with self._self.guard:
            if any(state.name == name for state in self.interfaces()):
                raise self._self.error(17, name, "choose another unit number")
            if driver == "virt":
                return self._create_virt(name, unit, linkstr, link_options)
            if driver == "shmif":
                return self._create_shmif(name, linkstr, link_options)
            if linkstr or link_options:
                raise InterfaceError(
                    name,
                    f"{driver} interfaces have no link",
                    f"connect a virt interface to {linkstr}",
                )
            self._create(name)
            return self._keep(Interface(self._self, name))

    def _create_virt(
        self, name: str, unit: str, linkstr: str, options: dict[str, object]
    ) -> Interface:
        if "virtif" not in self._self.components:
            raise KernelError(name, "the virtif component is not loaded")
        if not self._self.provided.interposed:
            raise UnsupportedError(
                name,
                "without machine-code templates for this host, or with "
                "RUMPHYPER_THUNKS=0, hypercalls cannot be answered in Python",
                "use shmif interfaces",
            )
        if not linkstr:
            raise LinkstrError(
                name, "a virt interface needs a linkstr", "such as tap:tap0"
            )
        # Before the interface: the driver touches freed memory when its own
        # attempt fails (NetBSD sys/rump/net/lib/libvirtif/if_virt.c, virtif_clone).
        link = open_link(linkstr, **options)
        try:
            self.virtif.links[unit] = link
            self._create(name)
        except BaseException:
            link.close()
            raise
        finally:
            self.virtif.links.pop(unit, None)
        interface = self._keep(Interface(self._self, name, linkstr, link))
        if link.mtu != interface.mtu:
            set_mtu(self._self, name, link.mtu)
        return interface

    def _create_shmif(
        self, name: str, linkstr: str, options: dict[str, object]
    ) -> Interface:
        scheme, path = split_linkstr(linkstr)
        if scheme.name != "shmif" or options:
            raise LinkstrError(
                name,
                "NetBSD's shmif driver takes shmif:PATH and no options",
                f"or connect a virt interface to {linkstr}",
            )
        check_bus_file(path)
        self._self.provided.protect_joins()
        self._create(name)
        try:
            text = ctypes.create_string_buffer(os.fsencode(path))
            argument = ioctls.ifdrv(name, 0, ctypes.addressof(text), len(text))
            ioctl(self._self, ioctls.SIOCSLINKSTR, argument, f"{name}: {linkstr}")
        except BaseException:
            self._destroy(name)
            raise
        return self._keep(Interface(self._self, name, linkstr))

    def _create(self, name: str) -> None:
        try:
            with no_signals():
                ioctl(self._self, ioctls.SIOCIFCREATE, ioctls.ifreq(name), name)
        except KernelError as error:
            if error.netbsd_errno == 22:  # EINVAL: no driver of this name
                error.remedy = f"drivers here: {', '.join(self.drivers())}"
            raise

    def _keep(self, interface: Interface) -> Interface:
        self._made[interface.name] = interface
        return interface

    def drivers(self) -> list[str]:
        """Names of the drivers whose interfaces can be created."""
        names = ctypes.create_string_buffer(ioctls.IFNAMSIZ * 64)
        argument = bytearray(
            struct.pack("@iiP", 0, 64, ctypes.addressof(names)),
        )
        answer = ioctl(self._self, ioctls.SIOCIFGCLONERS, argument, "drivers")
        total, _, _ = struct.unpack("@iiP", answer)
        step = ioctls.IFNAMSIZ
        found = (names.raw[place * step : (place + 1) * step] for place in range(total))
        return sorted(name.rstrip(b"\0").decode() for name in found)

    def destroy_interface(self, interface: Interface | str) -> None:
        """Take an interface down, remove it and close its link.

        Raises KernelError: ENXIO when there is none, EPERM for one that
        cannot be removed (lo0 and a device's are the kernel's own).
        """
        name = interface if isinstance(interface, str) else interface.name
        kept = self._made.get(name) or self.interface(name)
        with self._self.guard:
            # A driver that refuses leaves an interface that takes no ioctl ever
            # again (NetBSD sys/net/if.c, if_clone_destroy): give it no reason.
            # The reasons are being up, and being the kernel's own loopback.
            if name == "lo0" or check_name(name)[0] not in self.drivers():
                raise self._self.error(1, name, "it is the kernel's own")
            kept.release()
            kept.down()
            self._destroy(name)
            self._made.pop(name, None)
            self._found.pop(name, None)
            if kept.link is not None:
                kept.link.close()

    def destroy_all(self) -> None:
        """Destroy the interfaces that were created here, the last one first.

        The kernel's own are taken down. Goes on with the others when one fails;
        the first failure is raised.
        """
        failures = []
        for interface in reversed([*self._found.values(), *self._made.values()]):
            try:
                if interface.name in self._made:
                    self.destroy_interface(interface)
                else:
                    interface.release()
                    interface.down()
            except RumphyperError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _destroy(self, name: str) -> None:
        with self._destroying:
            settle(self._self.library)
            ioctl(self._self, ioctls.SIOCIFDESTROY, ioctls.ifreq(name), name)
            self._self.provided.buses.collect()

    def create_bridge(
        self, name: str, members: Iterable[Interface | str] = ()
    ) -> Interface:
        """Create ``bridgeN``, join ``members`` to it and bring it up.

        Members forward frames between each other when they are up; they are
        switched to receive all frames. A failure leaves no bridge behind.
        """
        with self._self.guard:
            bridge = self.create_interface(name)
            try:
                for member in members:
                    self.bridge_add(bridge, member)
                bridge.up()
            except BaseException:
                self.destroy_interface(bridge)
                raise
        return bridge

    def bridge_add(self, bridge: Interface | str, member: Interface | str) -> None:
        """Make an interface a member of a bridge."""
        self._bridge(bridge, member, ioctls.BRDGADD)

    def bridge_remove(self, bridge: Interface | str, member: Interface | str) -> None:
        """Take an interface out of a bridge."""
        self._bridge(bridge, member, ioctls.BRDGDEL)

    def _bridge(
        self, bridge: Interface | str, member: Interface | str, command: int
    ) -> None:
        outer = bridge if isinstance(bridge, str) else bridge.name
        inner = member if isinstance(member, str) else member.name
        check_name(outer)
        check_name(inner)
        request = ioctls.ifbreq(inner)
        place = ctypes.addressof(ctypes.c_char.from_buffer(request))
        argument = ioctls.ifdrv(outer, command, place, len(request))
        try:
            ioctl(self._self, ioctls.SIOCSDRVSPEC, argument, f"{outer}: member {inner}")
        except KernelError as error:
            if error.netbsd_errno == 22:  # EINVAL, sys/net/if_bridge.c
                error.remedy = "a member needs the MTU of the bridge"
            raise
