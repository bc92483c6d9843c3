"""Bytes from files and pipes as they arrive, and lines cut from them."""

from __future__ import annotations

import fcntl
import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from stream_perceptron.data.identity import Rest
from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = "-"

# Is called with a descriptor before it is read; returns whether there is something to read, after
# some seconds at most, None for as long as it takes.
Wait = Callable[[int, float | None], bool]
# Is called while something is waited for; returns the seconds until it must be called again, None
# for never.
Idle = Callable[[], float | None]

_SOME = 2**20  # bytes, as many as a pipe may hold
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_MOST = 2**26  # bytes that are read at once
_MOST_KEPT = 2**27  # and of a line that has not ended

# By how the bytes begin: what they are called, and the module and the class that read them.
_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gzip", "GzipFile"),
    b"BZh": ("bzip2", "bz2", "BZ2File"),
    b"\xfd7zX": ("xz", "lzma", "LZMAFile"),
}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def is_stream(path: str) -> bool:
    """Whether this can be read once only: stdin, a pipe or a device."""
    return path == STDIN or (os.path.exists(path) and not os.path.isfile(path))


def name_of(path: str) -> str:
    """Return what a source is called in messages."""
    return "stdin" if path == STDIN else without_password(path)


def without_password(path: str) -> str:
    """Return a URI without the user and password in it, and anything else as it is.

    Examples
    --------
    >>> without_password("s3://key:secret@bucket/digits.parquet")
    's3://bucket/digits.parquet'
    >>> without_password("s3://bucket/a@b.csv")
    's3://bucket/a@b.csv'

    """
    # A password may have a slash that should have been escaped; a port is a number.
    return re.sub(r"(?<=://)(?:[^/@:]*:(?![0-9]+/).*|[^/]*)@", "", path, count=1)


def open_file(path: str) -> pa.NativeFile:
    """Open a file or a URI that `pyarrow.fs` knows."""
    import pyarrow as pa

    if "://" in path:
        with _remote(path) as (filesystem, inner):
            return filesystem.open_input_file(inner)
    # Python's own errors are plainer than Arrow's.
    with open(path, "rb"):
        return pa.OSFile(path)


def version_of(path: str) -> str:
    """Return what differs once the object behind a URI is another; nothing for a local path.

    That is its ETag where the file system has one, else the time when it was written.
    """
    if "://" not in path:
        return ""
    with _remote(path) as (filesystem, inner):
        with filesystem.open_input_stream(inner) as stream:
            tag = (stream.metadata() or {}).get("ETag")
        return tag.decode() if tag else str(filesystem.get_file_info(inner).mtime_ns)


@contextmanager
def _remote(path: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a URI and the path in it; any error becomes one that names it."""
    import pyarrow.fs

    try:
        yield pyarrow.fs.FileSystem.from_uri(path)
    except Exception as error:  # each file system has its own errors
        name = without_password(path)
        raise SourceError(f"{name}: {reason_of(error).replace(path, name)}") from None


class ByteStream:
    """Bytes that can be looked at before they are read; pyarrow takes it for a file."""

    closed = False

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        read_into: Callable[[memoryview], int] | None = None,
        wait: Callable[[float | None], bool] = lambda seconds: True,
        n_ready: Callable[[], int] = lambda: 0,
        is_compressed: bool = False,
    ) -> None:
        self.name = name
        self.is_compressed = is_compressed
        self.rest: Rest | None = None  # takes note of what is read
        self._read = read
        self._read_into = read_into
        self.idle: Idle | None = None  # is called while it waits
        self.n_ready = n_ready  # the bytes that can be read at once, if that is known
        self._wait = wait
        self.n_bytes = 0  # that were read of it, with those that are ahead
        self._ahead = b""
        self._ended = False

    def read_some(self, most: int = _SOME) -> bytes:
        """Return what there is, not more than some bytes; nothing at the end only."""
        data, self._ahead = self._ahead[:most], self._ahead[most:]
        with source_errors(self.name):
            return data or self._next(most)

    def fill(self, buffer: memoryview) -> int:
        """Read what there is into a buffer; return how many bytes, 0 at the end only."""
        size = 0
        with source_errors(self.name):
            if not self._ahead and not self._ended:
                self._await()  # and not again, as a signal that ends it would lose what was read
            # A pipe gives a little at a time, though there may be more.
            while size < len(buffer) and (not size or self.n_ready()):
                more = self._next_into(buffer[size:])
                size += more
                if not more:
                    break
        return size

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end only."""
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

    def pass_over(self, n: int, header: slice = slice(0)) -> None:
        """Take note that bytes are in rows; those of a header are what the next ones need, too."""
        if self.rest is not None:
            self.rest.pass_over(n, header)

    def forget_rest(self) -> None:
        """Take note of nothing that is read, as no next run could go on with it."""
        if self.rest is not None:
            self.rest.forget()
            self.rest = None

    def _next(self, size: int) -> bytes:
        # A terminal that came to its end would start again; what a damaged file asks for may be
        # larger than memory.
        if self._ended:
            return b""
        self._await()
        return self._read_some(size)

    def _await(self) -> None:
        while not self._wait(self.idle() if self.idle is not None else None):
            pass

    def _read_some(self, size: int) -> bytes:
        data = self._read(min(size, _MOST))
        self._note(data)
        return data

    def _note(self, data: bytes | memoryview) -> None:
        self.n_bytes += len(data)
        self._ended = not data
        if self.rest is not None:
            self.rest.part += data
            if len(self.rest.part) > _MOST_KEPT:
                self.forget_rest()

    def _next_into(self, buffer: memoryview) -> int:
        if self._ended and not self._ahead:
            return 0
        if self._ahead or self._read_into is None:
            data = self._ahead or self._read_some(len(buffer))
            size = min(len(data), len(buffer))
            buffer[:size], self._ahead = data[:size], data[size:]
            return size
        size = self._read_into(buffer)
        self._note(buffer[:size])
        return size

    def close(self) -> None:
        """Do nothing: pyarrow closes what it has read, and stdin is not ours to close."""


def open_bytes(path: str, wait: Wait | None = None, rest: Rest | None = None) -> ByteStream:
    """Open a path, a URI or - for stdin; compressed bytes are told by how they begin."""
    name = name_of(path)
    with source_errors(name):
        if is_stream(path):
            source = _open_pipe(path, wait or is_readable, rest)
        elif "://" in path:
            source = ByteStream(name, open_file(path).read)
        else:
            file = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            source = ByteStream(path, file.read, file.read_into)
    start = source.peek(4)  # a pipe may have a short line, to be answered before the next
    for magic, how in _COMPRESSIONS.items():
        if start.startswith(magic):
            source.forget_rest()
            read = _decompressed(source, *how)
            # Of a file, there is more until its end.
            n_ready = source.n_ready if is_stream(path) else lambda: 1
            return ByteStream(name, read, n_ready=n_ready, is_compressed=True)
    if start.startswith(_ZSTANDARD):
        import pyarrow as pa

        source.forget_rest()
        stream = pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd")
        return ByteStream(name, stream.read, is_compressed=True)
    return source


def spooled(start: ByteStream) -> IO[bytes]:
    """Return the file that arrives on a pipe, when it is there as a whole."""
    import tempfile

    spool = tempfile.TemporaryFile()  # noqa: SIM115, as the source reads from it
    while data := start.read_some():
        spool.write(data)
    return spool


class _File:
    """A descriptor that is open as long as somebody may read from it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        if self.descriptor > 2:
            os.close(self.descriptor)

    def read(self, size: int) -> bytes:
        return os.read(self.descriptor, size)

    def read_into(self, buffer: memoryview) -> int:
        return os.readv(self.descriptor, [buffer])


def _decompressed(source: ByteStream, name: str, module: str, kind: str) -> Callable[[int], bytes]:
    """Return what reads the bytes that compressed ones stand for, as far as they have come."""
    import zlib  # late, as few sources are compressed

    library = import_module(module)
    make = getattr(library, kind)
    errors = OSError, ValueError, zlib.error, getattr(library, "LZMAError", OSError)
    compressed = SimpleNamespace(read=source.read_some)
    file = make(fileobj=compressed) if module == "gzip" else make(compressed)

    def read(size: int) -> bytes:
        try:
            return file.read1(size)  # type: ignore[no-any-return]
        except SourceError:
            raise
        except EOFError:
            raise SourceError(f"{source.name}: its {name} data ends too early") from None
        except errors:  # and none of what ends the waiting for more
            raise SourceError(f"{source.name}: its {name} data is damaged") from None

    return read


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


@contextmanager
def source_errors(name: str) -> Iterator[None]:
    """Turn errors of the system and of Arrow into one that names the source."""
    try:
        yield
    except Exception as error:
        arrow = sys.modules.get("pyarrow")
        is_of_arrow = arrow is not None and isinstance(error, arrow.ArrowException)
        if not (isinstance(error, OSError) or is_of_arrow) or isinstance(error, SourceError):
            raise
        raise SourceError(f"{name}: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """Return what went wrong in one line, without what the system adds to it."""
    # Only errors of the system have a number.
    if isinstance(error, OSError) and error.errno is not None:
        return str(error.strerror)
    return first_line(error)


def _open_pipe(path: str, wait: Wait, rest: Rest | None) -> ByteStream:
    # A FIFO that nobody writes to yet must not hold up the opening, but the waiting, which a signal
    # can end.
    file = _File(0)
    if path != STDIN:
        file = _File(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        os.set_blocking(file.descriptor, True)
    with suppress(OSError):  # it may be no pipe
        fcntl.fcntl(file.descriptor, _SET_PIPE_SIZE, _SOME)
    from termios import FIONREAD  # late, as files do not need it

    stream = ByteStream(
        name_of(path),
        file.read,
        file.read_into,
        lambda seconds: wait(file.descriptor, seconds),
        lambda: _n_ready(file.descriptor, FIONREAD),
    )
    if rest is not None:
        stream.unread(rest.begin(file.descriptor))
        stream.rest = rest if rest.pipe else None
    return stream


def is_readable(descriptor: int, seconds: float | None) -> bool:
    """Wait for something to read, or for the end; None for as long as it takes.

    A FIFO that was opened before its writer is not at its end.
    """
    poll = select.poll()  # knows descriptors beyond 1,024, which select does not
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _n_ready(descriptor: int, request: int) -> int:
    """Ask how many bytes can be read at once; return 0 where that is not known."""
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, request, bytes(4)), sys.byteorder)
    except OSError:
        return 0
