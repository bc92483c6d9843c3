"""Lines of text, and the records made from them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
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
from stream_perceptron.model.vocabulary import find_duplicates

compiled: Any = import_module("stream_perceptron.data.text._scanner")

MAX_LINE_BYTES = 2**24  # a longer line is rejected, and usually not kept in memory

_CARRIAGE_RETURN = ord("\r")
_INITIAL_BUFFER_BYTES = 2**16  # the initial size of the buffer for a block of lines
_MAX_BUFFER_BYTES = 2**21  # the size up to which this buffer grows, unless a line is longer
_MAX_RECORD_LINES = 64  # the maximum number of lines in a CSV record
_MAX_RECORD_BYTES = 2**16  # the maximum size of a CSV record that spans several lines

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))  # a field may be a whole record


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class RawLines:
    """Consecutive lines of a source, each with its newline. Do not modify them."""

    data: bytes  # the bytes of all lines
    ends: NDArray[np.intp]  # the end of each line in `data`
    begin: int = 0  # the start of the first line in `data`
    # Whether these bytes are part of one line that is too long to keep; only its last part has an
    # end.
    is_overlong: bool = False
    has_comments: bool = False  # whether a line that begins with # counts as blank
    n_dropped_bytes: int = 0  # the number of bytes dropped from an overlong line

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: slice) -> RawLines:
        """Return a slice of the lines."""
        start, end, _ = rows.indices(len(self))
        if start == 0 and end == len(self):
            return self
        begin = int(self.ends[start - 1]) if 0 < start < end else self.begin
        return RawLines(self.data, self.ends[start:end], begin, self.is_overlong)

    @property
    def text(self) -> memoryview:
        """The bytes of these lines."""
        if self.is_overlong:
            return memoryview(self.data)
        return memoryview(self.data)[self.begin : self.ends[-1] if len(self) else self.begin]

    @lazy_property
    def size(self) -> int:
        """The number of bytes in these lines, including dropped ones."""
        if self.is_overlong:
            return len(self.data) + self.n_dropped_bytes
        return int(self.ends[-1]) - self.begin if len(self.ends) else 0

    @lazy_property
    def lengths(self) -> NDArray[np.intp]:
        """The number of bytes in each line."""
        if len(self.ends) == 1:
            return self.ends - self.begin
        lengths = self.ends.copy()
        lengths[1:] -= self.ends[:-1]
        lengths[:1] -= self.begin
        return lengths

    @lazy_property
    def nonblank(self) -> NDArray[np.intp]:
        """The indices of the lines that are not blank."""
        may_be_comments = self.has_comments and self.data.find(b"#", self.begin) >= 0
        if len(self.ends) == 1 and self.ends[0] - self.begin > 2 and not may_be_comments:
            return np.arange(1)
        lengths = self.lengths
        if self.is_overlong or (lengths.min(initial=3) > 2 and not may_be_comments):
            return np.arange(len(self))
        text = np.frombuffer(self.data, np.uint8)
        blank = (lengths == 1) | ((lengths == 2) & (text[self.ends - 2] == _CARRIAGE_RETURN))
        if may_be_comments:
            blank |= text[self.ends - lengths] == ord("#")
        return np.flatnonzero(~blank)

    def without_text(self, n_dropped_before: int = 0) -> RawLines:
        """Return an overlong line without its bytes; some may have been dropped earlier."""
        size, ends = n_dropped_before + len(self.data), np.zeros(len(self), np.intp)
        return RawLines(b"", ends, is_overlong=True, n_dropped_bytes=size)

    def without_blank_lines(self) -> RawLines:
        """Return the lines that are not blank."""
        nonblank = self.nonblank
        if len(nonblank) == len(self):
            return self
        lengths = self.lengths
        is_filled = np.zeros(len(self), bool)
        is_filled[nonblank] = True
        data = np.frombuffer(self.text, np.uint8)[np.repeat(is_filled, lengths)].tobytes()
        return RawLines(data, np.cumsum(lengths[nonblank]))

    def records(self) -> list[bytes | None]:
        """Return the lines as a list, with None for each line that is too long."""
        if self.is_overlong:
            return [None] * len(self)
        ends = self.ends.tolist()
        return [self.data[a:b] for a, b in zip([self.begin, *ends], ends, strict=False)]


def read_lines(stream: ByteStream, max_lines: int) -> Iterator[RawLines]:
    """Yield blocks of at most `max_lines` whole lines as they arrive.

    A newline is added to the last line if it has none. A line that is too long to keep is yielded
    in parts. After an interrupt, reading continues to the end of the current line.
    """
    buffer = bytearray(_INITIAL_BUFFER_BYTES)
    n = 0  # the number of bytes in an unfinished line
    while True:
        with memoryview(buffer) as view, view[n:] as rest:
            n_read = stream.fill(rest)
        end = buffer.rfind(b"\n", n, n + n_read) + 1
        n += n_read
        is_full = n == len(buffer)
        if not n_read:
            break
        if end:
            with memoryview(buffer) as view, view[:end] as lines:
                block = bytes(lines)
            buffer[: n - end] = buffer[end:n]
            n -= end
            yield from _split_block(block, max_lines)
        if n > MAX_LINE_BYTES:
            data, n = bytes(buffer[:n]), 0
            while True:
                end = data.find(b"\n") + 1
                if end or not data:
                    break
                yield RawLines(data, np.zeros(0, np.intp), is_overlong=True)
                data = stream.read_available() or stream.read_line()
            if stream.is_interrupted and not (end or stream.has_ended):
                return
            stream.unread(data[end:])
            yield RawLines(data[:end], np.array([end], np.intp), is_overlong=True)
        elif n == len(buffer) or (is_full and len(buffer) < _MAX_BUFFER_BYTES):
            buffer += bytes(len(buffer))
    line = bytes(buffer[:n])
    if not stream.is_interrupted:
        if line:
            yield from _split_block(line + b"\n", max_lines)
        return
    if line:
        line += stream.read_line()
        if not line.endswith(b"\n"):
            if not stream.has_ended:
                return
            line += b"\n"
        yield from _split_block(line, max_lines)


def _split_block(block: bytes, max_lines: int) -> Iterator[RawLines]:
    """Yield at most `max_lines` lines of a block at a time, and overlong lines one by one."""
    lines = RawLines(block, _find_line_ends(block))
    if len(block) <= MAX_LINE_BYTES and len(lines) <= max_lines:
        yield lines
        return
    too_long = np.flatnonzero(lines.lengths > MAX_LINE_BYTES).tolist()
    first = 0
    for end in [*too_long, len(lines)]:
        for start in range(first, end, max_lines):
            yield lines[start : min(start + max_lines, end)]
        if end < len(lines):
            line = bytes(lines[end : end + 1].text)
            yield RawLines(line, np.array([len(line)], np.intp), is_overlong=True)
        first = end + 1


def _find_line_ends(data: bytes) -> NDArray[np.intp]:
    """Return the end of each line in a block, after its newline."""
    if data.find(b"\n") == len(data) - 1:  # a single line, as in most blocks of a live stream
        return np.array([len(data)], np.intp)
    return np.asarray(compiled.find_line_ends(data))


class Dialect(NamedTuple):
    """The delimiter and the decimal mark of CSV data."""

    delimiter: str = ","  # consecutive spaces count as one delimiter
    decimal: str = "."

    def split(self, line: str, strict: bool = False) -> list[str]:
        """Split a line, which may contain quotes, into fields; a blank line has none."""
        is_space = self.delimiter == " "
        lines = [line.strip(" ") if is_space else line]
        reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=is_space, strict=strict
        )
        return next(reader, [])

    def replace_decimal_commas(self, fields: list[str]) -> list[str]:
        """Return the fields with decimal commas replaced by decimal points."""
        if self.decimal == ".":
            return fields
        return [f.replace(",", ".") if DECIMAL_COMMA.fullmatch(f) else f for f in fields]


def split_record(record: str, dialect: Dialect) -> list[str]:
    """Split a record, given without its newline, into fields.

    Raises
    ------
    SampleError
        If quotes or carriage returns are in the wrong places.

    Examples
    --------
    >>> split_record('1,"a ""b"", c"', Dialect()), split_record("a  b c ", Dialect(" "))
    (['1', 'a "b", c'], ['a', 'b', 'c'])

    """
    try:
        return dialect.split(record, strict=True)
    except csv.Error:
        if record.count('"') % 2:
            raise SampleError("it has an open quote") from None
        if "\r" in record:
            raise SampleError("it has a carriage return before its end") from None
        raise SampleError("it has a quote in the wrong place") from None


_NO_LINES = RawLines(b"", np.zeros(0, np.intp))


def join_records(blocks: Iterator[RawLines], dialect: Dialect, n_fields: int) -> Iterator[RawLines]:
    """Yield the records in blocks of lines; most records are single lines.

    If a line leaves a quote open, its record extends to the line with the closing quote,
    provided that the record spans at most 64 lines and 64 KiB and has `n_fields` fields. Otherwise,
    the line is a record of its own.
    """
    incomplete = _NO_LINES
    for lines in chain(blocks, [None]):
        is_end = lines is None or lines.is_overlong
        if lines is not None and not is_end:
            incomplete = _concatenate(incomplete, lines) if len(incomplete) else lines
        records, incomplete = _take_complete_records(incomplete, is_end, dialect, n_fields)
        if len(records):
            yield records
        if lines is not None and lines.is_overlong:
            yield lines


def _take_complete_records(
    lines: RawLines, is_end: bool, dialect: Dialect, n_fields: int
) -> tuple[RawLines, RawLines]:
    """Return the complete records, and the lines of the last record if it may continue."""
    n = len(lines)
    if not n or lines.data.find(b'"', lines.begin, lines.ends[-1]) < 0:
        return lines, _NO_LINES
    ends = lines.ends.tolist()
    starts = [lines.begin, *ends[:-1]]
    quotes = np.flatnonzero(np.frombuffer(lines.text, np.uint8) == ord('"')) + lines.begin
    counts = np.bincount(np.searchsorted(lines.ends, quotes, side="right"), minlength=n)
    open_or_close = np.flatnonzero(counts % 2).tolist()
    ends_record = np.ones(n, bool)
    n_complete, i = n, 0  # the number of lines in complete records
    while i < len(open_or_close):
        first = open_or_close[i]
        last = open_or_close[i + 1] if i + 1 < len(open_or_close) else n
        end = ends[last if last < n else n - 1]
        is_near = last - first < _MAX_RECORD_LINES and end - starts[first] <= _MAX_RECORD_BYTES
        i += 1
        if last == n and is_near and not is_end:
            n_complete = first
        elif (
            last < n
            and is_near
            and _has_n_fields(lines.data[starts[first] : end], dialect, n_fields)
        ):
            ends_record[first:last] = False
            i += 1
    ends_of_records = lines.ends[:n_complete][ends_record[:n_complete]]
    return replace(lines, ends=ends_of_records), lines[n_complete:]


def _concatenate(one: RawLines, other: RawLines) -> RawLines:
    ends = one.ends - one.begin, other.ends - other.begin + len(one.text)
    return RawLines(b"".join([one.text, other.text]), np.concatenate(ends))


def _has_n_fields(data: bytes, dialect: Dialect, n_fields: int) -> bool:
    """Return whether bytes are a single CSV record with this number of fields."""
    if _record_pattern(dialect, n_fields).fullmatch(data):
        return True
    text = data.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    try:
        return len(split_record(text, dialect)) == n_fields
    except SampleError:
        return False


@lru_cache(maxsize=8)
def _record_pattern(dialect: Dialect, n_fields: int) -> re.Pattern[bytes]:
    """Return a pattern that matches most records with this number of fields.

    Matching it is faster than calling `split_record`.
    """
    delimiter = re.escape(dialect.delimiter.encode())
    field = rb'(?:"(?:[^"]|"")*"|[^"\r\n' + delimiter + rb"]*)"
    others = rb"(?:%s%s){%d}" % (delimiter, field, n_fields - 1)
    return re.compile(field + others + rb"\r?\n")


def parse_json_record(record: bytes) -> dict[str, object] | list[object]:
    """Parse a JSON record, which must be an object or a list.

    Raises
    ------
    SampleError
        If the record is anything else.

    """
    try:
        text = record.decode()
        value = json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_build_object)
        if "\\u" in text:
            # JSON can escape a lone surrogate, but UTF-8 cannot encode it.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise SampleError(NOT_UTF8) from None
    except RecursionError:
        raise SampleError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise SampleError(f"it is not valid JSON from character {error.pos + 1:,} on") from None
    except SampleError:
        raise
    except ValueError:
        raise SampleError("it has a number that is too long or not valid in JSON") from None
    if not isinstance(value, list | dict):
        raise SampleError(f"it is {text.strip()[:50]}, not an object or a list")
    return value


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs of a JSON object as a dict; a repeated key raises a SampleError."""
    value = dict(pairs)
    if len(value) < len(pairs):
        duplicates = find_duplicates([name for name, _ in pairs])
        raise SampleError(f"it has the key {str(duplicates[0])[:50]!r} twice")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(name)
