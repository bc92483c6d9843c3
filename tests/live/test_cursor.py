"""A cursor continues in its own sources, and begins others only when allowed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from stream_perceptron import CheckpointError
from stream_perceptron.data.batch import Offset, Redeliveries
from stream_perceptron.data.identity import Identity
from stream_perceptron.live.cursor import Cursor, Shards

A, B = Identity("a.csv", 10, "1a"), Identity("b.csv", 20, "2b")
STDIN = Identity.of_stream("stdin")


def at(*sources, **place):
    return Cursor(list(sources), **({"finished": False, "row": 5, "read": 5} | place))


def resumed(cursor, *sources, **how):
    return cursor.resumed(sources, sources, **({"at_random": False} | how))


@pytest.mark.parametrize("finished", [False, True])
def test_the_sources_of_before_go_on_also_with_others_behind_them(finished):
    renamed = replace(A, name="elsewhere.csv")
    for sources in ([A], [A, B], [renamed]):
        here = resumed(at(A, finished=finished), *sources)

        assert (5, 5, sources) == (here.row, here.read, here.sources)
    assert 5 == resumed(at(STDIN), STDIN).row


def test_others_are_begun_when_those_of_before_are_done():
    offsets = {("p",): 7}
    for cursor, how in (
        (at(A, finished=True), {}),
        (at(A), {"go_next": True}),
        (at(STDIN), {}),  # the rest of stdin is lost
        (Cursor(), {}),
    ):
        here = resumed(replace(cursor, redeliveries=Redeliveries(offsets)), B, **how)

        assert (0, 0, [B], offsets) == (here.row, here.read, here.sources, here.offsets)


@pytest.mark.parametrize(
    ("cursor", "sources", "how", "why"),
    [
        (at(A), [B], {}, "b.csv is another source"),
        (at(A, B), [A], {}, "b.csv is missing"),
        (at(A, B), [B, A], {}, "source 1 is b.csv, not a.csv"),
        (at(A), [replace(A, size=12, digest="3c")], {}, "from 10 to 12 bytes"),
        (at(A), [replace(A, digest="3c")], {}, "content has changed"),
        (at(A), [replace(A, size=0, digest="3c")], {}, "changed in its first 10 bytes"),
        (at(A), [A], {"at_random": True}, "were read in order, now at random"),
        (at(A, at_random=True), [A, B], {"at_random": True}, "there are more files"),
        (at(A), [A], {"shards": Shards(2, 5)}, "now in 2 shards by rounds of 5 rows"),
        (at(A, shards=Shards(2, 5, 3)), [A], {"shards": Shards(4, 5)}, "only up to round 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_done_says_why_it_cannot_go_on(cursor, sources, how, why):
    with pytest.raises(CheckpointError, match=why) as error:
        resumed(cursor, *sources, **how)

    assert str(error.value).endswith("; --next leaves the rest out")
    assert [] == resumed(cursor, *sources, go_next=True, **how).sources[len(sources) :]


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
        here = stopped.begun(epsilon, stop)

        assert (finished, 0.1 if finished else None) == (here.finished, here.stopped_below)
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
            cursor.require_fit(position)
    Cursor([A], index=1, redeliveries=Redeliveries({("p",): 1})).require_fit(("part", "offset"))
