"""``rumphyper completion``: the shells themselves complete by what it prints."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from rumphyper.cli import shells
from rumphyper.cli.main import VERBS, build_parser
from rumphyper.cli.tree import Argument, Command, read
from tests.cli.command import ROOT, TIMEOUT, run
from tests.judges import tool

TREE = read(build_parser(VERBS))
NODES = TREE.walk()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each shell's script, and something to complete."""
    place = tmp_path_factory.mktemp("completion")
    for shell in shells.SHELLS:
        done = run("completion", shell)
        assert (done.returncode, done.stderr) == (0, "")
        (place / shell).write_text(done.stdout)
    (place / "bus").touch()
    (place / "buses").mkdir()
    return place


ASK_BASH = """\
. ./bash
while IFS= read -r line; do
    eval "COMP_WORDS=($line)"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _rumphyper
    (IFS=' '; echo "${COMPREPLY[*]}")
done
"""


def bash(folder: Path, lines: list[str]) -> list[set[str]]:
    """What bash's function answers for each line; its last word is being typed."""
    done = subprocess.run(
        [tool("bash"), "--norc", "-c", ASK_BASH], input="\n".join(lines) + "\n",
        cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.splitlines()]


def flags(node: Command) -> set[str]:
    return {flag for option in node.options for flag in option.flags}


def verbs(node: Command) -> set[str]:
    return {child.words[-1] for child in node.children}


def chooses() -> list[tuple[Command, Argument]]:
    """Every option with a fixed set of values."""
    return [(n, o) for n in NODES for o in n.options if o.choices]


def test_bash_knows_every_option_verb_and_choice(folder: Path) -> None:
    lines = [" ".join(("rumphyper", *node.words, "-")) for node in NODES]
    assert bash(folder, lines) == [flags(node) for node in NODES]
    parents = [node for node in NODES if node.children]
    lines = [" ".join(("rumphyper", *node.words, "''")) for node in parents]
    assert bash(folder, lines) == [verbs(node) for node in parents]
    assert verbs(TREE) == set(VERBS)
    for form in ("", "= "):  # both --format pcap and --format=pcap
        lines = [
            " ".join(("rumphyper", *node.words, option.flags[-1], f"{form}''"))
            for node, option in chooses()
        ]
        assert len(lines) > 8
        assert bash(folder, lines) == [set(option.choices) for _, option in chooses()]


def test_bash_completes_files_folders_and_linkstrs(folder: Path) -> None:
    answers = bash(
        folder,
        [
            "rumphyper dump sh",
            "rumphyper dump shmif : bu",
            "rumphyper dump shmif :",
            "rumphyper dump -c ''",
            "rumphyper --version -",
            "rumphyper dump -w bu",
            "rumphyper extcap --install bu",
            "rumphyper gen t",
            "rumphyper pci du",
        ],
    )
    assert answers[:2] == [{"shmif:"}, {"bus", "buses"}]
    assert {"bus", "buses", "bash"} <= answers[2]
    assert answers[3] == set()
    assert answers[4] == flags(TREE)
    assert answers[5:] == [{"bus", "buses"}, {"buses"}, {"tx", "tap:"}, {"dump"}]


def typed(folder: Path, command: list[str], start: str, text: str, until: str) -> str:
    """What an interactive shell shows after ``text`` and a tab, as far as ``until``."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(TERM="dumb", PS1="$ ", HOME=str(folder))
        os.execv(command[0], command)
    shown = ""

    def wait_for(wanted: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + TIMEOUT
        while wanted not in re.sub(r"[\r\n\a]|\x1b\[[\d;?]*\w", "", shown):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([terminal], [], [], left)[0]:
                pytest.fail(f"{command[0]} shows no {wanted!r}: {shown!r}")
            shown += os.read(terminal, 4096).decode(errors="replace")

    try:
        os.write(terminal, f"{start}; echo rea''dy\n".encode())
        wait_for("ready")
        shown = ""
        os.write(terminal, f"{text}\t".encode())
        wait_for(until)
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)
    return shown


CASES = [
    ("rumphyper hyp", "rumphyper hypercalls "),
    ("rumphyper dump --forma", "rumphyper dump --format"),
    ("rumphyper dump --format pcapn", "rumphyper dump --format pcapng "),
    ("rumphyper pci unb", "rumphyper pci unbind "),
    ("rumphyper echo xd", "rumphyper echo xdp:"),
    ("rumphyper extcap --install buse", "rumphyper extcap --install buses/"),
]


@pytest.mark.parametrize(("text", "until"), CASES)
def test_bash_at_a_terminal(folder: Path, text: str, until: str) -> None:
    typed(folder, [tool("bash"), "--norc", "-i"], ". ./bash", text, until)


@pytest.mark.parametrize(("text", "until"), CASES)
def test_zsh_at_a_terminal(folder: Path, text: str, until: str) -> None:
    start = "autoload -Uz compinit; compinit -D; . ./zsh"
    typed(folder, [tool("zsh"), "-f", "-i"], start, text, until)


def fish(folder: Path, line: str) -> set[str]:
    done = subprocess.run(
        [tool("fish"), "-N", "-c", f"source ./fish; complete -C '{line}'"],
        cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=True,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    assert done.stderr == ""
    return {text.partition("\t")[0] for text in done.stdout.splitlines()}


def test_fish_knows_every_option_and_verb(folder: Path) -> None:
    assert fish(folder, "rumphyper ") == set(VERBS)
    assert fish(folder, "rumphyper pci ") == {"list", "show", "bind", "unbind",
                                              "read", "write", "dump"}  # fmt: skip
    for node in NODES:
        found = fish(folder, " ".join(("rumphyper", *node.words, "-")))
        long = {flag for flag in flags(node) if flag.startswith("--")}
        assert {flag for flag in found if flag.startswith("--")} == long
    assert fish(folder, "rumphyper dump --format ") == {"pcap", "pcapng"}
    assert {"shmif:"} <= fish(folder, "rumphyper dump sh")
    assert {"bus", "buses/"} <= fish(folder, "rumphyper dump -w bu")


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_the_command_of_the_page(folder: Path, shell: str) -> None:
    """They print what the other tests have tried."""
    page = (ROOT / "docs" / "completion.md").read_text()
    [command] = re.findall(rf"`rumphyper (completion {shell}) > ", page)
    assert run(*command.split()).stdout == (folder / shell).read_text()
