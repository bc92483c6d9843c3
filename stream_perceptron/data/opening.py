"""Opening of sources, with detection of the format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stream_perceptron.data.byte_stream import (
    Interrupt,
    NoInterrupt,
    is_stream,
    open_bytes,
    spooled,
)
from stream_perceptron.data.foreign import refuse_array, refuse_content, refuse_place
from stream_perceptron.data.identity import PipeHeader
from stream_perceptron.data.source import Source
from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    from stream_perceptron.data.schema import Selection
    from stream_perceptron.data.text.lines import LineFormat

# Formats by their first bytes.
_MAGIC = {b"PAR1": "parquet", b"\xff\xff\xff\xff": "arrow", b"ARRO": "arrow"}

_PAIR = r"[^\s:]+:\S+"
_LIBSVM = re.compile(rf"(?:\S+|{_PAIR})(?:\s+{_PAIR})+\s*(?:#.*)?|{_PAIR}\s*")


def open_source(
    path: str,
    file_format: str | None = None,
    interrupt: Interrupt | None = None,
    header: PipeHeader | None = None,
) -> Source:
    """Open a source of any format.

    Parameters
    ----------
    path
        A path, a URI for `pyarrow.fs`, or - for stdin. Compression is detected from the first
        bytes.
    file_format
        parquet, arrow, csv, jsonl or libsvm; None to detect it from the first bytes, or from the
        first line of text.
    interrupt
        Ends the input early, as a signal does.
    header
        What an earlier run learned of the beginning of a pipe, if this is the same pipe.

    Raises
    ------
    SourceError
        If the source cannot be read, or has another format.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> open_source(str(sample_path())).n_rows
    5000

    """
    source = _open(path, file_format, interrupt, header)
    source.interrupt = interrupt or NoInterrupt()
    return source


def _open(
    path: str,
    file_format: str | None,
    interrupt: Interrupt | None,
    header: PipeHeader | None,
) -> Source:
    refuse_place(path)
    if file_format is None and path.endswith(".parquet") and not is_stream(path):
        file_format = "parquet"
    start = open_bytes(path, interrupt)
    magic = start.peek(4)
    refuse_content(start.name, path, start.peek(16) if magic == b"SQLi" else magic)
    file_format = file_format or _MAGIC.get(magic)
    # Late: each format imports libraries that the others do not need.
    if file_format == "parquet":
        from stream_perceptron.data.arrow.parquet import ParquetSource

        is_file = not start.is_compressed and not is_stream(path)
        return ParquetSource(path, None if is_file else spooled(start))
    if file_format == "arrow":
        from stream_perceptron.data.arrow.ipc import ArrowSource

        return ArrowSource(path, start)
    from stream_perceptron.data.text.lines import LineSource

    def choose(first: str, asked: Selection) -> LineFormat:
        return _line_format(file_format, first, start.name, asked)

    return LineSource(path, start, choose, header)


def _line_format(file_format: str | None, first: str, where: str, asked: Selection) -> LineFormat:
    if file_format is None and asked.delimiter is not None and asked.delimiter in first:
        file_format = "csv"
    file_format = file_format or _looks_like(first, where)
    if file_format == "jsonl":
        refuse_array(where, first)
        from stream_perceptron.data.text.jsonl import JsonFormat

        return JsonFormat()
    if file_format == "libsvm":
        from stream_perceptron.data.text.libsvm import LibsvmFormat

        return LibsvmFormat()
    from stream_perceptron.data.text.csv import CsvFormat

    return CsvFormat(first, asked.delimiter, asked.decimal)


def _looks_like(first: str, where: str) -> str:
    """Return the text format that a first line looks like."""
    if "\0" in first or first.count("\N{REPLACEMENT CHARACTER}") > len(first) / 10:
        raise SourceError(f"{where}: neither Parquet nor Arrow nor text in UTF-8")
    if first.lstrip().startswith(("{", "[")):
        return "jsonl"
    return "libsvm" if _LIBSVM.fullmatch(first) else "csv"
