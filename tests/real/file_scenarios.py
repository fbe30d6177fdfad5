"""File calls that run alike on the host and on a tmpfs of the rump kernel.

As scenarios.py for sockets: the host's os and open are the judge.
"""

# ruff: noqa: PLW0108 - all cases are written in one form

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.real.scenarios import outcome

Files = Any
SCENARIOS: dict[str, Callable[[Files], Any]] = {}


def scenario(function: Callable[[Files], Any]) -> Callable[[Files], Any]:
    SCENARIOS[function.__name__] = function
    return function


@contextlib.contextmanager
def descriptor(net: Files, name: str, flags: int = 0) -> Iterator[int]:
    """A new file opened for reading and writing, removed at the end."""
    path = net.path(name)
    fd = net.fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
    try:
        yield fd
    finally:
        net.fs.close(fd)
        net.fs.unlink(path)


def write_file(net: Files, name: str, data: bytes = b"") -> str:
    path: str = net.path(name)
    with net.open(path, "wb") as file:
        file.write(data)
    return path


@scenario
def read_and_write(net: Files) -> Any:
    with descriptor(net, "rw") as fd:
        fs = net.fs
        return [
            fs.write(fd, b"0123456789"),
            fs.write(fd, memoryview(bytearray(b"abcdef"))[2:4]),
            fs.lseek(fd, 0, os.SEEK_CUR),
            fs.lseek(fd, 3, os.SEEK_SET),
            fs.read(fd, 4).decode(),
            fs.lseek(fd, -2, os.SEEK_END),
            fs.read(fd, 100).decode(),
            fs.read(fd, 100).decode(),
            fs.pread(fd, 3, 5).decode(),
            fs.pwrite(fd, b"XY", 1),
            fs.pread(fd, 100, 0).decode(),
            fs.lseek(fd, 0, os.SEEK_CUR),
            outcome(lambda: fs.lseek(fd, -1, os.SEEK_SET)),
            outcome(lambda: fs.read(fd, -1)),
            fs.read(fd, 0).decode(),
            fs.write(fd, b""),
        ]


@scenario
def open_flags(net: Files) -> Any:
    fs, path = net.fs, write_file(net, "flags", b"content")
    results = [
        outcome(lambda: fs.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        outcome(lambda: fs.open(net.path("none"), os.O_RDONLY)),
        outcome(lambda: fs.open(path, os.O_RDONLY | os.O_DIRECTORY)),
        outcome(lambda: fs.open(path + "/x", os.O_RDONLY)),
        outcome(lambda: fs.open(path + "\0", os.O_RDONLY)),
        outcome(lambda: fs.open("x" * 300, os.O_RDONLY)),
    ]
    fd = fs.open(path, os.O_WRONLY | os.O_APPEND)
    fs.write(fd, b"+more")
    results.append(outcome(lambda: fs.read(fd, 1)))
    fs.close(fd)
    results.append(outcome(lambda: fs.write(fd, b"x")))
    results.append(outcome(lambda: fs.close(fd)))
    fd = fs.open(path, os.O_RDONLY | os.O_SYNC | os.O_CLOEXEC)
    results.append(fs.read(fd, 100).decode())
    results.append(outcome(lambda: fs.write(fd, b"x")))
    fs.close(fd)
    fd = fs.open(path, os.O_RDWR | os.O_TRUNC)
    results.append(fs.fstat(fd).st_size)
    fs.close(fd)
    fs.unlink(path)
    return results


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
def truncate(net: Files) -> Any:
    fs, path = net.fs, write_file(net, "cut", b"0123456789")
    fs.truncate(path, 4)
    results = [fs.stat(path).st_size]
    fd = fs.open(path, os.O_RDWR)
    fs.truncate(fd, 8)
    results.append(fs.read(fd, 100).hex())
    results.append(outcome(lambda: fs.truncate(fd, -1)))
    fs.fsync(fd)
    fs.close(fd)
    results.append(outcome(lambda: fs.truncate(net.path("none"), 1)))
    fs.unlink(path)
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
def pipes(net: Files) -> Any:
    fs = net.fs
    reader, writer = fs.pipe()
    fs.write(writer, b"through")
    results = [fs.read(reader, 100).decode()]
    fs.set_blocking(reader, False)
    results += [fs.get_blocking(reader), fs.get_blocking(writer)]
    results.append(outcome(lambda: fs.read(reader, 1)))
    fs.set_blocking(reader, True)
    threading.Timer(0.3, functools.partial(fs.write, writer, b"late")).start()
    results.append(fs.read(reader, 100).decode())
    other = fs.dup(reader)
    fs.close(writer)
    results.append(fs.read(other, 1).decode())
    fs.close(reader)
    fs.close(other)
    reader, writer = fs.pipe()
    fs.close(reader)
    results.append(outcome(lambda: fs.write(writer, b"x")))
    fs.close(writer)
    return results


@scenario
def open_modes(net: Files) -> Any:
    path = net.path("modes")
    bad = ("", "rw", "z", "rr", "b", "rbt")
    results = [outcome(functools.partial(net.open, path, mode)) for mode in bad]
    results.append(outcome(lambda: net.open(path)))
    with net.open(path, "x") as file:
        results += [file.write("höhe\n"), type(file).__name__]
    results.append(outcome(lambda: net.open(path, "x")))
    with net.open(path, "a", newline="\r\n") as file:
        results += [file.tell(), file.write("more\n")]
    with net.open(path, "rb") as file:
        results += [file.read().hex(), type(file).__name__, file.seekable()]
    with net.open(path, "r+b") as file:
        file.seek(1)
        file.write(b"??")
        file.seek(0)
        results += [file.read(4).hex(), type(file).__name__, file.truncate(5)]
    with net.open(path, "w+") as file:
        file.write("one\ntwo\n")
        file.seek(0)
        results += [file.readlines(), outcome(lambda: file.fileno() >= 0)]
    with net.open(path, "rb", buffering=0) as file:
        results += [file.read(3).decode(), file.readall().decode(), file.mode]
        results.append(outcome(lambda: file.write(b"x")))
    results.append(outcome(lambda: net.open(path, "rb", encoding="utf-8")))
    results.append(outcome(lambda: net.open(path, "r", buffering=0)))
    results.append(outcome(lambda: net.open(os.path.dirname(path))))
    results.append(outcome(lambda: file.read()))
    net.fs.unlink(path)
    return results


@scenario
def large_file(net: Files) -> Any:
    data = hashlib.sha256(b"file").digest() * 65536
    path = write_file(net, "large", data)
    digest = hashlib.sha256()
    with net.open(path, "rb") as file:
        while block := file.read(100_000):
            digest.update(block)
    room = bytearray(len(data))
    with net.open(path, "rb", buffering=0) as file:
        count = file.readinto(room)
    size = net.fs.stat(path).st_size
    net.fs.unlink(path)
    return [size, digest.hexdigest(), count, room == data]


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


@scenario
def threads_and_files(net: Files) -> Any:
    """Eight threads write and read back their own files."""
    good: list[bool] = []

    def work(number: int) -> None:
        data = bytes([number]) * 50_000
        path = write_file(net, f"thread{number}", data)
        with net.open(path, "rb") as file:
            good.append(file.read() == data)
        net.fs.unlink(path)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return good
