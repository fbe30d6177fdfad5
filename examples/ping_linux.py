"""NetBSD pings Linux, or any other host: a raw ICMP socket of the kernel.

sudo ip tuntap add tap0 mode tap user $USER
sudo ip addr add 10.0.0.1/24 dev tap0 && sudo ip link set tap0 up
rumphyper run -i virt0=tap:tap0,10.0.0.2/24 examples/ping_linux.py 10.0.0.1
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

import rumphyper
from rumphyper.net.checksum import checksum

ECHO_REQUEST, ECHO_REPLY = 8, 0


def echo_request(number: int) -> bytes:
    """An ICMP message of 64 octets (RFC 792)."""
    body = struct.pack(">HH", os.getpid() & 0xFFFF, number) + bytes(56)
    head = struct.pack(">BBH", ECHO_REQUEST, 0, 0)
    return struct.pack(">BBH", ECHO_REQUEST, 0, checksum(head + body)) + body


def main() -> int:
    host, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4
    kernel = rumphyper.current_kernel()
    answers = 0
    with kernel.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(2)
        for number in range(count):
            message = echo_request(number)
            start = time.monotonic()
            sock.sendto(message, (host, 0))
            try:
                while True:
                    packet = sock.recv(2048)
                    header = (packet[0] & 15) * 4
                    if (
                        packet[header] == ECHO_REPLY
                        and packet[header + 4 :] == message[4:]
                    ):
                        break
            except TimeoutError:
                print(f"no answer from {host}")
                continue
            elapsed = (time.monotonic() - start) * 1000
            print(f"{len(message)} octets from {host}: {number + 1}, {elapsed:.3f} ms")
            answers += 1
            time.sleep(0.2)
    return 0 if answers else 1


if __name__ == "__main__":
    sys.exit(main())
