"""Sources of text: records in lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Protocol

import numpy as np

from stream_perceptron.data.batch import MOST_BATCH_ROWS, Held
from stream_perceptron.data.byte_stream import ByteStream, open_bytes
from stream_perceptron.data.cell_rows import CellInterpreter, CellRows
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import (
    Identity,
    TextDigest,
    TextPart,
    changed_since_first_pass,
)
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Sample, interpret_record
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Opening, Request, Source
from stream_perceptron.data.text.records import LONGEST_LINE, RawLines, cut_lines
from stream_perceptron.data.text.scanning import Scanner
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_TRIED = 100  # the number of first records among which one that can be used is looked for


class LineFormat(Protocol):
    """A format of text, detected from the first line."""

    has_comments: bool  # whether lines that begin with # are skipped

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""

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
        self, lines: RawLines, cells: Cells, text: TextPart | None, whole: TextRows | None = None
    ) -> None:
        self.lines, self.cells, self.text = lines, cells, text
        self._whole = whole  # the rows that this is a part of

    def __len__(self) -> int:
        return len(self.cells)

    def _slice(self, start: int, end: int) -> TextRows:
        text = None if self.text is None else self.text[start:end]
        part = slice(start, end)
        return TextRows(self.lines[part], self.cells[part], text, self.whole)

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
        self, path: str, start: ByteStream, choose: Callable[[str, Selection], LineFormat]
    ) -> None:
        super().__init__(path)
        self._bytes = start
        self._lines = _cut(start)
        self._end: int | None = None  # the bytes read in the first pass
        self._begin: list[RawLines] = []
        self._n_held = 0  # bytes in _begin
        self._first_records: list[bytes | None] = []
        self._forgets_names = False
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
        self._format = self._choose(Selection())

    @property
    def grows(self) -> bool:
        return not self.is_stream

    @property
    def stream(self) -> ByteStream | None:
        return self._bytes if self.is_stream and not self._bytes.is_compressed else None

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
        records = self._open_records(request)
        if records is None:
            return None
        context, scanner = self._format.open(request, self.name, records[0]), self._format.scanner()
        for record in records[:_MAX_TRIED]:
            sample = interpret_record(context, scanner.scan_records([record]), 0)
            if isinstance(sample, Sample):
                # Declared classes may fix the type of labels before the first one does.
                label_type = context.schema.label_type
                return Opening(context, replace(sample.schema, label_type=label_type))
        return Opening(context, context.schema)

    def interpreter(self, request: Request) -> TextInterpreter:
        records, context = self._open_records(request), Context(request.selection)
        if records is not None:
            context = self._format.open(request, self.name, records[0])
        return TextInterpreter(self.name, context, request, self._format)

    def _open_records(self, request: Request) -> list[bytes] | None:
        """Return the records that have arrived, at least the first one; None if there is none.

        The format becomes that of the request.
        """
        self._format = self._choose(request.selection)
        number = self._first + self._format.n_header_lines
        line = self._line(number)
        if line is None and len(self._first_records) <= number:
            n_too_long = self._first_records.count(None)
            if n_too_long and n_too_long == len(self._first_records):
                rows = "its only row is" if n_too_long == 1 else "each of its rows is"
                raise SourceError(f"{self.name}: {rows} longer than {LONGEST_LINE // 2**20} MiB")
            return None
        # A record may span several lines; use the part that has arrived.
        whole = self._format.records(iter(self._begin))
        records = [record for each in whole for record in each.without_blanks().records()]
        # A header with an open quote may have swallowed the line.
        first = (records[number] if number < len(records) else line) or b""
        return [first, *(record for record in records[number + 1 :] if record is not None)]

    def rows(self, request: Request) -> Iterator[TextRows]:
        self._format = self._choose(request.selection)
        scanner = self._format.scanner()
        # The interpreter, which may run in another thread, needs the first record.
        self._line(self._first + self._format.n_header_lines)
        for lines, text in self._from(request):
            if self._forgets_names:
                scanner, self._forgets_names = self._format.scanner(), False
            yield TextRows(lines, scanner.scan(lines), text)

    def forget_names(self) -> None:
        self._forgets_names = True

    def _from(self, request: Request) -> Iterator[tuple[RawLines, TextPart | None]]:
        """Yield the records from the start on, with their part of the file for its identity."""
        lines, left, text = chain(self._begin, self._lines), request.start, None
        is_further_pass, is_over = request.epoch > 0, False
        if not self.is_stream:
            stream = open_bytes(self.path)
            if request.known is not None:
                text = _Text(self.name, stream, request)
                if is_further_pass:
                    text.end = request.known.size if self._end is None else self._end
            lines = chain([], _cut(stream))
        header = self._first if self._format.n_header_lines else -1
        size = 0
        for some in self._format.records(lines):
            n, place = len(some.filled), slice(0)
            size += len(some.text) + some.n_dropped
            runs = [(0, n)]
            if 0 <= header < n:
                runs = [(0, header), (header + 1, n)]
                line = int(some.filled[header])
                place = slice(*(some.ends[line] - some.begin - [some.lengths[line], 0]).tolist())
            header -= n
            wanted = []
            for begin, end in runs:
                start = min(begin + left, end)
                left -= start - begin
                wanted.append((start, end))
                if text is not None and start > begin and not left and not is_further_pass:
                    text.require_end(some, start - 1)
            ends = None if text is None else text.take(some, is_wanted=not left)
            if ends is not None and len(ends) < n:
                is_over = True
                wanted = [(start, min(end, len(ends))) for start, end in wanted]
            some = some.without_blanks()
            for start, end in wanted:
                if start < end:
                    part = None
                    if text is not None and ends is not None:
                        part = TextPart(text.digest, ends[start:end])
                    yield some[start:end], part
            if len(some) or not some.are_too_long:  # a line too long to keep may continue
                self._bytes.pass_over(size, place)
                size = 0
            if is_over:
                break
        if text is not None:
            if left:
                raise text.changed()
            if not is_further_pass:
                self._end = text.size
            elif text.end is not None and text.size < text.end:
                raise changed_since_first_pass(self.name)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        if before and self.begins_with(before[0]):
            return [replace(before[0], name=self.name)]
        return [Identity.of_text(self.name)]

    def whole(self) -> Identity:
        return self._up_to(None)

    def begins_with(self, known: Identity) -> bool:
        """Whether the file's first bytes match an identity."""
        return not known.is_stream and self._up_to(known.size) == known

    def has_grown(self, known: Identity) -> bool:
        is_plain = not self._bytes.is_compressed and os.path.exists(self.path)
        if is_plain and os.path.getsize(self.path) == known.size:
            return False
        stream = open_bytes(self.path)
        left = known.size
        while data := stream.read_some():
            if data[left:].strip(b"\r\n"):
                return True
            left = max(0, left - len(data))
        return False

    def _up_to(self, size: int | None) -> Identity:
        """Return the identity of the first `size` bytes, or of the whole file."""
        from hashlib import sha256

        digest, stream, n = sha256(), open_bytes(self.path), 0
        while n != size and (data := stream.read_some()):
            data = data if size is None else data[: size - n]
            digest.update(data)
            n += len(data)
        return Identity(self.name, n, digest.hexdigest())


class _Text:
    """The bytes read of a text file, with their digest."""

    def __init__(self, name: str, stream: ByteStream, request: Request) -> None:
        self.digest, self._request = TextDigest(name), request
        self._name, self._stream, self.size = name, stream, 0
        self.end: int | None = None  # the number of bytes that the first pass has read
        # The lines begin after a byte order mark.
        if (mark := stream.peek(len(_BYTE_ORDER_MARK))) == _BYTE_ORDER_MARK:
            self.digest.pass_over(memoryview(mark))
            self.size = len(mark)

    def take(self, lines: RawLines, is_wanted: bool) -> list[int]:
        """Add the next lines; return the number of bytes up to the end of each filled line.

        In a further pass, lines that the first pass has not read are left out.
        """
        data, before = self._data(lines), self.size
        self.size += len(data)
        ends = np.minimum(lines.ends[lines.filled] - lines.begin, len(data)) + before
        if self.end is not None and self.size > self.end:
            n = int(np.searchsorted(ends, self.end, side="right"))
            added = data[self.end - before : ends[n] - before].tobytes() if n < len(ends) else b""
            if added and not added.strip(b"\r\n"):
                n += 1  # a last line to which only its end was added
            ends = np.minimum(ends[:n], self.end)
        if is_wanted and len(ends):
            self.digest.add(data)
        else:
            self.digest.pass_over(data)
        return ends.tolist()  # type: ignore[no-any-return]

    def _data(self, lines: RawLines) -> memoryview:
        # The last line may have a newline that is not in the file.
        return lines.text[: self._stream.n_bytes - self.size]

    def require_end(self, lines: RawLines, row: int) -> None:
        """Check that the last row read before ends where it ended then.

        It may have a newline now. `lines` are the ones to be passed to `take` next, with this row.
        """
        assert self._request.known is not None
        before = self._request.known.size - self.size
        end = int(lines.ends[lines.filled[row]]) - lines.begin
        data = self._data(lines)
        if not 0 <= before <= end or data[before:end].tobytes().strip(b"\r\n"):
            raise self.changed()

    def changed(self) -> SourceError:
        """Return the error for a last row that has changed since it was read."""
        return SourceError(
            f"{self._name}: row {self._request.start:,} has changed since it was read: the file "
            "then ended within it; start over with --overwrite"
        )


def _cut(start: ByteStream) -> Iterator[RawLines]:
    if start.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
        start.pass_over(len(start.read(len(_BYTE_ORDER_MARK))))
    yield from cut_lines(start, MOST_BATCH_ROWS)
