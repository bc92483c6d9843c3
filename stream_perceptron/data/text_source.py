"""Text sources, which are read in blocks of lines."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from stream_perceptron.data.batch import Batch, Lines
from stream_perceptron.data.byte_input import ByteInput, open_bytes
from stream_perceptron.data.columns import CSV, Columns
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.position import WINDOW, FilePosition, Span
from stream_perceptron.data.records import MAX_LINE_BYTES
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Batches, Opening, Source, build_opening
from stream_perceptron.errors import SourceError

_SILENCE = 0.25  # seconds without data after which a pipe yields None
_FIRST_READ_BYTES = 2**16  # the size of the first read
_MAX_READ_BYTES = 2**21  # the size up to which reads grow, unless a line is longer
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_PROBED_RECORDS = 100  # how many of the first records to search for a usable one
_BLANK_LINES = (b"\n", b"\r\n")
_TOO_LONG = f"longer than {MAX_LINE_BYTES // 2**20} MiB"


class Block(NamedTuple):
    """Whole lines, or one line that is too long to keep."""

    data: bytes  # only the first and last bytes of a line that is too long
    size: int  # the number of bytes in the source; a newline may have been added to `data`
    is_too_long: bool = False


class LineFormat(Protocol):
    """A text format, detected from the first line."""

    has_comments: bool  # whether lines that begin with # are skipped
    has_header: bool  # whether the first line is not a record

    def find_layout(self, request: Request, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records, given the first lines that are not blank.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a required column.

        """


class TextSource(Source):
    """A text source, read line by line. A file may grow."""

    def __init__(
        self,
        path: str,
        stream: ByteInput,
        choose_format: Callable[[str, ReadOptions], LineFormat],
    ) -> None:
        super().__init__(path)
        self._pipe = stream if self.is_stream else None
        self._n_record_bytes = _skip_mark(stream)  # up to the end of a pipe's last record
        self._blocks: Iterator[Block | None] | None = read_blocks(stream)
        self._first_blocks: list[Block] = []
        lines = self._iter_first_lines()
        first = next(lines, b"")
        data_line = first
        while data_line.startswith(b"#"):
            data_line = next(lines, b"")
        for line in (data_line or first, first):
            text = line.decode(errors="replace").rstrip("\r\n")
            self._choose_format = partial(choose_format, text)
            self._format = self._choose_format(ReadOptions())
            if self._format.has_comments:
                break
        n_bytes = sum(len(block.data) for block in self._first_blocks if not block.is_too_long)
        if not data_line and n_bytes > MAX_LINE_BYTES:
            raise SourceError(
                f"{self.name}: there is no row in its first {MAX_LINE_BYTES // 2**20} MiB"
            )
        # Rows written later have no format: it is detected from the first line.
        self._is_empty = not self._first_blocks
        self._close_file()

    @property
    def stream(self) -> ByteInput | None:
        return self._pipe

    @property
    def n_lost_bytes(self) -> int:
        if self._pipe is None or not self._pipe.is_interrupted:
            return 0
        return max(0, self._pipe.n_bytes - self._n_record_bytes)

    # --- The first records

    def _iter_first_blocks(self) -> Iterator[Block]:
        """Yield the first blocks as they arrive, and keep them."""
        if self._blocks is None:
            stream = open_bytes(self.path)
            _skip_mark(stream)
            self._blocks = read_blocks(stream)
        i = 0
        while True:
            while i == len(self._first_blocks):
                try:
                    block = next(self._blocks)
                except StopIteration:
                    return
                if block is not None:
                    self._first_blocks.append(block)
            yield self._first_blocks[i]
            i += 1

    def _close_file(self) -> None:
        """Close a file until it is read again, because thousands of files may be given."""
        if not self.is_stream:
            self._blocks, self._first_blocks = None, []

    def _iter_first_lines(self) -> Iterator[bytes]:
        """Yield the lines in the first 16 MiB that are neither blank nor too long."""
        n_bytes = 0
        for block in self._iter_first_blocks():
            if not block.is_too_long:
                yield from (line for line in BytesIO(block.data) if line not in _BLANK_LINES)
                n_bytes += len(block.data)
            if n_bytes > MAX_LINE_BYTES:
                return

    def _iter_first_records(self) -> Iterator[bytes]:
        """Yield the first lines after the header; comments are included."""
        if self._is_empty:
            return iter(())
        lines = self._iter_first_lines()
        if self._format.has_header:
            next(lines, None)
        return lines

    def find_layout(self, request: Request) -> Layout:
        self._format = self._choose_format(request.read_options)
        if next(self._iter_first_records(), None) is None:
            return Layout(CSV, request.read_options)
        return self._format.find_layout(request, self.name, self._iter_first_records())

    def open(self, request: Request) -> Opening | None:
        layout, schema = self.find_layout(request), request.schema
        if not self._has_records():
            self._close_file()
            return None
        first = self._find_first(layout, request)
        self._close_file()
        schema = Columns(layout, replace(request, to_learn=True)).schema
        return build_opening(layout, schema, first)

    def _has_records(self) -> bool:
        """Whether the source has records.

        Raises
        ------
        SourceError
            If all of its lines are too long.

        """
        if next(self._iter_first_records(), None) is not None:
            return True
        n_too_long = sum(block.is_too_long for block in self._first_blocks)
        if n_too_long and n_too_long == len(self._first_blocks):
            rows = "its only row is" if n_too_long == 1 else "each of its rows is"
            raise SourceError(f"{self.name}: {rows} {_TOO_LONG}")
        return False

    def _find_first(self, layout: Layout, request: Request) -> dict[Hashable, float] | None:
        """Return the numbers of the first usable record, by name."""
        request = replace(request, to_learn=True, keeps_zeros=True, redeliveries=None)
        request = replace(request, keeps_unlabeled=True, described=set())
        columns, n_rows = Columns(layout, request), 0
        rest, needs_header = b"", self._format.has_header
        for block in chain(self._iter_first_blocks(), [None]):
            if block is not None and block.is_too_long:
                continue
            data, begin = rest + (b"" if block is None else block.data), 0
            if needs_header and data:
                begin = _find_header_end(data)
                needs_header = not begin
            while begin < len(data) and n_rows < _MAX_PROBED_RECORDS:
                read = columns.read(data, begin, 1, is_last=block is None)
                if read.end == begin:
                    break
                begin, n_rows = read.end, n_rows + read.n
                if read.n and not read.reasons:
                    pairs = zip(read.feature_ids.tolist(), read.values.tolist(), strict=True)
                    found = {columns.names[feature]: number for feature, number in pairs}
                    numbers = columns.find_numbers()
                    return {name: found[name] for name in numbers if name in found}
            rest = data[begin:]
        return None

    # --- Rows

    def read_batches(self, batches: Batches, request: Request) -> Iterator[Batch | None]:
        if self.is_stream:
            blocks = chain(self._first_blocks, self._blocks or ())
            yield from self._read(batches, blocks, _Place(self._n_record_bytes))
            return
        self._close_file()
        self.n_left_bytes = 0
        stream, layout = open_bytes(self.path), batches.columns.layout
        if layout.form == CSV and not layout.columns:
            return  # rows written since the file was found to be empty have no layout
        if request.position.offset:
            place = _resume(stream, request.position)
        else:
            place = _Place(_skip_mark(stream))
        yield from self._read(batches, read_blocks(stream), place)

    def _read(
        self, batches: Batches, blocks: Iterable[Block | None], place: _Place
    ) -> Iterator[Batch | None]:
        """Yield the rows in `blocks`, whose first block begins at `place`."""
        needs_header = place.offset == 0 and self._format.has_header
        rest = b""  # the beginning of a record
        for block in chain(blocks, [_LAST]):
            if block is None:
                yield None
                continue
            if block is _LAST and self._pipe is not None and self._pipe.is_interrupted:
                return  # the rest is only the beginning of a record
            is_last = block is _LAST or block.is_too_long
            data = rest if is_last else rest + block.data
            if not is_last:
                place.end += block.size
            if needs_header and data:
                end = _find_header_end(data)
                needs_header, size = not end, end or len(data)
                place.skip_header(size)
                data = data[size:]
            place.extend_first(data)
            begin = 0
            while begin < len(data):
                batches.before_read()
                read = batches.columns.read(data, begin, batches.max_rows, is_last)
                if read.end == begin:
                    break
                begin = read.end
                self._n_record_bytes = place.header_size + min(place.offset + begin, place.end)
                if read.n:
                    yield from self._build(batches, data, read, place)
            place.move(data, begin)
            rest = data[begin:]
            if block.is_too_long:
                place.skip_line(block)
                self._n_record_bytes = place.header_size + place.offset
                yield batches.reject_row(f"the line is {_TOO_LONG}", self._get_span(place, b""))

    def _build(
        self, batches: Batches, data: bytes, read: Any, place: _Place
    ) -> Iterator[Batch | None]:
        """Yield a batch of the records that were read.

        The last line of a file is left out if it has no newline and cannot be read, because it may
        be incomplete.
        """
        ends = None if self.is_stream else np.minimum(read.ends + place.offset, place.end)
        begin = place.last_end
        if ends is not None:
            place.last_end = int(ends[-1])
        batch = batches.build(
            read, Lines(data, read.begins, read.ends), self._get_span(place, data), ends
        )
        lacks_newline = read.end == len(data) and place.end < place.offset + len(data)
        is_left = lacks_newline and batches.request.leaves_incomplete_line
        if ends is None or not is_left or batch.n_rows - 1 not in batch.rejected:
            yield batch
            return
        self.n_left_bytes = place.end - (begin if batch.n_rows == 1 else int(ends[-2]))
        yield batch[:-1]
        reason = batch.rejected[batch.n_rows - 1]
        yield batches.build_notice(
            f"{self.name}: the last line is incomplete ({reason}); a later run will read it"
        )

    def _get_span(self, place: _Place, data: bytes) -> Span | None:
        if self.is_stream:
            return None
        return Span(place.header_size, place.first, place.before, data, place.offset)


_LAST = Block(b"", 0)


class _Place:
    """How far a text source has been read, with the bytes from which positions are computed."""

    def __init__(
        self, header_size: int, offset: int = 0, first: bytes = b"", before: bytes = b""
    ) -> None:
        self.header_size, self.offset = header_size, offset
        self.last_end = offset  # of the last row
        self.end = offset  # of the blocks read so far; the last line may lack its newline
        self.first, self.before = first, before  # as in a `Span`

    def skip_header(self, size: int) -> None:
        """Move past bytes that precede the first row."""
        self.header_size += size
        self.end -= size

    def extend_first(self, data: bytes) -> None:
        """Add to the first bytes, given the data at the offset."""
        if len(self.first) < WINDOW:
            self.first = (self.first[: self.offset] + data)[:WINDOW]

    def move(self, data: bytes, size: int) -> None:
        """Move past the first `size` bytes of the data at the offset."""
        last = data[max(0, size - WINDOW) : size]
        self.before = (self.before + last)[-WINDOW:]
        self.offset = min(self.offset + size, self.end)

    def skip_line(self, line: Block) -> None:
        """Move past a line that is too long."""
        self.extend_first(line.data)
        self.move(line.data, len(line.data))
        self.offset = self.end = self.last_end = self.end + line.size


def read_blocks(stream: ByteInput) -> Iterator[Block | None]:
    """Yield blocks of whole lines as they arrive, and None while a pipe is silent.

    A newline is added to the last line if it has none. After an interrupt, reading continues to the
    end of the current line.
    """
    size, line = _FIRST_READ_BYTES, b""  # an unfinished line
    while not stream.is_interrupted:
        if not stream.wait(_SILENCE):
            if not stream.is_interrupted:
                yield None
            continue
        data = stream.read_ready(size)
        if not data:
            break
        if len(data) == size:
            size = min(2 * size, max(_MAX_READ_BYTES, len(line)))
        end = data.rfind(b"\n") + 1
        if end:
            block, line = line + data[:end], data[end:]
            yield from _split_block(block, len(block))
        else:
            line += data
        if len(line) > MAX_LINE_BYTES:
            long_line, line = _skip_line(stream, line), b""
            if long_line is None:
                return
            yield long_line
    if line and stream.is_interrupted:
        line += stream.read_line()
    if line and (not stream.is_interrupted or stream.has_ended or line.endswith(b"\n")):
        yield from _split_block(line if line.endswith(b"\n") else line + b"\n", len(line))


def _skip_line(stream: ByteInput, begin: bytes) -> Block | None:
    """Skip the rest of a line; return None if an interrupt comes first."""
    size, last = len(begin), begin[-WINDOW:]
    while True:
        data = stream.read_some() or stream.read_line()
        end = data.find(b"\n") + 1 or len(data)
        stream.unread(data[end:])
        size, last = size + end, (last + data[:end])[-WINDOW:]
        if data[:end].endswith(b"\n") or (not data and stream.has_ended):
            return Block(begin[:WINDOW] + last, size, is_too_long=True)
        if not data:
            return None


def _split_block(block: bytes, size: int) -> Iterator[Block]:
    """Yield the lines of a block together, but each overlong line on its own."""
    begin = 0
    if len(block) > MAX_LINE_BYTES:
        start = 0
        while start < len(block):
            end = block.index(b"\n", start) + 1
            if end - start > MAX_LINE_BYTES:
                if begin < start:
                    yield Block(block[begin:start], start - begin)
                ends = block[start : start + WINDOW] + block[end - WINDOW : end]
                yield Block(ends, end - start, is_too_long=True)
                begin = end
            start = end
    if begin < len(block):
        yield Block(block[begin:] if begin else block, size - begin)


def _resume(stream: ByteInput, position: FilePosition) -> _Place:
    """Skip the rows before a position, and check that they are still the same.

    Raises
    ------
    SourceError
        If another file has replaced the one that was read.

    """
    stream.skip(position.header_size)
    size = position.offset
    first = before = stream.read(min(size, 2 * WINDOW))
    if size >= 3 * WINDOW:
        stream.skip(size - 3 * WINDOW)
        before = stream.read(WINDOW)
    else:
        before += stream.read(size - len(first))
    place = _Place(position.header_size, size, first[:WINDOW], before[-WINDOW:])
    digests = Span(place.header_size, place.first, place.before, b"", size).digest(size)
    is_same = not position.start_digest or digests == (position.start_digest, position.end_digest)
    if not is_same or not (before.endswith(b"\n") or not stream.peek(1).strip(b"\r\n")):
        raise SourceError(f"{stream.name}: another file has replaced it: run the command again")
    return place


def _skip_mark(stream: ByteInput) -> int:
    """Skip a byte order mark; return its size, which is 0 if there is none."""
    if stream.peek(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        return 0
    return len(stream.read(len(_BYTE_ORDER_MARK)))


def _find_header_end(data: bytes) -> int:
    """Return the end of the first line that is not blank; 0 if there is none."""
    end = 0
    for line in BytesIO(data):
        end += len(line)
        if line not in _BLANK_LINES:
            return end
    return 0
