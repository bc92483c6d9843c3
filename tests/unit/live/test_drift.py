"""Drift in random streams is detected early and near its row, without false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import CASE_FACTOR

from stream_perceptron.live.drift import DriftDetector


def detect_drift(wrong, labels=None, split_points=(), rows=None):
    """Detect drift in samples that arrive in parts; return the final state and the events."""
    drift, events = DriftDetector(), []
    labels = np.zeros(len(wrong), np.intp) if labels is None else labels
    rows = np.arange(1, len(wrong) + 1) if rows is None else rows
    predicted = np.where(wrong, labels + 1, labels)
    for part in np.split(np.arange(len(wrong)), split_points):
        drift = DriftDetector.from_arrays(drift.arrays)
        drift.update(labels[part], predicted[part], rows[part], events)
    return {name: array.tobytes() for name, array in drift.arrays.items()}, events


def draw_stream(rng):
    """Return wrong predictions, labels and row numbers of a stream with changes."""
    levels = rng.choice([0.1, 0.3, 0.6, 0.9, 0.99], rng.integers(1, 5))
    wrong = np.concatenate([rng.random(int(rng.integers(10, 3000))) >= level for level in levels])
    n, k = len(wrong), int(rng.integers(1, 6))
    labels = rng.integers(0, k, n)
    if rng.random() < 0.5:  # a class is no longer found, and then found again
        is_new, part = rng.random(n) < 0.1, 6 * np.arange(n) // n
        labels[is_new] = k
        wrong[is_new] = np.isin(part[is_new], (2, 3))
    wrong = np.repeat(wrong, rng.choice([1, 1, 3]))[:n]
    return wrong, labels, np.cumsum(rng.integers(1, 3, n))


def test_events_are_the_same_for_any_split(report_figure):
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(200 * CASE_FACTOR):
        wrong, labels, rows = draw_stream(rng)
        state, events = detect_drift(wrong, labels, rows=rows)
        kinds += [(event.kind, event.is_overall) for event in events]
        for n_splits in (1, 5, 200):
            split_points = np.sort(rng.choice(len(wrong), n_splits))
            assert detect_drift(wrong, labels, split_points, rows) == (state, events)
    report_figure(f"drift: {len(kinds)} events of {len(set(kinds))} kinds in every split")
    assert len(set(kinds)) == 4


def test_last_50_events_are_kept():
    rng = np.random.default_rng(0)
    wrong = np.concatenate([rng.random(2000) >= level for level in (0.98, 0.3) * 40])
    _, events = detect_drift(wrong)

    assert len(events) == 50
    assert events[-1].row > len(wrong) - 4000


def find_drops(events, label=None):
    return [event for event in events if event.is_drop and event.label == label]


def draw_sessions(rng, size, low, high, n=100_000):
    """Return wrong predictions (bool); one in five sessions has the larger share of them."""
    shares = np.where(rng.random(n // size + 1) < 0.2, high, low)
    return rng.random(n) < np.repeat(shares, size)[:n]


def draw_waves(rng, n=100_000):
    """Return wrong predictions (bool), whose share varies between 2% and 8% every 2,000 rows."""
    return rng.random(n) < 0.05 + 0.03 * np.sin(np.pi * (np.arange(n) / 1000 + rng.random()))


STEADY = {
    "independent": lambda rng: rng.random(100_000) >= rng.uniform(0.3, 0.999),
    "sessions of 20": lambda rng: draw_sessions(rng, 20, 0.05, 0.2),
    "sessions of 200": lambda rng: draw_sessions(rng, 200, 0.05, 0.1),
    "rows twice": lambda rng: np.repeat(rng.random(50_000) < 0.05, 2),
    "rows five times": lambda rng: np.repeat(rng.random(20_000) < 0.05, 5),
    "waves": draw_waves,
}


@pytest.mark.parametrize("kind", STEADY)
def test_steady_streams_raise_hardly_any_alarm(kind):
    """About one stream in 100 may raise one, and one in 30 with sessions of 200 rows."""
    rng = np.random.default_rng(0)

    assert sum(bool(detect_drift(STEADY[kind](rng))[1]) for _ in range(30)) <= 1


@pytest.mark.parametrize("k", [2, 100])
def test_steady_classes_raise_hardly_any_alarm(k):
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(15):
        labels = rng.choice(k, 100_000, p=rng.dirichlet(np.full(k, 0.5)))
        wrong = rng.random(100_000) >= rng.uniform(0.3, 1, k)[labels]
        alarms += bool(detect_drift(wrong, labels)[1])

    assert alarms <= 1


@pytest.mark.parametrize(
    ("before", "after", "within"), [(0.9, 0.8, 500), (0.9, 0.88, 8000), (0.99, 0.01, 100)]
)
def test_most_drops_are_found_soon(before, after, within):
    rng = np.random.default_rng(1)
    n_soon = 0
    for _ in range(40):
        levels = np.where(np.arange(70_000) < 50_000, before, after)
        drops = find_drops(
            detect_drift(rng.random(70_000) >= levels, rng.integers(0, 10, 70_000))[1]
        )
        n_soon += any(50_000 < drop.found <= 50_000 + within for drop in drops)

    assert n_soon >= 32


def test_drop_of_one_of_two_classes_is_one_event():
    """A drop of the recall from 90% to 60% or 20% is not reported again as a drop in accuracy."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 40_000)
        recall = np.where(np.arange(40_000) < 20_000, 0.9, (0.6, 0.2)[seed % 2])
        wrong = rng.random(40_000) >= np.where(labels == 3, recall, 0.9)

        assert len(detect_drift(wrong, labels)[1]) == 1


def test_changed_frequencies_of_classes_are_no_drop():
    rng = np.random.default_rng(10)
    is_late = np.arange(100_000) >= 50_000
    is_hard = rng.random(100_000) < np.where(is_late, 0.5, 0.1)
    labels = rng.integers(0, 16, 100_000) + 16 * is_hard
    wrong = rng.random(100_000) < np.where(is_hard, 0.35, 0.02)

    assert not find_drops(detect_drift(wrong, labels)[1])


def test_classes_after_the_first_999_are_tested_together():
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 999, 100_000)
    is_further = rng.random(100_000) < 0.03
    labels[is_further] = rng.integers(999, 1200, np.count_nonzero(is_further))
    wrong = rng.random(len(labels)) < np.where(labels < 999, 0.1, 0.05)
    wrong[80_000:] |= is_further[80_000:]
    state, events = detect_drift(wrong, labels)
    (text,) = (event.describe([str(i) for i in range(1200)]) for event in find_drops(events, 999))

    assert text.startswith("recall of the 201 classes after the first 999 dropped from 9")
    assert sum(map(len, state.values())) <= 10**6
