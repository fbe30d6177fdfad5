"""host/thunks: what each kind of thunk does, with libc and callbacks behind it.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import errno
import math

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder
from tests.host.thunk_functions import LONG, Build, Words, integers, load, weighted

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)


def test_jump_and_retarget() -> None:
    library = load(lambda b: b.jump("f"))
    call = integers(3)(library.address("f"))
    library["f"].target = integers(3)(weighted)
    assert call(5, 6, 7) == 5 + 12 + 21
    library["f"].target = libc().labs
    assert call(-9, 0, 0) == 9
    assert library["f"].target == ctypes.cast(libc().labs, ctypes.c_void_p).value


def test_address_is_what_dlsym_gives() -> None:
    library = load(lambda b: b.jump("one"), lambda b: b.counted("two"))
    for name in ("one", "two"):
        found = ctypes.cast(library.handle[name], ctypes.c_void_p).value
        assert found == library.address(name)


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt"])
def test_twelve_arguments_pass_through(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind in ("recorded", "attempt"):
            getattr(builder, kind)("f", 12)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    seen: list[Words] = []

    def target(*values: int) -> int:
        seen.append(values)
        return 0 if kind == "attempt" else weighted(*values)

    values = tuple(range(-5, 7))
    library["f"].target = integers(12)(target)
    result = integers(12)(library.address("f"))(*values)
    assert seen == [values]
    assert result == (0 if kind == "attempt" else weighted(*values))


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt"])
def test_floats_pass_through(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind == "recorded":
            builder.recorded("f", 2)
        elif kind == "attempt":
            builder.attempt("f", 2, floats=True)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_double, ctypes.c_int, *[ctypes.c_double] * 8, ctypes.c_int
    )

    def target(one: int, *rest: float) -> float:
        return one + sum((i + 1) * value for i, value in enumerate(rest))

    if kind == "attempt":
        # The first target uses the vector registers before it refuses.
        refuse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(
            lambda value: round(math.hypot(value + 0.25, 123.5))
        )
        library["f"].target = refuse
        library["f"].second = prototype(target)
    else:
        library["f"].target = prototype(target)
    arguments = (3, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 11)
    assert prototype(library.address("f"))(*arguments) == target(*arguments)


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt", "bound"])
def test_errno_survives(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind in ("recorded", "bound", "attempt"):
            getattr(builder, kind)("f", 1)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    if kind == "attempt":
        library["f"].target = libc().abs
        library["f"].second = libc().close
    else:
        library["f"].target = libc().close
    if kind == "bound":
        library["f"].args[0] = -1
        arguments: tuple[int, ...] = ()
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, use_errno=True)
    else:
        arguments = (-1,)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True)
    ctypes.set_errno(0)
    assert prototype(library.address("f"))(*arguments) == -1
    assert ctypes.get_errno() == errno.EBADF


def test_what_a_kind_lacks_is_said() -> None:
    library = load(lambda b: b.jump("f"))
    for name in ("count", "second", "result"):
        with pytest.raises(HostError, match=f"has no {name}"):
            getattr(library["f"], name)
    assert len(library["f"].args) == 0
    with pytest.raises(HostError, match="no such symbol"):
        library["g"]
    with pytest.raises(HostError, match="no such symbol"):
        library[""]
    assert "f" in library
    assert "" not in library
    with pytest.raises(HostError, match="records"):
        library.ring  # noqa: B018


@pytest.mark.parametrize("target", [0, -1, 1 << 64, None, "puts", 1.5])
def test_targets_that_are_none(target: int) -> None:
    library = load(lambda b: b.jump("f"))
    before = library["f"].target
    with pytest.raises(HostError, match="not the address of a function"):
        library["f"].target = target
    assert library["f"].target == before


def test_close_keeps_the_code() -> None:
    library = load(lambda b: b.jump("f"))
    library["f"].target = libc().labs
    call = ctypes.CFUNCTYPE(LONG, LONG)(library.address("f"))
    library.close()
    library.close()
    assert call(-3) == 3
    with pytest.raises(HostError, match="closed"):
        library["f"]


@pytest.mark.parametrize(
    "build",
    [
        lambda b: b.bound("f", 7),
        lambda b: b.bound("f", -1),
        lambda b: b.bound("f", 2, keep=3),
        lambda b: b.recorded("f", 65),
        lambda b: b.attempt("f", -1),
        lambda b: b.chain("f", 7, 0),
        lambda b: b.chain("f", 1, 6),
    ],
)
def test_counts_out_of_range(build: Build) -> None:
    with pytest.raises(HostError, match="arguments"):
        load(build)


@pytest.mark.parametrize("name", ["", "two words", "é", "nul\0", "line\n"])
def test_unfit_names(name: str) -> None:
    with pytest.raises(HostError, match="symbol table"):
        load(lambda b: b.jump(name))
    builder = ThunkBuilder(name)
    builder.jump("f")
    with pytest.raises(HostError, match="symbol table"):
        builder.load()


def test_double_and_missing_names() -> None:
    with pytest.raises(HostError, match="twice"):
        load(lambda b: b.jump("f"), lambda b: b.counted("f"))
    with pytest.raises(HostError, match="without symbols"):
        load(lambda b: None)


def test_switch_forbids_thunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(thunks.SWITCH, "0")
    assert not thunks.supported()
    with pytest.raises(UnsupportedError, match="forbids"):
        ThunkBuilder("libx.so")
