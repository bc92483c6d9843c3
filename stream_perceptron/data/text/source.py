"""Text sources, which are read in blocks of lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import chain, islice
from typing import Any

import numpy as np

from stream_perceptron.data.batch import Batch, Lines
from stream_perceptron.data.input.bytes import ByteInput
from stream_perceptron.data.input.positions import WINDOW, FilePosition, Span
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import BatchReader, Source
from stream_perceptron.data.text.blocks import MAX_LINE_BYTES, LineBlock, read_blocks
from stream_perceptron.data.text.csv import CsvFormat, has_open_quote
from stream_perceptron.data.text.format import LineFormat
from stream_perceptron.data.text.jsonl import JsonFormat
from stream_perceptron.data.text.libsvm import LibsvmFormat
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_LINES = (b"\n", b"\r\n")
_PAIR = r"[^\s:,;]+:[^\s,;]+"
_LIBSVM = re.compile(rf"(?:\S+|{_PAIR})(?:\s+{_PAIR})+\s*(?:#.*)?|{_PAIR}\s*")
_OPEN_QUOTE = "it ends within a quoted cell"


class TextSource(Source):
    """A text source, read line by line. A file may grow."""

    def __init__(self, stream: ByteInput, file_format: str | None = None) -> None:
        super().__init__(stream)
        self._file_format = file_format  # None to detect it
        # The first blocks, as far as they have been needed, and those that follow them.
        self._first_blocks: list[LineBlock] = []
        self._blocks: Iterable[LineBlock | None] = ()
        if self.is_stream:
            # The end of the rows that were read.
            self._position = _TextPosition(_skip_byte_order_mark(stream))
            self._blocks = read_blocks(stream, self._position.header_size)

    @property
    def stream(self) -> ByteInput | None:
        return self._bytes if self.is_stream else None

    @property
    def n_lost_bytes(self) -> int:
        if self.stream is None or not self.stream.is_interrupted:
            return 0
        return max(0, self.stream.n_bytes - self._position.n_record_bytes)

    def _close(self) -> None:
        super()._close()
        self._first_blocks, self._blocks = [], ()

    # --- The first records

    def _iter_first_blocks(self) -> Iterator[LineBlock]:
        """Yield the first blocks as they arrive, and keep them."""
        yield from self._first_blocks
        for block in self._blocks:
            if block is not None:
                self._first_blocks.append(block)
                yield block

    def _iter_first_lines(self) -> Iterator[bytes]:
        """Yield the lines in the first 16 MiB; the first is not blank."""
        n_bytes = n_lines = 0
        for block in self._iter_first_blocks():
            for line in BytesIO(block.data):
                if n_lines or line not in _BLANK_LINES:
                    n_lines += 1
                    yield line
            n_bytes += len(block.data)
            if n_bytes > MAX_LINE_BYTES:
                return

    def _detect_format(self, options: ReadOptions) -> LineFormat:
        """Return the format of the first line, or of the first that is not a comment."""
        lines = self._iter_first_lines()
        data_line = first = next(lines, b"")
        while data_line.startswith(b"#") or data_line in _BLANK_LINES:
            data_line = next(lines, b"")
        n_bytes = sum(len(block.data) for block in self._first_blocks)
        if not data_line and n_bytes > MAX_LINE_BYTES:
            raise SourceError(
                f"{self.name}: there is no row in its first {MAX_LINE_BYTES // 2**20} MiB"
            )
        for line in (data_line or first, first):
            following = islice(self._iter_first_lines(), 1, None)
            line_format = _choose_format(self._file_format, self.name, line, following, options)
            if line_format.has_comments:
                break
        return line_format

    def find_layout(self, request: ReadRequest) -> Layout:
        if not self.is_stream and (self._bytes is not None or not self._first_blocks):
            stream = self.open_input()
            begin = _skip_byte_order_mark(stream)
            self._first_blocks, self._blocks = [], read_blocks(stream, begin)
        self._format = self._detect_format(request.read_options)
        if self._format.is_incomplete and request.to_learn and not self.is_stream:
            self.n_unread_bytes = sum(block.source_size for block in self._first_blocks)
            return Layout(self._format, request.read_options, is_empty=True)
        data_lines = islice(self._iter_first_lines(), self._format.n_header_lines, None)
        if all(line in _BLANK_LINES for line in data_lines):
            return Layout(self._format, request.read_options, is_empty=True)
        return self._format.find_layout(request, self.name)

    def peek_batches(self, batches: BatchReader) -> Iterator[Batch | None]:
        return self._read(batches, self._iter_first_blocks(), _TextPosition(0))

    # --- Rows

    def read_batches(self, batches: BatchReader, request: ReadRequest) -> Iterator[Batch | None]:
        if batches.columns.layout.is_empty:
            return  # rows written since then have no layout
        if self.is_stream:
            arriving, self._blocks = chain(self._first_blocks, self._blocks), ()
            yield from self._read(batches, arriving, self._position)
            return
        self._blocks, self.n_unread_bytes = (), 0
        stream = self.take_bytes()
        if request.position.offset:
            position = _resume(stream, request.position)
        else:
            position = _TextPosition(_skip_byte_order_mark(stream))
        begin = position.header_size + position.offset
        yield from self._read(batches, read_blocks(stream, begin), position)

    def _read(
        self, batches: BatchReader, blocks: Iterable[LineBlock | None], position: _TextPosition
    ) -> Iterator[Batch | None]:
        """Yield the rows in `blocks`, whose first block begins at `position`."""
        n_header_lines = self._format.n_header_lines if position.offset == 0 else 0
        rest = b""  # the beginning of a record
        for block in chain(blocks, [_END_BLOCK]):
            if block is None:
                yield None
                continue
            is_last = block is _END_BLOCK
            if is_last and rest:
                if self.stream is not None and self.stream.is_interrupted:
                    return
                lacks_newline = position.end < position.offset + len(rest)
                may_go_on = lacks_newline or rest.count(b'"') % 2 == 1
                if may_go_on and batches.request.leaves_incomplete_record:
                    yield self._build_batch_without_last_line(
                        batches, position, position.offset, _OPEN_QUOTE
                    )
                    return
            data = rest + block.data
            position.end += block.source_size
            if n_header_lines and data:
                is_first = n_header_lines == self._format.n_header_lines
                n_header_lines, size = _skip_lines(data, n_header_lines, is_first)
                position.skip_header(size)
                data = data[size:]
            position.extend_first_bytes(data)
            begin = 0
            while begin < len(data):
                batches.before_read()
                columns, start = batches.columns, begin
                records = columns.read_block(
                    columns.reader.read, data, start, batches.max_rows, is_last
                )
                begin = records.end
                n_bytes = min(position.offset + begin, position.end)
                position.n_record_bytes = position.header_size + n_bytes
                if records.n:
                    yield from self._yield_batch(batches, data, records, position)
                if not batches.switch_to_lists() and begin == start:
                    break
            position.move(data, begin)
            rest = data[begin:]
        if self._format.has_comments and not self.is_stream:
            self.n_unread_bytes = position.end - position.last_end

    def _yield_batch(
        self, batches: BatchReader, data: bytes, records: Any, position: _TextPosition
    ) -> Iterator[Batch | None]:
        """Yield a batch of the records that were read.

        The last row of a file is left out if it has no newline and cannot be read, because it may
        be incomplete.
        """
        ends = None if self.is_stream else np.minimum(records.ends + position.offset, position.end)
        begin = position.last_end
        if ends is not None:
            position.last_end = int(ends[-1])
        batch = batches.build(
            records,
            Lines(data, records.begins, records.ends),
            self._get_span(position, data),
            ends,
        )
        lacks_newline = records.end == len(data) and position.end < position.offset + len(data)
        is_left = lacks_newline and batches.request.leaves_incomplete_record
        if ends is None or not is_left or len(batch) - 1 not in batch.rejected:
            yield batch
            return
        yield batch[:-1]
        begin = begin if len(batch) == 1 else int(ends[-2])
        yield self._build_batch_without_last_line(
            batches, position, begin, batch.rejected[len(batch) - 1]
        )

    def _build_batch_without_last_line(
        self, batches: BatchReader, position: _TextPosition, begin: int, reason: str
    ) -> Batch:
        """Leave the last record unread for a later run; return a notice."""
        self.n_unread_bytes = position.end - begin
        return batches.build_notice_batch(
            f"{self.name}: the last row is incomplete ({reason}); its {self.n_unread_bytes:,} "
            "bytes are left for a later run"
        )

    def _get_span(self, position: _TextPosition, data: bytes) -> Span | None:
        if self.is_stream:
            return None
        return Span(
            position.header_size, position.first_bytes, position.bytes_before, data, position.offset
        )


_END_BLOCK = LineBlock(b"", 0)


class _TextPosition:
    """How far a text source has been read, with the bytes from which positions are computed."""

    def __init__(
        self, header_size: int, offset: int = 0, first_bytes: bytes = b"", bytes_before: bytes = b""
    ) -> None:
        self.header_size, self.offset = header_size, offset
        self.last_end = offset  # of the last row
        self.end = offset  # of the blocks read so far; the last line may lack its newline
        # The number of bytes of the source up to the end of the last record.
        self.n_record_bytes = header_size
        self.first_bytes, self.bytes_before = first_bytes, bytes_before  # as in a `Span`

    def skip_header(self, size: int) -> None:
        """Move past bytes that precede the first row."""
        self.header_size += size
        self.end -= size

    def extend_first_bytes(self, data: bytes) -> None:
        """Add to the first bytes, given the data at the offset."""
        if len(self.first_bytes) < WINDOW:
            self.first_bytes = (self.first_bytes[: self.offset] + data)[:WINDOW]

    def move(self, data: bytes, size: int) -> None:
        """Move past the first `size` bytes of the data at the offset."""
        last = data[max(0, size - WINDOW) : size]
        self.bytes_before = (self.bytes_before + last)[-WINDOW:]
        self.offset = min(self.offset + size, self.end)


def _resume(stream: ByteInput, position: FilePosition) -> _TextPosition:
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
    first, before = first[:WINDOW], before[-WINDOW:]
    digests = Span(position.header_size, first, before, b"", size).digest_windows(size)
    is_same = not position.start_digest or digests == (position.start_digest, position.end_digest)
    if not is_same or not (before.endswith(b"\n") or not stream.peek(1).strip(b"\r\n")):
        raise SourceError(f"{stream.name}: another file has replaced it: run the command again")
    return _TextPosition(position.header_size, size, first, before)


def _skip_byte_order_mark(stream: ByteInput) -> int:
    """Skip a byte order mark; return its size, which is 0 if there is none."""
    if stream.peek(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        return 0
    return len(stream.read(len(_BYTE_ORDER_MARK)))


def _skip_lines(data: bytes, n: int, skips_blank: bool) -> tuple[int, int]:
    """Skip n lines, and blank lines before them; return how many remain, and the skipped size."""
    size = 0
    for line in BytesIO(data):
        size += len(line)
        skips_blank &= line in _BLANK_LINES
        n -= not skips_blank
        if n == 0:
            break
    return n, size


def _choose_format(
    file_format: str | None,
    source_name: str,
    line: bytes,
    following: Iterator[bytes],
    options: ReadOptions,
) -> LineFormat:
    """Return a text format; detect it from the first line if `file_format` is None."""
    first_line = _decode_line(line)
    if file_format is None and options.delimiter is not None and options.delimiter in first_line:
        file_format = "csv"
    file_format = file_format or _detect_text_format(first_line, source_name)
    if file_format == "jsonl":
        if re.match(r"\s*\[\s*(\{|$)", first_line):
            text = f"{source_name}: a JSON array of objects: to write one object per line"
            raise SourceError(text, [f"jq -c '.[]' {shlex.quote(source_name)}"])
        return JsonFormat()
    if file_format == "libsvm":
        return LibsvmFormat()
    return CsvFormat(first_line, options.delimiter, options.decimal, map(_decode_line, following))


def _decode_line(line: bytes) -> str:
    """Return the text of a line without its end; other carriage returns become spaces."""
    return line.decode(errors="replace").rstrip("\r\n").replace("\r", " ")


def _detect_text_format(first_line: str, source_name: str) -> str:
    """Return the format of text, given its first line."""
    if "\0" in first_line or first_line.count("\N{REPLACEMENT CHARACTER}") > len(first_line) / 10:
        raise SourceError(f"{source_name}: neither Parquet nor Arrow nor text in UTF-8")
    if first_line.lstrip().startswith(("{", "[")):
        return "jsonl"
    is_libsvm = _LIBSVM.fullmatch(first_line) and not has_open_quote(first_line)
    return "libsvm" if is_libsvm else "csv"
