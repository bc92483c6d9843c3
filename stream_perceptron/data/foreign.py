"""Reject unsupported sources with a sentence that says what they are."""

from __future__ import annotations

import os
import re
import shlex

from stream_perceptron.data.byte_input import strip_credentials
from stream_perceptron.errors import SourceError

_EXTENSIONS = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".json", ".libsvm", ".svm")
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
}


def reject_unsupported_path(path: str) -> None:
    """Raise an error for a folder, a pattern, a tar archive or a web address.

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
        extensions = {os.path.splitext(name)[1] for name in os.listdir(path)}
        known_extensions = sorted(extensions.intersection(_EXTENSIONS))
        pattern = os.path.join(
            shlex.quote(path), f"*{known_extensions[0] if known_extensions else ''}"
        )
        raise SourceError(f"{path}: a folder; name the files in it: {pattern}")
    if re.search(r"[*?\[]", path) and "://" not in path and not os.path.exists(path):
        raise SourceError(
            f"{path}: no such file: if any file matches the pattern, unquote it so that the "
            "shell can expand it"
        )


def reject_unsupported_content(name: str, path: str, first_bytes: bytes) -> None:
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
    if first_bytes == b"PK\x03\x04":
        raise SourceError(f"{name}: {_describe_archive(path)}")


def _describe_archive(path: str) -> str:
    """Describe the contents of a ZIP archive."""
    import zipfile  # lazy import: rarely needed

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if "meta.json" in names and "weights.npy" in names:
        return "a saved model, not samples; learn, predict and evaluate take it with -m"
    if "[Content_Types].xml" in names:
        return "a spreadsheet: save it as CSV"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays: save features and labels as CSV, for example with numpy.savetxt"
    return "a ZIP archive: unpack it first"
