"""Blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stream_perceptron.data.byte_stream import ByteStream
from stream_perceptron.data.records import MAX_LINE_BYTES

_INITIAL_BUFFER_BYTES = 2**16  # the initial size of the buffer for a block
_MAX_BUFFER_BYTES = 2**21  # the size up to which this buffer grows, unless a line is longer


class Block(NamedTuple):
    """Whole lines, or one line that is too long to keep."""

    data: bytes  # empty for a line that is too long
    size: int  # the number of bytes in the source

    @property
    def is_too_long(self) -> bool:
        """Whether this is a line that is too long to keep."""
        return not self.data


def read_blocks(stream: ByteStream) -> Iterator[Block]:
    """Yield blocks of whole lines as they arrive.

    A newline is added to the last line if it has none. After an interrupt, reading continues to the
    end of the current line.
    """
    buffer = bytearray(_INITIAL_BUFFER_BYTES)
    n = 0  # the number of bytes in an unfinished line
    while True:
        with memoryview(buffer) as view, view[n:] as rest:
            n_read = stream.fill(rest)
        if not n_read:
            break
        end = buffer.rfind(b"\n", n, n + n_read) + 1
        n += n_read
        is_full = n == len(buffer)
        if end:
            with memoryview(buffer) as view, view[:end] as lines:
                block = bytes(lines)
            buffer[: n - end] = buffer[end:n]
            n -= end
            yield from _split_block(block)
        if n > MAX_LINE_BYTES:
            size = _skip_line(stream, n)
            n = 0
            if size is None:
                return
            yield Block(b"", size)
        elif n == len(buffer) or (is_full and len(buffer) < _MAX_BUFFER_BYTES):
            buffer += bytes(len(buffer))
    line = bytes(buffer[:n])
    if line and stream.is_interrupted:
        line += stream.read_line()
    if line and (not stream.is_interrupted or stream.has_ended or line.endswith(b"\n")):
        size = len(line)
        yield from _split_block(line if line.endswith(b"\n") else line + b"\n", size)


def _skip_line(stream: ByteStream, n: int) -> int | None:
    """Skip the rest of a line; return its size, or None if an interrupt comes first."""
    while True:
        data = stream.read_available() or stream.read_line()
        end = data.find(b"\n") + 1
        if end:
            stream.unread(data[end:])
            return n + end
        n += len(data)
        if not data:
            return n if stream.has_ended or not stream.is_interrupted else None


def _split_block(block: bytes, size: int | None = None) -> Iterator[Block]:
    """Yield the lines of a block together, apart from those that are too long."""
    begin = 0
    if len(block) > MAX_LINE_BYTES:
        start = 0
        while start < len(block):
            end = block.index(b"\n", start) + 1
            if end - start > MAX_LINE_BYTES:
                if begin < start:
                    yield Block(block[begin:start], start - begin)
                yield Block(b"", end - start)
                begin = end
            start = end
    if begin < len(block):
        rest = block[begin:] if begin else block
        yield Block(rest, len(rest) if size is None else size - begin)
