"""Text sources, which are read line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import MAX_BATCH_ROWS, ContentReader
from stream_perceptron.data.byte_stream import ByteStream, is_remote, open_bytes
from stream_perceptron.data.cell_rows import CellInterpreter, CellRows
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.fingerprint import (
    START_BYTES,
    FileState,
    Fingerprint,
    build_changed_error,
    hash_bytes,
)
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Sample, interpret_record
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Opening, Request, Source, build_opening
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.data.text.records import MAX_LINE_BYTES, RawLines, read_lines
from stream_perceptron.data.text.scanning import Scanner
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_PROBED_RECORDS = 100  # how many of the first records to search for a usable one


class LineFormat(Protocol):
    """A text format, detected from the first line."""

    has_comments: bool  # whether lines that begin with # are skipped
    spans_lines: bool  # whether a record with an open quote continues on the next line

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records in blocks of lines."""

    def scanner(self) -> Scanner:
        """Return a scanner for the records."""

    def build_context(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a required column.

        """

    def describe(
        self, context: Context, cells: Cells, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the columns, given the records that determined the schema."""


class TextRows(CellRows):
    """Text records, scanned into cells."""

    def __init__(
        self,
        lines: RawLines,
        cells: Cells,
        ends: NDArray[np.intp] | None,
        unsliced: TextRows | None = None,
    ) -> None:
        self.lines, self.cells, self.ends = lines, cells, ends
        self._unsliced = unsliced  # the rows of which these are a slice

    def __len__(self) -> int:
        return len(self.cells)

    def _slice(self, start: int, end: int) -> TextRows:
        part = slice(start, end)
        ends = None if self.ends is None else self.ends[part]
        return TextRows(self.lines[part], self.cells[part], ends, self.unsliced)

    @property
    def unsliced(self) -> TextRows:
        return self if self._unsliced is None else self._unsliced

    def make_content_reader(self, i: int) -> ContentReader | None:
        return None if self.lines.is_overlong else partial(self._content, i)

    def _content(self, i: int) -> str:
        return (self.lines[i : i + 1].records()[0] or b"").decode(errors="surrogateescape")


class TextInterpreter(CellInterpreter):
    """Interprets text records."""

    def __init__(
        self, name: str, context: Context, request: Request, text_format: LineFormat
    ) -> None:
        super().__init__(name, context, request)
        self._format = text_format

    def scan(self, rows: TextRows) -> Cells:
        """Return the cells of rows; the reading thread has already scanned them."""
        return rows.cells

    def describe(
        self, context: Context, rows: TextRows, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the columns."""
        return self._format.describe(context, rows.cells, deciding_records)


class LineSource(Source):
    """A text source that is read line by line.

    A file is identified by its bytes up to the last row read, so it may grow.
    """

    def __init__(
        self,
        path: str,
        stream: ByteStream,
        choose_format: Callable[[str, ReadOptions], LineFormat],
    ) -> None:
        super().__init__(path)
        self._byte_stream = stream
        self._lines = self._read_lines()
        self._n_line_bytes = 0  # the number of bytes in the lines read from a pipe so far
        self._n_record_bytes = 0  # the number of these bytes in complete records
        self._ends_within_record = False  # whether the lines of a pipe end within a record
        self._first_pass_end: int | None = None  # the end of the last row of the first pass
        self._hasher: PrefixHasher | None = None  # for the file that the first pass reads
        self._first_blocks: list[RawLines] = []  # the first lines, blank ones included
        self._n_first_bytes = 0  # the number of bytes in these blocks
        self._first_lines: list[bytes | None] = []  # the first lines that are not blank
        self._must_forget_names = False
        first = 0  # the index of the first line that is not too long
        while self._read_first_line(first) is None and first < len(self._first_lines):
            first += 1
        self._first_index, data_line = first, first
        while (
            self._decode_first_line(data_line).startswith("#")
            and self._read_first_line(data_line + 1) is not None
        ):
            data_line += 1
        self._choose_format = partial(choose_format, self._decode_first_line(data_line))
        if self._choose_format(ReadOptions()).has_comments:
            self._first_index = self._first_lines[:data_line].count(None)
        else:
            self._choose_format = partial(choose_format, self._decode_first_line(first))
        self._format = self._choose_format(ReadOptions())

    @property
    def can_grow(self) -> bool:
        return not self.is_stream

    @property
    def stream(self) -> ByteStream | None:
        return self._byte_stream if self.is_stream else None

    @property
    def n_lost_bytes(self) -> int:
        if self.stream is None or not self._byte_stream.is_interrupted:
            return 0
        return max(0, self._byte_stream.n_bytes - self._n_record_bytes)

    def _read_lines(self) -> Iterator[RawLines]:
        """Yield the lines of the stream; after an interrupt, stop at the end of a line."""
        if self._byte_stream.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            self._n_record_bytes += len(self._byte_stream.read(len(_BYTE_ORDER_MARK)))
            self._n_line_bytes = self._n_record_bytes
        yield from read_lines(self._byte_stream, MAX_BATCH_ROWS)

    def _read_first_line(self, number: int) -> bytes | None:
        """Return one of the first nonblank lines; None if it does not exist or is too long."""
        while len(self._first_lines) <= number:
            if self._n_first_bytes > MAX_LINE_BYTES:
                raise SourceError(
                    f"{self.name}: there is no row in its first {MAX_LINE_BYTES // 2**20} MiB"
                )
            lines = next(self._lines, None)
            if lines is None:
                return None
            if lines.is_overlong:
                last = self._first_blocks[-1] if self._first_blocks else None
                is_continued = last is not None and last.is_overlong and not len(last)
                lines = lines.without_text(
                    self._first_blocks.pop().n_dropped_bytes if is_continued else 0
                )
            self._first_blocks.append(lines)
            self._first_lines += lines.without_blank_lines().records()
            self._n_first_bytes += len(lines.text)
        return self._first_lines[number]

    def _decode_first_line(self, number: int) -> str:
        return (self._read_first_line(number) or b"").decode(errors="replace").rstrip("\r\n")

    def open(self, request: Request) -> Opening | None:
        context = self._open_context(request)
        if context is None:
            return None
        scanner = self._format.scanner()
        for record in islice(self._iter_first_records(), _MAX_PROBED_RECORDS):
            sample = interpret_record(context, scanner.scan_records([record]), 0)
            if isinstance(sample, Sample):
                # Declared classes may fix the label type before the first label does.
                label_type = context.schema.label_type
                schema = replace(sample.schema, label_type=label_type)
                return build_opening(context, schema, sample)
            if not context.schema.is_new:
                break  # further rows matter only for the schema of a new model
        schema = context.schema
        if schema.is_new and context.columns is not None:
            # At this point, any column may turn out to be a feature.
            schema = replace(schema, features=tuple(context.table_columns.candidates))
        return build_opening(context, schema, None)

    def interpreter(self, request: Request) -> TextInterpreter:
        context = self._open_context(request) or Context(request.read_options)
        return TextInterpreter(self.name, context, request, self._format)

    def _open_context(self, request: Request) -> Context | None:
        """Detect the format, and return the context of the records; None if there are no records.

        Raises
        ------
        SourceError
            If the source does not fit the model, or all of its lines are too long.

        """
        self._format = self._choose_format(request.read_options)
        first = next(self._iter_first_records(), None)
        if first is None:
            n_too_long = self._first_lines.count(None)
            if n_too_long and n_too_long == len(self._first_lines):
                rows = "its only row is" if n_too_long == 1 else "each of its rows is"
                raise SourceError(f"{self.name}: {rows} longer than {MAX_LINE_BYTES // 2**20} MiB")
            return None
        return self._format.build_context(request, self.name, first)

    def _iter_first_records(self) -> Iterator[bytes]:
        """Yield the first records as they arrive, except those that are too long."""
        index = self._first_index + self._format.n_header_lines
        while True:
            n_lines = len(self._first_lines)
            records = [
                record
                for lines in self._format.records(iter(self._first_blocks))
                for record in lines.without_blank_lines().records()
            ]
            last = (records[-1] if records else None) or b""
            is_open = self._format.spans_lines and last.count(b'"') % 2 == 1
            n_complete = len(records) - is_open
            yield from (record for record in records[index:n_complete] if record is not None)
            index = max(index, n_complete)
            self._read_first_line(n_lines)
            if len(self._first_lines) == n_lines:
                # The line may have been read as part of a header with an open quote.
                if index < n_lines and index >= len(records):
                    yield self._first_lines[index] or b""
                yield from (record for record in records[index:] if record is not None)
                return

    def rows(self, request: Request) -> Iterator[TextRows]:
        self._format = self._choose_format(request.read_options)
        scanner = self._format.scanner()
        # The interpreter, which may run in another thread, needs the first record.
        self._read_first_line(self._first_index + self._format.n_header_lines)
        for lines, ends in self._read_pipe() if self.is_stream else self._read_file(request):
            if self._must_forget_names:
                scanner, self._must_forget_names = self._format.scanner(), False
            yield TextRows(lines, scanner.scan(lines), ends)

    def forget_names(self) -> None:
        self._must_forget_names = True

    def _read_pipe(self) -> Iterator[tuple[RawLines, None]]:
        """Yield the records of a pipe."""
        header = self._first_index if self._format.n_header_lines else -1
        size = 0  # the number of bytes in an incomplete record
        for lines in self._format.records(self._read_pipe_lines()):
            if self._byte_stream.is_interrupted and self._ends_within_record:
                return  # these lines are only the beginning of a record
            n = len(lines.nonblank)
            size += lines.size
            if len(lines) or not lines.is_overlong:  # a line too long to keep arrives in parts
                self._n_record_bytes, size = self._n_record_bytes + size, 0
            records = lines.without_blank_lines()
            if 0 <= header < n:
                for start, end in _exclude_header(n, header):
                    yield records[start:end], None
            else:
                yield records, None
            header -= n

    def _read_pipe_lines(self) -> Iterator[RawLines]:
        """Yield all lines of a pipe, and count their bytes."""
        for lines in chain(self._first_blocks, self._lines):
            self._n_line_bytes += lines.size
            yield lines
        self._ends_within_record = self._n_line_bytes > self._n_record_bytes

    def _read_file(self, request: Request) -> Iterator[tuple[RawLines, NDArray[np.intp]]]:
        """Yield the records of a file from the requested start onward, each with its end offset."""
        stream, is_further_pass = open_bytes(self.path), request.epoch > 0
        if stream.descriptor is not None and not is_further_pass:
            self.state = FileState.of(stream.descriptor)
        if (
            request.known_fingerprint is not None
            and not is_further_pass
            and stream.descriptor is not None
        ):
            self._begin_hashing(stream, request.offset)
        before = request.offset  # the number of bytes before the next lines
        if request.offset:
            self._skip(stream, request)
        elif stream.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            before = len(stream.read(len(_BYTE_ORDER_MARK)))
        last_end = self._find_pass_end(request) if is_further_pass else None
        header = self._first_index if self._format.n_header_lines and not request.offset else -1
        n_skipped = 0 if request.offset else request.start
        last_row_end = request.offset
        for lines in self._format.records(read_lines(stream, MAX_BATCH_ROWS)):
            n = len(lines.nonblank)
            # The last line may have a newline that is not in the file.
            ends = np.minimum(lines.ends[lines.nonblank] - lines.begin + before, stream.n_bytes)
            n_within_pass = n if last_end is None else _count_lines_within(last_end - before, lines)
            if last_end is not None:
                ends = np.minimum(ends, last_end)
            before += lines.size
            records = lines.without_blank_lines()
            for start, end in _exclude_header(n, header):
                end = min(end, n_within_pass)
                n_before = min(n_skipped, max(0, end - start))
                n_skipped -= n_before
                if start + n_before < end:
                    rows = slice(start + n_before, end)
                    yield records[rows], ends[rows]
                    last_row_end = int(ends[rows][-1])
            header -= n
            if last_end is not None and before >= last_end:
                break
        if not is_further_pass:
            self._first_pass_end = last_row_end
        if last_end is not None and last_row_end < last_end:
            raise build_changed_error(self.name)
        if n_skipped:
            raise SourceError(f"{self.name}: it has fewer than {request.start:,} rows")

    def _begin_hashing(self, stream: ByteStream, offset: int) -> None:
        """Prepare to identify the file that a stream reads, starting at a byte offset."""
        if self._hasher is None or self._hasher.size > offset:
            self._hasher = PrefixHasher(self.path)
        self._hasher.reopen(stream)

    def _skip(self, stream: ByteStream, request: Request) -> None:
        """Skip the bytes up to the end of the last row that was read.

        The newline of that row may have been written since.

        Raises
        ------
        SourceError
            If the file ends earlier, or that row has been extended.

        """
        if _is_at_line_end(stream.skip(request.offset), stream):
            return
        if request.epoch:
            raise build_changed_error(self.name)
        raise SourceError(
            f"{self.name}: the file was changed while it was being read: run the command again"
        )

    def _find_pass_end(self, request: Request) -> int:
        """Return the end of the last row of the first pass."""
        if self._first_pass_end is None and request.known_fingerprint is not None:
            return request.known_fingerprint.size
        return self._first_pass_end or 0

    def end_pass(self, request: Request) -> None:
        if self.is_stream or request.known_fingerprint is None:
            return
        if self._hasher is not None and not request.epoch:
            self._hasher.identify(self._find_pass_end(request))
            self._hasher.close()

    def fingerprints(self) -> list[Fingerprint]:
        if self.is_stream:
            return [Fingerprint.of_stream(self.name)]
        return [self._identify_prefix(None)]

    def find_matching(self, fingerprints: Iterable[Fingerprint]) -> list[Fingerprint]:
        """Return the fingerprints that match the first bytes, in ascending order of size."""
        comparable = [
            fingerprint
            for fingerprint in fingerprints
            if not (fingerprint.is_stream or fingerprint.has_changed)
        ]
        comparable.sort(key=lambda fingerprint: fingerprint.size)
        if is_remote(self.path):
            return [
                fingerprint
                for fingerprint in comparable
                if self._identify_prefix(fingerprint.size) == fingerprint
            ]
        self._hasher = PrefixHasher(self.path)
        matches = [
            fingerprint
            for fingerprint in comparable
            if self._hasher.identify(fingerprint.size) == fingerprint
        ]
        self._hasher.close()
        return matches

    def identify(self, size: int) -> tuple[Fingerprint, str]:
        if self._hasher is None:
            fingerprint = self._identify_prefix(size)
            return fingerprint, fingerprint.digest
        fingerprint = self._hasher.identify(size)
        return fingerprint, self._hasher.start_digest

    def read_start(self) -> bytes:
        return open_bytes(self.path).read(START_BYTES)

    def ends_row_at(self, size: int) -> bool:
        stream = open_bytes(self.path)
        return _is_at_line_end(stream.skip(size), stream)

    def is_shorter_than(self, size: int) -> bool:
        return not open_bytes(self.path).skip(size)

    def has_grown(self, known_fingerprint: Fingerprint) -> bool:
        is_plain = not self._byte_stream.is_compressed and os.path.exists(self.path)
        if is_plain and os.path.getsize(self.path) == known_fingerprint.size:
            return False
        stream = open_bytes(self.path)
        stream.skip(known_fingerprint.size)
        while data := stream.read_available():
            if data.strip(b"\r\n"):
                return True
        return False

    def _identify_prefix(self, size: int | None) -> Fingerprint:
        """Return the fingerprint of the first `size` bytes, or of the whole file.

        An object at a URI is identified by its first few bytes, because otherwise it would have to
        be read twice.
        """
        if not is_remote(self.path):
            return PrefixHasher(self.path).identify(size)
        stream = open_bytes(self.path)
        first = stream.read(START_BYTES if size is None else min(size, START_BYTES))
        while size is None and stream.read_available():
            pass
        return Fingerprint(self.name, stream.n_bytes if size is None else size, hash_bytes(first))


def _exclude_header(n: int, header: int) -> list[tuple[int, int]]:
    """Return the ranges (start, end) of n records, excluding index `header` if it is in range."""
    return [(0, header), (header + 1, n)] if 0 <= header < n else [(0, n)]


def _is_at_line_end(last: bytes, stream: ByteStream) -> bool:
    """Return whether a line ends at a stream's position, given the byte before that position."""
    return last == b"\n" or (bool(last) and not stream.peek(1).strip(b"\r\n"))


def _count_lines_within(size: int, lines: RawLines) -> int:
    """Count the nonblank lines in the first `size` bytes; the last one may lack its newline."""
    ends = lines.ends[lines.nonblank] - lines.begin
    n = int(np.searchsorted(ends, size, side="right"))
    if n < len(ends) and size > 0 and not lines.text[size : ends[n]].tobytes().strip(b"\r\n"):
        n += 1
    return n
