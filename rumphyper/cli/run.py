"""``rumphyper run``: boot NetBSD with interfaces, run a script in it."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, TextIO

from rumphyper.cli import faults, serve
from rumphyper.cli.interfaces import FORM, InterfaceSpec, parse_all
from rumphyper.errors import RumphyperError
from rumphyper.hypercalls.families.console import to_stderr
from rumphyper.hypercalls.modes import MODES
from rumphyper.kernel.boot import NCPU, boot
from rumphyper.kernel.pcidevices import MEBIBYTE, MEMORY
from rumphyper.kernel.pcispec import FORM as PCI_FORM
from rumphyper.kernel.tuning import TCP_BUFFER, set_tcp_buffers

if TYPE_CHECKING:
    from rumphyper.hypercalls.trace import Trace
    from rumphyper.kernel.netbsd import Kernel
    from rumphyper.kernel.state import InterfaceState

LOOPBACK = "127.0.0.1/8"

EPILOG = """\
The script finds the kernel as `kernel`, or by rumphyper.current_kernel().
Without a script the kernel stays up until Ctrl-C. An address of a LINKSTR's
far side, Linux's of a TAP say, is not this command's business.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those that say what to run."""
    parser.epilog = EPILOG
    parser.add_argument(
        *("-i", "--interface"),
        action="append",
        default=[],
        metavar="SPEC",
        help=f"{FORM}; bridge0=virt0+shmif0 for a bridge",
    )
    parser.add_argument(
        "--pci",
        action="append",
        default=[],
        metavar="DEVICE",
        help=f"for NetBSD's own driver: {PCI_FORM}",
    )
    parser.add_argument(
        "--pci-memory",
        type=int,
        default=MEMORY // MEBIBYTE,
        metavar="MIB",
        help="the kernel's memory with PCI devices (default %(default)s)",
    )
    parser.add_argument(
        "--hypercalls",
        choices=tuple(MODES),
        help="who answers the kernel (default: hybrid; libc without librumpuser)",
    )
    parser.add_argument(
        "--ncpu",
        type=int,
        metavar="N",
        help=f"virtual CPUs (default: RUMP_NCPU in the environment, else {NCPU})",
    )
    parser.add_argument(
        "--tcp-buffer",
        type=int,
        default=TCP_BUFFER,
        metavar="OCTETS",
        help="of a TCP socket, each way (default %(default)s)",
    )
    parser.add_argument(
        "--components", metavar="NAME,...", help="what to load (default: TCP/IP)"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show NetBSD's boot messages"
    )
    serve.configure(parser)
    faults.configure(parser)
    parser.add_argument("script", nargs="?", metavar="SCRIPT")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")


def run(args: argparse.Namespace, trace: Trace | None = None) -> int:
    """Boot, make the interfaces, run the script or wait; then the summary.

    With a ``trace`` that takes the summary's place.
    Returns the script's exit status, 0 after Ctrl-C without a script, 130
    after Ctrl-C in one.
    """
    serve.check(args)
    if args.script and not os.path.exists(args.script):
        raise RumphyperError(args.script, "no such script")
    specs = parse_all(args.interface)
    session = Session(args, specs, trace)
    try:
        try:
            status = session.go()
        finally:  # one Ctrl-C ends it; nothing interrupts the end
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        status = 130 if args.script else 0
    finally:
        session.finish()
    return faults.status(session.kernel, status)


class Session:
    """One kernel, from boot to summary."""

    def __init__(
        self,
        args: argparse.Namespace,
        specs: list[InterfaceSpec],
        trace: Trace | None = None,
    ) -> None:
        self.args = args
        self.specs = specs
        self.trace = trace
        self.kernel: Kernel | None = None
        self.ready = False
        """Whether there is something to sum up."""

    def go(self) -> int:
        """Everything up to the end of the script, or Ctrl-C."""
        args = self.args
        names = args.components.split(",") if args.components else None
        self.kernel = kernel = boot(
            names,
            hypercalls=args.hypercalls,
            ncpu=args.ncpu,
            verbose=args.verbose,
            faults=faults.attachments(args),
            pci=args.pci,
            pci_memory=args.pci_memory * MEBIBYTE,
            trace=self.trace,
            # Standard output is for the JSON alone.
            console=to_stderr if args.json else None,
        )
        kernel.quiet = not args.verbose
        set_tcp_buffers(kernel, args.tcp_buffer)
        if not any(spec.name == "lo0" for spec in self.specs):
            kernel.interface("lo0").add_address(LOOPBACK)
        for spec in self.specs:
            spec.create(kernel)
        how = serve.start(kernel, args)
        self.ready = True
        if args.script or args.json:
            print(how, end="", file=sys.stderr)
        if args.script:
            return run_script(args.script, args.arguments, kernel)
        if not args.json:
            show_interfaces(kernel, sys.stdout)
            print(f"{how}Ctrl-C ends it.", flush=True)
        threading.Event().wait()
        return 0

    def finish(self) -> None:
        """Print the summary, if it came that far, and shut the kernel down."""
        kernel = self.kernel
        if kernel is None:
            return
        stream = sys.stderr if self.args.script else sys.stdout
        try:
            faults.end(kernel)
            states = kernel.interfaces()
            if not self.ready or self.trace is not None:
                pass
            elif self.args.json:
                found = [state.as_dict() for state in states]
                summary = {"interfaces": found, **faults.as_dict(kernel)}
                print(json.dumps(summary), flush=True)
            else:
                show_counters(states, stream)
                faults.show(kernel, stream)
        finally:
            kernel.close()


def run_script(path: str, arguments: list[str], kernel: Kernel) -> int:
    """Run a Python file as the main program; return its exit status.

    An exception that it lets out is shown as Python would, status 1.
    """
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        runpy.run_path(path, {"kernel": kernel}, "__main__")
    except SystemExit as end:
        return exit_status(end.code)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = error.__traceback__
        while where is not None and where.tb_frame.f_code.co_filename != path:
            where = where.tb_next  # the script's own part of it
        traceback.print_exception(error.with_traceback(where))
        return 1
    finally:
        sys.stdout.flush()
    return 0


def exit_status(code: object) -> int:
    """What the process ends with for SystemExit's code, as Python has it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def show_interfaces(kernel: Kernel, stream: TextIO) -> None:
    """What there is, one line each."""
    print(f"NetBSD {kernel.version}", file=stream)
    for state in kernel.interfaces():
        addresses = " ".join(str(address) for address in state.addresses)
        linkstr = kernel.interface(state.name).linkstr
        words = [state.name, linkstr, "up" if state.is_up else "down", addresses]
        print("  " + "  ".join(word for word in words if word), file=stream)


def show_counters(states: list[InterfaceState], stream: TextIO) -> None:
    """The summary: frames and octets of each interface."""
    print(
        f"{'interface':10}{'received':>12}{'octets':>14}{'sent':>12}{'octets':>14}"
        f"{'errors':>9}{'dropped':>9}",
        file=stream,
    )
    for state in states:
        count = state.counters
        errors = count.receive_errors + count.send_errors
        print(
            f"{state.name:10}{count.received:12}{count.received_bytes:14}"
            f"{count.sent:12}{count.sent_bytes:14}{errors:9}{count.dropped:9}",
            file=stream,
        )
    stream.flush()
