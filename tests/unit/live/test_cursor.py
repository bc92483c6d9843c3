"""A cursor resumes in its own sources, and begins others anew."""

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
WAYS = {"at_random": False, "shards": None, "again": False}


class File:
    """A source with a known identity, which may have grown."""

    def __init__(self, fingerprint, has_grown=False):
        self.name, self.is_stream = fingerprint.name, fingerprint.is_stream
        self._fingerprint, self._has_grown = fingerprint, has_grown

    def find_matching(self, fingerprints):
        return [fingerprint for fingerprint in fingerprints if fingerprint == self._fingerprint]

    def has_grown(self, known_fingerprint):
        return self._has_grown


def at(*sources, **place):
    return Cursor(list(sources), **({"finished": False, "row": 5, "read": 5} | place))


def place_of(cursor):
    return cursor.epoch, cursor.row, [source.name for source in cursor.sources]


@pytest.mark.parametrize("sources", [[A], [B], [B, A]], ids=str)
def test_a_first_pass_begins_at_the_marks(sources):
    cursor = at(A, redeliveries=Redeliveries({("p",): 7}))

    new = cursor.resume([File(source) for source in sources], again=False, passes=1)

    assert new.begins_at_marks
    assert place_of(new) == (0, 0, [source.name for source in sources])
    assert new.offsets == {("p",): 7}


@pytest.mark.parametrize(
    ("sources", "passes", "expected"),
    [
        ([File(A), File(B)], 3, (1, 5, ["a.csv", "b.csv"])),
        ([File(A, has_grown=True), File(B)], 3, (1, 5, ["a.csv", "b.csv"])),
        ([File(A), File(B)], 1, (1, 5, ["a.csv", "b.csv"])),
        ([File(A, has_grown=True), File(B)], 1, (0, 0, ["a.csv", "b.csv"])),
        ([File(B), File(A)], 3, (0, 0, ["b.csv", "a.csv"])),
        ([File(A)], 3, (0, 0, ["a.csv"])),
        ([File(A), File(B), File(A)], 3, (0, 0, ["a.csv", "b.csv", "a.csv"])),
    ],
    ids=["same", "grown", "no pass left", "grown, no pass left", "reordered", "fewer", "more"],
)
def test_a_further_pass_resumes_with_the_same_files(sources, passes, expected):
    cursor = at(A, B, epoch=1)

    assert place_of(cursor.resume(sources, again=False, passes=passes)) == expected


def test_rows_of_a_pipe_are_counted_over_all_runs():
    assert place_of(at(STDIN).resume([File(STDIN)], again=False, passes=1)) == (0, 5, ["stdin"])
    assert place_of(at(A).resume([File(STDIN)], again=False, passes=1)) == (0, 0, ["stdin"])


@pytest.mark.parametrize("finished", [False, True])
def test_learning_again_resumes_until_it_is_finished(finished):
    unread = Fingerprint.of_unread("b.csv")
    cursor = at(A, unread, is_again=True, finished=finished)

    resumed = cursor.resume([File(A), File(B)], again=True, passes=1)
    without = cursor.resume([File(A), File(B)], again=False, passes=1)

    assert (resumed.is_again, resumed.row) == (True, 0 if finished else 5)
    assert (without.is_again, without.row) == (False, 0)


@pytest.mark.parametrize("cursor", [at(A, at_random=True), at(A, shards=Shards(2, 5, 3))])
def test_whole_files_resume_in_the_same_way(cursor):
    way = WAYS | {"at_random": cursor.at_random, "shards": cursor.shards}

    assert cursor.resume_unordered([replace(A, name="moved.csv")], **way).row == 5
    assert cursor.resume_unordered([A], **way | {"again": True}).row == 0
    assert cursor.resume_unordered([B], **way).row == 0
    assert replace(cursor, finished=True).resume_unordered([A, B], **way).row == 0


@pytest.mark.parametrize(
    ("cursor", "sources", "way", "reason"),
    [
        (at(A, at_random=True), [A, B], {"at_random": True}, "up to row 5, .*has other files"),
        (at(A, at_random=True), [A], {"shards": Shards(2, 5)}, "reads them in 2 shards by rounds"),
        (at(A, shards=Shards(2, 5, 3)), [A], {"shards": Shards(4, 5)}, "up to round 3, with"),
        (at(A, shards=Shards(2, 5, 3)), [B, A], {"shards": Shards(2, 5)}, "has other files"),
    ],
    ids=["more files", "another way", "more shards", "other order"],
)
def test_an_unfinished_run_over_whole_files_is_not_left_for_a_part_of_them(
    cursor, sources, way, reason
):
    with pytest.raises(CheckpointError, match=f"^a.csv was learned only .*{reason}.*: --again$"):
        cursor.resume_unordered(sources, **WAYS | way)
    with pytest.raises(CheckpointError, match="reads them in order; .*: --again$"):
        cursor.resume([File(A)], again=False, passes=1)
    assert cursor.resume([File(B)], again=False, passes=1).row == 0
    assert cursor.resume([File(A)], again=True, passes=1).row == 0


def part(offsets, redelivered):
    """Return the parts of a batch that a cursor reads."""

    class Part(SimpleNamespace):
        def __len__(self):
            return len(offsets)

    return Part(offsets=offsets, redelivered=redelivered, rejected={}, ends=None)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_cursor_moves_alike_in_whatever_pieces(is_stream, rng):
    for _ in range(50):
        n = int(rng.integers(1, 30))
        offsets = [
            None if rng.random() < 0.1 else Offset((int(rng.integers(3)),), int(rng.integers(99)))
            for _ in range(n)
        ]
        redelivered = np.array(list(map(Redeliveries().update, offsets)))
        whole, pieces = Cursor(), Cursor()
        counted = whole.move(part(offsets, redelivered), is_stream)
        cuts = [0, *sorted(rng.integers(0, n + 1, 3).tolist()), n]
        for start, end in pairwise(cuts):
            pieces.move(part(offsets[start:end], redelivered[start:end]), is_stream)

        assert whole == pieces
        assert counted == whole.row == (np.count_nonzero(~redelivered) if is_stream else n)
        for key, highest in whole.offsets.items():
            there = [each.value for each in offsets if each is not None and each.key == key]
            assert max(there) == highest


def test_a_run_that_had_stopped_is_over_before_it_begins():
    stopped = at(A, stopped_below=0.1)
    for epsilon, stop, finished in ((0.1, True, True), (0.2, True, False), (0.1, False, False)):
        here = stopped.copy_for_run(epsilon, stop)

        assert (here.finished, here.stopped_below) == (finished, 0.1 if finished else None)
        here.sources.append(B)
        here.offsets[("p",)] = 1
    assert at(A, stopped_below=0.1) == stopped


def test_a_cursor_that_no_run_can_leave_is_refused():
    for cursor, position, why in (
        (Cursor([A], index=2), (), "lies beyond its sources"),
        (
            Cursor([A], redeliveries=Redeliveries({("p",): 1})),
            ("offset",),
            "do not fit the position columns",
        ),
    ):
        with pytest.raises(CheckpointError, match=why):
            cursor.require_consistent(position)
    Cursor([A], index=1, redeliveries=Redeliveries({("p",): 1})).require_consistent(
        ("part", "offset")
    )
