"""How one source is told from another."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

# A local file up to this size is identified by all of its bytes, another by its footer.
_WHOLE_FILE = 2**30


@dataclass(frozen=True)
class Identity:
    """What tells a source from others, whatever its name."""

    # What it was called, for messages; files are equal if their content is.
    name: str = field(compare=False)
    # The number of bytes; of a text file, not compressed, those up to the last row that was read.
    size: int
    # The SHA-256 of these bytes, or of a large or remote file's footer; empty for a stream.
    digest: str
    # The ETag or the time of an object behind a URI, but of text, which may have grown.
    version: str = field(default="", metadata={"optional": True})

    @classmethod
    def of_file(cls, name: str, size: int, footer: bytes, version: str = "") -> Identity:
        """Return the identity of a file with this Parquet footer or Arrow schema."""
        import hashlib  # late, as runs without a checkpoint do not need it

        if os.path.exists(name) and size <= _WHOLE_FILE:
            with open(name, "rb") as file:
                return cls(name, size, hashlib.file_digest(file, "sha256").hexdigest())
        return cls(name, size, hashlib.sha256(footer).hexdigest(), version)

    @classmethod
    def of_text(cls, name: str) -> Identity:
        """Return the identity of a text file of which nothing was read."""
        import hashlib

        return cls(name, 0, hashlib.sha256().hexdigest())

    @classmethod
    def of_stream(cls, name: str) -> Identity:
        """Return the identity of stdin or a pipe, which is that of any other."""
        return cls(name, 0, "")

    def __str__(self) -> str:
        if self.is_stream:
            return self.name
        return f"{self.name} ({self.size:,} bytes, SHA-256 {self.digest[:12]}...)"

    @property
    def is_stream(self) -> bool:
        """Whether it can be read once only."""
        return not self.digest


@dataclass
class Rest:
    """What was read of a pipe and is in no row yet; the next run on the same pipe begins with it.

    Only a pipe without a name has one, as whoever writes to a FIFO may begin anew.
    """

    pipe: str = ""  # tells it from all others
    header: bytearray = field(default_factory=bytearray)  # what the next rows need before them
    part: bytearray = field(default_factory=bytearray)

    def begin(self, descriptor: int) -> bytes:
        """Return what the bytes from a descriptor continue; forget that of another pipe."""
        pipe = _pipe_at(descriptor)
        part = self.header + self.part if pipe == self.pipe else bytearray()
        self.pipe, self.header, self.part = pipe, bytearray(), part
        return bytes(part)

    def forget(self) -> None:
        """Let there be nothing for a next run to begin with."""
        self.pipe, self.header, self.part = "", bytearray(), bytearray()

    def pass_over(self, n: int, header: slice) -> None:
        """Forget bytes that are in rows, but not those of a header."""
        self.header += self.part[header]
        del self.part[:n]


def _pipe_at(descriptor: int) -> str:
    """Return what tells a pipe without a name from all others; nothing for anything else."""
    try:
        pipe = os.readlink(f"/proc/self/fd/{descriptor}")
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{pipe} {file.read().strip()}" if pipe.startswith(("pipe:", "socket:")) else ""
    except OSError:
        return ""


class TextDigest:
    """The SHA-256 of a text file up to any of its rows, while other rows are read ahead.

    One thread adds the bytes, and another asks for what they come to.
    """

    def __init__(self, name: str) -> None:
        from hashlib import sha256  # late, as runs without a checkpoint do not need it

        self._name = name
        self._digest, self._size = sha256(), 0
        # The bytes that follow; or a digest up to their end and their number.
        self._ahead: deque[memoryview | tuple[_Hash, int]] = deque()
        self._lock = threading.Lock()

    def add(self, data: memoryview) -> None:
        """Add bytes in which rows end."""
        with self._lock:
            self._ahead.append(data)

    def pass_over(self, data: memoryview) -> None:
        """Add bytes that need not be held, as nobody asks for rows that end in them."""
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
        """Return what tells the file by its first bytes, which are more each time."""
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
    """Rows of a text file that follow each other."""

    digest: TextDigest
    ends: Sequence[int]  # the number of bytes of the file up to the end of each

    def __getitem__(self, rows: slice) -> TextPart:
        """Return some of these rows."""
        return TextPart(self.digest, self.ends[rows])

    @property
    def identity(self) -> Identity:
        """What tells the file up to the end of these rows."""
        return self.digest.identity(self.ends[-1])
