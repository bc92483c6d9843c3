"""Entries record the learned rows, however often a run stops and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.optim import schedulers

from stream_perceptron import LiveModel
from stream_perceptron.checkpoint.codec import from_json, to_json
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.data.opening import open_source
from stream_perceptron.live.lineage import (
    DRAWS,
    ROUNDS,
    Entry,
    Lineage,
    format_lr,
    group_repeats,
    try_encode_lr,
)

EMPTY = Fingerprint.of_unread("a.csv")


def build_fingerprint(size):
    """Return a fingerprint of the first bytes of a text file."""
    return Fingerprint("a.csv", size, f"{size:x}")


def add_rows(lineage, steps):
    """Add entries for consecutive rows of a text file; steps are (size, rejected) pairs."""
    row, previous = 0, EMPTY
    for size, rejected in steps:
        fingerprint = build_fingerprint(row + size)
        entry = Entry(0.1, 0.0, (fingerprint,), start=row, end=row + size, rejected=rejected)
        lineage.add(entry, (previous,))
        row, previous = row + size, fingerprint
    return lineage


def test_splitting_rows_into_steps_does_not_change_entries(rng):
    whole = add_rows(Lineage(), [(60, 6)])
    for _ in range(20):
        boundaries = [0, *sorted(rng.choice(range(1, 60), 4, replace=False).tolist()), 60]
        sizes = [end - start for start, end in pairwise(boundaries)]
        rejected = [2, 1, 0, 3, 0]
        split = add_rows(Lineage(), zip(sizes, rejected, strict=True))

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
def test_rows_learned_differently_start_a_new_entry(change):
    lineage = add_rows(Lineage(), [(60, 0)])
    entry = Entry(0.1, 0.0, (build_fingerprint(70),), start=60, end=70)
    lineage.add(replace(entry, **change), (build_fingerprint(60),))

    assert [entry.end for entry in lineage.entries] == [60, 70]
    lineage.add(replace(entry, **change), (build_fingerprint(65),))  # another file
    assert len(lineage.entries) == 3


def test_entries_since_an_earlier_lineage():
    """The additional rows of an extended entry are an entry of their own."""
    for first in (1, 30, 59):
        before = add_rows(Lineage(), [(first, 1)])
        after = add_rows(Lineage(), [(first, 1), (60 - first, 2)])
        (added,) = after.find_entries_since(before)

        assert (added.start, added.end, added.rejected) == (first, 60, 2)
        assert before.find_entries_since(before) == ()
        assert after.find_entries_since(add_rows(Lineage(), [(first, 4)])) is None
        assert before.find_entries_since(after) is None


def test_average_records_what_each_model_added():
    base = add_rows(Lineage(), [(10, 0)])
    extended = [add_rows(Lineage(), [(10, 0), (n, 0)]) for n in (5, 7)]
    average = base.build_average([*extended, base])
    unrelated = base.build_average([add_rows(Lineage(), [(3, 0)])])

    assert [[e.end for e in part] for part in average.entries[-1].models] == [[15], [17], []]
    assert (average.is_complete, unrelated.is_complete) == (True, False)
    assert base.build_average([Lineage(is_complete=False)]).is_complete is False
    description = "\n".join(average.format_lines())
    assert "mean of 3 models:" in description
    assert "    a.csv (15 bytes, SHA-256 f...): rows 11 to 15, lr 0.1, epsilon 0" in description


def test_lr_schedules_are_saved_and_formatted():
    schedule = schedulers.InverseScaling(0.1)

    assert (try_encode_lr(0.1), format_lr(0.1)) == (0.1, "0.1")
    assert try_encode_lr(schedule)["class"] == "optim.schedulers.InverseScaling"
    assert try_encode_lr(object()) is None
    assert "InverseScaling" in format_lr(schedule)


def test_model_is_saved_even_if_its_lr_cannot_be_saved(mnist_sample, tmp_path):
    """The lineage only notes a custom schedule, but saves a River schedule."""

    class CustomSchedule:
        def get(self, t):
            return 0.1

    sources = [open_source(str(mnist_sample))]
    live = LiveModel.start(sources, seed=0)
    rates = [0.1, CustomSchedule(), schedulers.InverseScaling(0.5), 0.1]
    for _, rate in zip(live.run(sources, live.resume(sources), every=500), rates, strict=False):
        live.model.lr = rate
    live.save(tmp_path / "m.npz")
    lines = "\n".join(LiveModel.load(tmp_path / "m.npz").lineage.format_lines())
    assert "lr not saved" in lines
    assert "InverseScaling" in lines


def test_entry_survives_a_round_trip_with_every_field():
    entry = Entry(
        0.1, 0.25, (build_fingerprint(60),), ROUNDS, 5, 60, 3, seed=7, shards=4, round_rows=100,
        first_rows=2, kept_lr=True, keep=("id",), is_again=True, n_repeated=9,
        class_weight=[["a", 2.0]],
    )  # fmt: skip
    average = Entry(models=((entry,), (entry, entry)))

    for whole in (entry, average):
        assert from_json(Entry, json.loads(json.dumps(to_json(whole))), "entry") == whole


@given(items=st.lists(st.sampled_from("abc"), max_size=30))
def test_repeated_groups_add_up_to_the_items(items):
    groups = list(group_repeats(items))

    assert [item for group, n in groups for item in list(group) * n] == items


def test_lines_describe_rows_and_repetitions():
    fingerprint = build_fingerprint(60)
    rows = Entry(0.1, 0.25, (fingerprint,), start=0, end=60, rejected=1200)
    rounds = replace(rows, unit=ROUNDS, end=2000, shards=4, round_rows=100, rejected=0)
    again = replace(rows, is_again=True, rejected=0)
    lineage = Lineage([rows, rounds, again, rounds, again, again, again], is_complete=False)

    file = "a.csv (60 bytes, SHA-256 3c...)"
    assert lineage.format_lines() == [
        "samples learned in Python, without a record",
        f"{file}: rows 1 to 60, 1,200 rejected, lr 0.1, epsilon 0.25",
        f"{file}: rounds 1 to 2,000 of 4 shards of 100 rows, lr 0.1, epsilon 0.25",
        f"{file}: rows 1 to 60, again, lr 0.1, epsilon 0.25",
        "the last 2 in turn, 2 times",
        f"{file}: rows 1 to 60, again, lr 0.1, epsilon 0.25, 2 times",
    ]
