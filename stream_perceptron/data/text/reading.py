"""Reading of records: plain ones many at once by the tokenizer, others one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from stream_perceptron.data.batch import BATCH_ROWS, Batch, Offset
from stream_perceptron.data.describe import Note, warning
from stream_perceptron.data.identity import TextPart
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.plan import PlainRecords, Plan
from stream_perceptron.data.text.records import LONGEST_LINE, RawLines, tokenizer
from stream_perceptron.data.text.sample import Decoder, Redelivered, Rejected, Sample, rows_of

_LONGEST_REASON = 300
_MOST_USELESS = 20
_MOST_TELLING = 100

_TOO_LONG = Rejected(f"the line is longer than {LONGEST_LINE // 2**20} MiB")

Found = Sample | Rejected | Redelivered
Run = tuple[Decoder, list[Found] | PlainRecords]


class Reading:
    """Reads lines, and keeps the decoder up to date with the schema."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        self._decoder, self._request = decoder, request
        self._plan: Plan | None = None
        # A record and the decoder after it, to make a plan from once another record comes.
        self._like: tuple[bytes, Decoder] | None = None
        # The records that changed the schema, and their samples.
        self._telling: list[tuple[bytes, Sample]] = []
        self._last: Decoder | None = None  # the decoder after the last readable record
        self._useless = 0  # plans made since one could read a record
        self._other_labels: set[str] = set()  # usual names of labels that are no label here
        self._warned: set[str] = set()  # those among them that a warning has named

    def runs(self, lines: RawLines) -> Iterator[Run]:
        """Yield the records of lines in runs of one schema, each with the decoder after it.

        Only learned rows change the schema: those with a label, unless rows are only predicted.
        """
        found: list[Found] = []
        records: list[bytes | None] = []
        is_plain, i = tokenizer is not None and not lines.are_too_long, 0
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
        """Return notes on the source, once a record could be read."""
        return () if self._last is None else self._last.describe(self._telling, first)

    def warnings(self) -> tuple[Note, ...]:
        """Return warnings about keys that have the usual name of a label, each once."""
        new = sorted(self._other_labels - self._warned)
        self._warned |= self._other_labels
        return tuple(
            warning(
                f"{name!r} is not read as the label, which is {self._decoder.label!r}: rename it, "
                f"or start over with --label {name}"
            )
            for name in new
        )

    def _block(self, lines: RawLines, first: int) -> PlainRecords | None:
        """Return the records from `first` on that a plan can read; None if it cannot read one."""
        if self._like is not None:
            self._make_plan(*self._like)
            self._like = None
        block = None if self._plan is None else self._plan.read(lines, first)
        if block is not None:
            self._useless = 0
            if block.new_names:
                self._other_labels.update(set(LABEL_NAMES).intersection(block.new_names))
                schema = self._decoder.schema
                numbers = schema.numbers.with_names(block.new_names)
                self._decoder = self._decoder.with_schema(replace(schema, numbers=numbers))
        return block

    def _make_plan(self, record: bytes, decoder: Decoder) -> None:
        """Make a plan for records like this one, unless several plans were useless."""
        self._useless += 1
        told, known = decoder.schema, self._decoder.schema
        is_tentative = self._request.to_learn and told != known
        # A record that is not learned does not decide for others which columns are texts.
        is_odd = is_tentative and (told.texts or ()) != (known.texts or ())
        is_tried = not is_odd and self._useless <= _MOST_USELESS
        layout = decoder.layout(record) if is_tried else None
        if layout is None:
            self._plan = None
        elif self._plan is None or not self._plan.extend(layout, told, is_tentative):
            self._plan = Plan(layout, decoder.selection, told, self._request.to_learn, is_tentative)

    def _read(self, record: bytes | None) -> Found:
        """Read a record; if it is learned, update the decoder."""
        request, decoder = self._request, self._decoder
        if record is None:
            return Redelivered(None) if self._is_redelivered(None) else _TOO_LONG
        new = decoder.decode(record)
        is_redelivered = self._is_redelivered(new.offset)
        if isinstance(new, Rejected):
            return Redelivered(new.offset) if is_redelivered else new._replace(record=record)
        after = decoder if new.schema is decoder.schema else decoder.with_schema(new.schema)
        if self._last is None or after.schema != self._last.schema:
            # Always keep the last one, which led to the present schema.
            self._telling = [*self._telling[: _MOST_TELLING - 1], (record, new)]
        self._last = after
        if new.other_label is not None:
            self._other_labels.add(new.other_label)
        if not is_redelivered:
            if request.to_learn and (new.label is not None or request.selection.join):
                self._decoder = after
                if after.schema != decoder.schema:
                    self._useless = 0
            self._like = record, after
        return Redelivered(new.offset) if is_redelivered else new

    def _is_redelivered(self, offset: Offset | None) -> bool:
        """Whether the next record is redelivered, given its offset (None if unreadable)."""
        redeliveries = self._request.redeliveries
        if redeliveries is None or not self._decoder.selection.position:
            return False
        return redeliveries.update(offset)


def make_batch(
    found: Sequence[Found] | PlainRecords,
    source: str,
    first_row: int,
    decoder: Decoder,
    request: Request,
    text: TextPart | None,
    notes: tuple[Note, ...],
) -> Batch:
    """Return records as a batch; `decoder` is the one after them."""
    schema = decoder.schema
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
    redelivered = np.array([isinstance(each, Redelivered) for each in found])
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
        offsets=tuple(each.offset for each in found) if decoder.selection.position else (),
        redelivered=redelivered if redelivered.any() else None,
        numbers_redelivered=request.numbers_redelivered,
        notes=notes,
        missing=missing if missing.any() else None,
        indicators=frozenset(chain.from_iterable(sample.indicators for sample in samples)),
        kept=[sample.kept for sample in samples if sample.kept],
        text=text,
    )
