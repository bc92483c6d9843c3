"""The test for changes in the label mix: the shares of the classes among the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import (
    BLOCK_SIZE,
    NUMBER_TYPE,
    Blocks,
    accumulate,
    define_group_state,
    group_blocks,
    sum_classes,
)
from stream_perceptron.live.drift.events import DriftEvent, EventKind
from stream_perceptron.model.arrays import Floats

LENGTH = 20  # blocks in a window
WINDOW = LENGTH * BLOCK_SIZE  # samples
_MIN_WINDOWS = 5  # windows needed before the two windows that are tested
_MIN_DEVIATIONS = 5.0  # standard deviations
_MIN_ODDS_RATIO = 1.5  # the minimum odds ratio at which a changed share is reported


def define_state(n_classes: int) -> list[tuple[object, ...]]:
    """Return the fields of the state, for a structured array."""
    counts = (NUMBER_TYPE, (n_classes,))
    return [
        ("n_windows", NUMBER_TYPE),  # windows since the last change, excluding the last window
        ("sums", *counts),  # sums over these windows of the counts by class and of their squares
        ("squares", *counts),
        ("last", *counts),  # the last window: samples by class, its start, and whether it exists
        ("last_row", NUMBER_TYPE),
        ("last_sample", NUMBER_TYPE),
        ("has_last", NUMBER_TYPE),
        ("open", define_group_state(n_classes)),  # the window that is not full, and its start
        ("open_row", NUMBER_TYPE),
        ("open_sample", NUMBER_TYPE),
    ]


class LabelMixTest:
    """A test of two windows of 1,000 labels against earlier windows; `state` is changed in place.

    The mix has changed if the counts of a class in both windows deviate from their mean in the n
    preceding windows by more than five standard deviations in the same direction, and the odds of
    the class change by a factor of 1.5 or more. The variance is estimated from the n windows, so it
    is larger for labels that depend on each other, as within a session. With few windows, the
    squared threshold is higher by the factor (n + 1) / (n - 3), as the tails of Student's t are
    heavier than those of the normal distribution.
    """

    def __init__(self, state: np.void) -> None:
        self._state = state

    def advance(self, blocks: Blocks, events: list[DriftEvent]) -> None:
        """Test blocks and append the events found."""
        state = self._state
        windows, _ = group_blocks(state["open"], blocks, LENGTH)
        n_full = len(windows)
        rows = np.append(state["open_row"], windows.rows)
        samples = np.append(state["open_sample"], windows.samples)
        state["open_row"], state["open_sample"] = rows[-1], samples[-1]
        begin = 0
        while begin < n_full:
            part = slice(begin, None)
            begin += self._test_windows(windows.seen[part], rows[begin:], samples[begin:], events)

    def _test_windows(
        self, counts: Floats, rows: Floats, samples: Floats, events: list[DriftEvent]
    ) -> int:
        """Test m windows up to the first change; return how many windows were used.

        `rows` and `samples` hold each window's start and the last window's end; shape (m + 1,).
        """
        state = self._state
        if not state["has_last"]:
            state["has_last"] = 1.0
            state["last"], state["last_row"], state["last_sample"] = counts[0], rows[0], samples[0]
            return 1
        before = np.concatenate([state["last"][np.newaxis], counts[:-1]])
        sums = accumulate(state["sums"], before)
        squares = accumulate(state["squares"], before**2)
        n = (state["n_windows"] + np.arange(len(sums)))[:, np.newaxis]
        is_changed = _find_changes(n[:-1], sums[:-1], squares[:-1], before, counts)
        changes = np.flatnonzero(is_changed.any(axis=1))
        index = int(changes[0]) if len(changes) else len(counts) - 1
        if len(changes):
            deviations = (before[index] + counts[index]) * n[index] - 2 * sums[index]
            # Among shares that changed by the same amount, one that increased takes precedence.
            label = int(
                np.where(is_changed[index], 2 * np.abs(deviations) + (deviations > 0), -1).argmax()
            )
            row = state["last_row"] if index == 0 else rows[index - 1]
            sample = state["last_sample"] if index == 0 else samples[index - 1]
            old = float(sums[index, label] / n[index, 0] / WINDOW)
            new = float((before[index] + counts[index])[label] / 2 / WINDOW)
            first_row, first_sample, found = int(row) + 1, int(sample) + 1, int(rows[index + 1])
            events.append(
                DriftEvent(EventKind.LABEL_MIX, first_row, first_sample, found, old, new, label)
            )
            state["n_windows"], state["sums"], state["squares"] = (
                1,
                before[index],
                before[index] ** 2,
            )
        else:
            state["n_windows"], state["sums"], state["squares"] = n[-1, 0], sums[-1], squares[-1]
        state["last"], state["last_row"] = counts[index], rows[index]
        state["last_sample"] = samples[index]
        return index + 1


def _find_changes(
    n: Floats, sums: Floats, squares: Floats, before: Floats, counts: Floats
) -> NDArray[np.bool_]:
    """Return whether the share of each class has changed in two windows; shape (m, k).

    `before` and `counts` are the counts of these two windows. `n` is the number of earlier windows;
    `sums` and `squares` are the sums and the sums of squares of the counts in the earlier windows.
    """
    has_enough, n = n >= _MIN_WINDOWS, np.maximum(n, _MIN_WINDOWS)
    mean = sums / n
    variance, independent_variance = (squares - mean * sums) / (n - 1), mean * (1 - mean / WINDOW)
    # Frequent classes reveal dependence within sessions sooner than rare classes do.
    dispersion = sum_classes(variance) / np.maximum(sum_classes(independent_variance), 1)
    dispersion = np.maximum(dispersion, 1)[:, np.newaxis]
    variance = np.maximum(variance, dispersion * np.maximum(independent_variance, dispersion))
    threshold = _MIN_DEVIATIONS**2 * (n + 1) / (n - 3) * (1 + 1 / n) * variance
    deviations = before - mean, counts - mean
    deviates = (deviations[0] * deviations[1] > 0) & (
        np.minimum(deviations[0] ** 2, deviations[1] ** 2) > threshold
    )
    old, new = mean / WINDOW, (before + counts) / 2 / WINDOW
    odds = new * (1 - old), old * (1 - new)
    is_large = (odds[0] >= _MIN_ODDS_RATIO * odds[1]) | (odds[1] >= _MIN_ODDS_RATIO * odds[0])
    return np.asarray(has_enough & deviates & is_large)
