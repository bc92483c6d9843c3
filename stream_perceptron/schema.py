"""Which column of a record batch is what: features, label and sample weight."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.columns import (
    PlainColumns,
    VectorColumn,
    is_number,
    is_vector,
    names_in,
    numbers,
    shown,
)
from stream_perceptron.encoding import Fields
from stream_perceptron.errors import SourceError
from stream_perceptron.vocabulary import natural_order

__all__ = ["Layout", "Rows", "Schema"]

LABEL_NAMES = ("label", "class", "target", "y")


@dataclass
class Rows:
    """The usable rows of a record batch, and why the others are not.

    Parameters
    ----------
    index
        The place of each row in its batch, ascending, shape (n,).
    X
        The scaled features, finite, shape (n, d).
    labels
        The labels; None where there is none. Length n.
    weights
        The sample weights, length n.
    bad
        The reason for every row that is missing here, by its place in the batch.

    """

    index: NDArray[np.intp]
    X: NDArray[np.float64]
    labels: list[Any]
    weights: list[float]
    bad: dict[int, str]


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
    features
        The names of the features, once known.
    label_type
        int, str or bool, once known.

    """

    label: str | None = None
    weight: str | None = None
    ignore: tuple[str, ...] = ()
    scale: float | None = None
    features: tuple[str, ...] | None = None
    label_type: str | None = None

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
        schema = cls(
            label=fields.take("label", *optional),
            weight=fields.take("weight", *optional),
            ignore=tuple(fields.take("ignore", list, check=strings)),
            scale=fields.take("scale", float, type(None)),
            features=None if features is None else tuple(features),
            label_type=fields.take("label_type", *optional),
        )
        fields.finish()
        return schema

    def layout(self, columns: pa.Schema, where: str, to_learn: bool = True) -> Layout:
        """Say how a source with these columns is read.

        Parameters
        ----------
        columns
            The source's Arrow schema.
        where
            The source's name, for errors.
        to_learn
            Whether label, weight and columns to ignore must be there.

        Raises
        ------
        SourceError
            If a named column is absent, the label is not clear, there are no features, or the
            source does not fit those read before.

        """
        names = columns.names
        for role, wanted in [("label", self.label), ("weight", self.weight)]:
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
        label = self._label_among(names, where)
        if label is not None:
            self._fix_label_type(columns.field(label).type, label, where)
        free = {
            column.name: column.type
            for column in columns
            if column.name not in {label, self.weight, *self.ignore}
        }
        features = self._feature_columns(free, where)
        ignored = {
            name: str(kind) for name, kind in free.items() if name not in features.columns
        } | dict.fromkeys(self.ignore, "as asked")
        if isinstance(features, PlainColumns):
            self.fix_features(features.columns, where)
        return Layout(self, where, label, features, ignored)

    def label_of(self, text: str) -> Any:
        """Return the label that a text stands for, given the type of the labels.

        Raises
        ------
        ValueError
            If it does not stand for one.

        Examples
        --------
        >>> Schema(label_type="int").label_of("7"), Schema(label_type="str").label_of("7")
        (7, '7')

        """
        if self.label_type == "int":
            try:
                return int(text)
            except ValueError:
                raise ValueError(f"class {text!r} is not a whole number, as labels are") from None
        if self.label_type == "bool":
            try:
                return {"true": True, "false": False}[text.lower()]
            except KeyError:
                raise ValueError(f"class {text!r} is not true or false, as labels are") from None
        return text

    def fix_features(self, features: tuple[str, ...], where: str) -> None:
        """Take the features of the first source, and require them of all others."""
        if self.features is None:
            self.features = features
        if self.features == features:
            return
        lacking = [name for name in self.features if name not in set(features)]
        added = [name for name in features if name not in set(self.features)]
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

    def _label_among(self, names: Sequence[str], where: str) -> str | None:
        if self.label is not None:
            return self.label if self.label in names else None
        candidates = [
            name
            for name in LABEL_NAMES
            if name in names and name not in (*self.ignore, self.weight)
        ]
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

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """Return the rows of a batch as arrays.

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
        labels = self._labels(batch, bad)
        weights = self._weights(batch, bad)
        index = np.arange(batch.num_rows)
        if bad:
            index = np.delete(index, list(bad))
            X = X[index]
            labels = [labels[i] for i in index.tolist()]
            weights = [weights[i] for i in index.tolist()]
        return Rows(index, X, labels, weights, bad)

    def describe(self) -> list[str]:
        """Say in a few lines what is used and what is not, once rows were read."""
        names = self.schema.features or ()
        scales = ", ".join(_fraction(s) for s in sorted(set(self.features.scales.tolist())))
        span = f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names)
        lines = [f"{len(names):,} features: {span}{self.features.source}, times {scales}"]
        if self.label is None:
            lines.append(
                "no label: rows are only predicted, since no column is called "
                f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
            )
        else:
            lines.append(f"label: {self.label} ({self.schema.label_type})")
        if self.schema.weight is not None:
            lines.append(f"sample weight: {self.schema.weight}")
        if self.ignored:
            ignored = [f"{name} ({why})" for name, why in self.ignored.items()]
            more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
            lines.append(f"ignored: {', '.join(ignored[:5])}{more}")
        suspects = [name for name in names if _looks_like_row_number(name)]
        if suspects:
            lines.append(
                f"warning: {names_in(suspects)} looks like a row number, which spoils learning: "
                "leave it out with --ignore"
            )
        return lines

    def _labels(self, batch: pa.RecordBatch, bad: dict[int, str]) -> list[Any]:
        if self.label is None:
            return [None] * batch.num_rows
        labels: list[Any] = batch.column(self.label).to_pylist()
        for i, label in enumerate(labels):
            if isinstance(label, float):
                if label.is_integer():
                    labels[i] = int(label)
                elif math.isnan(label):
                    labels[i] = None
                else:
                    bad.setdefault(i, f"label {label} is not a whole number")
        return labels

    def _weights(self, batch: pa.RecordBatch, bad: dict[int, str]) -> list[float]:
        name = self.schema.weight
        if name is None or name not in batch.schema.names:
            return [1.0] * batch.num_rows
        column = batch.column(name)
        if not is_number(column.type):
            raise SourceError(
                f"{self.where}: weight column {name!r} is of type {column.type}, not a number"
            )
        weights = numbers(column)
        for i in np.flatnonzero(~((weights >= 0) & (weights < np.inf))).tolist():
            bad.setdefault(i, f"weight {shown(column[i])} is not a finite number of at least 0")
        return list(weights.astype(float).tolist())


def _fraction(scale: float) -> str:
    return "1/255" if scale == 1 / 255 else f"{scale:g}"


def _looks_like_row_number(name: str) -> bool:
    return name.lower() in ("id", "index") or name.lower().endswith("_id")
