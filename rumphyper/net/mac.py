"""Ethernet addresses: 6 octets, written as ``b2:a0:12:34:56:78``.

Two low bits of the first octet have a meaning (IEEE 802): 1 a group address,
2 an address given out locally, which no maker's card has.
"""

from __future__ import annotations

import os
import re

from rumphyper.net.errors import ParseError

BROADCAST = b"\xff" * 6
LOCAL_PREFIX = b"\xb2\xa0"
"""What NetBSD's virtif and shmif interfaces start their addresses with
(sys/rump/net/lib/libvirtif/if_virt.c, libshmif/if_shmem.c)."""

_OCTET = "[0-9a-fA-F]{1,2}"
_SPELLING = re.compile(rf"{_OCTET}([:-]){_OCTET}(?:\1{_OCTET}){{4}}")


def parse_mac(text: str) -> bytes:
    """Return the 6 octets of ``aa:bb:cc:dd:ee:ff`` or ``aa-bb-...``.

    Leading zeros may be left out. Raises ParseError.
    """
    if not _SPELLING.fullmatch(text):
        raise ParseError(
            f"Ethernet address {text!r}",
            "not six hexadecimal octets",
            "write it as b2:a0:12:34:56:78",
        )
    return bytes(int(octet, 16) for octet in re.split("[:-]", text))


def format_mac(mac: bytes) -> str:
    """Return ``aa:bb:cc:dd:ee:ff`` for 6 octets."""
    return mac.hex(":")


def random_mac(prefix: bytes = LOCAL_PREFIX) -> bytes:
    """Return ``prefix`` filled up to 6 octets with random ones."""
    return prefix + os.urandom(6 - len(prefix))


def is_group(mac: bytes) -> bool:
    """Whether ``mac`` is a multicast or the broadcast address."""
    return bool(mac[0] & 1)
