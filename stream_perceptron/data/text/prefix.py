"""The fingerprint of the first bytes of a text file."""

from __future__ import annotations

import time

from stream_perceptron.data.byte_stream import ByteStream, get_display_name, open_bytes
from stream_perceptron.data.fingerprint import CHANGED, START_BYTES, FileState, Fingerprint
from stream_perceptron.errors import SourceError

_CHUNK_BYTES = 2**22  # the number of bytes to hash at once
_WAIT, _MAX_WAITS = 0.001, 50  # seconds to wait for a write, and the maximum number of waits


class PrefixHasher:
    """Hashes the first bytes of a text file, in a second pass over it.

    While the file is open, its own bytes are hashed, even if another file replaces it at its path.

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
        from hashlib import sha256  # lazy import: runs without a checkpoint do not need it

        self._path, self._digest = path, sha256()
        self._start_hash = self._digest  # the hash of the first `START_BYTES` bytes
        self.size = 0  # the number of bytes hashed so far
        self._stream: ByteStream | None = open_bytes(path)
        self._state = _read_state(self._stream)
        self._has_changed = False  # whether the file has changed in place, other than by growth

    @property
    def start_digest(self) -> str:
        """The SHA-256 of the first `START_BYTES` hashed bytes, or of all if there are fewer."""
        return self._start_hash.hexdigest()

    def identify(self, size: int | None) -> Fingerprint:
        """Return the fingerprint of the first `size` bytes, or of the whole file.

        `size` must not decrease from one call to the next. If the file has been changed in place
        since it was opened, other than by growth, the fingerprint has no digest.
        """
        if self._stream is not None:
            before = self._state
            while size is None or self.size < size:
                n_bytes = _CHUNK_BYTES if self.size >= START_BYTES else START_BYTES - self.size
                if size is not None:
                    n_bytes = min(n_bytes, size - self.size)
                data = self._stream.read(n_bytes)
                if not data:
                    break
                self._digest.update(data)
                self.size += len(data)
                if self.size <= START_BYTES:
                    self._start_hash = self._digest.copy()
            self._state = _wait_for_state(self._stream, before)
            self._has_changed |= _is_changed(before, self._state)
        size = self.size if size is None else size
        is_known = not self._has_changed and self.size >= size
        digest = self._digest.hexdigest() if is_known else CHANGED
        return Fingerprint(get_display_name(self._path), size, digest)

    def close(self) -> None:
        """Close the file to free its descriptor; the hash so far is kept."""
        self._stream = None

    def reopen(self, stream: ByteStream) -> None:
        """Open the file again if it is closed, to hash the bytes that follow.

        Raises
        ------
        SourceError
            If the file is not the one that `stream` reads.

        """
        if self._stream is None:
            self._stream = open_bytes(self._path)
            self._stream.skip(self.size)
            if not self.size:
                self._state = _read_state(self._stream)
        now = _read_state(self._stream)
        if not (now.is_same_file_as(self._state) and now.is_same_file_as(_read_state(stream))):
            raise SourceError(
                f"{get_display_name(self._path)}: another file has replaced it: run the command "
                "again"
            )


def _is_changed(before: FileState, now: FileState) -> bool:
    """Return whether a file was changed other than by growth."""
    return now.size < before.size or (now.time != before.time and now.size == before.size)


def _wait_for_state(stream: ByteStream, before: FileState) -> FileState:
    """Return the state of the file that a stream reads, once no write is in progress.

    During an append, the modification time may change before the size does.
    """
    now = _read_state(stream)
    for _ in range(_MAX_WAITS):
        if not _is_changed(before, now) or now.size < before.size:
            break
        time.sleep(_WAIT)
        now = _read_state(stream)
    return now


def _read_state(stream: ByteStream) -> FileState:
    """Return the state of the file that a stream reads."""
    assert stream.descriptor is not None
    return FileState.of(stream.descriptor)
