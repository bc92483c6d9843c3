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

KNOWN = "The model was trained on them"
UNKNOWN = "Whether the model was trained on them is not known"


def write(path, rng, n=300):
    rows = [f"{x:.3f},{y:.3f},{'up' if x + y > 0 else 'down'}" for x, y in rng.normal(size=(n, 2))]
    path.write_text("\n".join(["a,b,label", *rows, ""]))
    return path


def said(live, path):
    source = open_source(str(path))
    return describe_training(live, source, find_mistakes(live, source).rows)


def test_worst_are_the_most_confident_of_all(run, rng, tmp_path):
    data, model = write(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, "--limit", "20", check=0)
    live = LiveModel.load(model)
    all_of_them = find_mistakes(live, open_source(str(data)), max_mistakes=300)
    few = find_mistakes(live, open_source(str(data)), max_mistakes=5)

    assert (few.rows, few.labeled) == (300, 300)
    assert len(all_of_them.worst) == 300 - few.right > 5
    assert all_of_them.worst[:5] == few.worst == sorted(few.worst, reverse=True)
    lines = data.read_text().splitlines()
    for mistake in few.worst:
        assert lines[mistake.row].endswith(f",{mistake.label}")
        features = dict(find_misleading_features(live, mistake))
        assert features.items() <= mistake.x.items()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], KNOWN),
        (["--passes", "2"], KNOWN),
        (["--limit", "100"], "The model was trained on rows 1 to 100 of them"),
        (["--random"], "The model was trained on rows of this file, in another order"),
    ],
    ids=["whole", "passes", "part", "drawn"],
)
def test_rows_that_were_learned_are_known(options, expected, run, rng, tmp_path):
    """The file's contents count, not its name."""
    data, model = write(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, *options, check=0)
    live = LiveModel.load(model)
    copied = tmp_path / "copied.csv"
    copied.write_bytes(data.read_bytes())

    assert said(live, data) == said(live, copied) == expected
    assert said(live, write(tmp_path / "t.csv", rng)) == "The model was not trained on this file"


def test_rows_that_were_added_since_are_not_learned(run, rng, tmp_path):
    data, model = write(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", data, "-m", model, check=0)
    data.write_text(data.read_text() + "1,1,up\n")
    assert said(LiveModel.load(model), data) == "The model was trained on rows 1 to 300 of them"


def test_what_a_model_of_a_mean_learned_is_known(run, rng, tmp_path):
    base, *parts = (write(tmp_path / f"{i}.csv", rng) for i in range(3))
    run("learn", base, "-m", tmp_path / "base.npz", check=0)
    models = [path.with_suffix(".npz") for path in parts]
    for path, model in zip(parts, models, strict=True):
        shutil.copy(tmp_path / "base.npz", model)
        run("learn", path, "-m", model, check=0)
    mean = tmp_path / "mean.npz"
    run("average", *models, "--base", tmp_path / "base.npz", "-o", mean, check=0)
    assert [said(LiveModel.load(mean), path) for path in (base, *parts)] == [KNOWN] * 3


def test_what_cannot_be_known_is_not_said(run, rng, tmp_path):
    data, model = write(tmp_path / "s.csv", rng), tmp_path / "m.npz"
    run("learn", "-", "-m", model, input=data.read_text(), check=0)
    assert UNKNOWN == said(LiveModel.load(model), data)

    in_python = SGDPerceptron(seed=0)
    in_python.learn_one({"a": 1.0, "b": 1.0}, "up")
    assert UNKNOWN == said(LiveModel(in_python), data)
