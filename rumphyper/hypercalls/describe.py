"""The catalogue for people: what a hypercall does, takes, returns, who has it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from rumphyper.hypercalls.catalogue import FAMILIES, Hypercall, members
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.python import python_families

STOCK = "librumpuser.so.0"
COMPONENTS = {
    "virtif": "librumpnet_virtif.so.0",
    "shmif": "librumpnet_shmif.so.0",
    "pci": "librumpdev_pci.so.0",
}
"""Which of NetBSD's libraries has the hypercalls of a component."""

RETURNS_ERRNO = "0, or a NetBSD errno"


@functools.cache
def _python() -> dict[str, Family]:
    return {family.family: family for family in python_families()}


def python_provider(call: Hypercall) -> str | None:
    """Where Python answers ``call``: ``module.Class.method``, None if nowhere."""
    family = _python().get(call.family)
    if family is None or family.target(call) is None:
        return None
    return f"{type(family).__module__}.{type(family).__qualname__}.{call.method}"


def stock_provider(call: Hypercall) -> str:
    """The library of NetBSD's that has ``call``."""
    return COMPONENTS.get(call.family, STOCK)


def result_text(call: Hypercall) -> str:
    """What the result means, in a line."""
    if call.noreturn:
        return "does not return"
    if call.returns:
        return call.returns
    return RETURNS_ERRNO if call.fails_with_errno else "nothing"


def as_dict(call: Hypercall) -> dict[str, Any]:
    """Everything about ``call``, for JSON."""
    return {
        "name": call.name,
        "signature": call.signature,
        "family": call.family,
        "summary": call.summary,
        "arguments": [
            {"name": a.name, "type": a.type.spelling, "meaning": a.meaning}
            for a in call.arguments
        ],
        "result": call.result.spelling,
        "returns": result_text(call),
        "errors": [
            {"errno": e.errno.name, "number": int(e.errno), "when": e.when}
            for e in call.errors
        ],
        "variadic": call.variadic,
        "noreturn": call.noreturn,
        "blocks": call.blocks,
        "python": python_provider(call),
        "stock": stock_provider(call),
    }


def details(call: Hypercall) -> Iterator[str]:
    """Lines of text with everything about ``call``."""
    yield f"{call.signature};"
    yield f"    {call.summary}"
    yield ""
    yield f"family     {call.family}: {FAMILIES[call.family]}"
    width = max((len(a.name) for a in call.arguments), default=0)
    for index, argument in enumerate(call.arguments):
        head = "arguments" if index == 0 else ""
        yield f"{head:11}{argument.name:{width}}  {argument.meaning}"
    if call.variadic:
        yield f"{'':11}{'...':{width}}  as the format says"
    yield f"result     {result_text(call)}"
    for index, failure in enumerate(call.errors):
        head = "errors" if index == 0 else ""
        text = f"{failure.errno.name} ({int(failure.errno)})"
        yield f"{head:11}{text:18}{failure.when}"
    if call.blocks:
        yield "waits      may wait, without the virtual CPU"
    yield f"python     {python_provider(call) or 'not yet'}"
    yield f"stock      {stock_provider(call)}"


def listing(family: str | None = None) -> Iterator[str]:
    """Lines of text with all hypercalls, or those of one family."""
    for position, name in enumerate([family] if family else FAMILIES):
        calls = members(name)
        if position:
            yield ""
        yield f"{name}: {FAMILIES[name]}"
        for call in calls:
            yield f"  {call.signature}"
            yield f"      {call.summary}"
