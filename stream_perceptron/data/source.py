"""What a source of rows is, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, Replays
from stream_perceptron.data.byte_stream import ByteStream, is_stream, name_of, version_of
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SourceError

# Where our own files keep shape, classes and origin, as JSON.
METADATA_KEY = b"stream_perceptron"


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """What is to be read, and from where on."""

    selection: Selection = field(default_factory=Selection)  # what to take
    schema: Schema = field(default_factory=Schema)  # what is known already
    # Whether all columns that were named must be there; to predict, labels need not be.
    to_learn: bool = True
    needs_label: bool = False  # whether a table without a label column is refused
    epoch: int = 0  # the pass, from 0
    start: int = 0  # the number of rows to leave out
    # What told a text file up to there; None if nobody asks by what it is told after each row.
    known: Identity | None = None
    dtype: str = "float64"  # what features must fit
    most_features: int = 2**22  # a row with more is rejected before its names are made
    replays: Replays = field(default_factory=lambda: Replays(None))  # tells which rows came before

    def after(self, schema: Schema) -> Request:
        """Return what to ask of a source behind others that led to this schema."""
        return replace(self, selection=roles.named(self.selection, schema), schema=schema)


class Fit(NamedTuple):
    """How a source fits a request: the schema that its columns lead to, and its label column."""

    schema: Schema
    label: str | None


class Source(ABC):
    """Where rows come from."""

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
        """The labels that it declares, if it is one of the files that `datasets` writes."""
        return None

    @property
    def grows(self) -> bool:
        """Whether it is told by what was read of it, so that rows may be added."""
        return False

    @property
    def stream(self) -> ByteStream | None:
        """The bytes of a pipe from which rows are taken as they come; None for other sources."""
        return None

    @abstractmethod
    def fit(self, request: Request) -> Fit | None:
        """Say how the source fits; None if it has no rows."""

    @abstractmethod
    def batches(self, request: Request) -> Iterator[Batch]:
        """Yield the rows in batches of a few thousand at most.

        A batch never spans a change of schema: the row that changes it begins a new one. A row that
        is rejected or replayed changes nothing.
        """

    @abstractmethod
    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        """Return what tells this source from others.

        That is the first of those `before` where that is of its beginning, if it may grow.
        """

    def whole(self) -> Identity:
        """Return what tells all that it holds now."""
        (identity,) = self.identities()
        return identity

    def has_grown(self, known: Identity) -> bool:
        """Whether there are rows behind those that were read when this told it."""
        return False

    def require_unchanged(self) -> None:
        """Require that the object behind a URI is the one that was opened.

        Raises
        ------
        SourceError
            If it was replaced meanwhile.

        """
        if version_of(self.path) != self.version:
            raise SourceError(
                f"{self.name}: was replaced while it was read, so that rows of both may have been "
                "learned; start over with --overwrite"
            )


class SingleSource(Source):
    """A source that is read from one place."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._prepared: tuple[Any, Any] | None = None  # what was asked for last, and what it gave

    def fit(self, request: Request) -> Fit | None:
        prepared = self.prepared(request)
        return None if prepared is None else prepared.fit

    def prepared(self, request: Request) -> Any:
        """Return what reads the rows that a request asks for, made once; None if there are none."""
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
        """Return what `prepared` does; it has a `Fit`.

        Raises
        ------
        SourceError
            If the source does not hold what is asked for.

        """
