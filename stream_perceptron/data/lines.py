"""What the formats have in common whose samples stand in lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import (
    BATCH_ROWS,
    LONGEST_LINE,
    MOST_BATCH_ROWS,
    Batch,
    Offset,
    RawLines,
    too_large,
)
from stream_perceptron.data.byte_stream import ByteStream, cut_lines, open_bytes
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.plain import Block, Plan, Reader, can_be_plain
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import Fit, Request, Source
from stream_perceptron.model.features import Dense, Features, Names, Sparse

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_REASON = 300
_MOST_USELESS = 20


class Sample(NamedTuple):
    """What a record says."""

    names: Names
    values: NDArray[np.float64]  # NaN for a feature that is missing
    label: Any
    weight: float
    offset: Offset | None
    after: Decoder  # what reads the next record; other than before if this one has told something
    indicators: tuple[str, ...] = ()  # features that are 1, as a text is theirs
    are_columns: bool = True  # whether the names are those of every record
    n_nulls: int = 0  # how many features were null, and have no name here
    kept: tuple[Any, ...] = ()  # what goes with the prediction


class Rejected(NamedTuple):
    """Why a record cannot be used, and its offset if that can be read all the same."""

    why: str
    offset: Offset | None = None


class Replayed(NamedTuple):
    """A record that came before."""

    offset: Offset
    after: Decoder | None  # what would read the next one, if this could be used


Found = Sample | Rejected | Replayed


class Decoder(Protocol):
    """How the records of a source are read. It is frozen: what a record tells makes another."""

    @property
    def schema(self) -> Schema:
        """What is known so far."""

    @property
    def outlook(self) -> Schema:
        """What is known, also from a look at the first record."""

    @property
    def label(self) -> str | None:
        """The label column or key, if one is known."""

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""

    def plan(self, record: bytes) -> Plan | None:
        """Return how plain records are read that are like one that could be read, None for none."""

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not, once a row was read."""


class LineFormat(Protocol):
    """A format of lines, told by the first of them."""

    @property
    def n_header_lines(self) -> int:
        """The lines before the first record."""

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records that lines make."""

    def decoder(self, request: Request, where: str, first: str) -> Decoder:
        """Return what reads the records, of which the first one is this."""


class LineSource(Source):
    """A source of text, a record a line.

    A file is told from others by the SHA-256 of its rows up to where it was read, so that it may
    grow.
    """

    def __init__(self, path: str, start: ByteStream, choose: Callable[[str], LineFormat]) -> None:
        super().__init__(path)
        self._bytes = start
        self._lines = _cut(start)
        self._begin: list[RawLines] = []
        self._first_records: list[bytes | None] = []
        self._hash, self._size = hashlib.sha256(), 0
        first = 0  # of the lines that can be held
        while self._is_too_long(first):
            first += 1
        self._first = first
        self._format = choose(self._line(first) or "")

    @property
    def stream(self) -> ByteStream | None:
        return self._bytes if self.is_stream and not self._bytes.is_compressed else None

    def _line(self, number: int) -> str | None:
        """Return one of the first lines, None if there are not so many."""
        while len(self._first_records) <= number:
            lines = next(self._lines, None)
            if lines is None:
                return None
            self._begin.append(lines)
            self._first_records += lines.without_blanks().records()
        return _text(self._first_records[number])

    def _is_too_long(self, number: int) -> bool:
        self._line(number)
        records = self._first_records
        return number < len(records) and records[number] is None

    def _decoder(self, request: Request) -> Decoder | None:
        number = self._first + self._format.n_header_lines
        line = self._line(number)
        if line is None:
            return None
        # As much as has come of a record that spans several lines.
        whole = self._format.records(iter(self._begin))
        records = [record for each in whole for record in each.without_blanks().records()]
        # A header that leaves a quote open may have taken it.
        first = _text(records[number]) if number < len(records) else line
        return self._format.decoder(request, self.name, first)

    def fit(self, request: Request) -> Fit | None:
        decoder = self._decoder(request)
        return None if decoder is None else Fit(decoder.outlook, decoder.label)

    def batches(self, request: Request) -> Iterator[Batch]:
        decoder = self._decoder(request)
        if decoder is None:
            return
        first_row, is_described = request.start + 1, request.start > 0
        reading = _Reading(decoder, request)
        for lines in self._from(request.start):
            done = 0
            runs = list(reading.runs(lines))
            # What is told of a source includes what its other first rows have told.
            notes = () if is_described else _notes(runs)
            for decoder, found in runs:
                raw = lines[done : done + len(found)]
                batch = _batch(self.name, first_row, found, decoder.schema, raw, notes)
                yield batch.fitting(request.dtype)
                notes, is_described = (), is_described or bool(notes)
                first_row += len(found)
                done += len(found)

    def _from(self, start: int) -> Iterator[RawLines]:
        """Yield the lines of the records from one on."""
        lines = chain(self._begin, self._lines)
        if not self.is_stream:
            lines = chain([], _cut(open_bytes(self.path)))
        header = self._first if self._format.n_header_lines else -1
        for some in self._format.records(lines):
            some = some.without_blanks()
            parts = [some]
            if 0 <= header < len(some):
                parts = [some[:header], some[header + 1 :]]
            header -= len(some)
            for part in parts:
                rest = part[min(start, len(part)) :]
                start -= len(part) - len(rest)
                if len(rest):
                    yield rest

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        self._hash, self._size = hashlib.sha256(), 0
        size = before[0].size if before else 0
        if size:
            for lines in self._from(0):
                self._take(lines.text[: size - self._size])
                if self._size == size:
                    break
        return [self._identity()]

    def advance(self, batch: Batch) -> Identity | None:
        if self.is_stream or batch.raw is None:
            return None
        self._take(batch.raw.text)
        return self._identity()

    def _take(self, data: memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)

    def _identity(self) -> Identity:
        return Identity(self.name, self._size, self._hash.hexdigest())


def _cut(start: ByteStream) -> Iterator[RawLines]:
    if start.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
        start.read(len(_BYTE_ORDER_MARK))
    yield from cut_lines(start, MOST_BATCH_ROWS)


def _text(record: bytes | None) -> str:
    return (record or b"").decode(errors="replace").rstrip("\r\n")


Run = tuple[Decoder, list[Found] | Block]


class _Reading:
    """How lines are read, one after another, or many at once where they are plain."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        self._decoder = decoder
        self._request = request
        self._plan: Plan | None = None
        self._like: bytes | None = None  # the record that the next plan is made from
        self._useless = 0  # records that no plan could read since one that could

    def runs(self, lines: RawLines) -> Iterator[Run]:
        """Yield what lines say in runs of one schema, each with what reads the records after it."""
        found: list[Found] = []
        reader: Reader | None = None
        is_plain, i = can_be_plain(lines), 0
        records: list[bytes | None] = []
        while i < len(lines):
            if self._like is not None and is_plain:
                before = self._plan
                self._make_plan(self._like)
                self._like = None
                if self._plan is not before:
                    reader = None
            if self._plan is not None and is_plain:
                reader = reader or self._plan.reader(lines)
                block = reader.read(i)
                if block is not None:
                    self._useless = 0
                    if found:
                        yield self._decoder, found
                        found = []
                    yield self._decoder, block
                    i += len(block)
                    continue
            records = records or lines.records()
            new = _read(self._decoder, records[i], self._request)
            if isinstance(new, Sample):
                if new.after.schema is not self._decoder.schema and found:
                    yield self._decoder, found
                    found = []
                self._decoder = new.after
                if is_plain:
                    self._like = records[i]  # for another record, which may never come
            found.append(new)
            i += 1
            if len(found) == BATCH_ROWS:
                yield self._decoder, found
                found = []
        if found:
            yield self._decoder, found

    def _make_plan(self, record: bytes) -> None:
        """Plan for records that are like this one, unless that was of no use several times."""
        self._plan = None
        if self._useless < _MOST_USELESS:
            self._plan = self._decoder.plan(record)
        self._useless += 1


def _read(decoder: Decoder, record: bytes | None, request: Request) -> Found:
    if record is None:
        return Rejected(f"the line is longer than {LONGEST_LINE // 2**20} MiB")
    found = decoder.decode(record)
    if found.offset is not None and request.replays.had(found.offset):
        return Replayed(found.offset, found.after if isinstance(found, Sample) else None)
    if (
        isinstance(found, Sample)
        and request.dtype != "float64"
        and np.fmax.reduce(np.abs(found.values), initial=0.0) > np.finfo(request.dtype).max
    ):
        return Rejected(too_large(request.dtype), found.offset)
    return found


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return what is to be told of a source, once a record could be read."""
    readers: list[Decoder] = []
    for decoder, found in runs:
        if isinstance(found, Block):
            readers.append(decoder)
        else:
            readers += [f.after for f in found if not isinstance(f, Rejected) and f.after]
    return readers[-1].describe() if readers else ()


def _batch(
    source: str,
    first_row: int,
    found: Sequence[Found] | Block,
    schema: Schema,
    raw: RawLines,
    notes: tuple[str, ...],
) -> Batch:
    if isinstance(found, Block):
        n = len(found)
        return Batch(
            source, first_row, n, np.arange(n), found.features, found.labels, found.weights, schema,
            notes=notes, missing=found.missing, indicators=found.indicators,
            kept=list(found.kept), raw=raw,
        )  # fmt: skip
    usable = {i: each for i, each in enumerate(found) if isinstance(each, Sample)}
    samples = list(usable.values())
    missing = np.array([s.n_nulls + np.count_nonzero(np.isnan(s.values)) for s in samples], np.intp)
    replayed = np.array([isinstance(each, Replayed) for each in found])
    return Batch(
        source=source,
        first_row=first_row,
        n_rows=len(found),
        rows=np.array(list(usable), np.intp),
        features=_features(samples),
        labels=[sample.label for sample in samples],
        weights=np.array([sample.weight for sample in samples], np.float64),
        schema=schema,
        rejected={
            i: each.why[:_LONGEST_REASON]
            for i, each in enumerate(found)
            if isinstance(each, Rejected)
        },
        offsets=tuple(each.offset for each in found) if any(f.offset for f in found) else (),
        replayed=replayed if replayed.any() else None,
        notes=notes,
        missing=missing if missing.any() else None,
        indicators=frozenset(chain.from_iterable(sample.indicators for sample in samples)),
        kept=[sample.kept for sample in samples if sample.kept],
        raw=raw,
    )


def _features(samples: Sequence[Sample]) -> Features:
    if not samples:
        return Dense((), np.zeros((0, 0)))
    names = samples[0].names
    if all(sample.names is names or sample.names == names for sample in samples):
        values = np.stack([sample.values for sample in samples])
        there = ~np.isnan(values)
        n_columns = len(names) if samples[0].are_columns else 0
        indicators = {name: i for i, name in enumerate(dict.fromkeys(
            chain.from_iterable(sample.indicators for sample in samples)
        ))}  # fmt: skip
        if indicators:
            names = (*names, *indicators)
            ones = np.zeros((len(samples), len(indicators)))
            for row, sample in zip(ones, samples, strict=True):
                row[[indicators[name] for name in sample.indicators]] = 1.0
            values, there = np.hstack([values, ones]), np.hstack([there, ones > 0])
        if there.all():
            return Dense(names, values, n_columns=n_columns)
        return Dense(names, np.where(there, values, 0.0), there, n_columns)
    return Sparse.from_rows(
        [(*sample.names, *sample.indicators) for sample in samples],
        [np.concatenate([s.values, np.ones(len(s.indicators))]) for s in samples],
    )
