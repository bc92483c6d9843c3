"""The checkpoint file: an uncompressed .npz, which is a ZIP archive of `meta.json` and arrays.

The archive's comment holds the SHA-256 of all bytes before it. Equal states give identical bytes,
because the members have a fixed order and no timestamps.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream_perceptron.checkpoint import atomic, migrations
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import Array, NamedArrays

if TYPE_CHECKING:
    import zipfile

_FORMAT = "stream_perceptron checkpoint"
_MAX_AXIS_LENGTH = 2**31  # rows or columns of an array, exclusive
_MAX_FILE_SIZE = 2**34  # bytes
# The type and shape of each array, in all versions of the format: an array of another type or shape
# has another name. Dimensions with the same name must have the same length.
_ARRAY_FORMATS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "weights": ("<f8", ("labels", "features")),
    "biases": ("<f8", ("labels",)),
    "update_counts": ("<f8", ("bias and features",)),
    "statistics": ("<f8", (4, "scaled features")),
    "class_counts": ("<i8", ("labels",)),
    "confusion": ("<i8", ("pairs of labels", 3)),
    "outcomes": ("|b1", ("samples",)),
    "curve": ("<f8", ("bins", 7)),
    "drift_state": ("<f8", (122,)),
    "drift_classes": ("<f8", ("tested classes", 4)),
    "pending_starts": ("<i8", ("pending samples and end",)),
    "pending_feature_ids": ("<i4", ("pending values",)),
    "pending_values": ("<f8", ("pending values",)),
    "pending_weights": ("<f8", ("pending samples",)),
    "pending_predicted": ("<i8", ("pending samples",)),
}
_DIGEST = "sha256:{}"
_COMMENT_LENGTH = len(_DIGEST) - 2 + 64
_END_RECORD_LENGTH = 22  # bytes in a ZIP archive's final record, without the comment


def get_previous_path(path: Path) -> Path:
    """Return the path of the previous save of the checkpoint at `path`."""
    path = Path(os.path.realpath(path))
    return path.with_name(f"{path.name}.prev")


@contextmanager
def lock_checkpoint(path: Path) -> Iterator[None]:
    """Lock a checkpoint; raise a CheckpointError if another process holds the lock."""
    try:
        with atomic.lock_file(path):
            yield
    except BlockingIOError:
        raise CheckpointError(f"{path}: another process is writing it") from None


def write_checkpoint(path: Path, meta: dict[str, object], arrays: NamedArrays) -> None:
    """Write a checkpoint, and keep the existing file at `get_previous_path(path)`."""
    data = to_bytes(meta, arrays)
    with atomic.open_replacement(path, previous_path=get_previous_path(path)) as file:
        file.write(data)


def read_checkpoint(path: Path) -> tuple[dict[str, object], NamedArrays]:
    """Read the metadata and the arrays of a checkpoint; reject damaged files."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError("not a regular file")
    if status.st_size > _MAX_FILE_SIZE:
        raise CheckpointError("larger than any model that this program saves")
    return from_bytes(path.read_bytes())


@contextmanager
def add_path_to_errors(path: Path) -> Iterator[None]:
    """Convert errors to a CheckpointError that also names the previous save, if there is one."""
    try:
        with convert_to_checkpoint_error(path):
            yield
    except CheckpointError as error:
        previous = get_previous_path(path)
        hint = f"; the previous save is {previous}" if previous.exists() else ""
        raise CheckpointError(f"{error}{hint}") from None


@contextmanager
def convert_to_checkpoint_error(name: object) -> Iterator[None]:
    """Convert errors from a damaged or forged checkpoint to a CheckpointError that names it."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise CheckpointError(f"{name}: its contents do not fit together ({error!r})") from None


def to_bytes(meta: dict[str, object], arrays: NamedArrays) -> bytes:
    """Return the bytes of a checkpoint."""
    import zipfile

    meta = {"format": _FORMAT, "format_version": migrations.FORMAT_VERSION, **meta}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps(meta, allow_nan=False, separators=(",", ":"))
        archive.writestr(zipfile.ZipInfo("meta.json"), text)
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # always dated 1980-01-01
            member.file_size = array.nbytes
            with archive.open(member, "w") as file:
                contiguous = np.ascontiguousarray(array)
                np.lib.format.write_array(file, contiguous, (1, 0), allow_pickle=False)
        archive.comment = b" " * _COMMENT_LENGTH
    comment = _build_comment(buffer.getbuffer()[:-_COMMENT_LENGTH])
    buffer.seek(-_COMMENT_LENGTH, io.SEEK_END)
    buffer.write(comment)
    return buffer.getvalue()


def _build_comment(body: bytes | memoryview) -> bytes:
    import hashlib  # lazy import: only runs with a checkpoint need it

    return _DIGEST.format(hashlib.sha256(body).hexdigest()).encode()


def from_bytes(data: bytes) -> tuple[dict[str, object], NamedArrays]:
    """Return the metadata and arrays in the bytes of a checkpoint, after checking them.

    Those of an earlier version are converted.

    A forged checkpoint may raise any error; see `convert_to_checkpoint_error`.
    """
    import zipfile

    body = memoryview(data)[:-_COMMENT_LENGTH]
    if len(body) < _END_RECORD_LENGTH or bytes(body[-_END_RECORD_LENGTH:][:4]) != b"PK\5\6":
        raise CheckpointError("not a stream-perceptron model, or damaged")
    if data[-_COMMENT_LENGTH:] != _build_comment(body):
        raise CheckpointError("damaged: its SHA-256 does not match")
    # A valid digest rules out damage, but not forgery.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: info for info in _check_members(archive, len(data))}
        version, meta = _parse_meta(archive.read(members.pop("meta.json")))
        lengths: dict[str, int] = {}
        arrays = {
            name.removesuffix(".npy"): _read_array(archive, info, lengths)
            for name, info in members.items()
        }
    migrations.migrate(version, meta, arrays)
    return meta, arrays


def _check_members(archive: zipfile.ZipFile, n_bytes: int) -> Iterator[zipfile.ZipInfo]:
    """Yield the members after checking their sizes against that of the file."""
    import zipfile

    for info in archive.infolist():
        n_bytes -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(f"member {info.filename!r} is compressed")
        if n_bytes < 0:
            raise CheckpointError("members are larger than the file")
        yield info


def _parse_meta(text: bytes) -> tuple[int, dict[str, object]]:
    """Parse meta.json, check its format and version, and return the version and other fields."""
    meta = json.loads(text)
    if not isinstance(meta, dict) or meta.pop("format", None) != _FORMAT:
        raise CheckpointError("not a stream-perceptron model")
    version = meta.pop("format_version")
    migrations.require_readable(version)
    return version, meta


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, lengths: dict[str, int]) -> Array:
    """Read an array, after checking its header against `_ARRAY_FORMATS`, and its size.

    `lengths` maps the names of dimensions to the lengths found in earlier arrays; it is updated.
    """
    name = info.filename
    if name.removesuffix(".npy") not in _ARRAY_FORMATS or not name.endswith(".npy"):
        raise CheckpointError(f"member {name!r} does not belong in a checkpoint")
    expected_dtype, expected_shape = _ARRAY_FORMATS[name.removesuffix(".npy")]
    with archive.open(info) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise CheckpointError(f"member {name!r} is not a plain array")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1000)
        start = file.tell()
    size = dtype.itemsize * math.prod(shape)
    if (
        dtype.str != expected_dtype
        or is_fortran
        or len(shape) != len(expected_shape)
        or not all(0 <= length < _MAX_AXIS_LENGTH for length in shape)
        or any(
            length != (lengths.setdefault(axis, length) if isinstance(axis, str) else axis)
            for length, axis in zip(shape, expected_shape, strict=True)
        )
        or size != info.file_size - start
    ):
        raise CheckpointError(
            f"member {name!r}, {dtype} {shape}, has the wrong type, shape or size"
        )
    array: Array = np.frombuffer(archive.read(info), dtype, offset=start)
    array = array.reshape(shape).copy()
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(f"member {name!r} holds numbers that are not finite")
    return array
