"""Names to addresses, without a resolver: numbers and ``localhost`` only.

The rump kernel has a network of its own, so asking the host's resolver would
answer for the wrong network; who wants that calls socket.getaddrinfo first.
"""

from __future__ import annotations

import socket

from rumphyper.kernel.sockaddr import Scope, no_scope, unresolved

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def getaddrinfo(
    host: str | bytes | None,
    port: str | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    scope: Scope = no_scope,
) -> list[AddressInfo]:
    """As socket.getaddrinfo for numeric hosts, ``localhost`` and numeric ports.

    Raises gaierror (EAI_NONAME) for any other host. ``fe80::1%NAME`` is looked
    up among the kernel's interfaces.
    """
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    flags = (flags & ~getattr(socket, "AI_ADDRCONFIG", 0)) | _NUMERIC
    if isinstance(port, str) and port and not port.isdecimal():
        raise socket.gaierror(
            socket.EAI_SERVICE, f"{port!r} is not a numeric port and there is no table"
        )
    zone = 0
    hosts: list[str | None] = [host]
    if host == "localhost":
        hosts = ["127.0.0.1", "::1"]
        if family == socket.AF_INET6:
            hosts.reverse()
    elif host is not None and "%" in host:
        host, _, name = host.partition("%")
        zone = int(name) if name.isdecimal() else scope(name)
        hosts = [host]
    answers: list[AddressInfo] = []
    refusal: socket.gaierror | None = None
    for one in hosts:
        try:
            found = socket.getaddrinfo(one, port, family, type, proto, flags)
        except socket.gaierror as error:
            refusal = error
            continue
        for kin, kind, number, canon, address in found:
            if zone and len(address) == 4:
                address = (str(address[0]), int(address[1]), int(address[2]), zone)
            answers.append((kin, kind, number, canon, address))  # type: ignore[arg-type]
    if not answers and refusal is not None:
        if refusal.errno == socket.EAI_NONAME and host is not None:
            raise unresolved(str(host)) from None
        raise refusal
    return answers
