"""What benchmarks in a network namespace share: the process, sockets, quiet."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import rumphyper
from rumphyper.errors import HostError

from .harness import Row

SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20

CHILD = """
import importlib, sys
from rumphyper.cli import bench
name = bench._package().__name__
importlib.import_module(f"{name}.{sys.argv[1]}").inside(sys.argv[2] == "quick")
"""


def rows_of_child(bench: str, quick: bool) -> Iterator[Row]:
    """Run ``inside`` of a benchmark in a process of its own; yield what it prints."""
    folder = str(Path(rumphyper.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, bench, "quick" if quick else "full"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        for line in child.stdout:
            yield Row(**json.loads(line))
    if child.returncode:
        cause = f"its process ended with {child.returncode}"
        raise HostError(f"bench {bench}", cause)


def print_rows(rows: Iterable[Row]) -> None:
    """Print what a benchmark measures in the child, a line of JSON each."""
    for row in rows:
        print(json.dumps(row.as_dict()), flush=True)


def packet_socket() -> socket.socket:
    """A socket that sends frames past the queueing discipline."""
    source = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    source.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    return source


def quieten(interface: str) -> None:
    """Keep frames of the kernel's own off an interface."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")
