"""The identity of the first bytes of a text file."""

from __future__ import annotations

import os
from typing import NamedTuple

from stream_perceptron.data.byte_stream import ByteStream
from stream_perceptron.data.identity import CHANGED, Identity

_SOME = 2**22  # bytes to hash at once


class PrefixHasher:
    """Hashes the first bytes of a text file, in a second pass over it.

    The file stays open, so it is the one that was opened, even if another one takes its name.

    Parameters
    ----------
    stream
        The bytes of the file from its beginning.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from stream_perceptron.data.byte_stream import open_bytes
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = path.write_text("a,y\\n1,u\\n")
    >>> hasher = PrefixHasher(open_bytes(str(path)))
    >>> hasher.identify(4).size, hasher.identify(8).digest[:8]
    (4, 'c13f0415')

    """

    def __init__(self, stream: ByteStream) -> None:
        from hashlib import sha256  # late: runs without a checkpoint do not need it

        self._stream, self._digest = stream, sha256()
        self.size = 0  # the number of hashed bytes
        self._state = self._read_state()

    def identify(self, size: int | None) -> Identity:
        """Return the identity of the first `size` bytes, or of all; `size` must not decrease.

        If the file was changed in place since it was opened, other than by growth, the identity
        has no digest.
        """
        while size is None or self.size < size:
            data = self._stream.read(_SOME if size is None else min(_SOME, size - self.size))
            if not data:
                break
            self._digest.update(data)
            self.size += len(data)
        before, self._state = self._state, self._read_state()
        has_grown = self._state.size > before.size
        is_changed = self._state.size < before.size or (
            self._state.time != before.time and not has_grown
        )
        size = self.size if size is None else size
        digest = CHANGED if is_changed or self.size < size else self._digest.hexdigest()
        return Identity(self._stream.name, size, digest)

    def is_of(self, stream: ByteStream) -> bool:
        """Whether this is the file that a stream reads."""
        assert stream.descriptor is not None
        return self._state.place == FileState.of(stream.descriptor).place

    def is_at(self, path: str) -> bool:
        """Whether the file is unchanged since the last call of `identify`, and still at a path."""
        return os.path.exists(path) and self._state == FileState.of(path)

    def _read_state(self) -> FileState:
        assert self._stream.descriptor is not None
        return FileState.of(self._stream.descriptor)


class FileState(NamedTuple):
    """What changes when a file does, mostly."""

    place: tuple[int, int]  # device and inode
    size: int
    time: int  # of the last change of its content, in nanoseconds

    @classmethod
    def of(cls, file: str | int) -> FileState:
        """Return the state of a path or a descriptor."""
        stat = os.stat(file)
        return cls((stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns)
