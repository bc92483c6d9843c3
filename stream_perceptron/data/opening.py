"""Which format a source is of."""

from __future__ import annotations

import tempfile

import pyarrow as pa

from stream_perceptron.data.arrow import ArrowSource
from stream_perceptron.data.byte_stream import Input, Wait, is_stream, open_input
from stream_perceptron.data.parquet import ParquetSource
from stream_perceptron.data.source import ARROW_FILE, Source

__all__ = ["open_source"]

# By how the format begins.
_MAGIC = {b"PAR1": "parquet", b"\xff\xff\xff\xff": "arrow", ARROW_FILE[:4]: "arrow"}


def open_source(path: str, file_format: str | None = None, wait: Wait | None = None) -> Source:
    """Open a source of any format.

    Parameters
    ----------
    path
        A path, a URI that `pyarrow.fs` knows, or - for stdin. Gzip and Zstandard are told by their
        first bytes.
    file_format
        parquet, arrow, csv, jsonl or libsvm; None to tell by the first bytes, and by the first
        line if that is text.
    wait
        Is called before a pipe is read, and returns when there is something to read.

    Raises
    ------
    SourceError
        If it cannot be read, or is not of the format.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> open_source(str(sample_path())).columns.names
    ['pixels', 'label']

    """
    if file_format is None and path.endswith(".parquet") and not is_stream(path):
        file_format = "parquet"
    start = open_input(path, wait)
    file_format = file_format or _MAGIC.get(start.peek(4))
    if file_format == "parquet":
        is_file = not start.is_packed and not is_stream(path)
        return ParquetSource(path, None if is_file else _spooled(start))
    if file_format == "arrow":
        return ArrowSource(path, start)
    # Late, as files of Arrow and Parquet do not need it.
    from stream_perceptron.data.lines import LineSource

    return LineSource(path, file_format, start)


def _spooled(start: Input) -> pa.NativeFile:
    """Return the file that arrives on a pipe, when it is there as a whole."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115, as the source reads from it
    while data := start.read_some():
        spool.write(data)
    return pa.PythonFile(spool, "r")
