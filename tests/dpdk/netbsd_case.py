"""NetBSD's TCP/IP over net_tap, against Linux: run in a process of its own.

    python -m tests.dpdk.netbsd_case MEBIBYTES

test_netbsd.py runs it in a namespace of its own and judges what it prints.
"""

from __future__ import annotations

import faulthandler
import json
import socket
import sys

from rumphyper.dpdk import eal
from tests.real.echo_request import ping_patiently
from tests.real.netbsd_cases.kit import LINUX4, NETBSD4, linux_up
from tests.real.rump import boot
from tests.real.traffic_cases import tcp, udp

PATIENCE = 60


def main(octets: int) -> dict[str, object]:
    with boot() as kernel:
        interface = kernel.create_interface("virt0", "dpdk:net_tap0,iface=dtap0")
        linux_up("dtap0")
        interface.add_address(f"{NETBSD4}/24")
        interface.up()
        found: dict[str, object] = {
            "pings": ping_patiently(kernel.socket, LINUX4),
            "pings back": ping_patiently(socket.socket, NETBSD4),
            "tcp": tcp(kernel, socket.AF_INET, LINUX4, octets),
            "udp": udp(kernel, socket.AF_INET, LINUX4, NETBSD4, 9000),
        }
        interface.destroy()
        running = eal.running()
        assert running is not None
        found["open"] = len(running.in_use)
        running.close()
    return found


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    print()
    print(json.dumps(main(int(sys.argv[1]) << 20)), flush=True)
