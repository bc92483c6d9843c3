"""Ordinary tables: unscaled numbers, texts, nulls, quotes, and the label in any column."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, capture_state, encode_csv, encode_jsonl, split_into_chunks, write_jsonl
from river import compose, evaluate, metrics, preprocessing
from sklearn import datasets

from stream_perceptron import LiveModel, SGDPerceptron, Standardizer, load, save
from stream_perceptron.distributed.averaging import average_files

TABLES = ["iris", "wine", "breast_cancer", "digits"]
OPTIONS = ["--standardize", "--lr", "0.1"]


def load_rows(name):
    """Return the feature names of a data set, and its shuffled rows with their labels."""
    loaded = getattr(datasets, f"load_{name}")()
    order = np.random.default_rng(0).permutation(len(loaded.data))
    names = [str(feature_name) for feature_name in loaded.feature_names]
    X, y = loaded.data[order].tolist(), loaded.target[order].tolist()
    return names, [
        dict(zip(names, x, strict=True)) | {"target": t} for x, t in zip(X, y, strict=True)
    ]


def encode_rows(rows, form):
    if form == "json":
        return encode_jsonl(rows)
    if form in ("csv", "tsv"):
        cells = [[repr(value) if value == value else "" for value in row.values()] for row in rows]
        return encode_csv(cells, list(rows[0]), "," if form == "csv" else "\t")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def learn_file(run, path, source, *options, check=0):
    """Learn a file; return the model, or None if the run fails, and stderr."""
    result = run("learn", source, "-m", path, *options, check=check)
    return (LiveModel.load(path) if check == 0 else None), result.stderr


@pytest.fixture(scope="session")
def river_results():
    """The accuracy and the final pipeline of River's progressive evaluation, by table."""
    results = {}
    for name in TABLES:
        model = Standardizer() | SGDPerceptron(lr=0.1, seed=0)
        stream = [
            ({k: v for k, v in r.items() if k != "target"}, r["target"]) for r in load_rows(name)[1]
        ]
        metric = evaluate.progressive_val_score(stream, model, metrics.Accuracy())
        results[name] = metric.get(), model
    return results


@pytest.mark.parametrize("delivery", ["file", "7-byte chunks"])
@pytest.mark.parametrize("form", ["csv", "tsv", "json", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_standardized_tables_give_the_accuracy_and_weights_of_river(
    name, form, delivery, river_results, tmp_path
):
    data, path = encode_rows(load_rows(name)[1], form), tmp_path / "m.npz"
    command = [COMMAND, "learn", "-m", path, "--json", "--quiet", *OPTIONS]
    if delivery == "file":
        (tmp_path / "source").write_bytes(data)
        result = subprocess.run([*command, tmp_path / "source"], capture_output=True, check=True)
        shown = result.stdout
    else:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for chunk in split_into_chunks(data, "in shreds of 7 bytes"):
                process.stdin.write(chunk)
                process.stdin.flush()
            shown = process.communicate()[0]
        assert process.returncode == 0
    accuracy, pipeline = river_results[name]

    assert json.loads(shown)["accuracy"] == accuracy
    loaded, _ = load(path)
    assert list(loaded.steps) == ["Standardizer", "SGDPerceptron"]
    ours, theirs = loaded["SGDPerceptron"], pipeline["SGDPerceptron"]
    assert theirs.features_ == ours.features_
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=0, atol=1e-12)
    our_scaler, scaler = loaded["Standardizer"], pipeline["Standardizer"]
    assert dict(our_scaler.counts) == dict(scaler.counts)
    assert dict(our_scaler.means) == dict(scaler.means)
    assert dict(our_scaler.vars) == dict(scaler.vars)
    assert our_scaler.standardized == scaler.standardized


@pytest.mark.slow
def test_pipeline_saved_in_python_continues_on_the_command_line(tmp_path, run):
    """The pipeline is saved halfway, continued on the command line and loaded again."""
    names, rows = load_rows("iris")
    samples = [({n: row[n] for n in names}, row["target"]) for row in rows]
    pipeline = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    path = tmp_path / "m.npz"
    for x, y in samples[:70]:
        pipeline.learn_one(x, y)
    save(pipeline, path)
    source = tmp_path / "rest.csv"
    source.write_bytes(encode_rows(rows[70:], "csv"))
    before = path.read_bytes()
    predicted = run("predict", source, "-m", path, check=0).stdout
    evaluated = json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout)
    run("inspect", path, check=0)
    run("report", path, "-o", tmp_path / "r.html", check=0)
    assert path.read_bytes() == before
    predictions = [json.loads(line)["prediction"] for line in predicted.splitlines()]
    assert [pipeline.predict_one(x) for x, _ in samples[70:]] == predictions
    right = [a == y for a, (_, y) in zip(predictions, samples[70:], strict=True)]
    assert np.mean(right) == evaluated["accuracy"]
    run("learn", source, "-m", path, check=0)
    for x, y in samples[70:]:
        pipeline.learn_one(x, y)

    loaded, _ = load(path)
    weights = [model["SGDPerceptron"].weights for model in (pipeline, loaded)]
    np.testing.assert_allclose(*weights, rtol=0, atol=1e-12)
    assert [loaded.predict_one(x) for x, _ in samples] == [
        pipeline.predict_one(x) for x, _ in samples
    ]


COLORS = ["red", "green", "blue"]


def make_color_rows(n):
    rng = np.random.default_rng(0)
    return [
        {"colour": str(color), "x": float(x), "label": str(color)}
        for color, x in zip(rng.choice(COLORS, n), rng.normal(size=n) * 50, strict=True)
    ]


def encode_color_rows(rows, form):
    if form == "csv":
        return encode_csv([row.values() for row in rows], list(rows[0]))
    return encode_rows(rows, form)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_one_hot_turns_texts_into_features(form, tmp_path, run):
    source, path = tmp_path / "s", tmp_path / "m.npz"
    source.write_bytes(encode_color_rows(make_color_rows(500), form))
    live, stderr = learn_file(run, path, source, "--one-hot", "colour", *OPTIONS)

    assert live.progress.accuracy > 0.95
    assert set(live.model.features_) == {"x", *(f"colour_{name}" for name in COLORS)}
    assert "a feature for each value of colour" in stderr
    without_one_hot, stderr = learn_file(run, tmp_path / "o.npz", source, *OPTIONS)
    assert without_one_hot.model.features_ == ["x"]
    assert "ignored (strings): colour; to use it:\n  --one-hot colour" in stderr
    pipeline, _ = load(path)
    union = pipeline["features"]
    assert isinstance(union, compose.TransformerUnion)
    rows = [{name: row[name] for name in ("colour", "x")} for row in make_color_rows(100)]
    unlabeled_file = tmp_path / "bare.jsonl"
    unlabeled_file.write_bytes(encode_jsonl(rows))
    predicted = run("predict", unlabeled_file, "-m", path, check=0).stdout.splitlines()
    assert [pipeline.predict_one(x) for x in rows] == [
        json.loads(p)["prediction"] for p in predicted
    ]


def test_one_hot_gives_the_accuracy_and_weights_of_river(tmp_path, run):
    source, path = tmp_path / "s", tmp_path / "m.npz"
    rows = make_color_rows(300)
    source.write_bytes(encode_jsonl(rows))
    live, _ = learn_file(run, path, source, "--one-hot", "colour", *OPTIONS)
    union = compose.TransformerUnion(
        compose.Discard("colour") | preprocessing.StandardScaler(),
        compose.Select("colour") | preprocessing.OneHotEncoder(),
    )
    pipeline, right = union | SGDPerceptron(lr=0.1, seed=0), 0
    for row in rows:
        x = {name: row[name] for name in ("colour", "x")}
        right += pipeline.predict_one(x) == row["label"]
        pipeline.learn_one(x, row["label"])

    assert live.progress.confusion.right == right
    theirs = pipeline["SGDPerceptron"]
    feature_ids = [theirs.features_.index(name) for name in live.model.features_]
    np.testing.assert_allclose(
        live.model.weights, theirs.weights[:, feature_ids], rtol=0, atol=1e-12
    )


def test_missing_values_are_absent_features_in_every_format(tmp_path, run):
    """Empty cells, nulls in tables, objects and lists, and NA give bit-identical models."""
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (200, 3)).round(3)
    X[1:][rng.random(X[1:].shape) < 0.2] = np.nan  # the first row must fix the types
    labels = rng.choice(["u", "v"], 200).tolist()
    cells = [[None if v != v else v for v in row] for row in X.tolist()]
    rows = [dict(zip(("x0", "x1", "x2"), c, strict=True)) for c in cells]
    table = [row | {"y": y} for row, y in zip(rows, labels, strict=True)]
    texts = [["" if v is None else v for v in row] for row in cells]
    data = {
        "csv": encode_csv([[*c, y] for c, y in zip(texts, labels, strict=True)], [*rows[0], "y"]),
        "NA": encode_csv(
            [[*("NA" if v == "" else v for v in c), y] for c, y in zip(texts, labels, strict=True)],
            [*rows[0], "y"],
        ),
        "parquet": encode_rows(table, "parquet"),
        "json lists": encode_jsonl([{"x": c, "y": y} for c, y in zip(cells, labels, strict=True)]),
        "lists": encode_rows(
            [{"x": c, "y": y} for c, y in zip(cells, labels, strict=True)], "parquet"
        ),
    }
    outcomes = {}
    for name, source in data.items():
        (tmp_path / "s").write_bytes(source)
        options = ["--missing", "NA"] if name == "NA" else []
        live, stderr = learn_file(run, tmp_path / f"{name}.npz", tmp_path / "s", *OPTIONS, *options)
        outcomes[name] = capture_state(live.model), live.progress.missing
        assert f"missing: {np.isnan(X).sum():,} values" in stderr
    (tmp_path / "s").write_bytes(encode_jsonl(table))
    live, _ = learn_file(run, tmp_path / "objects.npz", tmp_path / "s", *OPTIONS)

    assert len(set(map(repr, outcomes.values()))) == 1, outcomes.keys()
    assert live.progress.missing == np.isnan(X).sum()
    assert (
        live.progress.confusion.right
        == LiveModel.load(tmp_path / "csv.npz").progress.confusion.right
    )


def test_average_combines_standardization_statistics(tmp_path, run):
    """The average of two models has the statistics of all rows; one model keeps its own."""
    rows = load_rows("wine")[1]
    base = tmp_path / "base.npz"
    parts = {"base": rows[:10], "one": rows[10:90], "two": rows[90:]}
    for name, part in parts.items():
        (tmp_path / f"{name}.csv").write_bytes(encode_rows(part, "csv"))
    learn_file(run, base, tmp_path / "base.csv", *OPTIONS, "--classes", "0-2")
    for name in ("one", "two"):
        (tmp_path / f"{name}.npz").write_bytes(base.read_bytes())
        learn_file(run, tmp_path / f"{name}.npz", tmp_path / f"{name}.csv")
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    mean, average_of_one = average_files(paths, base), average_files(paths[:1], base)

    X = np.array([[row[name] for name in mean.model.features_] for row in rows])
    counts, means, variances, is_indicator = mean.model.network.snapshot().scaler.statistics
    assert counts.tolist() == [178.0] * 13
    assert not is_indicator.any()
    np.testing.assert_allclose(means, X.mean(axis=0))
    np.testing.assert_allclose(variances, X.var(axis=0), rtol=1e-9)
    first_statistics = LiveModel.load(paths[0]).model.network.scaler.statistics
    assert (
        first_statistics.tobytes()
        == average_of_one.model.network.snapshot().scaler.statistics.tobytes()
    )
    (tmp_path / "plain.npz").unlink(missing_ok=True)
    learn_file(
        run, tmp_path / "plain.npz", tmp_path / "base.csv", "--classes", "0-2", "--no-standardize"
    )
    result = run(
        "average", paths[0], tmp_path / "plain.npz", "--base", base, "-o", tmp_path / "o.npz"
    )
    assert "it scales features differently from the base" in result.stderr


def test_average_joins_indicators(tmp_path, run):
    """A feature is an indicator if it has only been 0 or 1 in all models."""
    base = tmp_path / "base.npz"
    rows = {
        "base": [{"x": i / 7, "b": i % 2, "y": i % 3} for i in range(40)],
        "one": [{"x": i / 7, "b": i % 2, "c": 1, "d": 1, "y": i % 3} for i in range(40)],
        "two": [{"x": i / 7, "b": i % 4, "d": 0, "y": i % 3} for i in range(40)],
    }
    for name, part in rows.items():
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    learn_file(run, base, tmp_path / "base.jsonl", "--label", "y")
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        path.write_bytes(base.read_bytes())
        learn_file(run, path, path.with_suffix(".jsonl"))
    network = average_files(paths, base).model.network

    is_indicator = dict(zip(network.feature_names, network.scaler.statistics[3], strict=False))
    assert is_indicator == {"x": 0, "b": 0, "c": 1, "d": 1}


def test_average_does_not_scale_one_hot_features_new_to_the_base(tmp_path, run):
    base, rows = tmp_path / "base.npz", make_color_rows(60)
    rows_by_color = [[row for row in rows if row["colour"] == name] for name in COLORS]
    for i, part in enumerate(rows_by_color):
        (tmp_path / f"{i}.jsonl").write_bytes(encode_jsonl(part))
    learn_file(run, base, tmp_path / "0.jsonl", *OPTIONS, "--one-hot", "colour", "--missing", "NA")
    paths = [tmp_path / f"{i}.npz" for i in (1, 2)]
    for i, path in enumerate(paths, 1):
        path.write_bytes(base.read_bytes())
        learn_file(run, path, tmp_path / f"{i}.jsonl")
    model = average_files(paths, base).model

    counts, _, _, is_indicator = model.network.snapshot().scaler.statistics
    figures = zip(counts.tolist(), is_indicator.tolist(), strict=True)
    assert dict(zip(model.features_, figures, strict=True)) == {
        "x": (60, 0),
        **{f"colour_{name}": (sum(r["colour"] == name for r in rows), 1) for name in COLORS},
    }
