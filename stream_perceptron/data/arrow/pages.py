"""Checks of Parquet pages: a few bytes in a file may claim to decode to more than memory."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, NamedTuple

import pyarrow as pa

# Pages of more decoded bytes are read only if a byte in the file decodes to at most 200; those of
# more than twice as many, only if it decodes to at most 16.
_MOST_BYTES = 2**28
_MOST_FOR_ONE = 200, 16

# The most bytes that one byte decodes to. Brotli has no limit.
_EXPANSION = {"UNCOMPRESSED": 1, "SNAPPY": 64, "LZ4": 255, "GZIP": 1032, "ZSTD": 2**15}
_HEADER_BYTES = 2**10  # to read at once; more only if a header is longer
_DICTIONARY = 2  # the kind of a page
_LENGTH = Struct("<I").unpack_from
_FIXED_BYTES = {1: 0, 2: 0, 3: 1, 7: 8}  # of bools, bytes and doubles, by their types in Thrift


class _Page(NamedTuple):
    """The header of a page."""

    kind: int
    n_bytes: int  # uncompressed
    n_values: int
    n_stored: int  # bytes in the file
    at: int  # the start of these


def longest_value(file: pa.NativeFile, metadata: Any, group: int) -> int:
    """Return an upper bound for the bytes of a text in a row group; 1 without texts.

    Raises
    ------
    OSError
        If pages would decode to far more bytes than they have.

    """
    longest, becomes, stored = 1, 0, 0
    row_group = metadata.row_group(group)
    for number in range(row_group.num_columns):
        chunk = row_group.column(number)
        is_list = metadata.schema.column(number).max_repetition_level > 0
        is_text = "BYTE_ARRAY" in chunk.physical_type
        size, expansion = chunk.total_compressed_size, _EXPANSION.get(chunk.compression, 2**28)
        is_small = expansion * size <= _MOST_BYTES // row_group.num_columns
        if not (is_list or is_text) and (is_small or expansion == 1):
            continue
        start = chunk.data_page_offset
        if chunk.has_dictionary_page:
            start = min(start, chunk.dictionary_page_offset)
        largest = 0, 0
        shares = "DELTA_BYTE_ARRAY" in chunk.encodings  # texts share their beginnings
        for page in _pages(file, start, start + size):
            n_bytes = max(page.n_bytes, 8 * page.n_values if is_list else 0)
            largest = max(largest, (n_bytes, page.n_stored))
            if is_text and page.n_bytes > longest:
                longest = max(longest, _longest_in(file, page, chunk, shares))
        becomes, stored = becomes + largest[0], stored + largest[1]
    require_fair(stored, becomes, "pages")  # one page of each column is in memory at a time
    return longest


def require_fair(stored: int, becomes: int, what: str) -> None:
    """Check that bytes in a file do not decode to far more."""
    if becomes > max(_MOST_BYTES, _MOST_FOR_ONE[becomes > 2 * _MOST_BYTES] * stored):
        raise OSError(f"{stored:,} bytes would become {becomes:,}: write smaller {what}")


def _longest_in(file: pa.NativeFile, page: _Page, chunk: Any, shares: bool) -> int:
    """Return an upper bound for the bytes of a text in a page."""
    is_dictionary = page.kind == _DICTIONARY
    if not shares and not (is_dictionary and chunk.physical_type == "BYTE_ARRAY"):
        return page.n_bytes // max(page.n_values, 1)
    if not is_dictionary or page.n_bytes > _MOST_BYTES // 4:
        return page.n_bytes
    # Every row may have the longest text of a dictionary.
    codec = chunk.compression.lower().replace("lz4", "lz4_raw")
    data = file.read_at(page.n_stored, page.at)
    try:
        if codec != "uncompressed":
            data = pa.decompress(data, page.n_bytes, codec, asbytes=True)
    except (OSError, ValueError):
        return page.n_bytes
    at = longest = 0
    while at + 4 <= len(data):
        (size,) = _LENGTH(data, at)
        at += 4 + size
        if size > longest:
            longest = size
    return longest


def _pages(file: pa.NativeFile, at: int, end: int) -> Iterator[_Page]:
    """Yield the headers of pages, up to a damaged one, which Arrow reports."""
    size = _HEADER_BYTES
    while at < end:
        data = file.read_at(min(size, end - at), at)
        try:
            header, length = _fields(data, 0)
        except ValueError:
            return
        except (IndexError, RecursionError):
            if len(data) < size or size > 2**24:
                return
            size *= 16  # the header is longer
            continue
        kind, n_bytes, n_stored = (_count(header, field) for field in (1, 2, 3))
        if min(kind, n_bytes, n_stored) < 0:
            return
        told = header.get({0: 5, 2: 7, 3: 8}.get(kind, 0))
        n_values = max(_count(told, 1), 0) if isinstance(told, dict) else 0
        at, size = at + length, _HEADER_BYTES
        yield _Page(kind, n_bytes, n_values, n_stored, at)
        at += n_stored


def _count(fields: dict[int, Any], number: int) -> int:
    """Return an integer field of a struct; -1 if it is absent."""
    value = fields.get(number)
    return value if isinstance(value, int) else -1


def _fields(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Return the 32-bit integers and the structs in a Thrift struct, and its end."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at, kind = at + 1, head & 15
        number += head >> 4
        if not head >> 4:
            number, at = _number(data, at)
        if kind == 12:
            fields[number], at = _fields(data, at)
        elif kind in (4, 5, 6):
            value, at = _number(data, at)
            if kind == 5:  # Arrow skips the other types, too
                fields[number] = value
        elif kind == 8:
            size, at = _size(data, at)
            at += size
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        else:
            raise ValueError("a type that no page header has")
    return fields, at + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    size, at = _size(data, at)
    return size >> 1 ^ -(size & 1), at


def _size(data: bytes, at: int) -> tuple[int, int]:
    size = shift = 0
    while data[at] > 127 and shift < 63:
        size |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return size | data[at] << shift, at + 1
