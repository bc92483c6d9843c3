"""Sources of rows, of any format, and requests to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.byte_stream import ByteStream, is_stream, name_of, version_of
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import Schema, Selection

# The key under which our own files keep shape, classes and origin, as JSON.
METADATA_KEY = b"stream_perceptron"


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """The rows to read from a source, and how."""

    selection: Selection = field(default_factory=Selection)
    schema: Schema = field(default_factory=Schema)  # from the rows read before
    # Whether all columns asked for are required; predictions need no label column.
    to_learn: bool = True
    needs_label: bool = False  # whether a table without a label column is refused
    epoch: int = 0  # counted from 0
    start: int = 0  # the number of rows to skip
    # The identity of a text file up to `start`, or in a further pass up to where the first one was
    # when the run began; None if identities are not needed.
    known: Identity | None = None
    most_features: int = 2**22  # a row with more is rejected before its names are made
    # Whether rejected rows are held with all of their columns, not just those that are used.
    holds_rejected: bool = False
    redeliveries: Redeliveries | None = None  # detects redelivered rows; None for no detection
    # For a pipe, the number of rows read in earlier runs: its rows are numbered over all runs.
    rows_before: int | None = None
    # Called with the number of the next row when rows have arrived, and at multiples of
    # `renew_every`, once all rows before it have been learned or predicted. It returns a request
    # with another selection and schema, or None for no change.
    renew: Callable[[int], Request | None] | None = None
    renew_every: int = 1

    @property
    def first_row(self) -> int:
        """The number of the first row to be read, counted from 1."""
        return 1 + (self.start if self.rows_before is None else self.rows_before)

    @property
    def numbers_redelivered(self) -> bool:
        """Whether redelivered rows have numbers, as in `Batch`."""
        return self.rows_before is None

    def renewed(self, row: int) -> Request | None:
        """Return the request for the rows from this number on; None if it stays as it is."""
        new = None if self.renew is None else self.renew(row)
        if new is None:
            return None
        return replace(
            self,
            selection=new.selection,
            schema=new.schema,
            most_features=new.most_features,
            start=row - 1,
            rows_before=None if self.rows_before is None else row - 1,
        )

    def rows_until_renewal(self, row: int, n: int) -> int:
        """Return how many of n rows, the first with this number, may be read at once."""
        if self.renew is None:
            return n
        return min(n, self.renew_every - (row - 1) % self.renew_every)

    def after(self, schema: Schema) -> Request:
        """Return the request for the next source, after others led to this schema."""
        return replace(self, selection=roles.named(self.selection, schema), schema=schema)


class Fit(NamedTuple):
    """A source's fit to a request.

    Attributes
    ----------
    schema
        The schema after the source's first row.
    label, join
        The names of the label column and of the --join column; None if there is none.

    """

    schema: Schema
    label: str | None
    join: str | None = None


class Source(ABC):
    """A source of rows: a file, a pipe or a URI."""

    is_random = False  # whether its rows are drawn at random

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = name_of(path)
        self.is_stream = is_stream(path)
        self.version = version_of(path)

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
    def stream(self) -> ByteStream | None:
        """The bytes of a pipe whose rows are read as they arrive; None for other sources."""
        return None

    @abstractmethod
    def fit(self, request: Request) -> Fit | None:
        """Return how the source fits a request; None if it has no rows."""

    @abstractmethod
    def batches(self, request: Request) -> Iterator[Batch]:
        """Yield the rows in batches of a few thousand at most.

        A row that changes the schema begins a new batch. Rejected and redelivered rows change
        nothing.
        """

    @abstractmethod
    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        """Return the identities of this source, one for each file in it.

        A source that may grow returns the first of those `before` if it begins with those rows.
        """

    def whole(self) -> Identity:
        """Return the identity of the present content as a whole."""
        (identity,) = self.identities()
        return identity

    def has_grown(self, known: Identity) -> bool:
        """Whether there are rows after those that `known` covers."""
        return False


class SingleSource(Source):
    """A source in one file, pipe or URI."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._prepared: tuple[Any, Any] | None = None  # the last key and its result

    def fit(self, request: Request) -> Fit | None:
        prepared = self.prepared(request)
        return None if prepared is None else prepared.fit

    def prepared(self, request: Request) -> Any:
        """Return the reader for a request, made once; None if the source has no rows."""
        asked, numbers = request.selection, request.schema.numbers
        key = (
            asked, asked.keep, request.schema, len(numbers) and numbers, request.to_learn,
            request.needs_label, request.most_features,
        )  # fmt: skip
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, self._prepare(request)
        return self._prepared[1]

    @abstractmethod
    def _prepare(self, request: Request) -> Any:
        """Make the reader that `prepared` returns; its attribute `fit` is a `Fit`.

        Raises
        ------
        SourceError
            If the source lacks a column that was asked for.

        """
