"""Sources of text, whose records stand in lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from stream_perceptron.data.batch import BATCH_ROWS, MOST_BATCH_ROWS, Batch, too_large
from stream_perceptron.data.byte_stream import ByteStream, open_bytes
from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import Identity, TextDigest, TextPart
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import Fit, Request, SingleSource
from stream_perceptron.data.text.plan import PlainRecords, Plan
from stream_perceptron.data.text.records import LONGEST_LINE, RawLines, cut_lines, tokenizer
from stream_perceptron.data.text.sample import Decoder, Rejected, Replayed, Sample, rows_of
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_REASON = 300
_MOST_USELESS = 20
_MOST_TELLING, _SHOWN = 100, 200  # records that tell something, and first ones to look at

Found = Sample | Rejected | Replayed


class LineFormat(Protocol):
    """A format of lines, told by the first of them."""

    @property
    def n_header_lines(self) -> int:
        """The lines before the first record."""

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records that lines make."""

    def decoder(self, request: Request, where: str, first: bytes) -> Decoder:
        """Return what reads the records, of which the first one is this."""


class _Fitted(NamedTuple):
    """What reads the records of a source, and how it fits."""

    decoder: Decoder
    fit: Fit


class LineSource(SingleSource):
    """A source of text, a record a line.

    A file is told from others by its bytes up to the last row that was read, so that it may grow.
    """

    def __init__(self, path: str, start: ByteStream, choose: Callable[[str], LineFormat]) -> None:
        super().__init__(path)
        self._bytes = start
        self._lines = _cut(start)
        self._begin: list[RawLines] = []
        self._first_records: list[bytes | None] = []
        first = 0  # of the lines that can be held
        while self._line(first) is None and first < len(self._first_records):
            first += 1
        self._first = first
        line = self._line(first) or b""
        self._format = choose(line.decode(errors="replace").rstrip("\r\n"))

    @property
    def grows(self) -> bool:
        return not self.is_stream

    @property
    def stream(self) -> ByteStream | None:
        return self._bytes if self.is_stream and not self._bytes.is_compressed else None

    def _line(self, number: int) -> bytes | None:
        """Return one of the first lines, None if there are not so many, or if it is too long."""
        while len(self._first_records) <= number:
            lines = next(self._lines, None)
            if lines is None:
                return None
            if len(lines):
                self._begin.append(lines)
            self._first_records += lines.without_blanks().records()
        return self._first_records[number]

    def _prepare(self, request: Request) -> _Fitted | None:
        number = self._first + self._format.n_header_lines
        line = self._line(number)
        if line is None and len(self._first_records) <= number:
            return None
        # As much as has come of a record that spans several lines.
        whole = self._format.records(iter(self._begin))
        records = [record for each in whole for record in each.without_blanks().records()]
        # A header that leaves a quote open may have taken it.
        first = (records[number] if number < len(records) else line) or b""
        decoder = self._format.decoder(request, self.name, first)
        return _Fitted(decoder, Fit(decoder.outlook(first), decoder.label))

    def batches(self, request: Request) -> Iterator[Batch]:
        fitted = self.prepared(request)
        if fitted is None:
            return
        first_row, is_described = request.start + 1, request.start > 0
        reading = _Reading(fitted.decoder, request)
        for lines, text in self._from(request):
            done = 0
            # What is told of a source includes what its other first rows have told.
            runs = list(reading.runs(lines))
            notes = () if is_described else reading.notes(lines[:_SHOWN].records())
            for decoder, run in runs:
                part = None if text is None else text[done : done + len(run)]
                batch = _batch(run, self.name, first_row, decoder.schema, part, notes)
                yield batch.fitting(request.dtype)
                notes, is_described = (), is_described or bool(notes)
                first_row += len(run)
                done += len(run)

    def _from(self, request: Request) -> Iterator[tuple[RawLines, TextPart | None]]:
        """Yield the lines of the records from the start on, and what tells the file up to each."""
        lines, left, text = chain(self._begin, self._lines), request.start, None
        if not self.is_stream:
            stream = open_bytes(self.path)
            if request.known is not None:
                text = _Text(self.name, stream, request)
            lines = chain([], _cut(stream))
        header = self._first if self._format.n_header_lines else -1
        for some in self._format.records(lines):
            n, size, n_header = len(some.filled), len(some.text), 0
            runs = [(0, n)]
            if 0 <= header < n:
                runs = [(0, header), (header + 1, n)]
                n_header = int(some.ends[some.filled[header]]) - some.begin
            header -= n
            wanted = []
            for begin, end in runs:
                start = min(begin + left, end)
                left -= start - begin
                wanted.append((start, end))
                if text is not None and start > begin and not left:
                    text.require_end(some, start - 1)
            ends = None if text is None else text.take(some, is_wanted=not left)
            some = some.without_blanks()
            for start, end in wanted:
                if start < end:
                    part = None
                    if text is not None and ends is not None:
                        part = TextPart(text.digest, ends[start:end])
                    yield some[start:end], part
            self._bytes.pass_over(size, n_header)
        if text is not None and left:
            raise text.changed()

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        if before and self.begins_with(before[0]):
            return [replace(before[0], name=self.name)]
        return [Identity.of_text(self.name)]

    def whole(self) -> Identity:
        return self._up_to(None)

    def begins_with(self, known: Identity) -> bool:
        """Whether its first bytes are those by which a file was told."""
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
        """Return what tells the file by its first bytes, by all of them without a size."""
        from hashlib import sha256

        digest, stream, n = sha256(), open_bytes(self.path), 0
        while n != size and (data := stream.read_some()):
            data = data if size is None else data[: size - n]
            digest.update(data)
            n += len(data)
        return Identity(self.name, n, digest.hexdigest())


class _Text:
    """What was read of a text file so far."""

    def __init__(self, name: str, stream: ByteStream, request: Request) -> None:
        self.digest, self._request = TextDigest(name), request
        self._name, self._stream, self._size = name, stream, 0
        # The lines begin behind a byte order mark.
        if (mark := stream.peek(len(_BYTE_ORDER_MARK))) == _BYTE_ORDER_MARK:
            self.digest.pass_over(memoryview(mark))
            self._size = len(mark)

    def take(self, lines: RawLines, is_wanted: bool) -> list[int]:
        """Take lines that follow those before; return the bytes up to each that is not blank."""
        data, before = self._data(lines), self._size
        self._size += len(data)
        ends = np.minimum(lines.ends[lines.filled] - lines.begin, len(data)) + before
        if is_wanted and len(ends):
            self.digest.add(data)
        else:
            self.digest.pass_over(data)
        return ends.tolist()  # type: ignore[no-any-return]

    def _data(self, lines: RawLines) -> memoryview:
        # The last line may have got a newline that the file has not.
        return lines.text[: self._stream.n_bytes - self._size]

    def require_end(self, lines: RawLines, row: int) -> None:
        """Require that a row, the last that was read before, ends where it ended then.

        A row that had no newline may have one now. The lines are those that `take` takes next.
        """
        assert self._request.known is not None
        before = self._request.known.size - self._size
        end = int(lines.ends[lines.filled[row]]) - lines.begin
        data = self._data(lines)
        if not 0 <= before <= end or data[before:end].tobytes().strip(b"\r\n"):
            raise self.changed()

    def changed(self) -> SourceError:
        """Return what is raised if the last row that was read before is another one now."""
        return SourceError(
            f"{self._name}: row {self._request.start:,} has changed since it was read: the file "
            "ended in the midst of it then; start over with --overwrite"
        )


def _cut(start: ByteStream) -> Iterator[RawLines]:
    if start.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
        start.pass_over(len(start.read(len(_BYTE_ORDER_MARK))))
    yield from cut_lines(start, MOST_BATCH_ROWS)


Run = tuple[Decoder, list[Found] | PlainRecords]


class _Reading:
    """How lines are read, one after another, or many at once where they are plain."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        self._decoder, self._request = decoder, request
        self._largest = float(np.finfo(request.dtype).max)
        self._plan: Plan | None = None
        # The record that the next plan is made from, for another like it, which may never come, and
        # what knows what it tells.
        self._like: tuple[bytes, Decoder] | None = None
        # The records that told something of the source, and what they said.
        self._telling: list[tuple[bytes, Sample]] = []
        self._last: Decoder | None = None  # what the last record that could be read led to
        self._useless = 0  # records that no plan could read since one that could

    def runs(self, lines: RawLines) -> Iterator[Run]:
        """Yield what lines say in runs of one schema, each with what reads the records after it.

        Only rows that are learned tell something: those with a label, where rows are learned.
        """
        found: list[Found] = []
        records: list[bytes | None] = []
        is_plain, i = tokenizer is not None and lines.are_whole, 0
        while i < len(lines):
            block = self._block(lines, i) if is_plain else None
            if block is not None:
                if found:
                    yield self._decoder, found
                    found = []
                yield self._decoder, block
                i += len(block)
                continue
            records = records or lines.records()
            before, new = self._decoder, self._read(records[i])
            if self._decoder is not before and self._decoder.schema != before.schema and found:
                yield before, found
                found = []
            found.append(new)
            i += 1
            if len(found) == BATCH_ROWS:
                yield self._decoder, found
                found = []
        if found:
            yield self._decoder, found

    def notes(self, first: Sequence[bytes | None]) -> tuple[Note, ...]:
        """Return what is to be told of a source, once a record could be read."""
        return () if self._last is None else self._last.describe(self._telling, first)

    def _block(self, lines: RawLines, first: int) -> PlainRecords | None:
        """Return the records from one on that a plan can read."""
        if self._like is not None:
            self._make_plan(*self._like)
            self._like = None
        block = None if self._plan is None else self._plan.read(lines, first)
        if block is not None:
            self._useless = 0
            if block.new_names:
                schema = self._decoder.schema
                numbers = schema.numbers.with_names(block.new_names)
                self._decoder = self._decoder.with_schema(replace(schema, numbers=numbers))
        return block

    def _make_plan(self, record: bytes, decoder: Decoder) -> None:
        """Plan for records that are like this one, unless that was of no use several times."""
        self._useless += 1
        told, known = decoder.schema, self._decoder.schema
        is_tentative = self._request.to_learn and told != known
        # By what a record alone tells that is not learned, others are not read as texts.
        is_odd = is_tentative and (told.texts or ()) != (known.texts or ())
        is_tried = not is_odd and self._useless <= _MOST_USELESS
        layout = decoder.layout(record) if is_tried else None
        if layout is None:
            self._plan = None
        elif self._plan is None or not self._plan.extend(layout, told, is_tentative):
            self._plan = Plan(
                layout, decoder.selection, told, self._largest, self._request.to_learn, is_tentative
            )

    def _read(self, record: bytes | None) -> Found:
        """Read a record, and take note of what it tells if it is learned."""
        request, decoder = self._request, self._decoder
        if record is None:
            return Rejected(f"the line is longer than {LONGEST_LINE // 2**20} MiB")
        new = decoder.decode(record)
        if isinstance(new, Sample) and (np.abs(new.values) > self._largest).any():
            new = Rejected(too_large(request.dtype), new.offset)
        found: Found = new
        if new.offset is not None and request.replays.had(new.offset):
            found = Replayed(new.offset)
        if isinstance(new, Rejected):
            return found if found is not new else new._replace(record=record)
        after = decoder if new.schema is decoder.schema else decoder.with_schema(new.schema)
        if self._last is None or after.schema != self._last.schema:
            # The last one is kept in any case, as it told what is known now.
            self._telling = [*self._telling[: _MOST_TELLING - 1], (record, new)]
        self._last = after
        if found is new:
            if request.to_learn and new.label is not None:
                self._decoder = after
                if after.schema != decoder.schema:
                    self._useless = 0
            self._like = record, after
        return found


def _batch(
    found: Sequence[Found] | PlainRecords,
    source: str,
    first_row: int,
    schema: Schema,
    text: TextPart | None,
    notes: tuple[Note, ...],
) -> Batch:
    if isinstance(found, PlainRecords):
        n = len(found)
        return Batch(
            source, first_row, n, np.arange(n), found.rows, found.labels, found.weights, schema,
            notes=notes, missing=found.missing, indicators=found.indicators,
            kept=list(found.kept), text=text,
        )  # fmt: skip
    usable = {i: each for i, each in enumerate(found) if isinstance(each, Sample)}
    rejected = {i: each for i, each in enumerate(found) if isinstance(each, Rejected)}
    samples = list(usable.values())
    missing = np.array([s.n_nulls + np.count_nonzero(np.isnan(s.values)) for s in samples], np.intp)
    replayed = np.array([isinstance(each, Replayed) for each in found])
    return Batch(
        source=source,
        first_row=first_row,
        n_rows=len(found),
        rows=np.array(list(usable), np.intp),
        features=rows_of(samples),
        labels=[sample.label for sample in samples],
        weights=np.array([sample.weight for sample in samples], np.float64),
        schema=schema,
        rejected={i: each.why[:_LONGEST_REASON] for i, each in rejected.items()},
        held={
            i: partial(each.record.decode, errors="surrogateescape")
            for i, each in rejected.items()
            if each.record
        },
        offsets=tuple(each.offset for each in found) if any(f.offset for f in found) else (),
        replayed=replayed if replayed.any() else None,
        notes=notes,
        missing=missing if missing.any() else None,
        indicators=frozenset(chain.from_iterable(sample.indicators for sample in samples)),
        kept=[sample.kept for sample in samples if sample.kept],
        text=text,
    )
