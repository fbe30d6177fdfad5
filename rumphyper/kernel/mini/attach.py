"""Connecting an interface to its link through the host, and the way back.

Facts: sys/rump/net/lib/libvirtif/if_virt.c of NetBSD.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.calls import check
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.interface import Address, Interface
from rumphyper.kernel.mini.system import System


def attach(system: System, interface: Interface, addresses: Sequence[Address]) -> None:
    """Connect the interface to its link and list it, or undo all that.

    Raises MiniKernelError, and AddressError for an address that cannot be.
    """
    interface.propose_mac(system.random(1)[0])
    user = ctypes.c_void_p()
    errno = system.calls.virt_create(
        interface.linkstr.encode("utf-8", "surrogateescape"),
        interface.softc,
        interface.mac_address,
        ctypes.byref(user),
    )
    check(
        "virt_create",
        errno,
        f"{interface.name} on {interface.linkstr}",
        "the host has said why on its error output",
    )
    try:
        interface.attach(user.value or 0, addresses)
        if not system.network.add(interface):
            raise exists(interface.name)
    except BaseException:
        disconnect(system, interface)
        raise


def disconnect(system: System, interface: Interface) -> None:
    """Let the host close the link; no frame comes after that."""
    interface.detach()
    if interface.user:
        errno = system.calls.virt_dying(interface.user)
        system.calls.virt_destroy(interface.user)
        check("virt_dying", errno, interface.name)


def exists(name: str) -> MiniKernelError:
    """The error for an interface that is there already."""
    return MiniKernelError(
        f"interface {name}",
        "it exists already",
        "destroy it first, or take another number",
        netbsd_errno=abi.EEXIST,
    )
