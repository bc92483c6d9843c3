"""Drift in random streams is found soon and near its row, without false alarms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers import TIMES

from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.drift import DriftDetector, DriftEvent, EventKind, find_lasting_drops
from stream_perceptron.live.drift.blocks import portable_log


def detect(wrong, labels=None, cuts=(), rows=None):
    """Return the state and the events after samples in parts."""
    drift, events = DriftDetector(), []
    labels = np.zeros(len(wrong), np.intp) if labels is None else labels
    rows = np.arange(1, len(wrong) + 1) if rows is None else rows
    for part in np.split(np.arange(len(wrong)), cuts):
        drift = DriftDetector.from_saved(drift.numbers)
        drift.update(labels[part], wrong[part], rows[part], events)
    return drift.numbers, events


def stream(rng, accuracies, n, k=1):
    """Return wrong predictions (bool) and labels of a stream: n samples per accuracy, in turn."""
    wrong = np.concatenate([rng.random(n) >= accuracy for accuracy in accuracies])
    return wrong, rng.integers(0, k, len(wrong))


def drops_in(events, label=None):
    return [event for event in events if event.is_drop and event.label == label]


def kinds_of(events):
    return [event.kind for event in events]


def test_steady_streams_raise_no_alarm():
    """One of 120 streams of 100,000 samples may, as the bound is 1 % for each."""
    rng = np.random.default_rng(0)
    alarms = sum(
        bool(detect(*stream(rng, [rng.uniform(0.3, 0.999)], 100_000, rng.integers(1, 40)))[1])
        for _ in range(120)
    )
    assert alarms <= 1


def in_sessions(rng, size, shares, n=100_000):
    """Return wrong predictions in sessions, one in five of which has the larger share of them."""
    levels = np.where(rng.random(n // size + 1) < 0.2, max(shares), min(shares))
    return rng.random(n) < np.repeat(levels, size)[:n]


def in_waves(rng, period, n=100_000):
    """Return wrong predictions, whose share of 5 % rises and falls by 3 %."""
    at = 2 * np.pi * (np.arange(n) / period + rng.random())
    return rng.random(n) < 0.05 + 0.03 * np.sin(at)


DEPENDENT = {
    "sessions of 20": lambda rng: in_sessions(rng, 20, (0.05, 0.2)),
    "sessions of 50": lambda rng: in_sessions(rng, 50, (0.05, 0.1)),
    "sessions of 200": lambda rng: in_sessions(rng, 200, (0.05, 0.1)),
    "rows delivered twice": lambda rng: np.repeat(rng.random(50_000) < 0.05, 2),
    "rows delivered five times": lambda rng: np.repeat(rng.random(20_000) < 0.05, 5),
    "waves of 1,000": lambda rng: in_waves(rng, 1000),
    "waves of 2,000": lambda rng: in_waves(rng, 2000),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_mistakes_raise_no_alarm(name):
    """Of twelve streams one may, and each may before two waves have shown that they repeat."""
    rng, alarms = np.random.default_rng(8), 0
    for _ in range(12):
        wrong = DEPENDENT[name](rng)
        alarms += any(event.found > 4000 for event in detect(wrong)[1])
    assert alarms <= 1


@pytest.mark.parametrize("levels", [(0.98, 0.5, 0.9, 0.7), (0.99, 0.4, 0.2), (0.9, 0.6, 0.75, 0.4)])
def test_a_further_drop_is_reported(levels):
    """Each drop counts from the level before it, whether or not accuracy had recovered."""
    n = 10_000
    for seed in range(10):
        events = detect(*stream(np.random.default_rng(seed), levels, n, 5))[1]
        for number, (before, after) in enumerate(pairwise(levels), 1):
            begin = n * number
            found = [c for c in drops_in(events) if begin < c.found <= begin + 2000]
            assert bool(found) == (after < before)
            for drop in found:
                assert abs(drop.row - begin) < 200
                assert drop.sample == drop.row
                assert drop.before == pytest.approx(before, abs=0.05)


def test_accuracy_that_rises_is_no_news():
    rng = np.random.default_rng(1)
    for _ in range(30):
        rise = np.linspace(rng.uniform(0.1, 0.6), rng.uniform(0.6, 0.99), 40_000)
        assert detect(rng.random(40_000) >= rise, rng.integers(0, 10, 40_000))[1] == []


@pytest.mark.parametrize(
    ("before", "after", "within", "near"),
    [
        (0.9, 0.8, 2000, 500),
        (0.9, 0.88, 20_000, 2500),
        (0.99, 0.01, 200, 100),
        (0.7, 0.3, 400, 200),
    ],
)
def test_drops_are_reported_soon_and_once(before, after, within, near):
    rng = np.random.default_rng(2)
    reported, near_row, begin = [], [], 30_000
    for _ in range(40):
        n = begin + int(rng.integers(0, 100))
        wrong = rng.random(n + within) >= np.where(np.arange(n + within) < n, before, after)
        drops = drops_in(detect(wrong, rng.integers(0, 10, len(wrong)))[1])
        reported.append([drop.found for drop in drops if drop.found > n])
        near_row += [abs(drop.row - 1 - n) <= near for drop in drops if drop.found > n]
    assert sum(map(bool, reported)) >= (35 if after == 0.88 else 40)
    assert max(map(len, reported)) == 1 or after == 0.88
    assert np.mean(near_row) >= 0.9


def test_recovery_and_the_next_drop():
    rng = np.random.default_rng(3)
    wrong, labels = stream(rng, [0.95, 0.5, 0.95, 0.5], 5000, 3)
    events = detect(wrong, labels)[1]

    assert kinds_of(events) == [EventKind.DROP, EventKind.RECOVERY, EventKind.DROP]
    text = events[0].describe("abc")
    assert text.startswith("accuracy dropped from 95.")
    assert "near row 5,0" in text or "near row 4,9" in text
    assert 10_000 < events[1].row < 11_000
    assert abs(events[2].row - 15_000) < 100


def test_recovery_is_judged_by_the_level_before_the_first_drop():
    rng = np.random.default_rng(9)
    wrong, labels = stream(rng, [0.95, 0.7, 0.3, 0.7, 0.95], 5000, 3)
    events = detect(wrong, labels)[1]

    assert kinds_of(events) == [EventKind.DROP, EventKind.FURTHER_DROP, EventKind.RECOVERY]
    assert events[2].found > 20_000


def test_a_slow_recovery_is_reported():
    """The accuracy recovers gradually, and only nearly to its old value."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        climb = np.linspace(0.5, 0.055, 3000)
        level = np.concatenate([np.full(20_000, 0.02), np.full(5000, 0.5), climb])
        level = np.concatenate([level, np.full(60_000, 0.055)])
        wrong = rng.random(len(level)) < level
        numbers, events = detect(wrong)
        assert kinds_of(events) == [EventKind.DROP, EventKind.RECOVERY]
        again = detect(wrong, cuts=np.sort(rng.choice(len(wrong), 50, replace=False)))
        assert (again[0].tobytes(), again[1]) == (numbers.tobytes(), events)


def test_a_slow_drop_is_reported_a_few_times():
    rng = np.random.default_rng(4)
    level = np.concatenate([np.full(10_000, 0.99), np.linspace(0.99, 0.5, 40_000)])
    drops = drops_in(detect(rng.random(50_000) >= level)[1])
    assert 1 <= len(drops) <= 10
    assert all(a.after > b.after for a, b in pairwise(drops))


def test_another_label_mix_is_no_drop():
    """The hard label becomes frequent, slowly or at once; each label's accuracy is constant."""
    rng = np.random.default_rng(5)
    for share in (np.linspace(0.05, 0.9, 60_000), np.repeat([0.05, 0.9], 30_000)):
        labels = (rng.random(60_000) < share).astype(np.intp)
        wrong = rng.random(60_000) < np.where(labels == 1, 0.3, 0.01)
        assert set(kinds_of(detect(wrong, labels)[1])) <= {EventKind.LABEL_MIX}

        # A real drop at the same time is found.
        wrong[45_000:] = rng.random(15_000) < 0.6
        (drop,) = drops_in(detect(wrong, labels)[1])
        assert abs(drop.row - 45_000) < 200


def test_a_changed_label_mix_of_many_classes_is_no_drop():
    """The 16 hard ones of 32 classes become frequent, and each class becomes a bit easier."""
    rng = np.random.default_rng(10)
    is_late = np.arange(100_000) >= 50_000
    is_hard = rng.random(100_000) < np.where(is_late, 0.5, 0.1)
    labels = rng.integers(0, 16, 100_000) + 16 * is_hard
    wrong = rng.random(100_000) < np.where(is_hard, 0.35, 0.02) - 0.01 * is_late
    (event,) = detect(wrong, labels)[1]

    assert event.kind == EventKind.LABEL_MIX
    assert event.label >= 16
    assert event.after > 3 * event.before
    assert (event.row, event.found) == (50_001, 52_000)


@pytest.mark.parametrize("session", [1, 20, 200])
def test_a_label_mix_that_varies_is_no_event(session):
    """Labels are alike within a session, so their counts vary more than those of single labels."""
    rng = np.random.default_rng(11)
    for _ in range(20):
        shares = rng.dirichlet(np.ones(8))
        labels = np.repeat(rng.choice(8, 100_000 // session, p=shares), session)
        assert not detect(rng.random(len(labels)) < 0.1, labels)[1]


def test_the_label_mix_of_two_classes():
    rng = np.random.default_rng(12)
    for before, after in ((0.1, 0.5), (0.5, 0.1), (0.01, 0.05), (0.0, 0.02)):
        labels = np.concatenate([rng.random(30_000) < before, rng.random(30_000) < after])
        (event,) = detect(rng.random(60_000) < 0.1, labels.astype(np.intp))[1]
        assert event.kind == EventKind.LABEL_MIX
        assert abs(event.row - 30_001) <= 1000
        text = f"label mix changed near row {event.row:,}: "
        # Of two shares that change alike the larger one is named.
        assert event.describe(["no", "yes"]).startswith(text + ("yes" if after > before else "no"))
        share = event.after if after > before else 1 - event.after
        assert share == pytest.approx(after, abs=0.03)


def test_a_share_that_falls_is_reported():
    """The shares of the other 19 classes rise by less than the odds that are reported."""
    rng = np.random.default_rng(15)
    is_large = rng.random(60_000) < np.where(np.arange(60_000) < 30_000, 0.3, 0.05)
    labels = np.where(is_large, 19, rng.integers(0, 19, 60_000))
    (event,) = detect(rng.random(60_000) < 0.1, labels)[1]

    assert (event.kind, event.label) == (EventKind.LABEL_MIX, 19)
    assert event.row == event.sample == 30_001
    assert (event.before, event.after) == pytest.approx((0.3, 0.05), abs=0.03)


def test_the_share_that_changed_most_is_named():
    """Three shares change, two of them by less than the third, after very different numbers."""
    for n_before in (6000, 50_000):
        rng = np.random.default_rng(17)
        labels = np.concatenate([
            rng.choice(4, n_before, p=[0.6, 0.2, 0.15, 0.05]),
            rng.choice(4, 20_000, p=[0.3, 0.35, 0.25, 0.1]),
        ])  # fmt: skip
        (event,) = detect(rng.random(len(labels)) < 0.1, labels)[1]
        assert (event.label, event.row) == (0, n_before + 1)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_the_dispersion_of_repeated_rows_is_their_number(times):
    rng = np.random.default_rng(18)
    drift, labels = DriftDetector(), np.repeat(rng.integers(0, 2, 400_000 // times), times)
    wrong = np.repeat(rng.random(len(labels) // times) < 0.1, times)
    drift.update(labels, wrong, np.arange(1, len(labels) + 1), [])
    now, classes = drift.state["accuracy"]["now"], drift.state["classes"]["classes"]

    for counts, n in ((now, len(labels) // 50), (classes, len(labels) // 200)):
        assert counts["squares"] / counts["pairs"] == pytest.approx(times, rel=0.3)
        assert counts["pairs"] == pytest.approx(n, rel=0.02)


def test_logarithms_have_ten_digits():
    x = np.geomspace(1e-3, 1e3, 10_000)

    np.testing.assert_allclose(portable_log(x), np.log(x), rtol=1e-9, atol=1e-10)


def test_a_drop_lasts_until_its_recovery():
    """Those of the overall accuracy and of each class count by themselves."""
    drop, again, mix = (
        DriftEvent(kind, row, row, row, 0.9, 0.5, label)
        for kind, row, label in (
            (EventKind.DROP, 1, None), (EventKind.FURTHER_DROP, 2, 3), (EventKind.LABEL_MIX, 3, 3)
        )
    )  # fmt: skip
    recovery = DriftEvent(EventKind.RECOVERY, 4, 4, 4, 0.5, 0.9)

    assert find_lasting_drops([drop, again, mix]) == [drop, again]
    assert find_lasting_drops([drop, again, mix, recovery]) == [again]


@pytest.mark.parametrize("n", [600, 1000])
def test_a_label_mix_that_returns_at_once_is_no_event(n):
    rng = np.random.default_rng(16)
    labels = rng.integers(0, 5, 40_000)
    labels[20_000 : 20_000 + n] = 3

    assert not detect(rng.random(40_000) < 0.1, labels)[1]


@pytest.mark.parametrize(("share", "n"), [(0.005, 100_000), (0.002, 200_000)])
def test_a_drop_of_a_rare_class_is_reported_by_its_name(share, n):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(2 * n) < share, 3, rng.integers(0, 3, 2 * n))
        accuracy = np.where((labels == 3) & (np.arange(2 * n) >= n), 0.0, 0.95)
        drop, *further = drops_in(detect(rng.random(2 * n) >= accuracy, labels)[1], label=3)

        assert np.count_nonzero(labels[n : drop.found] == 3) <= 100
        assert drop.describe("abcd").startswith("recall of d dropped from 9")
        assert drop.after < 0.2
        assert drop.sample == drop.row
        assert not further


def test_recall_of_a_class_drops_further_and_recovers():
    rng = np.random.default_rng(13)
    labels = np.where(rng.random(160_000) < 0.02, 1, 0)
    recall = np.repeat([0.95, 0.5, 0.02, 0.95], 40_000)
    wrong = rng.random(160_000) >= np.where(labels == 1, recall, 0.98)
    events = [event for event in detect(wrong, labels)[1] if event.label == 1]

    assert kinds_of(events) == [EventKind.DROP, EventKind.FURTHER_DROP, EventKind.RECOVERY]
    assert pytest.approx([40, 80], abs=3) == [event.row // 1000 for event in events[:2]]
    assert 120_000 < events[2].found < 130_000


def test_a_drop_of_all_classes_is_one_event():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        wrong, labels = stream(rng, [0.95, 0.5], 20_000, 10)
        assert kinds_of(detect(wrong, labels)[1]) == [EventKind.DROP]


def test_classes_from_the_thousandth_on_are_tested_as_one():
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 999, 200_000)
    is_further = rng.random(200_000) < 0.03
    labels[is_further] = rng.integers(999, 1200, np.count_nonzero(is_further))
    wrong = rng.random(len(labels)) < np.where(labels < 999, 0.1, 0.05)
    wrong[80_000:] |= labels[80_000:] == 7
    wrong[150_000:] |= is_further[150_000:]
    numbers, events = detect(wrong, labels)
    names = [str(i) for i in range(1200)]
    texts = [event.describe(names) for event in drops_in(events, 7) + drops_in(events, 999)]

    assert texts[0].startswith("recall of 7 dropped from ")
    assert texts[1].startswith("recall of the 201 classes after the first 999 dropped from 9")
    assert numbers.nbytes <= 10**6


@pytest.mark.slow
def test_state_and_events_do_not_depend_on_the_parts():
    rng = np.random.default_rng(6)
    kinds = set()
    for stream_number in range(12 * TIMES):
        levels = rng.choice([0.1, 0.3, 0.6, 0.9, 0.99], rng.integers(1, 6))
        k = int(rng.integers(1, 30))
        wrong, labels = stream(rng, levels, int(rng.integers(10, 6000)), k)
        n = len(wrong)
        if rng.random() < 0.5:  # a class becomes frequent, or hard
            rare = rng.random(n) < np.where(np.arange(n) < n // 2, 0.05, 0.3)
            labels[rare] = k
            wrong[rare & (np.arange(n) > 2 * n // 3)] = True
        rows = np.cumsum(rng.integers(1, 3, n))
        numbers, events = detect(wrong, labels, rows=rows)
        kinds |= {(event.kind, event.label is None) for event in events}
        for n_cuts in (1, 5, 100, n - 1 if stream_number < 2 else 300):
            cuts = np.sort(rng.choice(n, min(n, n_cuts), replace=False))
            again, others = detect(wrong, labels, cuts, rows)
            assert again.tobytes() == numbers.tobytes()
            assert others == events
    assert len(kinds) >= 5


def test_forged_states_are_refused_or_can_be_used():
    rng = np.random.default_rng(7)
    wrong, labels = stream(rng, [0.9, 0.5], 4010, 20)
    labels[rng.random(len(labels)) < 0.2] = 3
    numbers = detect(wrong, labels)[0]
    refused = 0
    for _ in range(2000):
        forged = numbers.copy()
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(0, len(forged))
            forged[place] = rng.choice([-1, 0, 0.5, 1, 49, 50, 1e6, 2.0**61, 1e300, np.inf, np.nan])
        try:
            drift = DriftDetector.from_saved(forged)
        except CheckpointError:
            refused += 1
            continue
        events = [DriftEvent(EventKind.DROP, 1, 1, 1, 0.9, 0.1)]
        drift.update(*stream(rng, [0.1, 0.9], 2500, 20)[::-1], np.arange(1, 5001), events)
        for event in events:
            assert 0 <= event.row < 2**62
            assert 0 <= event.before <= 1
            assert 0 <= event.after <= 1
        DriftDetector.from_saved(drift.numbers)
    assert 0 < refused < 2000


@pytest.mark.parametrize("n", [0, 1, 100, 1000, 10**6])
def test_a_state_of_a_wrong_size_is_refused(n):
    with pytest.raises(CheckpointError, match="wrong size"):
        DriftDetector.from_saved(np.zeros(n))
