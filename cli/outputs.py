"""Outputs: files, pipes and devices, to which lines are written."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_perceptron.live.step_result import StepResult

    from .lines import LineFormatter
    from .signals import Signals

_OPEN_RETRY_INTERVAL = 0.05  # seconds between two attempts to open a FIFO
_GRACE_SECONDS = 1.0  # seconds that a reader has after a signal to make room for further lines


@dataclass
class OutputSizes:
    """The sizes in bytes of output files at the last save."""

    folder: Path  # the folder of the checkpoint
    sizes: dict[str, int]  # keyed by the file's path relative to the folder

    def make_relative(self, path: str) -> str:
        """Return the path of a file relative to the folder."""
        return os.path.relpath(os.path.realpath(path), os.path.realpath(self.folder))


class Output:
    """Writes predictions or rejected rows to stdout, a pipe or a device."""

    notice: str | None = None  # a warning to the user about the file
    is_new = False  # whether the checkpoint lacks the size of the file

    def __init__(
        self, name: str, descriptor: int, formatter: LineFormatter, signals: Signals
    ) -> None:
        self._name, self._descriptor = name, descriptor
        self._formatter, self._signals = formatter, signals
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        # The header, or lines for which a reader made no room after a signal.
        self._unwritten = formatter.header.encode()
        self._has_lines, self._grace_seconds = False, _GRACE_SECONDS

    def write(self, result: StepResult) -> None:
        """Write a line for each sample; writing to a pipe waits for its reader.

        After a signal, the wait ends once the reader has read nothing for a second.
        """
        data = self._unwritten + "".join(self._formatter(result)).encode()
        self._unwritten = b""
        self._has_lines |= bool(data)
        n = 0  # bytes written
        while n < len(data):
            end = len(data)
            if not self._is_file:
                if not self._wait_for_reader():
                    self._unwritten = data[n:]  # a later write continues here
                    return
                # Writing PIPE_BUF bytes does not block: write whole lines, unless a line is longer.
                end = data.rfind(b"\n", n, n + select.PIPE_BUF) + 1 or n + select.PIPE_BUF
            try:
                n += os.write(self._descriptor, data[n:end])
            except OSError as error:
                error.filename = self._name
                raise

    @property
    def has_content(self) -> bool:
        """Whether the file has content, or lines were written in this run."""
        is_written = self._is_file and os.fstat(self._descriptor).st_size > 0
        return is_written or self._has_lines

    def sync_to_disk(self, saved: OutputSizes) -> None:
        """Sync a file to disk, and store its size; do nothing for other outputs."""

    def close(self) -> None:
        """Close the output, unless it is stdout."""
        if self._descriptor > 2:
            os.close(self._descriptor)

    def _wait_for_reader(self) -> bool:
        """Wait for a reader to make room, up to a second after a signal; return whether it did."""
        if self._signals.wait(self._descriptor, event=select.POLLOUT):
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(1000 * self._grace_seconds):
            return True
        self._grace_seconds = 0.0
        return False


class OutputFile(Output):
    """Writes predictions or rejected rows to a file, from its size at the last save on.

    If the file has since been removed or emptied, for example by log rotation, it starts anew.
    `saved` is None to replace the file.

    Raises
    ------
    CheckpointError
        If the file has content that the model's runs did not write, or lacks some that they wrote.
    OSError
        If the file cannot be written.

    """

    def __init__(
        self, path: str, formatter: LineFormatter, signals: Signals, saved: OutputSizes | None
    ) -> None:
        size = 0
        if saved is not None:
            size = self._require_saved_content(path, formatter, saved)
        super().__init__(path, _open_truncated(path, size), formatter, signals)
        if size:
            self._unwritten = b""

    def _require_saved_content(
        self, path: str, formatter: LineFormatter, saved: OutputSizes
    ) -> int:
        """Check that a file begins with what was saved, and return the size of that."""
        from stream_perceptron import CheckpointError
        from stream_perceptron.data.notices import build_warning

        relative = saved.make_relative(path)
        self.is_new, saved_size = relative not in saved.sizes, saved.sizes.get(relative, 0)
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if self.is_new and size:
            raise CheckpointError(
                f"{path}: it is not empty, and this model did not write it: write to another file, "
                "or remove it"
            )
        if saved_size and not size:
            self.notice = build_warning(
                f"{path} has been removed or emptied since the last save: starting a new file"
            )
            self.is_new = True
            return 0
        if size < saved_size:
            raise CheckpointError(
                f"{path}: it has {size:,} bytes, but {saved_size:,} had been written when the "
                "model was saved: write to another file, or restore this file"
            )
        if saved_size and not _begins_with(path, formatter.header.encode()):
            raise CheckpointError(
                f"{path}: its columns differ from those of this run: write to another file"
            )
        return saved_size

    def sync_to_disk(self, saved: OutputSizes) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            error.filename = self._name
            raise
        saved.sizes[saved.make_relative(self._name)] = os.fstat(self._descriptor).st_size


def open_output(
    path: str, formatter: LineFormatter, signals: Signals, saved: OutputSizes | None = None
) -> Output:
    """Open the output for predictions or rejected rows, - for stdout.

    `saved` has the sizes of files when the model was saved; None replaces files.
    """
    if path == "-":
        sys.stdout.flush()
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # before any row is read
        return Output("stdout", sys.stdout.fileno(), formatter, signals)
    if os.path.exists(path) and not os.path.isfile(path):
        return Output(path, _open_device(path, signals), formatter, signals)
    return OutputFile(path, formatter, signals, saved)


def _open_device(path: str, signals: Signals) -> int:
    """Open a device or a FIFO, which cannot be truncated and may have no reader yet."""
    mode = os.O_WRONLY
    while True:
        try:
            descriptor = os.open(path, mode | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        # After a signal, open the FIFO for reading as well, which succeeds even without a reader,
        # so that rows already read are learned.
        mode = os.O_RDWR if signals.is_set else os.O_WRONLY
        signals.wait(None, _OPEN_RETRY_INTERVAL)
    os.set_blocking(descriptor, True)
    return descriptor


def _begins_with(path: str, header: bytes) -> bool:
    """Whether a file begins with a header."""
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def _open_truncated(path: str, n_bytes: int) -> int:
    """Open a file that no other process writes, and truncate it."""
    from stream_perceptron import CheckpointError
    from stream_perceptron.checkpoint.atomic import sync_folder

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CheckpointError(f"{path}: another process is writing it") from None
    os.truncate(descriptor, n_bytes)
    with suppress(OSError):  # a folder may be writable but not readable
        sync_folder(Path(os.path.realpath(path)).parent)  # otherwise, a crash could lose the file
    return descriptor
