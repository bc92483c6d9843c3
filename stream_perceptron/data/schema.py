"""The read options (`ReadOptions`), and what the learned rows have decided (`Schema`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stream_perceptron.data.naming import find_column, join_names_with_commas
from stream_perceptron.errors import SampleError, SourceError


@dataclass(frozen=True)
class ReadOptions:
    """The read options: how the user wants sources read. They are saved with the model.

    Columns are given by name, ignoring case and surrounding spaces; an exact name takes precedence.
    The label of a table may also be a position, counted from 1, or backward from -1.
    """

    # The label column; None for the only column named label, class, target or y.
    label: str | None = None
    weight: str | None = None  # the column of sample weights
    ignore: tuple[str, ...] = ()  # the columns that are not used
    # The factor by which features are scaled; None for 1/255 if they are pixels, else 1.
    scale: float | None = None
    # The columns with the offset of a row in its origin: any number of columns for the partition,
    # then the offset, an integer that increases within the partition.
    position: tuple[str, ...] = ()
    # Whether features are standardized; None to standardize those of tables and JSON objects.
    standardize: bool | None = None
    categorical: tuple[str, ...] = ()  # the columns whose cells are all categories
    missing: tuple[str, ...] = ()  # strings that mean null, besides the empty string
    # The delimiter of CSV; None for the most frequent of comma, tab, semicolon and |.
    delimiter: str | None = None
    # The decimal separator of numbers in CSV; None for a comma where semicolons delimit the cells,
    # else a point.
    decimal: str | None = None
    # The column with a sample's ID, if labels come later, in rows of their own.
    join: str | None = None
    # The maximum number of pending samples.
    max_pending: int = 100_000
    # The passthrough columns, which do not affect the model.
    keep: tuple[str, ...] = field(default=(), compare=False, metadata={"saved": False})
    # Whether the label column is required even for predictions.
    is_label_required: bool = field(default=False, compare=False, metadata={"saved": False})

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", float(self.scale))  # the class is frozen
        if self.max_pending < 1:
            raise ValueError(f"max_pending is {self.max_pending}: choose a whole number above 0")

    @property
    def columns_with_role(self) -> set[str]:
        """The ignored columns, and the position, weight and join columns."""
        return {*self.ignore, *self.position, *filter(None, (self.weight, self.join))}

    def join_names_with_commas(self, columns: Sequence[str]) -> ReadOptions:
        """Return the options after joining the parts of names of columns that have commas."""
        return replace(
            self,
            ignore=join_names_with_commas(self.ignore, columns),
            position=join_names_with_commas(self.position, columns),
            categorical=join_names_with_commas(self.categorical, columns),
            keep=join_names_with_commas(self.keep, columns),
        )

    def resolve_positions(self, schema: Schema) -> ReadOptions:
        """Return the options with positions replaced by the names of columns.

        Positions refer to the first source with named columns; other sources may order their
        columns differently. JSON keys have no positions.
        """
        label = self.label and (schema.label or self.label)
        if not schema.columns:
            return replace(self, label=label)

        def resolve_source_name(requested: str) -> str:
            return find_column(requested, schema.columns) or requested

        return replace(
            self,
            label=label,
            weight=self.weight and resolve_source_name(self.weight),
            join=self.join and resolve_source_name(self.join),
            ignore=tuple(map(resolve_source_name, self.ignore)),
            position=tuple(map(resolve_source_name, self.position)),
            categorical=tuple(map(resolve_source_name, self.categorical)),
        )

    @property
    def has_join(self) -> bool:
        """Whether labels may come later than their samples."""
        return self.join is not None

    @property
    def passthrough(self) -> tuple[str, ...]:
        """The columns whose contents are copied with each row, the join column last."""
        return self.keep if self.join is None else (*self.keep, self.join)

    @property
    def null_values(self) -> frozenset[str]:
        """The strings that mean null, including the empty string."""
        return frozenset({"", *self.missing})


@dataclass(frozen=True)
class Schema:
    """What the learned rows have decided about the label, the columns and the features."""

    # The names of the elements of the list that holds the features, or the features that a model
    # learned in Python without an encoder; () if names are in the rows.
    element_names: tuple[str, ...] = ()
    # int, str or bool, once known.
    label_type: str | None = None
    # All columns of the first source with named columns, in order. Rows without column
    # names have the same columns.
    columns: tuple[str, ...] = ()
    # The label column; in JSON, the key of the first label.
    label: str | None = None
    # Whether rows are lists of numbers; None before the first learned row that can be a list.
    is_list: bool | None = None
    list_key: str | None = None  # the column or key of these lists
    # The columns that later sources have in addition.
    later_columns: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether no row has been learned yet."""
        return not (self.columns or self.element_names) and self.is_list is None

    def get_columns_of_unnamed_values(self, n_values: int) -> tuple[str, ...]:
        """Return the columns of n unnamed values: all columns, or all but the label.

        Raises
        ------
        SampleError
            If n is not the number of columns, with or without the label.

        """
        unlabeled = tuple(name for name in self.columns if name != self.label)
        for columns in (self.columns, unlabeled):
            if n_values == len(columns):
                return columns
        expected = f"{len(self.columns):,} column{'s' * (len(self.columns) != 1)}"
        if self.label is not None:
            expected += f", or {len(unlabeled):,} without the label {self.label!r}"
        raise SampleError(
            f"it has {n_values:,} value{'s' * (n_values != 1)} without names, but the model has "
            f"{expected}",
            code="list_length",
        )

    def with_label_type(self, label_type: str, source_name: str) -> Schema:
        """Return the schema with this label type; all sources must have the same type."""
        if self.label_type == label_type:
            return self
        if self.label_type is None:
            return replace(self, label_type=label_type)
        raise SourceError(
            f"{source_name}: labels are of type {label_type}, but earlier labels are of type "
            f"{self.label_type}"
        )
