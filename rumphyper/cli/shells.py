"""Completion scripts for shells, from the tree of commands."""

from __future__ import annotations

import re
from collections.abc import Callable

from rumphyper.cli.tree import Argument, Command
from rumphyper.link.linkstr import SCHEMES

NAMES = "rumphyper rumphyper.pyz"
LINKS = " ".join(f"{name}:" if name != "vale" else "vale0:" for name in sorted(SCHEMES))
"""How linkstrs begin."""


# -- bash  ----------------------------------------------------------------------

BASH = """\
# Completion of rumphyper for bash; written by: rumphyper completion bash
_rumphyper() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} at=$((COMP_CWORD - 1))
    local path= kind=none words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path/${{COMP_WORDS[i]}}" in
            {paths}) path=$path/${{COMP_WORDS[i]}} ;;
        esac
    done
    # bash splits --format=pcap and shmif:/tmp into three words each
    [[ $cur == [=:] ]] && {{ cur=; at=COMP_CWORD; }}
    if [[ ${{COMP_WORDS[at]}} == : ]]; then
        kind=file
    else
        [[ ${{COMP_WORDS[at]}} == = ]] && ((at--))
        case "$path ${{COMP_WORDS[at]}}" in
{values}
            *)
                if [[ $cur == -* ]]; then
                    case "$path" in
{options}
                    esac
                else
                    case "$path" in
{places}
                    esac
                fi
                ;;
        esac
    fi
    if [[ $kind == linkstr ]]; then
        # not together with files, whose names would have their colons quoted
        words="$words $_rumphyper_links" kind=file
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [[ ${{COMPREPLY[0]}} == *: ]] && compopt -o nospace 2>/dev/null
    ((${{#COMPREPLY[@]}})) && return
    case $kind in
        file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        folder) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    esac
    compopt -o filenames 2>/dev/null
    return 0
}}
_rumphyper_links="{links}"
complete -F _rumphyper {names}"""


def bash(command: Command) -> str:
    """The script for bash 4 or later."""
    values: dict[str, list[str]] = {}
    options, places = [], []
    for node in command.walk():
        path = "".join(f"/{word}" for word in node.words)
        for option in node.options:
            if option.value:
                patterns = values.setdefault(_bash(option), [])
                patterns += [f'"{path} {flag}"' for flag in option.flags]
        flags = " ".join(flag for option in node.options for flag in option.flags)
        options.append(f'"{path}") words="{flags}" ;;')
        found = [_bash(place) for place in node.places if place.kind != "other"]
        if node.children:
            verbs = " ".join(child.words[-1] for child in node.children)
            found = [f'words="{verbs}"']
        if found:
            places.append(f'"{path}") {"; ".join(dict.fromkeys(found))} ;;')
    paths = ["/" + "/".join(node.words) for node in command.walk() if node.words]
    return BASH.format(
        paths=" | ".join(paths),
        values=_indent(
            [f"{' | '.join(found)}) {what} ;;" for what, found in values.items()], 12
        ),
        options=_indent(options, 24),
        places=_indent(places, 24),
        links=LINKS,
        names=NAMES,
    )


def _bash(argument: Argument) -> str:
    if argument.choices:
        return f'words="{" ".join(argument.choices)}"'
    return f"kind={argument.kind}"


def _indent(lines: list[str], width: int) -> str:
    return "\n".join(" " * width + line for line in lines)


# -- zsh  -----------------------------------------------------------------------

ZSH = """\
#compdef {names}
# Completion of rumphyper for zsh; written by: rumphyper completion zsh
_rumphyper_linkstr() {{
    local -a links=({links})
    compadd -S '' -a links
    _files
}}
{functions}
if [[ $funcstack[1] == _rumphyper ]]; then
    _rumphyper "$@"
else
    compdef _rumphyper {names}
fi"""

ZSH_PARENT = """\
    local curcontext=$curcontext state line
    _arguments -C {specs} \\
        '1:verb:->verb' '*::argument:->rest' && return
    case $state in
        verb)
            local -a verbs=(
{verbs}
            )
            _describe verb verbs
            ;;
        rest) (( $+functions[{name}_$line[1]] )) && {name}_$line[1] ;;
    esac"""


def zsh(command: Command) -> str:
    """The script for zsh: to be sourced, or as _rumphyper in a folder of fpath."""
    functions = []
    for node in reversed(command.walk()):  # the command itself comes last
        name = "_".join(("_rumphyper", *node.words))
        specs = [spec for part in node.arguments for spec in _zsh(part)]
        if node.children:
            verbs = [
                _quote(f"{child.words[-1]}:{child.summary}") for child in node.children
            ]
            body = ZSH_PARENT.format(
                specs=" ".join(specs), verbs=_indent(verbs, 16), name=name
            )
        else:
            body = "    _arguments \\\n" + " \\\n".join(f"        {s}" for s in specs)
        functions.append(f"{name}() {{\n{body}\n}}")
    return ZSH.format(names=NAMES, links=LINKS, functions="\n".join(functions))


def _zsh(argument: Argument) -> list[str]:
    """The specifications for _arguments, one a flag."""
    action = {
        "choices": f"({' '.join(argument.choices)})",
        "file": "_files",
        "folder": "_files -/",
        "linkstr": "_rumphyper_linkstr",
    }.get(argument.kind, " ")
    value = re.sub(r"([\\:])", r"\\\1", argument.value)
    if not argument.flags:
        optional = ":" if argument.nargs == "?" else ""
        many = "*" if argument.nargs in ("*", "+", "...") else ""
        return [_quote(f"{many}:{optional}{value}:{action}")]
    told = re.sub(r"([\[\]\\])", r"\\\1", argument.help)
    tail = ""
    if argument.value:
        tail = f":{':' if argument.nargs == '?' else ''}{value}:{action}"
    star = "*" if argument.repeats else ""
    specs = []
    for flag in argument.flags:
        equals = "=" if argument.value and flag.startswith("--") else ""
        specs.append(_quote(f"{star}{flag}{equals}[{told}]{tail}"))
    return specs


def _quote(text: str) -> str:
    """One word for a shell such as sh or zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# -- fish  ----------------------------------------------------------------------

FISH = """\
# Completion of rumphyper for fish; written by: rumphyper completion fish
function __rumphyper_at
    set -l words (commandline -opc)[2..]
    for i in (seq (count $argv))
        test "$words[$i]" = "$argv[$i]"; or return 1
    end
end
function __rumphyper_next
    test (count (commandline -opc)) -eq (math (count $argv) + 1)
    and __rumphyper_at $argv
end"""


def fish(command: Command) -> str:
    """The script for fish 3 or later."""
    lines = [FISH]
    for name in NAMES.split():
        lines.append(f"complete -c {name} -f")
        for node in command.walk():
            words = " ".join(node.words)
            at = f"complete -c {name} -n '__rumphyper_at {words}'"
            following = f"complete -c {name} -n '__rumphyper_next {words}'"
            for child in node.children:
                told = _fish_quote(child.summary)
                lines.append(f"{following} -a {child.words[-1]} -d {told}")
            if node.words or not node.children:
                lines += [f"{at} {_fish(part)}" for part in node.arguments]
            else:  # the command's own options stand in front of a verb
                lines += [f"{following} {_fish(part)}" for part in node.arguments]
    return "\n".join(lines)


def _fish(argument: Argument) -> str:
    """The end of one ``complete``."""
    words = [
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
        for flag in argument.flags
    ]
    value = {
        "choices": f"-a {_fish_quote(' '.join(argument.choices))}",
        "file": "-F",
        "folder": "-a '(__fish_complete_directories)'",
        "linkstr": f"-F -a {_fish_quote(LINKS)}",
    }.get(argument.kind, "")
    if argument.flags and argument.value:
        words.append("-r" if argument.kind in ("file", "linkstr") else "-x")
    words.append(value)
    words.append(f"-d {_fish_quote(argument.help)}")
    return " ".join(filter(None, words))


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""Who writes which shell's script."""
