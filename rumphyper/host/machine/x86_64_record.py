"""How x86-64 thunks take the time of a call and write its record.

A frame as rumphyper.host.machine.x86_64 makes it is there: below rbp lie the six
registers with arguments, rax, the first time, and rax and rdx as returned.
"""

from __future__ import annotations

from rumphyper.host.machine.template import Line, label, table

NOW = table(  # the time in rdx
    ("0f 31", "rdtsc"),
    ("48 c1 e2 20", "shl $0x20,%rdx"),
    ("48 09 c2", "or %rax,%rdx"),
)
START = [*NOW, Line("48 89 55 c0", "mov %rdx,-0x40(%rbp)")]
END = Line("49 89 d2", "mov %rdx,%r10")
KEEP_RESULT = table(
    ("48 89 45 b8", "mov %rax,-0x48(%rbp)"),
    ("48 89 55 b0", "mov %rdx,-0x50(%rbp)"),
)
GIVE_RESULT = table(
    ("48 8b 45 b8", "mov -0x48(%rbp),%rax"),
    ("48 8b 55 b0", "mov -0x50(%rbp),%rdx"),
)
COUNT = Line("f0 48 ff 05 {count}", "lock incq {count}(%rip)")
# r10 is the time of the end, rdx how long the call took.
ACCOUNT = [
    *NOW,
    END,
    Line("48 2b 55 c0", "sub -0x40(%rbp),%rdx"),
    COUNT,
    *table(
        ("f0 48 01 15 {ticks}", "lock add %rdx,{ticks}(%rip)"),
        ("83 7d b8 00", "cmpl $0x0,-0x48(%rbp)"),
        ("74 {>fine}", "je {fine}"),
        ("f0 48 ff 05 {failed}", "lock incq {failed}(%rip)"),
    ),
    label("fine"),
]
SLOW_ENOUGH = table(
    ("48 3b 15 {threshold}", "cmp {threshold}(%rip),%rdx"),
    ("0f 82 {>>done}", "jb {done}"),
)
# The ring: rax the number of the record, rcx its address, r11 its lap's first
# number, which its first word holds if the record of the lap before is whole. The
# sixteenth after it is fetched: a ring is larger than what is near a processor.
RESERVE = [
    label("retry"),
    *table(
        ("48 8b 05 {head}", "mov {head}(%rip),%rax"),
        ("48 89 c1", "mov %rax,%rcx"),
        ("48 2b 0d {tail}", "sub {tail}(%rip),%rcx"),
        ("48 3b 0d {limit}", "cmp {limit}(%rip),%rcx"),
        ("0f 83 {>>full}", "jae {full}"),
        ("48 8b 0d {mask}", "mov {mask}(%rip),%rcx"),
        ("48 21 c1", "and %rax,%rcx"),
        ("49 89 c3", "mov %rax,%r11"),
        ("49 29 cb", "sub %rcx,%r11"),
        ("48 c1 e1 07", "shl $0x7,%rcx"),
        ("48 03 0d {records}", "add {records}(%rip),%rcx"),
        ("0f 0d 89 00 08 00 00", "prefetchw 0x800(%rcx)"),
        ("4c 39 19", "cmp %r11,(%rcx)"),
        ("0f 85 {>>full}", "jne {full}"),
        ("48 8d 50 01", "lea 0x1(%rax),%rdx"),
        ("f0 48 0f b1 15 {head}", "lock cmpxchg %rdx,{head}(%rip)"),
        ("75 {>retry}", "jne {retry}"),
        ("48 c7 41 08 {=id}", "movq ${id},0x8(%rcx)"),
        ("64 48 8b 14 25 00 00 00 00", "mov %fs:0x0,%rdx"),
        ("48 89 51 10", "mov %rdx,0x10(%rcx)"),
        ("48 8b 55 c0", "mov -0x40(%rbp),%rdx"),
        ("48 89 51 18", "mov %rdx,0x18(%rcx)"),
        ("4c 89 51 20", "mov %r10,0x20(%rcx)"),
    ),
]
RECORD_RESULT = table(
    ("48 8b 55 b8", "mov -0x48(%rbp),%rdx"),
    ("48 89 51 28", "mov %rdx,0x28(%rcx)"),
)
RECORD_NO_RESULT = table(("48 c7 41 28 00 00 00 00", "movq $0x0,0x28(%rcx)"))
# x86 keeps stores in order, so the first word is seen after all the rest. What
# looked full may have been a head that others have moved on meanwhile.
PUBLISH = [
    *table(
        ("48 8b 05 {mask}", "mov {mask}(%rip),%rax"),
        ("49 8d 44 03 01", "lea 0x1(%r11,%rax,1),%rax"),
        ("48 89 01", "mov %rax,(%rcx)"),
        ("eb {>done}", "jmp {done}"),
    ),
    label("full"),
    *table(
        ("48 3b 05 {head}", "cmp {head}(%rip),%rax"),
        ("0f 85 {>>retry}", "jne {retry}"),
        ("f0 48 ff 05 {lost}", "lock incq {lost}(%rip)"),
    ),
    label("done"),
]
