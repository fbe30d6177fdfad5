"""host/machine: the templates before an independent disassembler, line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.host import machine
from rumphyper.host.machine.template import Line, Machine
from rumphyper.host.recordring import HEADER
from rumphyper.host.thunks import ThunkBuilder
from tests.debian import missing

DISASSEMBLERS = {
    "x86_64": ("x86_64-linux-gnu-objdump", "objdump"),
    "aarch64": ("aarch64-linux-gnu-objdump", "llvm-objdump"),
}


def templates(name: str) -> Machine:
    found = machine.named(name)
    assert found is not None
    return found


def everything(use: Machine) -> dict[str, list[Line]]:
    """Every template with and without each of its parts."""
    return {
        "jump": use.jump(),
        "counted": use.counted(),
        "cas_bound": use.compare_and_swap(True),
        "cas": use.compare_and_swap(False),
        "exchange_bound": use.exchange(True),
        "exchange": use.exchange(False),
        "bound": use.bound(0, 6, False),
        "bound_constant": use.bound(2, 6, True),
        "attempt": use.attempt(6, False, False),
        "attempt_floats": use.attempt(12, True, False),
        "attempt_negative": use.attempt(3, False, True),
        "chain": use.chain(3, 2),
        "chain_long": use.chain(6, 5),
        "chain_short": use.chain(0, 0),
        "kept": use.kept(),
        "timed_0": use.timed(0, False),
        "timed_12": use.timed(12, False),
        "timed_variadic": use.timed(1, True),
        "recorded_0": use.recorded(0, False, False),
        "recorded_12": use.recorded(12, False, False),
        "recorded_variadic": use.recorded(2, True, False),
        "recorded_noreturn": use.recorded(7, False, True),
    }


def objdump(name: str, path: Path, *options: str) -> str:
    """The disassembly by the first program there is that knows the machine."""
    there = [program for program in DISASSEMBLERS[name] if shutil.which(program)]
    if not there:
        missing(f"no disassembler: {' or '.join(DISASSEMBLERS[name])}")
    command = [there[0], "-d", *options, str(path)]
    ran = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", timeout=60
    )
    assert ran.stderr == ""
    return ran.stdout


def disassemble(name: str, path: Path) -> dict[str, list[str]]:
    """Symbol to instructions, without addresses and octets."""
    text = objdump(name, path, "--no-show-raw-insn")
    out: dict[str, list[str]] = {}
    for line in text.splitlines():
        if symbol := re.fullmatch(r"[0-9a-f]+ <(.+)>:", line):
            out[symbol[1]] = here = []
        elif instruction := re.match(r" *[0-9a-f]+:\s+(.*)", line):
            here.append(instruction[1])
    return out


def plain(text: str) -> str:
    """One spelling for what disassemblers print in different ways."""
    text = re.sub(r"\s*(#|//|;)\s.*|\s*<.*", "", text)  # comments, symbols
    text = re.sub(r"\s+", " ", text.replace(", ", ",")).strip().lower()
    text = re.sub(r"^(movz?bl|movzx) ", "movzbl ", text)
    text = re.sub(r"\b(retq|leaveq|pushq|jmpq|callq)\b", lambda m: m[1][:-1], text)
    text = re.sub(r"\bb\.hs\b", "b.cs", text)
    text = re.sub(r"\bb\.lo\b", "b.cc", text)
    return re.sub(r"-?\b0x[0-9a-f]+\b", lambda m: str(int(m[0], 16)), text)


def pattern(line: Line) -> str:
    """What the disassembler must print, fields being any number."""
    text = re.escape(plain(re.sub(r"\{\w+\}", "@field", line.text)))
    return re.sub(r"(\\#)?@field", "#?-?[0-9a-f]+", text)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_disassembler_sees_the_intended_instructions(name: str, tmp_path: Path) -> None:
    use = templates(name)
    wanted = everything(use)

    class Fixed(ThunkBuilder):
        def fill(self) -> None:
            for symbol, lines in wanted.items():
                text = " ".join(line.code for line in lines)
                words = sorted(set(re.findall(r"\{(\w+)\}", text)) - HEADER_WORDS)
                self._add(symbol, "test", tuple(words), use.compile(lines))

    builder = Fixed("libmachine.so", 16, use)
    builder.fill()
    path = tmp_path / "machine.so"
    path.write_bytes(builder.image().octets)
    seen = disassemble(name, path)
    compared = 0
    for symbol, lines in wanted.items():
        real = [line for line in lines if line.code]
        for line, got in zip(real, seen[symbol], strict=False):
            assert re.fullmatch(pattern(line), plain(got)), (symbol, line.text, got)
            compared += 1
        assert len(seen[symbol]) >= len(real)
    assert compared == sum(bool(line.code) for v in wanted.values() for line in v)


HEADER_WORDS = set(HEADER)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_fields_reach_the_words_they_name(name: str, tmp_path: Path) -> None:
    """The disassembler resolves addresses by itself: compare with the layout."""
    builder = ThunkBuilder("libfields.so", 16, templates(name))
    builder.jump("one")
    builder.attempt("two")
    image = builder.image()
    path = tmp_path / "fields.so"
    path.write_bytes(image.octets)
    text = objdump(name, path)
    one, two = image.specs[1], image.specs[2]
    wanted = [image.data + one.data, image.data + two.data, image.data + two.data + 8]
    body = text[text.index("<one>:") :]
    if name == "x86_64":
        found = re.findall(r"(?:jmp|call)q? +\*.*# 0?x?([0-9a-f]+)", body)
    else:
        found = re.findall(r"ldr\s+x16, (?:0x)?([0-9a-f]+)", body)
    assert [int(place, 16) for place in found] == wanted


def test_a_library_too_large_for_a64_is_refused() -> None:
    builder = ThunkBuilder("libhuge.so", 16, templates("aarch64"))
    for index in range(4000):
        builder.recorded(f"f{index}", 10)
    with pytest.raises(UnsupportedError, match="1 MiB"):
        builder.image()


def test_architectures_without_templates() -> None:
    for name in ("i386", "arm", "riscv64", "ppc64le", "s390x", "aarch64_be"):
        assert machine.named(name) is None
