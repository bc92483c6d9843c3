"""Scanners: records of a text format become cells.

`CsvScanner`, `JsonScanner` and `LibsvmScanner` define their formats in plain Python, one record at
a time. A compiled scanner does the same for many records at once; it leaves records that it cannot
read with certainty to the definition.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.cells import (
    BARE_LIST,
    Cells,
    Contents,
    Kind,
    ListedContents,
    take_records,
)
from stream_perceptron.data.text.records import (
    LONGEST_LINE,
    Dialect,
    RawLines,
    fields,
    value_in,
)
from stream_perceptron.data.values import BOOLS, NOT_UTF8, NUMBER
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import FirstNames, doubled

try:
    compiled: Any = import_module("stream_perceptron.data.text._scanner")
except ImportError:  # built without a compiler
    compiled = None

_SPACES = " \t\n\r\v\f"
_PLAIN_DIALECT = Dialect()
_JSON_KINDS = {
    type(None): Kind.NULL,
    bool: Kind.BOOL,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    list: Kind.LIST,
    dict: Kind.OBJECT,
}
_NUMBER = re.compile(f" *{NUMBER} *")
_NUMBERS = re.compile(f"(?: *{NUMBER} *\n)*")
_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_LONGEST_REASON = 300
_TOO_LONG = f"the line is longer than {LONGEST_LINE // 2**20} MiB"


class Cell(NamedTuple):
    """A cell of a record."""

    name: str
    kind: Kind
    number: float  # NaN if it is not a number
    content: Any
    members: CellList | None = None  # of a list


class CellList:
    """The cells of a record or of several ones, or the members of a list, as lists."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self.names: list[str] = []
        self.kinds: list[int] = []
        self.numbers: list[float] = []
        self.contents: list[Any] = []
        self.lists: list[CellList] = []  # the members of each list
        for cell in cells:
            self.append(*cell)

    def __len__(self) -> int:
        return len(self.kinds)

    def __iter__(self) -> Iterator[Cell]:
        lists = iter(self.lists)
        cells = zip(self.names, self.kinds, self.numbers, self.contents, strict=True)
        for name, kind, number, content in cells:
            members = next(lists) if kind == Kind.LIST and self.lists else None
            yield Cell(name, Kind(kind), number, content, members)

    def append(
        self, name: str, kind: Kind, number: float, content: Any, members: CellList | None = None
    ) -> None:
        """Add a cell."""
        self.names.append(name)
        self.kinds.append(kind)
        self.numbers.append(number)
        self.contents.append(content)
        if members is not None:
            self.lists.append(members)

    def extend(self, others: CellList) -> None:
        """Add other cells."""
        self.names += others.names
        self.kinds += others.kinds
        self.numbers += others.numbers
        self.contents += others.contents
        self.lists += others.lists

    @classmethod
    def of_numbers(
        cls, names: Iterable[str], numbers: list[float], contents: list[Any]
    ) -> CellList:
        """Return cells that are all numbers."""
        cells = cls()
        cells.names, cells.kinds = list(names), [int(Kind.NUMBER)] * len(numbers)
        cells.numbers, cells.contents = numbers, contents
        return cells


class Scanner(ABC):
    """Scans the records of one format."""

    _names_cells = False  # whether cells have names of their own
    _names_members = False  # whether members of lists have names

    def __init__(
        self,
        names: Iterable[str] = (),
        compiled_scanner: Any = None,
        form: tuple[int, bytes] = (0, b","),
    ) -> None:
        self._form = form  # the compiled scanner's number for the format, and its delimiter
        # The names of all records so far. The list only grows, and cells share its beginning.
        self._names: list[Any] = list(names)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._compiled = compiled_scanner

    @abstractmethod
    def scan_record(self, record: bytes) -> CellList:
        """Return the cells of a record, which ends with its newline.

        Raises
        ------
        SampleError
            If the record is not well-formed.

        """

    def _convert(self, content: bytes) -> Any:
        """Return the content of a cell that the compiled scanner has found."""
        return content.decode()

    def scan(self, lines: RawLines) -> Cells:
        """Return the cells of records."""
        if self._compiled is None or lines.are_too_long or not len(lines):
            return self.scan_records(lines.records())
        starts, is_odd, name_ids, cells, list_starts, members = self._compiled.scan(
            lines.data, lines.begin, lines.ends
        )
        self._add_names()
        ids, member_ids = (name_ids, None) if self._names_cells else (None, name_ids)
        of_lists = None
        if members is not None and len(list_starts) > 1:
            of_lists = self._cells_of(lines.data, list_starts, member_ids, None, *members)
        scanned = self._cells_of(lines.data, starts, ids, of_lists, *cells)
        if is_odd is None:
            return scanned
        # The definition reads odd records, which the compiled scanner has left out.
        odd = np.flatnonzero(is_odd)
        records = lines.records()
        others = self.scan_records([records[i] for i in odd.tolist()])
        order = np.arange(len(lines))
        order[odd] = len(lines) + np.arange(len(odd))
        scanned = take_records([replace(scanned, names=others.names), others], order)
        return replace(scanned, errors={int(odd[i]): reason for i, reason in others.errors.items()})

    def _cells_of(
        self,
        data: bytes,
        starts: NDArray[np.intp],
        name_ids: NDArray[np.int32] | None,
        members: Cells | None,
        kinds: NDArray[np.uint8],
        begins: NDArray[np.int32],
        numbers: NDArray[Any],
    ) -> Cells:
        """Return cells that the compiled scanner has found."""
        contents = _ScannedContents(self._convert, self._form, data, begins)
        names = FirstNames(self._names)
        return Cells(names, starts, name_ids, kinds, numbers, contents, members)

    def _add_names(self) -> None:
        """Add the names that the compiled scanner has found."""
        new = self._compiled.names_from(len(self._names))
        self._names += [name.decode() for name in new]

    def _number(self, name: str) -> int:
        """Return the number of a name, which is added if it is new."""
        if name not in self._numbers:
            if self._compiled is None:
                self._numbers[name] = len(self._names)
                self._names.append(name)
            else:
                self._numbers[name] = self._compiled.number(name.encode())
                self._add_names()
        return self._numbers[name]

    def scan_records(self, records: Sequence[bytes | None]) -> Cells:
        """Return the cells of records scanned one by one; None is a record that is too long."""
        cells, members = CellList(), CellList()
        starts, errors = [0], {}
        for i, record in enumerate(records):
            try:
                if record is None:
                    raise SampleError(_TOO_LONG)
                cells.extend(self.scan_record(record))
            except SampleError as error:
                errors[i] = str(error)[:_LONGEST_REASON]
                cells.extend(self._empty_record())
            starts.append(len(cells))
        for each in cells.lists:
            members.extend(each)
        of_lists = None
        if cells.lists:
            list_starts = np.cumsum([0, *map(len, cells.lists)])
            of_lists = self._collect(list_starts, members, self._names_members)
        of_records = self._collect(np.array(starts, np.intp), cells, self._names_cells)
        return replace(of_records, members=of_lists, errors=errors)

    def _empty_record(self) -> CellList:
        """Return the cells of a record that cannot be read."""
        return CellList()

    def _collect(self, starts: NDArray[np.intp], cells: CellList, are_named: bool) -> Cells:
        name_ids = None
        if are_named:
            name_ids = np.array(list(map(self._number, cells.names)), np.int32)
        return Cells(
            FirstNames(self._names),
            starts,
            name_ids,
            np.array(cells.kinds, np.uint8),
            np.array(cells.numbers, np.float64),
            ListedContents(cells.contents),
        )


class _ScannedContents(Contents):
    """The contents of cells that the compiled scanner has found in some bytes."""

    def __init__(
        self,
        convert: Callable[[bytes], Any],
        form: tuple[int, bytes],
        data: bytes,
        begins: NDArray[np.int32],
    ) -> None:
        self._convert, self._form, self._data, self._begins = convert, form, data, begins

    def get(self, i: int) -> Any:
        (content,) = compiled.cut(*self._form, self._data, self._begins[i : i + 1])
        return self._convert(content)

    def get_all(self, ids: NDArray[np.intp]) -> list[Any]:
        codes, contents = self.encode(ids)
        return list(map(contents.__getitem__, codes.tolist()))

    def encode(self, ids: NDArray[np.intp]) -> tuple[NDArray[np.int32], list[Any]]:
        codes, contents = compiled.encode(*self._form, self._data, self._begins[ids])
        return codes, list(map(self._convert, contents))


class CsvScanner(Scanner):
    """Scans records of CSV, whose fields have the names of columns.

    Examples
    --------
    >>> scanner = CsvScanner(["a", "b"])
    >>> for cell in scanner.scan_record(b'1,"x, y"'):
    ...     print(cell.name, cell.kind.name, cell.number, cell.content)
    a NUMBER 1.0 1
    b TEXT nan x, y

    """

    def __init__(self, names: Sequence[str], dialect: Dialect = _PLAIN_DIALECT) -> None:
        scanner, form = None, (0, b",")
        if compiled is not None and len(dialect.delimiter.encode()) == 1:
            form = compiled.CSV, dialect.delimiter.encode()
            scanner = compiled.Scanner(
                compiled.CSV, b"", len(names), form[1], dialect.decimal.encode()
            )
        super().__init__(names, scanner, form)
        self._dialect = dialect

    def scan_record(self, record: bytes) -> CellList:
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        if '"' in text or self._dialect.delimiter == " ":
            contents = fields(text, self._dialect)
        elif "\r" in text:
            raise SampleError("it has a carriage return inside")
        else:
            contents = text.split(self._dialect.delimiter)
        if len(contents) != len(self._names):
            raise SampleError(f"it has {len(contents):,} fields, not {len(self._names):,}")
        numbers = "\n".join([*self._dialect.with_points(contents), ""])
        if numbers.count("\n") == len(contents) and _NUMBERS.fullmatch(numbers):
            values = list(map(float, numbers.splitlines()))
            return CellList.of_numbers(self._names, values, contents)
        return CellList(
            Cell(name, *self._read(content), content)
            for name, content in zip(self._names, contents, strict=True)
        )

    def _read(self, text: str) -> tuple[Kind, float]:
        """Return the kind of a field and its number."""
        stripped = text.strip(_SPACES)
        if not stripped:
            return Kind.NULL, math.nan
        if (number := BOOLS.get(stripped.lower())) is not None:
            return Kind.BOOL, number
        (text,) = self._dialect.with_points([text])
        return (Kind.NUMBER, float(text)) if _NUMBER.fullmatch(text) else (Kind.TEXT, math.nan)

    def _empty_record(self) -> CellList:
        return CellList(Cell(name, Kind.NULL, math.nan, "") for name in self._names)

    def _add_names(self) -> None:
        pass

    def _convert(self, content: bytes) -> str:
        text = content.decode(errors="surrogateescape")
        return text[1:-1].replace('""', '"') if text.startswith('"') else text


class JsonScanner(Scanner):
    """Scans records of JSON: objects, or lists, which are then called x.

    Examples
    --------
    >>> for cell in JsonScanner().scan_record(b'{"a": {"b": 1}, "c": [true]}'):
    ...     print(cell.name, cell.kind.name, cell.content, list(cell.members or []))
    a OBJECT {'b': 1} []
    a.b NUMBER 1 []
    c LIST [True] [Cell(name='', kind=<Kind.BOOL: 2>, number=1.0, content=True, members=None)]

    """

    _names_cells = True

    def __init__(self) -> None:
        scanner, form = None, (0, b",")
        if compiled is not None:
            scanner = compiled.Scanner(compiled.JSON, BARE_LIST.encode())
            form = compiled.JSON, b","
        super().__init__([BARE_LIST], scanner, form)

    def scan_record(self, record: bytes) -> CellList:
        value = value_in(record)
        members = {BARE_LIST: value} if isinstance(value, list) else value
        cells = CellList()
        left = list(reversed(members.items()))
        while left:
            name, part = left.pop()
            if isinstance(part, dict):
                left += [(f"{name}.{key}", inside) for key, inside in reversed(part.items())]
            cells.append(*_json_cell(name, part))
        for twice in doubled(cells.names)[:1]:
            raise SampleError(f"it has {str(twice)[:50]!r} twice: as a key, and as a path")
        return cells

    def _convert(self, content: bytes) -> Any:
        if content.startswith(b'"') and b"\\" not in content:
            return content[1:-1].decode()
        return int(content) if content.isdigit() else json.loads(content)


def _json_cell(name: str, value: Any) -> Cell:
    """Return a value as a cell."""
    kind = _JSON_KINDS[type(value)]
    if kind is Kind.LIST:
        return Cell(name, kind, math.nan, value, _members_of(value))
    number = math.nan
    if kind in (Kind.NUMBER, Kind.BOOL):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
    return Cell(name, kind, number, value)


def _members_of(values: list[Any]) -> CellList:
    """Return the members of a list; while all of them are lists, the members of these."""
    while values and all(isinstance(value, list) for value in values):
        values = list(chain.from_iterable(values))
    if set(map(type, values)) <= {int, float}:
        with suppress(OverflowError):
            return CellList.of_numbers([""] * len(values), list(map(float, values)), values)
    return CellList(_json_cell("", value)._replace(members=None) for value in values)


class LibsvmScanner(Scanner):
    """Scans lines of LIBSVM: a label, which may be null, and a list of pairs, which have names.

    Examples
    --------
    >>> label, pairs = LibsvmScanner().scan_record(b"7 3:0.5 # comment")
    >>> label.content, [(pair.name, pair.number) for pair in pairs.members]
    ('7', [('3', 0.5)])

    """

    _names_members = True

    def __init__(self) -> None:
        scanner, form = None, (0, b",")
        if compiled is not None:
            scanner, form = compiled.Scanner(compiled.LIBSVM), (compiled.LIBSVM, b",")
        super().__init__([], scanner, form)

    def scan_record(self, record: bytes) -> CellList:
        try:
            tokens = record.decode().partition("#")[0].split()
        except UnicodeDecodeError:
            raise SampleError(NOT_UTF8) from None
        label = Cell("", Kind.NULL, math.nan, "")
        if tokens and ":" not in tokens[0]:
            label = Cell("", Kind.TEXT, math.nan, tokens.pop(0))
        names, numbers = [], []
        for token in tokens:
            match = _PAIR.fullmatch(token)
            if match is None:
                raise SampleError(f"it is not LIBSVM: {token[:50]!r} is not an index:value pair")
            names.append(match[1])
            numbers.append(match[2])
        for twice in doubled(names)[:1]:
            raise SampleError(f"it has feature {str(twice)[:50]!r} twice")
        pairs = CellList.of_numbers(names, list(map(float, numbers)), numbers)
        return CellList([label, Cell("", Kind.LIST, math.nan, "", pairs)])

    def _empty_record(self) -> CellList:
        label = Cell("", Kind.NULL, math.nan, "")
        return CellList([label, Cell("", Kind.LIST, math.nan, "", CellList())])
