"""Entries record the learned rows, however often a run stopped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from river.optim import schedulers

from stream_perceptron import LiveModel
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.data.opening import open_source
from stream_perceptron.live.lineage import DRAWS, ROUNDS, Entry, Lineage, format_lr, try_encode_lr

EMPTY = Fingerprint.of_unread("a.csv")


def text(size):
    """Return the identity of a text file's first bytes."""
    return Fingerprint("a.csv", size, f"{size:x}")


def learned(lineage, steps):
    """Add the rows learned of a text file, one by one or in larger steps."""
    row, before = 0, EMPTY
    for size, rejected in steps:
        here = text(row + size)
        entry = Entry(0.1, 0.0, (here,), start=row, end=row + size, rejected=rejected)
        lineage.add(entry, (before,))
        row, before = row + size, here
    return lineage


def test_entries_do_not_depend_on_the_steps(rng):
    whole = learned(Lineage(), [(60, 6)])
    for _ in range(20):
        cuts = [0, *sorted(rng.choice(range(1, 60), 4, replace=False).tolist()), 60]
        sizes = [end - start for start, end in pairwise(cuts)]
        rejected = [2, 1, 0, 3, 0]
        split = learned(Lineage(), zip(sizes, rejected, strict=True))

        assert whole.entries == split.entries


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.2},
        {"epsilon": 0.1},
        {"unit": DRAWS, "seed": 1},
        {"unit": ROUNDS, "shards": 2, "round_rows": 5},
        {"start": 61},
    ],
    ids=str,
)
def test_what_is_learned_in_another_way_is_another_entry(change):
    lineage = learned(Lineage(), [(60, 0)])
    entry = Entry(0.1, 0.0, (text(70),), start=60, end=70)
    lineage.add(replace(entry, **change), (text(60),))

    assert [entry.end for entry in lineage.entries] == [60, 70]
    lineage.add(replace(entry, **change), (text(65),))  # another file
    assert len(lineage.entries) == 3


def test_what_was_learned_since():
    """An entry's additional rows were learned since."""
    for first in (1, 30, 59):
        before = learned(Lineage(), [(first, 1)])
        after = learned(Lineage(), [(first, 1), (60 - first, 2)])
        (added,) = after.find_entries_since(before)

        assert (added.start, added.end, added.rejected) == (first, 60, 2)
        assert before.find_entries_since(before) == ()
        assert after.find_entries_since(learned(Lineage(), [(first, 4)])) is None
        assert before.find_entries_since(after) is None


def test_a_mean_keeps_what_each_model_added():
    base = learned(Lineage(), [(10, 0)])
    grown = [learned(Lineage(), [(10, 0), (n, 0)]) for n in (5, 7)]
    mean = base.build_average([*grown, base])
    stranger = base.build_average([learned(Lineage(), [(3, 0)])])

    assert [[e.end for e in part] for part in mean.entries[-1].models] == [[15], [17], []]
    assert (mean.is_complete, stranger.is_complete) == (True, False)
    assert base.build_average([Lineage(is_complete=False)]).is_complete is False
    shown = "\n".join(mean.lines())
    assert "mean of 3 models:" in shown
    assert "    a.csv (15 bytes, SHA-256 f...): rows 11 to 15, lr 0.1, epsilon 0" in shown


def test_schedules_are_saved_and_shown():
    schedule = schedulers.InverseScaling(0.1)

    assert (try_encode_lr(0.1), format_lr(0.1)) == (0.1, "0.1")
    assert try_encode_lr(schedule)["class"] == "optim.schedulers.InverseScaling"
    assert try_encode_lr(object()) is None
    assert "InverseScaling" in format_lr(schedule)


def test_rates_that_cannot_be_saved_do_not_lose_the_model(sample, tmp_path):
    """The lineage notes a custom schedule, and keeps one of River's."""

    class Mine:
        def get(self, t):
            return 0.1

    sources = [open_source(str(sample))]
    live = LiveModel.start(sources, seed=0)
    rates = [0.1, Mine(), schedulers.InverseScaling(0.5), 0.1]
    for _, rate in zip(live.run(sources, live.resume(sources), every=500), rates, strict=False):
        live.model.lr = rate
    live.save(tmp_path / "m.npz")
    lines = "\n".join(LiveModel.load(tmp_path / "m.npz").lineage.lines())
    assert "lr that was not saved" in lines
    assert "InverseScaling" in lines
