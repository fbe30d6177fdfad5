"""Where a server of the syscall proxy listens: ``unix://PATH``, ``tcp://A.B.C.D:P``.

The grammar is that of RUMP_SERVER in NetBSD's tools, so one URL serves them and
this package. Source: NetBSD lib/librumpuser/sp_common.c (parseurl, tcp_parse,
unix_parse).
"""

from __future__ import annotations

import os
import re
import socket

import attrs

from rumphyper.errors import UrlError

MAX_PATH = 107
"""Octets of a path: sun_path less the NUL at its end."""

_WILDCARDS = ("*", "0", "0.0.0.0")
_FORMS = "a server's URL is unix://PATH or tcp://A.B.C.D:PORT"


@attrs.frozen
class ProxyUrl:
    """A URL taken apart. ``str()`` gives it back with its path made absolute."""

    scheme: str
    """``unix`` or ``tcp``."""

    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of the host's sockets."""
        return socket.AF_UNIX if self.scheme == "unix" else socket.AF_INET

    @property
    def sockaddr(self) -> str | tuple[str, int]:
        """What socket.socket's bind and connect take."""
        return self.path if self.scheme == "unix" else (self.host, self.port)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        return f"tcp://{self.host}:{self.port}"


def parse(url: str, serving: bool = False) -> ProxyUrl:
    """Take ``url`` apart.

    A relative path counts from the current folder. With ``serving`` the host may
    be ``*``, ``0`` or 0.0.0.0 (any address of this host) and the port 0 (one that
    is free). Raises UrlError.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        raise UrlError(repr(url), "not a URL", _FORMS)
    if scheme == "unix":
        return _unix(url, rest)
    if scheme == "tcp":
        return _tcp(url, rest, serving)
    if scheme == "tcp6":
        raise UrlError(repr(url), "the protocol has no IPv6", _FORMS)
    raise UrlError(repr(url), f"{scheme!r} is no way to a server", _FORMS)


def _unix(url: str, path: str) -> ProxyUrl:
    if not path or "\0" in path:
        raise UrlError(repr(url), "no path of a socket", _FORMS)
    if not path.startswith("/"):
        path = os.path.join(os.getcwd(), path)
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise UrlError(
            repr(url),
            f"a path of {size} octets",
            f"a socket's path has at most {MAX_PATH}",
        )
    return ProxyUrl("unix", path=path)


def _tcp(url: str, address: str, serving: bool) -> ProxyUrl:
    found = re.fullmatch(r"([^:]*):([0-9]+)(/.*)?", address, re.ASCII | re.DOTALL)
    if found is None:
        raise UrlError(repr(url), "no address and port", _FORMS)
    host, digits = found[1], found[2]
    if host in _WILDCARDS:
        host = "0.0.0.0"
        if not serving:
            raise UrlError(
                repr(url), "a client needs the address of one host", "127.0.0.1 is this"
            )
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        raise UrlError(
            repr(url),
            f"{host!r} is not an IPv4 address in digits",
            "names are not looked up; localhost is 127.0.0.1",
        ) from None
    # int() of very many digits raises ValueError of its own.
    port = int(digits) if len(digits.lstrip("0")) <= 5 else 1 << 16
    if port >> 16 or not (port or serving):
        raise UrlError(repr(url), f"no port {digits[:20]}", "ports are 1 to 65535")
    return ProxyUrl("tcp", host=host, port=port)
