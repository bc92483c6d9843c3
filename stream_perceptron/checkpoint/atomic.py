"""Files that are whole or not there."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# How a file system says that it makes no second names.
_CANNOT = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EINVAL, errno.EXDEV)


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` when all was written and is on disk.

    On any error the temporary file is removed and what was at `path` stays.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "greeting.txt"
    >>> with replacing(path) as file:
    ...     _ = file.write(b"hello")
    >>> path.read_bytes()
    b'hello'

    """
    path = Path(os.path.realpath(path))
    temporary = _temporary(path)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            # Where all files have one mode, as on FAT, even to set that one may be refused.
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
            if mode not in (None, stat.S_IMODE(os.fstat(file.fileno()).st_mode)):
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _link(path, previous)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a file beside it, and clear away what a killed holder left."""
    path = Path(os.path.realpath(path))
    with open(f"{path}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Exactly the names of `_temporary`, not those of a file with a longer name.
        for litter in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
            litter.unlink()
        yield


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.urandom(8).hex()}.tmp"


def _link(path: Path, previous: Path) -> None:
    """Make `previous` a name of the file at `path`, in one step."""
    temporary = _temporary(path)
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno in _CANNOT:
            return  # not every file system can; the new file is what matters
        raise
    try:
        os.replace(temporary, previous)
    finally:
        # Where both are names of one file already, to rename one to the other leaves both.
        with suppress(OSError):
            os.remove(temporary)


def sync_folder(folder: Path) -> None:
    """See the names in a folder on to the disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
