"""Bytes from files and pipes as they arrive, and lines cut from them."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow as pa

from stream_perceptron.errors import SourceError

__all__ = [
    "LONGEST_LINE",
    "STDIN",
    "TOO_LONG",
    "Input",
    "Wait",
    "cut_lines",
    "data_of",
    "first_line",
    "has_too_long",
    "is_stream",
    "open_file",
    "open_input",
    "source_errors",
]

STDIN = "-"

# A line beyond this is not held in memory.
LONGEST_LINE = 2**24

# Is called with a descriptor before it is read, and returns when there is something to read.
Wait = Callable[[int], None]

TOO_LONG = f"the line is longer than {LONGEST_LINE // 2**20} MiB"

_BLOCK = 2**20  # bytes
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_NEWLINE, _RETURN = b"\n\r"


def is_stream(path: str) -> bool:
    """Whether this can be read once only: stdin, a pipe or a device."""
    return path == STDIN or (os.path.exists(path) and not os.path.isfile(path))


def open_file(path: str) -> pa.NativeFile:
    """Open a file or a URI that `pyarrow.fs` knows.

    Raises
    ------
    OSError
        If it cannot be opened.
    pyarrow.ArrowException
        If it is not a URI that Arrow knows.

    """
    if "://" in path:
        import pyarrow.fs

        filesystem, inner = pyarrow.fs.FileSystem.from_uri(path)
        return filesystem.open_input_file(inner)
    # Python's own errors are plainer than Arrow's.
    with open(path, "rb"):
        return pa.OSFile(path)


class Input:
    """Bytes that can be looked at before they are read; pyarrow takes it for a file.

    Parameters
    ----------
    name
        What it is called in errors.
    read
        Returns at most so many bytes, none at the end only.
    is_ready
        Whether there is something to read now.
    is_packed
        Whether these bytes were compressed.

    """

    closed = False

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        is_ready: Callable[[], bool] = lambda: False,
        is_packed: bool = False,
    ) -> None:
        self.name = name
        self.is_packed = is_packed
        self._read = read
        self._is_ready = is_ready
        self._ahead = b""
        self._ended = False

    def read_some(self) -> bytes:
        """Return what there is, about a megabyte at most; nothing at the end only.

        Raises
        ------
        SourceError
            If it cannot be read, or its compression is damaged.

        """
        data, self._ahead = self._ahead, b""
        with source_errors(self.name):
            data = data or self._next(_BLOCK)
            # A pipe gives a little at a time, though there may be more.
            while 0 < len(data) < _BLOCK and not self._ended and self._is_ready():
                data += self._next(_BLOCK - len(data))
        return data

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end only.

        Raises
        ------
        SourceError
            If it cannot be read.

        """
        parts = [self._ahead]
        missing = size - len(self._ahead)
        with source_errors(self.name):
            while missing > 0 and (more := self._next(missing)):
                parts.append(more)
                missing -= len(more)
        data = b"".join(parts)
        self._ahead = data[size:]
        return data[:size]

    def peek(self, size: int) -> bytes:
        """Return what `read` would, and leave it there."""
        data = self.read(size)
        self.unread(data)
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read next."""
        self._ahead = data + self._ahead

    def _next(self, size: int) -> bytes:
        # A terminal that came to its end would begin anew.
        data = b"" if self._ended else self._read(size)
        self._ended = not data
        return data

    def close(self) -> None:
        """Do nothing: pyarrow closes what it has read, and stdin is not ours to close."""


def open_input(path: str, wait: Wait | None = None) -> Input:
    """Open a path, a URI or - for stdin; gzip and Zstandard are told by their first bytes.

    Parameters
    ----------
    path
        What to open.
    wait
        Is called before a pipe is read; None to block.

    Raises
    ------
    SourceError
        If it cannot be read.

    """
    with source_errors(path):
        source = _open_pipe(path, wait) if is_stream(path) else Input(path, open_file(path).read)
    start = source.peek(4)
    for magic, compression in _COMPRESSIONS.items():
        if start.startswith(magic):
            unpacked = pa.CompressedInputStream(pa.PythonFile(source, "r"), compression)
            return Input(path, unpacked.read, is_packed=True)
    return source


def cut_lines(source: Input, most: int) -> Iterator[pa.Array]:
    """Yield the whole lines that have arrived, at most so many at once, until the end.

    Blank lines are left out, and the last line gets a newline if it has none. A line that is too
    long to be held is null.

    Raises
    ------
    SourceError
        If the source cannot be read.

    """
    begun = bytearray()  # a line whose end has not come
    while data := source.read_some():
        end = data.rfind(b"\n") + 1
        if end:
            yield from _lines(bytes(begun) + data[:end], most)
            begun.clear()
        begun += data[end:]
        if len(begun) > LONGEST_LINE:
            begun.clear()
            while data and b"\n" not in data:
                data = source.read_some()
            source.unread(data.partition(b"\n")[2])
            yield pa.nulls(1, pa.binary())
    yield from _lines(bytes(begun) + b"\n", most)


def data_of(lines: pa.Array) -> bytes:
    """Return the bytes of lines that `cut_lines` gave, one after another."""
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    start, end = offsets[lines.offset], offsets[lines.offset + len(lines)]
    return lines.buffers()[2][start:end].to_pybytes()  # type: ignore[no-any-return]


def has_too_long(lines: pa.Array) -> bool:
    """Whether a line is longer than `LONGEST_LINE`."""
    if lines.null_count:
        return True
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    return bool((np.diff(offsets[lines.offset :][: len(lines) + 1]) > LONGEST_LINE).any())


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


@contextmanager
def source_errors(name: str) -> Iterator[None]:
    """Turn errors of the system and of Arrow into one that names the source."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Only errors of the system have a number.
        is_of_system = isinstance(error, OSError) and error.errno is not None
        reason = error.strerror if is_of_system else first_line(error)
        raise SourceError(f"{name}: {reason}") from None


def _open_pipe(path: str, wait: Wait | None) -> Input:
    # A FIFO that nobody writes to yet must not hold up the opening, but the waiting, which a signal
    # can end.
    descriptor = 0
    if path != STDIN:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
    with suppress(OSError):  # it may be no pipe
        import fcntl

        fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _BLOCK)

    def read(size: int) -> bytes:
        if wait is not None:
            wait(descriptor)
        return os.read(descriptor, size)

    return Input(path, read, lambda: bool(select.select([descriptor], [], [], 0)[0]))


def _lines(block: bytes, most: int) -> Iterator[pa.Array]:
    """Yield a block of whole lines as arrays over its bytes."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE) + 1
    lengths = np.diff(ends, prepend=0)
    blank = (lengths == 1) | ((lengths == 2) & (text[ends - 2] == _RETURN))
    if blank.any():
        kept = b"".join(line + b"\n" for line in block.split(b"\n") if line not in (b"", b"\r"))
        if kept:
            yield from _lines(kept, most)
        return
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    array = pa.Array.from_buffers(pa.binary(), len(ends), buffers)
    for start in range(0, len(ends), most):
        yield array.slice(start, most)
