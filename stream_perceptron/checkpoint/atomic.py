"""Atomic replacement and locking of files."""

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

# Errors from file systems that do not support hard links.
_LINK_UNSUPPORTED = (
    errno.EPERM,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EMLINK,
    errno.EINVAL,
    errno.EXDEV,
)


@contextmanager
def open_replacement(path: Path, previous_path: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` once it is complete and on disk.

    On any error, the temporary file is removed and `path` is unchanged. System errors name `path`.
    """
    given, path = path, Path(os.path.realpath(path))
    temporary = _make_temporary_path(path)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            # A file system with one mode for all files, such as FAT, may refuse even that mode.
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
            if mode not in (None, stat.S_IMODE(os.fstat(file.fileno()).st_mode)):
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous_path is not None and path.exists():
            _link_previous(path, previous_path)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(given), None
        raise


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock `path` with a file beside it, and remove the files that killed writers left behind."""
    folder, path = path.parent, Path(os.path.realpath(path))
    lock_path = Path(f"{path}.lock")
    while True:
        try:
            opened = lock_path.open("ab")
        except FileNotFoundError as error:
            error.filename = str(folder)
            raise
        with opened as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_same_file(lock_path, lock.fileno()):
                continue  # its last owner removed it after it was opened here
            # Match only the temporary names for `path`, not those for files with longer names.
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
                leftover.unlink()
            try:
                yield
            finally:
                with suppress(OSError):
                    lock_path.unlink()
            return


def _is_same_file(path: Path, descriptor: int) -> bool:
    """Whether an open file is still at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _make_temporary_path(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.urandom(8).hex()}.tmp"


def _link_previous(path: Path, previous: Path) -> None:
    """Make `previous` a hard link to `path` atomically, if the file system supports hard links."""
    temporary = _make_temporary_path(path)
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno in _LINK_UNSUPPORTED:
            return
        raise
    try:
        os.replace(temporary, previous)
    finally:
        # If both names already link to the same file, renaming removes neither of them.
        with suppress(OSError):
            os.remove(temporary)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
