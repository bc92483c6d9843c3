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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.text.records import (
    DECIMAL_COMMA,
    LONGEST_LINE,
    NOT_UTF8,
    Dialect,
    RawLines,
    fields,
    value_in,
)
from stream_perceptron.data.text.sample import NUMBER
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import FirstNames, doubled

try:
    compiled: Any = import_module("stream_perceptron.data.text._scanner")
except ImportError:  # built without a compiler
    compiled = None

BARE_LIST = "x"  # the name of a list without a name
LIBSVM_LABEL = ""  # the name of the label in a line of LIBSVM

_SPACES = " \t\n\r\v\f"
_QUOTE = ord('"')
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
_BOOLS = {"true": 1.0, "false": 0.0}
_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_LONGEST_REASON = 300
_TOO_LONG = f"the line is longer than {LONGEST_LINE // 2**20} MiB"


class Cell(NamedTuple):
    """A cell of a record."""

    name: str
    kind: Kind
    number: float  # NaN if it is not a number
    content: Any
    position: int = -1  # of a member of a list


class Scanner(ABC):
    """Scans the records of one format."""

    _is_table = False  # whether each record has a cell for every name

    def __init__(self, names: Iterable[str] = (), compiled_scanner: Any = None) -> None:
        # The names of all records so far. The list only grows, and cells share its beginning.
        self._names: list[Any] = list(names)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._compiled = compiled_scanner

    @abstractmethod
    def scan_record(self, record: bytes) -> list[Cell]:
        """Return the cells of a record.

        Raises
        ------
        SampleError
            If the record is not well-formed.

        """

    @abstractmethod
    def _convert(self, data: bytes, begin: int, end: int, kind: int) -> Any:
        """Return the content of a cell that the compiled scanner has found in some bytes."""

    def scan(self, lines: RawLines) -> Cells:
        """Return the cells of records."""
        if self._compiled is None or lines.are_too_long or not len(lines):
            return self._collect(lines.records())
        data = lines.data
        starts, name_ids, positions, kinds, numbers, spans, is_odd = self._compiled.scan(
            data, lines.begin, lines.ends
        )
        self._add_names()

        def content(i: int) -> Any:
            return self._convert(data, *spans[i].tolist(), int(kinds[i]))

        def many(ids: NDArray[np.intp]) -> list[Any]:
            parts = compiled.cut(data, spans[ids].astype(np.intp))
            contents = {}
            for part in dict.fromkeys(parts):
                # The byte before a field tells whether it is in quotes; else it does not matter.
                if b'"' in part and self._is_table:
                    return list(map(content, ids.tolist()))
                contents[part] = self._convert(part, 0, len(part), 0)
            return list(map(contents.__getitem__, parts))

        cells = Cells(
            FirstNames(self._names), starts, name_ids, positions, kinds, numbers, content,
            many=many, number_of=self._find,
        )  # fmt: skip
        return self._with_odd(cells, lines, np.flatnonzero(is_odd)) if is_odd.any() else cells

    def _add_names(self) -> None:
        """Add the names that the compiled scanner has found."""
        new = self._compiled.names_from(len(self._names))
        self._names += [name.decode() for name in new]

    def _find(self, name: str) -> int:
        """Return the number of a name, -1 if it has not occurred."""
        if self._compiled is None or self._is_table:
            return self._numbers.get(name, -1)
        return int(self._compiled.find(name.encode(errors="surrogatepass")))

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

    def _collect(self, records: Sequence[bytes | None]) -> Cells:
        """Return the cells of records scanned one by one."""
        cells: list[Cell] = []
        starts, errors = [0], {}
        for i, record in enumerate(records):
            try:
                if record is None:
                    raise SampleError(_TOO_LONG)
                cells += self.scan_record(record)
            except SampleError as error:
                errors[i] = str(error)[:_LONGEST_REASON]
                if self._is_table:
                    cells += [Cell(name, Kind.NULL, math.nan, "") for name in self._names]
            starts.append(len(cells))
        is_table = self._is_table
        name_ids = None
        if not is_table:
            name_ids = np.array([self._number(cell.name) for cell in cells], np.int32)
        return Cells(
            FirstNames(self._names),
            np.array(starts, np.intp),
            name_ids,
            None if is_table else np.array([cell.position for cell in cells], np.int32),
            np.array([cell.kind for cell in cells], np.uint8),
            np.array([cell.number for cell in cells], np.float64),
            [cell.content for cell in cells].__getitem__,
            errors,
            number_of=self._find,
        )

    def _with_odd(self, cells: Cells, lines: RawLines, odd: NDArray[np.intp]) -> Cells:
        """Return cells with those of odd records, which the compiled scanner has left out."""
        starts = np.concatenate([[lines.begin], lines.ends[:-1]])[odd].tolist()
        records = zip(starts, lines.ends[odd].tolist(), strict=True)
        others = self._collect([lines.data[start:end] for start, end in records])
        errors = {int(odd[i]): reason for i, reason in others.errors.items()}
        lengths = np.diff(others.starts)
        m = len(cells.kinds)
        # The number of each cell here; those of odd records from m on.
        if self._is_table:
            origins = np.arange(m)
            at = (cells.starts[odd][:, np.newaxis] + np.arange(len(self._names))).ravel()
            origins[at] = m + np.arange(len(at))
            starts_of_all = cells.starts
        elif len(others.kinds):
            at = np.repeat(cells.starts[odd], lengths)
            origins = np.insert(np.arange(m), at, m + np.arange(len(at)))
            lengths_of_all = np.diff(cells.starts)
            lengths_of_all[odd] = lengths
            starts_of_all = np.concatenate([[0], np.cumsum(lengths_of_all)])
        else:
            return replace(cells, errors=errors)

        def content(i: int) -> Any:
            origin = int(origins[i])
            return cells.content(origin) if origin < m else others.content(origin - m)

        def of_all(one: NDArray[Any] | None, other: NDArray[Any] | None) -> Any:
            return None if one is None or other is None else np.concatenate([one, other])[origins]

        return Cells(
            FirstNames(self._names),
            starts_of_all,
            of_all(cells.name_ids, others.name_ids),
            of_all(cells.positions, others.positions),
            of_all(cells.kinds, others.kinds),
            of_all(cells.numbers, others.numbers),
            content,
            errors,
            number_of=self._find,
        )


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

    _is_table = True

    def __init__(self, names: Sequence[str], dialect: Dialect = _PLAIN_DIALECT) -> None:
        scanner = None
        if compiled is not None and len(dialect.delimiter.encode()) == 1:
            scanner = compiled.Scanner(
                compiled.CSV, b"", len(names), dialect.delimiter.encode(), dialect.decimal.encode()
            )
        super().__init__(names, scanner)
        self._dialect = dialect

    def scan_record(self, record: bytes) -> list[Cell]:
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        if '"' in text or self._dialect.delimiter == " ":
            contents = fields(text, self._dialect)
        elif "\r" in text:
            raise SampleError("it has a carriage return inside")
        else:
            contents = text.split(self._dialect.delimiter)
        if len(contents) != len(self._names):
            raise SampleError(f"it has {len(contents):,} fields, not {len(self._names):,}")
        return [
            Cell(name, *self._read(content), content)
            for name, content in zip(self._names, contents, strict=True)
        ]

    def _read(self, text: str) -> tuple[Kind, float]:
        """Return the kind of a field and its number."""
        stripped = text.strip(_SPACES)
        if not stripped:
            return Kind.NULL, math.nan
        if (number := _BOOLS.get(stripped.lower())) is not None:
            return Kind.BOOL, number
        (text,) = self._dialect.with_points([text])
        return (Kind.NUMBER, float(text)) if _NUMBER.fullmatch(text) else (Kind.TEXT, math.nan)

    def _add_names(self) -> None:
        pass

    def _convert(self, data: bytes, begin: int, end: int, kind: int) -> str:
        text = data[begin:end].decode(errors="surrogateescape")
        # A field in quotes is found without them.
        return text.replace('""', '"') if begin and data[begin - 1] == _QUOTE else text


class JsonScanner(Scanner):
    """Scans records of JSON: objects, or lists, which are then called x.

    Examples
    --------
    >>> for cell in JsonScanner().scan_record(b'{"a": {"b": 1}, "c": [true]}'):
    ...     print(cell.name, cell.kind.name, cell.number, cell.content, cell.position)
    a OBJECT nan {'b': 1} -1
    a.b NUMBER 1.0 1 -1
    c LIST nan [True] -1
    c BOOL 1.0 True 0

    """

    def __init__(self) -> None:
        scanner = None
        if compiled is not None:
            scanner = compiled.Scanner(compiled.JSON, BARE_LIST.encode())
        super().__init__([BARE_LIST], scanner)

    def scan_record(self, record: bytes) -> list[Cell]:
        value = value_in(record)
        members = {BARE_LIST: value} if isinstance(value, list) else value
        cells: list[Cell] = []
        left = list(reversed(members.items()))
        while left:
            name, part = left.pop()
            cells.append(_json_cell(name, part))
            if isinstance(part, dict):
                left += [(f"{name}.{key}", inside) for key, inside in reversed(part.items())]
            elif isinstance(part, list):
                flat = part
                while flat and all(isinstance(member, list) for member in flat):
                    flat = list(chain.from_iterable(flat))
                cells += [_json_cell(name, member, i) for i, member in enumerate(flat)]
        names = [cell.name for cell in cells if cell.position < 0]
        for twice in doubled(names)[:1]:
            raise SampleError(f"it has {str(twice)[:50]!r} twice: as a key, and as a path")
        return cells

    def _convert(self, data: bytes, begin: int, end: int, kind: int) -> Any:
        return json.loads(data[begin:end])


def _json_cell(name: str, value: Any, position: int = -1) -> Cell:
    kind = _JSON_KINDS[type(value)]
    number = math.nan
    if kind in (Kind.NUMBER, Kind.BOOL):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
    return Cell(name, kind, number, value, position)


class LibsvmScanner(Scanner):
    """Scans lines of LIBSVM: a label, whose name is empty, and pairs of a name and a number.

    Examples
    --------
    >>> for cell in LibsvmScanner().scan_record(b"7 3:0.5 # comment"):
    ...     print(repr(cell.name), cell.kind.name, cell.number, cell.content)
    '' TEXT nan 7
    '3' NUMBER 0.5 0.5

    """

    def __init__(self) -> None:
        scanner = None
        if compiled is not None:
            scanner = compiled.Scanner(compiled.LIBSVM, LIBSVM_LABEL.encode())
        super().__init__([LIBSVM_LABEL], scanner)

    def scan_record(self, record: bytes) -> list[Cell]:
        try:
            tokens = record.decode().partition("#")[0].split()
        except UnicodeDecodeError:
            raise SampleError(NOT_UTF8) from None
        cells = []
        if tokens and ":" not in tokens[0]:
            cells.append(Cell(LIBSVM_LABEL, Kind.TEXT, math.nan, tokens.pop(0)))
        for token in tokens:
            match = _PAIR.fullmatch(token)
            if match is None:
                raise SampleError(
                    f"it is not LIBSVM: {token[:50]!r} is not an index:value pair"
                )
            cells.append(Cell(match[1], Kind.NUMBER, float(match[2]), match[2]))
        for twice in doubled([cell.name for cell in cells])[:1]:
            raise SampleError(f"it has feature {str(twice)[:50]!r} twice")
        return cells

    def _convert(self, data: bytes, begin: int, end: int, kind: int) -> str:
        return data[begin:end].decode()
