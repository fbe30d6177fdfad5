"""Do the libraries fit together? Asked of them, in a process of its own.

librump tells its RUMPUSER_VERSION in rumpuser_init only, and the stock
librumpuser aborts there when it is not its own (NetBSD
lib/librumpuser/rumpuser.c). So a child process loads both, lets rump_init come
as far as that hypercall, and calls the stock function last.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys

import attrs

from rumphyper.errors import LibraryError, RumphyperError
from rumphyper.host.thunks import check_supported
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.hypercalls.upcalls import Hyperup
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.loader import load
from rumphyper.kernel.stock import function_address, open_stock
from rumphyper.kernel.versions import version_text

PATIENCE = 20.0


@attrs.frozen
class Probe:
    """What the libraries said."""

    netbsd: str
    """NetBSD's version, such as ``7.99.34``."""

    rumpuser: int
    """RUMPUSER_VERSION of librump."""

    stock_agrees: bool | None
    """Whether librumpuser has the same; None when it is not there."""

    @property
    def agrees(self) -> bool:
        """Whether a kernel can boot on these hypercalls and on the stock ones."""
        return self.rumpuser == RUMPUSER_VERSION and self.stock_agrees is not False


def probe(libraries: Libraries) -> Probe:
    """Ask the libraries. Raises LibraryError when they cannot even be loaded."""
    command = [sys.executable, "-m", "rumphyper.kernel.probe", *libraries.folders]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path),
            },
        )
    except subprocess.TimeoutExpired:
        raise LibraryError(
            libraries.components["kern"].path, "loading it does not end"
        ) from None
    lines = result.stdout.splitlines()
    if not lines:
        said = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        raise LibraryError(
            libraries.components["kern"].path, said[-1], "install the libraries again"
        )
    netbsd, rumpuser = json.loads(lines[0])
    agrees = None if libraries.rumpuser is None else "agrees" in lines
    if agrees is False and result.returncode not in (-signal.SIGABRT, 0):
        raise LibraryError(
            libraries.rumpuser or "",
            f"its rumpuser_init ended the process with {result.returncode}",
            "install the libraries again",
        )
    return Probe(netbsd, rumpuser, agrees)


def _child(folders: list[str]) -> None:
    check_supported()
    libraries = Libraries(folders)
    said: list[int] = []

    def init(version: int, hyp: int) -> int:
        said.append(version)
        return Errno.EINVAL  # so that rump_init goes no further

    hypervisor = Hypervisor([])
    hypervisor.bind("rumpuser_init", init)
    hypervisor.bind("rumpuser_dprintf", function_address("abs"))  # prints nothing
    hypervisor.start()
    kernel = load(libraries.plan(()))
    kernel.rump_init()
    netbsd = version_text(kernel.rump_getversion())
    print(json.dumps([netbsd, said[0] if said else 0]), flush=True)
    if libraries.rumpuser and said:
        stock = open_stock(libraries.rumpuser)
        stock.rumpuser_init(said[0], ctypes.byref(Hyperup()))
        print("agrees", flush=True)


if __name__ == "__main__":
    try:
        _child(sys.argv[1:])
    except RumphyperError as error:
        sys.exit(str(error))
