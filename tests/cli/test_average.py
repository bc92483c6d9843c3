"""average: models that were trained from the same base."""

from __future__ import annotations

import itertools
import random
import shutil

import pytest
from helpers import read_contents, write_jsonl

from stream_perceptron import LiveModel


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
    assert (live.model.features_, live.model.lr) == (["a", "b", "c"], 0.1)
    assert set(live.model.classes_) == {"up", "down", "flat"}
    assert live.progress.accuracy is None
    assert live.progress.window_accuracy > 0.8


def test_error_names_the_model_that_cannot_be_averaged(base_and_learners, run, tmp_path):
    base, (learner_p, learner_q, _) = base_and_learners
    average_path = tmp_path / "mean.npz"

    def get_error(*paths, base=base):
        return run("average", *paths, "--base", base, "-o", average_path, check=1).stderr

    twin = tmp_path / "twin.npz"
    shutil.copy(learner_p, twin)
    unrelated = tmp_path / "other.npz"
    run("learn", tmp_path / "q.jsonl", "-m", unrelated, "--ignore", "part,offset", check=0)

    assert (
        get_error(learner_p, twin)
        == f"Error: {twin}: is identical to {learner_p} and would be counted twice\n"
    )
    error = get_error(learner_p, unrelated)
    assert f"Error: {unrelated}: was not trained from {base}: its" in error
    error = get_error(base, learner_q, base=learner_p)
    assert "has seen 100 samples, but the base had already seen 1,600" in error
    assert "was not trained from" in get_error(learner_q, base=learner_p)
    assert "No such file" in get_error(tmp_path / "nowhere.npz")
    assert not average_path.exists()


def test_average_joins_the_windows_of_the_base_and_the_learners(run, tmp_path):
    base, rng = tmp_path / "base.npz", random.Random(1)
    rows = list(generate_points(rng, 100))
    rows[50]["a"] = None
    run("learn", write_jsonl(tmp_path / "0.jsonl", rows), "-m", base, check=0)
    paths = []
    for i, n in enumerate((30, 20)):
        paths.append(tmp_path / f"{i}.npz")
        shutil.copy(base, paths[-1])
        run(
            "learn",
            write_jsonl(tmp_path / f"{i}.jsonl", generate_points(rng, n)),
            "-m",
            paths[-1],
            check=0,
        )
    average_path = tmp_path / "mean.npz"
    run("average", *paths, "--base", base, "-o", average_path, check=0)
    mean = LiveModel.load(average_path)
    window = mean.progress.window
    windows = [LiveModel.load(path).progress.window for path in (base, *paths)]

    assert (LiveModel.load(base).progress.missing, mean.progress.missing) == (1, 0)
    assert len(windows[0]) == 99  # the first sample is untested, as no label was known
    assert len(window) == 149
    assert windows[0].tolist() == window[:99].tolist()
    assert sum(added[99:].sum() for added in windows[1:]) == window[99:].sum()
