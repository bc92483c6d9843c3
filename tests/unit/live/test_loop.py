"""The loop over rows, compared with loops over single samples."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl, write_parquet
from river import metrics

from stream_perceptron import SampleError, SGDPerceptron, SourceError, stream
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.loop import learn, predict
from stream_perceptron.live.model import LiveModel


def start_live(*paths, **parameters):
    sources = [open_source(str(path)) for path in paths]
    return LiveModel.start(sources, ReadOptions(standardize=False), seed=0, **parameters), sources


@pytest.fixture
def points(tmp_path, rng):
    """2,500 points of three classes in the plane, every tenth unlabeled."""
    X = rng.normal(size=(2500, 2))
    y = ["left" if a < -0.3 else "right" if a > 0.3 else "middle" for a in X[:, 0]]
    y = [None if i % 10 == 0 else label for i, label in enumerate(y)]
    return write_parquet(tmp_path / "points.parquet", {"a": X[:, 0], "b": X[:, 1], "label": y})


def test_run_equals_a_loop_over_samples(points):
    """Unlabeled rows are predicted in order, too."""
    live, sources = start_live(points, lr=0.5, epsilon=0.05)
    steps = list(learn(live, sources, with_scores=True))
    model, confusion = SGDPerceptron(0.5, 0.05, seed=0), metrics.ConfusionMatrix()
    expected, labels, hits, error_sum = [], [], [], 0.0
    for x, y in stream.iter_parquet(points):
        expected.append(next(iter(model.predict_proba_one(x).items()), (None, np.nan)))
        if y is None:
            continue
        if labels:
            hits.append(expected[-1][0] == y)
            confusion.update(y, expected[-1][0])
        labels.append(y)
        model.learn_one(x, y)
        error_sum += model.last_error
    progress, names = live.progress, model.classes_
    matrix = [[confusion[a][b] for b in names] for a in names]

    assert (progress.samples, progress.unlabeled, progress.skipped) == (2250, 250, 0)
    assert sum(hits) / len(hits) == progress.accuracy
    assert progress.window_accuracy == sum(hits[-1000:]) / 1000
    assert progress.mean_error == error_sum / 2250
    assert model.n_updates / 2250 == progress.updated_share < 1
    assert matrix == progress.confusion.matrix(range(3)).tolist()
    assert progress.n_repeated_labels == sum(a == b for a, b in pairwise(labels))
    assert live.model.weights.tobytes() == model.weights.tobytes()
    assert np.concatenate([step.rows for step in steps]).tolist() == list(range(1, 2501))
    assert [p for step in steps for p in step.predictions] == [p for p, _ in expected]
    scores = np.concatenate([step.scores for step in steps])
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-12)


def test_damaged_row_group_is_reported_after_the_rows_before_it(points, tmp_path):
    path, table = tmp_path / "damaged.parquet", pq.read_table(points)
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    offset = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    live, sources = start_live(path)

    with pytest.raises(SourceError, match="damaged.parquet: damaged after row 2,000"):
        list(learn(live, sources))
    assert live.progress.rows == 2000


def test_run_stops_at_the_first_small_error_and_stays_stopped(points):
    live, sources = start_live(points, lr=0.5, epsilon=0.05)
    steps = list(learn(live, sources, stop=True))
    n_rows = live.progress.rows

    assert [step.stopped for step in steps] == [False] * (len(steps) - 1) + [True]
    assert live.model.last_error < 0.05
    assert 0 < n_rows < 2500
    assert list(learn(live, sources, stop=True)) == []
    list(learn(live, sources))
    assert live.progress.rows == 2500


@pytest.mark.parametrize("skip_rejected", [False, True])
@pytest.mark.parametrize("to_learn", [False, True])
def test_rows_before_a_rejected_one_are_used(to_learn, skip_rejected, tmp_path):
    rows = [{"a": i, "label": "xy"[i % 2]} for i in range(4)]
    live, sources = start_live(write_jsonl(tmp_path / "good.jsonl", rows))
    list(learn(live, sources))
    source = open_source(
        str(
            write_jsonl(
                tmp_path / "bad.jsonl", [rows[0], {"a": float("inf"), "label": "x"}, rows[1]]
            )
        )
    )
    loop = (
        learn(live, [source], skip_rejected=skip_rejected)
        if to_learn
        else predict(live, source, skip_rejected=skip_rejected)
    )
    n_used = 0
    with nullcontext() if skip_rejected else pytest.raises(SampleError, match="row 2"):
        for step in loop:
            n_used += len(step.rows)

    assert n_used == (2 if skip_rejected else 1)
    assert live.progress.samples == 4 + n_used * to_learn


def test_late_labels_need_a_single_pass(points):
    sources = [open_source(str(points))]
    live = LiveModel.start(sources, ReadOptions(label="label", join="a"), seed=0)
    for options in ({"stop": True}, {"passes": 2}, {"passes": None}):
        with pytest.raises(ValueError, match="late labels need a single pass"):
            next(learn(live, sources, **options))
