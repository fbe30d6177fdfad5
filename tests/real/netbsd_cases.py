"""What happens with a real NetBSD kernel; test_netbsd.py judges the results.

Each case runs as root of a network namespace of its own, see netbsd_session.py.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rumphyper
from rumphyper.errors import RumphyperError
from rumphyper.kernel.interface import Interface
from rumphyper.kernel.netbsd import Kernel
from tests.real.echo_request import ping, ping_patiently

LINUX4, NETBSD4 = "10.66.0.1", "10.66.0.2"
LINUX6, NETBSD6 = "fd66::1", "fd66::2"


def ip(*words: str) -> None:
    """iproute2 in this namespace."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def linux_up(name: str) -> None:
    """Give Linux's end of a TAP its addresses."""
    ip("addr", "add", f"{LINUX4}/24", "dev", name)
    ip("addr", "add", f"{LINUX6}/64", "dev", name, "nodad")
    ip("link", "set", name, "up")


def wired(kernel: Kernel, name: str = "tap0", **options: Any) -> Interface:
    """virt0 over a TAP that Linux has configured; addresses on both sides."""
    interface = kernel.create_interface("virt0", f"tap:{name}", **options)
    linux_up(name)
    interface.add_address(f"{NETBSD4}/24")
    interface.add_address(f"{NETBSD6}/64")
    interface.up()
    return interface


def taps() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex() if "tap" in name)


def failure(call: Callable[[], object]) -> list[str]:
    """The class and the text of the error that a call gives."""
    try:
        call()
    except RumphyperError as error:
        return [type(error).__name__, str(error)]
    return ["", "no error"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def memory() -> int:
    """Resident octets of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def linux_and_netbsd_ping_each_other() -> dict[str, Any]:
    with rumphyper.boot() as kernel:
        interface = wired(kernel)
        found: dict[str, Any] = {
            "linux to netbsd 4": ping_patiently(socket.socket, NETBSD4),
            "linux to netbsd 6": ping_patiently(socket.socket, NETBSD6),
            "netbsd to linux 4": ping_patiently(kernel.socket, LINUX4),
            "netbsd to linux 6": ping_patiently(kernel.socket, LINUX6),
        }
        counters = interface.counters
        found["counted"] = counters.received > 10 and counters.sent > 10
        slots = kernel.hypervisor.bindings
        found["send by"] = slots["rumpcomp_virt_send"].provider
        found["locks by"] = slots["rumpuser_mutex_enter"].provider
    found["left"] = taps()
    return found


def down_and_up_many_times(times: str) -> dict[str, Any]:
    with rumphyper.boot() as kernel:
        interface = wired(kernel)
        before = ping_patiently(socket.socket, NETBSD4)
        start = descriptors(), threads()
        for _ in range(int(times)):
            interface.down()
            silent = interface.is_up
            interface.up()
        return {
            "before": before,
            "silent": silent,
            "after": ping_patiently(socket.socket, NETBSD4),
            "leaked": [descriptors() - start[0], threads() - start[1]],
        }


def create_and_destroy_many_times(kind: str, times: str, path: str) -> dict[str, Any]:
    linkstr = {"virt": "tap:tap0", "shmif": f"shmif:{path}"}[kind]
    with rumphyper.boot() as kernel:

        def once() -> None:
            interface = kernel.create_interface(f"{kind}0", linkstr)
            interface.add_address(f"{NETBSD4}/24")
            interface.destroy()

        for _ in range(20):
            once()
        gc.collect()
        start = descriptors(), threads(), memory()
        for _ in range(int(times)):
            once()
        gc.collect()
        leaked = [descriptors() - start[0], threads() - start[1]]
        grown = (memory() - start[2]) // int(times)
        return {
            "leaked": leaked,
            "octets each": grown,
            "interfaces": [state.name for state in kernel.interfaces()],
            "taps": taps(),
        }


def on_a_bus(name: str, path: str, address: str, other: str) -> dict[str, Any]:
    """One of two kernels on a bus: answers pings until its input ends."""
    with rumphyper.boot() as kernel:
        interface = kernel.create_interface(name, f"shmif:{path}")
        interface.add_address(f"{address}/24")
        interface.add_address(f"fd00::{address.rpartition('.')[2]}/64")
        in_step("ready")
        found = {
            "4": ping_patiently(kernel.socket, other),
            "6": ping_patiently(kernel.socket, f"fd00::{other.rpartition('.')[2]}"),
        }
        in_step("done")
        return found


def in_step(word: str) -> None:
    """Tell the test that it came this far; go on when the test says so."""
    print(word, flush=True)
    sys.stdin.readline()


def bridged_from_bus_to_tap(path: str) -> dict[str, Any]:
    """shmif0 and virt0 in a bridge of NetBSD; Linux behind the TAP."""
    with rumphyper.boot() as kernel:
        bus = kernel.create_interface("shmif0", f"shmif:{path}")
        tap = kernel.create_interface("virt0", "tap:tap0")
        linux_up("tap0")
        bus.up()
        tap.up()
        bridge = kernel.create_bridge("bridge0", [bus, tap])
        with station(path, "10.66.0.9/24"):
            found: dict[str, Any] = {
                "linux to station": ping_patiently(socket.socket, "10.66.0.9")
            }
            # With an address on a member NetBSD sends into the bridge itself:
            # through bridge_output, which without the bridge component is a
            # stub that panics.
            bus.add_address(f"{NETBSD4}/24")
            found["netbsd to linux"] = ping_patiently(kernel.socket, LINUX4)
            found["netbsd to station"] = ping_patiently(kernel.socket, "10.66.0.9")
            found["linux to netbsd"] = ping_patiently(socket.socket, NETBSD4)
            kernel.bridge_remove(bridge, tap)
            found["parted"] = ping(socket.socket, "10.66.0.9", 1, 0.5)
            bridge.destroy()
        return found


@contextlib.contextmanager
def station(path: str, address: str) -> Iterator[None]:
    """rumphyper's own small station on a bus, answering."""
    from ipaddress import IPv4Interface

    from rumphyper.link import open_link
    from rumphyper.net.stack import Stack

    with open_link(f"shmif:{path}") as link:
        stack = Stack(link.mac, [IPv4Interface(address)], [])

        def answer() -> None:
            for frame in link:
                replies = stack.input(frame)
                if replies:
                    link.send(replies)

        worker = threading.Thread(target=answer)
        worker.start()
        try:
            yield
        finally:
            link.close()
            worker.join()


def with_a_station_on_the_bus(path: str) -> dict[str, Any]:
    with rumphyper.boot() as kernel:
        interface = kernel.create_interface("shmif0", f"shmif:{path}")
        interface.add_address(f"{NETBSD4}/24")
        with station(path, "10.66.0.9/24"):
            by_netbsds_driver = ping_patiently(kernel.socket, "10.66.0.9")
            interface.destroy()
            ours = kernel.create_interface("virt0", f"shmif:{path}")
            ours.add_address(f"{NETBSD4}/24")
            return {
                "shmif0": by_netbsds_driver,
                "virt0": ping_patiently(kernel.socket, "10.66.0.9"),
            }


UDHCPD = """
start 10.66.0.20
end 10.66.0.29
interface tap0
lease_file {folder}/leases
pidfile {folder}/pid
option subnet 255.255.255.0
option router 10.66.0.1
option dns 10.66.0.3
option lease 600
"""


def dhcp(server: str, folder: str) -> dict[str, Any]:
    with rumphyper.boot() as kernel:
        interface = kernel.create_interface("virt0", "tap:tap0")
        linux_up("tap0")
        early = failure(lambda: interface.dhcp(timeout=1.0))
        if server == "busybox":
            (Path(folder) / "conf").write_text(UDHCPD.format(folder=folder))
            (Path(folder) / "leases").touch()
            command = ["busybox", "udhcpd", "-f", f"{folder}/conf"]
        else:
            command = [
                *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"),
                *(
                    "--port=0",
                    "--no-ping",
                    "--interface=tap0",
                    "--user=root",
                    "--group=",
                ),
                *("--dhcp-range=10.66.0.20,10.66.0.29,600", "--dhcp-authoritative"),
                *("--dhcp-option=3,10.66.0.1", "--dhcp-option=6,10.66.0.3"),
                *(f"--dhcp-leasefile={folder}/leases", f"--pid-file={folder}/pid"),
            ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            lease = interface.dhcp()
            found = {
                "early": early,
                "addresses": [str(a) for a in interface.addresses if a.version == 4],
                "lease": str(lease.address),
                "gateway": str(kernel.gateway()),
                "dns": [str(address) for address in lease.name_servers],
                "duration": lease.duration,
                "ping": ping_patiently(kernel.socket, LINUX4),
                "known": str(lease.address.ip) in leases(folder),
            }
            interface.release()
            time.sleep(0.5)
            found["left"] = [str(a) for a in interface.addresses if a.version == 4]
            if server == "dnsmasq":  # busybox writes its file when it ends only
                found["released"] = str(lease.address.ip) not in leases(folder)
        finally:
            process.terminate()
            process.wait()
        return found


def leases(folder: str) -> str:
    """dnsmasq's leases as text; busybox keeps addresses as octets."""
    data = (Path(folder) / "leases").read_bytes()
    text = data.decode("latin-1")
    places = range(0, len(data) - 3)
    dotted = " ".join(".".join(map(str, data[p : p + 4])) for p in places)
    return text + " " + dotted


def bad_input(folder: str) -> dict[str, Any]:
    """Errors, and that nothing is left of what failed."""
    with rumphyper.boot() as kernel:
        interface = wired(kernel)
        before = (descriptors(), threads(), taps())
        create = kernel.create_interface
        Path(folder, "nobus").write_bytes(b"x" * 100)
        calls: dict[str, Callable[[], object]] = {
            "unknown driver": lambda: create("foo0"),
            "name": lambda: create("virt"),
            "long name": lambda: create("virtualinterface0"),
            "taken": lambda: create("virt0", "tap:tap1"),
            "busy tap": lambda: create("virt1", "tap:tap0"),
            "no linkstr": lambda: create("virt1"),
            "scheme": lambda: create("virt1", "tape:tap1"),
            "option": lambda: create("virt1", "tap:tap1", nonsense=1),
            "bus folder": lambda: create("shmif0", f"shmif:{folder}/no/bus"),
            "bus file": lambda: create("shmif0", f"shmif:{folder}/nobus"),
            "link of a bridge": lambda: create("bridge0", "tap:tap1"),
            "address": lambda: interface.add_address("10.66.0.300/24"),
            "length": lambda: interface.add_address("10.66.0.3/33"),
            "absent address": lambda: interface.remove_address("10.1.1.1"),
            "mtu": lambda: setattr(interface, "mtu", 9000),
            "mac": lambda: setattr(interface, "mac", "ff:ff:ff:ff:ff:ff"),
            "no interface": lambda: kernel.interface("virt9"),
            "loopback": lambda: kernel.destroy_interface("lo0"),
            "gateway": lambda: kernel.set_gateway("10.66.0.400"),
            "far gateway": lambda: kernel.set_gateway("192.0.2.1"),
            "no route": lambda: kernel.delete_route("192.0.2.0/24"),
            "member": lambda: kernel.create_bridge("bridge0", ["virt9"]),
            "second boot": rumphyper.boot,
        }
        found: dict[str, Any] = {name: failure(call) for name, call in calls.items()}
        end = time.monotonic() + 3  # a bridge's thread ends in its own time
        while (after := (descriptors(), threads(), taps())) != before:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        found["unchanged"] = before == after or [before, after]
        found["interfaces"] = [state.name for state in kernel.interfaces()]
        found["still there"] = ping_patiently(socket.socket, NETBSD4)
        child = os.fork()
        if not child:
            words = failure(lambda: kernel.syscall("getpid"))
            kernel.close()  # of no effect here
            os._exit(0 if "forked" in words[1] else 1)
        found["fork"] = os.waitpid(child, 0)[1]
        found["after fork"] = ping_patiently(socket.socket, NETBSD4)
    found["closed"] = failure(lambda: kernel.syscall("getpid"))
    found["interface of a closed kernel"] = failure(interface.up)
    return found


def not_permitted() -> dict[str, Any]:
    """Without the right to make a TAP."""
    with rumphyper.boot() as kernel:
        before = descriptors(), threads()
        words = failure(lambda: kernel.create_interface("virt0", "tap:rumptest0"))
        after = descriptors(), threads()
        names = [state.name for state in kernel.interfaces()]
        return {"error": words, "same": before == after, "interfaces": names}


def missing_component() -> list[str]:
    return failure(lambda: rumphyper.boot(["net", "netinet", "flux"]))


def settings(ncpu: str) -> dict[str, Any]:
    with rumphyper.boot(ncpu=int(ncpu)) as kernel:
        import ctypes

        cpus = ctypes.c_int.in_dll(kernel.library, "rumpns_ncpu").value
        environment = os.environ.get("RUMP_NCPU")
        interface = wired(kernel)
        interface.mac = "b2:a0:00:00:00:77"
        interface.mtu = 1300
        answered = ping_patiently(socket.socket, NETBSD4)
        neighbours = subprocess.run(
            ["ip", "neigh"], capture_output=True, text=True, check=True
        ).stdout
        kernel.set_gateway(LINUX4)
        kernel.set_gateway("10.66.0.8")
        kernel.add_route("10.77.0.0/16", LINUX4)
        routes = {str(r.destination): str(r.gateway) for r in kernel.routes()}
        kernel.delete_route("10.77.0.0/16")
        interface.remove_address(f"{NETBSD6}/64")
        return {
            "cpus": cpus,
            "environment": environment,
            "mac": interface.mac.hex(":"),
            "mac seen": "b2:a0:00:00:00:77" in neighbours,
            "mtu": interface.mtu,
            "ping": answered,
            "routes": [routes["0.0.0.0/0"], routes["10.77.0.0/16"]],
            "gateway": str(kernel.gateway()),
            "removed": NETBSD6 not in str(interface.addresses),
        }
