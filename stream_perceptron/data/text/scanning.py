"""Scanners, which split the records of a text format into cells.

`CsvScanner`, `JsonScanner` and `LibsvmScanner` define their formats in plain Python, one record at
a time. A compiled scanner reads many records at once and produces the same cells. It defers the
records that it cannot read with certainty to the Python definition.
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
    UNNAMED_LIST,
    Cells,
    Contents,
    Kind,
    ListContents,
    take_records,
)
from stream_perceptron.data.text.records import (
    MAX_LINE_BYTES,
    Dialect,
    RawLines,
    parse_json_record,
    split_record,
)
from stream_perceptron.data.values import BOOLS, NOT_UTF8, NUMBER
from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.vocabulary import NamesPrefix, find_duplicates

compiled: Any = import_module("stream_perceptron.data.text._scanner")
compiled_cells: Any = import_module("stream_perceptron.data._cells")

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
_MAX_REASON = 300
_TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB"


class Cell(NamedTuple):
    """A cell of a record."""

    name: str
    kind: Kind
    number: float  # NaN if the cell is not a number
    content: object
    members: CellList | None = None  # the members of a list


class CellList:
    """The cells of one or more records, or the members of a list, as parallel lists."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self.names: list[str] = []
        self.kinds: list[int] = []
        self.numbers: list[float] = []
        self.contents: list[object] = []
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
        self, name: str, kind: Kind, number: float, content: object, members: CellList | None = None
    ) -> None:
        """Add a cell."""
        self.names.append(name)
        self.kinds.append(kind)
        self.numbers.append(number)
        self.contents.append(content)
        if members is not None:
            self.lists.append(members)

    def extend(self, cells: CellList) -> None:
        """Add the cells of another list."""
        self.names += cells.names
        self.kinds += cells.kinds
        self.numbers += cells.numbers
        self.contents += cells.contents
        self.lists += cells.lists

    @classmethod
    def of_numbers(
        cls, names: Iterable[str], numbers: list[float], contents: list[Any]
    ) -> CellList:
        """Return a list of cells that are all numbers."""
        cells = cls()
        cells.names, cells.kinds = list(names), [int(Kind.NUMBER)] * len(numbers)
        cells.numbers, cells.contents = numbers, contents
        return cells


class Scanner(ABC):
    """Scans the records of one format."""

    _has_named_cells = False  # whether cells have names of their own
    _has_named_members = False  # whether members of lists have names

    def __init__(
        self,
        names: Iterable[str] = (),
        compiled_scanner: Any = None,
        syntax: tuple[int, bytes] = (0, b","),
    ) -> None:
        self._syntax = syntax  # the compiled scanner's code for the format, and the delimiter
        # The names in all records so far. Names are only ever appended, so `Cells` can share this
        # list.
        self._names: list[Any] = list(names)
        self._ids_by_name = {name: number for number, name in enumerate(self._names)}
        self._compiled = compiled_scanner

    @abstractmethod
    def scan_record(self, record: bytes) -> CellList:
        """Return the cells of a record, given with or without its newline.

        Raises
        ------
        SampleError
            If the record is not well-formed.

        """

    def _decode_content(self, content: bytes) -> object:
        """Decode the content of a cell that the compiled scanner has found."""
        return content.decode()

    def scan(self, lines: RawLines) -> Cells:
        """Return the cells of records."""
        if self._compiled is None or lines.is_overlong or not len(lines):
            return self.scan_records(lines.records())
        starts, is_deferred, name_ids, cells, list_starts, members = self._compiled.scan(
            lines.data, lines.begin, lines.ends
        )
        self._fetch_names()
        ids, member_ids = (name_ids, None) if self._has_named_cells else (None, name_ids)
        list_members = None
        if members is not None and len(list_starts) > 1:
            list_members = self._build_scanned_cells(
                lines.data, list_starts, member_ids, None, *members
            )
        scanned = self._build_scanned_cells(lines.data, starts, ids, list_members, *cells)
        if is_deferred is None:
            return scanned
        # The Python definition reads the records that the compiled scanner has deferred.
        deferred = np.flatnonzero(is_deferred).tolist()
        records = lines.records()
        defined = self.scan_records([records[i] for i in deferred])
        order = np.arange(len(lines))
        order[deferred] = len(lines) + np.arange(len(deferred))
        scanned = take_records([replace(scanned, names=defined.names), defined], order)
        errors = {deferred[i]: reason for i, reason in defined.errors.items()}
        return replace(scanned, errors=errors)

    def _build_scanned_cells(
        self,
        data: bytes,
        starts: NDArray[np.intp],
        name_ids: NDArray[np.int32] | None,
        members: Cells | None,
        kinds: NDArray[np.uint8],
        begins: NDArray[np.int32],
        numbers: Array,
    ) -> Cells:
        """Build cells from the arrays of the compiled scanner."""
        contents = _ScannedContents(self._decode_content, self._syntax, data, begins)
        names = NamesPrefix(self._names)
        return Cells(names, starts, name_ids, kinds, numbers, contents, members)

    def _fetch_names(self) -> None:
        """Add the names that the compiled scanner has found."""
        new = self._compiled.list_names(len(self._names))
        self._names += [name.decode() for name in new]

    def _intern_name(self, name: str) -> int:
        """Return the ID of a name; add the name if it is new."""
        if name not in self._ids_by_name:
            if self._compiled is None:
                self._ids_by_name[name] = len(self._names)
                self._names.append(name)
            else:
                self._ids_by_name[name] = self._compiled.intern_name(name.encode())
                self._fetch_names()
        return self._ids_by_name[name]

    def scan_records(self, records: Sequence[bytes | None]) -> Cells:
        """Scan records one by one; None stands for a record that is too long."""
        cells, members = CellList(), CellList()
        starts, errors = [0], {}
        for i, record in enumerate(records):
            try:
                if record is None:
                    raise SampleError(_TOO_LONG)
                cells.extend(self.scan_record(record))
            except SampleError as error:
                errors[i] = str(error)[:_MAX_REASON]
                cells.extend(self._build_empty_record())
            starts.append(len(cells))
        for list_cells in cells.lists:
            members.extend(list_cells)
        list_members = None
        if cells.lists:
            list_starts = np.cumsum([0, *map(len, cells.lists)])
            list_members = self._build_listed_cells(list_starts, members, self._has_named_members)
        scanned = self._build_listed_cells(np.array(starts, np.intp), cells, self._has_named_cells)
        return replace(scanned, members=list_members, errors=errors)

    def _build_empty_record(self) -> CellList:
        """Return the cells of a record that cannot be read."""
        return CellList()

    def _build_listed_cells(
        self, starts: NDArray[np.intp], cells: CellList, has_names: bool
    ) -> Cells:
        """Convert a list of cells to arrays."""
        name_ids = None
        if has_names:
            name_ids = np.array(list(map(self._intern_name, cells.names)), np.int32)
        return Cells(
            NamesPrefix(self._names),
            starts,
            name_ids,
            np.array(cells.kinds, np.uint8),
            np.array(cells.numbers, np.float64),
            ListContents(cells.contents),
        )


class _ScannedContents(Contents):
    """The contents of cells that the compiled scanner has found in a block of bytes."""

    def __init__(
        self,
        decode_content: Callable[[bytes], object],
        syntax: tuple[int, bytes],
        data: bytes,
        begins: NDArray[np.int32],
    ) -> None:
        self._decode_content, self._syntax, self._data, self._begins = (
            decode_content,
            syntax,
            data,
            begins,
        )

    def get(self, i: int) -> object:
        content = compiled.extract_content(*self._syntax, self._data, self._begins[i])
        return self._decode_content(content)

    def get_all(self, ids: NDArray[np.intp]) -> list[object]:
        codes, contents = self.encode(ids)
        return list(map(contents.__getitem__, codes.tolist()))

    def encode(self, ids: NDArray[np.intp]) -> tuple[NDArray[np.int32], list[object]]:
        begins = self._begins[ids]
        ends = compiled.find_ends(*self._syntax, self._data, begins)
        codes, contents = compiled_cells.encode_slices(self._data, begins, ends, len(begins))
        return codes, list(map(self._decode_content, contents))


class CsvScanner(Scanner):
    """Scans CSV records; each field is a cell with the name of its column.

    Examples
    --------
    >>> scanner = CsvScanner(["a", "b"])
    >>> for cell in scanner.scan_record(b'1,"x, y"'):
    ...     print(cell.name, cell.kind.name, cell.number, cell.content)
    a NUMBER 1.0 1
    b TEXT nan x, y

    """

    def __init__(self, names: Sequence[str], dialect: Dialect = _PLAIN_DIALECT) -> None:
        scanner, syntax = None, (0, b",")
        if compiled is not None and len(dialect.delimiter.encode()) == 1:
            syntax = compiled.CSV, dialect.delimiter.encode()
            scanner = compiled.Scanner(
                compiled.CSV, b"", len(names), syntax[1], dialect.decimal.encode()
            )
        super().__init__(names, scanner, syntax)
        self._dialect = dialect

    def scan_record(self, record: bytes) -> CellList:
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        if '"' in text or self._dialect.delimiter == " ":
            contents = split_record(text, self._dialect)
        elif "\r" in text:
            raise SampleError("it has a carriage return before its end")
        else:
            contents = text.split(self._dialect.delimiter)
        if len(contents) != len(self._names):
            plural = "s" * (len(contents) != 1)
            raise SampleError(f"it has {len(contents):,} field{plural}, not {len(self._names):,}")
        numbers = "\n".join([*self._dialect.replace_decimal_commas(contents), ""])
        if numbers.count("\n") == len(contents) and _NUMBERS.fullmatch(numbers):
            values = list(map(float, numbers.splitlines()))
            return CellList.of_numbers(self._names, values, contents)
        return CellList(
            Cell(name, *self._parse_field(content), content)
            for name, content in zip(self._names, contents, strict=True)
        )

    def _parse_field(self, text: str) -> tuple[Kind, float]:
        """Return the kind of a field and its number."""
        stripped = text.strip(_SPACES)
        if not stripped:
            return Kind.NULL, math.nan
        if (number := BOOLS.get(stripped.lower())) is not None:
            return Kind.BOOL, number
        (text,) = self._dialect.replace_decimal_commas([text])
        return (Kind.NUMBER, float(text)) if _NUMBER.fullmatch(text) else (Kind.TEXT, math.nan)

    def _build_empty_record(self) -> CellList:
        return CellList(Cell(name, Kind.NULL, math.nan, "") for name in self._names)

    def _fetch_names(self) -> None:
        pass

    def _decode_content(self, content: bytes) -> str:
        text = content.decode(errors="surrogateescape")
        return text[1:-1].replace('""', '"') if text.startswith('"') else text


class JsonScanner(Scanner):
    """Scans JSON records: objects, or bare lists, which are named x.

    Examples
    --------
    >>> for cell in JsonScanner().scan_record(b'{"a": {"b": 1}, "c": [true]}'):
    ...     print(cell.name, cell.kind.name, cell.content, list(cell.members or []))
    a OBJECT {'b': 1} []
    a.b NUMBER 1 []
    c LIST [True] [Cell(name='', kind=<Kind.BOOL: 2>, number=1.0, content=True, members=None)]

    """

    _has_named_cells = True

    def __init__(self) -> None:
        scanner, syntax = None, (0, b",")
        if compiled is not None:
            scanner = compiled.Scanner(compiled.JSON, UNNAMED_LIST.encode())
            syntax = compiled.JSON, b","
        super().__init__([UNNAMED_LIST], scanner, syntax)

    def scan_record(self, record: bytes) -> CellList:
        value = parse_json_record(record)
        members = {UNNAMED_LIST: value} if isinstance(value, list) else value
        cells = CellList()
        stack = list(reversed(members.items()))
        while stack:
            name, content = stack.pop()
            if isinstance(content, dict):
                stack += [(f"{name}.{key}", member) for key, member in reversed(content.items())]
            cells.append(*_build_json_cell(name, content))
        for duplicate in find_duplicates(cells.names)[:1]:
            raise SampleError(f"it has {str(duplicate)[:50]!r} twice: as a key, and as a path")
        return cells

    def _decode_content(self, content: bytes) -> object:
        if content.startswith(b'"') and b"\\" not in content:
            return content[1:-1].decode()
        return int(content) if content.isdigit() else json.loads(content)


def _build_json_cell(name: str, value: Any) -> Cell:
    """Build the cell for a JSON value."""
    kind = _JSON_KINDS[type(value)]
    if kind is Kind.LIST:
        return Cell(name, kind, math.nan, value, _build_members(value))
    number = math.nan
    if kind in (Kind.NUMBER, Kind.BOOL):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
    return Cell(name, kind, number, value)


def _build_members(values: list[Any]) -> CellList:
    """Return the members of a list, flattened as long as all of them are lists."""
    while values and all(isinstance(value, list) for value in values):
        values = list(chain.from_iterable(values))
    if set(map(type, values)) <= {int, float}:
        with suppress(OverflowError):
            return CellList.of_numbers([""] * len(values), list(map(float, values)), values)
    return CellList(_build_json_cell("", value)._replace(members=None) for value in values)


class LibsvmScanner(Scanner):
    """Scans LIBSVM records: a label, which may be null, and a list of named numbers.

    Examples
    --------
    >>> label, pairs = LibsvmScanner().scan_record(b"7 3:0.5 # comment")
    >>> label.content, [(pair.name, pair.number) for pair in pairs.members]
    ('7', [('3', 0.5)])

    """

    _has_named_members = True

    def __init__(self) -> None:
        scanner, syntax = None, (0, b",")
        if compiled is not None:
            scanner, syntax = compiled.Scanner(compiled.LIBSVM), (compiled.LIBSVM, b",")
        super().__init__([], scanner, syntax)

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
        for duplicate in find_duplicates(names)[:1]:
            raise SampleError(f"it has feature {str(duplicate)[:50]!r} twice")
        pairs = CellList.of_numbers(names, list(map(float, numbers)), numbers)
        return CellList([label, Cell("", Kind.LIST, math.nan, "", pairs)])

    def _build_empty_record(self) -> CellList:
        label = Cell("", Kind.NULL, math.nan, "")
        return CellList([label, Cell("", Kind.LIST, math.nan, "", CellList())])
