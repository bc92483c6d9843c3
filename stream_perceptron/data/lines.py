"""Sources of text, a sample a line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from stream_perceptron.data.byte_stream import Input, cut_lines, data_of, open_input
from stream_perceptron.data.csv import CsvLayout, Dialect
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.jsonl import JsonLayout
from stream_perceptron.data.libsvm import LibsvmLayout
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import BATCH_ROWS, LINES_KEY, RowLayout, Source
from stream_perceptron.errors import SourceError

__all__ = ["LineSource"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PAIR = r"[^\s:]+:\S+"
_LIBSVM = re.compile(rf"(?:\S+|{_PAIR})(?:\s+{_PAIR})+\s*(?:#.*)?|{_PAIR}\s*")


class LineSource(Source):
    """Lines of CSV, JSON or LIBSVM; their batches hold lines, which the layout parses.

    A file is told from others by the SHA-256 of its rows up to where it was read, so that it may
    grow.

    Parameters
    ----------
    path
        A path, a URI or - for stdin.
    file_format
        csv, jsonl or libsvm; None to tell by the first line.
    start
        Its bytes from the first on.

    Raises
    ------
    SourceError
        If it is not text.

    """

    def __init__(self, path: str, file_format: str | None, start: Input) -> None:
        super().__init__(path)
        self._lines = self._cut(start)
        self._begin: list[pa.Array] = []
        self._hash, self._size = hashlib.sha256(), 0
        first = self._line(0)
        self._format = file_format or ("csv" if first is None else _format_of(first, path))
        is_csv = first is not None and self._format == "csv"
        self._dialect = Dialect(first or "") if is_csv else None
        header = self._dialect.header if self._dialect else None
        self._n_before = int(header is not None)
        # Lines belong together if these are alike.
        described = json.dumps([self._format, header])
        self._columns = pa.schema([("line", pa.binary())], {LINES_KEY: described.encode()})

    @property
    def columns(self) -> pa.Schema:
        return self._columns

    def layout(self, schema: Schema, to_learn: bool = True) -> RowLayout | None:
        row = self._line(self._n_before)
        if row is None:
            return None
        if self._dialect is not None:
            return CsvLayout(schema, self.name, self._dialect, row, to_learn)
        kinds = {"jsonl": JsonLayout, "libsvm": LibsvmLayout}
        return kinds[self._format](schema, self.name)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        self._hash, self._size = hashlib.sha256(), 0
        size = before[0].size if before else 0
        if size:
            for batch in self.batches():
                data = data_of(batch.column(0))[: size - self._size]
                self._take(data)
                if self._size == size:
                    break
        return [self._identity()]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        arrays: Iterator[pa.Array] = chain(self._begin, self._lines)
        if not self.is_stream:
            arrays = self._cut(open_input(self.name))
        left_out = self._n_before + start
        for lines in arrays:
            rest = lines.slice(min(left_out, len(lines)))
            left_out -= len(lines) - len(rest)
            if len(rest):
                yield pa.RecordBatch.from_arrays([rest], schema=self.columns)

    def passed(self, batch: pa.RecordBatch) -> Identity | None:
        if self.is_stream:
            return None
        self._take(data_of(batch.column(0)))
        return self._identity()

    def _take(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)

    def _identity(self) -> Identity:
        return Identity(self.name, self._size, self._hash.hexdigest())

    def _line(self, number: int) -> str | None:
        """Return one of the first lines, None if there are not so many."""
        while sum(map(len, self._begin)) <= number:
            lines = next(self._lines, None)
            if lines is None:
                return None
            self._begin.append(lines)
        line = [line for lines in self._begin for line in lines][number].as_py()
        return (line or b"").decode(errors="replace").rstrip("\r\n")

    @staticmethod
    def _cut(start: Input) -> Iterator[pa.Array]:
        if start.peek(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            start.read(len(_BYTE_ORDER_MARK))
        yield from cut_lines(start, BATCH_ROWS)


def _format_of(first: str, where: str) -> str:
    if "\0" in first or first.count("\N{REPLACEMENT CHARACTER}") > len(first) / 10:
        raise SourceError(f"{where}: neither Parquet nor Arrow nor text in UTF-8")
    if first.strip() == "[":
        raise SourceError(
            f"{where}: a JSON array over several lines: write an object a line, as jq -c '.[]' does"
        )
    if first.lstrip().startswith(("{", "[")):
        return "jsonl"
    return "libsvm" if _LIBSVM.fullmatch(first) else "csv"
