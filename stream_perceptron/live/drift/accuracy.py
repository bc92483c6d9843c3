"""The test for drops and recoveries of the overall accuracy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import (
    BLOCK,
    NUMBER,
    Array,
    Blocks,
    accumulate,
    find_minima,
    log,
    sum_classes,
)
from stream_perceptron.live.drift.dispersion import (
    Windows,
    define_windows,
    estimate_dispersion,
)
from stream_perceptron.live.drift.events import DriftEvent, EventKind

# The odds ratios of a mistake: drops, then rises.
_ODDS = np.array([1.1, 1.2, 2.0, 20.0, 1 / 1.2, 1 / 3.0])
_N_DROPS = 4
# The smallest odds ratio finds small drops soonest, but locates them worst.
_TRUST = np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
_LOG_ODDS = log(_ODDS)
_THRESHOLD = 10.5  # a sum above it, times the dispersion, shows a change
_REGAINED = 0.9  # the share of the lost accuracy that a recovery regains
_LENGTHS = (1, 4, 10, 20)  # of windows that show the dispersion of mistakes, in blocks
# A drop is that of one class if this has so much of the further mistakes, but not of the samples.
_ONE_CLASS, _MAX_SHARE = 0.5, 0.25
_MIN_GAP = 1000  # samples after a drop until another one is not its continuation


def define_state(n_classes: int) -> list[tuple[Any, ...]]:
    """Return the fields of the state, for a structured array."""
    counts = [
        ("row", NUMBER),
        ("sample", NUMBER),
        ("squares", NUMBER, (len(_LENGTHS),)),  # of differences of neighbouring windows
        ("pairs", NUMBER, (len(_LENGTHS),)),  # of these windows
        ("seen", NUMBER, (n_classes,)),  # samples by class, and those predicted wrongly, since
        ("wrong", NUMBER, (n_classes,)),  # the last change
    ]
    n = (len(_ODDS),)
    return [
        ("now", counts),
        ("sums", NUMBER, n),
        ("least_sums", NUMBER, n),
        ("at_least", counts, n),  # when each sum had its minimum, and a block later
        ("after_least", counts, n),
        ("windows", define_windows(_LENGTHS), (1,)),
        ("has_risen", NUMBER),  # whether the last change was a rise
        ("is_dropped", NUMBER),  # whether accuracy has dropped and not recovered
        ("level", NUMBER),  # the accuracy before it dropped
        ("before", NUMBER),  # the accuracies of the last drop
        ("after", NUMBER),
        ("dropped_at", NUMBER),  # the number of tested samples when a drop was last found
    ]


class Advance(NamedTuple):
    """How far blocks were tested: up to the first change."""

    n_blocks: int
    is_general_drop: bool  # whether accuracy has dropped, and not because of a single class
    squares: Array  # sums for `estimate_dispersion`, after each of these blocks
    pairs: Array

    def estimate_dispersion(self, places: NDArray[np.intp]) -> Array:
        """Return the dispersion of mistakes after some of these blocks."""
        return estimate_dispersion(self.squares[places], self.pairs[places], _LENGTHS)


class AccuracyTest:
    """Page's CUSUM over blocks of samples; `Drift` describes it. `state` is changed in place."""

    def __init__(self, state: np.void) -> None:
        self._state = state

    def advance(self, blocks: Blocks, events: list[DriftEvent]) -> Advance:
        """Test blocks up to the first change; append the event found."""
        state, now = self._state, self._state["now"]
        # Here and below, index 0 is the state before these blocks.
        seen, wrong = accumulate(now["seen"], blocks.seen), accumulate(now["wrong"], blocks.wrong)
        shares = wrong[1:] / np.maximum(seen[1:], 1)
        expected = sum_classes(shares * blocks.seen)
        mistakes = blocks.wrong.sum(axis=1)
        of_block = (expected / BLOCK)[:, np.newaxis]
        gains = mistakes[:, np.newaxis] * _LOG_ODDS - BLOCK * log(1 + of_block * (_ODDS - 1))
        variances = sum_classes(shares * (1 - shares) * blocks.seen)
        excess_mistakes = (mistakes - expected)[:, np.newaxis]
        n_before = int(now["sample"]) // BLOCK
        windows = Windows(
            state["windows"], _LENGTHS, n_before, excess_mistakes, variances[:, np.newaxis]
        )
        until = {
            "row": np.append(now["row"], blocks.rows),
            "sample": np.append(now["sample"], blocks.samples),
            "squares": accumulate(now["squares"], windows.squares[:, 0]),
            "pairs": accumulate(now["pairs"], windows.pairs[:, 0]),
            "seen": seen,
            "wrong": wrong,
        }
        sums = accumulate(state["sums"], gains)
        least, places = find_minima(state["least_sums"], sums)
        # A change may fall within a block, so the next block must confirm it.
        excess = sums - least
        excess[1:] = np.minimum(excess[1:], excess[:-1])
        if excess.max() > _THRESHOLD:
            excess /= self._estimate_at_minima(until, places)
        is_found = excess.max(axis=1) > _THRESHOLD
        is_found[0] = False
        found = np.flatnonzero(is_found | self._has_recovered(seen, wrong))
        end = int(found[0]) if len(found) else len(blocks)
        self._keep_minima(until, places[end], end)
        state["sums"], state["least_sums"] = sums[end], least[end]
        for name, values in until.items():
            now[name] = values[end]
        windows.advance(np.array([end]))
        is_general = False
        if is_found[end]:
            is_general = self._restart(int((excess[end] * _TRUST).argmax()), events)
        if self._has_recovered(now["seen"][np.newaxis], now["wrong"][np.newaxis])[0]:
            self._report_recovery(events)
        used = slice(1, end + 1)
        return Advance(end, is_general, until["squares"][used], until["pairs"][used])

    def _estimate_at_minima(self, until: dict[str, Array], places: NDArray[np.intp]) -> Array:
        """Return the dispersion up to the minimum of each sum; shape of `places`."""
        is_here = (places >= 0)[..., np.newaxis]
        at = self._state["at_least"]
        squares, pairs = (
            np.where(is_here, until[name][np.maximum(places, 0)], at[name])
            for name in ("squares", "pairs")
        )
        return estimate_dispersion(squares, pairs, _LENGTHS)

    def _keep_minima(self, until: dict[str, Array], places: NDArray[np.intp], end: int) -> None:
        """Keep the counts at the new minima of the sums, and those of a block later."""
        is_new = places >= 0
        for field, at in (("at_least", places), ("after_least", np.minimum(places + 1, end))):
            states = self._state[field]
            for name, values in until.items():
                states[name][is_new] = values[at[is_new]]

    def _has_recovered(self, seen: Array, wrong: Array) -> NDArray[np.bool_]:
        """Return whether, at each count, the accuracy since a rise nearly equals the old level."""
        state = self._state
        if not (state["is_dropped"] and state["has_risen"]):
            return np.zeros(len(seen), bool)
        target = state["after"] + _REGAINED * (state["level"] - state["after"])
        n = seen.sum(axis=1)
        return np.asarray((n > 0) & (wrong.sum(axis=1) <= (1 - target) * n))

    def _report_recovery(self, events: list[DriftEvent]) -> None:
        state, now = self._state, self._state["now"]
        row, sample, before = int(now["row"]), int(now["sample"]), float(state["after"])
        after = 1 - float(now["wrong"].sum() / now["seen"].sum())
        events.append(DriftEvent(EventKind.RECOVERY, row, sample, row, before, after))
        state["is_dropped"] = 0.0

    def _restart(self, k: int, events: list[DriftEvent]) -> bool:
        """Begin again at the change that sum k shows; return whether it is a general drop."""
        state, now = self._state, self._state["now"]
        at, later = state["at_least"][k], state["after_least"][k]
        is_drop = k < _N_DROPS
        now["seen"] -= later["seen"]
        now["wrong"] -= later["wrong"]
        is_general = False
        if is_drop:
            is_general = self._report_drop(at, events)
            state["dropped_at"] = now["sample"]
            # The windows since the drop say nothing about the dispersion.
            now["squares"], now["pairs"] = at["squares"], at["pairs"]
            state["windows"]["begin"] = now["sample"] // BLOCK
        for name in now.dtype.names:
            state["at_least"][name] = state["after_least"][name] = now[name]
        state["sums"] = state["least_sums"] = 0.0
        state["has_risen"] = not is_drop
        return is_general

    def _report_drop(self, at: np.void, events: list[DriftEvent]) -> bool:
        """Report a drop, unless it continues another one; return whether it is a general one.

        `at` is the state where it began. The first block from there on is not counted, as it may
        have begun before the drop.
        """
        state, now = self._state, self._state["now"]
        shares = at["wrong"] / np.maximum(at["seen"], 1)
        shares[at["seen"] == 0] = at["wrong"].sum() / max(at["seen"].sum(), 1)
        expected, n = now["seen"] * shares, max(float(now["seen"].sum()), 1.0)
        before, after = 1 - float(expected.cumsum()[-1]) / n, 1 - float(now["wrong"].sum()) / n
        further = now["wrong"] - expected
        label = int(further.argmax())
        is_general = (
            further[label] < _ONE_CLASS * np.maximum(further, 0).cumsum()[-1]
            or now["seen"][label] > _MAX_SHARE * n
        )
        is_dropped, has_risen = bool(state["is_dropped"]), bool(state["has_risen"])
        # A drop that continues is reported again only after a further loss of half its size.
        continues = not has_risen and at["sample"] - state["dropped_at"] < _MIN_GAP
        limit = state["after"] - (state["before"] - state["after"]) / 2
        if continues and is_dropped and after >= limit:
            return bool(is_general)
        kind = EventKind.FURTHER_DROP if is_dropped and not has_risen else EventKind.DROP
        row, sample = int(at["row"]) + 1, int(at["sample"]) + 1
        events.append(DriftEvent(kind, row, sample, int(now["row"]), before, after))
        state["level"] = max(before, state["level"]) if is_dropped else before
        state["is_dropped"], state["before"], state["after"] = 1.0, before, after
        return bool(is_general)
