"""A server that is no program of NetBSD's: a kernel that this package has booted.

    python -m tests.real.proxy_server MODE URL

Boots NetBSD, has it serve URL and sleeps until killed. In the mode ``native`` it
is the stock server's code (librumpuser's), otherwise this package's.
"""

from __future__ import annotations

import signal
import sys

import rumphyper
from rumphyper.kernel.boot import NEEDED, WANTED


def main(mode: str, url: str) -> None:
    kernel = rumphyper.boot((*NEEDED, *WANTED, "fifofs"), hypercalls=mode)
    kernel.serve(url)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
