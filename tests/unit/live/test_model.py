"""Live models, compared with loops over single samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl, write_parquet
from river import metrics

from stream_perceptron import SGDPerceptron, SourceError, StreamPerceptronError, stream
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.loop import learn
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


def test_rows_read_for_another_model_are_refused(tmp_path):
    """Otherwise, their numbers would stand for other names."""
    rows = [{"a": 1.0, "label": "x"}, {"b": 2.0, "label": "y"}, {"c": 1.0, "label": "z"}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    (live, (source,)), (other, _) = start_live(path), start_live(path)
    batches = source.batches(live.build_request())
    batches.max_rows = 2
    first, second = (batch for batch in batches if batch is not None)
    refusal = "these rows were read for a model with 2 labels and 2 features, but this model has"
    with pytest.raises(StreamPerceptronError, match=f"{refusal} 0 and 0: read them for this"):
        other.step(second)
    assert (other.model.n_seen, other.is_consistent) == (0, True)

    live.step(first)
    live.save(tmp_path / "m.npz")
    loaded = LiveModel.load(tmp_path / "m.npz")
    with pytest.raises(StreamPerceptronError, match="a model with 0 labels and 0 features"):
        loaded.step(first)
    live.model.learn_one({"d": 1.0}, "x")
    with pytest.raises(StreamPerceptronError, match=f"{refusal} 2 and 3"):
        live.step(second)
    assert loaded.step(second).failure is None
    assert loaded.model.features_ == ["a", "b", "c"]
