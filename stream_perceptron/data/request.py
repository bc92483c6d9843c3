"""Requests for the rows of a source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.model.defaults import MAX_WEIGHTS
from stream_perceptron.model.weights import WEIGHTS_PER_NAME

_START = FilePosition("")


@dataclass(frozen=True, eq=False, repr=False)
class ReadRequest:
    """The rows to read from a source, and how to read them."""

    read_options: ReadOptions = field(default_factory=ReadOptions)
    schema: Schema = field(default_factory=Schema)  # from the rows read earlier
    names: Sequence[str] = ()  # the features that the model knows, by number
    labels: Sequence[object] = ()  # its labels, by number
    # Whether rows are not learned as they are read, so that the model has other numbers.
    has_own_ids: bool = False
    # The columns that have had strings, each with the number of features that these have added.
    string_columns: Mapping[str, int] = field(default_factory=dict)
    # For a new model, the names in options that have not yet occurred in a row, if rows name their
    # own cells; those that occur are removed.
    unseen_columns: set[str] = field(default_factory=set)
    # The columns and paths that rows have had while some of these had not occurred.
    seen_columns: set[str] = field(default_factory=set)
    # Whether all columns in the read options are required; predictions need no label column.
    to_learn: bool = True
    needs_label: bool = False  # whether a table without a label column is rejected
    n_records: int = 0  # the records that the model has read before
    # Whether the last record of a file is left unread if it may be incomplete: a quote is open, or
    # it has no newline and cannot be read.
    leaves_incomplete_record: bool = False
    # What notices have described: the columns of a source, or a kind of cell in a column.
    described: set[Hashable] = field(default_factory=set)
    position: FilePosition = _START  # where the rows to read begin
    max_weights: int = MAX_WEIGHTS  # of the model; further new features are ignored
    keeps_zeros: bool = False  # whether features that are zero are among the values of a row
    # Whether the cells of tables and JSON objects are passed on as they are, without encoding them.
    is_raw: bool = False
    keeps_unlabeled: bool = False  # whether unlabeled rows add features, too
    # The highest offset of each partition so far; None if redelivered rows are not detected.
    redeliveries: Redeliveries | None = None

    @property
    def max_list_elements(self) -> int:
        """A list of more numbers is rejected before names are created."""
        return self.max_weights // WEIGHTS_PER_NAME

    def with_schema(self, schema: Schema) -> ReadRequest:
        """Return the request for the next source, given the schema after earlier sources."""
        return replace(
            self, read_options=self.read_options.resolve_positions(schema), schema=schema
        )
