"""The version of the checkpoint format, and the functions that convert earlier versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import NamedArrays

FIRST_VERSION = 16  # the first version that later programs read
FORMAT_VERSION = 16
# For each version from the first one on, the function that changes the metadata and the arrays of a
# checkpoint, in place, to those of the next version.
MIGRATIONS: dict[int, Callable[[dict[str, Any], NamedArrays], None]] = {}


def require_readable(version: int) -> None:
    """Check that this program reads a version of the format.

    Raises
    ------
    CheckpointError
        If it does not.

    """
    if not FIRST_VERSION <= version <= FORMAT_VERSION:
        remedy = "upgrade stream-perceptron" if version > FORMAT_VERSION else "train it again"
        raise CheckpointError(
            f"has format version {version}, but this program reads versions {FIRST_VERSION} to "
            f"{FORMAT_VERSION}: {remedy}"
        )


def migrate(version: int, meta: dict[str, Any], arrays: NamedArrays) -> None:
    """Change the metadata and arrays of a checkpoint, in place, to those of the newest version."""
    for earlier in range(version, FORMAT_VERSION):
        MIGRATIONS[earlier](meta, arrays)
