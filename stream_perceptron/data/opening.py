"""Open sources, and detect their formats."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from stream_perceptron.data.byte_input import Interrupt, is_stream, open_bytes, spool_to_file
from stream_perceptron.data.foreign import reject_unsupported_content, reject_unsupported_path
from stream_perceptron.data.position import BINARY_FORMATS
from stream_perceptron.data.source import Source
from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.data.text_source import LineFormat

_PAIR = r"[^\s:,;]+:[^\s,;]+"
_LIBSVM = re.compile(rf"(?:\S+|{_PAIR})(?:\s+{_PAIR})+\s*(?:#.*)?|{_PAIR}\s*")


def open_source(
    path: str,
    file_format: str | None = None,
    interrupt: Interrupt | None = None,
) -> Source:
    """Open a source of any format.

    Parameters
    ----------
    path
        A path, a URI that `pyarrow.fs` supports, or - for stdin. Compression is detected from the
        first bytes.
    file_format
        parquet, arrow, csv, jsonl or libsvm; None to detect it from the first bytes, or from the
        first line of text.
    interrupt
        Ends the input early, as a signal does.

    Raises
    ------
    SourceError
        If the source cannot be read, or is not in the expected format.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> open_source(str(sample_path())).n_rows
    5000

    """
    source: Source
    reject_unsupported_path(path)
    if file_format is None and path.endswith(".parquet") and not is_stream(path):
        file_format = "parquet"
    stream = open_bytes(path, interrupt)
    magic = stream.peek(4)
    reject_unsupported_content(stream.name, stream.peek(16) if magic == b"SQLi" else magic)
    file_format = file_format or BINARY_FORMATS.get(magic)
    # Lazy imports: each format imports libraries that the others do not need.
    if file_format == "parquet":
        from stream_perceptron.data.arrow.parquet import ParquetSource

        is_file = not stream.is_compressed and not is_stream(path)
        source = ParquetSource(path, None if is_file else spool_to_file(stream))
    elif file_format == "arrow":
        from stream_perceptron.data.arrow.ipc import ArrowSource

        source = ArrowSource(path, stream)
    else:
        from stream_perceptron.data.text_source import TextSource

        choose_format = partial(_create_line_format, file_format, stream.name)
        source = TextSource(path, stream, choose_format)
    if interrupt is not None:
        source.interrupt = interrupt
    return source


def _create_line_format(
    file_format: str | None, where: str, first_line: str, options: ReadOptions
) -> LineFormat:
    """Return a text format; detect it from the first line if `file_format` is None."""
    if file_format is None and options.delimiter is not None and options.delimiter in first_line:
        file_format = "csv"
    file_format = file_format or _detect_text_format(first_line, where)
    if file_format == "jsonl":
        if re.match(r"\s*\[\s*(\{|$)", first_line):
            raise SourceError(f"{where}: a JSON array of objects: write one object per line")
        from stream_perceptron.data.text.jsonl import JsonFormat

        return JsonFormat()
    if file_format == "libsvm":
        from stream_perceptron.data.text.libsvm import LibsvmFormat

        return LibsvmFormat()
    from stream_perceptron.data.text.csv import CsvFormat

    return CsvFormat(first_line, options.delimiter, options.decimal)


def _detect_text_format(first_line: str, where: str) -> str:
    """Return the format of text, given its first line."""
    if "\0" in first_line or first_line.count("\N{REPLACEMENT CHARACTER}") > len(first_line) / 10:
        raise SourceError(f"{where}: neither Parquet nor Arrow nor text in UTF-8")
    if first_line.lstrip().startswith(("{", "[")):
        return "jsonl"
    return "libsvm" if _LIBSVM.fullmatch(first_line) else "csv"
