"""What goes by path."""

from __future__ import annotations

import os
import stat
from typing import Any

from tests.real.file_scenarios.kit import Files, scenario, write_file
from tests.real.scenarios.kit import outcome


@scenario
def error_names_the_path(net: Files) -> Any:
    try:
        net.fs.open(net.path("nowhere"), os.O_RDONLY)
    except OSError as error:
        first = [error.filename == net.path("nowhere"), error.filename2]
    try:
        net.fs.rename(net.path("from"), net.path("to"))
    except OSError as error:
        same = error.filename == net.path("from")
        second = [same, error.filename2 == net.path("to")]
    return [first, second]


@scenario
def stat_fields(net: Files) -> Any:
    fs, path = net.fs, write_file(net, "state", bytes(12345))
    fs.chmod(path, 0o640)
    fs.utime(path, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    found = fs.stat(path)
    link = net.path("hard")
    fs.link(path, link)
    results = [
        found.st_size,
        stat.filemode(found.st_mode),
        found.st_nlink,
        found.st_atime_ns,
        found.st_mtime_ns,
        found.st_mtime,
        found[8],
        found.st_uid,
        fs.stat(link).st_ino == found.st_ino,
        fs.stat(link).st_nlink,
        found.st_ctime_ns > 1_600_000_000_000_000_000,
        outcome(lambda: fs.stat(net.path("none"))),
        outcome(lambda: fs.stat(path + "/below")),
    ]
    fs.utime(path, (1.5, 2.25))
    results.append(fs.stat(path).st_mtime_ns)
    fs.unlink(link)
    fs.unlink(path)
    return results


@scenario
def folders(net: Files) -> Any:
    fs, top = net.fs, net.path("top")
    fs.mkdir(top)
    results = [
        outcome(lambda: fs.mkdir(top)),
        outcome(lambda: fs.mkdir(net.path("a/b"))),
        fs.listdir(top),
    ]
    names = [f"file{number:03}" for number in range(400)] + ["ümlaut", "with space"]
    for name in names:
        fs.close(fs.open(f"{top}/{name}", os.O_CREAT | os.O_WRONLY, 0o600))
    fs.makedirs(f"{top}/x/y/z")
    fs.makedirs(f"{top}/x/y/z", exist_ok=True)
    found = fs.listdir(top)
    results += [
        sorted(found) == sorted([*names, "x"]),
        sorted(fs.listdir(top.encode()))[0].decode(),
        outcome(lambda: fs.makedirs(f"{top}/x/y/z")),
        outcome(lambda: fs.rmdir(top)),
        outcome(lambda: fs.unlink(f"{top}/x")) is not None,
        outcome(lambda: fs.rmdir(f"{top}/file000")),
        outcome(lambda: fs.listdir(f"{top}/file000")),
        outcome(lambda: fs.listdir(f"{top}/none")),
        stat.filemode(fs.stat(f"{top}/x").st_mode)[0],
    ]
    for name in names:
        fs.unlink(f"{top}/{name}")
    for name in ("x/y/z", "x/y", "x", ""):
        fs.rmdir(f"{top}/{name}")
    results.append(outcome(lambda: fs.listdir(top)))
    return results


@scenario
def rename(net: Files) -> Any:
    fs = net.fs
    one, two = write_file(net, "one", b"1"), write_file(net, "two", b"22")
    fs.rename(one, two)
    results = [fs.stat(two).st_size, outcome(lambda: fs.stat(one))]
    fs.mkdir(net.path("folder"))
    results.append(outcome(lambda: fs.rename(two, net.path("folder"))))
    results.append(outcome(lambda: fs.rename(net.path("folder"), two)))
    fs.rename(net.path("folder"), net.path("moved"))
    fs.replace(two, net.path("moved/two"))
    results.append(fs.listdir(net.path("moved")))
    fs.unlink(net.path("moved/two"))
    fs.rmdir(net.path("moved"))
    return results


@scenario
def links(net: Files) -> Any:
    fs, path = net.fs, write_file(net, "target", b"aim")
    link = net.path("link")
    fs.symlink("target", link)
    results = [
        fs.readlink(link),
        stat.S_ISLNK(fs.lstat(link).st_mode),
        stat.S_ISREG(fs.stat(link).st_mode),
        outcome(lambda: fs.readlink(path)),
        outcome(lambda: fs.open(link, os.O_RDONLY | os.O_NOFOLLOW)),
    ]
    fs.unlink(path)
    results.append(outcome(lambda: fs.stat(link)))
    fs.unlink(link)
    fs.symlink("loop", net.path("loop"))
    results.append(outcome(lambda: fs.stat(net.path("loop"))))
    fs.unlink(net.path("loop"))
    return results


@scenario
def umask_and_modes(net: Files) -> Any:
    fs = net.fs
    before = fs.umask(0o027)
    fd = fs.open(net.path("masked"), os.O_CREAT | os.O_WRONLY, 0o666)
    fs.close(fd)
    inside = fs.umask(before)
    mode = stat.S_IMODE(fs.stat(net.path("masked")).st_mode)
    results = [oct(inside), oct(mode), fs.access(net.path("masked"), os.F_OK)]
    fs.unlink(net.path("masked"))
    results.append(fs.access(net.path("masked"), os.F_OK))
    return results


@scenario
def folder_of_the_process(net: Files) -> Any:
    fs, here = net.fs, net.path("here")
    before = fs.getcwd()
    fs.mkdir(here)
    fs.chdir(here)
    try:
        fs.close(fs.open("inside", os.O_CREAT | os.O_WRONLY))
        results = [fs.getcwd() == here, fs.listdir(), fs.listdir(here)]
        fs.unlink("inside")
    finally:
        fs.chdir(before)
    fs.rmdir(here)
    return results


@scenario
def path_likes(net: Files) -> Any:
    from pathlib import PurePosixPath

    path = PurePosixPath(net.path("like"))
    with net.open(path, "w") as file:
        file.write("x")
    results = [net.fs.stat(path).st_size, net.fs.stat(bytes(path)).st_size]
    net.fs.unlink(path)
    results.append(outcome(lambda: net.fs.unlink(3.5)))
    return results
