"""Records of CSV that span several lines, as a newline stands between quotes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from stream_perceptron.data.batch import LONGEST_LINE, RawLines
from stream_perceptron.errors import SampleError

_MOST_LINES = 64
_MOST_BYTES = 2**16

csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # a field is a record at most


def fields(record: str, delimiter: str) -> list[str]:
    """Return the fields of a record that may have quotes, without its newline.

    Examples
    --------
    >>> fields('1,"a ""b"", c"', ",")
    ['1', 'a "b", c']

    """
    try:
        return next(csv.reader([record], delimiter=delimiter, strict=True))
    except csv.Error:
        if record.count('"') % 2:
            raise SampleError("it has an open quote") from None
        if "\r" in record:
            raise SampleError("it has a carriage return inside") from None
        raise SampleError("it has a quote in the wrong place") from None


def joined(blocks: Iterator[RawLines], delimiter: str, n_fields: int) -> Iterator[RawLines]:
    """Yield the records that lines make, which mostly are one each.

    A line that leaves a quote open spans at most 64 lines or 64 KiB, up to the quote that
    closes it, if all of it has the right number of fields. If not, the line is a record by itself.
    """
    held = RawLines(b"", np.zeros(0, np.intp))
    for lines in chain(blocks, [None]):
        is_end = lines is None or lines.are_too_long
        if lines is not None and not is_end:
            held = _both(held, lines) if len(held) else lines
        records, held = _join(held, is_end, delimiter, n_fields)
        if len(records):
            yield records
        if lines is not None and lines.are_too_long:
            yield lines


def _join(
    lines: RawLines, is_end: bool, delimiter: str, n_fields: int
) -> tuple[RawLines, RawLines]:
    """Return records, and the lines of the last one if more of it may come."""
    n = len(lines)
    if not n or lines.data.find(b'"', lines.begin, lines.ends[-1]) < 0:
        return lines, lines[n:]
    starts = np.concatenate([[lines.begin], lines.ends[:-1]])
    quotes = np.flatnonzero(np.frombuffer(lines.text, np.uint8) == ord('"')) + lines.begin
    counts = np.bincount(np.searchsorted(lines.ends, quotes, side="right"), minlength=n)
    open_or_close = np.flatnonzero(counts % 2).tolist()
    ends_record = np.ones(n, bool)
    held, i = n, 0
    while i < len(open_or_close):
        first = open_or_close[i]
        last = open_or_close[i + 1] if i + 1 < len(open_or_close) else n
        end = lines.ends[min(last, n - 1)]
        is_near = last - first < _MOST_LINES and end - starts[first] <= _MOST_BYTES
        i += 1
        if last == n and is_near and not is_end:
            held = first
        elif (
            last < n
            and is_near
            and _is_record(lines.data[starts[first] : end], delimiter, n_fields)
        ):
            ends_record[first:last] = False
            i += 1
    return replace(lines, ends=lines.ends[:held][ends_record[:held]]), lines[held:]


def _both(one: RawLines, other: RawLines) -> RawLines:
    ends = one.ends - one.begin, other.ends - other.begin + len(one.text)
    return RawLines(b"".join([one.text, other.text]), np.concatenate(ends))


def _is_record(data: bytes, delimiter: str, n_fields: int) -> bool:
    text = data.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    try:
        return len(fields(text, delimiter)) == n_fields
    except SampleError:
        return False
