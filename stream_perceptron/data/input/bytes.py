"""Bytes of files, pipes and URIs, decompressed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = "-"

_CHUNK_SIZE = 2**20  # bytes to read at once by default, and the size to request for pipes
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ on Linux
FIRST_READ_BYTES = 2**16  # the size of the first read
_SHORT_READ = 2**12  # a pipe that returns fewer bytes than this is usually empty afterward
_MAX_READ_SIZE = 2**26  # the most bytes in one read, because a damaged file may claim a huge size

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
    # After a colon, digits followed by a slash are a port; anything else is a password, which may
    # contain an unescaped slash.
    return re.sub(r"(?<=://)(?:[^/@:]*:(?![0-9]+/).*|[^/]*)@", "", path, count=1)


def open_file(path: str) -> pa.NativeFile:
    """Open a file, or a URI that `pyarrow.fs` supports."""
    import pyarrow as pa

    if not is_remote(path):
        return pa.OSFile(path)
    import pyarrow.fs

    try:
        filesystem, inner_path = pyarrow.fs.FileSystem.from_uri(path)
        return filesystem.open_input_file(inner_path)
    except Exception as error:  # each file system raises its own errors
        name = strip_credentials(path)
        raise SourceError(f"{name}: {format_reason(error).replace(path, name)}") from None


class _File:
    """A descriptor that stays open as long as the object is in use."""

    closed = False
    descriptor = -1  # until it is open

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        if self.descriptor > 2:
            os.close(self.descriptor)

    def close(self) -> None:
        """Do nothing: pyarrow closes the files it reads, but they may be read again."""

    def read(self, size: int = -1) -> bytes:
        return os.read(self.descriptor, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self.descriptor, offset, whence)

    def size(self) -> int:
        """Return the number of bytes."""
        return os.fstat(self.descriptor).st_size


class _Pipe(_File):
    """Stdin, a pipe or a device."""

    def __init__(self, path: str, interrupt: Interrupt) -> None:
        descriptor = 0
        if path != STDIN:
            # Opening a FIFO without a writer must not block: only a later wait can be interrupted.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(descriptor, True)
        with suppress(OSError):  # not every stream is a pipe
            fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _CHUNK_SIZE)
        super().__init__(descriptor)
        self.interrupt = interrupt


class _Decompressor:
    """A compressed file, read as if it were not compressed."""

    def __init__(self, file: Any, name: str, kind: str, module: str, class_name: str) -> None:
        import zlib  # lazy import: few sources are compressed

        library = import_module(module)
        make = getattr(library, class_name)
        self._file = make(fileobj=file) if module == "gzip" else make(file)
        self._errors = OSError, ValueError, zlib.error, getattr(library, "LZMAError", OSError)
        self._where = f"{name}: its {kind} data"

    def read(self, size: int) -> bytes:
        try:
            return self._file.read1(size)  # type: ignore[no-any-return]
        except EOFError:
            raise SourceError(f"{self._where} ends too early") from None
        except self._errors:
            raise SourceError(f"{self._where} is damaged") from None


class ByteInput:
    """The bytes of a source, with lookahead; pyarrow can read the object like a file."""

    closed = False

    def __init__(self, path: str, interrupt: Interrupt) -> None:
        self.path, self.name = path, get_display_name(path)
        self.is_compressed = False
        self.is_interrupted = False  # whether an interrupt has ended the data
        self.has_ended = False  # whether the end of the data has been reached
        # Whether the last read from a pipe returned few bytes, so more are unlikely to be ready.
        self.was_read_short = False
        self.n_bytes = 0  # bytes read from the source, including those that were only peeked at
        with convert_errors(self.name):
            self.pipe = _Pipe(path, interrupt) if is_stream(path) else None
            self.file: Any = self.pipe or _open_file(path)  # before decompression
            self._start_reading()

    def _start_reading(self) -> None:
        """Begin to read at the first byte, and detect compression."""
        self._raw, self._buffer, self.has_ended = self.file, b"", False
        start = self.peek(4)  # no more, because the writer may await a reply to a short line
        kinds = [kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)]
        self.is_compressed = bool(kinds) or start == _ZSTANDARD
        if not self.is_compressed:
            return
        if self.pipe is not None:
            raise SourceError(
                f"{self.name}: compressed data is read from files only: decompress it first, for "
                "example with zcat"
            )
        self.file.seek(0)
        self._buffer, self.has_ended = b"", False
        if kinds:
            self._raw = _Decompressor(self.file, self.name, *kinds[0])
            return
        import pyarrow as pa

        file = self.file if is_remote(self.path) else pa.PythonFile(self.file, "r")
        self._raw = pa.CompressedInputStream(file, "zstd")

    def rewind(self) -> None:
        """Read a file from its first byte again."""
        with convert_errors(self.name):
            self._raw = None  # closes a URI that was decompressed by pyarrow
            if self.file.closed:
                self.file = _open_file(self.path)
            self.file.seek(0)
            self._start_reading()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for data; return False after an interrupt, or after `seconds` if given."""
        if self.pipe is None or self._buffer or self.has_ended:
            return True
        self.is_interrupted = self.pipe.interrupt.is_set
        if self.is_interrupted:
            return False
        is_ready = self.pipe.interrupt.wait(self.pipe.descriptor, seconds)
        self.is_interrupted = not is_ready and self.pipe.interrupt.is_set
        return is_ready

    def count_ready_bytes(self) -> int:
        """Return the number of bytes that are ready in a pipe, or 0 if this number is unknown."""
        if self.pipe is None:
            return 0
        try:
            answer = fcntl.ioctl(self.pipe.descriptor, termios.FIONREAD, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def read_ready(self, size: int) -> bytes:
        """Return at most `size` bytes that are ready after `wait`; none at the end of the data."""
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        # Do not read again after end-of-file: a terminal would deliver more data.
        if self.has_ended or len(data) == size or (data and not self.count_ready_bytes()):
            return data
        try:
            more = bytes(self._raw.read(size - len(data)))
        except Exception as error:
            raise convert_error(error, self.name) from None
        self.n_bytes += len(more)
        self.has_ended = not more
        self.was_read_short = self.pipe is not None and len(more) < min(_SHORT_READ, size)
        return data + more

    def read_some(self, size: int = _CHUNK_SIZE) -> bytes:
        """Wait for data, and return at most `size` bytes; none at the end or if interrupted."""
        while not self.wait():
            if self.is_interrupted:
                return b""
        return self.read_ready(min(size, _MAX_READ_SIZE))

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer are returned only at the end."""
        parts = []
        while size > 0 and (data := self.read_some(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them."""
        is_file = self.pipe is None and self._raw is self.file
        data = self.read(max(size, FIRST_READ_BYTES) if is_file else size)
        self.unread(data)
        return data[:size]

    def unread(self, data: bytes) -> None:
        """Put bytes back; they are read next."""
        self._buffer = data + self._buffer

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes, or all if there are fewer."""
        if self.pipe is None and not self.is_compressed and size > len(self._buffer):
            with convert_errors(self.name):
                self._raw.seek(size - len(self._buffer), os.SEEK_CUR)
            self._buffer = b""
            return
        while size > 0 and (data := self.read_some(min(size, _CHUNK_SIZE))):
            size -= len(data)

    def close(self) -> None:
        """Do nothing: pyarrow closes the files it reads, but stdin must stay open."""


def open_bytes(path: str, interrupt: Interrupt | None = None) -> ByteInput:
    """Open a path, a URI or - for stdin; detect compression from the first bytes.

    Raises
    ------
    SourceError
        If the source cannot be opened, or is a pipe with compressed data.

    """
    return ByteInput(path, interrupt or NoInterrupt())


def _open_file(path: str) -> Any:
    """Open a file or a URI; its methods are those of a file of pyarrow."""
    if is_remote(path):
        return open_file(path)
    return _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def open_seekable_file(stream: ByteInput) -> pa.NativeFile:
    """Open the content of a source for random access; decompressed or piped data is copied."""
    if not (stream.is_compressed or stream.pipe):
        return open_file(stream.path)
    import tempfile

    import pyarrow as pa

    spool = tempfile.TemporaryFile()  # noqa: SIM115, the source reads from it
    while data := stream.read_some():
        spool.write(data)
    if stream.is_interrupted:
        raise SourceError(f"{stream.name}: interrupted before the end of its data")
    return pa.PythonFile(spool, "r")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its final period."""
    return str(error).partition("\n")[0].rstrip(". ")


@contextmanager
def convert_errors(name: str) -> Iterator[None]:
    """Turn system and Arrow errors in a `with` block into a SourceError with the source's name."""
    try:
        yield
    except Exception as error:
        raise convert_error(error, name) from None


def convert_error(error: Exception, name: str) -> Exception:
    """Return the SourceError for a system or Arrow error; return any other error as it is."""
    arrow = sys.modules.get("pyarrow")
    is_of_arrow = arrow is not None and isinstance(error, arrow.ArrowException)
    if isinstance(error, SourceError) or not (isinstance(error, OSError) or is_of_arrow):
        return error
    return SourceError(f"{name}: {format_reason(error)}")


def format_reason(error: Exception) -> str:
    """Return the reason for an error on one line, without the error's number and path."""
    # Only system errors have a number.
    if isinstance(error, OSError) and error.errno is not None:
        return str(error.strerror)
    return first_line(error)


def is_readable(descriptor: int, seconds: float | None) -> bool:
    """Wait at most `seconds` for data or end-of-file; return whether either has arrived.

    A FIFO that was opened before it had a writer is not at its end.
    """
    poll = select.poll()  # unlike select, it accepts descriptors above 1,023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))
