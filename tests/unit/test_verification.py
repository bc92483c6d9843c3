"""What a verification compares, and how it names a difference."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import write_csv, write_jsonl

from stream_perceptron import RecordEncoder, SGDPerceptron, VerificationError, save
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.history import ROUNDS, Shards
from stream_perceptron.live.loop import learn
from stream_perceptron.live.model import LiveModel
from stream_perceptron.verification import verify


@pytest.fixture
def verified(tmp_path):
    """A model, and the file of 30 rows that it learned twice, but for one that is too long."""
    rows = [(i, "uvw"[i % 3], "xy"[i % 2], *[""] * (i == 7)) for i in range(30)]
    path = write_csv(tmp_path / "a.csv", ["n", "a", "label"], rows)
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions(), seed=0)
    list(learn(live, sources, passes=2, skip_rejected=True))
    return live, sources


def change_entry(live, **changes):
    live.history.entries[0] = replace(live.history.entries[0], **changes)


CHANGES = {
    "one more string column": (
        lambda live: live.state.string_columns.update(z=1),
        r"string_columns: \[\['a', 3\], \['z', 1\]\], but the sources give \[\['a', 3\]\]",
    ),
    "no string column": (
        lambda live: live.state.string_columns.clear(),
        r"string_columns: \[\], but the sources give \[\['a', 3\]\]",
    ),
    "other string features": (
        lambda live: live.state.string_columns.update(a=4),
        r"string_columns \(0, 1\): 4, but the sources give 3",
    ),
    "no entry": (lambda live: live.history.entries.clear(), "is not one of the sources"),
    "no files": (lambda live: change_entry(live, files=()), "has an inconsistent history"),
    "no rows": (lambda live: change_entry(live, end=0), "has an inconsistent history"),
    "rounds without shards": (lambda live: change_entry(live, unit=ROUNDS), "inconsistent history"),
    "shards without rounds": (
        lambda live: change_entry(live, shards=Shards(2, 3)), "inconsistent history",
    ),
    "rejected rows": (
        lambda live: change_entry(live, rejected=2), "rejected rows: 1 now, 2 when learned",
    ),
    "more rows": (lambda live: change_entry(live, end=31), "lacks the last 1 of these rows"),
    "rate": (lambda live: change_entry(live, lr=1e300), "n_updates: 58, but the sources give"),
    "part of the record": (
        lambda live: setattr(live.history, "is_complete", False), "was partly trained in Python",
    ),
}  # fmt: skip


def test_model_follows_from_its_file(verified):
    calls = []
    verify(*verified, advance=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (60, 60)


@pytest.mark.parametrize("change", CHANGES)
def test_difference_is_named(change, verified):
    alter, reason = CHANGES[change]
    live, sources = verified
    alter(live)
    with pytest.raises(VerificationError, match=reason):
        verify(live, sources)


@pytest.mark.parametrize(
    "rows", [[{"y": None}], [{"v": [1, 2], "y": "u"}, {"v": [2, 1], "y": "w"}]]
)
@pytest.mark.parametrize("vectors", [None, False, True])
def test_encoder_in_python_decides_whether_rows_are_lists(vectors, rows, tmp_path):
    save(RecordEncoder(vectors=vectors) | SGDPerceptron(), tmp_path / "m.npz")
    live = LiveModel.load(tmp_path / "m.npz")
    sources = [open_source(str(write_jsonl(tmp_path / "a.jsonl", rows)))]
    list(learn(live, sources))

    assert live.progress.rows == len(rows)
    verify(live, sources)


def test_given_files_must_be_those_that_were_learned(verified, tmp_path):
    live, sources = verified
    with pytest.raises(VerificationError, match=r"a\.csv .* is not among the given sources"):
        verify(live, [])
    other = open_source(str(write_csv(tmp_path / "c.csv", ["n", "a", "label"], [(1, "u", "x")])))
    with pytest.raises(VerificationError, match=r"c\.csv is not one of the sources"):
        verify(live, [*sources, other])
    write_csv(tmp_path / "a.csv", ["n", "a", "label"], [(1, "u", "x")])
    with pytest.raises(VerificationError, match=r"a\.csv has changed since it was learned"):
        verify(live, [open_source(sources[0].path)])
