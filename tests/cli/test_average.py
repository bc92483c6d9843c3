"""average: models that were trained from the same base."""

from __future__ import annotations

import itertools
import random
import shutil

import pytest
from helpers import read_contents, write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, save


def generate_points(rng, n, **columns):
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        yield {"a": round(a, 3), "b": round(b, 3), "label": "up" if a + b > 0 else "down"} | columns


@pytest.fixture
def base_and_learners(run, tmp_path):
    """A base model, and three learners that continued from it, each with its own partition."""
    rng = random.Random(0)
    base = tmp_path / "base.npz"
    options = ["--position", "part,offset", "--quiet"]
    rows = [row | {"offset": i} for i, row in enumerate(generate_points(rng, 100, part="p"))]
    run("learn", write_jsonl(tmp_path / "0.jsonl", rows), "-m", base, *options, check=0)
    learners = []
    for part, n in (("p", 1500), ("q", 700), ("r", 30)):
        rows = [
            row | {"part": part, "offset": i + 100 * (part == "p")}
            for i, row in enumerate(generate_points(rng, n))
        ]
        if part == "r":
            rows[5] |= {"label": "flat", "c": 1.0}
        path = tmp_path / f"{part}.npz"
        shutil.copy(base, path)
        source = write_jsonl(tmp_path / f"{part}.jsonl", rows)
        run("learn", source, "-m", path, "--lr", "0.03", *options, check=0)
        learners.append(path)
    return base, learners


def test_average_counts_each_sample_once_in_any_order(base_and_learners, run, tmp_path):
    base, learners = base_and_learners
    outputs = []
    for i, order in enumerate(itertools.permutations(learners)):
        outputs.append(tmp_path / f"mean-{i}.npz")
        result = run("average", *order, "--base", base, "-o", outputs[-1], check=0)
    live = LiveModel.load(outputs[0])

    assert len({str(read_contents(path)) for path in outputs}) == 1
    assert f"saved {outputs[-1]}: 2,330 samples" in result.stderr
    assert live.progress.samples == live.model.n_seen == 2330
    assert live.progress.unlabeled == live.progress.skipped == 0
    assert len(live.progress.window) == 1000
    assert live.redeliveries.offsets == {("p",): 1599, ("q",): 699, ("r",): 29}
    assert (live.model.features_, live.model.lr) == (["a", "b", "c"], None)
    assert set(live.model.classes_) == {"up", "down", "flat"}
    assert live.progress.accuracy is None
    assert live.progress.window_accuracy > 0.8


def test_error_names_the_model_that_cannot_be_averaged(base_and_learners, run, tmp_path):
    base, (learner_p, learner_q, _) = base_and_learners
    average_path, twin = tmp_path / "mean.npz", tmp_path / "twin.npz"
    shutil.copy(learner_p, twin)
    for given_base, paths, message in (
        (base, [learner_p, twin], f"is identical to {learner_p} and would be counted twice"),
        (learner_p, [base, learner_q], "has seen 100 samples, but the base had already seen 1,600"),
        (learner_p, [learner_q], f"{learner_q}: was not trained from {learner_p}: "),
    ):
        result = run("average", *paths, "--base", given_base, "-o", average_path, check=1)
        assert message in result.stderr
    assert not average_path.exists()


def test_average_joins_the_windows_of_the_base_and_the_learners(run, tmp_path):
    base, rng = tmp_path / "base.npz", random.Random(1)
    rows = list(generate_points(rng, 100))
    rows[50]["a"] = None
    run("learn", write_jsonl(tmp_path / "0.jsonl", rows), "-m", base, check=0)
    paths, average_path = [tmp_path / "1.npz", tmp_path / "2.npz"], tmp_path / "mean.npz"
    for path, n in zip(paths, (30, 20), strict=True):
        shutil.copy(base, path)
        source = write_jsonl(path.with_suffix(".jsonl"), generate_points(rng, n))
        run("learn", source, "-m", path, check=0)
    run("average", *paths, "--base", base, "-o", average_path, check=0)
    old, *added, mean = (LiveModel.load(path).progress for path in (base, *paths, average_path))

    assert (old.missing, mean.missing) == (1, 0)
    assert len(old.window) == 99  # the first sample is untested, as no label was known
    assert len(mean.window) == 149
    assert mean.window[:99].tolist() == old.window.tolist()
    assert mean.window[99:].sum() == sum(each.window[99:].sum() for each in added)


def test_average_of_a_base_without_rows_is_verified(tmp_path, run):
    """The models have written a column with each prediction; the base has not."""
    base, mean, sources = tmp_path / "base.npz", tmp_path / "mean.npz", []
    save(SGDPerceptron(seed=0), base)
    for name in "pq":
        rows = list(generate_points(random.Random(name), 20, part=name))
        sources.append(write_jsonl(tmp_path / f"{name}.jsonl", rows))
        path = sources[-1].with_suffix(".npz")
        shutil.copy(base, path)
        options = ["--keep", "part", "-p", tmp_path / f"{name}.out"]
        run("learn", sources[-1], "-m", path, *options, check=0)
    models = [source.with_suffix(".npz") for source in sources]
    run("average", *models, "--base", base, "-o", mean, check=0)

    run("verify", mean, *sources, check=0)


def test_models_that_read_rows_differently_are_not_averaged(tmp_path, run):
    base, other = tmp_path / "base.npz", tmp_path / "other.npz"
    save(SGDPerceptron(seed=0), base)
    source = write_jsonl(tmp_path / "s.jsonl", generate_points(random.Random(0), 20))
    run("learn", source, "-m", other, "--seed", "0", "--scale", "2", check=0)
    result = run("average", other, "--base", base, "-o", tmp_path / "mean.npz", check=1)

    assert f"{other}: was not trained from {base}: its scale is 2.0, but " in result.stderr


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
    run("learn", tmp_path / "base.jsonl", "-m", base, "--label", "y", check=0)
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        path.write_bytes(base.read_bytes())
        run("learn", path.with_suffix(".jsonl"), "-m", path, check=0)
    run("average", *paths, "--base", base, "-o", tmp_path / "mean.npz", check=0)
    network = LiveModel.load(tmp_path / "mean.npz").model.network

    is_indicator = dict(zip(network.feature_names, network.scaler.statistics[3], strict=False))
    assert is_indicator == {"x": 0, "b": 0, "c": 1, "d": 1}
