"""Selection, what a run asks of its sources, and Schema, what it has found in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_perceptron.data.labels import LABEL_TYPES, is_missing, label_type_of, typed_label
from stream_perceptron.data.lazy import lazy_property
from stream_perceptron.data.naming import is_pixel, names_in
from stream_perceptron.data.values import DECIMAL_COMMA
from stream_perceptron.errors import SampleError, SourceError

MAX_PENDING = 10**12  # samples
ENCODINGS = ("one_hot", "dates", "words")  # the fields with columns that are encoded as features


class Encoding(NamedTuple):
    """How the contents of a column become features."""

    option: str  # one of `ENCODINGS`
    column: str


@dataclass(frozen=True)
class Selection:
    """The columns asked for, and how to read them; saved with the model.

    Columns are given by name (any case, blanks around it ignored) or by position: from 1, or -1 for
    the last. An exact name wins.
    """

    # The label column; None for the only one named label, class, target or y.
    label: str | None = None
    weight: str | None = None  # the column of sample weights
    ignore: tuple[str, ...] = ()  # columns not to use
    # The factor of features; None for 1/255 if they are 8-bit, else 1.
    scale: float | None = None
    # The columns of a row's place in its origin: any number for the partition, then the offset, an
    # integer that grows within the partition.
    position: tuple[str, ...] = ()
    standardize: bool = field(default=False, metadata={"optional": True})
    # Text columns to turn into a feature for each value, such as colour_red.
    one_hot: tuple[str, ...] = field(default=(), metadata={"optional": True})
    # Columns of dates to turn into features, and of texts whose words are counted.
    dates: tuple[str, ...] = field(default=(), metadata={"optional": True})
    words: tuple[str, ...] = field(default=(), metadata={"optional": True})
    missing: tuple[str, ...] = field(default=(), metadata={"optional": True})  # missing values
    # The delimiter of CSV; None for the most frequent of comma, tab and semicolon.
    delimiter: str | None = field(default=None, metadata={"optional": True})
    # The decimal mark of numbers in CSV.
    decimal: str = field(default=".", metadata={"optional": True, "one_of": (".", ",")})
    # The column with a sample's ID, if labels come later, in rows of their own.
    join: str | None = field(default=None, metadata={"optional": True})
    # How many samples may wait for their labels.
    max_pending: int = field(
        default=100_000, metadata={"optional": True, "least": 1, "below": MAX_PENDING + 1}
    )
    # The columns to copy to the predictions; they do not concern the model.
    keep: tuple[str, ...] = field(default=(), compare=False, metadata={"saved": False})
    # Whether the label column is required even to predict.
    is_label_sure: bool = field(default=False, compare=False, metadata={"saved": False})

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", float(self.scale))  # the class is frozen
        if not 0 < self.max_pending <= MAX_PENDING:
            raise ValueError(f"max_pending is {self.max_pending}, not from 1 to {MAX_PENDING:,}")

    @property
    def factor(self) -> float | None:
        """The factor of features read from text; None for 1."""
        return None if self.scale == 1.0 else self.scale

    @lazy_property
    def roles(self) -> set[str]:
        """The columns that are not features, the label aside."""
        return {*self.ignore, *self.position, *filter(None, (self.weight, self.join))}

    @property
    def named(self) -> tuple[str, ...]:
        """The names that options other than that of the label give to columns."""
        weight = () if self.weight is None else (self.weight,)
        encoded = (encoding.column for encoding in self.encodings)
        names = *encoded, *self.ignore, *weight, *self.position, *self.keep
        return tuple(dict.fromkeys(names))

    @lazy_property
    def encodings(self) -> tuple[Encoding, ...]:
        """The columns that are encoded as features."""
        return tuple(
            Encoding(option, column) for option in ENCODINGS for column in getattr(self, option)
        )

    @lazy_property
    def encoded(self) -> frozenset[str]:
        """The names of the columns that are encoded as features."""
        return frozenset(encoding.column for encoding in self.encodings)

    def with_point(self, content: Any, is_text: bool) -> Any:
        """Return the content of a cell, a decimal comma in a text replaced by a point."""
        if self.decimal == "." or not (is_text and isinstance(content, str)):
            return content
        return content.replace(",", ".") if DECIMAL_COMMA.fullmatch(content) else content

    @property
    def joins(self) -> bool:
        """Whether labels may come later than their samples."""
        return self.join is not None

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns whose values are kept with each row; that of `join` is the last."""
        return self.keep if self.join is None else (*self.keep, self.join)

    @lazy_property
    def blanks(self) -> frozenset[str]:
        """The texts that mean a missing value."""
        return frozenset({"", *self.missing})


@dataclass(frozen=True)
class Schema:
    """The column types and roles found in the learned rows.

    Rows are columns of a table, or name their own features, as JSON objects and LIBSVM do.
    """

    # The names of a table's features, once known; None if rows name their own.
    features: tuple[str, ...] | None = None
    # int, str or bool, once known.
    label_type: str | None = field(default=None, metadata={"one_of": tuple(LABEL_TYPES)})
    # The columns or keys with texts; None before the first row if rows name their own.
    texts: tuple[str, ...] | None = None
    # The columns of a table without a value so far; their type is open.
    undecided: tuple[str, ...] = field(default=(), metadata={"optional": True})
    # All columns of the first source with named ones, in its order; rows without names have these.
    columns: tuple[str, ...] = field(default=(), metadata={"optional": True})
    # The label column among them; in JSON the key of the first label.
    label: str | None = field(default=None, metadata={"optional": True})
    # The JSON key that holds the features: "" for the record itself, None before the first record.
    key: str | None = field(default=None, metadata={"optional": True})
    is_list: bool = field(default=False, metadata={"optional": True})  # whether they are a list

    @property
    def is_new(self) -> bool:
        """Whether no row is learned yet."""
        return self.features is None and self.texts is None

    @property
    def is_table(self) -> bool:
        """Whether features are columns of numbers with scales of their own, unlike pixels."""
        if self.features is None or self.is_list:
            return False
        return not all(map(is_pixel, (*self.features, *self.undecided))) or not self.features

    @property
    def is_open(self) -> bool:
        """Whether rows name their own features, so that new ones may come at any time."""
        return self.features is None and self.texts is not None

    def columns_of(self, n: int) -> tuple[str, ...] | None:
        """Return the columns of n values without names: all, or all but the label.

        None if no source had named columns.

        Raises
        ------
        SampleError
            If n is neither number of columns.

        """
        if not self.columns:
            return None
        others = tuple(name for name in self.columns if name != self.label)
        for columns in (self.columns, others):
            if n == len(columns):
                return columns
        wanted = f"{len(self.columns):,}"
        if self.label is not None:
            wanted += f", or {len(others):,} without the label {self.label!r}"
        raise SampleError(
            f"it has {n:,} values without names, but the model's columns are {wanted}"
        )

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Return feature names in the order of their columns, others after them.

        Examples
        --------
        >>> Schema(columns=("b", "label", "a")).in_order(["a", "b", "colour_red"])
        ['b', 'a', 'colour_red']

        """
        places = {name: place for place, name in enumerate(self.columns)}
        return sorted(names, key=lambda name: places.get(name, len(places)))

    def difference(self, features: tuple[str, ...]) -> str:
        """Return how features differ from the known ones, as text; empty if they do not."""
        known, given = set(self.features or ()), set(features)
        lacking = [name for name in self.features or () if name not in given]
        added = [name for name in features if name not in known]
        differences = [f"lacks {names_in(lacking)}"] if lacking else []
        differences += [f"adds {names_in(added)}"] if added else []
        if not differences:
            return ""
        return f"its features are not those read before: it {' and '.join(differences)}"

    def with_decided(self, features: tuple[str, ...], texts: Iterable[str]) -> Schema:
        """Return the schema after columns were found to be features or texts."""
        decided = {*features, *texts}
        return replace(
            self,
            features=features,
            undecided=tuple(name for name in self.undecided if name not in decided),
        )

    def with_label_type(self, label_type: str, where: str) -> Schema:
        """Return the schema with this label type; all sources must have the same."""
        if self.label_type == label_type:
            return self
        if self.label_type is None:
            return replace(self, label_type=label_type)
        raise SourceError(f"{where}: labels are of type {label_type}, but {self.label_type} so far")

    def with_label(self, value: Any, is_text: bool) -> tuple[Any, Schema]:
        """Return the label for a value, None if it is missing, and the schema with its type.

        Examples
        --------
        >>> label, schema = Schema().with_label("7", is_text=True)
        >>> label, schema.label_type
        (7, 'int')

        """
        if is_missing(value, is_text):
            return None, self
        label_type = self.label_type or label_type_of(value, is_text)
        try:
            label = typed_label(value, label_type, is_text)
        except ValueError as error:
            raise SampleError(f"label {error}") from None
        return label, self if self.label_type else replace(self, label_type=label_type)

    def with_classes(self, texts: Sequence[str]) -> tuple[list[Any], Schema]:
        """Return the labels for texts, and the schema with their type.

        Examples
        --------
        >>> labels, schema = Schema().with_classes(["7", "8"])
        >>> labels, schema.label_type
        ([7, 8], 'int')
        >>> Schema(label_type="str").with_classes(["7", "8"])[0]
        ['7', '8']

        """
        schema = self
        if schema.label_type is None:
            kinds = {label_type_of(text, is_text=True) for text in texts}
            schema = replace(self, label_type=kinds.pop() if len(kinds) == 1 else "str")
        assert schema.label_type is not None
        try:
            return [typed_label(text, schema.label_type, is_text=True) for text in texts], schema
        except ValueError as error:
            raise ValueError(f"class {error}") from None
