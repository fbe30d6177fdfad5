"""NetBSD's file systems on images of the host, in a process of its own.

``python -m tests.hypercalls.netbsd_disks MODE FOLDER THREADS`` boots a kernel,
mounts an FFS and an ext2 image that it finds in the folder, works on both from
several threads at once, and prints one JSON object. THREADS is RUMP_THREADS from
then on: "0" lets block I/O do without, though the kernel has its own. "none" lets
the host give no further thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import rumphyper
from rumphyper.hypercalls.trace import Trace
from tests.hypercalls.netbsd_kernel import at_once
from tests.real.file_checks.kit import command, tree
from tests.seccomp import refuse_threads

COMPONENTS = ("net", "netinet", "vfs", "dev", "disk", "ffs", "ext2fs")
KINDS = ("ffs", "ext2fs")
THREADS, ROUNDS = 2, 6
"""Threads for each image, and files that each of them writes."""


def make_images(folder: Path) -> None:
    """The two images, made by the host's tools (a missing one skips the test)."""
    top = tree(folder)
    command("makefs", "-t", "ffs", "-s", "8m", folder / "ffs", top)
    command(
        *("mke2fs", "-q", "-t", "ext2", "-O", "none,filetype,sparse_super"),
        *("-I", "128", "-d", top, folder / "ext2fs", "8M"),
    )


def work(kernel: Any, top: str, number: int, sums: dict[str, str]) -> None:
    """Write files of odd sizes in odd pieces, sync, and read them again."""
    for turn in range(ROUNDS):
        path = f"{top}/{number}-{turn}"
        data = os.urandom(3_000 + 41_000 * turn)
        with kernel.open(path, "wb") as file:
            for start in range(0, len(data), 7_001):
                file.write(data[start : start + 7_001])
            file.flush()
            kernel.fs.fsync(file.fileno())
        with kernel.open(path, "rb") as file:
            assert file.read() == data, path
        sums[path] = hashlib.sha256(data).hexdigest()
        if turn % 2:
            kernel.fs.unlink(path)
            del sums[path]


def check(kernel: Any, sums: dict[str, str]) -> int:
    """How many files have what was written."""
    same = 0
    for path, digest in sums.items():
        with kernel.open(path, "rb") as file:
            same += hashlib.sha256(file.read()).hexdigest() == digest
    return same


def main(mode: str, folder: str, rump_threads: str) -> None:
    """Boot, work, unmount, mount again, look; print the report."""
    trace = Trace(keep=0, families=["files"])
    kernel = rumphyper.boot(COMPONENTS, hypercalls=mode, trace=trace)
    if rump_threads == "none":
        refuse_threads()
        kernel.hypervisor.reporter.write = str  # it is in `problems`
    else:
        os.environ["RUMP_THREADS"] = rump_threads
    sums: dict[str, str] = {}
    for kind in KINDS:
        kernel.expose(f"{folder}/{kind}", f"/dev/{kind}")
        kernel.fs.mkdir(f"/{kind}")
        kernel.fs.mount(kind, f"/{kind}", f"/dev/{kind}")
    jobs = [
        partial(work, kernel, f"/{kind}", number, sums)
        for kind in KINDS
        for number in range(THREADS)
    ]
    if rump_threads == "none":
        for job in jobs:
            job()
    else:
        at_once(*jobs)
    for kind in KINDS:
        kernel.fs.unmount(f"/{kind}")
        kernel.fs.mount(kind, f"/{kind}", f"/dev/{kind}", read_only=True)
    report = {
        "files": len(sums),
        "same": check(kernel, sums),
        "transfers": trace.counts()["rumpuser_bio"],
        "workers": [t.name for t in threading.enumerate() if "bio" in t.name],
    }
    for kind in KINDS:
        kernel.fs.unmount(f"/{kind}")
    kernel.close()
    print(json.dumps({**report, "problems": kernel.hypervisor.reporter.problems}))


if __name__ == "__main__":
    main(*sys.argv[1:])
