"""Progressive validation: every sample is a test before it is a lesson."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.codec import Fields
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.learning_curve import Curve
from stream_perceptron.model.network import Trace

__all__ = ["WINDOW", "Progress"]

WINDOW = 1000

_COUNTS = ("samples", "unlabelled", "skipped", "updates", "repeats")
_NUMBERS = ("epsilon_sum", "largest")


@dataclass
class Progress:
    """How a run over a stream is going.

    Parameters
    ----------
    samples
        Labelled samples, tested and then trained on.
    unlabelled
        Samples that were only predicted.
    skipped
        Rows that could not be used.
    updates
        Samples that changed the weights.
    confusion
        How often each label, by row, was predicted as each label, by column; the numbers are
        those of the model's `classes_`. Samples tested before any label was known are not in it.
    window
        Whether each of the last 1,000 tested samples was predicted rightly, oldest first.
    epsilon_sum
        The sum of the errors of all labelled samples, added one by one.
    repeats
        Labelled samples with the label of the labelled sample before.
    last_target
        The number of the last label, -1 before the first.
    largest
        The largest absolute value of a feature in the samples that were probed.
    curve
        How the run went from one stretch of samples to the next.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> progress = Progress()
    >>> progress.update(model.trace([[1.0], [-1.0]] * 2, ["left", "right"] * 2))
    >>> progress.samples, progress.accuracy
    (4, 0.75)

    References
    ----------
    [^1]: Avrim Blum, Adam Kalai and John Langford. 1999. Beating the hold-out: bounds for k-fold
    and progressive cross-validation. COLT '99. https://doi.org/10.1145/307400.307439

    """

    samples: int = 0
    unlabelled: int = 0
    skipped: int = 0
    updates: int = 0
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    window: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    epsilon_sum: float = 0.0
    repeats: int = 0
    last_target: int = -1
    largest: float = 0.0
    curve: Curve = field(default_factory=Curve)

    @property
    def rows(self) -> int:
        """All rows that were read."""
        return self.samples + self.unlabelled + self.skipped

    @property
    def accuracy(self) -> float:
        """The share of tested samples that were predicted rightly; 0 before the first."""
        tested = int(self.confusion.sum())
        return int(self.confusion.trace()) / tested if tested else 0.0

    @property
    def window_accuracy(self) -> float:
        """The same over the last 1,000 tested samples."""
        return float(self.window.mean()) if len(self.window) else 0.0

    @property
    def mean_epsilon(self) -> float:
        """The mean error of the labelled samples."""
        return self.epsilon_sum / self.samples if self.samples else 0.0

    @property
    def updated_share(self) -> float:
        """The share of labelled samples that changed the weights."""
        return self.updates / self.samples if self.samples else 0.0

    def to_json(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the counters as JSON, and the arrays."""
        counters = {name: getattr(self, name) for name in (*_COUNTS, *_NUMBERS, "last_target")}
        counters["stretch"] = self.curve.stretch
        arrays = {"confusion": self.confusion, "window": self.window, "curve": self.curve.sums}
        return counters, arrays

    @classmethod
    def from_json(
        cls,
        value: Any,
        confusion: NDArray[Any] | None,
        window: NDArray[Any] | None,
        curve: NDArray[Any] | None,
    ) -> Progress:
        """Return the progress that `to_json` was called on.

        Raises
        ------
        CheckpointError
            If it does not hold together.

        """
        fields = Fields(value, "progress")
        progress = cls()
        for name in _COUNTS:
            setattr(progress, name, fields.count(name))
        for name in _NUMBERS:
            setattr(progress, name, fields.take(name, float))
        progress.last_target = fields.take("last_target", int, check=lambda number: number >= -1)
        stretch = fields.count("stretch")
        fields.finish()
        if curve is None:  # format 2 had none
            curve = np.zeros((0, len(Curve.COLUMNS)))
        progress.curve = Curve.restored(curve, stretch)
        if confusion is None or window is None:
            raise CheckpointError("progress has no confusion matrix or no window")
        shapes = confusion.dtype == np.int64, window.dtype == np.bool_, window.ndim == 1
        if not all(shapes) or confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
            raise CheckpointError("progress has no square confusion matrix or no window")
        if len(window) > WINDOW or (confusion < 0).any() or confusion.sum() > progress.samples:
            raise CheckpointError("progress has counts that do not fit together")
        progress.confusion, progress.window = confusion, window
        return progress

    def update(self, trace: Trace) -> None:
        """Take in what happened to some more samples."""
        labelled = trace.target >= 0
        eps = trace.eps[labelled]
        self.samples += len(eps)
        self.unlabelled += len(trace) - len(eps)
        self.updates += int(np.count_nonzero(trace.updated))
        target = trace.target[labelled]
        before = np.concatenate([[self.last_target], target[:-1]])
        self.repeats += int(np.count_nonzero(target == before))
        self.last_target = int(target[-1]) if len(target) else self.last_target
        self.curve.update(trace)
        # cumsum adds in order, so that the sum does not depend on how the rows came in blocks.
        self.epsilon_sum = float(np.cumsum(np.concatenate([[self.epsilon_sum], eps]))[-1])

        tested = labelled & (trace.predicted >= 0)
        target, predicted = trace.target[tested], trace.predicted[tested]
        missing = max(target.max(initial=-1), predicted.max(initial=-1)) + 1 - len(self.confusion)
        if missing > 0:
            self.confusion = np.pad(self.confusion, (0, int(missing)))
        np.add.at(self.confusion, (target, predicted), 1)
        self.window = np.concatenate([self.window, target == predicted])[-WINDOW:]
