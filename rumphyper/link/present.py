"""Which links are on this host to be watched, for who wants to choose from a list.

Only links are named that can be watched without taking a frame away from anybody:
shared-memory buses that processes have mapped (proc_pid_maps(5)), interfaces by
packet sockets, ports of VALE switches by netmap's monitors, and what the user's
own list names. Nothing is opened for more than a look.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from rumphyper.errors import CorruptError, HostError, LinkstrError, RumphyperError
from rumphyper.link.linkstr import split_linkstr
from rumphyper.ring.shmif import MAGIC

NETMAP = "/dev/netmap"


@attrs.frozen
class Present:
    """A link that can be opened, and what it is in a few words."""

    linkstr: str
    what: str


def list_file() -> Path:
    """The user's own list: a linkstr a line, ``#`` starts a comment."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "rumphyper", "links")


def present() -> tuple[list[Present], list[RumphyperError]]:
    """The links of this host, each once, and why some could not be looked for."""
    found: dict[str, Present] = {}
    errors: list[RumphyperError] = []
    for source in (_listed, _buses, _interfaces, _vale_ports):
        try:
            for link in source():
                found.setdefault(link.linkstr, link)
        except RumphyperError as error:
            errors.append(error)
    return list(found.values()), errors


def is_bus(path: str) -> bool:
    """Whether a file looks like a shared-memory bus; what cannot be read does not.

    A FIFO or a device is not opened, for that can have consequences.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(4) == MAGIC.to_bytes(4, "little")
    except (OSError, ValueError):
        return False


def _listed() -> Iterator[Present]:
    path = list_file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except OSError as error:
        cause = error.strerror or str(error)
        raise HostError(
            str(path), cause, "make it readable", error.errno or 0
        ) from None
    except UnicodeDecodeError as error:
        raise CorruptError(str(path), str(error), "write it in UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        linkstr = line.strip()
        if linkstr and not linkstr.startswith("#"):
            try:
                split_linkstr(linkstr)
            except LinkstrError as error:
                thing = f"{path} line {number}: {error.thing}"
                raise LinkstrError(thing, error.cause, error.remedy) from None
            yield Present(linkstr, "of your list")


def _buses() -> Iterator[Present]:
    """Buses that any process has mapped whose maps may be read."""
    paths: set[str] = set()
    for maps in glob.iglob("/proc/[0-9]*/maps"):
        try:
            with open(maps, encoding="utf-8", errors="surrogateescape") as file:
                # address permissions offset device inode path
                fields = [line.rstrip("\n").split(None, 5) for line in file]
        except OSError:
            continue  # it has ended, or is somebody else's
        paths.update(row[5] for row in fields if len(row) == 6 and row[1][3] == "s")
    for path in sorted(paths):
        if path.startswith("/") and is_bus(path):
            yield Present(f"shmif:{path}", "shared-memory bus")


def _interfaces() -> Iterator[Present]:
    """Ethernet's interfaces of this network namespace, TAP devices too, and lo."""
    from rumphyper.host.netif import Netif  # not for who asks for a bus only

    with Netif() as netif:
        for name in netif.names():
            try:
                netif.mac(name)
            except HostError:
                if name != "lo":
                    continue
            yield Present(f"packet:{name}", "interface")


def _vale_ports() -> Iterator[Present]:
    if not os.path.exists(NETMAP):
        return
    from rumphyper.link import vale

    for port in vale.ports():
        # an attached interface goes by its own name
        name = port.name if ":" in port.name else f"netmap:{port.name}"
        yield Present(f"{name}/rt", f"port {port.port} of VALE switch {port.switch}")
