"""Fingerprints of sources, and the states of files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

from stream_perceptron.errors import SourceError

CHANGED = "changed"  # replaces the digest of a file that was changed while it was being read

# A local file of up to this size is identified by all of its bytes, a larger one by its footer.
_MAX_HASHED_SIZE = 2**30

START_BYTES = 4096  # the number of bytes at the start of a text file, which distinguish most files

# Two changes to a file within this many nanoseconds may leave the same modification time, because
# some file systems have a resolution of two seconds.
_TIME_STEP = 2 * 10**9


@dataclass(frozen=True, slots=True)
class FileState:
    """The device, inode, size and modification time of a file, which reveal most changes."""

    device: int = field(metadata={"below": 2**64})
    inode: int = field(metadata={"below": 2**64})
    size: int  # in bytes
    # The modification time in nanoseconds; 0 if a later change may leave it the same.
    time: int = field(metadata={"least": -(2**63), "below": 2**63})

    @classmethod
    def of(cls, file: str | int) -> FileState:
        """Return the state of a path or a descriptor."""
        stat = os.stat(file)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    @classmethod
    def find(cls, path: str) -> FileState | None:
        """Return the state of a regular file; None for anything else."""
        return cls.of(path) if os.path.isfile(path) else None

    def clear_recent_time(self) -> FileState:
        """Return the state, without its time if the time is too recent to reveal a later change."""
        return replace(self, time=0) if time.time_ns() - self.time < _TIME_STEP else self

    def is_same_file_as(self, other: FileState) -> bool:
        """Whether two states belong to the same file, which may have changed in between."""
        return (self.device, self.inode) == (other.device, other.inode)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The size and SHA-256 that identify the content of a source; names are not compared."""

    # For messages.
    name: str = field(compare=False)
    # The number of bytes; in an uncompressed text file, those up to the end of the last row read.
    size: int
    # The SHA-256 of these bytes, or of a large or remote file's footer; empty for a stream.
    digest: str
    # The ETag or modification time of an object behind a URI.
    version: str = ""

    @classmethod
    def of_file(cls, name: str, size: int, footer: bytes, version: str = "") -> Fingerprint:
        """Return the fingerprint of a file, given its Parquet footer or Arrow schema."""
        if os.path.exists(name) and size <= _MAX_HASHED_SIZE:
            return cls(name, size, hash_file(name))
        return cls(name, size, hash_bytes(footer), version)

    @classmethod
    def of_unread(cls, name: str) -> Fingerprint:
        """Return the fingerprint of a file before any of it has been read."""
        return cls(name, 0, hash_bytes(b""))

    @classmethod
    def of_stream(cls, name: str) -> Fingerprint:
        """Return the fingerprint of stdin or a pipe, which is the same for all streams."""
        return cls(name, 0, "")

    def __str__(self) -> str:
        if self.is_stream:
            return self.name
        if self.has_changed:
            return f"{self.name} ({self.size:,} bytes, changed while it was being read)"
        return f"{self.name} ({self.size:,} bytes, SHA-256 {self.digest[:12]}...)"

    @property
    def has_changed(self) -> bool:
        """Whether the source was changed while being read, so that its content is unknown."""
        return self.digest == CHANGED

    @property
    def is_stream(self) -> bool:
        """Whether the source can be read only once."""
        return not self.digest


def build_changed_error(name: str) -> SourceError:
    """Return the error for a text file that has changed between passes."""
    return SourceError(
        f"{name}: the file has changed since the first pass over it; start over with --overwrite"
    )


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    import hashlib  # lazy import: runs without a checkpoint do not need it

    return hashlib.sha256(data).hexdigest()


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
