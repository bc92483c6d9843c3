"""Predictions as lines of JSON or CSV."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .files import require_expected_content

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.live.step_result import StepResult

    from .signals import Signals


_MAX_CACHED_TEXTS = 2**16  # labels whose JSON is cached
_OPEN_RETRY_INTERVAL = 0.05  # seconds between two attempts to open a FIFO
_GRACE_SECONDS = 1.0  # seconds that a reader has after a signal to make room for further lines


class PredictionFile:
    """Writes predictions or rejected rows to a file, a pipe or a device.

    A file can be truncated to its size at the last save. `path` is the file's path relative to the
    checkpoint's folder, `is_new` whether the checkpoint lacks its size, and `notice` a warning to
    the user about the file.
    """

    def __init__(
        self,
        name: str,
        descriptor: int,
        formatter: LineFormatter,
        header: str,
        signals: Signals,
        path: str | None = None,
        is_new: bool = False,
        notice: str | None = None,
    ) -> None:
        self._signals, self.is_new, self.notice = signals, is_new, notice
        self._name, self._descriptor, self._path = name, descriptor, path
        self._formatter, self._header = formatter, header.encode()
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._unwritten = b""  # lines for which a reader made no room after a signal
        self._has_lines, self._grace_seconds = False, _GRACE_SECONDS

    def write(self, result: StepResult) -> None:
        """Write a line for each sample; writing to a pipe waits for its reader.

        After a signal, the wait ends once the reader has read nothing for a second.
        """
        lines = "".join(self._formatter(result)).encode()
        data = self._unwritten + self._header + lines
        self._unwritten = self._header = b""
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
    def has_lines(self) -> bool:
        """Whether the file has content, or lines were written in this run."""
        is_written = self._is_file and os.fstat(self._descriptor).st_size > 0
        return is_written or self._has_lines

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

    def sync(self, sizes: dict[str, int]) -> None:
        """Sync the file to disk, and store its size in `sizes` under its path."""
        if self._path is not None:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                error.filename = self._name
                raise
            sizes[self._path] = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file, unless it is stdout."""
        if self._descriptor > 2:
            os.close(self._descriptor)


def open_predictions(
    path: str,
    formatter: LineFormatter,
    signals: Signals,
    folder: Path | None = None,
    saved_sizes: Mapping[str, int] | None = None,
    advice: tuple[str, ...] = ("remove it, or name another file",),
) -> PredictionFile:
    """Open the output for predictions or rejected rows.

    `saved_sizes` maps the path of each file, relative to `folder`, to its size when the model was
    saved; None replaces files. A file with other content raises an error with `advice`, unless
    there is none.
    """
    if path == "-":
        sys.stdout.flush()
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # before any row is read
        opened = PredictionFile("stdout", sys.stdout.fileno(), formatter, formatter.header, signals)
    elif os.path.exists(path) and not os.path.isfile(path):
        opened = PredictionFile(
            path, _open_device(path, signals), formatter, formatter.header, signals
        )
    else:
        if advice:
            require_expected_content(path, formatter.prefixes, formatter.content, *advice)
        opened = _open_file(path, formatter, signals, folder or Path(), saved_sizes)
    return opened


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


def _open_file(
    path: str,
    formatter: LineFormatter,
    signals: Signals,
    folder: Path,
    saved_sizes: Mapping[str, int] | None,
) -> PredictionFile:
    """Open a file, and truncate it to its size when the model was saved.

    If the file has since been removed or emptied, for example by log rotation, start a new one.
    """
    from stream_perceptron import CheckpointError
    from stream_perceptron.checkpoint.atomic import sync_folder
    from stream_perceptron.data.notices import build_warning

    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    is_new = saved_sizes is not None and relative not in saved_sizes
    saved_size = 0 if saved_sizes is None or is_new else saved_sizes[relative]
    size = os.path.getsize(path) if os.path.exists(path) else 0
    notice = None
    if is_new and size:
        raise CheckpointError(
            f"{path}: it is not empty, and this model did not write it: write to another file, or "
            "remove it"
        )
    if saved_size and not size:
        notice = build_warning(
            f"{path} has been removed or emptied since the last save: starting a new file"
        )
        saved_size = 0
    if size < saved_size:
        raise CheckpointError(
            f"{path}: it has {size:,} bytes, but {saved_size:,} had been written when the model "
            "was saved: write to another file, or restore this file"
        )
    if saved_size:
        with open(path, "rb") as file:
            if file.read(len(formatter.header.encode())) != formatter.header.encode():
                raise CheckpointError(
                    f"{path}: its columns differ from those of this run: write to another file"
                )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CheckpointError(f"{path}: another process is writing it") from None
    os.truncate(descriptor, saved_size)
    with suppress(OSError):  # a folder may be writable but not readable
        sync_folder(Path(os.path.realpath(path)).parent)  # otherwise, a crash could lose the file
    header = "" if saved_size else formatter.header
    is_new |= notice is not None
    return PredictionFile(path, descriptor, formatter, header, signals, relative, is_new, notice)


def make_formatter(
    path: str, output_format: str | None, read_options: ReadOptions, with_all_scores: bool
) -> LineFormatter:
    """Return the formatter for `output_format`, or for the format implied by the suffix of `path`.

    Raises
    ------
    click.UsageError
        If CSV is to have the scores of all classes.

    """
    if (output_format or ("csv" if path.lower().endswith(".csv") else "json")) == "json":
        return JsonFormatter()
    if with_all_scores:
        raise click.UsageError("CSV has no columns for --scores: write JSON (--output-format json)")
    return CsvFormatter(tuple(dict.fromkeys([*read_options.position, *read_options.passthrough])))


# With `typed`, 1 and True are different labels.
_to_json = lru_cache(_MAX_CACHED_TEXTS, typed=True)(partial(json.dumps, default=str))


def _iterate_line_values(result: StepResult) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each line.

    They are the row number, the class ID and the score of the prediction, the label, the
    passthrough columns, and the scores of all classes. No line is written for a row that completes
    a pending sample.
    """
    n = len(result.rows)
    all_scores = result.all_scores
    samples = zip(
        result.rows.tolist(),
        result.predicted.tolist(),
        result.scores.tolist(),
        result.labels,
        result.copied_columns or [{}] * n,
        [[]] * n if all_scores is None else all_scores.tolist(),
        strict=True,
    )
    return (
        samples
        if result.is_late_label is None
        else compress(samples, (~result.is_late_label).tolist())
    )


class LineFormatter:
    """Formats results as lines; the base class of all formatters."""

    header = ""
    content = "predictions"
    prefixes: tuple[bytes, ...] = (b'{"row": ', b"row,prediction")  # how the output begins

    def __call__(self, result: StepResult) -> Iterator[str]:
        """Yield a line for each sample."""
        raise NotImplementedError


class JsonFormatter(LineFormatter):
    """Formats samples as lines of JSON."""

    def __call__(self, result: StepResult) -> Iterator[str]:
        # This produces the same text as `json.dumps`, but faster.
        classes = result.classes
        keys: list[str] = []
        if result.all_scores is not None:
            keys = [json.dumps(str(label)) for label in classes]
        samples = _iterate_line_values(result)
        for row, class_id, score, label, carried, class_scores in samples:
            name, score_text = "null", "null"  # for class ID -1: no label was known
            if class_id >= 0:
                name, score_text = _to_json(classes[class_id]), repr(score)
            extra_fields = ""
            if carried:
                extra_fields = f", {json.dumps(replace_infinities(carried), default=str)[1:-1]}"
            if result.all_scores is not None:
                # NaN: the label was not known yet.
                known_scores = (
                    (key, p) for key, p in zip(keys, class_scores, strict=True) if p == p
                )
                extra_fields += (
                    f', "scores": {{{", ".join(f"{key}: {p!r}" for key, p in known_scores)}}}'
                )
            yield (
                f'{{"row": {row}, "prediction": {name}, "score": {score_text}, '
                f'"label": {_to_json(label)}{extra_fields}}}\n'
            )


class CsvFormatter(LineFormatter):
    """Formats samples as lines of CSV, after a header."""

    def __init__(self, carried: tuple[str, ...]) -> None:
        self._carried = carried
        names = ["row", "prediction", "score", "label", *self._carried]
        self.header = ",".join(map(_format_cell, names)) + "\n"

    def __call__(self, result: StepResult) -> Iterator[str]:
        names = [*map(_format_cell, result.classes), ""]
        for row, class_id, score, label, carried, _ in _iterate_line_values(result):
            score_text = "" if class_id < 0 else repr(score)
            cells = [str(row), names[class_id], score_text, _format_cell(label)]
            extra_fields = [_format_cell(carried.get(name)) for name in self._carried]
            yield ",".join([*cells, *extra_fields]) + "\n"


def _format_cell(value: object) -> str:
    """Return a value as a CSV cell; None becomes an empty cell."""
    if value is None:
        return ""
    is_json = isinstance(value, bool | int | float | list | dict)
    text = json.dumps(value, default=str) if is_json else str(value)
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def replace_infinities(value: object) -> object:
    """Return a value with infinities and NaN, which JSON lacks, replaced by strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [replace_infinities(item) for item in value]
    if isinstance(value, dict):
        return {name: replace_infinities(item) for name, item in value.items()}
    return value
