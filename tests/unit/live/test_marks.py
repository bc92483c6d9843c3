"""Marks are found by the content of a file, its name and its state."""

from __future__ import annotations

import copy
import gzip
import os
import pickle
import shutil

import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel, SourceError
from stream_perceptron.data import open_source
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.live.marks import Marks, may_share_content

ROWS = ["a,label\n", *(f"{i},{'xy'[i % 2]}\n" for i in range(50))]


def learn(live, path, limit=None):
    sources = [open_source(str(path))]
    live = live or LiveModel.start(sources, seed=0)
    list(live.run(sources, live.resume(sources), limit=limit))
    return live


def find(marks, path):
    source = open_source(str(path))
    fingerprint = Fingerprint.of_unread("") if source.can_grow else source.fingerprints()[0]
    return marks.find(source, fingerprint)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(ROWS))
    return path


def test_the_mark_with_the_most_rows_counts(path, tmp_path):
    live = learn(None, path, limit=10)
    other = shutil.copyfile(path, tmp_path / "b.csv")
    live = learn(live, other, limit=20)

    assert sorted(mark.n_rows for mark in live.marks) == [10, 20]
    assert find(live.marks, path).n_rows == 20


@pytest.mark.parametrize(("is_there", "expected"), [(True, ["a.csv", "b.csv"]), (False, ["b.csv"])])
def test_a_mark_is_copied_or_moved(is_there, expected, path, tmp_path):
    live = learn(None, path)
    other = shutil.copyfile(path, tmp_path / "b.csv")
    if not is_there:
        path.write_text("a,label\n7,x\n")

    live.marks.adopt(find(live.marks, other), open_source(str(other)))

    assert [os.path.basename(mark.source.name) for mark in live.marks] == expected


def test_a_row_ends_at_a_mark(path):
    path.write_text("".join(ROWS)[:-1])
    live = learn(None, path)
    with path.open("a") as file:
        file.write("z\n")

    assert find(live.marks, path) is None
    with pytest.raises(SourceError, match="row 50 has changed since it was learned"):
        live.marks.check_new_content(open_source(str(path)))


def test_a_finished_file_is_found_without_opening_it(path):
    live = learn(None, path)
    (mark,) = live.marks
    (learned,) = live.marks.find_finished([str(path)])
    assert learned.mark is mark  # by its SHA-256
    assert mark.state.time == 0
    os.utime(path, (0, 0))
    learn(live, path)
    moved = path.rename(path.with_name("moved.csv"))
    (mark,) = live.marks

    learned, missing = live.marks.find_finished([str(moved), "nowhere"])
    assert (learned.mark, missing) == (mark, None)
    with moved.open("a") as file:
        file.write("1,x\n")
    assert [*live.marks.find_finished([str(moved)])] == [None]


def test_parquet_matches_as_a_whole(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    live = learn(None, path, limit=1)
    moved = path.rename(tmp_path / "b.parquet")
    live = learn(live, moved)

    assert [(mark.source.name, mark.n_rows) for mark in live.marks] == [(str(moved), 2)]
    assert live.progress.rows == 2


def test_marks_can_be_copied_and_pickled(path):
    marks = learn(None, path).marks
    for other in (copy.deepcopy(marks), pickle.loads(pickle.dumps(marks))):
        assert isinstance(other, Marks)
        assert find(other, path).n_rows == 50


def test_a_parquet_file_that_changes_after_it_was_opened_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, seed=0)
    cursor = live.resume(sources)
    write_parquet(path, {"a": [1.0], "label": ["x"]})

    with pytest.raises(
        SourceError, match=f"^{path}: the file has changed since it was opened: run"
    ):
        list(live.run(sources, cursor))
    assert live.progress.rows == 0


def test_files_may_repeat_others_if_they_begin_alike(tmp_path):
    def repeat(*contents):
        sources = []
        for i, content in enumerate(contents):
            path = tmp_path / f"{i}.csv"
            path.write_bytes(content)
            sources.append(open_source(str(path)))
        return may_share_content(sources)

    long = b"a,label\n" + b"1,x\n" * 2000
    assert not repeat(b"a,label\n1,x\n", b"a,label\n2,x\n", long.replace(b"1", b"3"))
    assert repeat(b"a,label\n2,y\n", b"a,label\n1,x\n", b"a,label\n1,x\n2,y\n")
    assert repeat(long + b"1,x\n", long + b"2,x\n")
    assert repeat(gzip.compress(b"a,label\n1,x\n"), b"a,label\n1,x\n")


def test_rows_that_come_after_a_file_was_found_finished_are_learned_next_time(path):
    live = learn(None, path)
    sources = [*live.marks.find_finished([str(path)])]
    with path.open("a") as file:
        file.write("7,x\n")
    os.utime(path, (0, 0))
    list(live.run(sources, live.resume(sources)))
    assert live.progress.rows == 50
    assert [*live.marks.find_finished([str(path)])] == [None]

    learn(live, path)

    assert live.progress.rows == 51
