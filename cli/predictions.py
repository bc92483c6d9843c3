"""Predictions as lines of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_perceptron.live.cursor import Output
    from stream_perceptron.live.step_result import StepResult


class PredictionFile:
    """Predictions on stdout, or in a file that can be cut back to where a model was saved."""

    def __init__(self, path: str, folder: Path | None = None, before: Output | None = None) -> None:
        from stream_perceptron import CheckpointError

        self._path = None if path == "-" else os.path.relpath(path, folder)
        self._file: IO[str] = sys.stdout
        if self._path is None:
            return
        if before is None or before.path != self._path:
            self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115
            return
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size < before.size:
            raise CheckpointError(
                f"{path}: has {size:,} bytes, but {before.size:,} were written when the model was "
                "saved: write to another file, or restore this one"
            )
        os.truncate(path, before.size)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, result: StepResult) -> None:
        """Write a line for each sample."""
        offsets = result.offsets or [{}] * len(result.rows)
        for row, prediction, probability, label, offset in zip(
            result.rows.tolist(),
            result.predictions,
            result.probabilities.tolist(),
            result.labels,
            offsets,
            strict=True,
        ):
            record: dict[str, Any] = {"row": row, "prediction": prediction}
            record["probability"] = None if prediction is None else probability
            record["label"] = label
            record |= offset
            self._file.write(json.dumps(record, default=str) + "\n")
        self._file.flush()

    def sync(self) -> Output | None:
        """See what was written on to the disk, and return how far that is; None for stdout."""
        from stream_perceptron.live.cursor import Output

        if self._path is None:
            return None
        os.fsync(self._file.fileno())
        return Output(self._path, os.fstat(self._file.fileno()).st_size)
