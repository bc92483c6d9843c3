"""The tests for drops and recoveries in the recall of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.accuracy import AdvanceResult
from stream_perceptron.live.drift.blocks import (
    NUMBER_TYPE,
    Blocks,
    accumulate,
    define_group_state,
    find_minima,
    group_blocks,
    portable_log,
)
from stream_perceptron.live.drift.dispersion import (
    WindowPairs,
    define_windows,
    estimate_dispersion,
)
from stream_perceptron.live.drift.events import DriftEvent, EventKind
from stream_perceptron.model.arrays import Floats

_ODDS_RATIOS = np.array(
    [4.0, 20.0, 1 / 4]
)  # odds ratios of a mistake: two for drops, one for a rise
_RISE_INDEX = 2
_LOG_ODDS_RATIOS = portable_log(_ODDS_RATIOS)
_THRESHOLD = 16.0  # a sum above this threshold times the dispersion indicates a change
LENGTH = 4  # blocks in a group
_LENGTHS = (1, 5, 10)  # lengths, in groups, of the windows for the dispersion of mistakes
# The minimum number of samples of the class since the change, as a session may contain several
# similar samples.
_MIN_SAMPLES = 30
_RECOVERED_SHARE = 0.9  # the share of the lost recall that a recovery regains

# The samples and mistakes since the last change and, for the dispersion, the sums of squared
# differences between adjacent windows and the numbers of pairs of these windows.
_COUNT_FIELDS: list[tuple[object, ...]] = [
    ("seen", NUMBER_TYPE),
    ("wrong", NUMBER_TYPE),
    ("squares", NUMBER_TYPE, (len(_LENGTHS),)),
    ("pairs", NUMBER_TYPE, (len(_LENGTHS),)),
]
_CLASS_FIELDS: list[tuple[object, ...]] = [
    *_COUNT_FIELDS,
    ("windows", define_windows(_LENGTHS)),
    ("sums", NUMBER_TYPE, (len(_ODDS_RATIOS),)),
    ("min_sums", NUMBER_TYPE, (len(_ODDS_RATIOS),)),
    # The counts at the minimum of each sum.
    (
        "at_minimum",
        [*_COUNT_FIELDS, ("row", NUMBER_TYPE), ("sample", NUMBER_TYPE)],
        (len(_ODDS_RATIOS),),
    ),
    ("last_was_rise", NUMBER_TYPE),  # whether the last change was a rise
    ("has_open_drop", NUMBER_TYPE),  # whether recall has dropped and not recovered
    ("level_before_drop", NUMBER_TYPE),  # the recall before it dropped
    ("last_after", NUMBER_TYPE),  # the recall after the last drop
]


def define_state(n_classes: int) -> list[tuple[object, ...]]:
    """Return the fields of the state, for a structured array."""
    return [
        ("n_groups", NUMBER_TYPE),
        ("open", define_group_state(n_classes)),
        ("classes", _CLASS_FIELDS, (n_classes,)),
    ]


class ClassTests:
    """Page's CUSUM test for each class over groups of blocks; `state` is changed in place."""

    def __init__(self, state: np.void) -> None:
        self._state = state

    def restart(self, row: float, sample: float) -> None:
        """Restart the tests after a row and its tested sample, because overall accuracy dropped."""
        group, states = self._state["open"], self._state["classes"]
        for name in group.dtype.names:
            group[name] = 0.0
        for name in ("seen", "wrong", "sums", "min_sums", "last_was_rise"):
            states[name] = 0.0
        at_minimum = states["at_minimum"]
        at_minimum["seen"] = at_minimum["wrong"] = 0.0
        for name in ("squares", "pairs"):
            at_minimum[name] = states[name][:, np.newaxis]
        at_minimum["row"], at_minimum["sample"] = row, sample
        states["windows"]["begin"] = self._state["n_groups"]

    def advance(self, blocks: Blocks, overall: AdvanceResult, events: list[DriftEvent]) -> None:
        """Test blocks and append the events found; `overall` is the result of the overall test."""
        groups, ends = group_blocks(self._state["open"], blocks, LENGTH)
        indices = np.arange(len(blocks))[ends]
        remaining = [(0, np.arange(len(self._state["classes"])))]
        while remaining:
            begin, labels = remaining.pop()
            class_groups = _ClassGroups(
                self._state["classes"][labels], groups[begin:], labels,
                int(self._state["n_groups"]) + begin, overall, indices[begin:],
            )  # fmt: skip
            n_used = class_groups.advance(events)
            self._state["classes"][labels] = class_groups.states
            # The test of a class continues after a change.
            remaining += [
                (begin + n, np.array([label]))
                for label, n in zip(labels.tolist(), n_used.tolist(), strict=True)
                if begin + n < len(groups)
            ]
        self._state["n_groups"] += len(groups)


class _ClassGroups:
    """Groups of blocks for m classes, each of which is tested up to its first change.

    Index 0 of the arrays over groups is the state before these groups.
    """

    def __init__(
        self,
        states: NDArray[np.void],
        groups: Blocks,
        labels: NDArray[np.intp],
        n_before: int,
        overall: AdvanceResult,
        indices: NDArray[np.intp],
    ) -> None:
        self.states, self._labels, self._n_before = states, labels, n_before
        self._overall, self._end_blocks = overall, indices
        new_seen, new_wrong = groups.seen[:, labels], groups.wrong[:, labels]
        seen, wrong = accumulate(states["seen"], new_seen), accumulate(states["wrong"], new_wrong)
        shares = wrong[1:] / np.maximum(seen[1:], 1)
        expected = shares * new_seen
        self._windows = WindowPairs(
            states["windows"], _LENGTHS, n_before, new_wrong - expected, expected * (1 - shares)
        )
        self._cumulative = {
            "seen": seen,
            "wrong": wrong,
            "row": _broadcast_to_classes(groups.rows, len(labels)),
            "sample": _broadcast_to_classes(groups.samples, len(labels)),
            "squares": accumulate(states["squares"], self._windows.squares),
            "pairs": accumulate(states["pairs"], self._windows.pairs),
        }
        gains = new_wrong[..., np.newaxis] * _LOG_ODDS_RATIOS
        gains -= new_seen[..., np.newaxis] * portable_log(
            1 + shares[..., np.newaxis] * (_ODDS_RATIOS - 1)
        )
        self._sums = accumulate(states["sums"], gains)
        # The row of a minimum is that of a group in which the class occurs.
        occurs = np.concatenate([np.zeros((1, len(labels))), new_seen]) > 0
        self._minima, self._minimum_indices = find_minima(
            states["min_sums"], self._sums, occurs[..., np.newaxis]
        )

    def advance(self, events: list[DriftEvent]) -> NDArray[np.intp]:
        """Append the first event of each class; return the numbers of groups used, shape (m,)."""
        states, cumulative, columns = self.states, self._cumulative, np.arange(len(self._labels))
        excess, is_found = self._find_changes()
        has_change = is_found.any(axis=2) | _has_recovered(
            states, cumulative["seen"], cumulative["wrong"]
        )
        changes = has_change.any(axis=0)
        ends = np.where(changes, has_change.argmax(axis=0), len(has_change) - 1)
        for name in self._cumulative:
            states["at_minimum"][name] = self._get_at_minima(
                name, self._minimum_indices[ends, columns]
            )
        for name in ("seen", "wrong", "squares", "pairs"):
            states[name] = cumulative[name][ends, columns]
        states["sums"], states["min_sums"] = self._sums[ends, columns], self._minima[ends, columns]
        self._windows.store_state(ends)
        for i in np.flatnonzero(changes).tolist():
            end, label, state = int(ends[i]), int(self._labels[i]), states[i]
            position = int(cumulative["row"][end, i]), int(cumulative["sample"][end, i])
            if is_found[end, i].any():
                _restart(state, int(excess[end, i].argmax()), label, position, events)
                # The windows before a change say nothing about the dispersion after it.
                state["windows"]["begin"] = self._n_before + end
            if _has_recovered(state, state["seen"], state["wrong"]):
                _report_recovery(state, label, position, events)
        return ends

    def _find_changes(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the excess of each sum over its minimum, and whether it shows a change."""
        excess = self._sums - self._minima
        excess[0] = 0.0
        if excess.max(initial=0.0) <= _THRESHOLD:
            return excess, np.zeros(excess.shape, bool)
        squares, pairs, seen = (
            self._get_at_minima(name, self._minimum_indices)
            for name in ("squares", "pairs", "seen")
        )
        class_dispersion = estimate_dispersion(squares, pairs, _LENGTHS)[1:]
        overall_dispersion = self._overall.estimate_dispersion(self._end_blocks)
        excess[1:] /= np.maximum(class_dispersion, overall_dispersion[:, np.newaxis, np.newaxis])
        n_since = self._cumulative["seen"][..., np.newaxis] - seen
        return excess, (excess > _THRESHOLD) & (n_since >= _MIN_SAMPLES)

    def _get_at_minima(self, name: str, indices: NDArray[np.intp]) -> Floats:
        """Return the values at the minima of sums; index -1 stands for an earlier minimum."""
        values = self._cumulative[name][
            np.maximum(indices, 0), np.arange(len(self._labels))[:, np.newaxis]
        ]
        is_new = (indices >= 0).reshape(*indices.shape, *[1] * (values.ndim - indices.ndim))
        return np.where(is_new, values, self.states["at_minimum"][name])


def _broadcast_to_classes(values: Floats, n: int) -> Floats:
    """Return the values after each group, and 0 before the first group, for n classes."""
    return np.broadcast_to(np.append(0.0, values)[:, np.newaxis], (len(values) + 1, n))


def _has_recovered(states: Any, seen: Any, wrong: object) -> Any:
    """Return whether each recall since a rise is back near its level before the drop."""
    target = states["last_after"] + _RECOVERED_SHARE * (
        states["level_before_drop"] - states["last_after"]
    )
    can_recover = (states["has_open_drop"] > 0) & (states["last_was_rise"] > 0) & (seen > 0)
    return can_recover & (wrong <= (1 - target) * seen)


def _report_recovery(
    state: np.void, label: int, position: tuple[int, int], events: list[DriftEvent]
) -> None:
    """Add an event for the recovery of a class's recall, and record that the drop is over."""
    row, sample = position
    before, after = float(state["last_after"]), 1 - float(state["wrong"]) / float(state["seen"])
    events.append(DriftEvent(EventKind.RECOVERY, row, sample, row, before, after, label))
    state["has_open_drop"] = 0.0


def _restart(
    state: np.void, k: int, label: int, position: tuple[int, int], events: list[DriftEvent]
) -> None:
    """Restart the test of a class at the change found by sum k; report any drop."""
    start = state["at_minimum"][k]
    seen, wrong = state["seen"] - start["seen"], state["wrong"] - start["wrong"]
    if k != _RISE_INDEX:
        before = 1 - float(start["wrong"] / max(start["seen"], 1))
        after = 1 - float(wrong / max(seen, 1))
        is_dropped = bool(state["has_open_drop"])
        row, sample = int(start["row"]) + 1, int(start["sample"]) + 1
        drop = DriftEvent(EventKind.DROP, row, sample, position[0], before, after, label)
        events.append(drop)
        state["level_before_drop"] = (
            max(before, state["level_before_drop"]) if is_dropped else before
        )
        state["has_open_drop"], state["last_after"] = 1.0, after
        # The windows since the drop say nothing about the dispersion.
        state["squares"], state["pairs"] = start["squares"], start["pairs"]
    state["seen"], state["wrong"] = seen, wrong
    state["sums"] = state["min_sums"] = 0.0
    state["last_was_rise"] = k == _RISE_INDEX
    at_minimum = state["at_minimum"]
    for name in ("seen", "wrong", "squares", "pairs"):
        at_minimum[name] = state[name]
    at_minimum["row"], at_minimum["sample"] = position
