"""What a run asks of its sources, and what it has found in them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stream_perceptron.data.labels import LABEL_TYPES, is_missing, label_type_of, typed_label
from stream_perceptron.errors import SampleError, SourceError

LABEL_NAMES = ("label", "class", "target", "y")

_PIXEL_COLUMNS = ("pixels", "pixel", "image")


@dataclass(frozen=True)
class Selection:
    """What was asked for; kept with the model."""

    # The label column; None for the only one of label, class, target and y that there is.
    label: str | None = None
    weight: str | None = None  # the column of sample weights, if any
    ignore: tuple[str, ...] = ()  # columns not to use
    # What features are multiplied by; None for 1/255 where they are 8-bit, else 1.
    scale: float | None = None
    # The columns that say where in its origin a row comes from: any that name a partition, and last
    # one whose whole numbers, the offsets, grow within the partition.
    position: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", float(self.scale))

    @property
    def roles(self) -> set[str]:
        """The columns that are no features, without the label."""
        return {*self.ignore, *self.position} | ({self.weight} if self.weight else set())

    def require_columns(self, names: Sequence[str], where: str) -> None:
        """Require that every column that was named is among these."""
        roles = [("label", self.label), ("weight", self.weight)]
        for role, wanted in [*roles, *(("position", name) for name in self.position)]:
            if wanted is not None and wanted not in names:
                raise SourceError(
                    f"{where}: there is no {role} column {wanted!r} among {names_in(names)}"
                )
        for name in self.ignore:
            if name not in names:
                raise SourceError(f"{where}: there is no column {name!r} to ignore")

    def label_among(self, names: Container[str], where: str) -> str | None:
        """Return which of these names is the label's, if any."""
        if self.label is not None:
            return self.label if self.label in names else None
        candidates = [name for name in LABEL_NAMES if name in names and name not in self.roles]
        if len(candidates) > 1:
            raise SourceError(
                f"{where}: columns {names_in(candidates)} could each be the label: choose with "
                "--label, and --ignore the others"
            )
        return candidates[0] if candidates else None


@dataclass(frozen=True)
class Schema:
    """What was found in the rows read so far; travels with every batch."""

    # The names of the features, once known; None where each row brings its own.
    features: tuple[str, ...] | None = None
    # int, str or bool, once known.
    label_type: str | None = field(default=None, metadata={"one_of": tuple(LABEL_TYPES)})
    # The keys that hold texts, which are left out, of rows that bring their own names; None before
    # the first such row.
    texts: tuple[str, ...] | None = None

    def with_features(self, features: tuple[str, ...], where: str) -> Schema:
        """Return the schema with these features; all sources have the same.

        Unless rows bring their own names; then features may be added at any time.
        """
        if self.texts is not None or self.features == features:
            return self
        if self.features is None:
            return replace(self, features=features)
        known, given = set(self.features), set(features)
        lacking = [name for name in self.features if name not in given]
        added = [name for name in features if name not in known]
        differences = [f"lacks {names_in(lacking)}"] if lacking else []
        differences += [f"adds {names_in(added)}"] if added else []
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
        >>> Schema().with_label("7", is_text=True)
        (7, Schema(features=None, label_type='int', texts=None))

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
        >>> Schema().with_classes(["7", "8"])
        ([7, 8], Schema(features=None, label_type='int', texts=None))
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


def vector_names(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for many numbers under one name: pixel0, pixel1.. or name0, name1...

    Examples
    --------
    >>> vector_names("pixels", 2), vector_names("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if name in _PIXEL_COLUMNS else name
    return tuple(f"{stem}{i}" for i in range(n_features))


def describe(
    selection: Selection,
    schema: Schema,
    features: Sequence[str],
    source: str,
    scales: Sequence[float],
    label: str | None,
    ignored: dict[str, str],
) -> tuple[str, ...]:
    """Say in a few lines what is used of a source and what is not."""
    title = f"{len(features):,} feature{'s' * (len(features) != 1)}"
    if schema.texts is not None and schema.features is None:
        title += " in the first row, others as they come"
    span = f"{features[0]} to {features[-1]}" if len(features) > 1 else "".join(features)
    lines = [f"{title}: {span}{source}, times {', '.join(map(_fraction, scales))}"]
    if label is None:
        lines.append(
            "no label: rows are only predicted, since no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    else:
        kind = f" ({schema.label_type})" if schema.label_type else ""
        lines.append(f"label: {label}{kind}")
    if selection.weight is not None:
        lines.append(f"sample weight: {selection.weight}")
    if selection.position:
        lines.append(f"position: {', '.join(selection.position)}")
    if ignored:
        shown = [f"{name} ({why})" for name, why in ignored.items()]
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        lines.append(f"ignored: {', '.join(shown[:5])}{more}")
    suspects = [name for name in features if looks_like_row_number(name)]
    if suspects:
        lines.append(
            f"warning: {names_in(suspects)} looks like a row number, which spoils learning: "
            "leave it out with --ignore"
        )
    return tuple(lines)


def _fraction(scale: float) -> str:
    return "1/255" if scale == 1 / 255 else f"{scale:g}"


def looks_like_row_number(name: str) -> bool:
    """Whether a column of this name most likely counts rows."""
    return name.lower() in ("id", "index") or name.lower().endswith("_id")


def names_in(names: Sequence[str], most: int = 5) -> str:
    """Return names in quotes for a message, the first few of them."""
    quoted = [repr(name) for name in names[:most]]
    return ", ".join(quoted) + (f" and {len(names) - most} more" if len(names) > most else "")
