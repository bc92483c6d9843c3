"""Predictions as lines of JSON or of CSV."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import select
import stat
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import require_own_output

if TYPE_CHECKING:
    from stream_perceptron.data.schema import Selection
    from stream_perceptron.live.cursor import Cursor
    from stream_perceptron.live.step_result import StepResult

    from .signals import Signals


_MOST_KNOWN = 2**16  # words in JSON
_PATIENCE = 0.05  # seconds between two tries to open a FIFO
_PAUSE = 0.002  # seconds between two looks at how much a reader has read
_MOST_WRITTEN = 2**22  # bytes: several times what a pipe can hold


class PredictionFile:
    """Predictions in a file that can be truncated to the last save, or on a pipe.

    `path` is the file's path relative to the checkpoint's folder, and `notice` a warning about the
    file for the user. Lines that no reader has taken from a pipe are kept and saved with the model.
    """

    def __init__(
        self,
        name: str,
        descriptor: int,
        lines: Lines,
        begin: str,
        signals: Signals,
        path: str | None = None,
        notice: str | None = None,
    ) -> None:
        self._signals, self.notice = signals, notice
        self._name, self._descriptor, self._path = name, descriptor, path
        self._lines, self._begin = lines, begin.encode()
        mode = os.fstat(descriptor).st_mode
        self._is_pipe, self._is_file = stat.S_ISFIFO(mode), stat.S_ISREG(mode)
        self._unwritten, self._done = b"", 0  # lines, and the number of their bytes written
        self._written = bytearray()  # the last bytes written, as many as a pipe can hold
        # Waits until writing to a descriptor does not block; returns False if a signal comes first.
        self.wait: Callable[[int], bool] = signals.wait_to_write

    def write(self, result: StepResult) -> None:
        """Write a line for each sample."""
        self.add(result)
        self.flush()
        self.require_room(result)

    def add(self, result: StepResult) -> None:
        """Make a line for each sample, to be written by `flush`."""
        self._append("".join(self._lines(result)))
        if self._is_file:
            self.flush()

    def require_room(self, result: StepResult) -> None:
        """Check that the samples' lines held everything asked for."""
        self._lines.require_room(result)

    def put(self, untaken: str) -> None:
        """Begin with the lines that no reader took in the last run."""
        if untaken:
            self._append(untaken)

    @property
    def has_lines(self) -> bool:
        """Whether anything was written to the file, or is to be written."""
        is_written = self._is_file and os.fstat(self._descriptor).st_size > 0
        return bool(is_written or self._unwritten or self._written)

    def _append(self, text: str) -> None:
        self._unwritten = self._unwritten[self._done :] + self._begin + text.encode()
        self._begin, self._done = b"", 0

    def flush(self) -> None:
        """Write all added lines; on a pipe that may block, in whole lines.

        After a signal, only what does not block is written.
        """
        data = memoryview(self._unwritten)
        with self._named_errors():
            while self._done < len(data):
                end = len(data)
                # Writing to an empty pipe does not block.
                is_empty = self._is_pipe and not self._in_pipe()
                if not self._is_file:
                    if not (is_empty or self.wait(self._descriptor)):
                        return
                    end = self._line_end(is_empty)
                    if end == self._done:
                        return
                n = os.write(self._descriptor, data[self._done : end])
                if self._is_pipe:
                    self._written += data[self._done : self._done + n]
                    if len(self._written) > _MOST_WRITTEN:
                        del self._written[: -self._in_pipe() - _MOST_WRITTEN // 2]
                self._done += n

    def _line_end(self, is_empty: bool) -> int:
        """Return the end of the whole lines, or of a part of one, that can be written at once.

        A long line needs an empty pipe; if a signal ends the wait for it, nothing can be written.
        """
        # An empty pipe accepts its whole size without blocking; any writable one, PIPE_BUF bytes.
        most = self._done + (self._capacity() if is_empty else select.PIPE_BUF)
        end = self._unwritten.rfind(b"\n", self._done, most) + 1
        if end or not self._is_pipe:
            return end or most
        end = self._unwritten.find(b"\n", most) + 1
        if end - self._done > self._capacity():
            with suppress(OSError):  # beyond the system's limit
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, end - self._done)
        self.drain()
        if self._in_pipe():
            return self._done
        return min(end, self._done + self._capacity())

    def _capacity(self) -> int:
        return fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)

    def _in_pipe(self) -> int:
        """Return the number of unread bytes in the pipe."""
        n = bytearray(4)
        fcntl.ioctl(self._descriptor, termios.FIONREAD, n)
        return int.from_bytes(n, sys.byteorder)

    def untaken(self) -> str:
        """Return the lines that no reader has taken completely."""
        unwritten = self._unwritten[self._done :]
        n = len(unwritten) + (self._in_pipe() if self._is_pipe else 0)
        data = bytes(self._written + unwritten)
        start = data.rfind(b"\n", 0, len(data) - n) + 1
        return data[start:].decode().removeprefix(self._lines.header) if n else ""

    def drain(self) -> None:
        """Wait until a reader has taken all lines, or a signal comes.

        Raises
        ------
        BrokenPipeError
            If the reader leaves before.

        """
        while self._is_pipe and not self._signals.is_set and self._in_pipe():
            poll = select.poll()
            poll.register(self._descriptor, 0)
            if poll.poll(0):
                raise BrokenPipeError
            self._signals.sleep(_PAUSE)

    def sync(self, cursor: Cursor) -> None:
        """Sync the file to disk and record its size in a cursor."""
        if self._path is not None:
            with self._named_errors():
                os.fsync(self._descriptor)
            cursor.outputs[self._path] = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file, unless it is stdout."""
        if self._descriptor > 2:
            os.close(self._descriptor)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Name the file in errors of the system."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._name
            raise


def open_predictions(
    path: str,
    lines: Lines,
    signals: Signals,
    folder: Path | None = None,
    kept: Mapping[str, int] = {},
    remedy: str | None = "remove it, or name another file",
) -> PredictionFile:
    """Open the output of predictions.

    `kept` maps files to the bytes in each that belong to learned rows of the model in `folder`. A
    file with other content is refused with a `remedy`, unless that is None.
    """
    if path == "-":
        sys.stdout.flush()
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # before any row is read
        opened = PredictionFile("stdout", sys.stdout.fileno(), lines, lines.header, signals)
    elif os.path.exists(path) and not os.path.isfile(path):
        opened = PredictionFile(path, _open_device(path, signals), lines, lines.header, signals)
    else:
        if remedy is not None:
            require_own_output(path, lines.beginnings, lines.content, remedy)
        opened = _open_file(path, lines, signals, folder or Path(), kept)
    return opened


_FLAGS = os.O_CREAT | os.O_CLOEXEC


def _open_device(path: str, signals: Signals) -> int:
    """Open a device or a FIFO, which cannot be truncated and may have no reader yet."""
    mode = os.O_WRONLY
    while True:
        try:
            descriptor = os.open(path, mode | _FLAGS | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        # After a signal, open it for reading as well, which needs no other reader: predictions stay
        # in the FIFO, so they count as undelivered.
        mode = os.O_RDWR if signals.is_set else os.O_WRONLY
        signals.sleep(_PATIENCE)
    os.set_blocking(descriptor, True)
    return descriptor


def _open_file(
    path: str, lines: Lines, signals: Signals, folder: Path, before: Mapping[str, int]
) -> PredictionFile:
    """Open a file, and truncate it to its size when the model was saved.

    A file that was removed or emptied since, as by a rotation, is started again.
    """
    from stream_perceptron import CheckpointError
    from stream_perceptron.checkpoint.atomic import sync_folder
    from stream_perceptron.data.describe import warning

    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    kept = before.get(relative, 0)
    size = os.path.getsize(path) if os.path.exists(path) else 0
    notice = None
    if kept and not size:
        notice = warning(f"{path} was removed or emptied since the last save: it is started again")
        kept = 0
    if size < kept:
        raise CheckpointError(
            f"{path}: has {size:,} bytes, but {kept:,} were written when the model was saved: "
            "write to another file, or restore this one"
        )
    if kept:
        with open(path, "rb") as file:
            if file.read(len(lines.header.encode())) != lines.header.encode():
                raise CheckpointError(
                    f"{path}: has other columns than this run writes: write to another file"
                )
    descriptor = os.open(path, os.O_WRONLY | _FLAGS | os.O_APPEND, 0o666)
    os.truncate(descriptor, kept)
    with suppress(OSError):  # a folder may be writable and not readable
        sync_folder(Path(os.path.realpath(path)).parent)  # or a crash could lose the file
    begin = "" if kept else lines.header
    return PredictionFile(path, descriptor, lines, begin, signals, relative, notice)


def lines_for(
    path: str,
    output_format: str | None,
    selection: Selection,
    classes: Sequence[Any] | None,
    with_learned: bool,
) -> Lines:
    """Return a writer of CSV, if asked for or by the file's suffix, or else of JSON.

    `classes` are the classes to write probabilities of; with `with_learned`, write the number of
    samples that the model had learned.
    """
    if (output_format or ("csv" if path.lower().endswith(".csv") else "json")) == "json":
        return JsonLines(with_learned)
    carried = tuple(dict.fromkeys([*selection.position, *selection.kept]))
    return CsvLines(carried, classes, with_learned)


def _words() -> Callable[[Any], str]:
    """Return a caching function from a label or another value to its JSON."""
    known: dict[tuple[type, Any], str] = {}

    def word(value: Any) -> str:
        key = type(value), value
        if key not in known:
            if len(known) == _MOST_KNOWN:
                known.clear()
            known[key] = json.dumps(value, default=str)
        return known[key]

    return word


def _samples(result: StepResult, with_learned: bool) -> Iterator[tuple[Any, ...]]:
    """Yield for each sample the values of its line.

    They are row, number and probability of the prediction, label, samples learned, copied columns,
    and probabilities. Labels that came later have no line.
    """
    n = len(result.rows)
    every = result.every_probability
    samples = zip(
        result.rows.tolist(),
        result.predicted.tolist(),
        result.probabilities.tolist(),
        result.labels,
        result.learned.tolist() if with_learned else [None] * n,
        result.carried or [{}] * n,
        [[]] * n if every is None else every.tolist(),
        strict=True,
    )
    return samples if result.answers is None else compress(samples, (~result.answers).tolist())


class Lines:
    """Base class of writers of lines."""

    header = ""
    content = "predictions"
    beginnings: tuple[bytes, ...] = (b'{"row": ', b"row,prediction")  # of files with this content

    def __call__(self, result: StepResult) -> Iterator[str]:
        """Yield a line for each sample."""
        raise NotImplementedError

    def require_room(self, result: StepResult) -> None:
        """Check that the lines held everything asked for."""


class JsonLines(Lines):
    """Samples as lines of JSON."""

    def __init__(self, with_learned: bool = False) -> None:
        self._word = _words()
        self._with_learned = with_learned

    def __call__(self, result: StepResult) -> Iterator[str]:
        # The output of `json.dumps`, made faster.
        word, classes = self._word, result.classes
        keys: list[str] = []
        if result.every_probability is not None:
            keys = [json.dumps(str(label)) for label in classes]
        samples = _samples(result, self._with_learned)
        for row, number, probability, label, learned, carried, shares in samples:
            name, share = "null", "null"  # the number is -1: no label was known
            if number >= 0:
                name, share = word(classes[number]), repr(probability)
            beside = "" if learned is None else f', "learned": {learned}'
            if carried:
                beside += f", {json.dumps(replace_infinities(carried), default=str)[1:-1]}"
            if result.every_probability is not None:
                # NaN: the label was not known yet.
                known = ((key, p) for key, p in zip(keys, shares, strict=True) if p == p)
                beside += f', "probabilities": {{{", ".join(f"{key}: {p!r}" for key, p in known)}}}'
            yield (
                f'{{"row": {row}, "prediction": {name}, "probability": {share}, '
                f'"label": {word(label)}{beside}}}\n'
            )


class CsvLines(Lines):
    """Samples as lines of CSV after a header."""

    def __init__(
        self, carried: tuple[str, ...], classes: Sequence[Any] | None, with_learned: bool
    ) -> None:
        self._carried, self._with_learned = carried, with_learned
        self._classes = list(classes or ())
        shares = [f"probability of {label}" for label in self._classes]
        names = ["row", "prediction", "probability", "label", *["learned"] * with_learned]
        names += [*self._carried, *shares]
        self.header = ",".join(map(_cell, names)) + "\n"

    def __call__(self, result: StepResult) -> Iterator[str]:
        names = [*map(_cell, result.classes), ""]
        n = len(self._classes)
        samples = _samples(result, self._with_learned)
        for row, number, probability, label, learned, carried, shares in samples:
            share = "" if number < 0 else repr(probability)
            beside = [str(learned)] * self._with_learned
            beside += [_cell(carried.get(name)) for name in self._carried]
            known = ["" if p != p else repr(p) for p in shares[:n]]
            yield ",".join([str(row), names[number], share, _cell(label), *beside, *known]) + "\n"

    def require_room(self, result: StepResult) -> None:
        from stream_perceptron import SourceError

        if result.every_probability is not None and result.classes != self._classes:
            new = next((label for label in result.classes if label not in self._classes), None)
            raise SourceError(
                f"label {new!r} has no column in the predictions, which are complete but for its "
                "probability: name all labels with --classes, or write JSON"
            )


def _cell(value: Any) -> str:
    """Return a value as a cell of CSV; None is empty."""
    if value is None:
        return ""
    is_json = isinstance(value, bool | int | float | list | dict)
    text = json.dumps(value, default=str) if is_json else str(value)
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def replace_infinities(value: Any) -> Any:
    """Return a value with its infinities and NaN as texts, which JSON lacks as numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [replace_infinities(part) for part in value]
    if isinstance(value, dict):
        return {name: replace_infinities(part) for name, part in value.items()}
    return value
