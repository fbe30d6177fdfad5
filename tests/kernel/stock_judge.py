"""The mini kernel on the stock librumpuser, in a process that C may abort."""

from __future__ import annotations

import ctypes
import os

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.mini import MiniKernel
from tests.kernel.machine import ADDRESSES, new_resources, resources
from tests.kernel.test_mini_boot import ARP_REQUEST
from tests.kernel.wire import wire

STRICT = os.RTLD_LOCAL | os.RTLD_DEEPBIND


def main() -> None:
    """Boot it four times, let it answer, and see what is left of it."""
    stock = ctypes.CDLL(Libraries().rumpuser, STRICT)
    far, near = wire()
    with near, far, Hypervisor([Virtif({"wire": far})]) as hypervisor:
        for name in CATALOGUE:
            if name.startswith("rumpuser_") and hasattr(stock, name):
                address = ctypes.cast(stock[name], ctypes.c_void_p).value
                assert address
                hypervisor.bind(name, address)
        with MiniKernel(hypervisor):
            pass  # the stock library opens /dev/urandom once
        before = resources()
        for _ in range(3):
            with MiniKernel(hypervisor) as kernel:
                links = hypervisor.families["virtif"]
                assert isinstance(links, Virtif)
                far, other = wire()
                links.links["wire"] = far
                with other:
                    kernel.create_interface("virt0", "wire", ADDRESSES)
                    kernel.sleep(0.01)
                    other.send([ARP_REQUEST] * 20)
                    answers = 0
                    while answers < 20:
                        answers += len(other.recv(timeout=5))
                    kernel.destroy_interface("virt0")
        left = {name for name in new_resources(before) if "urandom" not in name}
        assert left == set()
        assert hypervisor.reporter.problems == {}
