"""IDX files, and the Parquet files made from them."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.checkpoint.atomic import open_replacement
from stream_perceptron.data.byte_input import first_line
from stream_perceptron.data.source import METADATA_KEY
from stream_perceptron.errors import SourceError
from stream_perceptron.model.arrays import Array

# NumPy types by the third byte of an IDX file.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_ROW_GROUP = 10_000


def read_idx(path: Path) -> Array:
    """Read an IDX file, gzipped or not.

    Parameters
    ----------
    path
        The file. The format is described on the MNIST page.[^1]

    Returns
    -------
    The array, with the shape and type stated in the file.

    Raises
    ------
    SourceError
        If the file is not an IDX file, or is truncated.

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
        raise SourceError(
            f"{path}: not an IDX file: it must begin with the bytes 0, 0, type and dimensions"
        )
    dtype, dimensions = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise SourceError(f"{path}: ends within its header")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != expected:
        raise SourceError(
            f"{path}: holds {len(data):,} bytes, but its header {shape} requires {expected:,}"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def write_parquet(images: Array, labels: Array, path: Path, origin: str) -> None:
    """Write images and labels as Parquet columns: `pixels`, as fixed-size binary, and `label`.

    The shape, classes and origin are stored as JSON in the schema's metadata, under the key
    "stream_perceptron".
    Pixels that are not bytes are written as fixed-size lists.
    """
    if images.ndim < 2 or labels.ndim != 1:
        raise SourceError(
            f"images of shape {images.shape} and labels of shape {labels.shape}: pass images "
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
    with open_replacement(path) as file:
        pq.write_table(
            table,
            file,
            row_group_size=_ROW_GROUP,
            compression="lz4",  # decompressing Zstandard takes three times as long
            use_dictionary=["label"],
            write_statistics=False,
        )
