"""How far each file has been read, and how a file is recognized again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

from stream_perceptron.data.input.bytes import (
    STDIN,
    ByteInput,
    get_display_name,
    is_remote,
)
from stream_perceptron.errors import SourceError

WINDOW = 4096  # the maximum number of bytes that a digest covers
_MAX_FULLY_DIGESTED = 1024  # at offsets up to this, each digest covers all bytes before the offset

# Formats other than text, by their first bytes.
BINARY_FORMATS = {b"PAR1": "parquet", b"\xff\xff\xff\xff": "arrow", b"ARRO": "arrow"}


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(slots=True, unsafe_hash=True)
class FilePosition:
    """How far a file or a pipe has been read: a boundary between rows. Do not modify a position.

    Two windows identify a text file: the first bytes after its header and the last bytes before
    the offset. A Parquet or Arrow file is identified by its first 4 KiB, its last 4 KiB and its
    size. A pipe has no digests.
    """

    name: str  # the real path, or the URI
    start_digest: str = ""  # the SHA-256 of the first window
    end_digest: str = ""  # the SHA-256 of the last window
    header_size: int = 0  # the number of bytes before the first row of a text file
    # For text files, the number of decompressed bytes read after the header; for other files and
    # pipes, the number of rows.
    offset: int = 0
    rows: int = 0  # the number of rows read; for a pipe, without redelivered rows

    def __str__(self) -> str:
        return f"{self.display_name} ({self.rows:,} rows, SHA-256 {self.end_digest[:12]}...)"

    @property
    def display_name(self) -> str:
        """The name for messages, relative to the current directory if the file is in it."""
        return self.name.removeprefix(os.path.join(os.getcwd(), ""))

    @property
    def is_stream(self) -> bool:
        """Whether this is a pipe from which rows were read."""
        return not self.start_digest

    def is_same_place(self, other: FilePosition) -> bool:
        """Whether two positions are the same place in the same content."""
        return bool(_get_place(self) == _get_place(other))


_get_place = attrgetter("start_digest", "end_digest", "header_size", "offset", "rows")


class Span(NamedTuple):
    """A part of a text file that has been read; the positions in it can be computed from it."""

    header_size: int
    first_bytes: bytes  # the first `WINDOW` bytes after the header, up to the end of `data`
    bytes_before: bytes  # the last `WINDOW` bytes before `data`
    data: bytes
    begin: int  # the offset of `data`

    def digest_windows(self, offset: int) -> tuple[str, str]:
        """Return the digests of the two windows of an offset in `data`."""
        n_first, n_last = _get_digest_window_sizes(offset)
        end = offset - self.begin
        last = self.data[max(0, end - n_last) : end]
        if len(last) < n_last:
            last = self.bytes_before[len(self.bytes_before) - (n_last - len(last)) :] + last
        return _hash(self.first_bytes[:n_first]), _hash(last)


def _get_digest_window_sizes(offset: int) -> tuple[int, int]:
    """Return the sizes of the two windows of an offset in a text file."""
    if offset <= _MAX_FULLY_DIGESTED:
        return offset, offset
    n_first = min(WINDOW, offset // 2)
    return n_first, min(WINDOW, offset - n_first)


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()


def resolve_source_name(path: str) -> str:
    """Return a source's name for positions: a real path, a URI or stdin."""
    if path == STDIN or is_remote(path):
        return get_display_name(path)
    return os.path.realpath(path) if os.path.isfile(path) else path


class FileContent:
    """The content of a file, to be compared with positions.

    The bytes are read in place: whoever reads them next begins with `ByteInput.rewind`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from stream_perceptron.data.input.bytes import open_bytes
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = path.write_text("a,y\\n1,u\\n2,v\\n")
    >>> span = Span(4, b"1,u\\n", b"", b"1,u\\n", 0)
    >>> position = FilePosition("", *span.digest_windows(4), header_size=4, offset=4, rows=1)
    >>> content = FileContent(open_bytes(str(path)))
    >>> content.matches(position), content.has_more_text()
    (True, True)

    """

    def __init__(self, stream: ByteInput) -> None:
        self._bytes = stream
        stream.rewind()
        is_binary = stream.peek(4) in BINARY_FORMATS or stream.path.endswith(".parquet")
        self.is_text = not is_binary
        self._firsts: dict[int, bytes] = {}  # the first bytes after a header, by its size
        self._digests: tuple[str, str] | None = None  # of a Parquet or Arrow file

    def get_start_position(self) -> FilePosition:
        """Return the position before the first row."""
        position = FilePosition(resolve_source_name(self._bytes.path))
        if self.is_text:
            return position
        start_digest, end_digest = self._compute_digests()
        return replace(position, start_digest=start_digest, end_digest=end_digest)

    def digest_start(self, header_size: int, size: int) -> str | None:
        """Return the digest of the first `size` bytes after a header; None if there are fewer."""
        if not self.is_text:
            return self._compute_digests()[0]
        if header_size not in self._firsts:
            self._bytes.rewind()
            self._bytes.skip(header_size)
            self._firsts[header_size] = self._bytes.read(WINDOW)
        first = self._firsts[header_size]
        return _hash(first[:size]) if len(first) >= size else None

    def matches_first_window(self, position: FilePosition) -> bool:
        """Whether the first window is that of a position."""
        return self.digest_start(*_get_start_digest_range(position)) == position.start_digest

    def matches_last_window(self, position: FilePosition) -> bool:
        """Whether the last window is that of a position."""
        if not self.is_text:
            return self._compute_digests()[1] == position.end_digest
        n_last = _get_digest_window_sizes(position.offset)[1]
        self._bytes.rewind()
        self._bytes.skip(position.header_size + position.offset - n_last)
        self._last = self._bytes.read(n_last)
        return len(self._last) == n_last and _hash(self._last) == position.end_digest

    def matches(self, position: FilePosition) -> bool:
        """Whether the file continues at a position."""
        return (
            bool(position.start_digest)
            and (position.offset > 0 or not self.is_text)
            and self.matches_first_window(position)
            and self.matches_last_window(position)
        )

    def has_more_text(self, n_unread_bytes: int = 0) -> bool:
        """Whether more rows of text follow the position that was matched last.

        `n_unread_bytes` is the size of an incomplete last record that followed it before.
        """
        size, has_text = 0, False
        while (data := self._bytes.read_some()) and not (has_text and size > n_unread_bytes):
            size, has_text = size + len(data), has_text or bool(data.strip(b"\r\n"))
        return has_text and size != n_unread_bytes

    def ends_line(self) -> bool:
        """Whether a line still ends at the position that was matched last.

        The newline of that line may have been written since.
        """
        if not self.is_text:
            return True
        return self._last.endswith(b"\n") or not self._bytes.peek(1).strip(b"\r\n")

    def _compute_digests(self) -> tuple[str, str]:
        """Return the digests of a Parquet or Arrow file."""
        if self._digests is None:
            self._bytes.rewind()
            file = self._bytes.file
            size = file.size()
            file.seek(0)
            first = file.read(WINDOW)
            file.seek(max(0, size - WINDOW))
            self._digests = _hash(first), _hash(b"%d " % size + file.read(WINDOW))
        return self._digests


def require_same_content(stream: ByteInput, position: FilePosition) -> None:
    """Check that a Parquet or Arrow file is still the one that was identified.

    Raises
    ------
    SourceError
        If another file has replaced it.

    """
    if (
        position.start_digest
        and FileContent(stream).get_start_position().end_digest != position.end_digest
    ):
        raise SourceError(f"{stream.name}: another file has replaced it: run the command again")


def _get_start_digest_range(position: FilePosition) -> tuple[int, int]:
    """Return the size of a text file's header, and that of the first window after it."""
    return position.header_size, _get_digest_window_sizes(position.offset)[0]


class PositionIndex:
    """Finds the positions that match a file."""

    def __init__(self, positions: Iterable[FilePosition]) -> None:
        self._groups: dict[tuple[int, int], dict[str, list[FilePosition]]] = {}
        for position in positions:
            if not position.is_stream:
                group = self._groups.setdefault(_get_start_digest_range(position), {})
                group.setdefault(position.start_digest, []).append(position)

    def find(self, content: FileContent) -> Iterator[FilePosition]:
        """Yield the positions that match a file, those with the largest offsets first."""
        candidates = [
            position
            for (header_size, size), group in self._groups.items()
            for position in group.get(content.digest_start(header_size, size) or "", ())
        ]
        candidates.sort(key=lambda position: -position.offset)
        return filter(content.matches, candidates)
