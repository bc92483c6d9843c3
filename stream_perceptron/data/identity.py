"""Identities of sources: names, sizes and digests, and the states of files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

from stream_perceptron.errors import SourceError

CHANGED = "changed"  # in place of a digest, if a file was changed while it was read

# A local file up to this size is identified by all its bytes, a larger one by its footer.
_WHOLE_FILE = 2**30

START_BYTES = 4096  # of a text file, which tell most files apart

# Nanoseconds within which two changes of a file may have the same modification time: some file
# systems count in steps of two seconds.
_TIME_STEP = 2 * 10**9


@dataclass(frozen=True, slots=True)
class FileState:
    """The place of a file, and its size and modification time, which tell of most changes."""

    device: int = field(metadata={"below": 2**64})
    inode: int = field(metadata={"below": 2**64})
    size: int  # in bytes
    # The modification time in nanoseconds; 0 if a later change may have the same one.
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

    def settle(self) -> FileState:
        """Return the state without its time if that is too recent to tell of later changes."""
        return replace(self, time=0) if time.time_ns() - self.time < _TIME_STEP else self

    def is_at_place_of(self, other: FileState) -> bool:
        """Whether two states are those of one file, which may have changed."""
        return (self.device, self.inode) == (other.device, other.inode)


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a source's content; the name does not count."""

    # For messages.
    name: str = field(compare=False)
    # The number of bytes; of an uncompressed text file, those up to the last row read.
    size: int
    # The SHA-256 of these bytes, or of a large or remote file's footer; empty for a stream.
    digest: str
    # The ETag or time of an object behind a URI.
    version: str = field(default="", metadata={"optional": True})

    @classmethod
    def of_file(cls, name: str, size: int, footer: bytes, version: str = "") -> Identity:
        """Return the identity of a file with this Parquet footer or Arrow schema."""
        if os.path.exists(name) and size <= _WHOLE_FILE:
            return cls(name, size, hash_file(name))
        return cls(name, size, hash_bytes(footer), version)

    @classmethod
    def of_unread(cls, name: str) -> Identity:
        """Return the identity of a file of which nothing has been read."""
        return cls(name, 0, hash_bytes(b""))

    @classmethod
    def of_stream(cls, name: str) -> Identity:
        """Return the identity of stdin or a pipe; all streams are equal."""
        return cls(name, 0, "")

    def __str__(self) -> str:
        if self.is_stream:
            return self.name
        if self.has_changed:
            return f"{self.name} ({self.size:,} bytes, changed while it was read)"
        return f"{self.name} ({self.size:,} bytes, SHA-256 {self.digest[:12]}...)"

    @property
    def has_changed(self) -> bool:
        """Whether the source was changed while it was read, so that its rows are not known."""
        return self.digest == CHANGED

    @property
    def is_stream(self) -> bool:
        """Whether the source can be read only once."""
        return not self.digest


def changed_since_first_pass(name: str) -> SourceError:
    """Return the error for a text file that is not the same in a further pass."""
    return SourceError(
        f"{name}: the file has changed since the first pass over it; start over with --overwrite"
    )


@dataclass(frozen=True)
class PipeHeader:
    """What the next run on an anonymous pipe needs to know of its beginning.

    A FIFO keeps none, because its writer may start again.
    """

    pipe: str  # identifies the pipe
    # The header, or a line that tells the form of the rows without their content. Bytes that are
    # not UTF-8 are lone surrogates.
    line: str
    is_header: bool  # whether the line is a header, which comes before the next rows again


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    import hashlib  # late: runs without a checkpoint do not need it

    return hashlib.sha256(data).hexdigest()


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
