"""--class-weight: factors of the sample weights by class."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import contents_of, write_lines

from stream_perceptron import LiveModel


@pytest.fixture
def rows(rng):
    x = rng.normal(size=(900, 2))
    y = np.where(x[:, 0] + rng.normal(size=900) > 2.5, "yes", "no").tolist()
    return [{"a": a, "b": b, "label": label} for (a, b), label in zip(x.tolist(), y, strict=True)]


def recall_of(path, label):
    live = LiveModel.load(path)
    scores = live.progress.scores(2)
    return scores.recall[live.model.classes_.index(label)]


@pytest.mark.parametrize("weight", ["balanced", "yes=20"])
def test_a_rare_class_is_found_more_often(weight, rows, tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", rows)
    options = ("--standardize", "--lr", "0.05")
    run("learn", source, *options, "-m", tmp_path / "a.npz", check=0)
    run("learn", source, *options, "--class-weight", weight, "-m", tmp_path / "b.npz", check=0)

    assert recall_of(tmp_path / "b.npz", "yes") > recall_of(tmp_path / "a.npz", "yes") + 0.2


def test_given_weights_multiply_those_of_a_column(rows, tmp_path, run):
    for i, row in enumerate(rows):
        row["w"] = float(i % 3)
    for row in rows:
        row["both"] = row["w"] * {"yes": 5.0, "no": 0.5}[row["label"]]
    source = write_lines(tmp_path / "s.jsonl", rows)
    weights = ("--class-weight", "yes=5", "--class-weight", "no=0.5")
    one, other = tmp_path / "a.npz", tmp_path / "b.npz"
    run("learn", source, "--weight", "w", "--ignore", "both", *weights, "-m", one, check=0)
    run("learn", source, "--weight", "both", "--ignore", "w", "-m", other, check=0)

    assert (
        LiveModel.load(one).model.weights.tobytes() == LiveModel.load(other).model.weights.tobytes()
    )


@pytest.mark.parametrize("weight", ["balanced", "yes=20"])
def test_a_model_resumes_verifies_and_shows_its_weights(weight, rows, tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", rows)
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    run("learn", source, "--class-weight", weight, "-m", whole, check=0)
    run("learn", source, "--class-weight", weight, "-m", parts, "--limit", 1, check=0)
    for limit in (50, 900):
        run("learn", source, "-m", parts, "--limit", limit, check=0)
    told = json.loads(run("inspect", whole, "--json", check=0).stdout)
    shown = run("inspect", whole, check=0).stdout
    trials = run("sweep", source, "--class-weight", weight, "--lr", "0.01", "--json", check=0)

    assert contents_of(whole) == contents_of(parts)
    run("verify", whole, source, check=0)
    assert told["class_weight"] == (weight if weight == "balanced" else [["yes", 20.0]])
    assert f"  class weights  {weight}\n" in shown
    (entry,) = told["lineage"]["entries"]
    assert entry["class_weight"] == told["class_weight"]
    (trial,) = json.loads(trials.stdout)["trials"]
    assert trial["accuracy"] == told["accuracy"]


def test_late_labels_count_when_they_arrive(rows, tmp_path, run):
    late = [{"id": i, **{name: row[name] for name in "ab"}} for i, row in enumerate(rows)]
    labels = [{"id": i, "label": row["label"]} for i, row in enumerate(rows)]
    source = write_lines(tmp_path / "late.jsonl", [*late, *labels])
    in_order = write_lines(tmp_path / "rows.jsonl", rows)
    run("learn", source, "--join", "id", "--class-weight", "balanced", "-m", tmp_path / "a.npz",
        check=0)  # fmt: skip
    run("learn", in_order, "--class-weight", "balanced", "-m", tmp_path / "b.npz", check=0)
    one, other = (LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz"))

    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.network.class_counts.tolist() == other.network.class_counts.tolist()


@pytest.mark.parametrize("other", ["balanced", "yes=21", "no=2"])
def test_a_resumed_run_may_not_change_the_weights(other, rows, tmp_path, run):
    source, path = write_lines(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--class-weight", "yes=20", "-m", path, check=0)
    before = path.read_bytes()
    error = run("learn", source, "--class-weight", other, "-m", path, check=1).stderr

    assert error == (
        f"Error: {path}: the model was made with --class-weight yes=20, not with --class-weight "
        f"{other}: leave out the option, or start over with --overwrite\n"
    )
    assert path.read_bytes() == before
    run("learn", source, "--class-weight", "yes=20.0", "-m", path, check=0)


@pytest.mark.parametrize(
    ("label", "text"), [(7, "7=3"), (True, "true=3"), ("a=b", "a=b=3"), (" x", " x=3")]
)
def test_a_weight_names_the_text_of_a_label(label, text, rows, tmp_path, run):
    other = {int: 8, bool: False, str: "o"}[type(label)]
    for row in rows:
        row["label"] = label if row["label"] == "yes" else other
    source, path = write_lines(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    result = run("learn", source, "--class-weight", text, "-m", path, check=0)
    run("learn", source, "-m", tmp_path / "plain.npz", check=0)

    assert "no label is" not in result.stderr
    assert (
        LiveModel.load(path).model.weights.tobytes()
        != LiveModel.load(tmp_path / "plain.npz").model.weights.tobytes()
    )


def test_a_label_that_no_row_has_is_named_at_the_end(rows, tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", rows)
    result = run("learn", source, "--class-weight", "yess=5", "--quiet", check=0)

    assert result.stderr == ("warning: --class-weight: no label is 'yess'; did you mean 'yes'?\n")


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (["yes"], "'yes' is neither balanced nor a label with a weight such as yes=50"),
        (["yes=-1"], "-1 is not a finite number of at least 0"),
        (["yes=2", "yes=3"], "--class-weight has two numbers for one label"),
        (["yes=2", "balanced"], "balanced cannot be combined with another --class-weight"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, reason, run):
    options = [part for weight in weights for part in ("--class-weight", weight)]

    assert reason in run("learn", *options, check=2).stderr


def test_the_trace_multiplies_the_rate_by_the_weight_of_the_class(rows, tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", rows)
    options = ("--lr", "0.1", "--class-weight", f"{rows[0]['label']}=3", "--trace", 1)

    assert "learned with rate 0.3\n" in run("learn", source, *options, check=0).stderr
