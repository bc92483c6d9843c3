"""Lines of text, and the records made from them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.byte_stream import ByteStream
from stream_perceptron.data.lazy import lazy_property
from stream_perceptron.data.values import DECIMAL_COMMA, NOT_UTF8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import doubled

try:
    scanner: Any = import_module("stream_perceptron.data.text._scanner")
except ImportError:  # built without a compiler
    scanner = None

LONGEST_LINE = 2**24  # bytes; a longer line is rejected, and mostly not kept in memory

_RETURN = ord("\r")
_FIRST = 2**16  # initial size in bytes of a block of lines
_BLOCK = 2**21  # its largest size
_MOST_LINES = 64  # of a CSV record
_MOST_BYTES = 2**16  # of a CSV record with several lines

csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # a field may be a whole record


@dataclass(frozen=True, eq=False, repr=False)
class RawLines:
    """Consecutive lines of a source, each with its newline."""

    data: bytes  # the bytes of all lines
    ends: NDArray[np.intp]  # the end of each line in `data`
    begin: int = 0  # the start of the first line in `data`
    # Whether this is part of one line too long to keep; its last part has the end.
    are_too_long: bool = False
    has_comments: bool = False  # whether a line that begins with # counts as blank
    n_dropped: int = 0  # dropped bytes of a line too long to keep

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: slice) -> RawLines:
        """Return a slice of the lines."""
        start, end, _ = rows.indices(len(self))
        if start == 0 and end == len(self):
            return self
        begin = int(self.ends[start - 1]) if 0 < start < end else self.begin
        return RawLines(self.data, self.ends[start:end], begin, self.are_too_long)

    @property
    def text(self) -> memoryview:
        """The bytes of these lines."""
        if self.are_too_long:
            return memoryview(self.data)
        return memoryview(self.data)[self.begin : self.ends[-1] if len(self) else self.begin]

    @lazy_property
    def lengths(self) -> NDArray[np.intp]:
        """The number of bytes of each line."""
        if len(self.ends) == 1:
            return self.ends - self.begin
        lengths = self.ends.copy()
        lengths[1:] -= self.ends[:-1]
        lengths[:1] -= self.begin
        return lengths

    @lazy_property
    def filled(self) -> NDArray[np.intp]:
        """The places of the lines that are not blank."""
        may_be_comments = self.has_comments and self.data.find(b"#", self.begin) >= 0
        if len(self.ends) == 1 and self.ends[0] - self.begin > 2 and not may_be_comments:
            return np.arange(1)
        lengths = self.lengths
        if self.are_too_long or (lengths.min(initial=3) > 2 and not may_be_comments):
            return np.arange(len(self))
        text = np.frombuffer(self.data, np.uint8)
        blank = (lengths == 1) | ((lengths == 2) & (text[self.ends - 2] == _RETURN))
        if may_be_comments:
            blank |= text[self.ends - lengths] == ord("#")
        return np.flatnonzero(~blank)

    def without_text(self, before: int = 0) -> RawLines:
        """Return a line too long to keep without its bytes; `before` are dropped already."""
        size, ends = before + len(self.data), np.zeros(len(self), np.intp)
        return RawLines(b"", ends, are_too_long=True, n_dropped=size)

    def without_blanks(self) -> RawLines:
        """Return the lines that are not blank."""
        filled = self.filled
        if len(filled) == len(self):
            return self
        lengths = self.lengths
        is_filled = np.zeros(len(self), bool)
        is_filled[filled] = True
        data = np.frombuffer(self.text, np.uint8)[np.repeat(is_filled, lengths)].tobytes()
        return RawLines(data, np.cumsum(lengths[filled]))

    def records(self) -> list[bytes | None]:
        """Return the lines as a list; None for a line that is too long."""
        if self.are_too_long:
            return [None] * len(self)
        ends = self.ends.tolist()
        return [self.data[a:b] for a, b in zip([self.begin, *ends], ends, strict=False)]


def cut_lines(
    source: ByteStream, max_lines: int, is_record_open: Callable[[], bool] = lambda: False
) -> Iterator[RawLines]:
    """Yield whole lines as they arrive, at most `max_lines` at once, until the end.

    The last line gets a newline if it has none. A line too long to keep comes in parts. After an
    interrupt, the lines go on to the end of the record; `is_record_open` says whether the lines so
    far end within a record.
    """
    buffer = bytearray(_FIRST)
    n = 0  # bytes of an unfinished line
    while True:
        with memoryview(buffer) as view, view[n:] as rest:
            more = source.fill(rest)
        end = buffer.rfind(b"\n", n, n + more) + 1
        n += more
        is_full = n == len(buffer)
        if not more:
            break
        if end:
            with memoryview(buffer) as view, view[:end] as lines:
                block = bytes(lines)
            buffer[: n - end] = buffer[end:n]
            n -= end
            yield from _lines(block, max_lines)
        if n > LONGEST_LINE:
            data, n = bytes(buffer[:n]), 0
            while True:
                end = data.find(b"\n") + 1
                if end or not data:
                    break
                yield RawLines(data, np.zeros(0, np.intp), are_too_long=True)
                data = source.read_some() or source.read_line()
            if source.is_interrupted and not (end or source.has_ended):
                return
            source.unread(data[end:])
            yield RawLines(data[:end], np.array([end], np.intp), are_too_long=True)
        elif n == len(buffer) or (is_full and len(buffer) < _BLOCK):
            buffer += bytes(len(buffer))
    line = bytes(buffer[:n])
    if not source.is_interrupted:
        if line:
            yield from _lines(line + b"\n", max_lines)
        return
    while line or is_record_open():
        line += source.read_line()
        if not line.endswith(b"\n"):
            if not (line and source.has_ended):
                return
            line += b"\n"
        yield from _lines(line, max_lines)
        line = b""


def _lines(block: bytes, max_lines: int) -> Iterator[RawLines]:
    """Yield whole lines, at most `max_lines` at once, and each line that is too long alone."""
    lines = RawLines(block, _line_ends(block))
    if len(block) <= LONGEST_LINE and len(lines) <= max_lines:
        yield lines
        return
    too_long = np.flatnonzero(lines.lengths > LONGEST_LINE).tolist()
    first = 0
    for end in [*too_long, len(lines)]:
        for start in range(first, end, max_lines):
            yield lines[start : min(start + max_lines, end)]
        if end < len(lines):
            line = bytes(lines[end : end + 1].text)
            yield RawLines(line, np.array([len(line)], np.intp), are_too_long=True)
        first = end + 1


def _line_ends(data: bytes) -> NDArray[np.intp]:
    """Return the end of each line in some bytes, after its newline."""
    if scanner is not None:
        return np.asarray(scanner.line_ends(data))
    return np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1


class Dialect(NamedTuple):
    """The delimiter and the decimal mark of CSV."""

    delimiter: str = ","  # several blanks count as one
    decimal: str = "."

    def fields(self, line: str, strict: bool = False) -> list[str]:
        """Return the fields of a line that may have quotes; none for a blank line."""
        are_blanks = self.delimiter == " "
        lines = [line.strip(" ") if are_blanks else line]
        reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=are_blanks, strict=strict
        )
        return next(reader, [])

    def with_points(self, cells: list[str]) -> list[str]:
        """Return cells with decimal commas replaced by points."""
        if self.decimal == ".":
            return cells
        return [c.replace(",", ".") if DECIMAL_COMMA.fullmatch(c) else c for c in cells]


def fields(record: str, dialect: Dialect) -> list[str]:
    """Return the fields of a record without its newline, which may have quotes.

    Examples
    --------
    >>> fields('1,"a ""b"", c"', Dialect()), fields("a  b c ", Dialect(" "))
    (['1', 'a "b", c'], ['a', 'b', 'c'])

    """
    try:
        return dialect.fields(record, strict=True)
    except csv.Error:
        if record.count('"') % 2:
            raise SampleError("it has an open quote") from None
        if "\r" in record:
            raise SampleError("it has a carriage return inside") from None
        raise SampleError("it has a quote in the wrong place") from None


def joined(blocks: Iterator[RawLines], dialect: Dialect, n_fields: int) -> Iterator[RawLines]:
    """Yield the records of lines, mostly one a line.

    A record whose first line leaves a quote open continues to the closing quote, over at most 64
    lines or 64 KiB, if it then has `n_fields` fields. Otherwise the line is a record by itself.
    """
    held = RawLines(b"", np.zeros(0, np.intp))
    for lines in chain(blocks, [None]):
        is_end = lines is None or lines.are_too_long
        if lines is not None and not is_end:
            held = _both(held, lines) if len(held) else lines
        records, held = _join(held, is_end, dialect, n_fields)
        if len(records):
            yield records
        if lines is not None and lines.are_too_long:
            yield lines


def _join(
    lines: RawLines, is_end: bool, dialect: Dialect, n_fields: int
) -> tuple[RawLines, RawLines]:
    """Return the complete records, and the lines of the last one if it may continue."""
    n = len(lines)
    if not n or lines.data.find(b'"', lines.begin, lines.ends[-1]) < 0:
        return lines, lines[n:]
    ends = lines.ends.tolist()
    starts = [lines.begin, *ends[:-1]]
    quotes = np.flatnonzero(np.frombuffer(lines.text, np.uint8) == ord('"')) + lines.begin
    counts = np.bincount(np.searchsorted(lines.ends, quotes, side="right"), minlength=n)
    open_or_close = np.flatnonzero(counts % 2).tolist()
    ends_record = np.ones(n, bool)
    held, i = n, 0
    while i < len(open_or_close):
        first = open_or_close[i]
        last = open_or_close[i + 1] if i + 1 < len(open_or_close) else n
        end = ends[last if last < n else n - 1]
        is_near = last - first < _MOST_LINES and end - starts[first] <= _MOST_BYTES
        i += 1
        if last == n and is_near and not is_end:
            held = first
        elif (
            last < n and is_near and _is_record(lines.data[starts[first] : end], dialect, n_fields)
        ):
            ends_record[first:last] = False
            i += 1
    return replace(lines, ends=lines.ends[:held][ends_record[:held]]), lines[held:]


def _both(one: RawLines, other: RawLines) -> RawLines:
    ends = one.ends - one.begin, other.ends - other.begin + len(one.text)
    return RawLines(b"".join([one.text, other.text]), np.concatenate(ends))


def _is_record(data: bytes, dialect: Dialect, n_fields: int) -> bool:
    if _record_pattern(dialect, n_fields).fullmatch(data):
        return True
    text = data.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    try:
        return len(fields(text, dialect)) == n_fields
    except SampleError:
        return False


@lru_cache(maxsize=8)
def _record_pattern(dialect: Dialect, n_fields: int) -> re.Pattern[bytes]:
    """Return a pattern of records with this number of fields, which is faster than `fields`.

    Not all records match it.
    """
    delimiter = re.escape(dialect.delimiter.encode())
    field = rb'(?:"(?:[^"]|"")*"|[^"\r\n' + delimiter + rb"]*)"
    others = rb"(?:%s%s){%d}" % (delimiter, field, n_fields - 1)
    return re.compile(field + others + rb"\r?\n")


def value_in(record: bytes) -> dict[str, Any] | list[Any]:
    """Return the object or the list in a JSON record."""
    try:
        text = record.decode()
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
        if "\\u" in text:
            # Half of a surrogate pair can be escaped, but not encoded.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise SampleError(NOT_UTF8) from None
    except RecursionError:
        raise SampleError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise SampleError(f"it is not JSON from character {error.pos + 1:,} on") from None
    except SampleError:
        raise
    except ValueError:
        raise SampleError("it has a number that is too long or is not JSON") from None
    if not isinstance(value, list | dict):
        raise SampleError(f"it is {text.strip()[:50]}, not an object or a list")
    return value


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = doubled([name for name, _ in pairs])
        raise SampleError(f"it has the key {str(twice[0])[:50]!r} twice")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
