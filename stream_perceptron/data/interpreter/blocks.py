"""Interpretation of blocks of records: many at once where possible, otherwise one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import (
    Batch,
    InferredKnowledge,
    MissingValues,
    Offset,
    concatenate_missing,
)
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.interpreter.block_reader import InterpretedBlock
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.name_roles import NameRoles
from stream_perceptron.data.interpreter.record import RejectedRecord, Sample, interpret_record
from stream_perceptron.data.interpreter.vectorized import interpret_block
from stream_perceptron.model.rows import Rows, concatenate_rows

_MAX_REASON = 300  # characters
_MAX_DECIDING_RECORDS = 100  # the maximum number of deciding records to keep
_MIN_CELLS = 40  # with fewer cells in total, interpreting records one by one is faster
_MAX_BACKOFF = 256  # the maximum number of single records before trying many at once again


class Interpretation:
    """The interpretation of a block of records, in order.

    Attributes
    ----------
    context
        The context of the next record: that of the block, plus the knowledge inferred so far.
    deciding_records
        The first usable record and the records that changed the schema, as indices and samples.
    other_labels
        The default label names that occur but are not the label.
    unknown_names
        The names of ignored numbers, which a model trained on a table does not know.

    Examples
    --------
    >>> from stream_perceptron.data.text.scanning import CsvScanner
    >>> from stream_perceptron.data.schema import ReadOptions
    >>> context = Context(ReadOptions(label="y"), is_text=True, columns=("a", "y"))
    >>> cells = CsvScanner(["a", "y"]).scan_records([b"1,up", b"x,up", b"2,down"])
    >>> batch = Interpretation(context, cells).build_batch()
    >>> batch.labels, list(batch.features.dicts())
    (['up', 'down'], [{'a': 1.0}, {'a': 2.0}])
    >>> batch.rejected
    {1: "column 'a' is 'x', not a number; to treat it as missing:\\n  --missing x"}

    """

    def __init__(self, context: Context, cells: Cells, names: NameRoles | None = None) -> None:
        if context.redeliveries is not None:
            context = replace(context, redeliveries=context.redeliveries.copy())
        self.context = context
        self._new_names: dict[str, None] = {}
        self.deciding_records: list[tuple[int, Sample]] = []
        self.other_labels: set[str] = set()
        self.unknown_names: dict[str, None] = {}
        self.cells, self._names = cells, NameRoles() if names is None else names
        self._n = len(cells)
        self._samples: dict[int, Sample] = {}
        self._rejected: dict[int, str] = {}
        self._redelivered = np.zeros(self._n, bool)
        self._offsets: list[Offset | None] = []
        # Blocks, each with the index of its first record, and a mask of its accepted records.
        self._blocks: list[tuple[InterpretedBlock, int, NDArray[np.bool_]]] = []
        self._interpret()

    def _interpret(self) -> None:
        """Interpret all records, in blocks where possible and otherwise one by one."""
        block: InterpretedBlock | None = None
        members = self.cells.members
        n_cells = len(self.cells.kinds) + (0 if members is None else len(members.kinds))
        has_many_cells = n_cells >= _MIN_CELLS
        is_current, backoff, n_single, first, i = False, 0, 0, 0, 0
        while i < self._n:
            if has_many_cells and not is_current and n_single >= backoff:
                block, first = interpret_block(self.context, self.cells[i:], self._names), i
                is_current, n_single = True, 0
                if block is not None:
                    self._blocks.append((block, first, np.zeros(len(block), bool)))
                is_useless = block is None or bool(block.is_deferred[0])
                backoff = min(2 * backoff or 1, _MAX_BACKOFF) if is_useless else 0
            if is_current and block is not None and not block.is_deferred[i - first]:
                deferred = np.flatnonzero(block.is_deferred[i - first :])
                end = i + int(deferred[0]) if len(deferred) else self._n
                self._accept_records(block, slice(i - first, end - first))
                i = end
                continue
            n_single += 1
            if self._interpret_one(i):
                is_current = False
            i += 1

    def _accept_records(self, block: InterpretedBlock, records: slice) -> None:
        """Accept records of a block, and add the names of their features."""
        is_accepted, first = self._blocks[-1][2], self._blocks[-1][1]
        is_accepted[records] = True
        self.other_labels |= block.other_labels
        self.unknown_names |= dict.fromkeys(sorted(block.unknown_names))
        context = self.context
        if block.offsets:
            redelivered = [self._add_offset(offset) for offset in block.offsets[records]]
            is_accepted[records] = ~np.array(redelivered, bool)
            self._redelivered[first + records.start : first + records.stop] = redelivered
        if not (context.learns and context.schema.is_open):
            return
        has_join = context.read_options.has_join
        is_learned = (block.is_labeled[records] | has_join) & is_accepted[records]
        new: dict[str, None] = {}
        if context.columns is None:
            new = dict.fromkeys(self._names.find_new_features(block.features[records], is_learned))
        if not has_join and len(block.encoded.values):
            encoded = block.encoded[records][np.flatnonzero(is_learned)].find_used_names()
            new |= dict.fromkeys(
                name for name in map(str, encoded) if not context.is_known_feature(name)
            )
        self._add_names(new)

    def _add_offset(self, offset: Offset | None) -> bool:
        """Add the offset of the next record; return whether the record is redelivered."""
        self._offsets.append(offset)
        redeliveries = self.context.redeliveries
        return redeliveries is not None and redeliveries.update(offset)

    def _add_names(self, names: dict[str, None]) -> None:
        """Add names of features that are not yet known."""
        if names:
            self._new_names = self._new_names | names if self._new_names else names
            # A new object, because properties that a context caches depend on the names.
            self.context = replace(self.context, new_names=self._new_names)

    def _interpret_one(self, i: int) -> bool:
        """Interpret a record; return whether it has changed the schema."""
        context = self.context
        record = interpret_record(context, self.cells, i)
        is_redelivered = bool(context.read_options.position) and self._add_offset(record.offset)
        self._redelivered[i] = is_redelivered
        if isinstance(record, RejectedRecord):
            if not is_redelivered:
                self._rejected[i] = record.reason[:_MAX_REASON]
            return False
        last = self.deciding_records[-1][1].schema if self.deciding_records else None
        if record.schema is not last and record.schema != last:
            # Always keep the last one, which led to the current schema.
            self.deciding_records = [
                *self.deciding_records[: _MAX_DECIDING_RECORDS - 1],
                (i, record),
            ]
        if record.other_label is not None:
            self.other_labels.add(record.other_label)
        self.unknown_names |= dict.fromkeys(record.unknown_names)
        if is_redelivered:
            return False
        self._samples[i] = record
        options = context.read_options
        if not context.learns or (record.label is None and not options.has_join):
            return False
        self._add_names({n: None for n in record.number_names if not context.is_known_feature(n)})
        if record.schema is context.schema or record.schema == context.schema:
            return False
        self.context = replace(self.context, schema=record.schema)
        return True

    def find_deciding_records(self) -> list[tuple[int, Sample]]:
        """Return the records that have changed the schema, or else the first usable record."""
        if not self.deciding_records:
            for i in range(self._n):
                record = interpret_record(self.context, self.cells, i)
                if isinstance(record, Sample):
                    return [(i, record)]
        return self.deciding_records

    def build_batch(self, **fields: Any) -> Batch:
        """Return the records as a batch with further fields; by default, the first row is row 1."""
        parts = [
            _select_usable(block, first, is_accepted)
            for block, first, is_accepted in self._blocks
            if is_accepted.any()
        ]
        if self._samples:
            parts.append(_collect_samples(self._samples))
        part = parts[0] if len(parts) == 1 else _merge_usable(parts)
        fields = {"source": "", "first_row": 1, **fields}
        return Batch(
            n_rows=self._n,
            rows=part.rows,
            features=part.features.without_unused_names(),
            labels=part.labels,
            weights=part.weights,
            inferred=InferredKnowledge(self.context.schema, tuple(self._new_names)),
            rejected=self._rejected,
            offsets=tuple(self._offsets),
            redelivered=self._redelivered if self._offsets and self._redelivered.any() else None,
            missing=part.missing if part.missing.any else None,
            passthrough=list(part.passthrough) if self.context.read_options.passthrough else [],
            **fields,
        )


class _UsableRecords(NamedTuple):
    """Usable records of a block, or those that were interpreted one by one."""

    rows: NDArray[np.intp]  # their indices, ascending
    features: Rows
    labels: list[object]
    weights: NDArray[np.float64]
    missing: MissingValues
    passthrough: Sequence[tuple[object, ...]]


def _select_usable(
    block: InterpretedBlock, first: int, is_accepted: NDArray[np.bool_]
) -> _UsableRecords:
    """Return the accepted records of a block; `first` is the index of its first record."""
    rows, features = np.flatnonzero(is_accepted), block.features
    if len(block.encoded.values):
        features = features.merge_features(block.encoded)
    if len(rows) == len(block):
        return _UsableRecords(
            first + rows,
            features,
            block.labels,
            block.weights,
            block.missing,
            block.passthrough,
        )
    accepted_rows = rows.tolist()
    return _UsableRecords(
        first + rows,
        features[rows],
        [block.labels[i] for i in accepted_rows],
        block.weights[rows],
        block.missing[rows],
        [block.passthrough[i] for i in accepted_rows] if block.passthrough else (),
    )


def _collect_samples(samples: dict[int, Sample]) -> _UsableRecords:
    """Collect samples, which are keyed by the indices of their records."""
    records = list(samples.values())
    return _UsableRecords(
        np.array(list(samples), np.intp),
        _build_rows(records),
        [record.label for record in records],
        np.array([record.weight for record in records], np.float64),
        _count_missing(records),
        [record.passthrough for record in records],
    )


def _merge_usable(parts: Sequence[_UsableRecords]) -> _UsableRecords:
    """Merge usable records, in the order of their rows."""
    none = np.array([], np.intp)
    if not parts:
        missing = MissingValues(none)
        return _UsableRecords(none, Rows.empty(0), [], np.array([]), missing, ())
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    labels = list(chain.from_iterable(part.labels for part in parts))
    passthrough = list(chain.from_iterable(part.passthrough for part in parts))
    return _UsableRecords(
        rows[order],
        concatenate_rows([part.features for part in parts])[order],
        [labels[i] for i in order.tolist()],
        np.concatenate([part.weights for part in parts])[order],
        concatenate_missing([part.missing for part in parts])[order],
        [passthrough[i] for i in order.tolist()] if len(passthrough) == len(rows) else (),
    )


def interpret(context: Context, cells: Cells, names: NameRoles | None = None) -> Batch:
    """Return records as a batch; `names` keeps the roles of names across the blocks of a source.

    The result depends on the context and the cells alone.
    """
    return Interpretation(context, cells, names).build_batch()


def _build_rows(samples: Sequence[Sample]) -> Rows:
    """Return the features of samples as rows."""
    first, scale = samples[0], samples[0].scale
    if len(samples) == 1 and scale == 1.0 and not (first.n_nan or first.encoded):
        return Rows(first.names, np.array([0, len(first.values)]), None, first.values)
    are_bytes = all(s.values.dtype == np.uint8 and s.scale == scale for s in samples)
    numbers = [sample.values for sample in samples]
    if not are_bytes:
        numbers, scale = [np.multiply(s.values, s.scale, dtype=np.float64) for s in samples], 1.0
    if len(samples) == 1 and not first.n_nan:
        rows = Rows(first.names, np.array([0, len(first.values)]), None, numbers[0], scale)
    elif all(sample.names is first.names or sample.names == first.names for sample in samples):
        values = np.stack(numbers)
        rows = Rows.from_table(first.names, values, None if are_bytes else ~np.isnan(values), scale)
    else:
        masks = [~np.isnan(values) for values in numbers]
        rows = Rows.from_rows(
            [tuple(compress(s.names, mask)) for s, mask in zip(samples, masks, strict=True)],
            [values[mask] for values, mask in zip(numbers, masks, strict=True)],
        )
        if are_bytes:
            rows = replace(rows, values=np.concatenate(numbers), scale=scale)
    return rows.merge_features(Rows.from_dicts([sample.encoded for sample in samples]))


def _count_missing(samples: Sequence[Sample]) -> MissingValues:
    """Return the missing values of samples."""
    counts = np.array([sample.n_nulls + sample.n_nan for sample in samples], np.intp)
    if not any(sample.untyped for sample in samples):
        return MissingValues(counts)
    untyped = Rows.from_dicts([dict.fromkeys(sample.untyped, 1.0) for sample in samples])
    return MissingValues(counts, untyped)
