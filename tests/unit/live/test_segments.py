"""In which order the parts of a run are read, and where batches are cut."""

from __future__ import annotations

import pytest
from helpers import write_csv

from stream_perceptron import SourceError
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.files import identify_files
from stream_perceptron.live.loop import learn
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.segments import Learner, RowCount, find_next_report, plan_segments


def write_rows(path, n):
    return write_csv(path, ["a", "label"], [(i, "xy"[i % 2]) for i in range(n)])


def start(*paths):
    sources = [open_source(str(path)) for path in paths]
    return LiveModel.start(sources, ReadOptions(), seed=0), sources


def test_files_with_the_fewest_passes_come_first(tmp_path):
    live, sources = start(*(write_rows(tmp_path / f"{n}.csv", n) for n in (3, 5)))
    list(learn(live, sources[:1], passes=2))
    steps = [result for result in learn(live, sources, passes=3) if len(result.rows)]

    assert sum(len(step.rows) for step in steps if not step.is_repeated) == 5
    assert [len(step.rows) for step in steps if step.is_repeated] == [5, 3, 5]
    assert [progress.passes for progress in live.history.files] == [3, 3]


def test_unlimited_passes_over_empty_files_end(tmp_path):
    live, sources = start(*(write_rows(tmp_path / f"{n}.csv", n) for n in (0, 5)))
    files = identify_files(live.history.files, sources, None)
    for segment in plan_segments(live, files, None):
        segment.is_complete = True  # as if the rows had been removed meanwhile

    assert [file.progress.passes for file in files] == [1, 1]


def test_interrupted_file_is_the_last_of_a_run(tmp_path):
    paths = [write_rows(tmp_path / f"{n}.csv", n) for n in (3, 5)]
    live, sources = start(*paths)
    segments = plan_segments(live, identify_files([], sources), 1)

    assert next(segments).source is sources[0]
    assert next(segments, None) is None


@pytest.mark.parametrize("n", [2, 4])
def test_file_that_changed_during_a_further_pass_is_an_error_unless_it_has_grown(n, tmp_path):
    path = write_rows(tmp_path / "f.csv", 3)
    live, sources = start(path)
    run = learn(live, sources, passes=2)
    next(result for result in run if len(result.rows))
    write_rows(path, n)

    if n > 3:
        list(run)
        assert live.progress.rows == 6
    else:
        with pytest.raises(SourceError, match="has changed since the first pass; start over with"):
            list(run)


@pytest.mark.parametrize("limit", [None, 25])
@pytest.mark.parametrize("every", [None, 10])
def test_parts_end_at_limits_reports_and_multiples(limit, every, tmp_path):
    live, sources = start(write_rows(tmp_path / "f.csv", 1005))
    steps = list(learn(live, sources, limit=limit, every=every))
    ends = [int(step.rows[-1]) for step in steps if len(step.rows)]

    assert ends[-1] == (limit or 1005)
    assert set(range(every or 1000, ends[-1], every or 1000)) <= set(ends)
    assert [step.rows[-1] for step in steps if step.is_report_due] == [1000] * (limit is None)


def test_reports_are_due_at_doubled_numbers_of_rows():
    due = [find_next_report(n) for n in (0, 999, 1000, 1999, 2000, 3999, 4000)]
    assert due == [1000, 1000, 2000, 2000, 4000, 4000, 8000]


def test_count_has_reached_its_limit():
    assert [RowCount(n, end=2).has_reached_limit for n in (1, 2, 3)] == [False, True, True]
    assert not RowCount(10**9).has_reached_limit


def test_learner_moves_past_the_rows_that_it_learns(tmp_path):
    live, sources = start(write_rows(tmp_path / "f.csv", 3))
    (segment,) = plan_segments(live, identify_files([], sources), 1)
    (batch,) = sources[0].batches(live.build_request())
    result = Learner(live).step(batch[:2], segment)

    assert result.labels == ["x", "y"]
    assert (segment.n_rows_read, segment.position.rows, live.progress.samples) == (2, 2, 2)
