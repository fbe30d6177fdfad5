"""Answering a kernel as it was answered in a recorded run."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.families.clock import ABSMONO, BILLION, RELWALL
from rumphyper.hypercalls.families.random import MOST
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.replay.codecs import CODECS, Codec, Value, Values
from rumphyper.hypercalls.replay.recording import Answer, read_recording

CLOCK, RANDOM = "rumpuser_clock_gettime", "rumpuser_getrandom"
_HOST = {RELWALL: time.CLOCK_REALTIME, ABSMONO: time.CLOCK_MONOTONIC}
Question = tuple[str, frozenset[tuple[str, Value]]]


def question(call: str, asked: Values) -> Question:
    """What tells one question from another."""
    return call, frozenset(asked.items())


def words(call: str, asked: Values) -> str:
    """A question as people read it."""
    return f"{call}({', '.join(f'{key}={value!r}' for key, value in asked.items())})"


class Replay:
    """Gives the answers of the recording ``path`` in the order of the recording.

    Each question (hypercall and what it asks) has an order of its own, for
    threads of the kernel do not come in the same order twice. A question that
    is not recorded, or not so often, is a departure: the first one is told, by
    ``hypervisor.reporter``; it gets the real answer, or with ``strict`` the
    errno that the hypercall has for failure.

    How often clocks are read and how many random octets are wanted depends on
    how fast the host is, so that is no departure: behind the last recorded time a
    clock goes on from there, one that was never read is the host's, and behind the
    last recorded octets come those of a generator that has them as its seed.
    Sleeps until a time of the monotonic clock are moved to where the recorded time
    is.

    Raises what `read_recording` does.
    """

    def __init__(self, path: str | os.PathLike[str], strict: bool = False) -> None:
        self.path = os.fspath(path)
        self.strict = strict
        self.replayed = 0
        """How many answers were the recording's."""

        self.continued = 0
        """How often clocks and random octets went on behind the recording's end."""

        self.departures = 0
        answers = read_recording(path)
        self.answers = len(answers)
        """How many the recording has."""

        self._questions: dict[Question, deque[tuple[int, Answer]]] = {}
        for place, answer in enumerate(answers):
            key = question(answer.call, answer.asked)
            self._questions.setdefault(key, deque()).append((place, answer))
        self._clocks = any(call == CLOCK for call, _ in self._questions)
        self._ahead: dict[int, int] = {}
        """Nanoseconds by which each recorded clock is ahead of the host's."""

        self._octets = ""
        """The random octets that were given last."""

        self._lock = threading.Lock()
        self._hypervisor: Hypervisor | None = None
        self._arounds = {
            name: Around(self._replaying(name, codec)) for name, codec in CODECS.items()
        }
        self._arounds["rumpuser_clock_sleep"] = Around(self._sleep)

    def attach(self, hypervisor: Hypervisor) -> None:
        """Begin to answer."""
        self.detach()
        self._hypervisor = hypervisor
        for name, around in self._arounds.items():
            hypervisor.add_around(name, around)

    def detach(self) -> None:
        """Leave the answers to others again. Idempotent."""
        hypervisor, self._hypervisor = self._hypervisor, None
        if hypervisor is not None:
            for name, around in self._arounds.items():
                hypervisor.remove_around(name, around)

    def end(self) -> None:
        """Stay: a clock that jumps would hold the kernel's end up."""

    def as_dict(self) -> dict[str, object]:
        """What was done, for ``--json``."""
        return {
            "file": self.path,
            "answers": self.answers,
            "replayed": self.replayed,
            "continued": self.continued,
            "departures": self.departures,
        }

    def _replaying(self, name: str, codec: Codec) -> Callable[..., Any]:
        def answer(original: Function, *arguments: Any) -> Any:
            asked = codec.asked(*arguments)
            found = self._next(name, asked)
            if found is None:
                known = question(name, asked) in self._questions
                if name == CLOCK and self._clocks:
                    return self._run_on(original, *arguments)
                if name == RANDOM and self._octets and known:
                    return self._draw_on(codec, *arguments)
                return self._depart(name, asked, original, arguments)
            if not found.result:
                codec.give(found.given, *arguments)
            return found.result

        return answer

    def _next(self, name: str, asked: Values) -> Answer | None:
        with self._lock:
            answers = self._questions.get(question(name, asked))
            if not answers:
                return None
            _, answer = answers.popleft()
            self.replayed += 1
            if name == CLOCK and not answer.result:
                clock, given = int(asked["clock"] or 0), answer.given
                time_ns = int(given["sec"] or 0) * BILLION + int(given["nsec"] or 0)
                host = time.clock_gettime_ns(_HOST[clock])
                self._ahead[clock] = time_ns - host
            elif name == RANDOM and not answer.result:
                self._octets = str(answer.given["octets"])
            return answer

    def _depart(
        self, name: str, asked: Values, original: Function, arguments: tuple[Any, ...]
    ) -> Any:
        with self._lock:
            self.departures += 1
            first = self.departures == 1
            expected = self._expected(name)
        hypervisor = self._hypervisor
        if first and hypervisor is not None:
            then = "fails" if self.strict else "gets the real answer"
            hypervisor.reporter.say(
                f"replay of {self.path}: the run departs from it: "
                f"{words(name, asked)} {then}; recorded {expected}"
            )
        if self.strict:
            return int(CATALOGUE[name].failure)
        return original(*arguments)

    def _expected(self, name: str) -> str:
        """The first answer of this hypercall that was not asked for."""
        waiting = (
            answers[0]
            for (call, _), answers in self._questions.items()
            if call == name and answers
        )
        _, answer = min(waiting, key=itemgetter(0), default=(0, None))
        if answer is None:
            return f"is no further call of {name}"
        return f"next is {words(name, answer.asked)}"

    def _draw_on(self, codec: Codec, buf: int, buflen: int, *rest: Any) -> int:
        with self._lock:
            self.continued += 1
            generator = random.Random(f"{self._octets} {self.continued}")
        octets = generator.randbytes(min(buflen, MOST))
        codec.give({"octets": octets.hex()}, buf, buflen, *rest)
        return 0

    def _run_on(self, original: Function, clock: int, sec: Any, nsec: Any) -> Any:
        error = original(clock, sec, nsec)
        if not error:
            with self._lock:
                self.continued += 1
                shown = sec[0] * BILLION + nsec[0] + self._ahead.get(clock, 0)
            sec[0], nsec[0] = divmod(shown, BILLION)
        return error

    def _sleep(self, original: Function, clock: int, sec: int, nsec: int) -> Any:
        ahead = self._ahead.get(ABSMONO)
        if clock == ABSMONO and ahead is not None and 0 <= nsec < BILLION:
            until = max(0, sec * BILLION + nsec - ahead)
            sec, nsec = divmod(until, BILLION)
        return original(clock, sec, nsec)
