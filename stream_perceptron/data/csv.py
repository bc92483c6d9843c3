"""Records of CSV."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from stream_perceptron.data.batch import LONGEST_LINE, Offset, offset_of
from stream_perceptron.data.lines import Rejected, Sample
from stream_perceptron.data.schema import LABEL_NAMES, Schema, Selection, describe
from stream_perceptron.data.source import Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.validation import as_weight
from stream_perceptron.model.vocabulary import natural_order

# A number, and nothing else that float() takes.
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(f" *{NUMBER} *")
_NUMBERS = re.compile(f"(?: *{NUMBER} *\n)*")
_WHOLE = re.compile(r" *-?[0-9]{1,19} *")
_BOOLS = {"true": 1.0, "false": 0.0}

csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # a field is a line at most


class CsvFormat:
    """What the first line of a source tells about the others.

    Examples
    --------
    >>> CsvFormat("a;b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    def __init__(self, first: str) -> None:
        # The earliest of the most frequent.
        self.delimiter = max(",\t;", key=first.count)
        cells = _cells(first, self.delimiter)
        names_label = not set(LABEL_NAMES).isdisjoint(cells)
        is_header = names_label or not any(map(_looks_numeric, cells))
        self.header = cells if is_header else None

    @property
    def n_header_lines(self) -> int:
        """The lines before the first record."""
        return int(self.header is not None)

    def decoder(self, request: Request, where: str, first: str) -> CsvDecoder:
        """Return what reads the records, of which the first one is this.

        It says which columns are numbers; the others are texts, and left out. Without a header the
        first column is the label, unless there is none for it; the features then have the names
        that the model knows, or x0, x1 and so on.
        """
        selection, schema = request.selection, request.schema
        cells = _cells(first, self.delimiter)
        names = self.header or _names_by_number(selection, schema, len(cells))
        if request.to_learn:
            selection.require_columns(names, where)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SourceError(f"{where}: two columns are called {twice[0]!r}")
        label = selection.label_among(names, where)
        known = set(schema.features or ())
        # A row that is too short says nothing about the columns that it lacks.
        kinds = dict(zip_longest(names, cells[: len(names)], fillvalue=""))
        roles = {label, *selection.roles}
        free = [name for name in names if name not in roles]
        texts = {
            name
            for name in free
            if name not in known and kinds[name] and not _is_value(kinds[name])
        }
        features = [name for name in free if name not in texts]
        if not features:
            shown = [f"{name!r} (string)" for name in free[:5]]
            raise SourceError(
                f"{where}: no usable features{' among ' if shown else ''}{', '.join(shown)}"
                ": they are number or bool columns"
            )
        weight = kinds.get(selection.weight or "", "")
        if weight and not _is_value(weight):
            raise SourceError(
                f"{where}: weight column {selection.weight!r} is of type string, not a number"
            )
        order = tuple(str(name) for name in natural_order(features))
        return CsvDecoder(
            selection,
            schema.with_features(order, where),
            self.delimiter,
            tuple(names),
            label,
            order,
        )


@dataclass(frozen=True)
class CsvDecoder:
    """How records of CSV are read: what each column is."""

    selection: Selection
    schema: Schema
    delimiter: str
    columns: tuple[str, ...]
    label: str | None
    features: tuple[str, ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.columns)}

    @cached_property
    def _feature_places(self) -> list[int]:
        return [self._places[name] for name in self.features]

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        offset = None
        try:
            cells = self._fields(record)
            if len(cells) != len(self.columns):
                raise SampleError(f"it has {len(cells):,} fields, not {len(self.columns):,}")
            offset = self._offset(cells)
            values = self._values([cells[i] for i in self._feature_places])
            weight = self._weight(cells)
            text = None if self.label is None else _utf8(cells[self._places[self.label]])
            label, schema = self.schema.with_label(text, is_text=True)
        except SampleError as error:
            return Rejected(str(error), offset)
        after = self if schema is self.schema else replace(self, schema=schema)
        return Sample(self.features, values, label, weight, offset, after)

    def _fields(self, record: bytes) -> list[str]:
        # What is no UTF-8 in a column that is not used does no harm.
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        if "\r" in text:
            raise SampleError("it has a carriage return inside")
        if '"' not in text:
            return text.split(self.delimiter)
        try:
            return next(csv.reader([text], delimiter=self.delimiter, strict=True))
        except csv.Error:
            is_open = text.count('"') % 2
            raise SampleError(
                "it has an open quote" if is_open else "it has a quote in the wrong place"
            ) from None

    def _offset(self, cells: list[str]) -> Offset | None:
        names = self.selection.position
        if not names or not all(name in self._places for name in names):
            return None
        values: list[Any] = [cells[self._places[name]] for name in names]
        if not _WHOLE.fullmatch(values[-1]):
            raise SampleError(f"position {names[-1]!r} is {values[-1][:50]!r}, not a whole number")
        return offset_of(self.selection, [*map(_utf8, values[:-1]), int(values[-1])])

    def _values(self, cells: list[str]) -> np.ndarray[Any, Any]:
        if _NUMBERS.fullmatch("\n".join([*cells, ""])):
            values = np.array(list(map(float, cells)))
        else:
            values = np.array(
                [_value(name, cell) for name, cell in zip(self.features, cells, strict=True)]
            )
        if self.selection.scale is not None:
            with np.errstate(over="ignore"):
                values *= self.selection.scale
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise SampleError(f"column {self.features[place]!r} is {cells[place][:50]}, not finite")
        return values

    def _weight(self, cells: list[str]) -> float:
        name = self.selection.weight
        if name is None or name not in self._places:
            return 1.0
        cell = cells[self._places[name]]
        try:
            return as_weight(_value(name, cell))
        except SampleError:
            raise SampleError(
                f"weight {cell[:50] or 'null'} is not a finite number of at least 0"
            ) from None

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        scale = 1.0 if self.selection.scale is None else self.selection.scale
        used = {*self.features, *self.selection.roles, self.label}
        ignored = {name: "string" for name in self.columns if name not in used}
        ignored |= dict.fromkeys(self.selection.ignore, "as asked")
        return describe(
            self.selection, self.schema, self.features, "", [scale], self.label, ignored
        )


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the fields of one of the first lines, as far as they can be told."""
    return next(csv.reader([line.replace("\r", " ")], delimiter=delimiter), [])


def _names_by_number(selection: Selection, schema: Schema, n: int) -> list[str]:
    """Return names for n columns that have none."""
    numbers = [str(i) for i in range(n)]
    label = selection.label if selection.label in numbers else None
    free = [name for name in numbers if name != label and name not in selection.roles]
    known = schema.features or ()
    names = dict(zip(numbers, numbers, strict=True))
    if label is None and len(free) != len(known) and free:
        names[free.pop(0)] = selection.label or LABEL_NAMES[0]
    features = known if len(free) == len(known) else [f"x{i}" for i in range(len(free))]
    names |= zip(free, features, strict=True)
    return list(names.values())


def _utf8(cell: str) -> str:
    """Return a text that is used, if it was UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise SampleError("it is not UTF-8") from None
    return cell


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _looks_numeric(cell: str) -> bool:
    """Whether a column or a line with this cell is not of texts, though it may be no number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_value(cell: str) -> bool:
    return _looks_numeric(cell) or cell.strip().lower() in _BOOLS


def _value(name: str, cell: str) -> float:
    """Return a cell as a number, true and false as 1 and 0."""
    if _is_number(cell):
        return float(cell)
    if (number := _BOOLS.get(cell.strip().lower())) is not None:
        return number
    if not cell.strip():
        raise SampleError(f"column {name!r} is null")
    raise SampleError(f"column {name!r} is {cell[:50]!r}, not a number")
