"""The command line as data: what completion and the manual page are made of."""

from __future__ import annotations

import argparse

import attrs

KINDS = {
    "FILE": "file",
    "SCRIPT": "file",
    "ARGS": "file",
    "FOLDER": "folder",
    "LINKSTR": "linkstr",
}
"""What can be completed of a value, by its metavar."""


@attrs.frozen
class Argument:
    """One option, or one argument by place where it has no flags."""

    flags: tuple[str, ...]
    value: str
    """What its value is called; empty where it takes none."""

    choices: tuple[str, ...]
    """All that its value can be; empty where that is more."""

    nargs: str
    """argparse's ``?``, ``*``, ``+`` or ``...``; empty for exactly one."""

    repeats: bool
    help: str

    @property
    def kind(self) -> str:
        """``none``, ``choices``, ``file``, ``folder``, ``linkstr`` or ``other``."""
        if not self.value:
            return "none"
        return "choices" if self.choices else KINDS.get(self.value, "other")


@attrs.frozen
class Command:
    """The command itself, a verb, or a verb's own verb."""

    words: tuple[str, ...]
    """Behind ``rumphyper``."""

    summary: str
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that have flags."""
        return tuple(part for part in self.arguments if part.flags)

    @property
    def places(self) -> tuple[Argument, ...]:
        """The arguments that go by their place."""
        return tuple(part for part in self.arguments if not part.flags)

    def walk(self) -> list[Command]:
        """This command and all below it, from the top."""
        return [self, *(below for child in self.children for below in child.walk())]


def read(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = (), summary: str = ""
) -> Command:
    """Read a parser. argparse has no public way to ask it what it knows."""
    arguments = []
    children: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {
                choice.dest: choice.help or "" for choice in action._choices_actions
            }
            children += [
                read(child, (*words, name), told.get(name, ""))
                for name, child in action.choices.items()
            ]
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(parser, action))
    return Command(
        words, summary or parser.description or "", tuple(arguments), tuple(children)
    )


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    value = ""
    if action.nargs != 0:
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        value = name if isinstance(action.metavar, str) else name.upper()
    told = action.help or ""
    if told and "%" in told:
        told = parser._get_formatter()._expand_help(action)
    return Argument(
        flags=tuple(action.option_strings),
        value=value,
        choices=choices,
        nargs=action.nargs if isinstance(action.nargs, str) else "",
        repeats=isinstance(action, (argparse._AppendAction, argparse._CountAction)),
        help=" ".join(told.split()),
    )
