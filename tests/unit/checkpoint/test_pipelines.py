"""Pipelines are saved with their learned state."""

from __future__ import annotations

import enum
import random
from functools import partial

import numpy as np
import pytest
from river import compose, preprocessing
from river.optim import schedulers

from stream_perceptron import (
    CheckpointError,
    RecordEncoder,
    SGDPerceptron,
    Standardizer,
    load,
    save,
)

STEPS = {
    "RecordEncoder": lambda: RecordEncoder(["size"], missing=["a"], scale=0.5, vectors=False),
    "StandardScaler": lambda: RecordEncoder() | preprocessing.StandardScaler(),
}


def draw_samples(n):
    """Yield n records with their labels."""
    rng = random.Random(0)
    for _ in range(n):
        x = {"color": rng.choice("abcdefgh"), "size": rng.choice([1, 2, 3]), "u": rng.gauss(5, 2)}
        x |= {f"late{rng.randrange(9)}": None if rng.random() < 0.5 else rng.random()}
        yield x, x["u"] > 5 or x["color"] in "ab"


@pytest.mark.parametrize("name", STEPS)
def test_loaded_pipeline_continues_identically(name, tmp_path):
    original, samples = STEPS[name]() | SGDPerceptron(0.1, seed=0), list(draw_samples(600))
    for x, y in samples[:300]:
        original.learn_one(x, y)
    save(original, tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz").model
    for x, y in samples[300:]:
        assert loaded.predict_proba_one(x) == original.predict_proba_one(x)
        loaded.learn_one(x, y)
        original.learn_one(x, y)
    save(original, tmp_path / "a.npz")
    save(loaded, tmp_path / "b.npz")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


class Color(enum.IntEnum):
    RED = 1


class Halving(schedulers.Constant):
    """A schedule whose code no checkpoint contains."""


class Subclass(SGDPerceptron):
    """A perceptron whose code no checkpoint contains."""


UNSUPPORTED = [
    (lambda: compose.FuncTransformer(dict) | SGDPerceptron(),
     r"FuncTransformer \| SGDPerceptron cannot be saved: .* with pickle, as in River"),
    (lambda: Standardizer() | RecordEncoder() | SGDPerceptron(), r"r \| RecordEncoder \| S"),
    (lambda: Standardizer() | Standardizer() | SGDPerceptron(), r"r \| Standardizer \| SGD"),
    (lambda: SGDPerceptron(classes=[frozenset("a")]), "frozenset cannot be saved"),
    (lambda: SGDPerceptron(classes=[Color.RED]), "Color cannot be saved"),
    (lambda: SGDPerceptron(Halving(0.1)), "Halving cannot be saved as lr"),
    (lambda: compose.Pipeline(preprocessing.StandardScaler()), "StandardScaler cannot be saved"),
    (compose.Pipeline, "Pipeline cannot be saved"),
    (lambda: preprocessing.StandardScaler(window_size=5) | SGDPerceptron(), "default settings"),
    (lambda: preprocessing.StandardScaler(with_std=False) | SGDPerceptron(), "default settings"),
    (lambda: Subclass(seed=0), "Subclass cannot be saved"),
    (lambda: preprocessing.StandardScaler() | Subclass(), r"Scaler \| Subclass cannot be saved"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), UNSUPPORTED)
def test_unsupported_model_is_rejected_and_nothing_is_written(make, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        save(make(), tmp_path / "m.npz")
    assert not (tmp_path / "m.npz").exists()


NAMES = [
    None, "", "é", True, 2, 0.5, 2**80, -(2**70), 1e308, "\ud800", b"\xff", (1, "a"),
    ((), (b"b", 2.5)), float("inf"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:label")
def test_unusual_names_are_known_after_loading(tmp_path):
    original = Standardizer() | SGDPerceptron(seed=0, classes=[*NAMES[1:], np.int64(7)])
    for i, name in enumerate(NAMES):
        original.learn_one({name: i + 0.5, "b": i}, NAMES[-1])
    save(original, tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz").model

    for attribute in ("features_", "classes_"):  # repr, as 1 == True
        names = [getattr(model["SGDPerceptron"], attribute) for model in (original, loaded)]
        assert repr(names[0]) == repr(names[1])
    assert loaded["Standardizer"].standardized == original["Standardizer"].standardized


def test_steps_keep_their_names(tmp_path):
    for names in (["scale", "model"], ["only"]):
        steps = dict(zip(names, [Standardizer(), SGDPerceptron()], strict=False))
        steps[names[-1]] = SGDPerceptron()
        save(compose.Pipeline(*steps.items()), tmp_path / "m.npz")
        assert names == list(load(tmp_path / "m.npz").model.steps)


def test_text_files_are_rejected(tmp_path):
    with (tmp_path / "m.npz").open("w+") as file:
        for use in (partial(save, SGDPerceptron()), load):
            with pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"):
                use(file)
