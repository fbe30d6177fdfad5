"""Making Wireshark find the extcap program: a script in one of its folders."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import rumphyper
from rumphyper.errors import HostError, UnsupportedError

NAME = "rumphyper"
MARK = "# Made by: rumphyper extcap --install"
PATIENCE = 30.0


def personal_folder() -> Path:
    """Where this user's Wireshark looks for extcap programs, as it says itself.

    From 4.2 on it names the folder; before that it was in the configuration's.
    Raises UnsupportedError when there is no Wireshark to ask.
    """
    for program in ("tshark", "wireshark"):
        found = shutil.which(program)
        if found is None:
            continue
        try:
            said = subprocess.run(
                [found, "-G", "folders"], capture_output=True, text=True,
                errors="surrogateescape", timeout=PATIENCE, check=False,
                stdin=subprocess.DEVNULL,
            ).stdout  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        folders = {}
        for line in said.splitlines():
            name, _, path = line.partition(":")
            folders[name.strip().lower()] = path.strip()
        if folders.get("personal extcap path"):
            return Path(folders["personal extcap path"])
        if folders.get("personal configuration"):
            return Path(folders["personal configuration"], "extcap")
    raise UnsupportedError(
        "Wireshark's extcap folder",
        "there is no tshark or wireshark that names it",
        "install one, or name the folder: --install FOLDER",
    )


def script() -> str:
    """The text of the script: this package, by this Python, from anywhere.

    A shebang cannot hold every path, so a shell starts Python. The package is
    where it is now: a folder, or the file that it is packed in.
    """
    place = str(Path(rumphyper.__file__).absolute().parents[1])
    code = (
        f"import sys; place = {place!r}; "
        # -c has put the current folder in front, which can be anybody's
        "sys.path[:1] = [] if place in sys.path[1:] else [place]; "
        "from rumphyper.cli.main import main; "
        "raise SystemExit(main(['extcap', *sys.argv[1:]]))"
    )
    words = shlex.join([sys.executable, "-c", code])
    return f'#!/bin/sh\n{MARK}\nexec {words} "$@"\n'


def install(folder: Path) -> Path:
    """Put the script into a folder, which is made; return its path.

    Raises HostError, also when there is a file of that name that is not ours.
    """
    path = folder / NAME
    try:
        _check_ours(path)
        folder.mkdir(parents=True, exist_ok=True)
        fd, made = tempfile.mkstemp(dir=folder, prefix=f".{NAME}.")
        try:
            with os.fdopen(fd, "w", errors="surrogateescape") as file:
                file.write(script())
            os.chmod(made, 0o755)
            os.replace(made, path)
        except BaseException:
            os.unlink(made)
            raise
    except OSError as error:
        raise _refused(path, error) from None
    return path


def uninstall(folder: Path) -> Path:
    """Take the script away again; return its path. Raises HostError."""
    path = folder / NAME
    try:
        if not _check_ours(path):
            raise HostError(str(path), "it is not there", "name the folder")
        path.unlink()
    except OSError as error:
        raise _refused(path, error) from None
    return path


def _check_ours(path: Path) -> bool:
    """Whether our script is there. HostError when another file is."""
    try:
        with open(path, "rb") as file:
            start = file.read(200)
    except FileNotFoundError:
        return False
    if MARK.encode() not in start:
        raise HostError(str(path), "this file is not ours", "move it away")
    return True


def _refused(path: Path, error: OSError) -> HostError:
    cause = error.strerror or str(error)
    remedy = "name a folder that you may write to"
    return HostError(str(path), cause, remedy, error.errno or 0)
