"""What a run takes from its sources: features, label, sample weight and position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.checkpoint.codec import Fields
from stream_perceptron.data.batch import Place, Rows, place_of
from stream_perceptron.data.columns import (
    PlainColumns,
    VectorColumn,
    is_number,
    is_vector,
    names_in,
    numbers,
    shown,
)
from stream_perceptron.data.labels import LABEL_TYPES, label_type_of, typed_label
from stream_perceptron.errors import SourceError
from stream_perceptron.model.vocabulary import natural_order

__all__ = ["LABEL_NAMES", "Layout", "Schema", "described", "looks_like_row_number"]


LABEL_NAMES = ("label", "class", "target", "y")


@dataclass
class Schema:
    """What a run takes from its sources; fixed by the first of them and kept with the model.

    Parameters
    ----------
    label
        The label column; None for the only one of label, class, target and y that there is.
    weight
        The column of sample weights, if any.
    ignore
        Columns not to use.
    scale
        What features are multiplied by; None for 1/255 where they are 8-bit, else 1.
    position
        The columns that say where in its origin a row comes from: any that name a part, such as a
        partition, and last one whose whole numbers grow within the part, such as an offset.
    features
        The names of the features, once known; None where each row brings its own.
    label_type
        int, str or bool, once known.
    texts
        The keys that hold texts, which are left out, of rows that bring their own names; None
        before the first.

    """

    label: str | None = None
    weight: str | None = None
    ignore: tuple[str, ...] = ()
    scale: float | None = None
    position: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    label_type: str | None = None
    texts: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, value: Any) -> Schema:
        """Return the schema whose fields these are.

        Raises
        ------
        CheckpointError
            If it does not hold together.

        """
        fields = Fields(value, "schema")
        optional = (str, type(None))

        def strings(names: Any) -> bool:
            return names is None or all(isinstance(name, str) for name in names)

        features = fields.take("features", list, type(None), check=strings)
        texts = fields.take("texts", list, type(None), check=strings)
        schema = cls(
            label=fields.take("label", *optional),
            weight=fields.take("weight", *optional),
            ignore=tuple(fields.take("ignore", list, check=strings)),
            scale=fields.take("scale", float, type(None)),
            position=tuple(fields.take("position", list, check=strings)),
            features=None if features is None else tuple(features),
            label_type=fields.take(
                "label_type", *optional, check=lambda name: name in (None, *LABEL_TYPES)
            ),
            texts=None if texts is None else tuple(texts),
        )
        fields.finish()
        return schema

    @property
    def roles(self) -> set[str]:
        """The columns that are no features, without the label."""
        return {*self.ignore, *self.position} | ({self.weight} if self.weight else set())

    def layout(
        self, columns: pa.Schema, where: str, to_learn: bool = True, is_text: bool = False
    ) -> Layout:
        """Say how a source with these columns is read.

        Parameters
        ----------
        columns
            The source's Arrow schema.
        where
            The source's name, for errors.
        to_learn
            Whether all columns that were named must be there.
        is_text
            Whether labels are texts that may stand for numbers or bools.

        Raises
        ------
        SourceError
            If a named column is absent, the label is not clear, there are no features, or the
            source does not fit those read before.

        """
        names = columns.names
        roles = [("label", self.label), ("weight", self.weight)]
        roles += [("position", name) for name in self.position]
        for role, wanted in roles:
            if to_learn and wanted is not None and wanted not in names:
                raise SourceError(
                    f"{where}: there is no {role} column {wanted!r} among {names_in(names)}"
                )
        for name in self.ignore:
            if to_learn and name not in names:
                raise SourceError(f"{where}: there is no column {name!r} to ignore")
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SourceError(f"{where}: two columns are called {twice[0]!r}")
        label = self.label_among(names, where)
        if label is not None and not is_text:
            self._fix_label_type(columns.field(label).type, label, where)
        free = {
            column.name: column.type
            for column in columns
            if column.name != label and column.name not in self.roles
        }
        features = self._feature_columns(free, where)
        ignored = {
            name: str(kind) for name, kind in free.items() if name not in features.columns
        } | dict.fromkeys(self.ignore, "as asked")
        if isinstance(features, PlainColumns):
            self.fix_features(features.columns, where)
        return Layout(self, where, label, features, ignored, is_text)

    def classes_of(self, texts: Sequence[str]) -> list[Any]:
        """Return the labels that texts stand for; they say of which type labels are, if need be.

        Raises
        ------
        ValueError
            If one does not stand for a label.

        Examples
        --------
        >>> Schema().classes_of(["7", "8"]), Schema(label_type="str").classes_of(["7", "8"])
        ([7, 8], ['7', '8'])

        """
        if self.label_type is None:
            kinds = {label_type_of(text, is_text=True) for text in texts}
            self.label_type = kinds.pop() if len(kinds) == 1 else "str"
        try:
            return [typed_label(text, self.label_type, is_text=True) for text in texts]
        except ValueError as error:
            raise ValueError(f"class {error}") from None

    def labels_of(
        self, values: list[Any], is_text: bool, bad: dict[int, str], until_bad: bool = False
    ) -> list[Any]:
        """Return the labels that the values of a batch stand for.

        The first fixes their type, if it is not known. A row with a value that does not fit is
        named in `bad`. With `until_bad` what comes after the first bad row is not looked at.
        """
        plain = LABEL_TYPES[self.label_type][0] if self.label_type else None
        is_typed = not is_text or (plain is str and "" not in values)
        if is_typed and not bad and set(map(type, values)) == {plain}:
            return values
        labels: list[Any] = [None] * len(values)
        known: dict[Any, Any] = {}
        for i, value in enumerate(values):
            if i in bad:
                if until_bad:
                    break
                continue
            # NaN differs from itself.
            if value is None or value != value or (is_text and value == ""):
                continue
            kind = type(value), value
            if kind not in known:
                if self.label_type is None:
                    self.label_type = label_type_of(value, is_text)
                try:
                    known[kind] = typed_label(value, self.label_type, is_text)
                except ValueError as error:
                    bad[i] = f"label {error}"
                    if until_bad:
                        break
                    continue
            labels[i] = known[kind]
        return labels

    def fix_features(self, features: tuple[str, ...], where: str) -> None:
        """Take the features of the first source, and require them of all others.

        Unless rows bring their own names; then features may be added at any time.
        """
        if self.texts is not None:
            return
        if self.features is None:
            self.features = features
        if self.features == features:
            return
        known, given = set(self.features), set(features)
        lacking = [name for name in self.features if name not in given]
        added = [name for name in features if name not in known]
        differences = [f"lacks {names_in(lacking)}"] if lacking else []
        differences += [f"adds {names_in(added)}"] if added else []
        raise SourceError(
            f"{where}: its features are not those read before: it {' and '.join(differences)}"
        )

    def _feature_columns(
        self, free: dict[str, pa.DataType], where: str
    ) -> PlainColumns | VectorColumn:
        vectors = [name for name, kind in free.items() if is_vector(kind)]
        if len(vectors) > 1:
            raise SourceError(
                f"{where}: columns {names_in(vectors)} could each be the features: drop all but "
                "one with --ignore"
            )
        if vectors:
            return VectorColumn(vectors[0], free[vectors[0]], self.scale)
        plain = [name for name, kind in free.items() if is_number(kind)]
        if not plain:
            columns = [f"{name!r} ({kind})" for name, kind in free.items()]
            raise SourceError(
                f"{where}: no usable features{' among ' if columns else ''}{', '.join(columns[:5])}"
                ": they are number or bool columns, or one column of lists, bytes or images"
            )
        return PlainColumns(
            {str(name): free[str(name)] for name in natural_order(plain)}, self.scale
        )

    def label_among(self, names: Container[str], where: str) -> str | None:
        """Return which of these names is the label's, if any.

        Raises
        ------
        SourceError
            If there are several.

        """
        if self.label is not None:
            return self.label if self.label in names else None
        candidates = [name for name in LABEL_NAMES if name in names and name not in self.roles]
        if len(candidates) > 1:
            raise SourceError(
                f"{where}: columns {names_in(candidates)} could each be the label: choose with "
                "--label, and --ignore the others"
            )
        return candidates[0] if candidates else None

    def _fix_label_type(self, kind: pa.DataType, label: str, where: str) -> None:
        value = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_integer(value) or types.is_floating(value) or types.is_null(value):
            label_type = "int"
        elif types.is_boolean(value):
            label_type = "bool"
        elif types.is_string(value) or types.is_large_string(value) or types.is_string_view(value):
            label_type = "str"
        else:
            raise SourceError(
                f"{where}: label column {label!r} is of type {kind}: labels are whole numbers, "
                "strings or bools"
            )
        if self.label_type not in (None, label_type):
            raise SourceError(
                f"{where}: labels are of type {label_type}, but {self.label_type} so far"
            )
        self.label_type = label_type


@dataclass
class Layout:
    """How the columns of one source are read; made by `Schema.layout`."""

    schema: Schema
    where: str
    label: str | None
    features: PlainColumns | VectorColumn
    ignored: dict[str, str]
    is_text: bool

    def rows(self, batch: pa.RecordBatch, until_bad: bool = False) -> Rows:
        """Return the rows of a batch as arrays.

        Parameters
        ----------
        batch
            Some rows of the source.
        until_bad
            Whether rows behind the first bad one are of no interest.

        Raises
        ------
        SourceError
            If the features are not those read before, or pictures need Pillow and it is absent.

        """
        bad: dict[int, str] = {}
        known = self.schema.features
        X = self.features.read(batch, None if known is None else len(known), bad)
        if X.shape[1]:
            self.schema.fix_features(self.features.feature_names(X.shape[1]), self.where)
        names = self.features.feature_names(X.shape[1])
        weights = self._weights(batch, bad)
        places = self._places(batch, bad)
        values = [None] * batch.num_rows
        if self.label is not None:
            values = _as_list(batch.column(self.label))
        labels = self.schema.labels_of(values, self.is_text, bad, until_bad)
        index = np.arange(batch.num_rows)
        if bad:
            index = np.delete(index, list(bad))
            X = X[index]
            labels = [labels[i] for i in index.tolist()]
            weights = weights[index]
        return Rows(index, X, names, labels, weights, bad, places)

    def describe(self) -> list[str]:
        """Say in a few lines what is used and what is not, once rows were read."""
        names = self.schema.features or ()
        scales = sorted(set(self.features.scales.tolist()))
        title = f"{len(names):,} feature{'s' * (len(names) != 1)}"
        return described(
            self.schema, names, title, self.features.source, scales, self.label, self.ignored
        )

    def _places(self, batch: pa.RecordBatch, bad: dict[int, str]) -> list[Place | None]:
        names = self.schema.position
        if not names or not set(names) <= set(batch.schema.names):
            return []
        columns = [batch.column(name).to_pylist() for name in names]
        return [
            place_of(names, values, i, bad) for i, values in enumerate(zip(*columns, strict=True))
        ]

    def _weights(self, batch: pa.RecordBatch, bad: dict[int, str]) -> NDArray[np.float64]:
        name = self.schema.weight
        if name is None or name not in batch.schema.names:
            return np.ones(batch.num_rows)
        column = batch.column(name)
        if not is_number(column.type):
            raise SourceError(
                f"{self.where}: weight column {name!r} is of type {column.type}, not a number"
            )
        weights = numbers(column)
        for i in np.flatnonzero(~((weights >= 0) & (weights < np.inf))).tolist():
            bad.setdefault(i, f"weight {shown(column[i])} is not a finite number of at least 0")
        return weights.astype(np.float64)


def _as_list(column: pa.Array) -> list[Any]:
    kind = column.type
    if column.null_count or not (types.is_integer(kind) or types.is_floating(kind)):
        return list(column.to_pylist())
    return list(numbers(column).tolist())  # many times faster


def described(
    schema: Schema,
    names: Sequence[str],
    title: str,
    source: str,
    scales: Sequence[float],
    label: str | None,
    ignored: dict[str, str],
) -> list[str]:
    """Say in a few lines what is used of a source and what is not."""
    span = f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names)
    lines = [f"{title}: {span}{source}, times {', '.join(map(_fraction, scales))}"]
    if label is None:
        lines.append(
            "no label: rows are only predicted, since no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    else:
        kind = f" ({schema.label_type})" if schema.label_type else ""
        lines.append(f"label: {label}{kind}")
    if schema.weight is not None:
        lines.append(f"sample weight: {schema.weight}")
    if schema.position:
        lines.append(f"position: {', '.join(schema.position)}")
    if ignored:
        shown = [f"{name} ({why})" for name, why in ignored.items()]
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        lines.append(f"ignored: {', '.join(shown[:5])}{more}")
    suspects = [name for name in names if looks_like_row_number(name)]
    if suspects:
        lines.append(
            f"warning: {names_in(suspects)} looks like a row number, which spoils learning: "
            "leave it out with --ignore"
        )
    return lines


def _fraction(scale: float) -> str:
    return "1/255" if scale == 1 / 255 else f"{scale:g}"


def looks_like_row_number(name: str) -> bool:
    """Whether a column of this name most likely counts rows."""
    return name.lower() in ("id", "index") or name.lower().endswith("_id")
