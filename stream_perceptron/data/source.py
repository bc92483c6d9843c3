"""Sources of rows in any format, and the batches read from them."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import (
    MAX_BATCH_ROWS,
    Batch,
    Lines,
    build_empty_batch,
)
from stream_perceptron.data.input.bytes import (
    ByteInput,
    Interrupt,
    NoInterrupt,
    open_bytes,
)
from stream_perceptron.data.input.positions import FileContent, Span
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.meaning.columns import Columns
from stream_perceptron.data.meaning.occurrences import (
    find_numeric_columns,
    find_seen,
    find_string_columns,
    list_column_paths,
)
from stream_perceptron.data.naming import looks_like_row_id, suggest_similar_name
from stream_perceptron.data.notices import (
    FULL_MODEL,
    UNSEEN_LABEL,
    Notice,
    build_max_weights_warning,
    build_unknown_columns_warning,
    build_unused_columns_warning,
    build_warning,
    describe_columns,
)
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.model.rows import NOTHING_ADDED, AddedNames

_SMALL_BYTES = 2**16
_MAX_RECORDS_WITHOUT_LABEL = 1000  # before a warning
_MAX_PEEKED_ROWS = 100  # how many of the first rows to search for a usable one

# The metadata key under which this package stores shape, classes and origin as JSON in its files.
METADATA_KEY = b"stream_perceptron"


class BatchReader(Iterator[Batch | None]):
    """The rows of a source as batches, and None while a pipe is silent.

    Attributes
    ----------
    columns
        What the cells of the source mean.
    request
        The request for the rows.
    next_row
        The number of the next row, counted from 1.
    max_rows
        The maximum number of rows in the next batch.
    before_read
        Called when the next rows have arrived; it may call `change_request`.

    """

    def __init__(self, source: Source, request: ReadRequest, layout: Layout) -> None:
        self._source, self.request = source, request
        self.columns = Columns(layout, request, source.name)
        self.next_row, self.max_rows = request.position.rows + 1, MAX_BATCH_ROWS
        self._first_row = self.next_row  # that was read with the current columns
        self.before_read: Callable[[], None] = lambda: None
        is_resumed = request.position.rows > 0 and not source.is_stream
        self._is_described = self._has_checked_label = is_resumed
        self._has_reported_unknown = False
        # Only the caller owns this object: once it is dropped, the source is closed at once.
        self._batches = source.read_batches(weakref.proxy(self), request)

    def __next__(self) -> Batch | None:
        return next(self._batches)

    @property
    def source_name(self) -> str:
        """The name of the source, for messages."""
        return self._source.name

    def change_request(self, request: ReadRequest) -> None:
        """Read the next rows with the schema and the names in another request.

        Raises
        ------
        SourceError
            If the source does not fit the model.

        """
        self._set_columns(self._source.find_layout(request), request)

    def switch_to_lists(self) -> bool:
        """Read the next rows as lists if the next one has shown that rows are lists."""
        columns, request = self.columns, self.request
        layout = columns.lists.next_layout
        if layout is None:
            return False
        schema = columns.schema
        request = replace(
            request,
            schema=schema,
            names=columns.features.names,
            labels=columns.labels.names,
            string_columns=columns.features.string_columns,
            n_records=request.n_records + self.next_row - self._first_row,
        )
        self._set_columns(replace(layout, label=schema.label or layout.label), request)
        return True

    def _set_columns(self, layout: Layout, request: ReadRequest) -> None:
        columns = Columns(layout, request, self._source.name)
        self.columns.reader = None  # so that both are freed at once: they refer to each other
        self.columns, self.request, self._first_row = columns, request, self.next_row

    def build_notice_batch(self, text: str) -> Batch:
        """Return a batch without rows that carries a notice."""
        batch = build_empty_batch(self._source.name, self.next_row, self.columns.schema)
        batch.notices = (Notice(text),)
        return batch

    def build(
        self,
        records: Any,
        lines: Lines | None = None,
        span: Span | None = None,
        ends: NDArray[np.intp] | None = None,
    ) -> Batch:
        """Return a batch of the records of a block; in a text file, they end at `ends`."""
        columns, request = self.columns, self.request
        names, labels, kept = columns.features.names, columns.labels.names, columns.kept
        added_features = added_labels = NOTHING_ADDED
        if columns.learns:
            added_features = _build_added_names(records.feature_rows, names)
            added_labels = _build_added_names(records.label_rows, labels)
        batch = Batch(
            names, records.starts, records.feature_ids, records.values, records.labels,
            records.weights, records.status, added_features, added_labels,
            shape_before=(
                len(labels) - len(added_labels.names), len(names) - len(added_features.names)
            ),
            labels=labels,
            has_own_ids=request.has_own_ids,
            source=self._source.name,
            first_row=self.next_row,
            schema=columns.schema,
            rejected=records.reasons,
            lines=lines,
            offsets=tuple(kept.offsets) if columns.layout.read_options.position else (),
            n_missing=records.missing,
            passthrough=kept.passthrough if kept.passthrough_names else [],
            row_ends=ends,
            span=span,
            added_strings=tuple(columns.features.added_strings),
        )  # fmt: skip
        if request.unseen_columns:
            request.unseen_columns.difference_update(find_seen(columns, request.unseen_columns))
            request.seen_columns.update(list_column_paths(columns, batch))
        batch.notices = tuple(self._build_notices(batch))
        return self._number_rows(batch)

    def _number_rows(self, batch: Batch) -> Batch:
        batch.counts_redelivered_rows = not self._source.is_stream
        self.next_row = batch.row_number(len(batch))
        return batch

    def _build_notices(self, batch: Batch) -> Iterator[Notice]:
        """Yield notices about the source with its first usable rows, and warnings."""
        columns, described = self.columns, self.request.described
        if not self._is_described and len(batch.rejected) < len(batch):
            numbers, strings = find_numeric_columns(columns), find_string_columns(columns)
            layout = columns.layout
            # The first labeled record of JSON shows what it has.
            self._is_described = bool(numbers or strings or layout.columns)
            if self._is_described and layout.columns not in described:
                described.add(layout.columns)
                yield from describe_columns(
                    layout, columns.schema, numbers, strings, self._find_new_row_ids(numbers)
                )
                if columns.roles.unused_names:
                    yield build_unused_columns_warning(
                        list(columns.roles.unused_names), str(layout.key)
                    )
        for row, text in columns.notices:
            yield Notice(f"row {batch.row_number(row):,}: {text}")
        yield from self._describe_unseen_label(len(batch))
        if not self._has_checked_label:
            self._has_checked_label = True
            yield from self._describe_missing_label()
        if columns.reader.ignores_features and FULL_MODEL not in described:
            described.add(FULL_MODEL)
            yield build_max_weights_warning()
        if columns.roles.unknown_names and not self._has_reported_unknown:
            self._has_reported_unknown = True
            yield build_unknown_columns_warning(list(columns.roles.unknown_names))

    def _find_new_row_ids(self, columns: list[str]) -> list[str]:
        """Return the columns that seem to number the rows, and are new to the model."""
        features = set(self.request.names)
        return [name for name in columns if looks_like_row_id(name) and name not in features]

    def _describe_unseen_label(self, n: int) -> Iterator[Notice]:
        """Yield a warning if no row has the label that an option names, after the next n rows."""
        request, label = self.request, self.request.read_options.label
        n_records = request.n_records + self.next_row + n - self._first_row
        is_late = n_records >= _MAX_RECORDS_WITHOUT_LABEL and not request.read_options.has_join
        if label in request.unseen_columns and is_late and UNSEEN_LABEL not in request.described:
            request.described.add(UNSEEN_LABEL)
            hint = suggest_similar_name(str(label), [*request.seen_columns])
            yield build_warning(f"no row has {label!r} yet{hint}", UNSEEN_LABEL)

    def _describe_missing_label(self) -> Iterator[Notice]:
        """Yield a notice if a table lacks the label column, which other sources must then have."""
        label, layout = self.request.read_options.label, self.columns.layout
        is_missing = layout.read_options.has_join and layout.label is None
        if label is None or not is_missing or not layout.columns or not self.columns.learns:
            return
        text = f"there is no label column {label!r} in this source: labels come from other sources"
        hint = suggest_similar_name(label, layout.columns)
        yield build_warning(text + hint) if hint else Notice(text)


def _build_added_names(rows: list[int], names: Sequence[Hashable]) -> AddedNames:
    """Return the last names, given the row that has added each of them."""
    return AddedNames(np.array(rows, np.intp), names[len(names) - len(rows) :])


class Source(ABC):
    """A source of rows: a file, a pipe or a URI."""

    # The number of bytes of the last line, if it was left unread because it may be incomplete.
    n_unread_bytes = 0

    def __init__(self, stream: ByteInput) -> None:
        self.interrupt: Interrupt = NoInterrupt()
        self.path, self.name = stream.path, stream.name
        self.is_stream = stream.pipe is not None
        # Whether a file stays open while it is not being read; it does not if many are given.
        self.keeps_open = True
        self._bytes: ByteInput | None = stream  # None while the rows are read

    def open_input(self) -> ByteInput:
        """Return the bytes from which rows will be read; those of a file from the first one on."""
        if self._bytes is None:
            self._bytes = open_bytes(self.path)
        if not self.is_stream:
            self._bytes.rewind()
        return self._bytes

    def take_bytes(self) -> ByteInput:
        """Return the bytes of a file from the first one on, to read its rows."""
        stream, self._bytes = self.open_input(), None
        return stream

    def close_if_many_files(self) -> None:
        """Close the file until it is needed again, if many files are given."""
        if not (self.keeps_open or self.is_stream):
            self._close()

    def _close(self) -> None:
        self._bytes = None

    @property
    def content(self) -> FileContent:
        """The content of the file, to be compared with positions."""
        return FileContent(self.open_input())

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known before they are read."""
        return None

    @property
    def classes(self) -> list[object] | None:
        """The labels that the source declares, as the files written by `datasets` do."""
        return None

    @property
    def is_small_file(self) -> bool:
        """Whether this is a file that takes less time to read than a thread takes to start."""
        return os.path.isfile(self.path) and os.path.getsize(self.path) < _SMALL_BYTES

    @property
    def n_lost_bytes(self) -> int:
        """The number of bytes read from a text pipe before an interrupt that belong to no row."""
        return 0

    @property
    def stream(self) -> ByteInput | None:
        """The bytes of a pipe whose rows are read as they arrive; None for other sources."""
        return None

    @abstractmethod
    def find_layout(self, request: ReadRequest) -> Layout:
        """Return the layout of the rows.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column named in the read options.

        """

    @abstractmethod
    def read_batches(self, batches: BatchReader, request: ReadRequest) -> Iterator[Batch | None]:
        """Yield the requested rows, using the current `batches.columns` and `batches.max_rows`.

        None is yielded while a pipe is silent.
        """

    @abstractmethod
    def peek_batches(self, batches: BatchReader) -> Iterator[Batch | None]:
        """Yield the first rows, without consuming those of a pipe."""

    def batches(self, request: ReadRequest) -> BatchReader:
        """Return the requested rows as batches.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column named in the read options.

        """
        return BatchReader(self, request, self.find_layout(request))

    def peek_first_row(self, request: ReadRequest) -> tuple[Columns, dict[str, float]]:
        """Return what the first usable row with features has shown, and its numbers by name.

        If none of the first rows has features, there are no numbers.
        """
        request = replace(
            request, keeps_zeros=True, keeps_unlabeled=True, is_raw=False, described=set()
        )
        batches = self.batches(request)
        batches.max_rows = 1
        for batch in islice(self.peek_batches(batches), _MAX_PEEKED_ROWS):
            if batch is not None and len(batch.values):
                numbers = set(find_numeric_columns(batches.columns))
                row = next(batch.dicts())
                return batches.columns, {
                    str(name): value for name, value in row.items() if name in numbers
                }
        return batches.columns, {}


def is_any_interrupted(sources: Sequence[Source]) -> bool:
    """Whether an interrupt ends a run over these sources."""
    return any(source.interrupt.is_set for source in sources)
