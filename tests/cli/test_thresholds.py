"""--threshold, and the figures that help to choose one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import read_contents, write_jsonl
from sklearn import metrics

from stream_perceptron import LiveModel


@pytest.fixture
def rows(rng):
    x = rng.normal(size=(1200, 2))
    y = np.where(x[:, 0] + rng.normal(size=1200) > 2.5, "yes", "no").tolist()
    return [{"a": a, "b": b, "label": label} for (a, b), label in zip(x.tolist(), y, strict=True)]


@pytest.fixture
def source_and_model(rows, tmp_path, run):
    """A file of the rows, and a model that has learned them."""
    source, path = write_jsonl(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--standardize", "-m", path, check=0)
    return source, path


def parse_predictions(text):
    return [json.loads(line) for line in text.splitlines()]


def test_thresholds_affect_the_counts_of_evaluate_but_not_its_ranking(source_and_model, run):
    source, path = source_and_model
    plain, with_threshold = (
        json.loads(run("evaluate", source, "-m", path, "--json", *options, check=0).stdout)
        for options in ([], ["--threshold", "yes=0.1"])
    )
    predicted = parse_predictions(
        run("predict", source, "-m", path, "--threshold", "yes=0.1", check=0).stdout
    )
    labels, predictions = ([row[name] for row in predicted] for name in ("label", "prediction"))
    ranking_metrics = ("average_precision", "roc_auc", "best_threshold", "recall_at_precision_50")
    for plain_row, threshold_row in zip(
        plain["per_class"], with_threshold["per_class"], strict=True
    ):
        assert [plain_row[name] for name in ranking_metrics] == [
            threshold_row[name] for name in ranking_metrics
        ]

    assert with_threshold["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert with_threshold["macro_f1"] == pytest.approx(
        metrics.f1_score(labels, predictions, average="macro")
    )
    assert with_threshold["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(labels, predictions)
    )
    assert with_threshold["balanced_accuracy"] > plain["balanced_accuracy"] + 0.1


def test_evaluate_gives_the_ranking_metrics_of_scikit_learn(source_and_model, run):
    source, path = source_and_model
    report = json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout)
    rows = parse_predictions(run("predict", source, "-m", path, "--scores", check=0).stdout)
    is_positive = [row["label"] == "yes" for row in rows]
    scores = [row["scores"]["yes"] for row in rows]
    (figures,) = (row for row in report["per_class"] if row["class"] == "yes")

    auc = metrics.roc_auc_score(is_positive, scores)
    precision = metrics.average_precision_score(is_positive, scores)
    assert figures["roc_auc"] == pytest.approx(auc, abs=1e-3)
    assert figures["average_precision"] == pytest.approx(precision, abs=2e-3)  # 50 samples
    shown = run("evaluate", source, "-m", path, check=0).stdout
    assert f" {figures['best_threshold']}\n" in shown


def test_thresholds_affect_predictions_but_not_learning(rows, tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    for name, options in {"plain": [], "thresholds": ["--threshold", "yes=0.1"]}.items():
        run("learn", source, "-m", tmp_path / f"{name}.npz", "-p", tmp_path / f"{name}.jsonl",
            "--scores", *options, check=0)  # fmt: skip
    plain, with_threshold = (
        parse_predictions((tmp_path / f"{name}.jsonl").read_text())
        for name in ("plain", "thresholds")
    )
    models = [LiveModel.load(tmp_path / f"{name}.npz") for name in ("plain", "thresholds")]

    assert [row["prediction"] for row in plain] != [row["prediction"] for row in with_threshold]
    assert [row["scores"] for row in with_threshold] == [row["scores"] for row in plain]
    assert models[0].model.weights.tobytes() == models[1].model.weights.tobytes()
    assert models[0].progress.accuracy == models[1].progress.accuracy
    # A resumed run may have other thresholds.
    run("learn", source, "-m", tmp_path / "plain.npz", "-p", tmp_path / "plain.jsonl",
        "--scores", "--threshold", "yes=0.9", check=0)  # fmt: skip


def test_pending_predictions_do_not_depend_on_thresholds(rows, tmp_path, run):
    unlabeled_rows = [{"id": i, **{name: row[name] for name in "ab"}} for i, row in enumerate(rows)]
    labels = [{"id": i, "label": row["label"]} for i, row in enumerate(rows)]
    source = write_jsonl(tmp_path / "s.jsonl", [*labels[:0], *unlabeled_rows[:900], *labels[:600]])
    for name, options in {"a": [], "b": ["--threshold", "yes=0.1"]}.items():
        run("learn", source, "--join", "id", "--classes", "no,yes", "-m", tmp_path / f"{name}.npz",
            "-p", "-", *options, check=0)  # fmt: skip

    assert read_contents(tmp_path / "a.npz") == read_contents(tmp_path / "b.npz")
    assert len(LiveModel.load(tmp_path / "a.npz").pending.samples) == 300


def test_best_threshold_gives_the_f1_that_evaluate_shows(tmp_path, run, rng):
    """There are few distinct scores, so a threshold that is rounded up would lose samples."""
    x, z = rng.integers(0, 3, 3000), rng.integers(0, 2, 3000)
    is_rare = rng.random(3000) < 0.02 + 0.05 * x * z
    rows = [{"x": int(a), "z": int(b), "label": ["no", "yes"][int(y)]}
            for a, b, y in zip(x, z, is_rare, strict=True)]  # fmt: skip
    source, path = write_jsonl(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--class-weight", "balanced", "-m", path, check=0)
    shown = run("evaluate", source, "-m", path, check=0).stdout
    table = shown[shown.index("samples ranked") :]
    f1, threshold = next(line.split()[-2:] for line in table.splitlines() if line.startswith("yes"))
    rows = parse_predictions(
        run("predict", source, "-m", path, "--threshold", f"yes={threshold}", check=0).stdout
    )
    labels, predictions = ([row[name] == "yes" for row in rows] for name in ("label", "prediction"))

    assert f1 == f"{metrics.f1_score(labels, predictions):.2%}"
