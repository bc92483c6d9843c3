"""What a run asks of its sources, and what it has found in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any, NamedTuple

from stream_perceptron.data.labels import LABEL_TYPES, is_missing, label_type_of, typed_label
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.frozen import frozen

LABEL_NAMES = ("label", "class", "target", "y")

_PIXEL_COLUMNS = ("pixels", "pixel", "image")

# Of a column that counts rows, or says where they come from.
_ORIGIN = re.compile(r"(?i:id|index|.*[_ ]id|unnamed: \d+|__index_level_\d+__|)|.*[a-z0-9]I[dD]")

_MOST_NAMES = 5  # in one list of a message

# Texts by which people mean that there is no value.
LIKE_MISSING = frozenset(
    {"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing"}
)


@frozen(eq=True)
class Selection:
    """What was asked for; kept with the model.

    A column is named as it is called, whatever its case and the blanks around it, or by its place:
    counted from 1, and -1 is the last. A column of that very name wins.
    """

    # The label column; None for the only one of label, class, target and y that there is.
    label: str | None = None
    weight: str | None = None  # the column of sample weights, if any
    ignore: tuple[str, ...] = ()  # columns not to use
    # What features are multiplied by; None for 1/255 where they are 8-bit, else 1.
    scale: float | None = None
    # The columns that say where in its origin a row comes from: any that name a partition, and last
    # one whose whole numbers, the offsets, grow within the partition.
    position: tuple[str, ...] = ()
    standardize: bool = field(default=False, metadata={"optional": True})
    # The text columns that become a feature for each value, such as colour_red.
    one_hot: tuple[str, ...] = field(default=(), metadata={"optional": True})
    missing: tuple[str, ...] = field(default=(), metadata={"optional": True})  # what means no value
    # The columns to copy to the predictions; that is no matter of the model.
    keep: tuple[str, ...] = field(default=(), compare=False, metadata={"saved": False})

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", float(self.scale))  # as no field may be assigned

    @cached_property
    def roles(self) -> set[str]:
        """The columns that are no features, without the label."""
        return {*self.ignore, *self.position} | ({self.weight} if self.weight else set())

    @cached_property
    def blanks(self) -> frozenset[str]:
        """The texts that mean no value."""
        return frozenset({"", *self.missing})

    def named(self, schema: Schema) -> Selection:
        """Return what was asked for with the names of the columns that places meant.

        Places are those of the first source whose columns have names; in others they may differ.
        Keys of JSON have no places, but for the label's.
        """
        label = self.label and (schema.label or self.label)
        if not schema.columns or schema.is_open:
            return replace(self, label=label)
        columns = schema.columns

        def name_of(wanted: str) -> str:
            return column_called(wanted, columns) or wanted

        return replace(
            self,
            label=label,
            weight=self.weight and name_of(self.weight),
            ignore=tuple(map(name_of, self.ignore)),
            position=tuple(map(name_of, self.position)),
            one_hot=tuple(map(name_of, self.one_hot)),
        )

    def among(self, names: Sequence[str], where: str, to_learn: bool) -> Selection:
        """Return what was asked for with the names that columns have; the label is found.

        To predict, columns need not be there.

        Raises
        ------
        SourceError
            If a column that was named is not there, or several could be the label.

        """

        def find(role: str, wanted: str) -> str | None:
            found = column_called(wanted, names)
            if found is None and to_learn:
                raise SourceError(
                    f"{where}: there is no {role}column {wanted!r} among {names_in(names)}"
                )
            return found

        def find_all(role: str, wanted: Sequence[str]) -> tuple[str, ...]:
            found = [find(role, name) for name in wanted]
            return tuple(name for name in found if name is not None)

        asked = replace(
            self,
            weight=None if self.weight is None else find("weight ", self.weight),
            position=find_all("position ", self.position),
            ignore=find_all("", self.ignore),
            one_hot=find_all("text ", self.one_hot),
        )
        kept = {name: column_called(name, names) for name in self.keep}
        for name, found in kept.items():
            if found is None:
                raise SourceError(
                    f"{where}: there is no column {name!r} to keep among {names_in(names)}"
                )
        asked = replace(asked, keep=tuple(map(str, kept.values())))
        if self.label is not None:
            return replace(asked, label=find("label ", self.label))
        return replace(asked, label=asked.label_among(names, where))

    def label_among(self, names: Iterable[str], where: str) -> str | None:
        """Return which of these names is the label's by itself, if any."""
        roles = self.roles
        called = {name: name.strip().lower() for name in names if name not in roles}
        found = [name for name, text in called.items() if text in LABEL_NAMES]
        if len(found) > 1:
            found.sort(key=lambda name: LABEL_NAMES.index(called[name]))
            raise SourceError(
                f"{where}: columns {names_in(found)} could each be the label: choose with "
                "--label, and --ignore the others"
            )
        return found[0] if found else None


def column_called(wanted: str, names: Sequence[str]) -> str | None:
    """Return the column that a person means, None if there is no such one.

    Examples
    --------
    >>> names = ["Age", " Class", "2"]
    >>> [column_called(wanted, names) for wanted in ("class", "1", "-1", "2", "0", "x")]
    [' Class', 'Age', '2', '2', None, None]

    """
    if wanted in names:
        return wanted
    alike = [name for name in names if name.strip().lower() == wanted.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch("-?[1-9][0-9]{0,6}", wanted) and -len(names) <= int(wanted) <= len(names):
        place = int(wanted)
        return names[place - 1 if place > 0 else place]
    return None


@frozen(eq=True)
class Schema:
    """What was found in the rows read so far; travels with every batch."""

    # The names of the features, once known; None where each row brings its own.
    features: tuple[str, ...] | None = None
    # int, str or bool, once known.
    label_type: str | None = field(default=None, metadata={"one_of": tuple(LABEL_TYPES)})
    # The columns or keys that hold texts; of rows that bring their own names None before the first.
    texts: tuple[str, ...] | None = None
    # The columns of a table that have had no value yet, and may be anything.
    undecided: tuple[str, ...] = field(default=(), metadata={"optional": True})
    # All columns of the first source whose columns have names, in its order; rows without names
    # mean these.
    columns: tuple[str, ...] = field(default=(), metadata={"optional": True})
    # The column of the label among them; in JSON the key of the first label.
    label: str | None = field(default=None, metadata={"optional": True})
    # The key of JSON under which the features are: "" for the record itself, None if none was read.
    key: str | None = field(default=None, metadata={"optional": True})
    is_list: bool = field(default=False, metadata={"optional": True})  # whether they are a list

    @property
    def is_new(self) -> bool:
        """Whether no row was learned."""
        return self.features is None and self.texts is None

    @property
    def is_open(self) -> bool:
        """Whether rows bring names of their own, so that features may be added at any time."""
        return self.features is None and self.texts is not None

    def columns_of(self, n: int) -> tuple[str, ...] | None:
        """Return the columns that n values without names mean: all, or all but the label.

        None if no source had columns with names.

        Raises
        ------
        SampleError
            If there are not so many columns.

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
        """Return names of features in the order of their columns, others behind them.

        Examples
        --------
        >>> Schema(columns=("b", "label", "a")).in_order(["a", "b", "colour_red"])
        ['b', 'a', 'colour_red']

        """
        places = {name: place for place, name in enumerate(self.columns)}
        return sorted(names, key=lambda name: places.get(name, len(places)))

    def with_features(self, features: tuple[str, ...], where: str) -> Schema:
        """Return the schema with these features; all sources have the same.

        Unless rows bring their own names.
        """
        if self.is_open or self.features == features:
            return self
        if self.features is None:
            return replace(self, features=features)
        known, given = set(self.features), set(features)
        lacking = [name for name in self.features if name not in given]
        added = [name for name in features if name not in known]
        differences = [f"lacks {names_in(lacking)}"] if lacking else []
        differences += [f"adds {names_in(added)}"] if added else []
        if not differences:
            return self  # a model made in Python has an order of its own
        raise SourceError(
            f"{where}: its features are not those read before: it {' and '.join(differences)}"
        )

    def with_label_type(self, label_type: str, where: str) -> Schema:
        """Return the schema with labels of this type; all sources have the same."""
        if self.label_type == label_type:
            return self
        if self.label_type is None:
            return replace(self, label_type=label_type)
        raise SourceError(f"{where}: labels are of type {label_type}, but {self.label_type} so far")

    def with_label(self, value: Any, is_text: bool) -> tuple[Any, Schema]:
        """Return the label that a value stands for, None for none, and the schema with its type.

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
        """Return the labels that texts stand for, and the schema with their type.

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


def distinct(names: Sequence[str], selection: Selection, where: str) -> list[str]:
    """Return the names of columns, with another one for each that is there twice and not used.

    Examples
    --------
    >>> distinct(["a", "b", "a"], Selection(ignore=("3",)), "f.csv")
    ['a', 'b', 'a (column 3)']

    """
    found = list(names)
    if len(set(names)) == len(names):
        return found
    for place in selection.ignore:
        name = column_called(place, names)
        if name is not None and name != place and names.count(name) > 1:
            i = int(place) - 1 if int(place) > 0 else int(place) + len(names)
            found[i] = f"{name} (column {i + 1})"
    for name in found:
        if found.count(name) > 1:
            places = [i + 1 for i, other in enumerate(found) if other == name]
            raise SourceError(
                f"{where}: columns {places[0]} and {places[1]} are both called {name!r}: drop one "
                f"with --ignore {places[1]}"
            )
    return found


def vector_names(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for many numbers under one name: pixel0, pixel1.. or name0, name1...

    Examples
    --------
    >>> vector_names("pixels", 2), vector_names("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if name in _PIXEL_COLUMNS else name
    return tuple(f"{stem}{i}" for i in range(n_features))


class Described(NamedTuple):
    """What is used of a source, to be told."""

    features: Sequence[str]
    source: str = ""  # where in a row they are
    scales: Sequence[float] = (1.0,)
    label: str | None = None
    ignored: Mapping[str, str] = {}  # why columns are not used
    texts: Sequence[str] = ()  # the columns of texts, which are not used either
    origins: Sequence[str] = ()  # the columns that most likely tell where a row comes from
    hints: Sequence[str] = ()


def describe(selection: Selection, schema: Schema, found: Described) -> tuple[str, ...]:
    """Say in a few lines what is used of a source and what is not."""
    features = schema.in_order(found.features)
    title = f"{len(features):,} feature{'s' * (len(features) != 1)}"
    if schema.is_open:
        title += " in the first row, more as they appear"
    if features:
        title += f": {listed(features)}{found.source}"
        scales = ", ".join(map(_fraction, found.scales))
        if scales != "1":
            title += f", scaled by {scales}" + (" (8-bit)" if selection.scale is None else "")
        title += ", standardized" if selection.standardize else ""
    lines = [title]
    if selection.one_hot:
        lines.append(f"a feature for each value of {', '.join(selection.one_hot)}")
    if found.label is None:
        lines.append(
            "no label: rows are only predicted, as no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    else:
        kind = f" ({schema.label_type})" if schema.label_type else ""
        lines.append(f"label: {found.label}{kind}")
    if selection.weight is not None:
        lines.append(f"sample weight: {selection.weight}")
    if selection.position:
        lines.append(f"position: {', '.join(selection.position)}")
    if found.ignored:
        each = [f"{name} ({why})" for name, why in found.ignored.items()]
        more = f" and {len(each) - _MOST_NAMES} more" if len(each) > _MOST_NAMES else ""
        lines.append(f"ignored: {', '.join(each[:_MOST_NAMES])}{more}")
    if found.texts:
        lines.append(
            f"ignored (text): {listed(found.texts)}; to use them: "
            f"--one-hot {_as_option(found.texts)}"
        )
    suspects = [name for name in features if tells_origin(name) or name in found.origins]
    if suspects:
        lines.append(
            f"warning: {names_in(suspects)} looks like a row number, which spoils learning: "
            f"drop it with --ignore {_as_option(suspects)}"
        )
    return (*lines, *found.hints)


def listed(names: Sequence[str]) -> str:
    """Return names for a message: all if they are few, else the first, or the ends of a family.

    Examples
    --------
    >>> listed(["a", "b"]), listed([f"pixel{i}" for i in range(784)])
    ('a, b', 'pixel0 .. pixel783')
    >>> listed(["b", *(f"a{i}" for i in range(30))])
    'b, a0, a1, a2, a3 and 26 more'

    """
    if len(names) <= 2 * _MOST_NAMES:
        return ", ".join(names)
    stems = {name.rstrip("0123456789") for name in names}
    if len(stems) == 1 and all(name[-1:].isdigit() for name in names):
        return f"{names[0]} .. {names[-1]}"
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES:,} more"


def missing_hint(name: str, value: str) -> str:
    """Say how to name what means a missing value in a column."""
    return (
        f"hint: column {name!r} begins with {value!r}; if that means a missing value: "
        f"--missing {_as_option([value])}"
    )


def no_label(where: str, names: Sequence[str]) -> str:
    """Say that a table has no label column."""
    return (
        f"{where}: there is no label column: none of {names_in(names)} is called "
        f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label, or ask for "
        "predictions with -p"
    )


def _as_option(names: Sequence[str]) -> str:
    """Return names as a shell takes them for an option."""
    # A column without a name has a place; that of an index is the first.
    shown = ",".join(name or "1" for name in names[:_MOST_NAMES])
    return shown if re.fullmatch(r"[\w,.+@%:-]+", shown) else f"'{shown}'"


def _fraction(scale: float) -> str:
    return "1/255" if scale == 1 / 255 else f"{scale:g}"


def tells_origin(name: str) -> bool:
    """Whether a column of this name most likely tells where a row comes from, such as a row number.

    Examples
    --------
    >>> [tells_origin(name) for name in ("id", "ID", "userId", "user_id", "Unnamed: 0", "")]
    [True, True, True, True, True, True]
    >>> tells_origin("humid"), tells_origin("paid")
    (False, False)

    """
    return _ORIGIN.fullmatch(name) is not None


def names_in(names: Sequence[str], most: int = 5) -> str:
    """Return names in quotes for a message, the first few of them."""
    quoted = [repr(name) for name in names[:most]]
    return ", ".join(quoted) + (f" and {len(names) - most} more" if len(names) > most else "")
