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


def parse_predictions(text):
    return [json.loads(line) for line in text.splitlines()]


def test_thresholds_affect_predictions_but_not_learning(rows, tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    predictions = []
    for name, options in {"a": [], "b": ["--threshold", "yes=0.1"]}.items():
        output = ["-m", tmp_path / f"{name}.npz", "-p", tmp_path / f"{name}.jsonl", "--scores"]
        run("learn", source, *output, *options, check=0)
        predictions.append(parse_predictions((tmp_path / f"{name}.jsonl").read_text()))
    plain, with_threshold = predictions

    assert [row["prediction"] for row in plain] != [row["prediction"] for row in with_threshold]
    assert [row["scores"] for row in with_threshold] == [row["scores"] for row in plain]
    models = [LiveModel.load(tmp_path / name) for name in ("a.npz", "b.npz")]
    assert models[0].model.weights.tobytes() == models[1].model.weights.tobytes()
    assert models[0].progress.accuracy == models[1].progress.accuracy
    # A resumed run may have other thresholds.
    run("learn", source, *output, "--threshold", "yes=0.9", check=0)


def test_pending_predictions_do_not_depend_on_thresholds(rows, tmp_path, run):
    unlabeled_rows = [{"id": i, **{name: row[name] for name in "ab"}} for i, row in enumerate(rows)]
    labels = [{"id": i, "label": row["label"]} for i, row in enumerate(rows)]
    source = write_jsonl(tmp_path / "s.jsonl", [*unlabeled_rows[:900], *labels[:600]])
    for name, options in {"a": [], "b": ["--threshold", "yes=0.1"]}.items():
        run("learn", source, "--join", "id", "--classes", "no,yes", "-m", tmp_path / f"{name}.npz",
            "-p", "-", *options, check=0)  # fmt: skip

    assert read_contents(tmp_path / "a.npz") == read_contents(tmp_path / "b.npz")
    assert len(LiveModel.load(tmp_path / "a.npz").state.pending.samples) == 300


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
