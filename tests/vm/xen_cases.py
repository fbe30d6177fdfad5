"""What runs in processes of their own in Xen's dom0; test_xen_link judges.

    python -m tests.vm.xen_cases CASE [ARGUMENT...]

What a case returns is printed as one line of JSON.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import threading
import zlib
from typing import Any

from rumphyper.link import Link, open_link
from tests.vm.xen_support import LINUX, PYTHON, run

PORT = 7001


def octets(count: int) -> bytes:
    """So many octets, in which no two frames are alike."""
    block = random.Random(1).randbytes(65_537)
    return (block * (count // len(block) + 1))[:count]


def serve(listener: socket.socket, count: int, found: list[int]) -> None:
    """Take ``count`` octets, then give as many, to one client."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(100)
        found.append(taken(connection, count))
        connection.sendall(octets(count))


def taken(connection: socket.socket, count: int) -> int:
    """The checksum (CRC 32) of the next octets."""
    value, left = 0, count
    while left:
        some = connection.recv(min(left, 1 << 16))
        if not some:
            break
        value = zlib.crc32(some, value)
        left -= len(some)
    return value


def forward(one: Link, other: Link, over: threading.Event) -> None:
    """Move frames both ways."""
    while not over.is_set():
        select.select([one, other], [], [], 0.1)
        for source, target in ((one, other), (other, one)):
            left = source.recv(timeout=0)
            while left and not over.is_set():
                left = left[target.send(left) :]


def tcp(linkstr: str, count: str) -> dict[str, Any]:
    """TCP of a TAP's kernel, whose frames go over the link, up and then down."""
    with open_link(linkstr) as link, open_link("tap:tap0", mac=link.mac) as tap:
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{PYTHON}/24", "dev", "tap0")
        run("ip", "link", "set", "tap0", "address", link.mac.hex(":"), "up")
        over = threading.Event()
        thread = threading.Thread(target=forward, args=(link, tap, over))
        thread.start()
        try:
            with socket.create_connection((LINUX, PORT), timeout=100) as client:
                client.sendall(octets(int(count)))
                down = taken(client, int(count))
        finally:
            over.set()
            thread.join()
        return {"down": down, **link.counters.as_dict()}


def hold(linkstr: str) -> None:
    """Open a link and wait to be killed."""
    link = open_link(linkstr)
    print("open", flush=True)
    for frame in link:
        link.send([frame])


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)
