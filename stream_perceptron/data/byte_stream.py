"""Bytes from files and pipes, read as they arrive and decompressed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, Protocol

from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = "-"

# Called during a wait; returns the seconds until the next call, or None for no further call.
IdleCallback = Callable[[], float | None]

_CHUNK_SIZE = 2**20  # bytes to read at once by default, and the size to request for pipes
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ on Linux
_MAX_READ_SIZE = 2**26  # the maximum number of bytes in one read
_SHORT_READ = 2**12  # a pipe that returns fewer bytes than this is usually empty
_MAX_ZSTANDARD = 2**16  # bytes to decompress at once with Zstandard
_MAX_RECORD_WAIT = 1.0  # seconds to wait for the rest of a record after an interrupt

# The name of each compression format, and the module and class that read it, by its first bytes.
_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gzip", "GzipFile"),
    b"BZh": ("bzip2", "bz2", "BZ2File"),
    b"\xfd7zX": ("xz", "lzma", "LZMAFile"),
}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


class Interrupt(Protocol):
    """Ends the input of a run early, as a signal does."""

    @property
    def is_set(self) -> bool:
        """Whether the input ends now."""

    def wait(self, descriptor: int, seconds: float | None) -> bool:
        """Wait at most `seconds` for data or an interrupt; return whether there is data."""


class NoInterrupt:
    """An interrupt that never comes."""

    is_set = False

    def wait(self, descriptor: int, seconds: float | None) -> bool:
        """Wait at most `seconds` for data; return whether there is any."""
        return is_readable(descriptor, seconds)


def is_stream(path: str) -> bool:
    """Whether a path can be read only once: stdin, a pipe or a device."""
    return path == STDIN or (os.path.exists(path) and not os.path.isfile(path))


def is_remote(path: str) -> bool:
    """Whether a path is a URI."""
    return "://" in path


def get_display_name(path: str) -> str:
    """Return the name of a source for messages."""
    return "stdin" if path == STDIN else strip_credentials(path)


def strip_credentials(path: str) -> str:
    """Return a URI without its user and password; other paths stay unchanged.

    Examples
    --------
    >>> strip_credentials("s3://key:secret@bucket/digits.parquet")
    's3://bucket/digits.parquet'
    >>> strip_credentials("s3://bucket/a@b.csv")
    's3://bucket/a@b.csv'

    """
    # A password may contain an unescaped slash; a port is a number.
    return re.sub(r"(?<=://)(?:[^/@:]*:(?![0-9]+/).*|[^/]*)@", "", path, count=1)


def open_file(path: str) -> pa.NativeFile:
    """Open a file, or a URI that `pyarrow.fs` supports."""
    import pyarrow as pa

    if is_remote(path):
        with _resolve_uri(path) as (filesystem, inner_path):
            return filesystem.open_input_file(inner_path)
    # Python's errors are clearer than Arrow's.
    with open(path, "rb"):
        return pa.OSFile(path)


def read_version(path: str) -> str:
    """Return the version of the object behind a URI, or an empty string for a local path.

    The version is the ETag if the file system provides one, otherwise the modification time.
    """
    if not is_remote(path):
        return ""
    with _resolve_uri(path) as (filesystem, inner_path):
        with filesystem.open_input_stream(inner_path) as stream:
            tag = (stream.metadata() or {}).get("ETag")
        return tag.decode() if tag else str(filesystem.get_file_info(inner_path).mtime_ns)


@contextmanager
def _resolve_uri(path: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URI and the path within it; turn any error into a SourceError."""
    import pyarrow.fs

    try:
        yield pyarrow.fs.FileSystem.from_uri(path)
    except Exception as error:  # each file system raises its own errors
        name = strip_credentials(path)
        raise SourceError(f"{name}: {format_reason(error).replace(path, name)}") from None


class ByteStream:
    """A stream of bytes with `peek` and `unread`; pyarrow can read it like a file."""

    closed = False

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        read_into: Callable[[memoryview], int] | None = None,
        pipe: Pipe | None = None,
        is_compressed: bool = False,
        descriptor: int | None = None,
    ) -> None:
        self.name = name
        self.descriptor = descriptor  # of a local file, compressed or not
        self.pipe = pipe  # None for files
        self.is_compressed = is_compressed  # whether the stream returns decompressed bytes
        self.idle: IdleCallback | None = None  # called while waiting for a pipe
        # Whether the last read from a pipe returned few bytes, so that hardly more can be ready.
        self.was_read_short = False
        self._read = read
        self._read_into = read_into
        self.n_bytes = 0  # bytes read, including those put back
        self._buffer = b""
        self._is_at_end = False
        self._is_interrupted = False

    @property
    def is_interrupted(self) -> bool:
        """Whether the stream has ended early because of an interrupt."""
        return self._is_interrupted

    def count_ready_bytes(self) -> int:
        """Return the number of bytes that are ready, or 0 if this number is unknown."""
        if self.is_compressed:
            return 1
        return 0 if self.pipe is None else self.pipe.count_ready_bytes()

    def read_available(self, max_size: int = _CHUNK_SIZE) -> bytes:
        """Return at most `max_size` available bytes; return none only at the end of the data."""
        data, self._buffer = self._buffer[:max_size], self._buffer[max_size:]
        with convert_errors(self.name):
            return data or self._read_next(max_size)

    def fill(self, buffer: memoryview) -> int:
        """Read the available bytes into a buffer; return their number, which is 0 at the end."""
        size = 0
        with convert_errors(self.name):
            if not (self._buffer or self._is_at_end or self._wait_for_data()):
                return 0
            # A pipe returns only a part of a large amount of data.
            while size < len(buffer):
                more = self._read_next_into(buffer[size:])
                size += more
                if not more or self.was_read_short or not self.count_ready_bytes():
                    break
        return size

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer only at the end."""
        parts = [self._buffer]
        n_missing = size - len(self._buffer)
        with convert_errors(self.name):
            while n_missing > 0 and (more := self._read_next(n_missing)):
                parts.append(more)
                n_missing -= len(more)
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size]

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them."""
        data = self.read(size)
        self.unread(data)
        return data

    def skip(self, size: int) -> bytes:
        """Skip the next `size` bytes; return the last one, or nothing if there are fewer."""
        n_left = size - 1 - len(self._buffer)
        if n_left > 0 and self.descriptor is not None and not self.is_compressed:
            self._buffer = b""
            with convert_errors(self.name):
                os.lseek(self.descriptor, n_left, os.SEEK_CUR)
            self.n_bytes += n_left
            return self.read(1)
        last = b""
        while size and (last := self.read(min(size, _CHUNK_SIZE))):
            size -= len(last)
        return last[-1:]

    def unread(self, data: bytes) -> None:
        """Put bytes back; they are read next."""
        self._buffer = data + self._buffer

    def read_line(self) -> bytes:
        """Read the rest of a line after an interrupt, byte by byte.

        The line is incomplete if the stream ends or its writer pauses: all calls together wait for
        at most one second.
        """
        line, end = self._buffer.partition(b"\n")[:2]
        self._buffer = self._buffer[len(line) + len(end) :]
        if end or self.pipe is None or self._is_at_end:
            return line + end
        with convert_errors(self.name):
            rest = self.pipe.read_line()
        self.n_bytes += len(rest)
        self._is_at_end = self.pipe.has_ended
        return line + rest

    @property
    def has_ended(self) -> bool:
        """Whether the end of the data has been reached."""
        return self._is_at_end

    def _read_next(self, size: int) -> bytes:
        """Return at most `size` unbuffered bytes; none at the end or after an interrupt."""
        # A terminal could be read again after end-of-file.
        if self._is_at_end or not self._wait_for_data():
            return b""
        return self._read_chunk(size)

    def _wait_for_data(self) -> bool:
        """Wait for data; return False if an interrupt comes instead."""
        if self.pipe is not None:
            self._is_interrupted = not self.pipe.wait(self.idle)
        return not self._is_interrupted

    def _read_chunk(self, size: int) -> bytes:
        size = min(size, _MAX_READ_SIZE)  # a damaged file may claim a huge size
        data = self._read(size)
        self._count_bytes(len(data), size)
        return data

    def _count_bytes(self, size: int, max_size: int) -> None:
        self.n_bytes += size
        self._is_at_end = not size
        self.was_read_short = self.pipe is not None and size < min(_SHORT_READ, max_size)

    def _read_next_into(self, buffer: memoryview) -> int:
        """Read the next bytes, buffered ones first; return their number, which is 0 at the end."""
        if self._is_at_end and not self._buffer:
            return 0
        if self._buffer or self._read_into is None:
            data = self._buffer or self._read_chunk(len(buffer))
            size = min(len(data), len(buffer))
            buffer[:size], self._buffer = data[:size], data[size:]
            return size
        size = self._read_into(buffer)
        self._count_bytes(size, len(buffer))
        return size

    def close(self) -> None:
        """Do nothing: pyarrow closes the files it reads, but stdin must stay open."""


def open_bytes(path: str, interrupt: Interrupt | None = None) -> ByteStream:
    """Open a path, a URI or - for stdin; detect compression from the first bytes.

    Raises
    ------
    SourceError
        If the source cannot be opened, or is a pipe with compressed data.

    """
    name = get_display_name(path)
    with convert_errors(name):
        if is_stream(path):
            source = _open_pipe(path, interrupt or NoInterrupt())
        elif is_remote(path):
            source = ByteStream(name, open_file(path).read)
        else:
            file = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            source = ByteStream(path, file.read, file.read_into, descriptor=file.descriptor)
    start = source.peek(4)  # no more, because the writer may await a reply to a short line
    read: Callable[[int], bytes] | None = None
    for magic, decompressor in _COMPRESSIONS.items():
        if start.startswith(magic):
            read = _make_decompressor(source, *decompressor)
    if start.startswith(_ZSTANDARD):
        read = _make_zstandard_decompressor(source)
    if read is None:
        return source
    if source.pipe is not None:
        raise SourceError(
            f"{name}: compressed data is read from files only: decompress it first, for example "
            "with zcat"
        )
    return ByteStream(name, read, is_compressed=True, descriptor=source.descriptor)


def spool_to_file(stream: ByteStream) -> IO[bytes]:
    """Copy the rest of a stream to a temporary file; return the file."""
    import tempfile

    spool = tempfile.TemporaryFile()  # noqa: SIM115, the source reads from it
    while data := stream.read_available():
        spool.write(data)
    if stream.is_interrupted:
        raise SourceError(f"{stream.name}: its data ends too early")
    return spool


class _File:
    """A descriptor that stays open as long as the object is in use."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        if self.descriptor > 2:
            os.close(self.descriptor)

    def read(self, size: int) -> bytes:
        return os.read(self.descriptor, size)

    def read_into(self, buffer: memoryview) -> int:
        return os.readv(self.descriptor, [buffer])


class Pipe(_File):
    """Stdin, a pipe or a device."""

    def __init__(self, descriptor: int, interrupt: Interrupt) -> None:
        from termios import FIONREAD  # lazy import: files do not need it

        super().__init__(descriptor)
        self.has_ended = False  # whether `read_line` has reached the end
        self._interrupt = interrupt
        self._request = FIONREAD
        self._seconds_left = _MAX_RECORD_WAIT

    def wait(self, idle: IdleCallback | None) -> bool:
        """Wait for data; return False if an interrupt comes instead."""
        while not self._interrupt.is_set:
            if self._interrupt.wait(self.descriptor, None if idle is None else idle()):
                return True
        return False

    def count_ready_bytes(self) -> int:
        """Return the number of bytes that are ready, or 0 if this number is unknown."""
        try:
            answer = fcntl.ioctl(self.descriptor, self._request, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def read_line(self) -> bytes:
        """Read the rest of a line byte by byte, as `ByteStream.read_line` does."""
        line = bytearray()
        while not line.endswith(b"\n"):
            start = time.monotonic()
            if not is_readable(self.descriptor, self._seconds_left):
                self._seconds_left = 0.0
                break
            self._seconds_left = max(0.0, self._seconds_left - (time.monotonic() - start))
            for _ in range(max(1, self.count_ready_bytes())):
                byte = os.read(self.descriptor, 1)
                line += byte
                if byte in (b"", b"\n"):
                    break
            if not byte:
                self.has_ended = True
                break
        return bytes(line)


def _make_decompressor(
    source: ByteStream, name: str, module: str, class_name: str
) -> Callable[[int], bytes]:
    """Return a function that reads decompressed bytes as they arrive."""
    import zlib  # lazy import: few sources are compressed

    library = import_module(module)
    make = getattr(library, class_name)
    errors = OSError, ValueError, zlib.error, getattr(library, "LZMAError", OSError)
    compressed = SimpleNamespace(read=source.read_available)
    file = make(fileobj=compressed) if module == "gzip" else make(compressed)

    def read(size: int) -> bytes:
        try:
            return file.read1(size)  # type: ignore[no-any-return]
        except SourceError:
            raise
        except EOFError:
            raise SourceError(f"{source.name}: its {name} data ends too early") from None
        except errors:  # not all exceptions, because some end the wait for data
            raise SourceError(f"{source.name}: its {name} data is damaged") from None

    return read


def _make_zstandard_decompressor(source: ByteStream) -> Callable[[int], bytes]:
    """Return a function that reads bytes decompressed with Zstandard."""
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd")
    return lambda size: stream.read(min(size, _MAX_ZSTANDARD))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its final period."""
    return str(error).partition("\n")[0].rstrip(". ")


class convert_errors:  # noqa: N801, used as a function
    """Turn system and Arrow errors in a `with` block into a SourceError with the source's name.

    A generator with `contextmanager` would take several times longer to enter, which matters when
    each row of a pipe is read alone.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, SourceError) or not isinstance(error, Exception):
            return
        arrow = sys.modules.get("pyarrow")
        is_of_arrow = arrow is not None and isinstance(error, arrow.ArrowException)
        if isinstance(error, OSError) or is_of_arrow:
            raise SourceError(f"{self._name}: {format_reason(error)}") from None


def format_reason(error: Exception) -> str:
    """Return the reason for an error on one line, without the error's number and path."""
    # Only system errors have a number.
    if isinstance(error, OSError) and error.errno is not None:
        return str(error.strerror)
    return first_line(error)


def _open_pipe(path: str, interrupt: Interrupt) -> ByteStream:
    """Open stdin or a FIFO as a byte stream, without waiting for a writer."""
    descriptor = 0
    if path != STDIN:
        # Opening a FIFO without a writer must not block: signals can interrupt only the later wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
    with suppress(OSError):  # not every stream is a pipe
        fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _CHUNK_SIZE)
    pipe = Pipe(descriptor, interrupt)
    return ByteStream(get_display_name(path), pipe.read, pipe.read_into, pipe)


def is_readable(descriptor: int, seconds: float | None) -> bool:
    """Wait at most `seconds` for data or end-of-file; return whether either has arrived.

    A FIFO that was opened before it had a writer is not at its end.
    """
    poll = select.poll()  # unlike select, it accepts descriptors above 1,023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))
