"""Sources of rows in any format, and requests for their rows."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, InferredKnowledge, Redeliveries
from stream_perceptron.data.byte_stream import (
    ByteStream,
    Interrupt,
    NoInterrupt,
    get_display_name,
    is_stream,
)
from stream_perceptron.data.fingerprint import FileState, Fingerprint
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.context import BYTE_SCALE
from stream_perceptron.data.interpreter.record import Sample, are_pixels
from stream_perceptron.data.naming import is_pixel
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import SourceError
from stream_perceptron.model.vocabulary import Vocabulary

# The metadata key under which this package stores shape, classes and origin as JSON in its files.
METADATA_KEY = b"stream_perceptron"


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """The rows to read from a source, and how to read them."""

    read_options: ReadOptions = field(default_factory=ReadOptions)
    schema: Schema = field(default_factory=Schema)  # from the rows read earlier
    # The names of features, if rows name their own.
    names: Vocabulary = field(default_factory=Vocabulary)
    # Whether all columns in the read options are required; predictions need no label column.
    to_learn: bool = True
    needs_label: bool = False  # whether a table without a label column is rejected
    epoch: int = 0  # counted from 0
    start: int = 0  # the number of rows to skip
    offset: int = 0  # the byte offset of the first row to read in a text file; 0 if it is unknown
    # The fingerprint of a text file up to `start` or, in a further pass, up to the point that the
    # first pass had reached when the run began; None if fingerprints are not needed.
    known_fingerprint: Fingerprint | None = None
    max_features: int = 2**22  # a row with more features is rejected before names are created
    # Whether unused columns are read, too, so that rejected rows have all of their columns.
    reads_unused_columns: bool = False
    # The number of rows of a pipe read in earlier runs; its rows are numbered across runs.
    n_rows_before: int | None = None

    @property
    def first_row(self) -> int:
        """The number of the first row to be read, counted from 1."""
        return 1 + (self.start if self.n_rows_before is None else self.n_rows_before)

    @property
    def numbers_redelivered(self) -> bool:
        """Whether redelivered rows are numbered; see `Batch`."""
        return self.n_rows_before is None

    def after(self, schema: Schema) -> Request:
        """Return the request for the next source, given the schema after earlier sources."""
        return replace(
            self, read_options=roles.resolve_positions(self.read_options, schema), schema=schema
        )


@dataclass
class Knowledge:
    """The schema and the names inferred from the learned rows."""

    schema: Schema = field(default_factory=Schema)
    # The names of features, if rows name their own.
    names: Vocabulary = field(default_factory=Vocabulary)
    # For a new model, the names in options that have not yet occurred in a row, if rows name their
    # own cells.
    unseen: frozenset[str] = frozenset()

    def adopt(self, inferred: InferredKnowledge) -> None:
        """Add the knowledge inferred from rows, once they have been learned."""
        self.schema = inferred.schema
        if inferred.names:
            self.names.extend(inferred.names)
        self.unseen -= inferred.seen

    def is_feature(self, name: str) -> bool:
        """Whether a column or name is a feature."""
        return name in (self.schema.features or ()) or name in self.names.ids_by_name


class RawRows(ABC):
    """Consecutive rows of a source, before their interpretation."""

    epoch = 0  # counted from 0
    index = 0  # of the source in the epoch, counted from 0

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: slice) -> Self:
        """Return a slice of the rows."""
        start, end, _ = rows.indices(len(self))
        if end - start == len(self):
            return self
        part = self._slice(start, end)
        part.epoch, part.index = self.epoch, self.index
        return part

    @abstractmethod
    def _slice(self, start: int, end: int) -> Self:
        """Return a slice that does not include all rows."""


class Interpreter(ABC):
    """Interprets the rows of one source."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_described = request.start > 0

    def interpret(
        self,
        rows: Any,
        knowledge: Knowledge,
        first_row: int,
        redeliveries: Redeliveries | None = None,
    ) -> Batch:
        """Interpret rows as a batch, with notices if they are the first readable rows.

        Parameters
        ----------
        rows
            Rows of the source.
        knowledge
            The knowledge inferred from earlier rows; it is not changed.
        first_row
            The number of the first row, counted from 1.
        redeliveries
            The highest offset of each partition; None if redelivered rows are not detected.

        Raises
        ------
        SourceError
            If the rows do not fit the model.

        """
        # The knowledge before these rows, in case the first of them are interpreted again.
        schema, names, unseen = knowledge.schema, knowledge.names, knowledge.unseen
        fields: dict[str, object] = {
            "first_row": first_row,
            "numbers_redelivered": self._request.numbers_redelivered,
            "epoch": rows.epoch,
            "index": rows.index,
        }

        def interpret_first(n: int) -> Batch:
            knowledge_before = Knowledge(schema, names, unseen)
            return self._interpret(rows[:n], knowledge_before, redeliveries, fields)

        batch_fields = fields | {"interpret_first": interpret_first}
        batch = self._interpret(rows, knowledge, redeliveries, batch_fields)
        notices = self._build_warnings(batch)
        if not self._is_described and len(batch.rejected) < len(batch):
            source_notices = self._describe_source(rows, knowledge)
            self._is_described = bool(source_notices)
            notices = source_notices + notices
        if not notices:
            return batch
        fields["notices"] = notices  # even if only the first rows are used
        return replace(batch, notices=notices)

    @abstractmethod
    def _interpret(
        self,
        rows: Any,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, object],
    ) -> Batch:
        """Return rows as a batch with these fields; the result depends only on the arguments."""

    @abstractmethod
    def _describe_source(self, rows: Any, knowledge: Knowledge) -> tuple[Notice, ...]:
        """Return notices about the source, given its first rows, which include a readable one."""

    def _build_warnings(self, batch: Batch) -> tuple[Notice, ...]:
        """Return the warnings about a batch."""
        return ()


class Opening(NamedTuple):
    """The context and schema of a source before its rows are read."""

    context: Context  # of its rows
    schema: Schema  # as if its first usable row had been learned
    is_table: bool = False  # whether features have scales of their own, unlike pixels and lists
    has_pixels: bool = False  # whether all features are pixels from 0 to 255

    def scale_pixels(self, read_options: ReadOptions) -> ReadOptions:
        """Return the read options with pixels scaled by 1/255, unless a scale is given."""
        if not self.has_pixels or read_options.scale is not None:
            return read_options
        return replace(read_options, scale=BYTE_SCALE)


def build_opening(context: Context, schema: Schema, first: Sample | None) -> Opening:
    """Return the opening of a source, given its first usable row, if there is one."""
    numbers = (*(schema.features or ()), *schema.untyped)
    if schema.is_open and first is not None:
        numbers = tuple(map(str, first.names))
    if schema.is_list or context.has_pairs:
        is_table = False
    else:
        is_table = not numbers or not all(map(is_pixel, numbers))
    return Opening(context, schema, is_table, first is not None and are_pixels(first))


class Source(ABC):
    """A source of rows: a file, a pipe or a URI."""

    is_random = False  # whether its rows are drawn at random
    replaces_pipe = False  # whether it is a file with the rows of an earlier pipe

    def __init__(self, path: str) -> None:
        self.interrupt: Interrupt = NoInterrupt()
        self.path = path
        self.name = get_display_name(path)
        self.is_stream = is_stream(path)
        # The state of a local file when it was opened or, for text, when its rows were first read.
        self.state = None if self.is_stream else FileState.find(path)

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known before they are read."""
        return None

    @property
    def classes(self) -> list[object] | None:
        """The labels that the source declares, as the files written by `datasets` do."""
        return None

    @property
    def can_grow(self) -> bool:
        """Whether rows may be appended, because the fingerprint covers only the rows read."""
        return False

    @property
    def should_stop(self) -> bool:
        """Whether an interrupt ends the source at once, after any row.

        Rows of a file can be read again. A pipe ends after the last row that was read from it.
        """
        return self.interrupt.is_set and not self.is_stream

    @property
    def n_lost_bytes(self) -> int:
        """The number of bytes read from a text pipe before an interrupt but belonging to no row."""
        return 0

    @property
    def stream(self) -> ByteStream | None:
        """The bytes of a pipe whose rows are read as they arrive; None for other sources."""
        return None

    @abstractmethod
    def open(self, request: Request) -> Opening | None:
        """Return the context and schema before rows are read; None if the source has no rows.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column named in the read options.

        """

    @abstractmethod
    def rows(self, request: Request) -> Iterator[RawRows]:
        """Yield the rows, at most a few thousand at a time.

        They depend on the read options and the start in the request, not on its schema.
        """

    @abstractmethod
    def interpreter(self, request: Request) -> Interpreter:
        """Return an interpreter for the rows.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column named in the read options.

        """

    def forget_names(self) -> None:  # noqa: B027, most sources store no names
        """Forget the names that occur only in earlier rows, to bound memory use."""

    @abstractmethod
    def fingerprints(self) -> list[Fingerprint]:
        """Return the fingerprints of the whole content, one for each file in this source.

        Raises
        ------
        SourceError
            If a file was changed after it was opened.

        """

    def find_matching(self, fingerprints: Iterable[Fingerprint]) -> list[Fingerprint]:
        """Return the given fingerprints that match the content or its first rows, smallest first.

        The first rows are compared only if the source may grow.
        """
        own = self.fingerprints()
        return [fingerprint for fingerprint in fingerprints if [fingerprint] == own]

    def identify(self, size: int) -> tuple[Fingerprint, str]:
        """Return the fingerprint of the first `size` bytes of a source that may grow, and a digest.

        The digest is the SHA-256 of the first 4,096 bytes, or of fewer if `size` is smaller.
        """
        raise NotImplementedError

    def read_start(self) -> bytes:
        """Return the first 4,096 bytes of a source that may grow, or fewer if it is shorter."""
        raise NotImplementedError

    def ends_row_at(self, size: int) -> bool:
        """Whether a row ends after the first `size` bytes of a source that may grow."""
        raise NotImplementedError

    def is_shorter_than(self, size: int) -> bool:
        """Whether a source that may grow has fewer than `size` bytes."""
        raise NotImplementedError

    def end_pass(self, request: Request) -> None:  # noqa: B027, only text may change
        """End a pass over the rows."""

    def has_grown(self, known_fingerprint: Fingerprint) -> bool:
        """Whether there are rows after those that `known_fingerprint` covers."""
        return False

    def require_unchanged(self) -> None:
        """Check that a file is still the one that was opened.

        Raises
        ------
        SourceError
            If the file was changed or replaced.

        """
        if self.state is not None and self.state != FileState.find(self.path):
            raise SourceError(f"{self.name}: the file has changed since it was opened: try again")


def is_any_interrupted(sources: Sequence[Source]) -> bool:
    """Return whether an interrupt ends a run over these sources."""
    return any(source.interrupt.is_set for source in sources)


def read_batches(
    source: Source, request: Request, knowledge: Knowledge | None = None
) -> Iterator[Batch]:
    """Yield the rows of a source as batches, and update `knowledge` after each batch.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sum(map(len, read_batches(open_source(str(sample_path())), Request())))
    5000

    """
    if knowledge is None:
        knowledge = Knowledge(request.schema, copy.copy(request.names))
    interpreter, first_row = source.interpreter(request), request.first_row
    for rows in source.rows(request):
        batch = interpreter.interpret(rows, knowledge, first_row)
        yield batch
        knowledge.adopt(batch.inferred)
        first_row = batch.row_number(len(batch))
