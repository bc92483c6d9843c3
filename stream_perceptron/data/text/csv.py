"""CSV: the format and its reference parser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Offset, offset_of
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.describe import (
    UNKNOWN,
    Described,
    Note,
    describe,
    missing_hints,
    no_label,
)
from stream_perceptron.data.naming import LABEL_NAMES, column_called, names_in
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.cells import (
    cells_in,
    is_value,
    looks_numeric,
    number_in,
    text_in,
    utf8,
)
from stream_perceptron.data.text.scanning import CsvScanner
from stream_perceptron.data.text.records import (
    DECIMAL_COMMA,
    Dialect,
    RawLines,
    fields,
    joined,
)
from stream_perceptron.data.text.sample import NUMBER, Rejected, Sample, scale_features
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.validation import as_weight
from stream_perceptron.model.vocabulary import natural_order

_NUMBERS = re.compile(f"(?: *{NUMBER} *\n)*")
_WHOLE = re.compile(r" *-?[0-9]{1,19} *")


class Table(NamedTuple):
    """The columns of a source."""

    names: tuple[str, ...]
    dialect: Dialect
    are_named: bool  # whether the source has a header
    unused: frozenset[str]  # columns that the model does not know


class CsvFormat:
    """The dialect, header and number of fields, detected from the first line.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    has_comments = False

    def __init__(self, first: str, delimiter: str | None = None, decimal: str = ".") -> None:
        # The given delimiter may be meant for another source; else use the most frequent one.
        if delimiter is None or delimiter not in first:
            delimiter = max(",\t;" if decimal == "." else "\t;|", key=first.count)
            delimiter = delimiter if delimiter in first else ","
        self.dialect = Dialect(delimiter, decimal)
        cells = [cell.strip() for cell in cells_in(first, self.dialect)]
        names_label = any(cell.lower() in LABEL_NAMES for cell in cells)
        is_header = names_label or not any(map(looks_numeric, cells))
        self.header = cells if is_header else None
        self._n_fields = len(cells)

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""
        return int(self.header is not None)

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines."""
        return joined(lines, self.dialect, self._n_fields)

    def decoder(self, request: Request, where: str, first: bytes) -> CsvDecoder:
        """Return the decoder of the records, given the first one.

        The first value of a column decides whether it has numbers, or texts, which are left out.
        Without a header the columns are those of the first source that had one. If none had, the
        label comes first, and features have the model's names, or x0, x1 and so on.
        """
        schema = request.schema
        names, selection, is_by_place = self._columns(request, where)
        if selection.label is None and request.needs_label and (self.header or is_by_place):
            raise SourceError(no_label(where, names, schema))
        used = {selection.label, *selection.roles}
        free = [name for name in names if name not in used]
        is_closed = schema.features is not None and not schema.is_open
        known = {*(schema.features or ()), *schema.undecided, *(schema.texts or ())}
        if not request.to_learn:
            # To predict, use the columns that the model knows.
            asked = schema.features or [name for name in free if name in schema.numbers] or free
            unused = set(free).difference(asked)
        else:
            unused = set(free) - known if is_by_place and is_closed else set()
        table = Table(tuple(names), self.dialect, self.header is not None, frozenset(unused))
        decoder = CsvDecoder(table, selection, schema, request.to_learn)
        cells = dict(zip(names, cells_in(text_in(first), self.dialect), strict=False))
        weight = cells.get(selection.weight or "", "")
        if schema.is_new and weight.strip() not in selection.blanks and not is_value(weight):
            raise SourceError(
                f"{where}: weight column {selection.weight!r} is of type string, not a number"
            )
        features, texts = decoder.decided(list(cells.values()))
        if is_closed and (free or not selection.joins):
            may_come = set(schema.undecided).difference(decoder.features)
            schema.with_features(tuple(name for name in features if name not in may_come), where)
        has_none = not features and len(texts) == len(decoder.texts + decoder.undecided)
        if schema.is_new and has_none and not selection.one_hot:
            shown = ", ".join(f"{name!r} (text)" for name in texts[:5])
            raise SourceError(
                f"{where}: no usable features{f' among {shown}' if shown else ''}: use number or "
                f"bool columns, or texts with --one-hot{_if_written_otherwise(cells)}"
            )
        return decoder

    def _columns(self, request: Request, where: str) -> tuple[list[str], Selection, bool]:
        """Return the columns, the selection with their names, and whether names go by position."""
        asked, schema = request.selection, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.columns_of(self._n_fields) or ())
            except SampleError as error:
                raise SourceError(f"{where}: row 1: {error}") from None
            selection = roles.among(asked, schema.columns, where, to_learn=False)
            label = schema.label if schema.label in names else None
            if asked.is_label_sure:
                label = column_called(str(asked.label), names)
            lost = [name for name in selection.kept if name not in names]
            if lost:
                raise SourceError(f"{where}: there is no column {lost[0]!r} to keep in its rows")
            return names, replace(selection, label=label), True
        names = self.header or roles.names_by_place(asked, schema, self._n_fields, where)
        names = roles.distinct(names, asked, where)
        return names, roles.among(asked, names, where, request.to_learn), False


class CsvDecoder:
    """Reads CSV records by the known types of columns.

    `selection` has the exact names of the table's columns.
    """

    def __init__(self, table: Table, selection: Selection, schema: Schema, to_learn: bool) -> None:
        self.table, self.selection, self.schema = table, selection, schema
        self.label = selection.label
        self._to_learn = to_learn
        used = {self.label, *selection.roles, *table.unused}
        free = [name for name in table.names if name not in used]
        texts = set(schema.texts or ())
        known = schema.features or ()
        if not known and (schema.is_open or not to_learn):
            known = tuple(map(str, natural_order([n for n in free if n in schema.numbers])))
        there = set(free).difference(texts, selection.one_hot)
        # The columns of numbers, of texts, and those without a value so far.
        self.features = tuple(name for name in known if name in there)
        self.texts = tuple(name for name in free if name in texts)
        decided = {*self.features, *self.texts}
        self.undecided = tuple(name for name in free if name not in decided)
        self.one_hot = tuple(
            name
            for name in table.names
            if name in selection.one_hot and name not in used - table.unused
        )
        self._places, self._has_features = {n: i for i, n in enumerate(table.names)}, bool(free)
        self._told = self.told(self.features, self.texts)
        self._are_blanks_numbers = any(map(is_value, selection.blanks))

    @property
    def context(self) -> Context:
        """What the meaning of a record depends on."""
        table = self.table
        return Context(
            self.selection, self.schema, self._to_learn, is_text=True, columns=table.names,
            are_named=table.are_named, unused=table.unused,
        )  # fmt: skip

    def scanner(self) -> CsvScanner:
        """Return a scanner of the records."""
        return CsvScanner(self.table.names, self.table.dialect)

    def with_schema(self, schema: Schema) -> CsvDecoder:
        """Return the decoder for a later schema."""
        return CsvDecoder(self.table, self.selection, schema, self._to_learn)

    def outlook(self, first: bytes) -> Schema:
        """Return the schema after the first record, if that is learned."""
        cells = cells_in(text_in(first), self.table.dialect)
        labels = dict(zip(self.table.names, cells, strict=False))
        is_blank = self.label is None or labels.get(self.label, "").strip() in self.selection.blanks
        is_told = self.selection.joins or not is_blank
        return self.told(*self.decided(cells)) if is_told else self.schema

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return the sample in a record, or why it is rejected."""
        offset = None
        try:
            cells = self._fields(record)
            if len(cells) != len(self.table.names):
                raise SampleError(f"it has {len(cells):,} fields, not {len(self.table.names):,}")
            kept = tuple(utf8(cells[self._places[name]]) for name in self.selection.kept)
            cells = self.table.dialect.with_points(cells)
            offset = self._offset(cells)
            features, texts = self.decided(cells)
            is_told = features is self.features and texts is self.texts
            schema = self._told if is_told else self.told(features, texts)
            values = self._values(features, [cells[self._places[name]] for name in features])
            indicators = [
                roles.indicator(name, self._text(name, cells), self.selection, is_text=True)
                for name in self.one_hot
            ]
            weight = self._weight(cells)
            text = None if self.label is None else self._text(self.label, cells)
            label, schema = schema.with_label(text, is_text=True)
        except SampleError as error:
            return Rejected(str(error), offset)
        ones = tuple(name for name in indicators if name is not None)
        if (label is not None or self.selection.joins) and schema.is_open:
            there = [name for name, v in zip(features, values.tolist(), strict=True) if v == v]
            schema = schema.with_numbers([*there, *(() if self.selection.joins else ones)])
        n_left = len(self.undecided) + len(self.features) + len(self.texts)
        return Sample(
            features, values, label, weight, offset, schema, ones,
            n_nulls=n_left - len(features) - len(texts), kept=kept,
        )  # fmt: skip

    def decided(self, cells: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns of numbers and of texts, undecided ones decided by these cells."""
        asked = self.selection
        numbers: list[str] = []
        texts: list[str] = []
        for name in self.undecided:
            place = self._places[name]
            cell = cells[place].strip() if place < len(cells) else ""
            if cell in asked.blanks:
                continue
            is_number = is_value(cell) and name not in asked.one_hot
            (numbers if is_number else texts).append(name)
        if not numbers and not texts:
            return self.features, self.texts
        features = tuple(map(str, natural_order([*self.features, *numbers])))
        return features, (*self.texts, *texts)

    def told(self, features: tuple[str, ...], texts: tuple[str, ...]) -> Schema:
        """Return the schema with these columns of numbers and of texts."""
        schema = self.schema
        if not self._to_learn or (self.selection.joins and not self._has_features):
            return schema
        if schema.features and not schema.is_open:
            expected = {*self.features, *schema.undecided}
            odd = [name for name in features if name not in expected]
            if odd:
                raise SampleError(f"it adds {names_in(odd)} to the features of the model")
        told: dict[str, Any] = {"texts": tuple(dict.fromkeys((*(schema.texts or ()), *texts)))}
        if self.table.are_named and not schema.columns:
            told |= {"columns": self.table.names, "label": self.label}
        if not schema.is_open:
            decided = {*features, *told["texts"]}
            undecided = self.undecided if schema.features is None else schema.undecided
            told["features"] = features
            told["undecided"] = tuple(name for name in undecided if name not in decided)
        found = replace(schema, **told)
        return schema if found == schema else found

    def _fields(self, record: bytes) -> list[str]:
        # Invalid UTF-8 is allowed in columns that are not used.
        text = text_in(record)
        dialect = self.table.dialect
        if '"' in text or dialect.delimiter == " ":
            return fields(text, dialect)
        if "\r" in text:
            raise SampleError("it has a carriage return inside")
        return text.split(dialect.delimiter)

    def _text(self, name: str, cells: list[str]) -> str | None:
        """Return the text in a column; None if it is missing."""
        text = roles.present(cells[self._places[name]], self.selection, is_text=True)
        return None if text is None else utf8(text)

    def _offset(self, cells: list[str]) -> Offset | None:
        names = self.selection.position
        if not names:
            return None
        values: list[Any] = [cells[self._places[name]] for name in names]
        if not _WHOLE.fullmatch(values[-1]):
            raise SampleError(f"position {names[-1]!r} is {values[-1][:50]!r}, not a whole number")
        return offset_of(self.selection, [*map(utf8, values[:-1]), int(values[-1])])

    def _values(self, names: Sequence[str], cells: list[str]) -> NDArray[np.float64]:
        """Return the features, NaN for missing ones."""
        text = "" if self._are_blanks_numbers else "\n".join([*cells, ""])
        if text.count("\n") == len(cells) and _NUMBERS.fullmatch(text):
            values = np.array(list(map(float, cells)))
            odd = ~np.isfinite(values)
        else:
            blanks = self.selection.blanks
            there = np.array([cell.strip() not in blanks for cell in cells], bool)
            read = zip(names, cells, there.tolist(), strict=True)
            found = [number_in(name, cell) if is_there else np.nan for name, cell, is_there in read]
            values = np.array(found)
            odd = ~np.isfinite(values) & there
        if odd.any():
            place = int(np.flatnonzero(odd)[0])
            raise SampleError(f"column {names[place]!r} is {cells[place][:50]}, not finite")
        return scale_features(self.selection, tuple(names), values)

    def _weight(self, cells: list[str]) -> float:
        name = self.selection.weight
        cell = "" if name is None else cells[self._places[name]]
        if name is None or cell.strip() in self.selection.blanks:
            return 1.0
        try:
            return as_weight(number_in(name, cell))
        except SampleError:
            raise SampleError(f"weight {cell[:50]} is not a finite number of at least 0") from None

    def describe(
        self, told: Sequence[tuple[bytes, Sample]], first: Sequence[bytes | None]
    ) -> tuple[Note, ...]:
        """Return notes on the used and ignored columns."""
        selection = self.selection
        scale = 1.0 if selection.scale is None else selection.scale
        rows = [self._fields(record) for record, _ in told]
        ignored = dict.fromkeys(selection.ignore, "as asked")
        added = (n for n in self.table.names if n in self.table.unused)
        ignored |= {n: UNKNOWN for n in added if is_value(rows[0][self._places[n]])}
        texts = [name for name in self.texts if name not in selection.one_hot]
        ignored |= dict.fromkeys(self.undecided, "no value so far")
        beside = [
            cells_in(text_in(record), self.table.dialect) for record in first if texts and record
        ]
        shown = {
            name: [cells[place] for cells in [*rows, *beside] if place < len(cells)]
            for name in texts
            for place in [self._places[name]]
        }
        found = Described(
            self.features, "", [scale], self.label, ignored, shown,
            hints=self._hints(texts, rows),
        )  # fmt: skip
        return describe(selection, self.schema, found)

    def _hints(self, texts: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        """Return hints at options, given by the first text in each column."""
        first: dict[str, str] = {}
        for name in texts:
            cells = (row[self._places[name]].strip() for row in rows)
            first[name] = next((cell for cell in cells if cell not in self.selection.blanks), "")
        hints = missing_hints(first) + [
            f"hint: {cell} in column {name!r} has a decimal comma: --decimal ,"
            for name, cell in first.items()
            if DECIMAL_COMMA.fullmatch(cell)
        ]
        columns = self.table.names
        if columns[0] == LABEL_NAMES[0] == self.label and len(texts) == 1 and not hints:
            place = self._places[texts[0]] + 1
            called = -1 if place == len(columns) else place
            why = "is the only one of texts, and may be the label"
            hints.append(f"hint: column {place} {why}: --label {called}")
        return hints


def _if_written_otherwise(cells: Mapping[str, str]) -> str:
    """Return advice on options for a row whose cells are all texts, or an empty text."""
    if any(map(DECIMAL_COMMA.fullmatch, cells.values())):
        return "; for decimal commas: --decimal ,"
    found = [c for c in "|: " if len(cells) == 1 and c in next(iter(cells.values()))]
    called = {" ": "space", "|": "'|'"}
    return f"; for another delimiter: --delimiter {called.get(found[0], found[0])}" if found else ""
