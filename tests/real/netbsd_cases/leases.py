"""Addresses from DHCP servers."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from tests.real.echo_request import ping_patiently
from tests.real.netbsd_cases.kit import LINUX4, failure, linux_up
from tests.real.rump import boot

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
    with boot() as kernel:
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
