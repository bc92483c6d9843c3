"""The test for drops and recoveries in overall accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import (
    BLOCK_SIZE,
    NUMBER_TYPE,
    Blocks,
    accumulate,
    find_minima,
    portable_log,
    sum_classes,
)
from stream_perceptron.live.drift.dispersion import (
    WindowPairs,
    define_windows,
    estimate_dispersion,
)
from stream_perceptron.live.drift.events import DriftEvent, EventKind
from stream_perceptron.model.arrays import Floats

# The tested odds ratios of a mistake: first those for drops, then those for rises.
_ODDS_RATIOS = np.array([1.1, 1.2, 2.0, 20.0, 1 / 1.2, 1 / 3.0])
_N_DROPS = 4
# The weight of each odds ratio when a change is located: the smallest one detects small drops
# first, but locates them least accurately.
_LOCATION_WEIGHTS = np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
_LOG_ODDS_RATIOS = portable_log(_ODDS_RATIOS)
_THRESHOLD = 10.5  # a sum above this threshold times the dispersion indicates a change
_RECOVERED_SHARE = 0.9  # the share of the lost accuracy that a recovery regains
_LENGTHS = (1, 4, 10, 20)  # lengths, in blocks, of the windows for the dispersion of mistakes
# A drop concerns a single class if that class has at least the first share of the additional
# mistakes and at most the second share of the samples.
_MIN_MISTAKE_SHARE, _MAX_SAMPLE_SHARE = 0.5, 0.25
_MIN_DROP_DISTANCE = 1000  # samples between drops; a closer drop continues the one before it


def define_state(n_classes: int) -> list[tuple[object, ...]]:
    """Return the fields of the state, for a structured array."""
    counts = [
        ("row", NUMBER_TYPE),
        ("sample", NUMBER_TYPE),
        # The sums of squared differences between adjacent windows, and the numbers of these pairs.
        ("squares", NUMBER_TYPE, (len(_LENGTHS),)),
        ("pairs", NUMBER_TYPE, (len(_LENGTHS),)),
        ("seen", NUMBER_TYPE, (n_classes,)),  # samples by class since the last change
        ("wrong", NUMBER_TYPE, (n_classes,)),  # mistakes by class since the last change
    ]
    n = (len(_ODDS_RATIOS),)
    return [
        ("now", counts),
        ("sums", NUMBER_TYPE, n),
        ("min_sums", NUMBER_TYPE, n),
        ("at_minimum", counts, n),  # the counts at the minimum of each sum, and one block later
        ("after_minimum", counts, n),
        ("windows", define_windows(_LENGTHS), (1,)),
        ("last_was_rise", NUMBER_TYPE),  # whether the last change was a rise
        ("has_open_drop", NUMBER_TYPE),  # whether accuracy has dropped and not recovered
        ("level_before_drop", NUMBER_TYPE),  # the accuracy before it dropped
        ("last_before", NUMBER_TYPE),  # the accuracies before and after the last drop
        ("last_after", NUMBER_TYPE),
        ("dropped_at", NUMBER_TYPE),  # the number of tested samples when a drop was last found
    ]


class AdvanceResult(NamedTuple):
    """The result of testing blocks up to the first change."""

    n_blocks: int  # blocks tested
    is_general_drop: bool  # whether accuracy has dropped, and not because of a single class
    squares: Floats  # sums for `estimate_dispersion` after each of these blocks
    pairs: Floats

    def estimate_dispersion(self, indices: NDArray[np.intp]) -> Floats:
        """Return the dispersion of mistakes after some of these blocks."""
        return estimate_dispersion(self.squares[indices], self.pairs[indices], _LENGTHS)


class AccuracyTest:
    """Page's CUSUM test over blocks of samples; `state` is changed in place.

    `DriftDetector` describes the test.
    """

    def __init__(self, state: np.void) -> None:
        self._state = state

    def advance(self, blocks: Blocks, events: list[DriftEvent]) -> AdvanceResult:
        """Test blocks up to the first change; append any event found."""
        state, now = self._state, self._state["now"]
        # Here and below, index 0 is the state before these blocks.
        seen, wrong = accumulate(now["seen"], blocks.seen), accumulate(now["wrong"], blocks.wrong)
        mistake_rates_by_class = wrong[1:] / np.maximum(seen[1:], 1)
        expected_mistakes = sum_classes(mistake_rates_by_class * blocks.seen)
        mistakes = blocks.wrong.sum(axis=1)
        mistake_rates = (expected_mistakes / BLOCK_SIZE)[:, np.newaxis]
        log_likelihood_ratios = mistakes[:, np.newaxis] * _LOG_ODDS_RATIOS
        log_likelihood_ratios -= BLOCK_SIZE * portable_log(1 + mistake_rates * (_ODDS_RATIOS - 1))
        variances = sum_classes(mistake_rates_by_class * (1 - mistake_rates_by_class) * blocks.seen)
        excess_mistakes = (mistakes - expected_mistakes)[:, np.newaxis]
        n_before = int(now["sample"]) // BLOCK_SIZE
        windows = WindowPairs(
            state["windows"], _LENGTHS, n_before, excess_mistakes, variances[:, np.newaxis]
        )
        cumulative = {
            "row": np.append(now["row"], blocks.rows),
            "sample": np.append(now["sample"], blocks.samples),
            "squares": accumulate(now["squares"], windows.squares[:, 0]),
            "pairs": accumulate(now["pairs"], windows.pairs[:, 0]),
            "seen": seen,
            "wrong": wrong,
        }
        sums = accumulate(state["sums"], log_likelihood_ratios)
        minima, indices = find_minima(state["min_sums"], sums)
        # A change may fall within a block, so the next block must confirm it.
        rise = sums - minima
        rise[1:] = np.minimum(rise[1:], rise[:-1])
        if rise.max() > _THRESHOLD:
            rise /= self._estimate_dispersion_at_minima(cumulative, indices)
        is_change = rise.max(axis=1) > _THRESHOLD
        is_change[0] = False
        stops = np.flatnonzero(is_change | self._has_recovered(seen, wrong))
        end = int(stops[0]) if len(stops) else len(blocks)
        self._store_counts_at_minima(cumulative, indices[end], end)
        state["sums"], state["min_sums"] = sums[end], minima[end]
        for name, values in cumulative.items():
            now[name] = values[end]
        windows.store_state(np.array([end]))
        is_general = False
        if is_change[end]:
            ratio_index = int((rise[end] * _LOCATION_WEIGHTS).argmax())
            is_general = self._restart_after_change(ratio_index, events)
        if self._has_recovered(now["seen"][np.newaxis], now["wrong"][np.newaxis])[0]:
            self._end_drop(events)
        used = slice(1, end + 1)
        return AdvanceResult(
            end, is_general, cumulative["squares"][used], cumulative["pairs"][used]
        )

    def _estimate_dispersion_at_minima(
        self, cumulative: dict[str, Floats], indices: NDArray[np.intp]
    ) -> Floats:
        """Return the dispersion up to the minimum of each sum, with the shape of `indices`."""
        is_new = (indices >= 0)[..., np.newaxis]
        stored = self._state["at_minimum"]
        squares, pairs = (
            np.where(is_new, cumulative[name][np.maximum(indices, 0)], stored[name])
            for name in ("squares", "pairs")
        )
        return estimate_dispersion(squares, pairs, _LENGTHS)

    def _store_counts_at_minima(
        self, cumulative: dict[str, Floats], indices: NDArray[np.intp], end: int
    ) -> None:
        """Store the counts at the new minima of the sums, and one block after them."""
        is_new = indices >= 0
        next_indices = np.minimum(indices + 1, end)
        for field, block_indices in (("at_minimum", indices), ("after_minimum", next_indices)):
            counts = self._state[field]
            for name, values in cumulative.items():
                counts[name][is_new] = values[block_indices[is_new]]

    def _has_recovered(self, seen: Floats, wrong: Floats) -> NDArray[np.bool_]:
        """Return whether accuracy is back near its level before the drop, for each row."""
        state = self._state
        if not (state["has_open_drop"] and state["last_was_rise"]):
            return np.zeros(len(seen), bool)
        loss = state["level_before_drop"] - state["last_after"]
        target = state["last_after"] + _RECOVERED_SHARE * loss
        n = seen.sum(axis=1)
        return np.asarray((n > 0) & (wrong.sum(axis=1) <= (1 - target) * n))

    def _end_drop(self, events: list[DriftEvent]) -> None:
        """Add an event for the recovery of accuracy, and record that the drop is over."""
        state, now = self._state, self._state["now"]
        row, sample, before = int(now["row"]), int(now["sample"]), float(state["last_after"])
        after = 1 - float(now["wrong"].sum() / now["seen"].sum())
        events.append(DriftEvent(EventKind.RECOVERY, row, sample, row, before, after))
        state["has_open_drop"] = 0.0

    def _restart_after_change(self, ratio_index: int, events: list[DriftEvent]) -> bool:
        """Restart the test at a change found by a sum; return whether the change is a general drop.

        `ratio_index` is the index of the sum's odds ratio.
        """
        state, now = self._state, self._state["now"]
        at_minimum = state["at_minimum"][ratio_index]
        after_minimum = state["after_minimum"][ratio_index]
        is_drop = ratio_index < _N_DROPS
        now["seen"] -= after_minimum["seen"]
        now["wrong"] -= after_minimum["wrong"]
        is_general = False
        if is_drop:
            is_general = self._report_drop(at_minimum, events)
            state["dropped_at"] = now["sample"]
            # The windows since the drop say nothing about the dispersion.
            now["squares"], now["pairs"] = at_minimum["squares"], at_minimum["pairs"]
            state["windows"]["begin"] = now["sample"] // BLOCK_SIZE
        for name in now.dtype.names:
            state["at_minimum"][name] = state["after_minimum"][name] = now[name]
        state["sums"] = state["min_sums"] = 0.0
        state["last_was_rise"] = not is_drop
        return is_general

    def _report_drop(self, start: np.void, events: list[DriftEvent]) -> bool:
        """Report a drop, unless it continues another one; return whether it is a general drop.

        `start` holds the counts at the point where the drop began. The first block after this point
        is not counted, because that block may have begun before the drop.
        """
        state, now = self._state, self._state["now"]
        mistake_rates = start["wrong"] / np.maximum(start["seen"], 1)
        overall_rate = start["wrong"].sum() / max(start["seen"].sum(), 1)
        mistake_rates[start["seen"] == 0] = overall_rate
        expected_mistakes, n = now["seen"] * mistake_rates, max(float(now["seen"].sum()), 1.0)
        before = 1 - float(expected_mistakes.cumsum()[-1]) / n
        after = 1 - float(now["wrong"].sum()) / n
        extra_mistakes = now["wrong"] - expected_mistakes
        label = int(extra_mistakes.argmax())
        is_general = (
            extra_mistakes[label] < _MIN_MISTAKE_SHARE * np.maximum(extra_mistakes, 0).cumsum()[-1]
            or now["seen"][label] > _MAX_SAMPLE_SHARE * n
        )
        is_dropped, has_risen = bool(state["has_open_drop"]), bool(state["last_was_rise"])
        # A continued drop is reported again only after a further loss of half its size.
        continues = not has_risen and start["sample"] - state["dropped_at"] < _MIN_DROP_DISTANCE
        further_drop_limit = state["last_after"] - (state["last_before"] - state["last_after"]) / 2
        if continues and is_dropped and after >= further_drop_limit:
            return bool(is_general)
        row, sample = int(start["row"]) + 1, int(start["sample"]) + 1
        events.append(DriftEvent(EventKind.DROP, row, sample, int(now["row"]), before, after))
        state["level_before_drop"] = (
            max(before, state["level_before_drop"]) if is_dropped else before
        )
        state["has_open_drop"], state["last_before"], state["last_after"] = 1.0, before, after
        return bool(is_general)
