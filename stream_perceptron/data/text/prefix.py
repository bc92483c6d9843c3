"""The identity of the first bytes of a text file."""

from __future__ import annotations

import os
import time

from stream_perceptron.data.byte_stream import ByteStream, name_of, open_bytes
from stream_perceptron.data.identity import CHANGED, START_BYTES, FileState, Identity
from stream_perceptron.errors import SourceError

_SOME = 2**22  # bytes to hash at once
_WAIT, _MAX_WAITS = 0.001, 50  # seconds to wait for a write, and how often


class PrefixHasher:
    """Hashes the first bytes of a text file, in a second pass over it.

    While the file is open, it is the one that was opened, even if another one takes its name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = path.write_text("a,y\\n1,u\\n")
    >>> hasher = PrefixHasher(str(path))
    >>> hasher.identify(4).size, hasher.identify(8).digest[:8]
    (4, 'c13f0415')

    """

    def __init__(self, path: str) -> None:
        from hashlib import sha256  # late: runs without a checkpoint do not need it

        self._path, self._digest = path, sha256()
        self._start = self._digest  # of the first few bytes
        self.size = 0  # the number of hashed bytes
        self._stream: ByteStream | None = open_bytes(path)
        self._state = _state_of(self._stream)
        self._has_changed = False  # whether it was changed in place, other than by growth

    @property
    def start_digest(self) -> str:
        """The SHA-256 of the first `START_BYTES` bytes, or of those that are hashed, if fewer."""
        return self._start.hexdigest()

    def identify(self, size: int | None) -> Identity:
        """Return the identity of the first `size` bytes, or of all; `size` must not decrease.

        If the file was changed in place since it was opened, other than by growth, the identity
        has no digest.
        """
        if self._stream is not None:
            before = self._state
            while size is None or self.size < size:
                n_bytes = _SOME if self.size >= START_BYTES else START_BYTES - self.size
                if size is not None:
                    n_bytes = min(n_bytes, size - self.size)
                data = self._stream.read(n_bytes)
                if not data:
                    break
                self._digest.update(data)
                self.size += len(data)
                if self.size <= START_BYTES:
                    self._start = self._digest.copy()
            self._state = _state_after(self._stream, before)
            self._has_changed |= _is_changed(before, self._state)
        size = self.size if size is None else size
        is_known = not self._has_changed and self.size >= size
        digest = self._digest.hexdigest() if is_known else CHANGED
        return Identity(name_of(self._path), size, digest)

    def close(self) -> None:
        """Close the file, as there may be many; the bytes hashed so far stay known."""
        self._stream = None

    def open(self, stream: ByteStream) -> None:
        """Open the file again, to hash what follows.

        Raises
        ------
        SourceError
            If it is not the file that `stream` reads.

        """
        if self._stream is None:
            self._stream = open_bytes(self._path)
            self._stream.skip(self.size)
            if not self.size:
                self._state = _state_of(self._stream)
        now = _state_of(self._stream)
        if not (now.is_at_place_of(self._state) and now.is_at_place_of(_state_of(stream))):
            raise SourceError(
                f"{name_of(self._path)}: another file has taken its place: run this again"
            )

    def is_at(self, path: str) -> bool:
        """Whether the file is unchanged since the last call of `identify`, and still at a path."""
        return os.path.exists(path) and self._state == FileState.of(path)


def _is_changed(before: FileState, now: FileState) -> bool:
    """Return whether a file was changed other than by growth."""
    return now.size < before.size or (now.time != before.time and now.size == before.size)


def _state_after(stream: ByteStream, before: FileState) -> FileState:
    """Return the state of the file that a stream reads, when no write is under way.

    While rows are appended, the time may change sooner than the size.
    """
    now = _state_of(stream)
    for _ in range(_MAX_WAITS):
        if not _is_changed(before, now) or now.size < before.size:
            break
        time.sleep(_WAIT)
        now = _state_of(stream)
    return now


def _state_of(stream: ByteStream) -> FileState:
    """Return the state of the file that a stream reads."""
    assert stream.descriptor is not None
    return FileState.of(stream.descriptor)
