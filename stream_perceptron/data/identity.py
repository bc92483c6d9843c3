"""Identities of sources: names, sizes and digests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from stream_perceptron.errors import SourceError

CHANGED = "changed"  # in place of a digest, if a file was changed while it was read

# A local file up to this size is identified by all its bytes, a larger one by its footer.
_WHOLE_FILE = 2**30


@dataclass(frozen=True)
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
        import hashlib  # late: runs without a checkpoint do not need it

        if os.path.exists(name) and size <= _WHOLE_FILE:
            with open(name, "rb") as file:
                return cls(name, size, hashlib.file_digest(file, "sha256").hexdigest())
        return cls(name, size, hashlib.sha256(footer).hexdigest(), version)

    @classmethod
    def of_text(cls, name: str) -> Identity:
        """Return the identity of a text file before its first row."""
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
    import hashlib

    return hashlib.sha256(data).hexdigest()
