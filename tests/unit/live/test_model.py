"""Live models, compared with loops over single samples."""

from __future__ import annotations

import itertools
import shutil
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import write_parquet
from river import evaluate, metrics

from stream_perceptron import DivergedError, SampleError, SGDPerceptron, SourceError, stream
from stream_perceptron.data import open_source
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.draws import RandomDraws
from stream_perceptron.data.position import FilePosition
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.model import LiveModel


def start(*paths, classes=None, read_options=None, **parameters):
    sources = [ParquetSource(str(path)) for path in paths]
    return LiveModel.start(
        sources, read_options or ReadOptions(), classes, seed=0, **parameters
    ), sources


def run_to_end(live, sources, **options):
    return list(live.run(sources, **options))


@pytest.fixture
def points(tmp_path, rng):
    """2,500 points of three classes in the plane, every tenth unlabeled."""
    X = rng.normal(size=(2500, 2))
    y = ["left" if a < -0.3 else "right" if a > 0.3 else "middle" for a in X[:, 0]]
    y = [None if i % 10 == 0 else label for i, label in enumerate(y)]
    return write_parquet(tmp_path / "points.parquet", {"a": X[:, 0], "b": X[:, 1], "label": y})


@pytest.mark.parametrize("classes", [None, "declared"])
@pytest.mark.parametrize("limit", [5000, 4321])
def test_accuracy_equals_river_progressive_validation(mnist_files, classes, limit):
    """Both agree on the first rows of MNIST, with and without declared classes."""
    path = mnist_files["train"]
    live, sources = start(path)
    if classes is None:
        live = LiveModel(SGDPerceptron(seed=0))
    run_to_end(live, sources, limit=limit)
    model = SGDPerceptron(classes=None if classes is None else range(10), seed=0)
    metric = evaluate.progressive_val_score(
        itertools.islice(stream.iter_parquet(path), limit), model, metrics.Accuracy()
    )

    assert live.progress.accuracy == metric.get()
    assert live.model.weights.tobytes() == model.weights.tobytes()
    assert (live.progress.samples, live.progress.rows) == (limit, limit)


def test_progress_equals_that_of_a_loop_over_samples(points):
    live, sources = start(points, lr=0.5, epsilon=0.05)
    run_to_end(live, sources)
    model = SGDPerceptron(0.5, 0.05, seed=0)
    hits, confusion, error_sum, unlabeled = [], metrics.ConfusionMatrix(), 0.0, 0
    for x, y in stream.iter_parquet(points):
        if y is None:
            unlabeled += 1
            continue
        predicted = model.predict_one(x)
        if predicted is not None:
            hits.append(predicted == y)
            confusion.update(y, predicted)
        model.learn_one(x, y)
        error_sum += model.last_error
    progress = live.progress
    names = model.classes_

    assert (progress.samples, progress.unlabeled, progress.skipped) == (2250, 250, 0)
    assert sum(hits) / len(hits) == progress.accuracy
    assert progress.window_accuracy == sum(hits[-1000:]) / 1000
    assert progress.mean_error == error_sum / 2250
    assert model.n_updates / 2250 == progress.updated_share < 1
    assert [[confusion[a][b] for b in names] for a in names] == progress.confusion.matrix(
        range(3)
    ).tolist()
    assert live.model.weights.tobytes() == model.weights.tobytes()


def test_each_row_is_predicted_by_the_model_before_it(points):
    """Unlabeled rows are predicted in order, too."""
    live, sources = start(points, lr=0.5)
    steps = run_to_end(live, sources, with_scores=True)
    model = SGDPerceptron(0.5, seed=0)
    rows = np.concatenate([step.rows for step in steps]).tolist()
    predictions = [label for step in steps for label in step.predictions]
    scores = np.concatenate([step.scores for step in steps]).tolist()
    expected = []
    for x, y in stream.iter_parquet(points):
        all_scores = model.predict_proba_one(x)
        expected.append(next(iter(all_scores.items()), (None, None)))
        if y is not None:
            model.learn_one(x, y)

    assert rows == list(range(1, 2501))
    assert [label for label, _ in expected] == predictions
    np.testing.assert_allclose(
        scores, [np.nan if p is None else p for _, p in expected], rtol=1e-12
    )


def test_row_group_size_does_not_matter(points, tmp_path):
    table = pq.read_table(points)
    live, sources = start(points, lr=0.5)
    run_to_end(live, sources)
    for size in (1, 17, 1001):
        pq.write_table(table, tmp_path / "other.parquet", row_group_size=size)
        other, sources = start(tmp_path / "other.parquet", lr=0.5)
        run_to_end(other, sources)

        assert live.model.weights.tobytes() == other.model.weights.tobytes()
        assert live.progress.error_sum == other.progress.error_sum


def test_several_files_and_passes_form_one_stream(points, tmp_path):
    table = pq.read_table(points)
    parts = [tmp_path / "1.parquet", tmp_path / "2.parquet", tmp_path / "3.parquet"]
    for path, (first, n) in zip(parts, [(0, 700), (700, 0), (700, 1800)], strict=True):
        pq.write_table(table.slice(first, n), path)
    whole, sources = start(points, shutil.copy(points, tmp_path / "copy.parquet"))
    run_to_end(whole, sources)
    live, sources = start(*parts)
    run_to_end(live, sources, passes=2)

    assert live.progress.rows == 5000
    assert live.model.weights.tobytes() == whole.model.weights.tobytes()


def test_limit_counts_rows_across_files_and_passes(points, tmp_path):
    live, sources = start(points, shutil.copy(points, tmp_path / "copy.parquet"))
    run_to_end(live, sources, passes=3, limit=7001)

    assert live.progress.rows == 7001


def test_random_draws_are_reproducible_and_with_replacement(points):
    """Draw t is row floor(u_t n)."""
    n, table = 2500, pq.read_table(points)
    uniform = np.random.Generator(np.random.PCG64(3)).random(4 * n)
    expected = table["a"].to_numpy()[(uniform * n).astype(int)].tolist()
    draws = RandomDraws([ParquetSource(str(points))], seed=3)
    for start_row in (0, 1234, 2 * n):
        position = FilePosition("draws", rows=start_row)
        batches = draws.batches(Request(position=position))
        drawn = [x["a"] for batch in islice(batches, 4) for x in batch.features.dicts()]

        assert len(drawn) > 2000
        assert drawn == expected[start_row : start_row + len(drawn)]


def test_random_draws_end_at_the_stop(mnist_files):
    """With epsilon 0.01 and lr 0.05, runs stop early, at a low accuracy."""
    live, sources = start(mnist_files["train"], lr=0.05, epsilon=0.01)
    steps = run_to_end(live, [RandomDraws(sources, 0)], passes=None, stop=True)
    rows = [row for step in steps for row in step.rows.tolist()]

    assert live.stopped
    assert 200 < live.progress.samples < 2000
    assert live.progress.samples == live.progress.updates + 1 == rows[-1]
    assert live.model.last_error < 0.01


def test_rows_after_the_stop_are_not_read(tmp_path):
    """An invalid row after the stop is neither reported nor counted."""
    columns = {"x": [1.0] * 50 + [float("nan")] + [1.0] * 50, "y": ["a"] * 101}
    live, sources = start(write_parquet(tmp_path / "f.parquet", columns), lr=1.0, epsilon=0.05)
    run_to_end(live, sources, stop=True)

    assert live.stopped
    assert live.progress.rows == live.progress.samples < 50


@pytest.mark.parametrize("bad", [0, 3, 999, 1000, 2049])
def test_rejected_row_ends_the_run_after_the_row_before_it(bad, tmp_path, rng):
    x, y = rng.normal(size=2050), rng.choice(["a", "b"], 2050)
    values = x.tolist()
    values[bad] = float("nan")
    path = write_parquet(tmp_path / "bad.parquet", {"x": values, "y": y})
    live, sources = start(path)
    steps = []
    with pytest.raises(SampleError, match=f"bad.parquet: row {bad + 1}: column 'x' is nan"):
        steps.extend(live.run(sources))
    expected, sources = start(write_parquet(tmp_path / "good.parquet", {"x": x, "y": y}))
    run_to_end(expected, sources, limit=bad) if bad else None

    assert live.model.weights.tobytes() == expected.model.weights.tobytes()
    assert live.progress.confusion.pairs.tolist() == expected.progress.confusion.pairs.tolist()
    assert live.progress.rows == bad


def test_skipped_rows_do_not_affect_the_weights(tmp_path, rng):
    x, y = rng.normal(size=3000), rng.choice(["a", "b"], 3000)
    bad = rng.random(3000) < 0.3
    mixed = write_parquet(
        tmp_path / "mixed.parquet", {"x": np.where(bad, np.nan, x), "y": y}, row_group_size=77
    )
    live, sources = start(mixed)
    steps = run_to_end(live, sources, skip_rejected=True)
    expected, sources = start(
        write_parquet(tmp_path / "good.parquet", {"x": x[~bad], "y": y[~bad]})
    )
    run_to_end(expected, sources)
    skipped = [str(rejection) for step in steps for rejection in step.rejected]

    assert live.model.weights.tobytes() == expected.model.weights.tobytes()
    assert (live.progress.skipped, live.progress.rows) == (bad.sum(), 3000)
    assert skipped == [
        f"{mixed}: row {i + 1}: column 'x' is nan, not finite" for i in np.flatnonzero(bad)
    ]
    assert [r for step in steps for r in step.rows.tolist()] == (np.flatnonzero(~bad) + 1).tolist()


def test_divergence_names_the_row_and_keeps_the_model_before_it(tmp_path):
    x = [1.0] * 1500 + [1e200] + [1.0] * 10
    path = write_parquet(tmp_path / "f.parquet", {"x": x, "y": ["a", "b", "c"] * 503 + ["a", "b"]})
    live, sources = start(path, activation="identity")
    with pytest.raises(DivergedError, match="f.parquet: row 1501: diverged at sample 1,501"):
        run_to_end(live, sources)

    assert live.progress.samples == live.model.n_seen == 1500
    assert np.isfinite(live.model.weights).all()


@pytest.mark.parametrize(
    ("text", "label_type", "label"), [("7", "int", 7), ("7", "str", "7"), ("True", "bool", True)]
)
def test_declared_classes_are_parsed_as_the_label_type(text, label_type, label):
    assert [label] == Schema(label_type=label_type).parse_classes([text])[0]
    for bad_type in ("int", "bool"):
        with pytest.raises(ValueError, match="but the labels are"):
            Schema(label_type=bad_type).parse_classes(["seven"])


def test_unreadable_parquet_file_is_an_error_when_opened(points, tmp_path):
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("label,pixel0\n1,2\n")
    whole = points.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    for name, reason in {
        "missing.parquet": "No such file",
        "": "Is a directory",
        "empty.parquet": "is empty",
        "text.parquet": "not a Parquet file",
        "cut.parquet": "not a Parquet file, or truncated",
    }.items():
        with pytest.raises(SourceError, match=reason) as caught:
            ParquetSource(str(tmp_path / name))
        assert str(caught.value).startswith(str(tmp_path / name).rstrip("/"))
        assert "\n" not in str(caught.value)


def test_damaged_row_group_is_reported_after_the_rows_before_it(mnist_files, tmp_path):
    data = bytearray(mnist_files["test"].read_bytes())
    data[len(data) * 2 // 3] ^= 0xFF
    data[len(data) * 2 // 3 + 1] ^= 0xFF
    path = tmp_path / "damaged.parquet"
    table = pq.read_table(mnist_files["test"])
    pq.write_table(table, path, row_group_size=2000, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    offset = pq.read_metadata(path).row_group(3).column(0).data_page_offset
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    live, sources = start(path)

    with pytest.raises(SourceError, match="damaged.parquet: damaged after row 6,000"):
        run_to_end(live, sources)
    assert live.progress.rows == 6000


def test_uri_is_read_through_pyarrow(points):
    assert ParquetSource(points.as_uri()).n_rows == 2500
    with pytest.raises(SourceError, match="nowhere"):
        ParquetSource("nowhere://bucket/file.parquet")


def test_new_progress_is_all_zero():
    progress = Progress()

    assert (
        progress.accuracy,
        progress.window_accuracy,
        progress.mean_error,
        progress.updated_share,
    ) == (None, 0, 0, 0)


def test_sample_error_keeps_the_model(tmp_path):
    """The rows before the rejected row stay learned."""
    path = tmp_path / "source.csv"
    path.write_text("label,a\nleft,1\nright,x\n")
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions())
    with pytest.raises(SampleError, match="row 2: column 'a' is 'x', not a number"):
        list(live.run(sources))

    assert live.progress.samples == live.history.run.read == 1
