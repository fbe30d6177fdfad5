"""Control of VALE switches, as vale-ctl does it: list, attach, create and the rest.

Names are vale-ctl's: ``vale0:eth0`` is a port of switch vale0 (attach, detach,
polling, list), ``eth0`` or ``v1`` an interface (create, remove, info). Facts:
netmap apps/vale-ctl/vale-ctl.c, sys/net/netmap.h, netmap_bdg.c. All of it raises
HostError, whose ``errno`` is the kernel's, and LinkstrError for a name that
cannot be.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping

import attrs

from rumphyper.errors import HostError, LinkstrError
from rumphyper.link.netmap_abi import (
    ATTACH,
    DETACH,
    LIST,
    NEWIF,
    POLLING,
    POLLING_MULTI_CPU,
    POLLING_SINGLE_CPU,
    POOLS_INFO,
    PORT_INFO,
    REGISTER,
    Mode,
    Request,
)
from rumphyper.link.netmap_name import LONGEST
from rumphyper.link.netmap_request import NO_SUCH_CALL, control, open_device


@attrs.frozen
class SwitchPort:
    """One port of a switch."""

    name: str
    """``valeN:PORT``, or an interface's own name where that is attached."""

    switch: int
    port: int


@attrs.frozen
class PortInfo:
    """Sizes of a port; slots are those of one ring."""

    memory_size: int
    tx_slots: int
    rx_slots: int
    tx_rings: int
    rx_rings: int
    host_tx_rings: int
    host_rx_rings: int
    memory_id: int


@attrs.frozen
class Pool:
    """One of a memory region's pools of objects."""

    offset: int
    objects: int
    object_size: int


@attrs.frozen
class Pools:
    """What a memory region is made of."""

    memory_size: int
    memory_id: int
    interfaces: Pool
    rings: Pool
    buffers: Pool


@attrs.frozen
class Sizes:
    """Wishes for slots of a ring and for rings; 0 leaves it to the kernel."""

    tx_slots: int = 0
    rx_slots: int = 0
    tx_rings: int = 0
    rx_rings: int = 0


MOST_PORTS = 254
"""Indices of a switch's ports are below it (NM_BDG_MAXPORTS)."""

MEANS = {
    errno.ENXIO: ("there is no port or interface of that name", "see: rumphyper vale"),
    errno.ENOENT: ("it is at no switch", "see: rumphyper vale"),
    errno.EEXIST: ("there is one of that name already", "take another name"),
    errno.EBUSY: ("it is in use", "close what uses it, or detach it first"),
    errno.ENOMEM: ("no memory, or no free port at the switch", "detach others"),
    errno.EINVAL: ("the module refuses the request", "dmesg may say more"),
    errno.EPERM: ("not permitted", "run as root"),
} | dict.fromkeys(
    NO_SUCH_CALL,
    ("the module is older than API 14 and has no such request", "load a newer one"),
)
NOT_ATTACHED = ("it is no interface that is attached", "attach it: rumphyper vale -a")


def _request(
    request: Request,
    name: str,
    what: str,
    body: bytearray | None = None,
    means: Mapping[int, tuple[str, str]] | None = None,
) -> str:
    thing = f"{what} {name}".strip()
    if re.search(r"[\0-\x20]", name) or len(os.fsencode(name)) > LONGEST:
        cause = f"the name has blanks or more than {LONGEST} octets"
        raise LinkstrError(thing, cause, "use a shorter one, without blanks")
    fd = open_device(thing)
    try:
        return control(fd, request, name, body, thing=thing)
    except HostError as error:
        said = (error.cause, error.remedy)
        cause, remedy = {**MEANS, **(means or {})}.get(error.errno, said)
        raise HostError(thing, cause, remedy, error.errno) from None
    finally:
        os.close(fd)


def _at_switch(name: str, what: str) -> None:
    if not re.fullmatch(r"vale\w*:.+", name, re.ASCII):
        cause = "the name is not that of a port at a switch"
        raise LinkstrError(f"{what} {name}", cause, "write vale0:NAME")


def ports() -> Iterator[SwitchPort]:
    """The ports of all switches."""
    switch = port = 0
    while True:
        body = bytearray(LIST.pack(switch, port))
        try:
            name = _request(Request.VALE_LIST, "", "list", body)
        except HostError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        switch, port = LIST.unpack(body)
        yield SwitchPort(name, switch, port)
        port += 1


def find(name: str) -> SwitchPort:
    """Where the port ``valeN:NAME`` is; NAME may be an attached interface."""
    _at_switch(name, "list")
    body = bytearray(LIST.size)
    _request(Request.VALE_LIST, name, "list", body)
    switch, port = LIST.unpack(body)
    if port < MOST_PORTS:
        return SwitchPort(name, switch, port)
    # The kernel knows an interface by its own name only.
    interface = name.partition(":")[2]
    for found in ports():
        if (found.name, found.switch) == (interface, switch):
            return SwitchPort(name, switch, found.port)
    cause, remedy = MEANS[errno.ENOENT]
    raise HostError(f"list {name}", cause, remedy, errno.ENOENT)


def attach(
    name: str, *, host: bool = False, sizes: Sizes | None = None, memory_id: int = 0
) -> int:
    """Attach an interface to a switch (``vale0:eth0``); return the port's index.

    ``host`` attaches the host's stack too, as a port of its own.
    """
    _at_switch(name, "attach")
    s = sizes or Sizes()
    mode = Mode.NIC_SW if host else Mode.ALL_NIC
    register = REGISTER.pack(
        0, 0, s.tx_slots, s.rx_slots, s.tx_rings, s.rx_rings, 0, 0,
        memory_id, 0, mode, 0, 0,
    )  # fmt: skip
    body = bytearray(ATTACH.pack(register, 0))
    _request(Request.VALE_ATTACH, name, "attach", body)
    index: int = ATTACH.unpack(body)[1]
    return index


def detach(name: str) -> int:
    """Detach ``vale0:NAME`` from its switch; return the index that it had."""
    _at_switch(name, "detach")
    body = bytearray(DETACH.size)
    _request(Request.VALE_DETACH, name, "detach", body)
    (index,) = DETACH.unpack(body)
    return int(index)


def create(name: str, *, sizes: Sizes | None = None, memory_id: int = 0) -> Sizes:
    """Create a persistent interface to be attached; return its sizes."""
    s = sizes or Sizes()
    body = bytearray(
        NEWIF.pack(s.tx_slots, s.rx_slots, s.tx_rings, s.rx_rings, memory_id)
    )
    _request(Request.VALE_NEWIF, name, "create", body)
    return Sizes(*NEWIF.unpack(body)[:4])


def remove(name: str) -> None:
    """Remove an interface that `create` made."""
    _request(Request.VALE_DELIF, name, "remove")


def info(name: str) -> PortInfo:
    """Sizes of any port: an interface, or ``vale0:NAME``.

    Not of an interface that `create` made while it is at a switch: the module
    then forgets its name there (netmap_update_config), and nobody could detach it.
    """
    _check_detached(name, "information on")
    body = bytearray(PORT_INFO.size)
    _request(Request.PORT_INFO_GET, name, "information on", body)
    return PortInfo(*PORT_INFO.unpack(body))


def pools(name: str) -> Pools:
    """What the memory region of a port is made of; limited as `info` is."""
    _check_detached(name, "pools of")
    body = bytearray(POOLS_INFO.size)
    _request(Request.POOLS_INFO_GET, name, "pools of", body)
    size, number, *rest = POOLS_INFO.unpack(body)
    return Pools(size, number, Pool(*rest[:3]), Pool(*rest[3:6]), Pool(*rest[6:]))


def _check_detached(name: str, what: str) -> None:
    """Raise HostError for an interface at a switch that is not one of hardware."""
    interface = name.rpartition(":")[2]
    folder = f"/sys/class/net/{interface}"
    if not os.path.exists(folder) or os.path.exists(f"{folder}/device"):
        return
    if any(port.name.partition(":")[2] == interface for port in ports()):
        cause = "while it is at a switch the module would forget its name there"
        remedy = "detach it first: rumphyper vale -d"
        raise HostError(f"{what} {name}", cause, remedy, errno.EBUSY)


def start_polling(name: str, *, cpu: int = 0, cpus: int = 0) -> None:
    """Have kernel threads poll an attached interface.

    One thread on ``cpu`` for all rings, or one for each of so many ``cpus`` from
    ``cpu`` on, with the ring of that number each. The module wants at least one
    processor of the machine to be left without.
    """
    _at_switch(name, what := "start polling")
    there = os.cpu_count() or 1
    if min(cpu, cpus) < 0 or cpu + max(cpus, 1) > there:  # the module does not look
        cause = f"processors {cpu} to {cpu + max(cpus, 1) - 1} are asked for"
        remedy = f"there are 0 to {there - 1}"
        raise HostError(f"{what} {name}", cause, remedy, errno.EINVAL)
    mode = POLLING_MULTI_CPU if cpus else POLLING_SINGLE_CPU
    body = bytearray(POLLING.pack(mode, cpu, cpus or 1))
    already = ("threads poll it already", "end that first: rumphyper vale -P")
    means = {errno.EFAULT: already, errno.EOPNOTSUPP: NOT_ATTACHED}
    _request(Request.VALE_POLLING_ENABLE, name, what, body, means)


def stop_polling(name: str) -> None:
    """End what `start_polling` began."""
    _at_switch(name, what := "stop polling")
    body = bytearray(POLLING.size)
    nobody = ("no thread polls it", "begin that first: rumphyper vale -p")
    means = {errno.EFAULT: nobody, errno.EOPNOTSUPP: NOT_ATTACHED}
    _request(Request.VALE_POLLING_DISABLE, name, what, body, means)
