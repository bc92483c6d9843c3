"""Unsupported sources: recognised, and refused with a command that converts them."""

from __future__ import annotations

import os
import re
import shlex

from stream_perceptron.data.byte_stream import STDIN, without_password
from stream_perceptron.errors import SourceError

_ENDINGS = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".json", ".libsvm", ".svm")
# By the first bytes: the name of a format, and a command that converts it.
_FOREIGN = {
    b"\xff\xfe": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {} | stream-perceptron ..."),
    b"\xfe\xff": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {} | stream-perceptron ..."),
    b"SQLite format 3\0": (
        "a database of SQLite",
        "sqlite3 -header -csv {} 'select * from TABLE' | stream-perceptron ...",
    ),
    b"\x80\x04": (
        "a pickle, which may run any code",
        'if you trust it and it is a data frame: python -c "import pandas, sys; '
        'pandas.read_pickle(sys.argv[1]).to_csv(sys.stdout, index=False)" {} '
        "| stream-perceptron ...",
    ),
}
_FOREIGN[b"\x80\x05"] = _FOREIGN[b"\x80\x04"]
_ARRAY_OF_OBJECTS = re.compile(r"\s*\[\s*(\{|$)")


def refuse_place(path: str) -> None:
    """Refuse a folder, a pattern, a tar archive or a web address."""
    if re.match("https?://", path, re.IGNORECASE):
        name = without_password(path)
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
        endings = {os.path.splitext(name)[1] for name in os.listdir(path)}
        found = sorted(endings.intersection(_ENDINGS))
        pattern = os.path.join(shlex.quote(path), f"*{found[0] if found else ''}")
        raise SourceError(f"{path}: a folder; name the files in it: {pattern}")
    if re.search(r"[*?\[]", path) and "://" not in path and not os.path.exists(path):
        raise SourceError(
            f"{path}: no such file: unquote the pattern so that the shell expands it, if any file "
            "matches"
        )


def refuse_content(name: str, path: str, start: bytes) -> None:
    """Refuse a source whose first bytes show an unsupported format; `name` is for messages."""
    quoted = shlex.quote(name) if path != STDIN else "FILE"
    if start == b"\x93NUM":
        given, at = "sys.argv[1]", f" {quoted}"
        if path == STDIN:
            given, at = "io.BytesIO(sys.stdin.buffer.read())", ""
        raise SourceError(
            f'{name}: an array of NumPy: python -c "import io, numpy, sys; '
            f"numpy.savetxt(sys.stdout, numpy.load({given}), '%s', ',')\"{at} "
            "| stream-perceptron ..."
        )
    for begin, (kind, how) in _FOREIGN.items():
        if start.startswith(begin):
            raise SourceError(f"{name}: {kind}: {how.format(quoted)}")
    if start == b"PK\x03\x04":
        raise SourceError(f"{name}: {_in_archive(path, quoted)}")


def _in_archive(path: str, quoted: str) -> str:
    """Return the kind of a ZIP archive, and a command that reads it."""
    import zipfile  # late: rarely needed

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
        return _in_npz([name.removesuffix(".npy") for name in names], quoted)
    if not names:
        return "a ZIP archive: write it to a file, and pipe the output of unzip -p FILE"
    if len(names) > 1:
        return f"a ZIP archive: unzip -p {quoted} {shlex.quote(names[0])} | stream-perceptron ..."
    return f"a ZIP archive: unzip -p {quoted} | stream-perceptron ..."


def _in_npz(names: list[str], path: str) -> str:
    """Return a command that writes NumPy arrays as CSV, the labels first."""
    known = {name.lower(): name for name in names}
    for y in names:
        x = known.get(f"x{y[1:].lower()}")
        if y[:1] in "yY" and x is not None:
            return (
                'arrays of NumPy: python -c "import numpy, sys; a = numpy.load(sys.argv[1]); '
                f"x, y = a['{x}'], a['{y}']; numpy.savetxt(sys.stdout, "
                "numpy.c_[y, x.reshape(len(x), -1)], '%s', ',')\" "
                f"{path} | stream-perceptron ..."
            )
    return (
        f"arrays of NumPy ({', '.join(names[:5])}): write features and labels as CSV with "
        "numpy.savetxt, a sample a line"
    )


def refuse_array(name: str, first: str) -> None:
    """Refuse a JSON array of objects, recognised by its first line."""
    if _ARRAY_OF_OBJECTS.match(first):
        cat = "" if name == "stdin" else f" {shlex.quote(name)}"
        raise SourceError(
            f"{name}: a JSON array of objects: write one object per line, as jq -c '.[]'{cat} does"
        )
