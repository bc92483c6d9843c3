"""Predictions as lines of JSON."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_perceptron.live.cursor import Output
    from stream_perceptron.live.step_result import StepResult


_PATIENCE = 0.05  # seconds between two tries to open a FIFO


class PredictionFile:
    """Predictions on stdout, or in a file that can be cut back to where a model was saved."""

    def __init__(
        self,
        path: str,
        folder: Path | None = None,
        before: Output | None = None,
        wait: Callable[[int], None] = lambda descriptor: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from stream_perceptron import CheckpointError

        self._name = "stdout" if path == "-" else path
        self._wait = wait
        self._path: str | None = None
        if path == "-":
            sys.stdout.flush()
            self._descriptor = sys.stdout.fileno()
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        if os.path.exists(path) and not os.path.isfile(path):
            # A device or a FIFO keeps nothing that could be cut; a FIFO may have no reader yet.
            while True:
                try:
                    self._descriptor = os.open(path, flags | os.O_NONBLOCK)
                    break
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    sleep(_PATIENCE)
            os.set_blocking(self._descriptor, True)
            return
        self._path = os.path.relpath(os.path.realpath(path), os.path.realpath(folder or "."))
        goes_on = before is not None and before.path == self._path
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if before is not None and goes_on and size < before.size:
            raise CheckpointError(
                f"{path}: has {size:,} bytes, but {before.size:,} were written when the model was "
                "saved: write to another file, or restore this one"
            )
        self._descriptor = os.open(path, flags | os.O_APPEND, 0o666)
        os.truncate(self._descriptor, before.size if before is not None and goes_on else 0)

    def write(self, result: StepResult) -> None:
        """Write a line for each sample."""
        data = memoryview("".join(_lines(result)).encode())
        with self._named_errors():
            while data and self._path is not None:
                data = data[os.write(self._descriptor, data) :]
            while data:
                self._wait(self._descriptor)
                # So much can be written to a pipe that can be written to, without blocking.
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]

    def sync(self) -> Output | None:
        """See what was written on to the disk, and return how far that is; None for stdout."""
        from stream_perceptron.live.cursor import Output

        if self._path is None:
            return None
        with self._named_errors():
            os.fsync(self._descriptor)
        return Output(self._path, os.fstat(self._descriptor).st_size)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Let errors of the system name the file."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._name
            raise


def _lines(result: StepResult) -> Iterator[str]:
    """Yield what `json.dumps` would say of each sample, for less."""
    words: dict[tuple[type, Any], str] = {}

    def word(label: Any) -> str:
        key = type(label), label
        if key not in words:
            words[key] = json.dumps(label, default=str)
        return words[key]

    names = [*map(word, result.classes), "null"]  # the last one, -1, where no label is known
    offsets = result.offsets or [{}] * len(result.rows)
    for row, number, probability, label, offset in zip(
        result.rows.tolist(),
        result.predicted.tolist(),
        result.probabilities.tolist(),
        result.labels,
        offsets,
        strict=True,
    ):
        share = "null" if number < 0 else repr(probability)
        more = f", {json.dumps(offset)[1:-1]}" if offset else ""
        yield (
            f'{{"row": {row}, "prediction": {names[number]}, "probability": {share}, '
            f'"label": {word(label)}{more}}}\n'
        )
