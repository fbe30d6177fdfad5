"""``rumphyper run --serve``: its arguments, and how clients come."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from rumphyper.hypercalls.proxy.listen import check_address
from rumphyper.hypercalls.proxy.url import parse
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.serving import ABIS

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

HIJACK = "librumphijack.so.0"
KNOWN_TO_LOADER = ("/lib", "/usr/lib")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--serve",
        metavar="URL",
        help="let other processes make system calls: unix:///PATH, tcp://127.0.0.1:PORT",
    )
    parser.add_argument(
        "--serve-abi",
        choices=ABIS,
        default=ABIS[0],
        help="what clients are (auto: Linux's if librumphijack brings them)",
    )
    parser.add_argument(
        "--serve-remote",
        action="store_true",
        help="permit other hosts, which are then root in the kernel",
    )


def check(args: argparse.Namespace) -> None:
    """Raise UrlError or HostError for a URL that cannot be served."""
    if args.serve:
        check_address(parse(args.serve, serving=True), args.serve_remote)


def start(kernel: Kernel, args: argparse.Namespace) -> str:
    """Serve; return lines that say how to use it, nothing if nobody is served."""
    if not args.serve:
        return ""
    url = kernel.serve(args.serve, abi=args.serve_abi, remote=args.serve_remote)
    words = [f"RUMP_SERVER={url}"]
    if kernel.served_abi == "netbsd":
        words.append("in the environment of NetBSD's tools")
    else:
        words += [*preload(), "curl http://ADDRESS/"]
    return f"serving {url}, for example:\n  {' '.join(words)}\n"


def preload() -> list[str]:
    """Settings that make the loader put librumphijack before a program."""
    words = [f"LD_PRELOAD={HIJACK}"]
    for folder in Libraries().folders:
        if os.path.exists(os.path.join(folder, HIJACK)):
            if not folder.startswith(KNOWN_TO_LOADER):
                words.insert(0, f"LD_LIBRARY_PATH={folder}")
            break
    return words
