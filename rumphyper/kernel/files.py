"""Files of the rump kernel below Python's io layers."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

from typing_extensions import Buffer

from rumphyper.kernel.socketfile import layers

if TYPE_CHECKING:
    from rumphyper.kernel.descriptors import Path
    from rumphyper.kernel.filesystem import FileSystem

_PLUS = {"r": os.O_RDWR, "w": os.O_RDWR, "a": os.O_RDWR, "x": os.O_RDWR}
_ALONE = {"r": os.O_RDONLY, "w": os.O_WRONLY, "a": os.O_WRONLY, "x": os.O_WRONLY}
_MORE = {
    "r": 0,
    "w": os.O_CREAT | os.O_TRUNC,
    "a": os.O_CREAT | os.O_APPEND,
    "x": os.O_CREAT | os.O_EXCL,
}


class KernelFile(io.RawIOBase):
    """As io.FileIO, on a descriptor of the rump kernel."""

    def __init__(
        self, fs: FileSystem, fd: int, mode: str, name: Path | int, owned: bool = True
    ) -> None:
        super().__init__()
        self._fs = fs
        self._fd = fd
        self._owned = owned
        self._readable = "r" in mode or "+" in mode
        self._writable = mode[0] in "wax" or "+" in mode
        self._seekable: bool | None = None
        self.mode = mode.replace("t", "") + ("" if "b" in mode else "b")
        self.name = name
        if "a" in mode and self.seekable():
            self.seek(0, os.SEEK_END)

    def fileno(self) -> int:
        """The descriptor in the rump kernel; none of the host's."""
        self._open()
        return self._fd

    def readable(self) -> bool:
        self._open()
        return self._readable

    def writable(self) -> bool:
        self._open()
        return self._writable

    def seekable(self) -> bool:
        self._open()
        if self._seekable is None:
            try:
                self._fs.lseek(self._fd, 0, os.SEEK_CUR)
            except OSError:
                self._seekable = False
            else:
                self._seekable = True
        return self._seekable

    def readinto(self, buffer: Any) -> int | None:
        """Octets read, without a copy; None when a non-blocking one has nothing."""
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
        try:
            return self._fs.readinto(self._fd, buffer)
        except BlockingIOError:
            return None

    def write(self, data: Buffer) -> int | None:
        """Octets written; None when a non-blocking one has no room."""
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        try:
            return self._fs.write(self._fd, data)
        except BlockingIOError:
            return None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._open()
        return self._fs.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        size = self.tell() if size is None else size
        self._fs.truncate(self._fd, size)
        return size

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._owned:
            self._fs.close(fd)

    def __del__(self) -> None:
        # No system call in the collector: see sockcontext.py.
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0 and self._owned:
            text = f"unclosed file {self.name!r} of the rump kernel"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            self._fs.abandon(fd)
        super().close()

    def _open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def __repr__(self) -> str:
        state = "[closed]" if self.closed else f"fd={self._fd} mode={self.mode!r}"
        return f"<rumphyper {type(self).__name__} name={self.name!r} {state}>"


def open_file(
    fs: FileSystem,
    file: Path | int,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    closefd: bool,
) -> Any:
    """As the built-in open, on a path or descriptor of the rump kernel."""
    check_mode(mode, encoding, errors, newline)
    letter = next(one for one in mode if one in "rwax")
    flags = (_PLUS if "+" in mode else _ALONE)[letter] | _MORE[letter]
    if isinstance(file, int):
        fd, owned = file, closefd
    else:
        if not closefd:
            raise ValueError("Cannot use closefd=False with file name")
        fd, owned = fs.open(file, flags | os.O_CLOEXEC, 0o666), True
        if fs.is_folder(fd):
            fs.close(fd)
            raise IsADirectoryError(21, os.strerror(21), file)
    try:
        raw = KernelFile(fs, fd, letter + ("+" if "+" in mode else ""), file, owned)
        return layers(raw, mode, buffering, encoding, errors, newline)
    except BaseException:
        if owned:
            fs.close(fd)
        raise


def check_mode(
    mode: str, encoding: str | None, errors: str | None, newline: str | None
) -> None:
    """Raise ValueError as the built-in open does."""
    if not isinstance(mode, str):
        raise TypeError(
            f"open() argument 'mode' must be str, not {type(mode).__name__}"
        )
    if set(mode) - set("rwaxbt+") or len(set(mode)) != len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    if sum(one in "rwax" for one in mode) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if "b" not in mode:
        return
    if "t" in mode:
        raise ValueError("can't have text and binary mode at once")
    for name, value in (
        ("encoding", encoding),
        ("errors", errors),
        ("newline", newline),
    ):
        if value is not None:
            raise ValueError(f"binary mode doesn't take an {name} argument")
