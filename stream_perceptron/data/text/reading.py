"""Reading of records: known names many at once, others one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from stream_perceptron.data.batch import BATCH_ROWS, Batch, Offset
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.describe import Note, warning
from stream_perceptron.data.identity import TextPart
from stream_perceptron.data.interpreter import interpret_record
from stream_perceptron.data.source import Request
from stream_perceptron.data.steady import Block, NameRoles, interpret_block
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.sample import Decoder, Redelivered, Rejected, Sample, rows_of

_LONGEST_REASON = 300
_MOST_TELLING = 100
_MAX_WAIT = 256  # records interpreted one by one before another attempt to take many at once

Found = Sample | Rejected | Redelivered
Run = tuple[Decoder, list[Found] | Block]


class Reading:
    """Reads lines, and keeps the decoder up to date with the schema."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        self._decoder, self._request = decoder, request
        self._scanner = decoder.scanner()
        self._names = NameRoles()
        # The records that changed the schema, and their samples.
        self._telling: list[tuple[bytes, Sample]] = []
        self._last: Decoder | None = None  # the decoder after the last readable record
        self._other_labels: set[str] = set()  # usual names of labels that are no label here
        self._warned: set[str] = set()  # those among them that a warning has named
        self._wait = 1

    def runs(self, lines: RawLines) -> Iterator[Run]:
        """Yield the records of lines in runs of one schema, each with the decoder after it.

        Only learned rows change the schema: those with a label, unless rows are only predicted.
        """
        cells = self._scanner.scan(lines)
        found: list[Found] = []
        records: list[bytes | None] = []
        block: Block | None = None
        is_current, n_single, i = False, self._wait, 0
        while i < len(lines):
            # Notes on the source need a record that is interpreted by itself.
            can_take_many = self._last is not None
            if can_take_many and not is_current and n_single >= self._wait:
                block = interpret_block(self._decoder.context, cells, self._names)
                is_current, n_single = True, 0
                is_useless = block is None or bool(block.is_odd[i])
                self._wait = min(2 * self._wait, _MAX_WAIT) if is_useless else 1
            if is_current and block is not None and not block.is_odd[i]:
                odd = np.flatnonzero(block.is_odd[i:])
                end = i + int(odd[0]) if len(odd) else len(lines)
                if found:
                    yield self._decoder, found
                    found = []
                part = block[i:end]
                self._learn_names(part)
                yield self._decoder, part
                i = end
                continue
            records = records or lines.records()
            before, new = self._decoder, self._read(records[i], cells, i)
            n_single += 1
            is_current &= self._decoder is before
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

    def _learn_names(self, block: Block) -> None:
        """Add the names of features that are learned for the first time to the schema."""
        self._other_labels |= block.other_labels
        context = self._decoder.context
        if not (context.learns and context.schema.is_open) or block.features.name_ids is None:
            return
        joins = context.selection.joins
        labeled = np.array([joins or label is not None for label in block.labels], bool)
        new = self._names.learn(block.features, labeled) if context.columns is None else []
        if not joins:
            ones = {
                name
                for names in block.one_hot
                for name, is_labeled in zip(names, labeled.tolist(), strict=True)
                if name is not None and is_labeled
            }
            new += sorted(name for name in ones if name not in context.schema.numbers)
        if new:
            numbers = context.schema.numbers.with_names(new)
            self._decoder = self._decoder.with_schema(replace(context.schema, numbers=numbers))

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

    def _read(self, record: bytes | None, cells: Cells, i: int) -> Found:
        """Read a record; if it is learned, update the decoder."""
        request, decoder = self._request, self._decoder
        new = interpret_record(decoder.context, cells, i)
        is_redelivered = self._is_redelivered(new.offset)
        if isinstance(new, Rejected):
            return Redelivered(new.offset) if is_redelivered else new._replace(record=record or b"")
        assert record is not None
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
        return Redelivered(new.offset) if is_redelivered else new

    def _is_redelivered(self, offset: Offset | None) -> bool:
        """Whether the next record is redelivered, given its offset (None if unreadable)."""
        redeliveries = self._request.redeliveries
        if redeliveries is None or not self._decoder.selection.position:
            return False
        return redeliveries.update(offset)


def make_batch(
    found: Sequence[Found] | Block,
    source: str,
    first_row: int,
    decoder: Decoder,
    request: Request,
    text: TextPart | None,
    notes: tuple[Note, ...],
) -> Batch:
    """Return records as a batch; `decoder` is the one after them."""
    schema = decoder.schema
    if isinstance(found, Block):
        n = len(found)
        names = list(chain.from_iterable(found.one_hot))
        features = found.features
        if any(name is not None for name in names):
            features = features.with_one_hot(np.tile(np.arange(n), len(found.one_hot)), names)
        missing = found.missing
        return Batch(
            source, first_row, n, np.arange(n), features.without_unused_names(), found.labels,
            found.weights, schema, notes=notes, missing=missing if missing.any() else None,
            indicators=frozenset(names) - {None}, kept=found.kept, text=text,
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
