"""A DHCP client for IPv4 without I/O: messages in, messages out.

Sources: RFC 2131 (protocol, 4.4 for the client), RFC 2132 (options). It asks
for one lease and can give it back; renewing is its user's business.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface

import attrs
from typing_extensions import Buffer

from rumphyper.net.errors import ParseError, need

SERVER_PORT, CLIENT_PORT = 67, 68
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
BOOTREQUEST, BOOTREPLY = 1, 2
ANY = IPv4Address(0)
BROADCAST_FLAG = 0x8000
COOKIE = b"\x63\x82\x53\x63"

PAD, MASK, ROUTER, DNS, HOST_NAME, DOMAIN, MTU = 0, 1, 3, 6, 12, 15, 26
WANTED_ADDRESS, LEASE_TIME, OVERLOAD, KIND, SERVER, PARAMETERS = 50, 51, 52, 53, 54, 55
CLIENT_ID, END = 61, 255
ASKED_FOR = bytes((MASK, ROUTER, DNS, DOMAIN, MTU, LEASE_TIME))

_HEAD = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
SHORTEST = 300
"""Octets that a BOOTP message has at least: some relays drop shorter ones."""


@attrs.frozen
class Lease:
    """What a server gave."""

    address: IPv4Interface
    server: IPv4Address
    gateways: tuple[IPv4Address, ...] = ()
    name_servers: tuple[IPv4Address, ...] = ()
    domain: str = ""
    duration: int = 0
    """Seconds for which the address is ours."""

    mtu: int = 0
    """0: the server did not say."""


class DhcpClient:
    """Asks for one lease: send `message`, feed what comes to `input`.

    Send it again when nothing comes. ``xid`` identifies the conversation.
    """

    def __init__(self, mac: bytes, hostname: str = "", xid: int | None = None) -> None:
        self.mac = mac
        self.hostname = hostname
        self.xid = int.from_bytes(os.urandom(4), "big") if xid is None else xid
        self.lease: Lease | None = None
        self._offer: tuple[IPv4Address, IPv4Address] | None = None

    def message(self) -> bytes:
        """The next message: a DISCOVER, or a REQUEST once an offer was taken."""
        if self._offer is None:
            return self._build(DISCOVER, {PARAMETERS: ASKED_FOR})
        address, server = self._offer
        return self._build(
            REQUEST,
            {
                WANTED_ADDRESS: address.packed,
                SERVER: server.packed,
                PARAMETERS: ASKED_FOR,
            },
        )

    def input(self, payload: Buffer) -> bool:
        """Take a datagram; True when there is something new to do or to send.

        What is not for this client, or is ill formed, is left unread. `lease`
        is set when the server has agreed.
        """
        try:
            reply = _Reply.parse(payload)
        except ParseError:
            return False
        if reply.xid != self.xid or reply.mac != self.mac:
            return False
        server = _address(reply.options.get(SERVER, b""))
        kind = reply.options.get(KIND, b"")[:1]
        if server is None:
            return False
        if kind == bytes((OFFER,)) and self._offer is None:
            if reply.address.is_unspecified:
                return False
            self._offer = reply.address, server
            return True
        if self._offer is None or server != self._offer[1]:
            return False
        if kind == bytes((NAK,)):
            self._offer = None
            return True
        if kind == bytes((ACK,)) and reply.address == self._offer[0]:
            self.lease = _lease(reply, server)
            return self.lease is not None
        return False

    def release(self) -> bytes:
        """The message that gives the lease back; to be sent to its server."""
        if self.lease is None:
            raise ValueError("there is no lease to release")
        return self._build(
            RELEASE, {SERVER: self.lease.server.packed}, self.lease.address.ip
        )

    def _build(
        self,
        kind: int,
        options: Mapping[int, bytes],
        address: IPv4Address = ANY,
    ) -> bytes:
        none = bytes(4)
        head = _HEAD.pack(
            *(BOOTREQUEST, 1, 6, 0, self.xid, 0),
            0 if kind == RELEASE else BROADCAST_FLAG,
            *(address.packed, none, none, none),
            *(self.mac, b"", b"", COOKIE),
        )
        fields = {KIND: bytes((kind,)), CLIENT_ID: b"\x01" + self.mac, **options}
        if self.hostname and kind != RELEASE:
            fields[HOST_NAME] = self.hostname.encode()[:255]
        tail = b"".join(
            bytes((code, len(value))) + value for code, value in fields.items()
        )
        return (head + tail + bytes((END,))).ljust(SHORTEST, b"\0")


@attrs.frozen
class _Reply:
    xid: int
    mac: bytes
    address: IPv4Address
    options: Mapping[int, bytes]

    @classmethod
    def parse(cls, payload: Buffer) -> _Reply:
        data = bytes(payload)
        need(data, _HEAD.size, "DHCP message")
        (
            operation,
            hardware,
            size,
            _,
            xid,
            _,
            _,
            _,
            yours,
            _,
            _,
            mac,
            name,
            file,
            magic,
        ) = _HEAD.unpack_from(data)
        if operation != BOOTREPLY or (hardware, size) != (1, 6) or magic != COOKIE:
            raise ParseError("DHCP message", "not a reply for Ethernet")
        options = dict(_options(data[_HEAD.size :]))
        more = options.get(OVERLOAD, b"\0")[0]  # options go on in these fields
        for bit, field in ((1, file), (2, name)):
            if more & bit:
                options.update(_options(field))
        return cls(xid, mac[:6], IPv4Address(yours), options)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data) and data[place] != END:
        code = data[place]
        if code == PAD:
            place += 1
            continue
        if place + 2 > len(data) or place + 2 + data[place + 1] > len(data):
            raise ParseError("DHCP message", f"option {code} is cut off")
        if not data[place + 1] and code in (OVERLOAD, KIND):
            raise ParseError("DHCP message", f"option {code} is empty")
        yield code, data[place + 2 : place + 2 + data[place + 1]]
        place += 2 + data[place + 1]


def _address(octets: bytes) -> IPv4Address | None:
    return IPv4Address(octets) if len(octets) == 4 else None


def _addresses(octets: bytes) -> tuple[IPv4Address, ...]:
    whole = len(octets) - len(octets) % 4
    return tuple(IPv4Address(octets[place : place + 4]) for place in range(0, whole, 4))


def _lease(reply: _Reply, server: IPv4Address) -> Lease | None:
    options = reply.options
    mask = _address(options.get(MASK, b""))
    try:
        address = IPv4Interface(f"{reply.address}/{mask or 24}")
    except ValueError:  # a mask with holes
        return None
    return Lease(
        address=address,
        server=server,
        gateways=_addresses(options.get(ROUTER, b"")),
        name_servers=_addresses(options.get(DNS, b"")),
        domain=options.get(DOMAIN, b"").rstrip(b"\0").decode("ascii", "replace"),
        duration=int.from_bytes(options.get(LEASE_TIME, b"")[:4], "big"),
        mtu=int.from_bytes(options.get(MTU, b"")[:2], "big"),
    )
