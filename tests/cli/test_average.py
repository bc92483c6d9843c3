"""Averaging of models that were trained from one base."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pytest
from helpers import contents_of, write_lines

from stream_perceptron import LiveModel, SGDPerceptron, save
from stream_perceptron.distributed.averaging import average_live


def points(rng, n, **more):
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        yield {"a": round(a, 3), "b": round(b, 3), "label": "up" if a + b > 0 else "down"} | more


@pytest.fixture
def partitions(run, tmp_path):
    """A base, and three models that continued from it with a partition each."""
    rng = random.Random(0)
    base = tmp_path / "base.npz"
    options = ["--position", "part,offset", "--quiet"]
    rows = [row | {"offset": i} for i, row in enumerate(points(rng, 100, part="p"))]
    run("learn", write_lines(tmp_path / "0.jsonl", rows), "-m", base, *options, check=0)
    learners = []
    for part, n in (("p", 1500), ("q", 700), ("r", 30)):
        rows = [
            row | {"part": part, "offset": i + 100 * (part == "p")}
            for i, row in enumerate(points(rng, n))
        ]
        if part == "r":
            rows[5] |= {"label": "flat", "c": 1.0}
        path = tmp_path / f"{part}.npz"
        shutil.copy(base, path)
        source = write_lines(tmp_path / f"{part}.jsonl", rows)
        run("learn", source, "-m", path, "--lr", "0.03", *options, check=0)
        learners.append(path)
    return base, learners


def test_average_counts_everything_once_in_any_order(partitions, run, tmp_path):
    base, learners = partitions
    outputs = []
    for i, order in enumerate(itertools.permutations(learners)):
        outputs.append(tmp_path / f"mean-{i}.npz")
        result = run("average", *order, "--base", base, "-o", outputs[-1], check=0)
    live, lives = LiveModel.load(outputs[0]), [LiveModel.load(path) for path in learners]
    before = LiveModel.load(base)

    assert len({str(contents_of(path)) for path in outputs}) == 1
    assert f"saved {outputs[-1]}: 2,330 samples" in result.stderr
    assert (
        2330 == live.progress.samples == live.model.n_seen == live.progress.curve.sums[:, 0].sum()
    )
    assert (
        live.progress.confusion.tested
        == sum(each.progress.confusion.tested for each in lives)
        - 2 * before.progress.confusion.tested
    )
    assert len(live.progress.window) == 1000
    assert live.cursor.offsets == {("p",): 1599, ("q",): 699, ("r",): 29}
    assert (live.model.features_, live.model.lr) == (["a", "b", "c"], 0.01)
    assert set(live.model.classes_) == {"up", "down", "flat"}
    assert live.progress.accuracy > 0.8


def test_an_average_goes_on_and_leaves_out_what_was_learned(partitions, run, tmp_path):
    base, learners = partitions
    mean = tmp_path / "mean.npz"
    run("average", *learners, "--base", base, "-o", mean, check=0)
    topic = (tmp_path / "q.jsonl").read_text()
    skipped = run("learn", tmp_path / "q.jsonl", "-m", mean, check=0)
    result = run("learn", "-m", mean, "--json", input=topic, check=0)

    assert f"{tmp_path / 'q.jsonl'}: already learned (" in skipped.stderr
    assert json.loads(result.stdout)["replayed"] == 700
    assert LiveModel.load(mean).progress.samples == 2330
    assert "accuracy" in run("inspect", mean, check=0).stdout


def test_models_that_do_not_fit_are_refused_by_name(partitions, run, tmp_path):
    base, (one, two, _) = partitions
    mean = tmp_path / "mean.npz"

    def refused(*paths, base=base):
        return run("average", *paths, "--base", base, "-o", mean, check=1).stderr

    twin = tmp_path / "twin.npz"
    shutil.copy(one, twin)
    other = tmp_path / "other.npz"
    run("learn", tmp_path / "q.jsonl", "-m", other, "--ignore", "part,offset", check=0)

    assert refused(one, twin) == f"Error: {twin}: is the same as {one}, and would count twice\n"
    assert f"Error: {other}: does not continue {base}: its" in refused(one, other)
    error = refused(base, two, base=one)
    assert "has seen 100 samples, but the base had already seen 1,600" in error
    assert "does not continue" in refused(two, base=one)
    assert "No such file" in refused(tmp_path / "nowhere.npz")
    assert not mean.exists()


def test_the_last_samples_of_a_mean_are_those_of_the_base_and_what_each_added(run, tmp_path):
    base, rng = tmp_path / "base.npz", random.Random(1)
    run("learn", write_lines(tmp_path / "0.jsonl", points(rng, 100)), "-m", base, check=0)
    paths = []
    for i, n in enumerate((30, 20)):
        paths.append(tmp_path / f"{i}.npz")
        shutil.copy(base, paths[-1])
        run("learn", write_lines(tmp_path / f"{i}.jsonl", points(rng, n)), "-m", paths[-1], check=0)
    mean = tmp_path / "mean.npz"
    run("average", *paths, "--base", base, "-o", mean, check=0)
    window = LiveModel.load(mean).progress.window
    windows = [LiveModel.load(path).progress.window for path in (base, *paths)]

    assert len(windows[0]) == 99  # the first sample is untested, as no label was known
    assert len(window) == 149
    assert windows[0].tolist() == window[:99].tolist()
    assert sum(each[99:].sum() for each in windows[1:]) == window[99:].sum()


def test_learners_that_met_other_columns_do_not_fit_together(run, tmp_path):
    base, models = tmp_path / "base.npz", []
    save(SGDPerceptron(classes=["x", "y"], seed=0), base)
    for name in ("b", "c"):
        source = tmp_path / f"{name}.csv"
        source.write_text(f"label,a,{name}\nx,1,2\ny,2,1\n")
        models.append(tmp_path / f"{name}.npz")
        shutil.copy(base, models[-1])
        run("learn", source, "-m", models[-1], check=0)
    mean = tmp_path / "mean.npz"
    result = run("average", *models, "--base", base, "-o", mean, check=1)

    assert (
        result.stderr
        == "Error: one of the models does not fit: its features are not those of the others\n"
    )
    assert not mean.exists()


def test_the_window_of_a_mean_is_that_of_the_models_in_their_order(partitions):
    base, learners = partitions
    begin, lives = LiveModel.load(base), [LiveModel.load(path) for path in learners]
    window = average_live(begin, lives).progress.window
    expected = np.concatenate([begin.progress.window, *(each.progress.window for each in lives)])

    # The first model added 1,000 samples, the second 700 and the third 30.
    assert len(window) == 1000
    assert lives[2].progress.window[-30:].tolist() == window[-30:].tolist()
    assert lives[1].progress.window[-700:].tolist() == window[-730:-30].tolist()
    assert lives[0].progress.window[-270:].tolist() == window[:270].tolist()
    assert len(expected) > len(window)
