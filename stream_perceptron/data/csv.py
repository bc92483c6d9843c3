"""Lines of CSV as rows."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pyarrow as pa

from stream_perceptron.data.batch import Place, Rows, place_of
from stream_perceptron.data.byte_stream import TOO_LONG, data_of, first_line, has_too_long
from stream_perceptron.data.schema import LABEL_NAMES, Schema

__all__ = ["CsvLayout", "Dialect"]

_BOOLS = {"true": "1", "false": "0"}
_WRONG_VALUE = re.compile(r"column #(\d+):.* to (\w+): invalid value '(.*)", re.DOTALL)
_WRONG_COUNT = re.compile(r"Expected (\d+) columns, got (\d+)")


class Dialect:
    """What the first lines of a source tell about the others.

    Parameters
    ----------
    first
        The first line; it is a header if it names the label, or holds no number.

    Attributes
    ----------
    delimiter : str
        What is between the fields: a comma, a tab or a semicolon.
    header : list of str or None
        The names of the columns, if the first line has them.

    Examples
    --------
    >>> Dialect("a;b").header, Dialect("1;2").header, Dialect("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    def __init__(self, first: str) -> None:
        # The earliest of the most frequent.
        self.delimiter = max(",\t;", key=first.count)
        cells = self.cells(first)
        names_label = not set(LABEL_NAMES).isdisjoint(cells)
        is_header = names_label or not any(map(_is_number, cells))
        self.header = cells if is_header else None

    def cells(self, line: str) -> list[str]:
        """Return the fields of a line."""
        return next(csv.reader([line], delimiter=self.delimiter), [])


class CsvLayout:
    """How lines of CSV are read.

    The first row says which columns are numbers; the others are texts, and left out. Without a
    header the first column is the label, unless there is none for it; the features then have the
    names that the model knows, or x0, x1 and so on.

    Parameters
    ----------
    schema
        What to take.
    where
        The source's name, for errors.
    dialect
        What its first lines tell.
    first
        The first row.
    to_learn
        Whether all columns that were named must be there.

    Raises
    ------
    SourceError
        If the columns are not what the schema asks for.

    """

    def __init__(
        self, schema: Schema, where: str, dialect: Dialect, first: str, to_learn: bool = True
    ) -> None:
        self.where = where
        cells = dialect.cells(first)
        names = dialect.header or _names_by_number(schema, len(cells))
        label = schema.label_among(names, where)
        # A row that is too short says nothing about the columns that it lacks.
        kinds = {
            name: pa.string() if cell and not _is_number_or_bool(cell) else pa.float64()
            for name, cell in zip_longest(names, cells[: len(names)])
        }
        kinds |= dict.fromkeys(schema.features or (), pa.float64())
        kinds |= dict.fromkeys(schema.position[:-1], pa.string())
        kinds |= dict.fromkeys(schema.position[-1:], pa.int64())
        if label is not None:
            kinds[label] = pa.string()
        columns = [(name, kinds[name]) for name in names]
        self._columns = schema.layout(pa.schema(columns), where, to_learn, is_text=True)
        self._names = names
        self._dialect = dialect
        ignored = self._columns.ignored
        self._kinds = {name: kinds[name] for name in names if name not in ignored}
        self._mixed: set[str] = set()  # columns of numbers in which there are bools too

    @property
    def label(self) -> str | None:
        """The column of the label, if there is one."""
        return self._columns.label

    def describe(self) -> list[str]:
        """Say in a few lines what is used and what is not."""
        return self._columns.describe()

    def rows(self, batch: pa.RecordBatch, until_bad: bool = False) -> Rows:
        """Return the rows that the lines of a batch hold; see `Layout.rows`."""
        lines = batch.column(0)
        bad: dict[int, str] = {}
        pieces: dict[int, pa.RecordBatch] = {}
        self._parse(lines, 0, pieces, bad, until_bad)
        if len(pieces) > 1:
            parsed = pa.Table.from_batches(pieces.values()).combine_chunks().to_batches()[0]
        else:
            parsed = next(iter(pieces.values()), None) or self._convert(b"\n", 0)
        rows = self._columns.rows(parsed, until_bad)
        if not bad:
            return rows
        index = np.array(
            [i for start, piece in pieces.items() for i in range(start, start + len(piece))],
            np.intp,
        )
        places: list[Place | None] = []
        if self._columns.schema.position:
            places = [None] * len(lines)
            for i, place in zip(index.tolist(), rows.places, strict=True):
                places[i] = place
            for i in bad:
                places[i] = self._place_in(lines[i].as_py())
        bad |= {int(index[i]): why for i, why in rows.bad.items()}
        return replace(rows, index=index[rows.index], bad=bad, places=places)

    def _parse(
        self,
        lines: pa.Array,
        start: int,
        pieces: dict[int, pa.RecordBatch],
        bad: dict[int, str],
        until_bad: bool,
    ) -> None:
        """Parse lines at once, else each half of them, until the bad ones are found."""
        if until_bad and bad:
            return
        try:
            if has_too_long(lines):
                raise pa.ArrowInvalid(TOO_LONG)
            pieces[start] = self._convert(data_of(lines), len(lines))
            return
        except pa.ArrowInvalid as error:
            wrong = error
        half = len(lines) // 2
        if half:
            self._parse(lines[:half], start, pieces, bad, until_bad)
            self._parse(lines[half:], start + half, pieces, bad, until_bad)
        elif self._allow_bool(wrong):
            self._parse(lines, start, pieces, bad, until_bad)
        else:
            bad[start] = self._reason(wrong)

    def _convert(self, data: bytes, n: int) -> pa.RecordBatch:
        """Return the n rows in some lines, or raise ArrowInvalid."""
        from pyarrow import csv as arrow

        if data.count(b"\r") > data.count(b"\r\n"):
            raise pa.ArrowInvalid("it has a carriage return inside")
        # Only the line after it shows whether a line leaves a quote open.
        twice = 2 if n == 1 else 1
        kinds = self._kinds | dict.fromkeys(self._mixed, pa.string())
        # No threads: they may let go of the bytes when Python has ended already.
        table = arrow.read_csv(
            pa.BufferReader(data * twice),
            read_options=arrow.ReadOptions(
                column_names=self._names, use_threads=False, block_size=twice * len(data) + 1
            ),
            parse_options=arrow.ParseOptions(delimiter=self._dialect.delimiter),
            convert_options=arrow.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=[""]
            ),
        )
        if len(table) != twice * n:
            raise pa.ArrowInvalid("it has an open quote")
        table = table.slice(0, n)
        for name in self._mixed:
            numbers = _numbers(table.column(name).to_pylist(), self._names.index(name))
            table = table.set_column(table.column_names.index(name), name, numbers)
        batches = table.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)

    def _allow_bool(self, error: pa.ArrowInvalid) -> bool:
        """Take the column in question for one with bools, if that is what was wrong."""
        match = _WRONG_VALUE.search(str(error))
        if match is None or match[2] != "double" or match[3][:-1].lower() not in _BOOLS:
            return False
        name = self._names[int(match[1])]
        is_new = name not in self._mixed
        self._mixed.add(name)
        return is_new

    def _reason(self, error: pa.ArrowInvalid) -> str:
        if match := _WRONG_VALUE.search(str(error)):
            value = match[3].rstrip("'")[:50]
            kind = "whole number" if match[2] == "int64" else "number"
            return f"column {self._names[int(match[1])]!r} is {value!r}, not a {kind}"
        if match := _WRONG_COUNT.search(str(error)):
            return f"it has {int(match[2]):,} fields, not {int(match[1]):,}"
        return "it is not UTF-8" if "UTF8" in str(error) else first_line(error)

    def _place_in(self, line: bytes | None) -> Place | None:
        """Return the position that a bad line has all the same, if it can be read."""
        cells = self._dialect.cells((line or b"").decode(errors="replace").rstrip("\r\n"))
        names = self._columns.schema.position
        values: list[str | int] = [
            cells[i] for i in map(self._names.index, names) if i < len(cells)
        ]
        try:
            values[-1] = int(values[-1])
        except (ValueError, IndexError):
            return None
        return place_of(names, values, 0, {}) if len(values) == len(names) else None


def _names_by_number(schema: Schema, n: int) -> list[str]:
    """Return names for n columns that have none."""
    numbers = [str(i) for i in range(n)]
    label = schema.label if schema.label in numbers else None
    free = [name for name in numbers if name != label and name not in schema.roles]
    known = schema.features or ()
    names = dict(zip(numbers, numbers, strict=True))
    if label is None and len(free) != len(known) and free:
        names[free.pop(0)] = schema.label or LABEL_NAMES[0]
    features = known if len(free) == len(known) else [f"x{i}" for i in range(len(free))]
    names |= zip(free, features, strict=True)
    return list(names.values())


def _numbers(texts: list[str | None], column: int) -> pa.Array:
    """Return texts as doubles, true and false as 1 and 0, or raise the error of Arrow's parser."""
    numbers = [text and _BOOLS.get(text.strip().lower(), text.strip()) for text in texts]
    array = pa.array([number or None for number in numbers], pa.string())
    try:
        return array.cast(pa.float64())
    except pa.ArrowInvalid:
        if len(texts) > 2:
            raise
        reason = f"column #{column}: conversion error to double: invalid value '{texts[0]}'"
        raise pa.ArrowInvalid(reason) from None


def _is_number_or_bool(cell: str) -> bool:
    return _is_number(cell) or cell.lower() in _BOOLS


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
