"""The tests for drops and recoveries of the recall of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.accuracy import Advance
from stream_perceptron.live.drift.blocks import (
    NUMBER,
    Array,
    Blocks,
    accumulate,
    define_group,
    find_minima,
    group_blocks,
    log,
)
from stream_perceptron.live.drift.dispersion import (
    Windows,
    define_windows,
    estimate_dispersion,
)
from stream_perceptron.live.drift.events import DriftEvent, EventKind

_ODDS = np.array([4.0, 20.0, 1 / 4])  # the odds ratios of a mistake: drops, a rise
_RISE = 2
_LOG_ODDS = log(_ODDS)
_THRESHOLD = 16.0  # a sum above it, times the dispersion, shows a change
LENGTH = 4  # blocks in a group
_LENGTHS = (1, 5, 10)  # of windows that show the dispersion of mistakes, in groups
_MIN_SAMPLES = 30  # of the class since the change, as a session may have several that are alike
_REGAINED = 0.9  # the share of the lost recall that a recovery regains

# Since the last change, samples and those predicted wrongly; and, for the dispersion, squared
# differences of neighbouring windows and their number.
_COUNTS: list[tuple[Any, ...]] = [
    ("seen", NUMBER),
    ("wrong", NUMBER),
    ("squares", NUMBER, (len(_LENGTHS),)),
    ("pairs", NUMBER, (len(_LENGTHS),)),
]
_CLASS: list[tuple[Any, ...]] = [
    *_COUNTS,
    ("windows", define_windows(_LENGTHS)),
    ("sums", NUMBER, (len(_ODDS),)),
    ("least_sums", NUMBER, (len(_ODDS),)),
    # When each sum had its minimum.
    ("at_least", [*_COUNTS, ("row", NUMBER), ("sample", NUMBER)], (len(_ODDS),)),
    ("has_risen", NUMBER),  # whether the last change was a rise
    ("is_dropped", NUMBER),  # whether recall has dropped and not recovered
    ("level", NUMBER),  # the recall before it dropped
    ("after", NUMBER),  # the recall after the last drop
]


def define_state(n_classes: int) -> list[tuple[Any, ...]]:
    """Return the fields of the state, for a structured array."""
    return [
        ("n_groups", NUMBER),
        ("open", define_group(n_classes)),
        ("classes", _CLASS, (n_classes,)),
    ]


class ClassTests:
    """Page's CUSUM for each class over groups of blocks; `state` is changed in place."""

    def __init__(self, state: np.void) -> None:
        self._state = state

    def restart(self, row: float, sample: float) -> None:
        """Begin again after a row and a tested sample, as overall accuracy has dropped."""
        group, states = self._state["open"], self._state["classes"]
        for name in group.dtype.names:
            group[name] = 0.0
        for name in ("seen", "wrong", "sums", "least_sums", "has_risen"):
            states[name] = 0.0
        at = states["at_least"]
        at["seen"] = at["wrong"] = 0.0
        for name in ("squares", "pairs"):
            at[name] = states[name][:, np.newaxis]
        at["row"], at["sample"] = row, sample
        states["windows"]["begin"] = self._state["n_groups"]

    def advance(self, blocks: Blocks, overall: Advance, events: list[DriftEvent]) -> None:
        """Test blocks and append the events found; `overall` is the result of the overall test."""
        groups, ends = group_blocks(self._state["open"], blocks, LENGTH)
        places = np.arange(len(blocks))[ends]
        waiting = [(0, np.arange(len(self._state["classes"])))]
        while waiting:
            begin, labels = waiting.pop()
            batch = _Batch(
                self._state["classes"][labels], groups[begin:], labels,
                int(self._state["n_groups"]) + begin, overall, places[begin:],
            )  # fmt: skip
            used = batch.advance(events)
            self._state["classes"][labels] = batch.states
            # The test of a class goes on after a change.
            waiting += [
                (begin + n, np.array([label]))
                for label, n in zip(labels.tolist(), used.tolist(), strict=True)
                if begin + n < len(groups)
            ]
        self._state["n_groups"] += len(groups)


class _Batch:
    """Groups of blocks for m classes, each tested up to its first change.

    Index 0 of the arrays over groups is the state before these groups.
    """

    def __init__(
        self,
        states: NDArray[np.void],
        groups: Blocks,
        labels: NDArray[np.intp],
        n_before: int,
        overall: Advance,
        places: NDArray[np.intp],
    ) -> None:
        self.states, self._labels, self._n_before = states, labels, n_before
        self._overall, self._places_of_groups = overall, places
        new_seen, new_wrong = groups.seen[:, labels], groups.wrong[:, labels]
        seen, wrong = accumulate(states["seen"], new_seen), accumulate(states["wrong"], new_wrong)
        shares = wrong[1:] / np.maximum(seen[1:], 1)
        expected = shares * new_seen
        self._windows = Windows(
            states["windows"], _LENGTHS, n_before, new_wrong - expected, expected * (1 - shares)
        )
        self._until = {
            "seen": seen,
            "wrong": wrong,
            "row": _spread(groups.rows, len(labels)),
            "sample": _spread(groups.samples, len(labels)),
            "squares": accumulate(states["squares"], self._windows.squares),
            "pairs": accumulate(states["pairs"], self._windows.pairs),
        }
        gains = new_wrong[..., np.newaxis] * _LOG_ODDS
        gains -= new_seen[..., np.newaxis] * log(1 + shares[..., np.newaxis] * (_ODDS - 1))
        self._sums = accumulate(states["sums"], gains)
        # The row of a minimum is that of a group in which the class occurs.
        occurs = np.concatenate([np.zeros((1, len(labels))), new_seen]) > 0
        self._least, self._places = find_minima(
            states["least_sums"], self._sums, occurs[..., np.newaxis]
        )

    def advance(self, events: list[DriftEvent]) -> NDArray[np.intp]:
        """Append the first event of each class; return the numbers of groups used, shape (m,)."""
        states, until, columns = self.states, self._until, np.arange(len(self._labels))
        excess, is_found = self._find_changes()
        has_change = is_found.any(axis=2) | _has_recovered(states, until["seen"], until["wrong"])
        changes = has_change.any(axis=0)
        ends = np.where(changes, has_change.argmax(axis=0), len(has_change) - 1)
        for name in self._until:
            states["at_least"][name] = self._get_at_minima(name, self._places[ends, columns])
        for name in ("seen", "wrong", "squares", "pairs"):
            states[name] = until[name][ends, columns]
        states["sums"], states["least_sums"] = self._sums[ends, columns], self._least[ends, columns]
        self._windows.advance(ends)
        for i in np.flatnonzero(changes).tolist():
            end, label, state = int(ends[i]), int(self._labels[i]), states[i]
            position = int(until["row"][end, i]), int(until["sample"][end, i])
            if is_found[end, i].any():
                _restart(state, int(excess[end, i].argmax()), label, position, events)
                # The windows before a change say nothing about the dispersion after it.
                state["windows"]["begin"] = self._n_before + end
            if _has_recovered(state, state["seen"], state["wrong"]):
                _report_recovery(state, label, position, events)
        return ends

    def _find_changes(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the excess of each sum over its minimum, and whether it shows a change."""
        excess = self._sums - self._least
        excess[0] = 0.0
        if excess.max(initial=0.0) <= _THRESHOLD:
            return excess, np.zeros(excess.shape, bool)
        squares, pairs, seen = (
            self._get_at_minima(name, self._places) for name in ("squares", "pairs", "seen")
        )
        own = estimate_dispersion(squares, pairs, _LENGTHS)[1:]
        of_all = self._overall.estimate_dispersion(self._places_of_groups)
        excess[1:] /= np.maximum(own, of_all[:, np.newaxis, np.newaxis])
        n_since = self._until["seen"][..., np.newaxis] - seen
        return excess, (excess > _THRESHOLD) & (n_since >= _MIN_SAMPLES)

    def _get_at_minima(self, name: str, places: NDArray[np.intp]) -> Array:
        """Return the values at minima of sums, of which -1 is from before these groups."""
        values = self._until[name][
            np.maximum(places, 0), np.arange(len(self._labels))[:, np.newaxis]
        ]
        is_new = (places >= 0).reshape(*places.shape, *[1] * (values.ndim - places.ndim))
        return np.where(is_new, values, self.states["at_least"][name])


def _spread(values: Array, n: int) -> Array:
    """Return values after groups, and 0 before them, for n classes."""
    return np.broadcast_to(np.append(0.0, values)[:, np.newaxis], (len(values) + 1, n))


def _has_recovered(states: Any, seen: Any, wrong: Any) -> Any:
    """Return whether, at each count, the recall since a rise nearly equals the old level."""
    target = states["after"] + _REGAINED * (states["level"] - states["after"])
    is_waiting = (states["is_dropped"] > 0) & (states["has_risen"] > 0) & (seen > 0)
    return is_waiting & (wrong <= (1 - target) * seen)


def _report_recovery(
    state: np.void, label: int, position: tuple[int, int], events: list[DriftEvent]
) -> None:
    row, sample = position
    before, after = float(state["after"]), 1 - float(state["wrong"]) / float(state["seen"])
    events.append(DriftEvent(EventKind.RECOVERY, row, sample, row, before, after, label))
    state["is_dropped"] = 0.0


def _restart(
    state: np.void, k: int, label: int, position: tuple[int, int], events: list[DriftEvent]
) -> None:
    """Begin the test of a class again at the change that sum k shows; report a drop."""
    at = state["at_least"][k]
    seen, wrong = state["seen"] - at["seen"], state["wrong"] - at["wrong"]
    if k != _RISE:
        before = 1 - float(at["wrong"] / max(at["seen"], 1))
        after = 1 - float(wrong / max(seen, 1))
        is_dropped, has_risen = bool(state["is_dropped"]), bool(state["has_risen"])
        kind = EventKind.FURTHER_DROP if is_dropped and not has_risen else EventKind.DROP
        row, sample = int(at["row"]) + 1, int(at["sample"]) + 1
        events.append(DriftEvent(kind, row, sample, position[0], before, after, label))
        state["level"] = max(before, state["level"]) if is_dropped else before
        state["is_dropped"], state["after"] = 1.0, after
        # The windows since the drop say nothing about the dispersion.
        state["squares"], state["pairs"] = at["squares"], at["pairs"]
    state["seen"], state["wrong"] = seen, wrong
    state["sums"] = state["least_sums"] = 0.0
    state["has_risen"] = k == _RISE
    at = state["at_least"]
    for name in ("seen", "wrong", "squares", "pairs"):
        at[name] = state[name]
    at["row"], at["sample"] = position
