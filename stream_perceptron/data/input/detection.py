"""Reject unsupported sources with a sentence that says what they are."""

from __future__ import annotations

import os
import re

from stream_perceptron.data.input.bytes import strip_credentials
from stream_perceptron.errors import SourceError

_PICKLE = "a pickle, which may run arbitrary code when it is read: save the data as Parquet or CSV"
_UTF16 = "text in UTF-16: convert it to UTF-8, for example with iconv"
# What is wrong with each format, by its first bytes.
_FOREIGN = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"SQLite format 3\0": "a SQLite database: export a table as CSV",
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"\x93NUM": "a NumPy array: save it as CSV, for example with numpy.savetxt",
    b"PK\x03\x04": "a ZIP archive: use -m for a model, or CSV for a spreadsheet",
}


def reject_unsupported_path(path: str) -> None:
    """Raise an error for a folder, a tar archive or a web address.

    Raises
    ------
    SourceError
        If the path is one of these.

    """
    if re.match("https?://", path, re.IGNORECASE):
        raise SourceError(
            f"{strip_credentials(path)}: a web address: download the file, or pipe it from curl"
        )
    if re.search(r"\.(tar(\.\w+)?|tgz|tbz2|txz)$", path):
        raise SourceError(f"{path}: a tar archive: unpack it first")
    if os.path.isdir(path):
        raise SourceError(f"{path}: a folder: name the files in it")


def reject_unsupported_content(name: str, first_bytes: bytes) -> None:
    """Raise an error if the first bytes of a source show an unsupported format.

    `name` is the name of the source in messages.

    Raises
    ------
    SourceError
        If the format is not supported.

    """
    for magic, problem in _FOREIGN.items():
        if first_bytes.startswith(magic):
            raise SourceError(f"{name}: {problem}")
