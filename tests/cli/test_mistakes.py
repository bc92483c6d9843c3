"""The most confident mistakes, and whether the model was trained on their source."""

from __future__ import annotations

import shutil

import pytest

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data.opening import open_source
from stream_perceptron.diagnostics.mistakes import (
    describe_training,
    find_misleading_features,
    find_mistakes,
)

TRAINED = "The model was trained on these rows"
UNKNOWN = "It is not known whether the model was trained on these rows"


def write_samples(path, rng, n=300):
    rows = [f"{x:.3f},{y:.3f},{'up' if x + y > 0 else 'down'}" for x, y in rng.normal(size=(n, 2))]
    path.write_text("\n".join(["a,b,label", *rows, ""]))
    return path


def describe_training_on(live, path):
    source = open_source(str(path))
    return describe_training(live, source, find_mistakes(live, source).n_rows)


def test_worst_mistakes_are_the_most_confident_ones(run, rng, tmp_path):
    data, model = write_samples(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, "--limit", "20", check=0)
    live = LiveModel.load(model)
    all_mistakes = find_mistakes(live, open_source(str(data)), max_mistakes=300)
    few_mistakes = find_mistakes(live, open_source(str(data)), max_mistakes=5)

    assert (few_mistakes.n_rows, few_mistakes.evaluation.confusion.tested) == (300, 300)
    assert len(all_mistakes.worst) == 300 - few_mistakes.evaluation.confusion.right > 5
    assert all_mistakes.worst[:5] == few_mistakes.worst == sorted(few_mistakes.worst, reverse=True)
    lines = data.read_text().splitlines()
    for mistake in few_mistakes.worst:
        assert lines[mistake.row].endswith(f",{mistake.label}")
        features = dict(find_misleading_features(live, mistake))
        assert features.items() <= mistake.x.items()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], TRAINED),
        (["--passes", "2"], TRAINED),
        (["--limit", "100"], "The model was trained on rows 1 to 100 of this file"),
    ],
    ids=["whole", "passes", "part"],
)
def test_learned_rows_are_recognized(options, expected, run, rng, tmp_path):
    """A file is recognized by its content, not by its name."""
    data, model = write_samples(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, *options, check=0)
    live = LiveModel.load(model)
    copied = tmp_path / "copied.csv"
    copied.write_bytes(data.read_bytes())

    assert describe_training_on(live, data) == describe_training_on(live, copied) == expected
    other_file = write_samples(tmp_path / "t.csv", rng)
    assert describe_training_on(live, other_file) == "The model was not trained on this file"


def test_rows_added_after_training_do_not_count_as_learned(run, rng, tmp_path):
    data, model = write_samples(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, check=0)
    data.write_text(data.read_text() + "1,1,up\n")
    live = LiveModel.load(model)
    trained = "The model was trained on rows 1 to 300 of this file"
    assert describe_training_on(live, data) == trained


def test_averaged_model_recognizes_the_files_of_its_parts(run, rng, tmp_path):
    base, *parts = (write_samples(tmp_path / f"{i}.csv", rng) for i in range(3))
    run("learn", base, "-m", tmp_path / "base.npz", check=0)
    models = [path.with_suffix(".npz") for path in parts]
    for path, model in zip(parts, models, strict=True):
        shutil.copy(tmp_path / "base.npz", model)
        run("learn", path, "-m", model, check=0)
    mean = tmp_path / "mean.npz"
    run("average", *models, "--base", tmp_path / "base.npz", "-o", mean, check=0)
    live = LiveModel.load(mean)
    assert [describe_training_on(live, path) for path in (base, *parts)] == [TRAINED] * 3


def test_training_on_a_pipe_or_in_python_is_reported_as_unknown(run, rng, tmp_path):
    data, model = write_samples(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", "-", "-m", model, input=data.read_text(), check=0)
    assert UNKNOWN == describe_training_on(LiveModel.load(model), data)

    python_model = SGDPerceptron(seed=0)
    python_model.learn_one({"a": 1.0, "b": 1.0}, "up")
    assert UNKNOWN == describe_training_on(LiveModel(python_model), data)
