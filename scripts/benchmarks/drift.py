"""Drift detection: false alarms and delay, compared with River's detectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import river.datasets
import river.drift
import river.drift.binary
from common import section, table
from numpy.typing import NDArray

from stream_perceptron import SGDPerceptron
from stream_perceptron.live.drift import DriftDetector, DriftEvent

Wrong = NDArray[np.bool_]  # which samples of a stream are predicted wrongly

N_STREAMS, N_MODELS = 1000, 100
STREAM_LENGTH = 100_000  # samples
N_DEPENDENT, N_DEPENDENT_OURS = 30, 300  # streams with dependent mistakes; more for our fast tests


def draw_sessions(rng: np.random.Generator, size: int, low: float, high: float) -> Wrong:
    """Return mistakes in sessions, of which one in five is noisy."""
    shares = np.where(rng.random(STREAM_LENGTH // size + 1) < 0.2, high, low)
    return rng.random(STREAM_LENGTH) < np.repeat(shares, size)[:STREAM_LENGTH]


def draw_repeated_rows(rng: np.random.Generator, times: int) -> Wrong:
    """Return mistakes in rows that are delivered several times."""
    return np.repeat(rng.random(STREAM_LENGTH // times) < 0.05, times)


def draw_waves(rng: np.random.Generator, period: int) -> Wrong:
    """Return mistakes whose share of 5% rises and falls by 3 percentage points."""
    at = 2 * np.pi * (np.arange(STREAM_LENGTH) / period + rng.random())
    return rng.random(STREAM_LENGTH) < 0.05 + 0.03 * np.sin(at)


DEPENDENT: dict[str, Callable[[np.random.Generator], Wrong]] = {
    "independent, 5%": lambda rng: rng.random(STREAM_LENGTH) < 0.05,
    "sessions of 20, 5 and 20%": partial(draw_sessions, size=20, low=0.05, high=0.2),
    "sessions of 50, 5 and 10%": partial(draw_sessions, size=50, low=0.05, high=0.1),
    "sessions of 200, 5 and 10%": partial(draw_sessions, size=200, low=0.05, high=0.1),
    "each row delivered twice": partial(draw_repeated_rows, times=2),
    "each row delivered five times": partial(draw_repeated_rows, times=5),
    "waves of 2,000 rows, 2 to 8%": partial(draw_waves, period=2000),
}
N_WEAK = 10_000  # samples whose features hardly explain their labels
ACCURACY_LEVELS = ((0.98, 0.5, 0.9, 0.7), (0.99, 0.4, 0.2))


def detect_with_ours(wrong: Wrong, has_rises: bool = False) -> list[int]:
    """Return the rows at which our tests report a drop or, with `has_rises`, a recovery."""
    events: list[DriftEvent] = []
    rows = np.arange(1, len(wrong) + 1)
    predicted = wrong.astype(np.intp)
    DriftDetector().update(np.zeros(len(wrong), np.intp), predicted, rows, events)
    return [event.found for event in events if event.is_drop or has_rises]


def detect_with_river(make: Callable[[], Any], wrong: Wrong, has_rises: bool = False) -> list[int]:
    """Return the rows at which one of River's detectors reports a change to more mistakes.

    With `has_rises`, changes to fewer mistakes are included.
    """
    detector, found = make(), []
    before = after = 0.0
    for row, is_wrong in enumerate(wrong.tolist(), 1):
        detector.update(is_wrong)
        if detector.drift_detected:
            after = float(wrong[max(0, row - 200) : row].mean())
            if after > before or has_rises:
                found.append(row)
        if row % 200 == 0:
            before = float(wrong[max(0, row - 2000) : row].mean())
    return found


DETECTORS: dict[str, Callable[..., list[int]]] = {
    "ours": detect_with_ours,
    "ADWIN": partial(detect_with_river, river.drift.ADWIN),
    "DDM": partial(detect_with_river, river.drift.binary.DDM),
    "Page-Hinkley": partial(detect_with_river, river.drift.PageHinkley),
}


def count_weak_signals(n_features: int, signal: float) -> int:
    """Return how many of 60 models of a weak signal, half of each lr, have a drop."""
    rng, count = np.random.default_rng(0), 0
    for lr in (0.1, 0.01) * N_DEPENDENT:
        labels = rng.integers(0, 2, N_WEAK)
        features = rng.normal(size=(N_WEAK, n_features)) + signal * labels[:, None]
        predicted = SGDPerceptron(lr=lr, classes=[0, 1], seed=0).test_then_train(features, labels)
        events: list[DriftEvent] = []
        DriftDetector().update(labels, np.array(predicted), np.arange(1, N_WEAK + 1), events)
        count += any(event.is_drop for event in events)
    return count


@section("drift")
def drift() -> str:
    """How many of 30 streams have alarms (total alarms), or each change found in 2,000 rows."""
    rows = []
    for name, make in DEPENDENT.items():
        found = {}
        for way, find in DETECTORS.items():
            rng = np.random.default_rng(0)
            n = N_DEPENDENT_OURS if way == "ours" else N_DEPENDENT  # the other detectors are slow
            found[way] = [find(make(rng)) for _ in range(n)]
        begins = {name: 0} | ({"the same, after two waves": 4000} if "waves" in name else {})
        for title, begin in begins.items():
            counts = [
                [sum(row > begin for row in rows_of) for rows_of in found[way]] for way in DETECTORS
            ]
            cells = [
                f"{sum(map(bool, few))} ({sum(few):,})" for few in (c[:N_DEPENDENT] for c in counts)
            ]
            rows.append([title, *cells, f"{sum(map(bool, counts[0]))}"])
    for levels in ACCURACY_LEVELS:
        cells = []
        for find in DETECTORS.values():
            rng, reported = np.random.default_rng(0), 0
            for _ in range(N_DEPENDENT):
                wrong = np.concatenate([rng.random(10_000) >= level for level in levels])
                found_rows = np.array(find(wrong, has_rises=True)) - 1
                soon = found_rows[found_rows % 10_000 < 2000] // 10_000
                reported += set(range(1, len(levels))) <= set(soon.tolist())
            cells.append(f"{reported} reported")
        rows.append([" -> ".join(f"{level:.0%}" for level in levels), *cells, ""])
    n_weak = sum(count_weak_signals(n, signal) for n in (1, 2, 4) for signal in (0, 0.1))
    rows.append(["360 models of a weak signal", f"{n_weak}", *[""] * len(DETECTORS)])
    return table(["30 streams", *DETECTORS, "ours, of 300"], rows)
