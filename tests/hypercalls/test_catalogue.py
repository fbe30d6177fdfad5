"""The catalogue, judged by C compilers, NetBSD's headers and its libraries."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.catalogue import CATALOGUE, FAMILIES, lookup, members
from rumphyper.kernel.libraries import Libraries
from tests.judges import tool

HEADERS = {
    "sys/rump/include/rump/rumpuser.h": "rumpuser_",
    "lib/librumpuser/rumpuser_component.h": "rumpuser_component_",
    "sys/rump/net/lib/libvirtif/virtif_user.h": "rumpcomp_virt_",
    "sys/rump/net/lib/libshmif/shmif_user.h": "rumpcomp_shmif_",
    "sys/rump/dev/lib/libpci/pci_user.h": "rumpcomp_pci_",
}
"""NetBSD's headers, and the prefix of what each declares."""

DEFINES = """
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>
#define LIBRUMPUSER 1
#ifndef __dead
#define __dead __attribute__((__noreturn__))
#endif
#define __printflike(a, b) __attribute__((__format__ (__printf__, a, b)))
#define VIFHYPER_CREATE rumpcomp_virt_create
#define VIFHYPER_DYING rumpcomp_virt_dying
#define VIFHYPER_DESTROY rumpcomp_virt_destroy
#define VIFHYPER_SEND rumpcomp_virt_send
#define VIF_DELIVERPKT rump_virtif_virt_deliverpkt
#define RUMPCOMP_USERFEATURE_PCI_DMAFREE
#define RUMPCOMP_USERFEATURE_PCI_IOSPACE
struct virtif_sc;
"""

FORWARD = """
struct lwp; struct rumpuser_hyperup; struct rumpuser_iovec; struct rumpuser_mtx;
struct rumpuser_rw; struct rumpuser_cv; struct virtif_user;
struct rumpcomp_pci_dmaseg; struct modinfo; struct rump_component;
typedef void (*rump_biodone_fn)(void *, size_t, int);
typedef void (*rump_modinit_fn)(const struct modinfo *const *, size_t);
typedef int (*rump_symload_fn)(void *, uint64_t, char *, uint64_t);
typedef void (*rump_compload_fn)(const struct rump_component *);
"""


def tree() -> Path:
    """A NetBSD source tree, from RUMPHYPER_NETBSD_SRC; skips without."""
    folder = os.environ.get("RUMPHYPER_NETBSD_SRC", "")
    if not (Path(folder) / "sys/rump").is_dir():
        pytest.skip("RUMPHYPER_NETBSD_SRC does not name a NetBSD source tree")
    return Path(folder)


def compiles(folder: Path, source: str, *include: Path) -> str:
    """What the compiler complains of, empty when it takes the source."""
    file = folder / "judge.c"
    file.write_text(source)
    (folder / "rumpcomp_userfeatures_pci.h").write_text("")
    options = [f"-I{path}" for path in (*include, folder)]
    run = subprocess.run(
        [tool("gcc"), "-std=gnu99", "-Wall", "-fsyntax-only", *options, str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return run.stderr


def declarations() -> str:
    """All signatures as C."""
    lines = []
    for call in CATALOGUE.values():
        attribute = " __attribute__((__noreturn__))" if call.noreturn else ""
        lines.append(f"{call.signature}{attribute};")
    return "\n".join(lines)


def test_signatures_are_c(tmp_path: Path) -> None:
    """Every signature is C, and no two of them declare the same name."""
    assert compiles(tmp_path, DEFINES + FORWARD + declarations()) == ""
    wrong = declarations().replace("int rumpuser_close(int", "int rumpuser_close(long")
    both = DEFINES + FORWARD + declarations() + wrong
    assert "conflicting types" in compiles(tmp_path, both)


def test_types_are_those_of_netbsd(tmp_path: Path) -> None:
    """Declared a second time behind NetBSD's own headers, no type conflicts."""
    headers = [tree() / header for header in HEADERS]
    text = "\n".join(header.read_text() for header in headers)
    assert compiles(tmp_path, DEFINES + text + declarations()) == ""


def test_names_are_those_of_netbsd() -> None:
    """No name of the headers is missing, none is invented."""
    found = set()
    for header, prefix in HEADERS.items():
        text = (tree() / header).read_text()
        for word in re.findall(r"\b(\w+)\s*\(", text):
            name = re.sub("^VIFHYPER_", "rumpcomp_virt_", word)
            name = name.lower() if word.startswith("VIFHYPER") else name
            if name.startswith(prefix):
                found.add(name)
    assert found == set(CATALOGUE)


@pytest.mark.rump
def test_types_are_those_of_the_installed_headers(tmp_path: Path) -> None:
    """The same against the headers beside the installed libraries."""
    folders = [Path(folder).parent / "include" for folder in Libraries().folders]
    folders = [folder for folder in folders if (folder / "rump/rumpuser.h").exists()]
    if not folders:
        pytest.skip("no rump/rumpuser.h beside the libraries")
    include = "#include <rump/rumpuser.h>\n#include <rump/rumpuser_component.h>\n"
    rest = re.sub(r"typedef .*|struct rumpuser_\w+;", "", FORWARD)
    source = DEFINES + rest + include + declarations()
    assert compiles(tmp_path, source, folders[0]) == ""


@pytest.mark.rump
def test_names_are_those_of_the_libraries(stock_path: str) -> None:
    """librumpuser exports all rumpuser_ names and no other; components theirs."""
    folder = Path(stock_path).parent
    libraries = {
        Path(stock_path): "rumpuser_",
        folder / "librumpnet_virtif.so": "rumpcomp_virt_",
        folder / "librumpnet_shmif.so": "rumpcomp_shmif_",
    }
    for library, prefix in libraries.items():
        if not library.exists():
            continue
        run = subprocess.run(
            [tool("nm"), "-D", "--defined-only", str(library)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        words = [line.split()[-1] for line in run.stdout.splitlines()]
        exported = {word for word in words if re.match(prefix + "[a-z]", word)}
        assert exported == {name for name in CATALOGUE if name.startswith(prefix)}


def test_every_record_says_enough() -> None:
    """Families exist, texts are one line, results and errors fit together."""
    for name, call in CATALOGUE.items():
        assert call.name == name
        assert call.family in FAMILIES
        assert call.summary
        assert all(argument.meaning for argument in call.arguments)
        lines = [call.summary, call.returns, *(a.meaning for a in call.arguments)]
        assert not [line for line in lines if "\n" in line or len(line) > 70]
        if call.errors:
            assert call.fails_with_errno, name
        assert len(call.prototype()._argtypes_) == len(call.arguments)
        assert len({argument.name for argument in call.arguments}) == len(
            call.arguments
        )
    assert {call.family for call in CATALOGUE.values()} == set(FAMILIES)
    assert sum(len(members(family)) for family in FAMILIES) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("malloc", "rumpuser_malloc"),
        ("rumpuser_malloc", "rumpuser_malloc"),
        ("curlwp", "rumpuser_curlwp"),
        ("component_curlwp", "rumpuser_component_curlwp"),
        ("schedule", "rumpuser_component_schedule"),
        ("create", "rumpcomp_virt_create"),
        ("virt_create", "rumpcomp_virt_create"),
        ("pci_map", "rumpcomp_pci_map"),
    ],
)
def test_short_names(short: str, full: str) -> None:
    """People may leave the prefix out."""
    assert lookup(short).name == full


def test_unknown_names_get_close_ones() -> None:
    """A wrong name is refused with the nearest right ones."""
    with pytest.raises(UnsupportedError, match=r"did you mean.*rumpuser_malloc"):
        lookup("rumpuser_mallok")
    with pytest.raises(UnsupportedError, match=r"known: .*locks"):
        members("loks")
