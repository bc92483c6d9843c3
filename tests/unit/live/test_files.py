"""Which files of a run were learned before, and how far."""

from __future__ import annotations

import os

import pytest

from stream_perceptron import SourceError
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.files import identify_files
from stream_perceptron.live.loop import learn
from stream_perceptron.live.model import LiveModel

ROWS = [f"{i},{'xy'[i % 2]}\n" for i in range(400)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, rows):
    path.write_text("a,label\n" + "".join(rows))
    return path


def learn_paths(live, *paths, **options):
    list(learn(live, [open_source(str(path)) for path in paths], **options))


def identify(live, *paths, **options):
    sources = [open_source(str(path)) for path in paths]
    return identify_files(live.history.files, sources, **options)


@pytest.fixture
def live(folder):
    """A model that has learned a.csv and b.csv."""
    write(folder / "a.csv", ROWS[:300])
    write(folder / "b.csv", ROWS[100:300])
    paths = ["a.csv", "b.csv"]
    live = LiveModel.start([open_source(path) for path in paths], ReadOptions(), seed=0)
    learn_paths(live, *paths)
    return live


def test_file_continues_under_its_own_name_or_another(folder, live):
    write(folder / "a.csv", ROWS[:301])
    (folder / "b.csv").rename(folder / "c.csv")
    a, c = identify(live, "a.csv", "c.csv")

    assert (a.progress.position.rows, a.progress.passes, a.notice) == (300, 0, None)
    assert c.progress is live.history.files[1]
    assert c.progress.position.display_name == "c.csv"
    assert c.notice == "c.csv: already learned (200 rows)"


def test_copies_and_replaced_files_are_new(folder, live):
    (folder / "copy.csv").write_text((folder / "a.csv").read_text())
    write(folder / "b.csv", ROWS[300:])
    copied, replaced = identify(live, "copy.csv", "b.csv")

    assert copied.progress.position.rows == replaced.progress.position.rows == 0
    assert copied.notice == "copy.csv: new file, though it begins like a.csv, which was learned"
    assert "b.csv: new file; 200 rows of an earlier file" in replaced.notice


def test_links_are_read_once(folder, live):
    os.link(folder / "a.csv", folder / "hard.csv")
    (folder / "soft.csv").symlink_to(folder / "a.csv")
    (given,) = identify(live, "hard.csv", "soft.csv", "a.csv")

    assert given.progress.position.rows == 300
    assert given.notice == "a.csv: given more than once, but read only once"


CHANGES = {
    "first": (["9,x\n", *ROWS[1:300]], "300 rows of it were learned"),
    "last": ([*ROWS[:299], "9,x\n"], "300 rows of it were learned"),
    "split": ([*ROWS[:299], ROWS[299][:-1] + "z\n"], "300 rows of it were learned"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_file_is_an_error_unless_it_may_be_new(change, folder, live):
    rows, reason = CHANGES[change]
    write(folder / "a.csv", rows)
    with pytest.raises(SourceError, match=rf"^a\.csv: it has changed since {reason}"):
        identify(live, "a.csv")

    (given,) = identify(live, "a.csv", is_strict=False)
    assert given.progress.position.rows == 0
    assert "300 rows of an earlier file of this name were learned" in given.notice


def test_last_row_without_a_newline_may_gain_one_but_no_characters(folder):
    path = folder / "a.csv"
    path.write_text("a,label\n1,x\n2,y")
    live = LiveModel.start([open_source(str(path))], ReadOptions(), seed=0)
    learn_paths(live, path)
    path.write_text("a,label\n1,x\n2,y\n3,x\n")
    assert [given.progress.position.rows for given in identify(live, path)] == [2]

    path.write_text("a,label\n1,x\n2,yes\n")
    with pytest.raises(SourceError, match="row 2 has changed .*: the file ended within it"):
        identify(live, path)
    assert identify(live, path, is_strict=False)[0].progress.position.rows == 0


def test_further_passes_need_the_file_as_it_was(folder, live):
    a, b = identify(live, "a.csv", "b.csv", passes=2)
    assert (a.progress.passes, a.notice, b.notice) == (1, None, None)

    write(folder / "a.csv", ROWS[:301])
    with pytest.raises(SourceError, match="grown .*: learn its new rows in a run without --passes"):
        identify(live, "a.csv", passes=2)
    with pytest.raises(SourceError, match="grown"):
        identify(live, "a.csv", passes=None)
