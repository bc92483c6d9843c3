"""Identities of sources: names, sizes and digests."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    from hashlib import _Hash

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
        import hashlib

        return cls(name, 0, hashlib.sha256().hexdigest())

    @classmethod
    def of_stream(cls, name: str) -> Identity:
        """Return the identity of stdin or a pipe; all streams are equal."""
        return cls(name, 0, "")

    def __str__(self) -> str:
        if self.is_stream:
            return self.name
        return f"{self.name} ({self.size:,} bytes, SHA-256 {self.digest[:12]}...)"

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


class TextDigest:
    """The SHA-256 of a text file up to any of its rows, while further rows are prefetched.

    One thread adds bytes, and another asks for digests.
    """

    def __init__(self, name: str) -> None:
        from hashlib import sha256  # late: runs without a checkpoint do not need it

        self._name = name
        self._digest, self._size = sha256(), 0
        # The next bytes, or the digest up to their end with their number.
        self._ahead: deque[memoryview | tuple[_Hash, int]] = deque()
        self._lock = threading.Lock()

    def add(self, data: memoryview) -> None:
        """Add bytes with ends of rows, where digests may be asked for."""
        with self._lock:
            self._ahead.append(data)

    def pass_over(self, data: memoryview) -> None:
        """Add bytes that need not be kept, because no digest is asked for within them."""
        with self._lock:
            digest, n = self._digest.copy(), 0
            if self._ahead and isinstance(self._ahead[-1], tuple):
                digest, n = self._ahead.pop()  # type: ignore[assignment]
            else:
                for each in self._ahead:
                    if isinstance(each, tuple):
                        digest = each[0].copy()
                    else:
                        digest.update(each)
            digest.update(data)
            self._ahead.append((digest, n + len(data)))

    def identity(self, size: int) -> Identity:
        """Return the identity of the file's first `size` bytes; `size` must not decrease."""
        with self._lock:
            while self._size < size:
                first = self._ahead.popleft()
                if isinstance(first, tuple):
                    self._digest, n = first
                else:
                    n = min(len(first), size - self._size)
                    self._digest.update(first[:n])
                    if n < len(first):
                        self._ahead.appendleft(first[n:])
                self._size += n
            return Identity(self._name, size, self._digest.hexdigest())


@dataclass(frozen=True, eq=False, repr=False)
class TextPart:
    """Consecutive rows of a text file."""

    digest: TextDigest
    ends: Sequence[int]  # the number of bytes up to the end of each row

    def __getitem__(self, rows: slice) -> TextPart:
        """Return a slice of these rows."""
        return TextPart(self.digest, self.ends[rows])

    @property
    def identity(self) -> Identity:
        """The identity of the file up to the end of these rows."""
        return self.digest.identity(self.ends[-1])
