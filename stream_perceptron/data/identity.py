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
    # The ETag or time of an object behind a URI; empty for text, which may grow.
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


@dataclass
class Rest:
    """Bytes read of a pipe that are in no row yet; the next run on the same pipe begins with them.

    Only an anonymous pipe has a rest: the writer of a FIFO may start again.
    """

    pipe: str = ""  # identifies the pipe
    header: bytearray = field(default_factory=bytearray)  # needed again before the next rows
    part: bytearray = field(default_factory=bytearray)

    def begin(self, descriptor: int) -> bytes:
        """Return the rest that a descriptor continues; drop the rest of another pipe."""
        pipe = _pipe_at(descriptor)
        part = self.header + self.part if pipe == self.pipe else bytearray()
        self.pipe, self.header, self.part = pipe, bytearray(), part
        return bytes(part)

    def forget(self) -> None:
        """Drop the rest."""
        self.pipe, self.header, self.part = "", bytearray(), bytearray()

    def pass_over(self, n: int, header: slice) -> None:
        """Drop n bytes that are in rows, but keep those of a header."""
        self.header += self.part[header]
        del self.part[:n]


def _pipe_at(descriptor: int) -> str:
    """Return a text that identifies an anonymous pipe; empty for anything else."""
    try:
        pipe = os.readlink(f"/proc/self/fd/{descriptor}")
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{pipe} {file.read().strip()}" if pipe.startswith(("pipe:", "socket:")) else ""
    except OSError:
        return ""


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    import hashlib

    return hashlib.sha256(data).hexdigest()
