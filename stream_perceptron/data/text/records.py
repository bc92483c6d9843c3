"""Records of text, parsed by the standard library, one at a time."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from stream_perceptron.data.values import DECIMAL_COMMA, NOT_UTF8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import find_duplicates

_MAX_RECORD_LINES = 64  # as in formats.h
DELIMITERS = ",\t;|"  # those that are detected
MAX_LINE_BYTES = 2**24  # a longer line is rejected, and not kept in memory

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))  # a field may be a whole record


class Dialect(NamedTuple):
    """The delimiter and the decimal separator of CSV data."""

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

    def replace_decimal_comma(self, field: str) -> str:
        """Return a field with a decimal comma replaced by a decimal point."""
        has_comma = self.decimal == "," and DECIMAL_COMMA.fullmatch(field)
        return field.replace(",", ".") if has_comma else field


COMMAS = Dialect()


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


def has_open_quote(record: str, delimiters: str = DELIMITERS) -> bool:
    """Whether a field begins with a quote that is not closed; the delimiter is any of `delimiters`.

    Examples
    --------
    >>> has_open_quote('1,"two'), has_open_quote('1,two"')
    (True, False)

    """
    any_of, quoted = re.escape(delimiters), r'"(?:[^"]|"")*'
    field = rf'(?:{quoted}"|(?!")[^{any_of}]*)'
    return bool(re.fullmatch(rf"(?:{field}[{any_of}])*{quoted}", record))


def complete_record(line: str, following: Iterable[str], delimiters: str) -> tuple[str, int]:
    """Return the CSV record that begins with a line, and the number of its lines.

    The delimiter is any of `delimiters`. If a quote stays open for 64 lines, the record is the line
    alone; if the lines end before, the record is incomplete, and the number is 0.

    Examples
    --------
    >>> complete_record('a;"two', ['lines";b', "c"], ",;"), complete_record('"a', ["b"], ",;")
    (('a;"two\\nlines";b', 2), ('"a', 0))

    """
    record, n = line, 1
    lines = islice(following, _MAX_RECORD_LINES - 1)
    while has_open_quote(record, delimiters):
        following_line = next(lines, None)
        if following_line is None:
            return line, int(n == _MAX_RECORD_LINES)
        record, n = f"{record}\n{following_line}", n + 1
    return record, n


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
        text = f"it is not valid JSON from character {error.pos + 1:,} on"
        raise SampleError(text, code="invalid_json") from None
    except SampleError:
        raise
    except ValueError:
        raise SampleError("it has a number that is too long or not valid in JSON") from None
    if not isinstance(value, list | dict):
        text = f"it is {text.strip()[:50]}, not an object or a list"
        raise SampleError(text, code="invalid_json")
    return value


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs of a JSON object as a dict; a repeated name raises a SampleError."""
    for duplicate in find_duplicates([name.strip() for name, _ in pairs])[:1]:
        text = f"it has the key {str(duplicate)[:50]!r} twice"
        raise SampleError(text, code="duplicate")
    return dict(pairs)


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def iter_paths(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of an object with their paths, then those of nested objects.

    Examples
    --------
    >>> list(iter_paths({"a": {"b": 1}, " c ": [2]}))
    [('a', {'b': 1}), ('a.b', 1), ('c', [2])]

    """
    for name, member in value.items():
        path = f"{prefix}{name.strip()}"
        yield path, member
        if isinstance(member, dict):
            yield from iter_paths(member, f"{path}.")
