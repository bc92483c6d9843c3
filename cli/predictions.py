"""Predictions as lines of JSON or of CSV."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_perceptron.data.schema import Selection
    from stream_perceptron.live.cursor import Output
    from stream_perceptron.live.step_result import StepResult


_MOST_KNOWN = 2**16  # words in JSON
_PATIENCE = 0.05  # seconds between two tries to open a FIFO


class PredictionFile:
    """Predictions on stdout, or in a file that can be cut back to where a model was saved.

    `path` is that of such a file from the folder of the checkpoint on, and `begin` what is written
    before the first line.
    """

    def __init__(
        self, name: str, descriptor: int, lines: Lines, begin: str, path: str | None = None
    ) -> None:
        self._name, self._descriptor, self._path = name, descriptor, path
        self._lines, self._begin = lines, begin.encode()
        self.wait: Callable[[int], None] = lambda descriptor: None

    def write(self, result: StepResult) -> None:
        """Write a line for each sample."""
        data = memoryview(self._begin + "".join(self._lines(result)).encode())
        self._begin = b""
        with self._named_errors():
            while data and self._path is not None:
                data = data[os.write(self._descriptor, data) :]
            while data:
                self.wait(self._descriptor)
                # So much can be written to a pipe that can be written to, without blocking.
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
        self._lines.require_room(result)

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


def open_predictions(
    path: str,
    lines: Lines,
    wait: Callable[[int], None],
    sleep: Callable[[float], None],
    folder: Path | None = None,
    before: Output | None = None,
) -> PredictionFile:
    """Open what predictions are written to.

    `wait` returns when something can be written to a descriptor, and `before` is what was written
    when the model in the folder was saved.
    """
    if path == "-":
        sys.stdout.flush()
        opened = PredictionFile("stdout", sys.stdout.fileno(), lines, lines.header)
    elif os.path.exists(path) and not os.path.isfile(path):
        opened = PredictionFile(path, _open_device(path, sleep), lines, lines.header)
    else:
        opened = _open_file(path, lines, folder or Path(), before)
    opened.wait = wait
    return opened


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


def _open_device(path: str, sleep: Callable[[float], None]) -> int:
    """Open a device or a FIFO: it keeps nothing that could be cut, and may have no reader yet."""
    while True:
        try:
            descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            sleep(_PATIENCE)
    os.set_blocking(descriptor, True)
    return descriptor


def _open_file(path: str, lines: Lines, folder: Path, before: Output | None) -> PredictionFile:
    """Open a file, and cut it back to where it was when the model was saved."""
    from stream_perceptron import CheckpointError

    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    kept = before.size if before is not None and before.path == relative else 0
    size = os.path.getsize(path) if os.path.exists(path) else 0
    if size < kept:
        raise CheckpointError(
            f"{path}: has {size:,} bytes, but {kept:,} were written when the model was saved: "
            "write to another file, or restore this one"
        )
    if kept:
        with open(path, "rb") as file:
            if file.read(len(lines.header.encode())) != lines.header.encode():
                raise CheckpointError(
                    f"{path}: has other columns than are asked for now: write to another file"
                )
    descriptor = os.open(path, _FLAGS | os.O_APPEND, 0o666)
    os.truncate(descriptor, kept)
    return PredictionFile(path, descriptor, lines, "" if kept else lines.header, relative)


def lines_for(
    path: str,
    output_format: str | None,
    selection: Selection,
    classes: Sequence[Any] | None,
) -> Lines:
    """Return what makes lines: of CSV if they are asked for or the file's name ends so, or of JSON.

    `classes` are those whose probabilities are asked for.
    """
    if (output_format or ("csv" if path.lower().endswith(".csv") else "json")) == "json":
        return JsonLines()
    return CsvLines(tuple(dict.fromkeys([*selection.position, *selection.keep])), classes)


def _words() -> Callable[[Any], str]:
    """Return what says a label, or another value, in JSON, and knows it the next time."""
    known: dict[tuple[type, Any], str] = {}

    def word(value: Any) -> str:
        key = type(value), value
        if key not in known:
            if len(known) == _MOST_KNOWN:
                known.clear()
            known[key] = json.dumps(value, default=str)
        return known[key]

    return word


def _samples(result: StepResult) -> Iterator[tuple[Any, ...]]:
    """Yield row, number and probability of the prediction, label, what is carried, and shares."""
    n = len(result.rows)
    every = result.every_probability
    return zip(
        result.rows.tolist(),
        result.predicted.tolist(),
        result.probabilities.tolist(),
        result.labels,
        result.carried or [{}] * n,
        [[]] * n if every is None else every.tolist(),
        strict=True,
    )


class Lines:
    """Makes the lines of samples."""

    header = ""  # what stands before the first line

    def __call__(self, result: StepResult) -> Iterator[str]:
        """Yield a line for each sample."""
        raise NotImplementedError

    def require_room(self, result: StepResult) -> None:
        """Require that the lines said all of what is asked for."""


class JsonLines(Lines):
    """Samples as lines of JSON."""

    def __init__(self) -> None:
        self._word = _words()

    def __call__(self, result: StepResult) -> Iterator[str]:
        # What `json.dumps` would say, for less.
        word, classes = self._word, result.classes
        keys: list[str] = []
        if result.every_probability is not None:
            keys = [json.dumps(str(label)) for label in classes]
        for row, number, probability, label, carried, shares in _samples(result):
            name, share = "null", "null"  # -1, where no label was known
            if number >= 0:
                name, share = word(classes[number]), repr(probability)
            beside = f", {json.dumps(carried)[1:-1]}" if carried else ""
            if result.every_probability is not None:
                # A label that was not known yet has no probability.
                known = ((key, p) for key, p in zip(keys, shares, strict=True) if p == p)
                beside += f', "probabilities": {{{", ".join(f"{key}: {p!r}" for key, p in known)}}}'
            yield (
                f'{{"row": {row}, "prediction": {name}, "probability": {share}, '
                f'"label": {word(label)}{beside}}}\n'
            )


class CsvLines(Lines):
    """Samples as lines of CSV, a header in front."""

    def __init__(self, carried: tuple[str, ...], classes: Sequence[Any] | None) -> None:
        self._carried = carried
        self._classes = list(classes or ())
        shares = [f"probability of {label}" for label in self._classes]
        names = ["row", "prediction", "probability", "label", *self._carried, *shares]
        self.header = ",".join(map(_cell, names)) + "\n"

    def __call__(self, result: StepResult) -> Iterator[str]:
        names = [*map(_cell, result.classes), ""]
        n = len(self._classes)
        for row, number, probability, label, carried, shares in _samples(result):
            share = "" if number < 0 else repr(probability)
            beside = [_cell(carried.get(name)) for name in self._carried]
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
    """Return a value as a cell of CSV, nothing for None."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
