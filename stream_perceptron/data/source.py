"""Sources of rows, of any format, and requests to them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, Inferred, Redeliveries
from stream_perceptron.data.byte_stream import (
    ByteStream,
    Interrupt,
    NoInterrupt,
    is_stream,
    name_of,
    version_of,
)
from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import FileState, Identity, PipeHeader
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SourceError
from stream_perceptron.model.vocabulary import Vocabulary

# The key under which our own files keep shape, classes and origin, as JSON.
METADATA_KEY = b"stream_perceptron"


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """The rows to read from a source, and how."""

    selection: Selection = field(default_factory=Selection)
    schema: Schema = field(default_factory=Schema)  # from the rows read before
    # The names of features, if rows name their own.
    names: Vocabulary = field(default_factory=Vocabulary)
    # Whether all columns asked for are required; predictions need no label column.
    to_learn: bool = True
    needs_label: bool = False  # whether a table without a label column is refused
    epoch: int = 0  # counted from 0
    start: int = 0  # the number of rows to skip
    offset: int = 0  # the bytes of a text file up to the end of these rows; 0 if they are not known
    # The identity of a text file up to `start`, or in a further pass up to where the first one was
    # when the run began; None if identities are not needed.
    known: Identity | None = None
    most_features: int = 2**22  # a row with more is rejected before its names are made
    # Whether rejected rows are held with all of their columns, not just those that are used.
    holds_rejected: bool = False
    # For a pipe, the number of rows read in earlier runs: its rows are numbered over all runs.
    rows_before: int | None = None

    @property
    def first_row(self) -> int:
        """The number of the first row to be read, counted from 1."""
        return 1 + (self.start if self.rows_before is None else self.rows_before)

    @property
    def numbers_redelivered(self) -> bool:
        """Whether redelivered rows have numbers, as in `Batch`."""
        return self.rows_before is None

    def after(self, schema: Schema) -> Request:
        """Return the request for the next source, after others led to this schema."""
        return replace(self, selection=roles.named(self.selection, schema), schema=schema)


@dataclass
class Knowledge:
    """What has been inferred from the learned rows."""

    schema: Schema = field(default_factory=Schema)
    # The names of features, if rows name their own.
    names: Vocabulary = field(default_factory=Vocabulary)
    # The names given in options that no row of a new model has had, if rows name their own cells.
    unseen: frozenset[str] = frozenset()

    def adopt(self, inferred: Inferred) -> None:
        """Add what rows infer, once they are learned."""
        self.schema = inferred.schema
        if inferred.names:
            self.names.extend(inferred.names)
        self.unseen -= inferred.seen

    def is_feature(self, name: str) -> bool:
        """Whether a column or name is a feature."""
        return name in (self.schema.features or ()) or name in self.names.numbers


class RawRows(ABC):
    """Consecutive rows of a source, before their interpretation."""

    epoch = 0  # counted from 0
    index = 0  # the source in the epoch, counted from 0

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
        """Return some but not all of the rows."""


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
        """Return rows as a batch, with notes if they are the first that can be read.

        Parameters
        ----------
        rows
            Rows of the source.
        knowledge
            What has been inferred from earlier rows; it does not change.
        first_row
            The number of the first row, counted from 1.
        redeliveries
            The highest offset of each partition; None if redelivered rows are not detected.

        Raises
        ------
        SourceError
            If the rows do not fit the model.

        """
        # As it is before these rows.
        knowledge = Knowledge(knowledge.schema, knowledge.names, knowledge.unseen)
        fields: dict[str, Any] = {
            "first_row": first_row,
            "numbers_redelivered": self._request.numbers_redelivered,
            "epoch": rows.epoch,
            "index": rows.index,
        }

        def interpret_first(n: int) -> Batch:
            return self._interpret(rows[:n], knowledge, redeliveries, fields)

        again = fields | {"interpret_first": interpret_first}
        batch = self._interpret(rows, knowledge, redeliveries, again)
        notes = self._warn(batch)
        if not self._is_described and len(batch.rejected) < len(batch):
            about_source = self._describe(rows, knowledge)
            self._is_described = bool(about_source)
            notes = about_source + notes
        if not notes:
            return batch
        fields["notes"] = notes  # also of the first rows alone
        return replace(batch, notes=notes)

    @abstractmethod
    def _interpret(
        self,
        rows: Any,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, Any],
    ) -> Batch:
        """Return rows as a batch with these fields; the result depends on the arguments alone."""

    @abstractmethod
    def _describe(self, rows: Any, knowledge: Knowledge) -> tuple[Note, ...]:
        """Return notes on the source, given the first rows of which one can be read."""

    def _warn(self, batch: Batch) -> tuple[Note, ...]:
        """Return warnings that a batch gives rise to."""
        return ()


class Opening(NamedTuple):
    """What a source shows before its rows are read."""

    context: Context  # of its rows
    schema: Schema  # after its first row that can be used, if it were learned


class Source(ABC):
    """A source of rows: a file, a pipe or a URI."""

    is_random = False  # whether its rows are drawn at random
    stands_for_pipe = False  # whether it is a file with the rows of a pipe that was read before
    header: PipeHeader | None = None  # of an anonymous pipe

    def __init__(self, path: str) -> None:
        self.interrupt: Interrupt = NoInterrupt()
        self.path = path
        self.name = name_of(path)
        self.is_stream = is_stream(path)
        self.version = version_of(path)
        # The state of a local file when it was opened or, for text, when its rows were first read.
        self.state = None if self.is_stream else FileState.find(path)

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known before they are read."""
        return None

    @property
    def classes(self) -> list[Any] | None:
        """The labels that the source declares, as the files written by `datasets` do."""
        return None

    @property
    def grows(self) -> bool:
        """Whether rows may be appended, because the identity covers only the rows read."""
        return False

    @property
    def ends_here(self) -> bool:
        """Whether an interrupt ends it between any two rows; a pipe ends after those it has read.

        Rows of a file can be read again.
        """
        return self.interrupt.is_set and not self.is_stream

    @property
    def n_lost_bytes(self) -> int:
        """The number of bytes read of a pipe of text before an interrupt that are in no row."""
        return 0

    @property
    def stream(self) -> ByteStream | None:
        """The bytes of a pipe whose rows are read as they arrive; None for other sources."""
        return None

    @abstractmethod
    def open(self, request: Request) -> Opening | None:
        """Return what the source shows before its rows are read; None if it has no rows.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column that was asked for.

        """

    @abstractmethod
    def rows(self, request: Request) -> Iterator[RawRows]:
        """Yield the rows, a few thousand at once at most.

        They depend on the selection and the start of the request, not on its schema.
        """

    @abstractmethod
    def interpreter(self, request: Request) -> Interpreter:
        """Return an interpreter of the rows.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a column that was asked for.

        """

    def forget_names(self) -> None:  # noqa: B027, most sources keep no names
        """Forget the names that only earlier rows have, to bound memory."""

    @abstractmethod
    def identities(self) -> list[Identity]:
        """Return the identities of the whole content, one for each file in this source.

        Raises
        ------
        SourceError
            If a file was changed after it was opened.

        """

    def matching(self, identities: Iterable[Identity]) -> list[Identity]:
        """Return the identities of this content, or of its first rows, in ascending order of size.

        Only a source that may grow compares its first rows.
        """
        own = self.identities()
        return [identity for identity in identities if [identity] == own]

    def identify(self, size: int) -> tuple[Identity, str]:
        """Return the identity of the first `size` bytes of a source that may grow, and their start.

        The start is the SHA-256 of the first 4,096 bytes, or of fewer if `size` is smaller.
        """
        raise NotImplementedError

    def read_start(self) -> bytes:
        """Return the first 4,096 bytes of a source that may grow, or fewer if it is shorter."""
        raise NotImplementedError

    def ends_row_at(self, size: int) -> bool:
        """Whether a row ends with the first `size` bytes of a source that may grow."""
        raise NotImplementedError

    def is_shorter_than(self, size: int) -> bool:
        """Whether a source that may grow has fewer than `size` bytes."""
        raise NotImplementedError

    def end_pass(self, request: Request) -> None:  # noqa: B027, only text may change
        """End a pass over the rows; check that a further one has read what the first one read.

        Raises
        ------
        SourceError
            If the content has changed.

        """

    def has_grown(self, known: Identity) -> bool:
        """Whether there are rows after those that `known` covers."""
        return False

    def require_unchanged(self) -> None:
        """Check that a file is still the one that was opened.

        Raises
        ------
        SourceError
            If it was changed, or another one has taken its place.

        """
        if self.state is not None and self.state != FileState.find(self.path):
            raise SourceError(f"{self.name}: it has changed since it was opened: run this again")


def are_interrupted(sources: Sequence[Source]) -> bool:
    """Return whether an interrupt ends a run over these sources."""
    return any(source.interrupt.is_set for source in sources)


def read_batches(
    source: Source, request: Request, knowledge: Knowledge | None = None
) -> Iterator[Batch]:
    """Yield the rows of a source as batches; `knowledge` adopts what each batch infers.

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
        first_row = batch.number(len(batch))
