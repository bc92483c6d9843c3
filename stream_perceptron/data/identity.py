"""How one source is told from another."""

from __future__ import annotations

import os
from dataclasses import field

from stream_perceptron.frozen import frozen

# A local file up to this size is identified by all of its bytes, another by its footer.
_WHOLE_FILE = 2**30


@frozen(eq=True)
class Identity:
    """What tells a source from others, whatever its name."""

    # What it was called, for messages; files are equal if their content is.
    name: str = field(compare=False)
    size: int  # the number of bytes; of lines, those read so far
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
