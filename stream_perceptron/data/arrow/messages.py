"""Checks of Arrow messages, before Arrow allocates memory for their decoded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from struct import Struct, error
from typing import Any

import pyarrow as pa

from stream_perceptron.data.arrow.pages import require_fair
from stream_perceptron.data.byte_stream import ByteStream

_MOST_BYTES = 2**28  # of a message's body
_MOST_SAID = 2**24  # of a message's metadata: names of columns, and lengths

_CONTINUATION = b"\xff\xff\xff\xff"
_DICTIONARY = 2  # a kind of message
_FILE_END = b"ARROW1"
_BUFFER, _BLOCK = Struct("<qq"), Struct("<qi4xq")  # start and sizes
_INT16, _INT32, _INT64 = (Struct(f"<{kind}").unpack_from for kind in "Hiq")


class Messages:
    """A stream from which Arrow reads one message after another.

    Raises
    ------
    OSError
        In `read`, if a message would decode to far more bytes than it has.

    """

    closed = False

    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self._parts: list[memoryview] = []  # the unread parts of a message

    def read(self, size: int) -> memoryview:
        """Return the next bytes, at most the rest of one part of a message."""
        if not self._parts:
            self._parts = [memoryview(part) for part in self._next() if part]
        if not self._parts:
            return memoryview(b"")
        part = self._parts.pop(0)
        if len(part) > size:
            self._parts.insert(0, part[size:])
        return part[:size]

    def _next(self) -> list[bytes]:
        """Return the parts of the next message: its length, metadata and body."""
        length = self._source.read(4)
        if length == _CONTINUATION:
            length += self._source.read(4)
        try:
            (size,) = _INT32(length, len(length) - 4)
        except error:
            return [length]
        if not 0 <= size <= _MOST_SAID:
            return [length]
        said = self._source.read(size)
        try:
            message = _Table(said, _INT32(said)[0])
            place = message.place(3)
            n_bytes = 0 if place is None else max(0, _INT64(said, place)[0])
            if n_bytes > _MOST_BYTES:
                raise OSError(f"a batch has {n_bytes:,} bytes: write smaller ones")
            body = self._source.read(n_bytes)
            _require_fair(message, len(body), lambda at: body[at : at + 8])
        except (error, TypeError):  # Arrow reports these
            return [length, said]
        return [length, said, body]


def require_fair_batches(file: pa.NativeFile) -> None:
    """Check that no batch of an Arrow file would decode to far more bytes than it has."""
    size = file.size()
    try:
        (length,) = _INT32(file.read_at(4, size - len(_FILE_END) - 4))
        footer = file.read_at(length, size - len(_FILE_END) - 4 - length)
        for start, said_size, n_bytes in _Table(footer, _INT32(footer)[0]).structs(3, _BLOCK):
            said = file.read_at(said_size, start)
            message, begin = _Table(said, 8 + _INT32(said, 8)[0]), start + said_size
            _require_fair(message, n_bytes, partial(_eight_bytes, file, begin))
    except (error, TypeError):
        pass  # Arrow reports these


def _eight_bytes(file: pa.NativeFile, begin: int, at: int) -> bytes:
    return bytes(file.read_at(8, begin + at))


def _require_fair(message: _Table, n_bytes: int, read: Callable[[int], bytes]) -> None:
    """Check that a message does not decode to far more than its body, which `read` reads."""
    kind = message.place(1)
    if not n_bytes or kind is None or message.place(2) is None:
        return
    batch = message.table(2)
    if message.data[kind] == _DICTIONARY:
        batch = batch.table(1)
    if batch.place(3) is None:  # uncompressed
        return
    becomes = sum(_INT64(read(start))[0] for start, size in batch.structs(2, _BUFFER) if size)
    require_fair(n_bytes, becomes, "batches")


class _Table:
    """A FlatBuffers table within bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self._at = data, at

    def place(self, number: int) -> Any:
        """Return the place of a field; None if it is absent."""
        fields = self._at - _INT32(self.data, self._at)[0]
        is_there = 4 + 2 * number < _INT16(self.data, fields)[0]
        offset = _INT16(self.data, fields + 4 + 2 * number)[0] if is_there else 0
        return self._at + offset if offset else None

    def end_of(self, number: int) -> int:
        """Return the place that a field points to."""
        place = self.place(number)
        return int(place + _INT32(self.data, place)[0])

    def table(self, number: int) -> _Table:
        """Return the table in a field."""
        return _Table(self.data, self.end_of(number))

    def structs(self, number: int, kind: Struct) -> Iterator[tuple[int, ...]]:
        """Yield the structs in a field."""
        at = self.end_of(number)
        (n,) = _INT32(self.data, at)
        for i in range(n):
            yield kind.unpack_from(self.data, at + 4 + i * kind.size)
