"""Runs CPython's own test_socket with the kernel's sockets in place of its own.

    python -m tests.real.cpython_session

The names that test_socket uses are replaced: socket.socket, socketpair, fromfd,
select.select, and what makes files for AF_UNIX paths. Prints one JSON object
per test: the id, and ``ok``, ``skip`` or the traceback.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import importlib
import json
import os
import select
import socket
import sys
import tempfile
import unittest
from types import SimpleNamespace
from typing import Any

from tests.real.kernel_session import PATIENCE
from tests.real.rump import boot

OTHER_FAMILIES = (
    *("CAN", "ISOTP", "J1939", "RDS", "VSOCK", "Bluetooth", "BT", "UDPLITE", "TIPC"),
    *("QIPCRTR", "Crypto", "ALG", "Hyperv", "HV"),
)
NOT_SOCKETS = (
    # What these test is the module or the host: not the sockets' behaviour.
    *("NetworkConnectionBehaviourTest", "SCMRights", "SendfileUsingSendfile"),
    *("LinuxAbstract", "NetworkInterface", "CreateServer", "SendRecvFds", "Sharing"),
    *("ReentrantMutex", "Inheritance", "UnicodeRead", "UnicodeWrite", "FreeBSD"),
    *("TestMacOS", "TestMSWindows", "FunctionalityTest", "WSASocket", "PurePython"),
)
TWINS = (
    # The same tests once more, for what makes no difference here.
    *("LineBuffered", "SmallBuffered", "RecvmsgIntoTCP", "RecvmsgIntoUnix"),
    *("RecvmsgIntoUDP6", "RecvmsgUDP6", "SendmsgUDP6", "BasicTCPTest2"),
)
ABOUT_NAMES = (
    # Tests of the module's functions about names and numbers.
    *("host", "serv", "Interface", "interface", "inet", "Ntoh", "ntoh", "idna"),
    *("getnameinfo", "addrinfo", "Hostname", "Refs", "_if_", "ipv4", "ipv6", "IPv4"),
)
IN_PARTS = (
    # NetBSD may hand over 512 octets of a local stream in two parts.
    "SendmsgUnixStreamTest.testSendmsgDontWait",
    "SendmsgUnixStreamTest.testSendmsgTimeout",
)
SLOW = (
    *("test_sendall_interrupted", "testReadAfterTimeout", "testInterruptedTimeout"),
    *("testWithTimeoutTriggeredSend", "test_sendall_interrupted_with_timeout"),
)


class Result(unittest.TestResult):
    """Prints each outcome as it is known."""

    def _report(self, test: Any, outcome: str) -> None:
        name = ".".join(test.id().split(".")[2:])  # without the module
        sys.stdout.write(json.dumps({"name": name, "outcome": outcome}) + "\n")
        sys.stdout.flush()

    def addSuccess(self, test: Any) -> None:
        self._report(test, "ok")

    def addSkip(self, test: Any, reason: str) -> None:
        self._report(test, "skip")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._report(test, self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._report(test, self.failures[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            broken = self.failures if err[0] is test.failureException else self.errors
            self._report(test, broken[-1][1])


def replace_sockets(kernel: Any, module: Any) -> None:
    """Put the kernel's sockets where test_socket looks for the host's."""
    from rumphyper.kernel.sockets import Socket

    host_socket = socket.socket

    class EitherSocket(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, (Socket, host_socket))

    class KernelSocket(metaclass=EitherSocket):
        def __new__(cls, *args: Any, **options: Any) -> Any:
            return kernel.socket(*args, **options)

    def kernel_fcntl(fd: Any, command: int, argument: int = 0) -> int:
        number = fd if isinstance(fd, int) else fd.fileno()
        found = kernel.calls.do("fcntl", number, command, argument)
        nonblock = os.O_NONBLOCK if found & 4 else 0
        return int(found & ~4 | nonblock if command == fcntl.F_GETFL else found)

    made_by_host = tempfile.mkdtemp

    def mkdtemp(*args: Any, **options: Any) -> Any:
        path = made_by_host(*args, **options)
        kernel.fs.makedirs(path)
        return path

    def unlink(path: Any) -> None:
        if kernel.fs.exists(path):
            kernel.fs.unlink(path)

    namespace: Any = socket
    namespace.socket = KernelSocket
    namespace.socketpair = kernel.socketpair
    namespace.fromfd = lambda fd, *_: kernel.socket(fileno=kernel.fs.dup(fd))
    namespace = select
    namespace.select = kernel.select
    namespace = tempfile
    namespace.mkdtemp = mkdtemp
    kernel.fs.makedirs(os.getcwd(), exist_ok=True)
    module.os_helper.unlink = unlink
    module.fcntl = SimpleNamespace(
        fcntl=kernel_fcntl, F_GETFL=fcntl.F_GETFL, F_GETFD=fcntl.F_GETFD
    )
    private: Any = Socket
    private._sendfile_use_send = Socket.sendfile


def chosen(module: Any) -> unittest.TestSuite:
    """The tests of sockets that a rump kernel has, without the slow ones."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for name, kind in sorted(vars(module).items()):
        if not isinstance(kind, type) or not issubclass(kind, unittest.TestCase):
            continue
        if any(part in name for part in (*OTHER_FAMILIES, *NOT_SOCKETS, *TWINS)):
            continue
        names = loader.getTestCaseNames(kind)
        if name == "GeneralModuleTests":
            names = [
                test for test in names if not any(part in test for part in ABOUT_NAMES)
            ]
        suite.addTests(
            kind(test)
            for test in names
            if test not in SLOW and f"{name}.{test}" not in IN_PARTS
        )
    return suite


def main() -> None:
    faulthandler.dump_traceback_later(PATIENCE - 10, exit=True)
    kernel = boot()
    kernel.interface("lo0").add_address("127.0.0.1/8")
    # With the host's sockets still: it probes for features.
    test_socket = importlib.import_module("test.test_socket")
    replace_sockets(kernel, test_socket)
    gc.freeze()  # each test collects, and would look at all these modules
    chosen(test_socket).run(Result())


if __name__ == "__main__":
    main()
