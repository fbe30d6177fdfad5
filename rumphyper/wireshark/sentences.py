"""The sentences of Wireshark's extcap protocol, and how links become interfaces.

An extcap program is asked for its interfaces, their link types and their options,
and answers in lines of ``word {name=value}...``. Facts: Wireshark's doc/extcap.4
and ui/qt's readings of it; a value ends at the first ``}``, there is no escape.
"""

from __future__ import annotations

from collections.abc import Iterable

from rumphyper import __version__
from rumphyper.errors import LinkstrError
from rumphyper.link.capture import ETHERNET
from rumphyper.link.linkstr import SCHEMES, split_linkstr
from rumphyper.link.present import Present

ANY = "rumphyper"
"""The interface for a link that is named in its options."""

HELP = "https://www.wireshark.org/docs/man-pages/extcap.html"


def sentence(word: str, **values: object) -> str:
    """One line of an answer."""
    return f"{word} " + "".join(f"{{{name}={value}}}" for name, value in values.items())


def sayable(linkstr: str) -> bool:
    """Whether a linkstr can be a value: no braces, nothing that is not printed."""
    return linkstr.isprintable() and not set("{}") & set(linkstr)


def interfaces(links: Iterable[Present]) -> list[str]:
    """Answer ``--extcap-interfaces``: an interface's name is its linkstr."""
    lines = [
        sentence("extcap", version=__version__, help=HELP, display="rumphyper"),
        sentence("interface", value=ANY, display="rumphyper: any link"),
    ]
    for link in links:
        if sayable(link.linkstr):
            display = f"rumphyper: {link.what}"
            lines.append(sentence("interface", value=link.linkstr, display=display))
    return lines


def dlts() -> list[str]:
    """Answer ``--extcap-dlts``: every link carries Ethernet."""
    return [sentence("dlt", number=ETHERNET, name="EN10MB", display="Ethernet")]


def config(interface: str) -> list[str]:
    """Answer ``--extcap-config`` with the options of ``--capture``."""
    lines = []
    if interface == ANY:
        forms = ", ".join(scheme.form for scheme in SCHEMES.values())
        lines.append(
            sentence(
                "arg",
                number=0,
                call="--linkstr",
                display="Link",
                type="string",
                required="true",
                placeholder="shmif:/tmp/bus",
                tooltip=forms,
            )
        )
    if interface == ANY or interface.startswith("shmif:"):
        lines.append(
            sentence(
                "arg",
                number=1,
                call="--from-start",
                type="boolflag",
                display="With what lies on the bus already",
                default="false",
                tooltip="frames from before the capture have the time it began",
            )
        )
    return lines


def linkstr_of(interface: str | None, linkstr: str | None) -> str:
    """The link that an interface means. LinkstrError when it means none."""
    if interface is None:
        raise LinkstrError(
            "--extcap-interface", "no interface is named", "name one of the listed"
        )
    if interface != ANY:
        linkstr = interface
    elif not linkstr:
        raise LinkstrError(
            f"interface {ANY}", "its option Link is empty", "name a link, --linkstr"
        )
    split_linkstr(linkstr)
    return linkstr
