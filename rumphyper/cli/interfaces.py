"""Interfaces on the command line: ``virt0=tap:tap0,10.0.0.2/24,gw=10.0.0.1``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from rumphyper.errors import InterfaceError, RumphyperError
from rumphyper.kernel.names import check_name, parse_address, parse_plain
from rumphyper.net.mac import parse_mac

if TYPE_CHECKING:
    from rumphyper.kernel.interface import Interface
    from rumphyper.kernel.netbsd import Kernel

FORM = "NAME=LINKSTR[,ADDRESS/LENGTH...][,gw=ADDRESS][,dhcp][,mtu=N][,mac=MAC][,down]"
NO_LINK = ("lo", "bridge")


@attrs.define
class InterfaceSpec:
    """One ``-i``: what to create and how to set it up."""

    name: str
    linkstr: str = ""
    addresses: list[str] = attrs.field(factory=list)
    gateways: list[str] = attrs.field(factory=list)
    dhcp: bool = False
    mtu: int | None = None
    mac: str | None = None
    down: bool = False
    options: dict[str, object] = attrs.field(factory=dict)
    """Options of the link, from ``link.NAME=VALUE``."""

    members: tuple[str, ...] = ()
    """Of a bridge: ``bridge0=virt0+shmif0``."""

    def create(self, kernel: Kernel) -> Interface:
        """Make it as it says; on failure nothing of it stays behind.

        lo0 and those of PCI devices are there already: they are set up.
        """
        with kernel.guard:
            own = any(state.name == self.name for state in kernel.interfaces())
            if own and not self.linkstr and not self.members:
                interface = kernel.interface(self.name)
                undo = interface.down
            else:
                interface = self._make(kernel)
                undo = interface.destroy
            try:
                self._set_up(kernel, interface)
            except BaseException:
                undo()
                raise
        try:
            if self.dhcp:  # may take long: Ctrl-C is heard
                interface.dhcp()
        except BaseException:
            undo()
            raise
        return interface

    def _make(self, kernel: Kernel) -> Interface:
        if self.members:
            return kernel.create_bridge(self.name, self.members)
        return kernel.create_interface(self.name, self.linkstr, **self.options)

    def _set_up(self, kernel: Kernel, interface: Interface) -> Interface:
        if self.mac is not None:
            interface.mac = parse_mac(self.mac)
        if self.mtu is not None:
            interface.mtu = self.mtu
        for address in self.addresses:
            interface.add_address(address)
        if not self.down:
            interface.up()
        for gateway in self.gateways:
            kernel.set_gateway(gateway, interface)
        return interface


def parse_interface(text: str) -> InterfaceSpec:
    """Read `FORM`; InterfaceError for a name, address or number that cannot be.

    Settings are read from the right as far as they are some: a linkstr may
    have commas of its own.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        raise InterfaceError(f"-i {text}", "it has no '='", f"the form is {FORM}")
    driver, _, _ = check_name(name)
    spec = InterfaceSpec(name)
    words = rest.split(",")
    while words and _take(spec, words[-1]):
        words.pop()
    for word in words[1:]:  # a setting that is nearly one, not the linkstr's
        key, equals, value = word.partition("=")
        if not equals and "/" in word:
            parse_address(f"-i {name}", word)
        elif key in ("gw", "gateway"):
            parse_plain(f"-i {name}: {word}", value)
    for values in (spec.addresses, spec.gateways):
        values.reverse()
    spec.linkstr = ",".join(words)
    if driver == "bridge":
        spec.members = tuple(word for word in spec.linkstr.split("+") if word)
        spec.linkstr = ""
    elif driver in NO_LINK and spec.linkstr:
        raise InterfaceError(
            f"-i {text}",
            f"{spec.linkstr!r} is no setting, and {name} has no link",
            f"the form is {FORM}",
        )
    return spec


def _take(spec: InterfaceSpec, word: str) -> bool:
    """Put a setting into ``spec``; False when ``word`` is none."""
    key, equals, value = word.partition("=")
    if not equals:
        if word in ("dhcp", "down"):
            setattr(spec, word, True)
        elif "/" in word and _reads(lambda: parse_address(spec.name, word)):
            spec.addresses.append(word)
        else:
            return False
    elif key in ("gw", "gateway") and _reads(lambda: parse_plain(word, value)):
        spec.gateways.append(value)
    elif key == "mtu" and value.isdecimal():
        spec.mtu = int(value)
    elif key == "mac" and _reads(lambda: parse_mac(value)):
        spec.mac = value
    elif key.startswith("link.") and key[5:].isidentifier():
        spec.options[key[5:]] = _value(value)
    else:
        return False
    return True


def _reads(parser: Callable[[], object]) -> bool:
    try:
        parser()
    except RumphyperError:
        return False
    return True


def _value(text: str) -> object:
    """true, false and numbers as such, all else as text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdecimal() else text


def ordered(specs: Iterable[InterfaceSpec]) -> list[InterfaceSpec]:
    """Bridges last: their members have to be there."""
    return sorted(specs, key=lambda spec: bool(spec.members))


def parse_all(texts: Sequence[str]) -> list[InterfaceSpec]:
    """All ``-i`` in the order in which to create them; names only once."""
    specs = [parse_interface(text) for text in texts]
    for place, spec in enumerate(specs):
        if any(spec.name == earlier.name for earlier in specs[:place]):
            raise InterfaceError(f"-i {spec.name}", "given twice", "leave one out")
    return ordered(specs)
