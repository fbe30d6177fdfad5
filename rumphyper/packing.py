"""One file that runs anywhere: this package and what it needs, by zipapp.

Python runs a zip file with a ``__main__.py`` (PEP 441). Beside the sources lies the
byte code of the Python that packs, so that the same version starts without
compiling; another one reads the sources.
"""

from __future__ import annotations

import importlib.metadata
import os
import py_compile
import shutil
import tempfile
import zipapp
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import rumphyper
from rumphyper.errors import HostError, RumphyperError, UnsupportedError

VENDORED = ("attrs", "typing-extensions")
"""The distributions that the package needs (pyproject.toml)."""

SHEBANG = "/usr/bin/env python3"

MAIN = """\
import os
import sys

if sys.version_info < (3, 10):
    have = ".".join(map(str, sys.version_info[:2]))
    sys.exit("rumphyper: Python %s is too old (run it by 3.10 or later)" % have)

# absolute, for who changes folders; and Pythons that are started find it, too
sys.path[0] = os.path.abspath(sys.path[0])
more = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0]] + [more] * bool(more))

from rumphyper.cli.main import main

sys.exit(main())
"""

STAMP = 315_619_200
"""Every file's time, 1980-01-02: some installations have files from before 1980,
which a zip file cannot say."""


def pack(target: Path) -> int:
    """Write the file, mode 0755, in place of what is there; return its octets.

    Raises UnsupportedError when something of this installation cannot be packed,
    and HostError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rumphyper-pack-") as name:
            tree = Path(name, "tree")
            _gather(tree)
            _compile(tree)
            fd, made = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(fd, "wb") as file:
                    zipapp.create_archive(
                        tree, file, interpreter=SHEBANG, compressed=True
                    )
                os.chmod(made, 0o755)
                os.replace(made, target)
            except BaseException:
                os.unlink(made)
                raise
        return target.stat().st_size
    except OSError as error:
        cause = error.strerror or str(error)
        remedy = "name a file in a folder that you may write to"
        raise HostError(str(target), cause, remedy, error.errno or 0) from None


def _gather(tree: Path) -> None:
    """Copy the package, its benchmarks and what it needs into a tree."""
    package = Path(rumphyper.__file__).absolute().parent
    if not package.is_dir():
        raise UnsupportedError(
            str(package.parent), "this is a packed file already", "copy it"
        )
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tree / "rumphyper", ignore=ignore)
    inside = tree / "rumphyper" / "_benchmarks"
    beside = package.parent / "benchmarks"
    if not inside.exists() and (beside / "harness.py").is_file():
        shutil.copytree(beside, inside, ignore=ignore)
    for name in VENDORED:
        for relative, path in _files(name):
            place = tree / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    (tree / "__main__.py").write_text(MAIN)


def _files(distribution: str) -> Iterator[tuple[PurePosixPath, Path]]:
    """What is installed of a distribution: modules, and the licence with its notes."""
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise _unpackable(distribution, "its installation has no metadata") from None
    for file in found.files or ():
        path = Path(str(found.locate_file(file)))
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        if file.suffix not in ("", ".py", ".pyi", ".typed", ".txt", ".md", ".rst"):
            raise _unpackable(distribution, f"{file} is no Python")
        if file.name not in ("RECORD", "INSTALLER", "REQUESTED"):
            yield file, path


def _unpackable(distribution: str, cause: str) -> RumphyperError:
    remedy = f"install it anew: pip install --force-reinstall {distribution}"
    return UnsupportedError(distribution, cause, remedy)


def _compile(tree: Path) -> None:
    """Put byte code beside every source, as zipimport(3) looks for it."""
    for source in sorted(tree.rglob("*.py")):
        if source.parent != tree or source.name != "__main__.py":
            py_compile.compile(
                str(source),
                cfile=f"{source}c",
                dfile=str(source.relative_to(tree)),
                doraise=True,
                # by time it would depend on the time zone of who runs it
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
    for path in tree.rglob("*"):
        os.utime(path, (STAMP, STAMP))
