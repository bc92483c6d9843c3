"""A cursor resumes in its own sources and reads other sources from the start."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from stream_perceptron import CheckpointError
from stream_perceptron.data.batch import Offset, Redeliveries
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.live.cursor import Cursor, Shards

A, B = Fingerprint("a.csv", 10, "1a"), Fingerprint("b.csv", 20, "2b")
STDIN = Fingerprint.of_stream("stdin")
DEFAULT_OPTIONS = {"at_random": False, "shards": None, "again": False}


class FakeSource:
    """A source with a known fingerprint, which may have grown."""

    def __init__(self, fingerprint, has_grown=False):
        self.name, self.is_stream = fingerprint.name, fingerprint.is_stream
        self._fingerprint, self._has_grown = fingerprint, has_grown

    def find_matching(self, fingerprints):
        return [fingerprint for fingerprint in fingerprints if fingerprint == self._fingerprint]

    def has_grown(self, known_fingerprint):
        return self._has_grown


def build_cursor(*sources, **fields):
    return Cursor(list(sources), **({"finished": False, "row": 5, "read": 5} | fields))


def get_position(cursor):
    return cursor.epoch, cursor.row, [source.name for source in cursor.sources]


@pytest.mark.parametrize("sources", [[A], [B], [B, A]], ids=str)
def test_first_pass_starts_at_the_marks(sources):
    cursor = build_cursor(A, redeliveries=Redeliveries({("p",): 7}))

    resumed = cursor.resume([FakeSource(source) for source in sources], again=False, passes=1)

    assert resumed.begins_at_marks
    assert get_position(resumed) == (0, 0, [source.name for source in sources])
    assert resumed.offsets == {("p",): 7}


@pytest.mark.parametrize(
    ("sources", "passes", "expected"),
    [
        ([FakeSource(A), FakeSource(B)], 3, (1, 5, ["a.csv", "b.csv"])),
        ([FakeSource(A, has_grown=True), FakeSource(B)], 3, (1, 5, ["a.csv", "b.csv"])),
        ([FakeSource(A), FakeSource(B)], 1, (1, 5, ["a.csv", "b.csv"])),
        ([FakeSource(A, has_grown=True), FakeSource(B)], 1, (0, 0, ["a.csv", "b.csv"])),
        ([FakeSource(B), FakeSource(A)], 3, (0, 0, ["b.csv", "a.csv"])),
        ([FakeSource(A)], 3, (0, 0, ["a.csv"])),
        ([FakeSource(A), FakeSource(B), FakeSource(A)], 3, (0, 0, ["a.csv", "b.csv", "a.csv"])),
    ],
    ids=["same", "grown", "no pass left", "grown, no pass left", "reordered", "fewer", "more"],
)
def test_later_pass_resumes_only_with_the_same_files(sources, passes, expected):
    cursor = build_cursor(A, B, epoch=1)

    assert get_position(cursor.resume(sources, again=False, passes=passes)) == expected


def test_rows_of_a_pipe_are_counted_across_runs():
    resumed = build_cursor(STDIN).resume([FakeSource(STDIN)], again=False, passes=1)
    started = build_cursor(A).resume([FakeSource(STDIN)], again=False, passes=1)

    assert get_position(resumed) == (0, 5, ["stdin"])
    assert get_position(started) == (0, 0, ["stdin"])


@pytest.mark.parametrize("finished", [False, True])
def test_run_with_again_resumes_until_it_is_finished(finished):
    unread = Fingerprint.of_unread("b.csv")
    cursor = build_cursor(A, unread, is_again=True, finished=finished)

    resumed = cursor.resume([FakeSource(A), FakeSource(B)], again=True, passes=1)
    run_without_again = cursor.resume([FakeSource(A), FakeSource(B)], again=False, passes=1)

    assert (resumed.is_again, resumed.row) == (True, 0 if finished else 5)
    assert (run_without_again.is_again, run_without_again.row) == (False, 0)


@pytest.mark.parametrize(
    "cursor", [build_cursor(A, at_random=True), build_cursor(A, shards=Shards(2, 5, 3))]
)
def test_unordered_run_resumes_with_the_same_options(cursor):
    options = DEFAULT_OPTIONS | {"at_random": cursor.at_random, "shards": cursor.shards}

    assert cursor.resume_unordered([replace(A, name="moved.csv")], **options).row == 5
    assert cursor.resume_unordered([A], **options | {"again": True}).row == 0
    assert cursor.resume_unordered([B], **options).row == 0
    assert replace(cursor, finished=True).resume_unordered([A, B], **options).row == 0


@pytest.mark.parametrize(
    ("cursor", "sources", "options", "reason"),
    [
        (
            build_cursor(A, at_random=True),
            [A, B],
            {"at_random": True},
            "up to row 5, .*reads other files",
        ),
        (
            build_cursor(A, at_random=True),
            [A],
            {"shards": Shards(2, 5)},
            "reads them in 2 shards in rounds",
        ),
        (
            build_cursor(A, shards=Shards(2, 5, 3)),
            [A],
            {"shards": Shards(4, 5)},
            "up to round 3, with",
        ),
        (
            build_cursor(A, shards=Shards(2, 5, 3)),
            [B, A],
            {"shards": Shards(2, 5)},
            "reads other files",
        ),
    ],
    ids=["more files", "shards instead of random draws", "more shards", "reordered"],
)
def test_unfinished_unordered_run_only_resumes_with_the_same_options(
    cursor, sources, options, reason
):
    with pytest.raises(CheckpointError, match=f"^a.csv was learned only .*{reason}.*: --again$"):
        cursor.resume_unordered(sources, **DEFAULT_OPTIONS | options)
    with pytest.raises(CheckpointError, match="reads them in order; .*: --again$"):
        cursor.resume([FakeSource(A)], again=False, passes=1)
    assert cursor.resume([FakeSource(B)], again=False, passes=1).row == 0
    assert cursor.resume([FakeSource(A)], again=True, passes=1).row == 0


def build_batch(offsets, redelivered):
    """Return a fake batch with the fields that a cursor reads."""

    class FakeBatch(SimpleNamespace):
        def __len__(self):
            return len(offsets)

    return FakeBatch(offsets=offsets, redelivered=redelivered, rejected={}, ends=None)


@pytest.mark.parametrize("is_stream", [False, True])
def test_splitting_batches_does_not_change_the_cursor(is_stream, rng):
    for _ in range(50):
        n = int(rng.integers(1, 30))
        offsets = [
            None if rng.random() < 0.1 else Offset((int(rng.integers(3)),), int(rng.integers(99)))
            for _ in range(n)
        ]
        redelivered = np.array(list(map(Redeliveries().update, offsets)))
        whole_cursor, split_cursor = Cursor(), Cursor()
        n_counted = whole_cursor.move(build_batch(offsets, redelivered), is_stream)
        boundaries = [0, *sorted(rng.integers(0, n + 1, 3).tolist()), n]
        for start, end in pairwise(boundaries):
            split_cursor.move(build_batch(offsets[start:end], redelivered[start:end]), is_stream)

        assert whole_cursor == split_cursor
        assert n_counted == whole_cursor.row == (np.count_nonzero(~redelivered) if is_stream else n)
        for key, highest in whole_cursor.offsets.items():
            offset_values = [
                offset.value for offset in offsets if offset is not None and offset.key == key
            ]
            assert max(offset_values) == highest


def test_stopped_run_is_finished_when_it_is_started_again():
    stopped = build_cursor(A, stopped_below=0.1)
    for epsilon, stop, finished in ((0.1, True, True), (0.2, True, False), (0.1, False, False)):
        copied_cursor = stopped.copy_for_run(epsilon, stop)

        assert (copied_cursor.finished, copied_cursor.stopped_below) == (
            finished,
            0.1 if finished else None,
        )
        copied_cursor.sources.append(B)
        copied_cursor.offsets[("p",)] = 1
    assert build_cursor(A, stopped_below=0.1) == stopped
