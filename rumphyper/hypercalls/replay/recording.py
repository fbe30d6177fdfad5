"""A file of recorded hypercalls: JSON, one object a line.

    {"format": "rumphyper recording", "version": 1, "rumpuser": 17}
    {"call": "rumpuser_getparam", "asked": {"name": "RUMP_NCPU", "buflen": 8},
     "result": 2, "given": {}}
    ...
    {"end": 6}

(an object has no line breaks). The last line has the number of answers: without
it the file was cut off. Nothing in the file is believed before it is checked.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import Any

import attrs

from rumphyper.errors import HostError, RecordingError
from rumphyper.host.libc import from_oserror
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.hypercalls.replay.codecs import CODECS, Value, Values

FORMAT = "rumphyper recording"
VERSION = 1
HEADER = {"format": FORMAT, "version": VERSION, "rumpuser": RUMPUSER_VERSION}
LONGEST_LINE = 1 << 20
"""Octets; longer ones are refused unread."""

MOST = 1 << 20
"""Answers of one recording at most."""

DAMAGED = "the file is damaged or of another kind: record the run again"


@attrs.frozen
class Answer:
    """One call that was recorded."""

    call: str
    asked: Values
    result: int
    """0 or NetBSD's errno."""

    given: Values


def read_recording(path: str | os.PathLike[str]) -> list[Answer]:
    """All answers of a recording, in their order.

    Raises HostError when it cannot be read, RecordingError with the line when
    it is cut off or breaks the format.
    """
    name = os.fspath(path)
    answers: list[Answer] = []
    ended = False
    for place, line in enumerate(_lines(name), 1):
        try:
            found = _object(line)
            if ended:
                raise ValueError("it is behind the end")
            if place == 1:
                _check_header(found)
            elif "end" in found:
                ended = True
                if found != {"end": len(answers)}:
                    raise ValueError(f"{len(answers)} answers are before it")
            elif len(answers) == MOST:
                raise ValueError(f"more than {MOST} answers")
            else:
                answers.append(_answer(found))
        except (ValueError, RecursionError) as error:
            raise RecordingError(name, f"line {place}: {error}", DAMAGED) from None
    if not ended:
        raise RecordingError(
            name,
            f"cut off behind {len(answers)} answers",
            f'to replay what there is, append the line {{"end": {len(answers)}}}',
        )
    return answers


def _lines(name: str) -> Iterator[bytes]:
    """The lines of a regular file, each of an acceptable length and whole."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise HostError(name, "not a regular file", "name a recording")
            place = 0
            while line := file.readline(LONGEST_LINE):
                place += 1
                if not line.endswith(b"\n"):
                    why = "it breaks off"
                    if len(line) == LONGEST_LINE:
                        why = f"longer than {LONGEST_LINE} octets"
                    raise RecordingError(name, f"line {place}: {why}", DAMAGED)
                yield line
    except OSError as error:
        raise from_oserror(error, name, "name a recording") from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            line.decode(),
            parse_int=_integer,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20:  # octets of a hostile file must not cost more than that
        raise ValueError("a number of more than 64 bits")
    return int(digits)


def _refuse(digits: str) -> float:
    raise ValueError(f"{digits[:20]} is no integer")


def _check_header(found: dict[str, Any]) -> None:
    if found.get("format") != FORMAT:
        raise ValueError("no recording of hypercalls")
    for name in ("version", "rumpuser"):
        if found.get(name) != HEADER[name]:
            raise ValueError(f"{name!r} is {found.get(name)!r}, not {HEADER[name]}")


def _answer(found: dict[str, Any]) -> Answer:
    if found.keys() != {"call", "asked", "result", "given"}:
        raise ValueError(f"it has {sorted(found)}, not call, asked, result and given")
    call, result = found["call"], found["result"]
    asked, given = _values(found, "asked"), _values(found, "given")
    codec = CODECS.get(call) if isinstance(call, str) else None
    if codec is None:
        raise ValueError(f"{call!r} is not recorded: {', '.join(CODECS)}")
    if type(result) is not int or (result and result not in set(Errno)):
        raise ValueError(f"'result' is {result!r}, neither 0 nor NetBSD's errno")
    if result and given:
        raise ValueError("it failed and gave something all the same")
    if not result:
        codec.check(asked, given)
    return Answer(call, asked, result, given)


def _values(found: dict[str, Any], name: str) -> dict[str, Value]:
    values = found[name]
    if not isinstance(values, dict) or any(
        not isinstance(value, str | int | None) for value in values.values()
    ):
        raise ValueError(f"{name!r} is no object of strings and numbers")
    return values
