"""The entries of a history, and what they say about files."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import get_seeds

from stream_perceptron import CheckpointError
from stream_perceptron.data import open_source
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.live.files import FileProgress, GivenFile
from stream_perceptron.live.history import ROUNDS, Entry, History, Shards

START = FilePosition("a.csv", "1f", "2e")
SHARDS = Shards(2, 100)


def advance(position, n):
    rows = position.rows + n
    return replace(position, end_digest=f"{rows}", offset=8 * rows, rows=rows)


@pytest.mark.parametrize("seed", get_seeds(20))
def test_entries_do_not_depend_on_where_runs_were_cut(seed):
    """The learning rate changes twice."""
    rng = np.random.default_rng(seed)
    changes = sorted(rng.choice(range(1, 60), 2, replace=False).tolist())
    cuts = {*changes, *rng.integers(1, 60, 10).tolist()}
    whole, cut = History(), History()
    for history, ends in ((whole, changes), (cut, sorted(cuts))):
        for start, end in pairwise([0, *ends, 60]):
            rate = float(np.searchsorted(changes, end))
            rejected = sum(row % 3 == 0 for row in range(start, end))
            entry = Entry((advance(START, end),), start=start, end=end, rejected=rejected, lr=rate)
            history.add(entry, advance(START, start))

    assert whole.entries == cut.entries
    assert [(entry.start, entry.end) for entry in cut.entries] == [*pairwise([0, *changes, 60])]


def test_entry_of_another_place_begins_anew():
    """The second file has as many rows, but another content."""
    history, other = History(), replace(START, start_digest="3d")
    history.add(Entry((advance(START, 5),), end=5), START)
    history.add(Entry((advance(other, 9),), start=5, end=9), advance(other, 5))

    assert [entry.row_range for entry in history.entries] == [
        "a.csv: rows 1 to 5", "a.csv: rows 6 to 9",
    ]  # fmt: skip


def test_rounds_continue_only_in_the_same_shards_of_the_same_files():
    files = (advance(START, 200),)
    history = History()
    assert history.find_rounds_entry(files, SHARDS) is None
    rounds = Entry(files, ROUNDS, end=1, shards=SHARDS)
    history.add(rounds)
    history.add(Entry(files, ROUNDS, start=2, end=3, shards=SHARDS), *files)
    assert len(history.entries) == 2
    history.entries.pop()
    history.add(Entry(files, end=200))

    assert history.find_rounds_entry(files, SHARDS) is rounds
    assert history.find_rounds_entry(files, replace(SHARDS, first_rows=3)) is rounds
    assert history.find_rounds_entry(files, Shards(3, 100)) is None
    assert history.find_rounds_entry(files, Shards(2, 50)) is None
    assert history.find_rounds_entry((advance(START, 100),), SHARDS) is None


def test_unfinished_round_protects_its_files(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n")
    source = open_source(str(tmp_path / "a.csv"))
    position = advance(replace(START, name="a.csv"), 200)
    history = History(entries=[Entry((position,), ROUNDS, end=1, shards=SHARDS)])
    given = [GivenFile(source, FileProgress(START))]
    other = [GivenFile(source, FileProgress(replace(START, name="b.csv")))]
    history.require_no_open_round(other)
    with pytest.raises(CheckpointError, match=r"a\.csv: a run that learns it in shards is unfin"):
        history.require_no_open_round(given)

    history.files = [FileProgress(position, passes=1)]
    history.require_no_open_round(given)


def test_run_that_stopped_stays_stopped_at_the_last_file():
    first, last = FileProgress(START), FileProgress(replace(START, name="b.csv"))
    history = History([first, last], stopped_below=0.01)
    given = [GivenFile(None, first)]

    assert not history.has_stopped_below_epsilon(given, 0.01)
    history.set_last_file(first)
    assert history.files == [last, first]
    assert history.has_stopped_below_epsilon(given, 0.01)
    assert not history.has_stopped_below_epsilon(given, 0.02)
