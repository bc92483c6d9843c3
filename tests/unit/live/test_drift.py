"""Drift in random streams is detected early and near its row, without false alarms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers import CASE_FACTOR

from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.drift import DriftDetector, DriftEvent, EventKind, find_lasting_drops
from stream_perceptron.live.drift.blocks import portable_log


def detect_drift(wrong, labels=None, split_points=(), rows=None):
    """Detect drift in samples that arrive in parts; return the final state and the events."""
    drift, events = DriftDetector(), []
    labels = np.zeros(len(wrong), np.intp) if labels is None else labels
    rows = np.arange(1, len(wrong) + 1) if rows is None else rows
    for part in np.split(np.arange(len(wrong)), split_points):
        drift = DriftDetector.from_saved(drift.numbers)
        drift.update(labels[part], wrong[part], rows[part], events)
    return drift.numbers, events


def draw_stream(rng, accuracies, n, n_classes=1):
    """Return wrong predictions (bool) and labels of a stream: n samples per accuracy, in turn."""
    wrong = np.concatenate([rng.random(n) >= accuracy for accuracy in accuracies])
    return wrong, rng.integers(0, n_classes, len(wrong))


def find_drops(events, label=None):
    return [event for event in events if event.is_drop and event.label == label]


def list_kinds(events):
    return [event.kind for event in events]


def test_steady_streams_raise_no_alarm():
    """Each stream may raise an alarm with a probability of up to 1 %, so one of 120 may."""
    rng = np.random.default_rng(0)
    alarms = sum(
        bool(
            detect_drift(
                *draw_stream(rng, [rng.uniform(0.3, 0.999)], 100_000, rng.integers(1, 40))
            )[1]
        )
        for _ in range(120)
    )
    assert alarms <= 1


def draw_errors_in_sessions(rng, size, shares, n=100_000):
    """Return wrong predictions (bool); one in five sessions has the larger share of them."""
    levels = np.where(rng.random(n // size + 1) < 0.2, max(shares), min(shares))
    return rng.random(n) < np.repeat(levels, size)[:n]


def draw_errors_in_waves(rng, period, n=100_000):
    """Return wrong predictions (bool), whose share varies between 2 % and 8 %."""
    phase = 2 * np.pi * (np.arange(n) / period + rng.random())
    return rng.random(n) < 0.05 + 0.03 * np.sin(phase)


DEPENDENT_ERRORS = {
    "sessions of 20": lambda rng: draw_errors_in_sessions(rng, 20, (0.05, 0.2)),
    "sessions of 50": lambda rng: draw_errors_in_sessions(rng, 50, (0.05, 0.1)),
    "sessions of 200": lambda rng: draw_errors_in_sessions(rng, 200, (0.05, 0.1)),
    "rows delivered twice": lambda rng: np.repeat(rng.random(50_000) < 0.05, 2),
    "rows delivered five times": lambda rng: np.repeat(rng.random(20_000) < 0.05, 5),
    "waves of 1,000": lambda rng: draw_errors_in_waves(rng, 1000),
    "waves of 2,000": lambda rng: draw_errors_in_waves(rng, 2000),
}


@pytest.mark.parametrize("name", DEPENDENT_ERRORS)
def test_dependent_errors_raise_no_alarm(name):
    """One of twelve streams may; the first 4,000 samples do not count, as waves must repeat."""
    rng, alarms = np.random.default_rng(8), 0
    for _ in range(12):
        wrong = DEPENDENT_ERRORS[name](rng)
        alarms += any(event.found > 4000 for event in detect_drift(wrong)[1])
    assert alarms <= 1


@pytest.mark.parametrize("levels", [(0.98, 0.5, 0.9, 0.7), (0.99, 0.4, 0.2), (0.9, 0.6, 0.75, 0.4)])
def test_further_drop_is_reported(levels):
    """Each drop is measured from the level before it, even without a recovery."""
    n = 10_000
    for seed in range(10):
        events = detect_drift(*draw_stream(np.random.default_rng(seed), levels, n, 5))[1]
        for number, (before, after) in enumerate(pairwise(levels), 1):
            begin = n * number
            drops = [drop for drop in find_drops(events) if begin < drop.found <= begin + 2000]
            assert bool(drops) == (after < before)
            for drop in drops:
                assert abs(drop.row - begin) < 200
                assert drop.sample == drop.row
                assert drop.before == pytest.approx(before, abs=0.05)


def test_rising_accuracy_is_no_event():
    rng = np.random.default_rng(1)
    for _ in range(30):
        rise = np.linspace(rng.uniform(0.1, 0.6), rng.uniform(0.6, 0.99), 40_000)
        assert detect_drift(rng.random(40_000) >= rise, rng.integers(0, 10, 40_000))[1] == []


@pytest.mark.parametrize(
    ("before", "after", "within", "max_distance"),
    [
        (0.9, 0.8, 2000, 500),
        (0.9, 0.88, 20_000, 2500),
        (0.99, 0.01, 200, 100),
        (0.7, 0.3, 400, 200),
    ],
)
def test_drops_are_reported_soon_and_once(before, after, within, max_distance):
    rng = np.random.default_rng(2)
    reported, is_near, begin = [], [], 30_000
    for _ in range(40):
        n = begin + int(rng.integers(0, 100))
        wrong = rng.random(n + within) >= np.where(np.arange(n + within) < n, before, after)
        drops = find_drops(detect_drift(wrong, rng.integers(0, 10, len(wrong)))[1])
        reported.append([drop.found for drop in drops if drop.found > n])
        is_near += [abs(drop.row - 1 - n) <= max_distance for drop in drops if drop.found > n]
    assert sum(map(bool, reported)) >= (35 if after == 0.88 else 40)
    assert max(map(len, reported)) == 1 or after == 0.88
    assert np.mean(is_near) >= 0.9


def test_drop_after_a_recovery_is_reported():
    rng = np.random.default_rng(3)
    wrong, labels = draw_stream(rng, [0.95, 0.5, 0.95, 0.5], 5000, 3)
    events = detect_drift(wrong, labels)[1]

    assert list_kinds(events) == [EventKind.DROP, EventKind.RECOVERY, EventKind.DROP]
    text = events[0].describe("abc")
    assert text.startswith("accuracy dropped from 95.")
    assert "near row 5,0" in text or "near row 4,9" in text
    assert 10_000 < events[1].row < 11_000
    assert abs(events[2].row - 15_000) < 100


def test_recovery_is_measured_against_the_level_before_the_first_drop():
    rng = np.random.default_rng(9)
    wrong, labels = draw_stream(rng, [0.95, 0.7, 0.3, 0.7, 0.95], 5000, 3)
    events = detect_drift(wrong, labels)[1]

    assert list_kinds(events) == [EventKind.DROP, EventKind.DROP, EventKind.RECOVERY]
    assert events[2].found > 20_000


def test_slow_recovery_is_reported():
    """The accuracy recovers gradually, and only nearly to its old value."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        climb = np.linspace(0.5, 0.055, 3000)
        level = np.concatenate([np.full(20_000, 0.02), np.full(5000, 0.5), climb])
        level = np.concatenate([level, np.full(60_000, 0.055)])
        wrong = rng.random(len(level)) < level
        numbers, events = detect_drift(wrong)
        assert list_kinds(events) == [EventKind.DROP, EventKind.RECOVERY]
        split_points = np.sort(rng.choice(len(wrong), 50, replace=False))
        split_numbers, split_events = detect_drift(wrong, split_points=split_points)
        assert (split_numbers.tobytes(), split_events) == (numbers.tobytes(), events)


def test_slow_drop_is_reported_a_few_times():
    rng = np.random.default_rng(4)
    level = np.concatenate([np.full(10_000, 0.99), np.linspace(0.99, 0.5, 40_000)])
    drops = find_drops(detect_drift(rng.random(50_000) >= level)[1])
    assert 1 <= len(drops) <= 10
    assert all(a.after > b.after for a, b in pairwise(drops))


def test_changed_label_mix_is_no_drop():
    """The hard class becomes frequent, slowly or at once; the recall of each class is constant."""
    rng = np.random.default_rng(5)
    for share in (np.linspace(0.05, 0.9, 60_000), np.repeat([0.05, 0.9], 30_000)):
        labels = (rng.random(60_000) < share).astype(np.intp)
        wrong = rng.random(60_000) < np.where(labels == 1, 0.3, 0.01)
        assert not detect_drift(wrong, labels)[1]

        # A real drop at the same time is reported.
        wrong[45_000:] = rng.random(15_000) < 0.6
        (drop,) = find_drops(detect_drift(wrong, labels)[1])
        assert abs(drop.row - 45_000) < 200


def test_changed_label_mix_of_many_classes_is_no_drop():
    """Of 32 classes, the 16 hard ones become frequent; each class becomes a bit easier."""
    rng = np.random.default_rng(10)
    is_late = np.arange(100_000) >= 50_000
    is_hard = rng.random(100_000) < np.where(is_late, 0.5, 0.1)
    labels = rng.integers(0, 16, 100_000) + 16 * is_hard
    wrong = rng.random(100_000) < np.where(is_hard, 0.35, 0.02) - 0.01 * is_late
    assert not detect_drift(wrong, labels)[1]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_dispersion_of_repeated_rows_equals_the_repetitions(times):
    rng = np.random.default_rng(18)
    drift, labels = DriftDetector(), np.repeat(rng.integers(0, 2, 400_000 // times), times)
    wrong = np.repeat(rng.random(len(labels) // times) < 0.1, times)
    drift.update(labels, wrong, np.arange(1, len(labels) + 1), [])
    now, classes = drift.state["accuracy"]["now"], drift.state["classes"]["classes"]

    for counts, n in ((now, len(labels) // 50), (classes, len(labels) // 200)):
        assert counts["squares"] / counts["pairs"] == pytest.approx(times, rel=0.3)
        assert counts["pairs"] == pytest.approx(n, rel=0.02)


def test_portable_logarithm_is_accurate():
    x = np.geomspace(1e-3, 1e3, 10_000)

    np.testing.assert_allclose(portable_log(x), np.log(x), rtol=1e-9, atol=1e-10)


def test_drop_lasts_until_its_recovery():
    """Overall accuracy and the recall of each class recover separately."""
    drop, recall_drop = (
        DriftEvent(EventKind.DROP, row, row, row, 0.9, 0.5, label)
        for row, label in ((1, None), (2, 3))
    )
    recovery = DriftEvent(EventKind.RECOVERY, 4, 4, 4, 0.5, 0.9)

    assert find_lasting_drops([drop, recall_drop]) == [drop, recall_drop]
    assert find_lasting_drops([drop, recall_drop, recovery]) == [recall_drop]


@pytest.mark.parametrize(("share", "n"), [(0.005, 100_000), (0.002, 200_000)])
def test_recall_drop_of_a_rare_class_is_reported(share, n):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(2 * n) < share, 3, rng.integers(0, 3, 2 * n))
        accuracy = np.where((labels == 3) & (np.arange(2 * n) >= n), 0.0, 0.95)
        drop, *further = find_drops(detect_drift(rng.random(2 * n) >= accuracy, labels)[1], label=3)

        assert np.count_nonzero(labels[n : drop.found] == 3) <= 100
        assert drop.describe("abcd").startswith("recall of d dropped from 9")
        assert drop.after < 0.2
        assert drop.sample == drop.row
        assert not further


def test_further_recall_drop_and_recovery_are_reported():
    rng = np.random.default_rng(13)
    labels = np.where(rng.random(160_000) < 0.02, 1, 0)
    recall = np.repeat([0.95, 0.5, 0.02, 0.95], 40_000)
    wrong = rng.random(160_000) >= np.where(labels == 1, recall, 0.98)
    events = [event for event in detect_drift(wrong, labels)[1] if event.label == 1]

    assert list_kinds(events) == [EventKind.DROP, EventKind.DROP, EventKind.RECOVERY]
    assert pytest.approx([40, 80], abs=3) == [event.row // 1000 for event in events[:2]]
    assert 120_000 < events[2].found < 130_000
    levels = [(event.before, event.after) for event in events]
    np.testing.assert_allclose(levels, [(0.95, 0.5), (0.5, 0.02), (0.02, 0.95)], atol=0.25)


def test_drop_of_all_classes_is_one_event():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        wrong, labels = draw_stream(rng, [0.95, 0.5], 20_000, 10)
        assert list_kinds(detect_drift(wrong, labels)[1]) == [EventKind.DROP]


def test_classes_after_the_first_999_are_monitored_together():
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 999, 200_000)
    is_further = rng.random(200_000) < 0.03
    labels[is_further] = rng.integers(999, 1200, np.count_nonzero(is_further))
    wrong = rng.random(len(labels)) < np.where(labels < 999, 0.1, 0.05)
    wrong[80_000:] |= labels[80_000:] == 7
    wrong[150_000:] |= is_further[150_000:]
    numbers, events = detect_drift(wrong, labels)
    names = [str(i) for i in range(1200)]
    texts = [event.describe(names) for event in find_drops(events, 7) + find_drops(events, 999)]

    assert texts[0].startswith("recall of 7 dropped from ")
    assert texts[1].startswith("recall of the 201 classes after the first 999 dropped from 9")
    assert numbers.nbytes <= 10**6


@pytest.mark.slow
def test_splitting_samples_does_not_change_state_and_events():
    rng = np.random.default_rng(6)
    kinds = set()
    for stream_number in range(12 * CASE_FACTOR):
        levels = rng.choice([0.1, 0.3, 0.6, 0.9, 0.99], rng.integers(1, 6))
        n_classes = int(rng.integers(1, 30))
        wrong, labels = draw_stream(rng, levels, int(rng.integers(10, 6000)), n_classes)
        n = len(wrong)
        if rng.random() < 0.5:  # a class becomes frequent, or hard
            rare = rng.random(n) < np.where(np.arange(n) < n // 2, 0.05, 0.3)
            labels[rare] = n_classes
            wrong[rare & (np.arange(n) > 2 * n // 3)] = True
        rows = np.cumsum(rng.integers(1, 3, n))
        numbers, events = detect_drift(wrong, labels, rows=rows)
        kinds |= {(event.kind, event.label is None) for event in events}
        for n_split_points in (1, 5, 100, n - 1 if stream_number < 2 else 300):
            split_points = np.sort(rng.choice(n, min(n, n_split_points), replace=False))
            split_numbers, split_events = detect_drift(wrong, labels, split_points, rows)
            assert split_numbers.tobytes() == numbers.tobytes()
            assert split_events == events
    assert len(kinds) >= 3


@pytest.mark.slow
def test_forged_state_is_rejected_or_usable():
    rng = np.random.default_rng(7)
    wrong, labels = draw_stream(rng, [0.9, 0.5], 4010, 20)
    labels[rng.random(len(labels)) < 0.2] = 3
    numbers = detect_drift(wrong, labels)[0]
    n_rejected = 0
    for _ in range(2000):
        forged = numbers.copy()
        for _ in range(rng.integers(1, 4)):
            index = rng.integers(0, len(forged))
            forged[index] = rng.choice([-1, 0, 0.5, 1, 49, 50, 1e6, 2.0**61, 1e300, np.inf, np.nan])
        try:
            drift = DriftDetector.from_saved(forged)
        except CheckpointError:
            n_rejected += 1
            continue
        events = [DriftEvent(EventKind.DROP, 1, 1, 1, 0.9, 0.1)]
        drift.update(*draw_stream(rng, [0.1, 0.9], 2500, 20)[::-1], np.arange(1, 5001), events)
        for event in events:
            assert 0 <= event.row < 2**62
            assert 0 <= event.before <= 1
            assert 0 <= event.after <= 1
        DriftDetector.from_saved(drift.numbers)
    assert 0 < n_rejected < 2000


@pytest.mark.parametrize("n", [0, 1, 100, 1000, 10**6])
def test_state_of_wrong_size_is_rejected(n):
    with pytest.raises(CheckpointError, match="wrong size"):
        DriftDetector.from_saved(np.zeros(n))
