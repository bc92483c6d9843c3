"""Sources of text: records in lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import MOST_BATCH_ROWS, Held
from stream_perceptron.data.byte_stream import ByteStream, is_remote, open_bytes, version_of
from stream_perceptron.data.cell_rows import CellInterpreter, CellRows
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import (
    START_BYTES,
    FileState,
    Identity,
    PipeHeader,
    changed_since_first_pass,
    hash_bytes,
)
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Sample, interpret_record
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Opening, Request, Source
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.data.text.records import LONGEST_LINE, RawLines, cut_lines
from stream_perceptron.data.text.scanning import Scanner
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_TRIED = 100  # the number of first records among which one that can be used is looked for


class LineFormat(Protocol):
    """A format of text, detected from the first line."""

    has_comments: bool  # whether lines that begin with # are skipped
    spans_lines: bool  # whether a record with an open quote goes on in the next line

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""

    @property
    def form_line(self) -> str:
        """A line of this format without content, by which the format is detected again."""

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines."""

    def scanner(self) -> Scanner:
        """Return a scanner of the records."""

    def open(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column that was asked for.

        """

    def describe(
        self, context: Context, cells: Cells, deciding: Sequence[tuple[int, Sample]]
    ) -> tuple[Note, ...]:
        """Return notes on the columns, given the records that decided them among the first ones."""


class TextRows(CellRows):
    """Records of text, scanned into cells."""

    def __init__(
        self,
        lines: RawLines,
        cells: Cells,
        ends: NDArray[np.intp] | None,
        whole: TextRows | None = None,
    ) -> None:
        self.lines, self.cells, self.ends = lines, cells, ends
        self._whole = whole  # the rows that this is a part of

    def __len__(self) -> int:
        return len(self.cells)

    def _slice(self, start: int, end: int) -> TextRows:
        part = slice(start, end)
        ends = None if self.ends is None else self.ends[part]
        return TextRows(self.lines[part], self.cells[part], ends, self.whole)

    @property
    def whole(self) -> TextRows:
        return self if self._whole is None else self._whole

    def hold(self, i: int) -> Held | None:
        return None if self.lines.are_too_long else partial(self._content, i)

    def _content(self, i: int) -> str:
        return (self.lines[i : i + 1].records()[0] or b"").decode(errors="surrogateescape")


class TextInterpreter(CellInterpreter):
    """Interprets records of text."""

    def __init__(
        self, name: str, context: Context, request: Request, text_format: LineFormat
    ) -> None:
        super().__init__(name, context, request)
        self._format = text_format

    def scan(self, rows: TextRows) -> Cells:
        """Return the cells of rows, which the thread that reads has scanned."""
        return rows.cells

    def describe(
        self, context: Context, rows: TextRows, deciding: Sequence[tuple[int, Sample]]
    ) -> tuple[Note, ...]:
        """Return notes on the columns."""
        return self._format.describe(context, rows.cells, deciding)


class LineSource(Source):
    """A source of text with a record a line.

    A file is identified by its bytes up to the last row read, so it may grow.
    """

    def __init__(
        self,
        path: str,
        start: ByteStream,
        choose: Callable[[str, Selection], LineFormat],
        header: PipeHeader | None = None,
    ) -> None:
        super().__init__(path)
        self._bytes = start
        self._lines = self._cut_lines()
        self._n_cut = 0  # bytes in the lines that were made records
        self._n_in_records = 0  # bytes in complete records
        self._is_quote_open = False  # whether the last of the first lines leaves a quote open
        self._is_torn = False  # whether the lines end within a record
        self._end: int | None = None  # the end of the last row of the first pass
        self._hasher: PrefixHasher | None = None  # of the file that the first pass reads
        self._first_pass: Identity | None = None  # of what the first pass has read
        self._begin: list[RawLines] = []
        self._n_held = 0  # bytes in _begin
        self._first_records: list[bytes | None] = []
        self._forgets_names = False
        if header is not None and (start.pipe is None or start.pipe.id != header.pipe):
            header = None
        if header is not None and header.is_header:
            line = header.line.encode(errors="surrogateescape")
            start.unread(line)
            start.n_bytes += len(line)
        first = 0  # the place of the first line that is not too long
        while self._line(first) is None and first < len(self._first_records):
            first += 1
        self._first, beyond = first, first
        while self._text(beyond).startswith("#") and self._line(beyond + 1) is not None:
            beyond += 1
        self._choose = partial(choose, self._text(beyond))
        if self._choose(Selection()).has_comments:
            self._first = self._first_records[:beyond].count(None)
        else:
            self._choose = partial(choose, self._text(first))
        if header is not None:  # the first line may be the rest of a row
            self._choose = partial(choose, header.line.rstrip("\r\n"))
        self._format = self._choose(Selection())

    @property
    def grows(self) -> bool:
        return not self.is_stream

    @property
    def stream(self) -> ByteStream | None:
        return self._bytes if self.is_stream and not self._bytes.is_compressed else None

    @property
    def n_lost_bytes(self) -> int:
        if self.stream is None or not self._bytes.is_interrupted:
            return 0
        return max(0, self._bytes.n_bytes - self._n_in_records)

    def _cut_lines(self) -> Iterator[RawLines]:
        """Yield the lines of the stream; after an interrupt, to the end of a record."""
        if self._bytes.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            self._n_in_records += len(self._bytes.read(len(_BYTE_ORDER_MARK)))
            self._n_cut = self._n_in_records
        yield from cut_lines(
            self._bytes,
            MOST_BATCH_ROWS,
            lambda: self._is_quote_open or self._n_cut > self._n_in_records,
        )

    def _line(self, number: int) -> bytes | None:
        """Return one of the first lines; None if it does not exist or is too long."""
        while len(self._first_records) <= number:
            if self._n_held > LONGEST_LINE:
                raise SourceError(
                    f"{self.name}: there is no row in its first {LONGEST_LINE // 2**20} MiB"
                )
            lines = next(self._lines, None)
            if lines is None:
                return None
            if lines.are_too_long:
                goes_on = self._begin and self._begin[-1].are_too_long and not len(self._begin[-1])
                lines = lines.without_text(self._begin.pop().n_dropped if goes_on else 0)
            self._begin.append(lines)
            self._first_records += lines.without_blanks().records()
            self._n_held += len(lines.text)
        return self._first_records[number]

    def _text(self, number: int) -> str:
        return (self._line(number) or b"").decode(errors="replace").rstrip("\r\n")

    def open(self, request: Request) -> Opening | None:
        context = self._open_context(request)
        if context is None:
            return None
        scanner = self._format.scanner()
        for record in islice(self._first_rows(), _MAX_TRIED):
            sample = interpret_record(context, scanner.scan_records([record]), 0)
            if isinstance(sample, Sample):
                # Declared classes may fix the type of labels before the first one does.
                label_type = context.schema.label_type
                return Opening(context, replace(sample.schema, label_type=label_type))
            if not context.schema.is_new:
                break  # only what a new model is to be depends on further rows
        schema = context.schema
        if schema.is_new and context.columns is not None:
            # All columns may be features, for all that is known.
            schema = replace(schema, features=tuple(context.table_columns.free))
        return Opening(context, schema)

    def interpreter(self, request: Request) -> TextInterpreter:
        context = self._open_context(request) or Context(request.selection)
        return TextInterpreter(self.name, context, request, self._format)

    def _open_context(self, request: Request) -> Context | None:
        """Return the context of the records; None if there is none. The format is then known.

        Raises
        ------
        SourceError
            If the source does not fit the model, or all of its lines are too long.

        """
        self._format = self._choose(request.selection)
        first = next(self._first_rows(), None)
        if first is None:
            n_too_long = self._first_records.count(None)
            if n_too_long and n_too_long == len(self._first_records):
                rows = "its only row is" if n_too_long == 1 else "each of its rows is"
                raise SourceError(f"{self.name}: {rows} longer than {LONGEST_LINE // 2**20} MiB")
            return None
        return self._format.open(request, self.name, first)

    def _first_rows(self) -> Iterator[bytes]:
        """Yield the first records without those that are too long; wait for each to arrive."""
        place = self._first + self._format.n_header_lines
        while True:
            n_lines = len(self._first_records)
            records = [
                record
                for lines in self._format.records(iter(self._begin))
                for record in lines.without_blanks().records()
            ]
            last = (records[-1] if records else None) or b""
            is_open = self._format.spans_lines and last.count(b'"') % 2 == 1
            n_complete = len(records) - is_open
            yield from (record for record in records[place:n_complete] if record is not None)
            place = max(place, n_complete)
            self._is_quote_open = is_open
            self._line(n_lines)
            self._is_quote_open = False
            if len(self._first_records) == n_lines:
                # A header with an open quote may have swallowed the line.
                if place < n_lines and place >= len(records):
                    yield self._first_records[place] or b""
                yield from (record for record in records[place:] if record is not None)
                return

    def rows(self, request: Request) -> Iterator[TextRows]:
        self._format = self._choose(request.selection)
        scanner = self._format.scanner()
        # The interpreter, which may run in another thread, needs the first record.
        self._line(self._first + self._format.n_header_lines)
        for lines, ends in self._read_pipe() if self.is_stream else self._read_file(request):
            if self._forgets_names:
                scanner, self._forgets_names = self._format.scanner(), False
            yield TextRows(lines, scanner.scan(lines), ends)

    def forget_names(self) -> None:
        self._forgets_names = True

    def _read_pipe(self) -> Iterator[tuple[RawLines, None]]:
        """Yield the records of a pipe."""
        self._keep_header()
        header = self._first if self._format.n_header_lines else -1
        size = 0  # bytes of a record that is not complete
        for lines in self._format.records(self._count_lines()):
            if self._bytes.is_interrupted and self._is_torn:
                return  # these lines are the beginning of a record
            n = len(lines.filled)
            size += len(lines.text) + lines.n_dropped
            if len(lines) or not lines.are_too_long:  # a line too long to keep comes in parts
                self._n_in_records, size = self._n_in_records + size, 0
            parts = _without_header(n, header)
            header -= n
            records = lines.without_blanks()
            for start, end in parts:
                yield records[start:end], None

    def _count_lines(self) -> Iterator[RawLines]:
        """Yield all lines of a pipe, and count their bytes."""
        for lines in chain(self._begin, self._lines):
            self._n_cut += len(lines.text) + lines.n_dropped
            yield lines
        self._is_torn = self._n_cut > self._n_in_records

    def _keep_header(self) -> None:
        """Keep what the next run on an anonymous pipe needs, once its first line has arrived."""
        first = self._line(self._first)
        if first is None or self._bytes.pipe is None or not self._bytes.pipe.id:
            return
        line, is_header = self._format.form_line, self._format.n_header_lines > 0
        if is_header:
            line = first.decode(errors="surrogateescape")
        self.header = PipeHeader(self._bytes.pipe.id, line, is_header)

    def _read_file(self, request: Request) -> Iterator[tuple[RawLines, NDArray[np.intp]]]:
        """Yield the records of a file from the start on, each with its end in bytes."""
        stream, is_further_pass = open_bytes(self.path), request.epoch > 0
        if stream.descriptor is not None and not is_further_pass:
            self.state = FileState.of(stream.descriptor)
        if request.known is not None and not is_further_pass and stream.descriptor is not None:
            self._begin_hashing(stream, request.offset)
        before = request.offset  # the number of bytes before the next lines
        if request.offset:
            self._skip(stream, request)
        elif stream.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            before = len(stream.read(len(_BYTE_ORDER_MARK)))
        last_end = self._end_of_pass(request) if is_further_pass else None
        header = self._first if self._format.n_header_lines and not request.offset else -1
        n_skipped = 0 if request.offset else request.start
        done = request.offset  # the end of the last row
        for lines in self._format.records(cut_lines(stream, MOST_BATCH_ROWS)):
            n = len(lines.filled)
            # The last line may have a newline that is not in the file.
            ends = np.minimum(lines.ends[lines.filled] - lines.begin + before, stream.n_bytes)
            n_wanted = n if last_end is None else _count_up_to(last_end - before, lines)
            if last_end is not None:
                ends = np.minimum(ends, last_end)
            before += len(lines.text) + lines.n_dropped
            records = lines.without_blanks()
            for start, end in _without_header(n, header):
                end = min(end, n_wanted)
                n_before = min(n_skipped, max(0, end - start))
                n_skipped -= n_before
                if start + n_before < end:
                    rows = slice(start + n_before, end)
                    yield records[rows], ends[rows]
                    done = int(ends[rows][-1])
            header -= n
            if last_end is not None and before >= last_end:
                break
        if not is_further_pass:
            self._end = done
        if last_end is not None and done < last_end:
            raise changed_since_first_pass(self.name)
        if n_skipped:
            raise SourceError(f"{self.name}: it has fewer than {request.start:,} rows")

    def _begin_hashing(self, stream: ByteStream, offset: int) -> None:
        """Prepare to identify the file that a stream reads from a byte offset on."""
        if self._hasher is None or self._hasher.size > offset:
            self._hasher = PrefixHasher(self.path)
        self._hasher.open(stream)

    def _skip(self, stream: ByteStream, request: Request) -> None:
        """Skip the bytes up to the end of the last row that was read.

        That line may have a newline now.

        Raises
        ------
        SourceError
            If the file ends before, or the line goes on.

        """
        if _ends_line(stream.skip(request.offset), stream):
            return
        if request.epoch:
            raise changed_since_first_pass(self.name)
        raise SourceError(f"{self.name}: the file was changed while it was read: run this again")

    def _end_of_pass(self, request: Request) -> int:
        """Return the end of the last row of the first pass."""
        if self._end is None and request.known is not None:
            return request.known.size
        return self._end or 0

    def end_pass(self, request: Request) -> None:
        if self.is_stream or request.known is None:
            return
        end, hasher = self._end_of_pass(request), self._hasher
        if not request.epoch:
            self._first_pass, _ = self.identify(end)
            if hasher is not None:
                hasher.close()
            return
        expected = self._first_pass or request.known
        is_unchanged = hasher is not None and hasher.is_at(self.path)
        self.version = version_of(self.path)
        if expected.has_changed or not (is_unchanged or self.matching([expected])):
            raise changed_since_first_pass(self.name)

    def identities(self) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        return [self._hash_first(None)]

    def matching(self, identities: Iterable[Identity]) -> list[Identity]:
        """Return the identities of the first bytes, in ascending order of size.

        An object behind a URI also has the same version, or has grown.
        """
        comparable = [one for one in identities if not (one.is_stream or one.has_changed)]
        comparable.sort(key=lambda identity: identity.size)
        if is_remote(self.path):
            return [identity for identity in comparable if self._is_of_object(identity)]
        self._hasher = PrefixHasher(self.path)
        matches = [one for one in comparable if self._hasher.identify(one.size) == one]
        self._hasher.close()
        return matches

    def _is_of_object(self, identity: Identity) -> bool:
        """Whether an object behind a URI matches an identity."""
        if replace(self._hash_first(identity.size), version=identity.version) != identity:
            return False
        return identity.version in ("", self.version) or self.has_grown(identity)

    def identify(self, size: int) -> tuple[Identity, str]:
        if self._hasher is None:
            identity = self._hash_first(size)
            return identity, identity.digest
        identity = self._hasher.identify(size)
        return identity, self._hasher.start_digest

    def read_start(self) -> bytes:
        return open_bytes(self.path).read(START_BYTES)

    def ends_row_at(self, size: int) -> bool:
        stream = open_bytes(self.path)
        return _ends_line(stream.skip(size), stream)

    def is_shorter_than(self, size: int) -> bool:
        return not open_bytes(self.path).skip(size)

    def has_grown(self, known: Identity) -> bool:
        is_plain = not self._bytes.is_compressed and os.path.exists(self.path)
        if is_plain and os.path.getsize(self.path) == known.size:
            return False
        stream = open_bytes(self.path)
        stream.skip(known.size)
        while data := stream.read_some():
            if data.strip(b"\r\n"):
                return True
        return False

    def _hash_first(self, size: int | None) -> Identity:
        """Return the identity of the first `size` bytes, or of the whole file.

        Behind a URI, the version and the first few bytes stand for the others, which would be read
        twice.
        """
        if not is_remote(self.path):
            return PrefixHasher(self.path).identify(size)
        stream = open_bytes(self.path)
        first = stream.read(START_BYTES if size is None else min(size, START_BYTES))
        while size is None and stream.read_some():
            pass
        return Identity(
            self.name, stream.n_bytes if size is None else size, hash_bytes(first), self.version
        )


def _without_header(n: int, header: int) -> list[tuple[int, int]]:
    """Return the parts (start, end) of n records without the one at a place, if it is there."""
    return [(0, header), (header + 1, n)] if 0 <= header < n else [(0, n)]


def _ends_line(last: bytes, stream: ByteStream) -> bool:
    """Return whether a line ends at the place of a stream, given the byte before it."""
    return last == b"\n" or (bool(last) and not stream.peek(1).strip(b"\r\n"))


def _count_up_to(size: int, lines: RawLines) -> int:
    """Return the number of filled lines in the first `size` bytes; the last may lack its end."""
    ends = lines.ends[lines.filled] - lines.begin
    n = int(np.searchsorted(ends, size, side="right"))
    if n < len(ends) and size > 0 and not lines.text[size : ends[n]].tobytes().strip(b"\r\n"):
        n += 1
    return n
