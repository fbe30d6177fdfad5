"""How aarch64 thunks take the time of a call and write its record.

A frame as rumphyper.host.machine.aarch64 makes it is there: below x29 lie the
first time, x8 and the eight registers with arguments.
"""

from __future__ import annotations

from rumphyper.host.machine.template import Line, label, table

START = table(
    ("d53be049", "mrs x9, cntvct_el0"),
    ("f81b03a9", "stur x9, [x29, #-80]"),
)
END = Line("aa0903ea", "mov x10, x9")


def _add(word: str, instruction: Line) -> list[Line]:
    """Change a word that others change, too: ``instruction`` works on x11."""
    again = f"{word}_again"
    return [
        Line(f"10000009 {{{word}}}", f"adr x9, {{{word}}}"),
        label(again),
        Line("c85f7d2b", "ldxr x11, [x9]"),
        instruction,
        Line("c80e7d2b", "stxr w14, x11, [x9]"),
        Line(f"3500000e {{>{again}}}", f"cbnz w14, {{{again}}}"),
    ]


_ONE_MORE = Line("9100056b", "add x11, x11, #1")
COUNT = _add("count", _ONE_MORE)
# x10 is the time of the end, x15 how long the call took.
ACCOUNT = [
    *table(
        ("d53be04a", "mrs x10, cntvct_el0"),
        ("f85b03a9", "ldur x9, [x29, #-80]"),
        ("cb09014f", "sub x15, x10, x9"),
    ),
    *COUNT,
    *_add("ticks", Line("8b0f016b", "add x11, x11, x15")),
    Line("34000000 {>fine}", "cbz w0, {fine}"),
    *_add("failed", _ONE_MORE),
    label("fine"),
]
SLOW_ENOUGH = table(
    ("5800000b {threshold}", "ldr x11, {threshold}"),
    ("eb0b01ff", "cmp x15, x11"),
    ("54000003 {>done}", "b.cc {done}"),
)
# The ring: x11 the number of the record, x13 its address, x15 its lap's first
# number, which its first word holds if the record of the lap before is whole.
# Acquire and release keep its words behind those that are compared here and
# before its first, which says that the record is whole. The sixteenth after it
# is fetched. Nothing is loaded between ldaxr and stxr, or they might never succeed.
RESERVE = [
    Line("10000009 {head}", "adr x9, {head}"),
    label("retry"),
    *table(
        ("c8dffd2b", "ldar x11, [x9]"),
        ("9101012c", "add x12, x9, #64"),
        ("c8dffd8c", "ldar x12, [x12]"),
        ("5800000d {limit}", "ldr x13, {limit}"),
        ("cb0c016c", "sub x12, x11, x12"),
        ("eb0d019f", "cmp x12, x13"),
        ("54000002 {>full}", "b.cs {full}"),
        ("5800000d {mask}", "ldr x13, {mask}"),
        ("8a0d016d", "and x13, x11, x13"),
        ("cb0d016f", "sub x15, x11, x13"),
        ("5800000e {records}", "ldr x14, {records}"),
        ("8b0d1dcd", "add x13, x14, x13, lsl #7"),
        ("f98401b0", "prfm pstl1keep, [x13, #2048]"),
        ("c8dffdae", "ldar x14, [x13]"),
        ("eb0f01df", "cmp x14, x15"),
        ("54000001 {>full}", "b.ne {full}"),
        ("9100056c", "add x12, x11, #1"),
        ("c85ffd2e", "ldaxr x14, [x9]"),
        ("eb0b01df", "cmp x14, x11"),
        ("54000001 {>retry}", "b.ne {retry}"),
        ("c80e7d2c", "stxr w14, x12, [x9]"),
        ("3500000e {>retry}", "cbnz w14, {retry}"),
        ("d280000e {=id}", "mov x14, #{id}"),
        ("d53bd04c", "mrs x12, tpidr_el0"),
        ("a900b1ae", "stp x14, x12, [x13, #8]"),
        ("f85b03ae", "ldur x14, [x29, #-80]"),
        ("a901a9ae", "stp x14, x10, [x13, #24]"),
    ),
]
RECORD_RESULT = Line("f90015a0", "str x0, [x13, #40]")
RECORD_NO_RESULT = Line("f90015bf", "str xzr, [x13, #40]")
# What looked full may have been a head that others have moved on meanwhile.
PUBLISH = [
    *table(
        ("5800000e {mask}", "ldr x14, {mask}"),
        ("8b0f01ce", "add x14, x14, x15"),
        ("910005ce", "add x14, x14, #1"),
        ("c89ffdae", "stlr x14, [x13]"),
        ("14000000 {>done}", "b {done}"),
    ),
    label("full"),
    *table(
        ("c8dffd2c", "ldar x12, [x9]"),
        ("eb0b019f", "cmp x12, x11"),
        ("54000001 {>retry}", "b.ne {retry}"),
    ),
    *_add("lost", _ONE_MORE),
    label("done"),
]
