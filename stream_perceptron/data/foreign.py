"""Reject unsupported sources with an error that shows how to convert them."""

from __future__ import annotations

import os
import re
import shlex

from stream_perceptron.data.byte_stream import STDIN, strip_credentials
from stream_perceptron.errors import SourceError

_EXTENSIONS = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".json", ".libsvm", ".svm")
# The name of each format, and a command that converts it, by its first bytes.
_FOREIGN = {
    b"\xff\xfe": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {} | stream-perceptron ..."),
    b"\xfe\xff": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {} | stream-perceptron ..."),
    b"SQLite format 3\0": (
        "a SQLite database",
        "sqlite3 -header -csv {} 'select * from TABLE' | stream-perceptron ...",
    ),
    b"\x80\x04": (
        "a pickle, which may run arbitrary code",
        'if you trust it and it is a data frame: python -c "import pandas, sys; '
        'pandas.read_pickle(sys.argv[1]).to_csv(sys.stdout, index=False)" {} '
        "| stream-perceptron ...",
    ),
}
_FOREIGN[b"\x80\x05"] = _FOREIGN[b"\x80\x04"]
_ARRAY_OF_OBJECTS = re.compile(r"\s*\[\s*(\{|$)")


def reject_unsupported_path(path: str) -> None:
    """Raise an error for a folder, a pattern, a tar archive or a web address.

    Raises
    ------
    SourceError
        If the path is one of these.

    """
    if re.match("https?://", path, re.IGNORECASE):
        name = strip_credentials(path)
        raise SourceError(
            f"{name}: a web address; use: curl -sSfL {shlex.quote(name)} | stream-perceptron ..."
        )
    if re.search(r"\.(tar(\.\w+)?|tgz|tbz2|txz)$", path):
        quoted = shlex.quote(path)
        raise SourceError(
            f"{path}: a tar archive: tar -xOf {quoted} NAME | stream-perceptron ..., with a NAME "
            f"that tar -tf {quoted} lists"
        )
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
    quoted = shlex.quote(name) if path != STDIN else "FILE"
    if first_bytes == b"\x93NUM":
        array_file, argument = "sys.argv[1]", f" {quoted}"
        if path == STDIN:
            array_file, argument = "io.BytesIO(sys.stdin.buffer.read())", ""
        raise SourceError(
            f'{name}: a NumPy array: python -c "import io, numpy, sys; '
            f"numpy.savetxt(sys.stdout, numpy.load({array_file}), '%s', ',')\"{argument} "
            "| stream-perceptron ..."
        )
    for magic, (kind, command) in _FOREIGN.items():
        if first_bytes.startswith(magic):
            raise SourceError(f"{name}: {kind}: {command.format(quoted)}")
    if first_bytes == b"PK\x03\x04":
        raise SourceError(f"{name}: {_describe_archive(path, quoted)}")


def _describe_archive(path: str, quoted: str) -> str:
    """Describe the contents of a ZIP archive, and suggest a command that reads it."""
    import zipfile  # lazy import: rarely needed

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if "meta.json" in names and "weights.npy" in names:
        return f"a saved model, not samples: -m {quoted}"
    if "[Content_Types].xml" in names:
        return f"a spreadsheet: libreoffice --headless --convert-to csv {quoted}"
    if names and all(name.endswith(".npy") for name in names):
        return _suggest_npz_command([name.removesuffix(".npy") for name in names], quoted)
    if not names:
        return "a ZIP archive: save it as FILE, then use: unzip -p FILE | stream-perceptron ..."
    if len(names) > 1:
        return f"a ZIP archive: unzip -p {quoted} {shlex.quote(names[0])} | stream-perceptron ..."
    return f"a ZIP archive: unzip -p {quoted} | stream-perceptron ..."


def _suggest_npz_command(names: list[str], path: str) -> str:
    """Return a command that writes NumPy arrays as CSV, with the labels first."""
    names_by_lower = {name.lower(): name for name in names}
    for y in names:
        x = names_by_lower.get(f"x{y[1:].lower()}")
        if y[:1] in "yY" and x is not None:
            return (
                'NumPy arrays: python -c "import numpy, sys; a = numpy.load(sys.argv[1]); '
                f"x, y = a['{x}'], a['{y}']; numpy.savetxt(sys.stdout, "
                "numpy.c_[y, x.reshape(len(x), -1)], '%s', ',')\" "
                f"{path} | stream-perceptron ..."
            )
    return (
        f"NumPy arrays ({', '.join(names[:5])}): write features and labels as CSV with "
        "numpy.savetxt, one sample per line"
    )


def reject_json_array(name: str, first_line: str) -> None:
    """Raise an error if the first line begins a JSON array of objects.

    Raises
    ------
    SourceError
        If the line begins an array of objects.

    """
    if _ARRAY_OF_OBJECTS.match(first_line):
        cat = "" if name == "stdin" else f" {shlex.quote(name)}"
        raise SourceError(
            f"{name}: a JSON array of objects: write one object per line, as jq -c '.[]'{cat} does"
        )
