"""Training options and results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array


class TrainOptions(NamedTuple):
    """Options for training.

    Parameters
    ----------
    stop
        End at the first sample with an error below epsilon.
    with_scores
        Compute the score of each prediction.
    with_all_scores
        Compute the score of each label for each sample.
    learns
        Learn labeled samples; if not, all are only predicted.

    """

    stop: bool = False
    with_scores: bool = False
    with_all_scores: bool = False
    learns: bool = True


@dataclass(eq=False, repr=False)
class TrainResult:
    """The result for n samples, each predicted and then learned from: arrays of shape (n,).

    Examples
    --------
    >>> result = TrainResult.empty(np.array([0, 1, -1]))
    >>> len(result), len(result[1:]), len(TrainResult.concatenate([result, result]))
    (3, 2, 6)

    """

    targets: NDArray[np.intp]  # the index of each label; -1 if it is missing
    predicted: NDArray[np.intp]  # the index of the predicted label; -1 if no label was known
    errors: NDArray[np.float64]  # half the squared error before the update; NaN without a label
    updated: NDArray[np.bool_]  # whether the weights were changed
    scores: NDArray[np.float64]  # of the predicted labels; NaN if not requested
    # The slope of each sample (the mean of f' over the outputs) and its spread (the
    # largest output minus the smallest); NaN except for one labeled sample in 32; shape (n, 2).
    probes: NDArray[np.float64]
    # The score of each label, shape (n, k), NaN for labels that were unknown; None if not
    # requested.
    all_scores: NDArray[np.float64] | None = None
    nets: Array | None = None  # net inputs before the update, shape (n, k), if requested
    diverged: bool = False  # whether the next sample was rejected to prevent divergence
    stopped: bool = False  # whether the last sample's error ended the training
    memory_error: Exception | None = None  # why the next sample does not fit in memory
    # The end of the rows processed, of which this result has only the usable ones, at this index.
    end: int = 0
    usable_rows: Any = ...

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def empty(cls, targets: NDArray[np.intp]) -> TrainResult:
        """Return a result for samples with these targets, filled with -1, NaN and False."""
        # `np.full` is several times slower, which matters for a single sample.
        n = len(targets)
        predicted, numbers = np.empty(n, np.intp), np.empty(4 * n)
        predicted.fill(-1)
        numbers.fill(math.nan)
        errors, scores, probes = numbers[:n], numbers[n : 2 * n], numbers[2 * n :].reshape(n, 2)
        return cls(targets, predicted, errors, np.zeros(n, bool), scores, probes)

    @classmethod
    def concatenate(cls, results: Sequence[TrainResult]) -> TrainResult:
        """Concatenate several results, without their `all_scores`."""
        if len(results) == 1:
            return results[0]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(result, name) for result in results])
            for name in _ARRAY_FIELDS
        }
        return cls(**arrays)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> TrainResult:
        """Return the result for some of the rows."""
        arrays: dict[str, Any] = {
            name: array[rows]
            for name in (*_ARRAY_FIELDS, "all_scores")
            if (array := getattr(self, name)) is not None
        }
        return replace(self, **arrays)


_ARRAY_FIELDS = ("targets", "predicted", "errors", "updated", "scores", "probes")
