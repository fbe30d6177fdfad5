"""How the two ends of a device agree, by keys of xenstore.

Each end has a folder with its keys and its state; it watches the other's state.
What is in the other's folder is checked before use. Facts: Xen
xen/include/public/io/xenbus.h; Linux drivers/xen/xenbus/xenbus_client.c.
"""

from __future__ import annotations

import enum
import os

from rumphyper.errors import CorruptError
from rumphyper.xen.operations import Operations
from rumphyper.xen.xenstore import Xenstore

REMEDY = "look at both ends' keys with xenstore-ls; have the device made again"


class State(enum.IntEnum):
    """XenbusState: how far an end is."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8


def number(store: Operations, path: str, most: int = 0xFFFFFFFF) -> int:
    """A key that has to be a number up to ``most``. CorruptError: it is not."""
    value = store.get(path)
    if value is None:
        raise CorruptError(path, "the key is missing", REMEDY)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise CorruptError(path, f"{value[:40]!r} is not a number", REMEDY)
    if int(value) > most:
        raise CorruptError(path, f"{value} is more than {most}", REMEDY)
    return int(value)


def flag(store: Operations, path: str) -> bool:
    """A key that says yes or no; no where there is none."""
    return store.get(path) is not None and number(store, path) != 0


def state(store: Operations, folder: str) -> State:
    """An end's state, `State.UNKNOWN` where it has none. CorruptError."""
    path = f"{folder}/state"
    if store.get(path) is None:
        return State.UNKNOWN
    return State(number(store, path, State.RECONFIGURED))


def switch(store: Xenstore, folder: str, new: State) -> None:
    """Set an end's own state, unless its folder has been removed."""

    def work(inside: Operations) -> None:
        if inside.get(f"{folder}/state") is not None:
            inside.write(f"{folder}/state", int(new))

    store.transact(work)


def driver(kind: str, device: str) -> str | None:
    """The kernel's driver that has a device (``xen`` or ``xen-backend``, name)."""
    try:
        link = os.readlink(f"/sys/bus/{kind}/devices/{device}/driver")
    except OSError:
        return None
    return os.path.basename(link)


def has_driver(kind: str, name: str) -> bool:
    """Whether the kernel has a driver of a bus loaded, which takes new devices."""
    return os.path.exists(f"/sys/bus/{kind}/drivers/{name}")
