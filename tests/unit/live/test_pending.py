"""Samples that wait for their labels."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import CheckpointError
from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.live.pending import PendingSamples

SAMPLES = [f"{key},{i},{i}.5," for i, key in enumerate("pqrs", 1)]


def label(key):
    return f"{key},,,x"


@pytest.fixture
def join(tmp_path):
    """Join lines with pending samples, and commit them; return the batch."""

    def join_lines(pending, *lines, max_pending=100):
        path = tmp_path / "rows.csv"
        path.write_text("".join(f"{line}\n" for line in ("id,a,b,label", *lines)))
        options = ReadOptions(label="label", join="id", max_pending=max_pending)
        (batch,) = open_source(str(path)).batches(
            ReadRequest(options, labels=["x"], has_own_ids=True)
        )
        joined = pending.join(batch, options)
        pending.commit(joined, None)
        return joined

    return join_lines


def get_values(batch, row):
    return batch.values[batch.starts[row] : batch.starts[row + 1]].tolist()


@pytest.mark.parametrize("n", [2, 4])
def test_label_has_the_features_of_its_sample_from_this_batch_or_an_earlier_one(n, join):
    pending, lines = PendingSamples(), [*SAMPLES[:2], label("q"), label("p")]
    join(pending, *lines[:n])
    labels = join(pending, *lines[n:]) if n == 2 else join(PendingSamples(), *lines)

    assert [get_values(labels, len(labels) - i) for i in (2, 1)] == [[2.0, 2.5], [1.0, 1.5]]
    assert list(pending.samples) == []


@pytest.mark.parametrize("n_before", [0, 1, 2, 3])
def test_oldest_samples_are_removed_if_too_many_are_pending(n_before, join):
    """A label makes room first, and a removed sample has no label any more."""
    pending, lines = PendingSamples(), [*SAMPLES[:3], label("q"), SAMPLES[3]]
    for part in filter(None, (lines[:n_before], lines[n_before:])):
        join(pending, *part, max_pending=2)

    assert (list(pending.samples), pending.n_evicted) == (["r", "s"], 1)
    late = join(pending, label("p"))
    assert late.rejected[0].code == "not_pending"
    assert join(pending, SAMPLES[2]).rejected[0].code == "already_pending"


def test_sample_that_a_label_completes_is_not_removed_again(join):
    pending = PendingSamples()
    join(pending, *SAMPLES[:2], max_pending=2)
    join(pending, label("p"), *SAMPLES[2:], max_pending=2)

    assert (list(pending.samples), pending.n_evicted) == (["r", "s"], 1)


def restore(pending, change=None, max_pending=100):
    arrays = pending.arrays()
    if change is not None:
        name, value = change
        arrays[f"pending_{name}"] = np.array(value, arrays[f"pending_{name}"].dtype)
    restored = PendingSamples(ids=pending.ids, saved_names=pending.saved_names)
    restored.restore(arrays, max_pending, n_labels=2)
    return restored


def test_saved_samples_are_restored(join):
    pending = PendingSamples()
    join(pending, *SAMPLES[:3])
    restored = restore(pending)

    assert list(restored.samples) == ["p", "q", "r"]
    for sample, saved in zip(restored.samples.values(), pending.samples.values(), strict=True):
        assert sample.values.tolist() == saved.values.tolist()
        assert (sample.names, sample.weight, sample.predicted) == (saved.names, 1.0, -1)


FORGED = [
    ("starts", [0, 2, 5]), ("starts", [1, 2]), ("starts", [0, 2]), ("starts", [0, 4, 2]),
    ("feature_ids", [0, 1, 0, 2]), ("feature_ids", [-1, 1, 0, 1]), ("feature_ids", [0, 1, 0]),
    ("values", [0.0] * 3), ("weights", [1.0]), ("predicted", [2, 0]), ("predicted", [-2, 0]),
]  # fmt: skip


@pytest.mark.parametrize("change", FORGED, ids=str)
def test_inconsistent_samples_are_refused(change, join):
    pending = PendingSamples()
    join(pending, *SAMPLES[:2])
    with pytest.raises(CheckpointError, match="pending samples are inconsistent"):
        restore(pending, change)


def test_more_saved_samples_than_may_be_pending_are_refused(join):
    pending = PendingSamples()
    join(pending, *SAMPLES[:2])
    assert len(restore(pending, max_pending=2).samples) == 2
    with pytest.raises(CheckpointError, match="pending samples are inconsistent"):
        restore(pending, max_pending=1)
