"""Marks are found by the content, name and state of a file."""

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


def learn_file(live, path, limit=None):
    sources = [open_source(str(path))]
    live = live or LiveModel.start(sources, seed=0)
    list(live.run(sources, live.resume(sources), limit=limit))
    return live


def find_mark(marks, path):
    source = open_source(str(path))
    fingerprint = Fingerprint.of_unread("") if source.can_grow else source.fingerprints()[0]
    return marks.find(source, fingerprint)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(ROWS))
    return path


def test_mark_with_the_most_rows_is_used(path, tmp_path):
    live = learn_file(None, path, limit=10)
    other = shutil.copyfile(path, tmp_path / "b.csv")
    live = learn_file(live, other, limit=20)

    assert sorted(mark.n_rows for mark in live.marks) == [10, 20]
    assert find_mark(live.marks, path).n_rows == 20


@pytest.mark.parametrize(
    ("is_original_unchanged", "expected"), [(True, ["a.csv", "b.csv"]), (False, ["b.csv"])]
)
def test_mark_is_moved_unless_the_original_file_is_unchanged(
    is_original_unchanged, expected, path, tmp_path
):
    live = learn_file(None, path)
    other = shutil.copyfile(path, tmp_path / "b.csv")
    if not is_original_unchanged:
        path.write_text("a,label\n7,x\n")

    live.marks.adopt(find_mark(live.marks, other), open_source(str(other)))

    assert [os.path.basename(mark.source.name) for mark in live.marks] == expected


def test_appending_to_a_learned_row_is_an_error(path):
    path.write_text("".join(ROWS)[:-1])
    live = learn_file(None, path)
    with path.open("a") as file:
        file.write("z\n")

    assert find_mark(live.marks, path) is None
    with pytest.raises(SourceError, match="row 50 has changed since it was learned"):
        live.marks.check_new_content(open_source(str(path)))


def test_finished_file_is_found_without_opening_it(path):
    live = learn_file(None, path)
    (mark,) = live.marks
    (finished,) = live.marks.find_finished([str(path)])
    assert finished.mark is mark  # found by its SHA-256
    assert mark.state.time == 0
    os.utime(path, (0, 0))
    learn_file(live, path)
    moved = path.rename(path.with_name("moved.csv"))
    (mark,) = live.marks

    finished, missing = live.marks.find_finished([str(moved), "nowhere"])
    assert (finished.mark, missing) == (mark, None)
    with moved.open("a") as file:
        file.write("1,x\n")
    assert [*live.marks.find_finished([str(moved)])] == [None]


def test_renamed_parquet_file_keeps_its_mark(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    live = learn_file(None, path, limit=1)
    moved = path.rename(tmp_path / "b.parquet")
    live = learn_file(live, moved)

    assert [(mark.source.name, mark.n_rows) for mark in live.marks] == [(str(moved), 2)]
    assert live.progress.rows == 2


def test_marks_can_be_copied_and_pickled(path):
    marks = learn_file(None, path).marks
    for other in (copy.deepcopy(marks), pickle.loads(pickle.dumps(marks))):
        assert isinstance(other, Marks)
        assert find_mark(other, path).n_rows == 50


def test_parquet_file_changed_after_opening_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, seed=0)
    cursor = live.resume(sources)
    write_parquet(path, {"a": [1.0], "label": ["x"]})

    with pytest.raises(
        SourceError, match=f"^{path}: the file has changed since it was opened: try again"
    ):
        list(live.run(sources, cursor))
    assert live.progress.rows == 0


def test_files_with_equal_beginnings_may_share_content(tmp_path):
    def may_share(*contents):
        sources = []
        for i, content in enumerate(contents):
            path = tmp_path / f"{i}.csv"
            path.write_bytes(content)
            sources.append(open_source(str(path)))
        return may_share_content(sources)

    long = b"a,label\n" + b"1,x\n" * 2000
    assert not may_share(b"a,label\n1,x\n", b"a,label\n2,x\n", long.replace(b"1", b"3"))
    assert may_share(b"a,label\n2,y\n", b"a,label\n1,x\n", b"a,label\n1,x\n2,y\n")
    assert may_share(long + b"1,x\n", long + b"2,x\n")
    assert may_share(gzip.compress(b"a,label\n1,x\n"), b"a,label\n1,x\n")


def test_rows_appended_to_a_finished_file_are_learned_next_time(path):
    live = learn_file(None, path)
    sources = [*live.marks.find_finished([str(path)])]
    with path.open("a") as file:
        file.write("7,x\n")
    os.utime(path, (0, 0))
    list(live.run(sources, live.resume(sources)))
    assert live.progress.rows == 50
    assert [*live.marks.find_finished([str(path)])] == [None]

    learn_file(live, path)

    assert live.progress.rows == 51
