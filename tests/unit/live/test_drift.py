"""Drift in random streams is detected early and near its row, without false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import CASE_FACTOR, get_seeds

from stream_perceptron import SGDPerceptron
from stream_perceptron.live.drift import DriftDetector


def detect_drift(wrong, labels=None, split_points=(), rows=None):
    """Detect drift in samples that arrive in parts; return the final state and the events."""
    drift, events = DriftDetector(), []
    labels = np.zeros(len(wrong), np.intp) if labels is None else labels
    rows = np.arange(1, len(wrong) + 1) if rows is None else rows
    predicted = np.where(wrong, labels + 1, labels)
    for part in np.split(np.arange(len(wrong)), split_points):
        drift.update(labels[part], predicted[part], rows[part], events)
    return [drift.state.tobytes(), drift.classes.tobytes()], events


def draw_stream(rng):
    """Return wrong predictions, labels and row numbers of a stream with changes."""
    levels = rng.choice([0.1, 0.3, 0.6, 0.9, 0.99], rng.integers(1, 5))
    wrong = np.concatenate([rng.random(int(rng.integers(10, 3000))) >= level for level in levels])
    n, k = len(wrong), int(rng.integers(1, 6))
    labels = rng.integers(0, k, n)
    wrong = np.repeat(wrong, rng.choice([1, 1, 3]))[:n]
    return wrong, labels, np.cumsum(rng.integers(1, 3, n))


def test_events_are_the_same_for_any_split(report_figure):
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(200 * CASE_FACTOR):
        wrong, labels, rows = draw_stream(rng)
        state, events = detect_drift(wrong, labels, rows=rows)
        kinds += [event.kind for event in events]
        for n_splits in (1, 5, 200):
            split_points = np.sort(rng.choice(len(wrong), n_splits))
            assert detect_drift(wrong, labels, split_points, rows) == (state, events)
    report_figure(f"drift: {len(kinds)} events, the same in every split")
    assert set(kinds) == {"drop", "recovery"}


def test_last_50_events_are_kept():
    rng = np.random.default_rng(0)
    wrong = np.concatenate([rng.random(2000) >= level for level in (0.98, 0.3) * 40])
    _, events = detect_drift(wrong)

    assert len(events) == 50
    assert events[-1].row > len(wrong) - 4000


def find_drops(events):
    return [event for event in events if event.is_drop]


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


def draw_classes(rng, k, layout, n=20_000):
    """Return the features and labels of k classes on a line, on a grid, or in blobs."""
    labels = rng.choice(k, n, p=rng.dirichlet(np.full(k, 2.0)))
    side = int(np.ceil(np.sqrt(k)))
    centers = {
        "line": np.arange(k)[:, None],
        "grid": np.stack([np.arange(k) % side, np.arange(k) // side], axis=1),
        "blobs": rng.normal(size=(k, int(rng.integers(2, 8)))) * rng.uniform(0.5, 3),
    }[layout]
    spread = rng.uniform(0.2, 1)
    return centers[labels] + spread * rng.normal(size=(n, centers.shape[1])), labels


def test_models_of_steady_classes_raise_hardly_any_alarm():
    """One stream in 100 may raise one."""
    alarms = []
    for seed in get_seeds(25 * CASE_FACTOR):
        rng = np.random.default_rng(seed)
        layout = ("line", "grid", "blobs")[seed % 3]
        features, labels = draw_classes(rng, 2 + seed % 9, layout)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        model = SGDPerceptron(classes=range(labels.max() + 1), seed=seed)
        predicted = np.array(model.test_then_train(features, labels))
        if find_drops(detect_drift(predicted != labels, labels)[1]):
            alarms.append((seed, layout))

    assert len(alarms) <= 1, alarms


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


def test_changed_frequencies_of_classes_are_no_drop():
    rng = np.random.default_rng(10)
    is_late = np.arange(100_000) >= 50_000
    is_hard = rng.random(100_000) < np.where(is_late, 0.5, 0.1)
    labels = rng.integers(0, 16, 100_000) + 16 * is_hard
    wrong = rng.random(100_000) < np.where(is_hard, 0.35, 0.02)

    assert not find_drops(detect_drift(wrong, labels)[1])
