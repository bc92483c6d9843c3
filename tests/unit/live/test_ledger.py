"""Model, progress, cursor and lineage are saved consistently, or not at all."""

from __future__ import annotations

import gc
import inspect
import itertools
import sys
from contextlib import suppress

import pytest
from helpers import CASE_FACTOR, capture_state

from stream_perceptron import CheckpointError, LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions

ROWS = "a,b,t,label\n" + "1,2,u,x\n2,1,v,y\n" + "3,1,w,z\n,5,u,\n4,2,v,x\nbad,1,u,x\n1,1,q,n\n"


class BrokenStepError(Exception):
    """Raised within a step."""


def interrupt_next_result(results, error, n):
    """Get the next result, raising an error at the n-th call; return whether it was reached."""
    n_calls_left = n

    def count(frame, event, arg):
        nonlocal n_calls_left
        # Errors raised while a generator closes are lost.
        if event in ("call", "c_call") and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            n_calls_left -= 1
            if n_calls_left == 0:
                sys.setprofile(None)
                raise error

    gc.collect()
    gc.disable()  # otherwise finalizers of earlier readers would be interrupted
    sys.setprofile(count)
    try:
        next(results)
    finally:
        sys.setprofile(None)
        gc.enable()
    return n_calls_left <= 0


def has_consistent_state(live):
    """Whether model, progress, cursor and lineage agree on the number of rows."""
    rows = live.progress.rows
    ends = [entry.end for entry in live.lineage.entries]
    return (
        live.model.n_seen == live.progress.samples
        and [live.cursor.read, live.cursor.row] == [rows, rows]
        and ends == [rows]
    )


@pytest.fixture
def frozen_heap():
    """Speed up the many garbage collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize(
    ("error", "with_all_scores"), [(BrokenStepError, True), (MemoryError, False)]
)
def test_error_at_any_call_of_a_step_leaves_a_consistent_checkpoint(
    error, with_all_scores, tmp_path
):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text(ROWS)
    read_options = ReadOptions(standardize=True, one_hot=("t",))
    n_failed_saves = 0
    for n in itertools.count(1, step=max(1, 3 // CASE_FACTOR)):
        sources = [open_source(str(source))]
        live = LiveModel.start(sources, read_options, lr=0.1, seed=0)
        results = live.run(
            sources,
            live.resume(sources),
            skip_rejected=True,
            with_all_scores=with_all_scores,
            every=2,
        )
        next(results)
        live.save(path)
        checkpoint_before = path.read_bytes()
        has_ended = False
        with suppress(error):
            has_ended = not interrupt_next_result(results, error, n)
        if not live.ledger.is_consistent:
            with pytest.raises(
                CheckpointError, match="not saved, because an error interrupted a step"
            ):
                live.save(path)
            assert path.read_bytes() == checkpoint_before
            n_failed_saves += 1
        else:
            live.save(path)
            saved = LiveModel.load(path)
            assert has_consistent_state(saved), n
            assert capture_state(live.model) == capture_state(saved.model)
        results.close()
        if has_ended:
            break
    assert n_failed_saves > 20
    assert n > 100
