"""Blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stream_perceptron.data.input.bytes import FIRST_READ_BYTES, ByteInput
from stream_perceptron.errors import SourceError

MAX_LINE_BYTES = 2**24  # a longer line is rejected, and not kept in memory
_MAX_SILENCE = 0.25  # seconds without data after which a pipe yields None
_MAX_READ_BYTES = 2**21  # the size up to which reads grow, unless a line is longer


class LineBlock(NamedTuple):
    """Whole lines."""

    data: bytes
    source_size: int  # the number of bytes in the source; a newline may have been added to `data`


def read_blocks(stream: ByteInput, begin: int) -> Iterator[LineBlock | None]:
    """Yield blocks of whole lines as they arrive, and None while a pipe is silent.

    The first block begins at byte `begin` of the source. A newline is added to the last line if it
    has none. An interrupt ends the blocks, even within a line.

    Raises
    ------
    SourceError
        If a line is longer than 16 MiB.

    """
    size, line = FIRST_READ_BYTES, b""  # an unfinished line
    while True:
        if not stream.wait(_MAX_SILENCE):
            if stream.is_interrupted:
                return
            yield None
            continue
        data = stream.read_ready(size)
        if not data:
            break
        if len(data) == size:
            size = min(2 * size, max(_MAX_READ_BYTES, len(line)))
        first_end = data.find(b"\n") + 1
        if len(line) + (first_end or len(data)) > MAX_LINE_BYTES:
            raise SourceError(
                f"{stream.name}: the line at byte {begin + 1:,} is longer than "
                f"{MAX_LINE_BYTES // 2**20} MiB"
            )
        end = data.rfind(b"\n") + 1
        if end:
            block, line = line + data[:end], data[end:]
            begin += len(block)
            yield LineBlock(block, len(block))
        else:
            line += data
    if line:
        yield LineBlock(line + b"\n", len(line))
