"""The manual page, from the tree of commands: ``python3 -m rumphyper.cli.manpage``.

It is kept in docs/rumphyper.1, so that it can be installed and read as it is.
Facts about the macros: man(7) of groff.
"""

from __future__ import annotations

from rumphyper import __version__
from rumphyper.cli.tree import Argument, Command, read
from rumphyper.link.linkstr import SCHEMES

HEAD = r"""'\" Made by: python3 -m rumphyper.cli.manpage
.TH RUMPHYPER 1 "" "rumphyper {version}" "User Commands"
.ad l
.nh
.SH NAME
rumphyper \- NetBSD rump kernel hypercalls and network back ends in Python
.SH SYNOPSIS
.B rumphyper
.I VERB
.RI [ ARGUMENT ...]
.br
.B rumphyper
.RB [ \-\-help " | " \-\-version ]
.SH DESCRIPTION
A NetBSD rump kernel is the kernel's own drivers and TCP/IP stack as shared
libraries in an ordinary process.
It asks its host for memory, threads, clocks and frames through hypercalls, which
.B rumphyper
answers in Python.
It also carries Ethernet frames between the kernel and links of many kinds, and
between links without a kernel.
.PP
.B "rumphyper doctor"
tells what works on this host, and what to do about the rest.
.SH LINKSTRS
A link is named by a string, the
.IR LINKSTR :
.PP
.nf
{links}
.fi
.SH VERBS"""

TAIL = r""".SH EXIT STATUS
.TP
.B 0
It worked.
.TP
.B 1
It ran, but did not succeed: a ping was not answered.
.TP
.B 2
It could not be done. One line on standard error names the thing, the cause and the
remedy.
.TP
.B 130
Ctrl\-C, where a verb has no summary to give.
.SH ENVIRONMENT
.TP
.B RUMPHYPER_LIBRARY_PATH
Folders with the libraries of a rump kernel, before the standard ones.
.SH FILES
.TP
.I ~/.config/rumphyper/links
Linkstrs, one a line, that Wireshark lists, too.
.SH EXAMPLES
.nf
rumphyper demo
rumphyper run \-i virt0=tap:tap0,10.0.0.2/24 script.py
rumphyper dump shmif:/tmp/bus \-w bus.pcap
rumphyper bridge tap:tap0 shmif:/tmp/bus
.fi
.SH SEE ALSO
.BR rump (3),
.BR rumpuser (3),
.BR tcpdump (8),
.BR wireshark (1)"""


def page(command: Command) -> str:
    """The page's text for man(1)."""
    forms = "\n".join(_text(scheme.form) for scheme in SCHEMES.values())
    lines = [HEAD.format(version=_text(__version__), links=forms)]
    for node in command.walk()[1:]:
        lines += _command(node)
    return "\n".join([*lines, TAIL, ""])


def _command(node: Command) -> list[str]:
    """The section of a verb: how it is called, what it does, its arguments."""
    synopsis = ["rumphyper", *node.words]
    if node.children:
        synopsis.append("VERB")
    elif any(option.flags != ("-h", "--help") for option in node.options):
        synopsis.append("[OPTION]...")
    synopsis += [_place(place) for place in node.places]
    lines = [f'.SS "{_text(" ".join(synopsis))}"', _sentence(node.summary)]
    for part in (*node.places, *node.options):
        if part.help and part.flags != ("-h", "--help"):
            lines += [".TP", _heading(part), _sentence(part.help)]
        elif part.flags and part.flags != ("-h", "--help"):
            lines += [".TP", _heading(part), "See the page of this verb in docs/."]
    return lines


def _place(place: Argument) -> str:
    before, after = {
        "?": ("[", "]"), "*": ("[", "]..."), "+": ("", "..."), "...": ("[", "]..."),
    }.get(place.nargs, ("", ""))  # fmt: skip
    return f"{before}{_value(place)}{after}"


def _value(argument: Argument) -> str:
    return "|".join(argument.choices) or argument.value


def _heading(argument: Argument) -> str:
    """The flags in bold and the value in italics; a place has the value only."""
    value = rf"\fI{_text(_value(argument))}\fR" if argument.value else ""
    if not argument.flags:
        return value
    flags = ", ".join(rf"\fB{_text(flag)}\fR" for flag in argument.flags)
    if argument.nargs == "?":
        value = f"[{value}]"
    return f"{flags} {value}".rstrip()


def _sentence(text: str) -> str:
    """Help as a sentence of a page; it starts no request of roff."""
    word = text.partition(" ")[0].rstrip(",;:.")
    full = text[:1].upper() + text[1:] if word.isalpha() else text
    return r"\&" + _text(full if full.endswith(".") else f"{full}.")


def _text(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")


if __name__ == "__main__":
    from rumphyper.cli.main import VERBS, build_parser

    print(page(read(build_parser(VERBS))), end="")
