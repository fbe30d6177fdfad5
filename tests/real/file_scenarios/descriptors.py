"""Descriptors and open files."""

# ruff: noqa: PLW0108 - all cases are written in one form

from __future__ import annotations

import functools
import hashlib
import os
import threading
from typing import Any

from tests.real.file_scenarios.kit import Files, descriptor, scenario, write_file
from tests.real.scenarios.kit import outcome


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
