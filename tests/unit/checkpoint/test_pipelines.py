"""Pipelines are saved with their learned state, to paths and to open files."""

from __future__ import annotations

import enum
import io
import random

import numpy as np
import pytest
from helpers import STATED_REASON
from river import compose, preprocessing
from river.optim import schedulers

from stream_perceptron import (
    CheckpointError,
    LiveModel,
    RecordEncoder,
    SGDPerceptron,
    Standardizer,
    load,
    save,
)
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint

STEPS = {
    "RecordEncoder": lambda: RecordEncoder(["size"], missing=["a"], scale=0.5, vectors=False),
    "Standardizer": lambda: RecordEncoder() | Standardizer(),
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


NAMES = [None, "", 0.5, 2**80, -(2**70), 1e308, "\ud800", b"a", (1, "a"), ((), 2.5), float("inf")]


def test_unusual_names_are_known_after_loading(tmp_path):
    original = Standardizer() | SGDPerceptron(seed=0, classes=[*NAMES[1:], np.int64(7)])
    for i, name in enumerate(NAMES):
        original.learn_one({name: i + 0.5, "b": i}, NAMES[-1])
    save(original, tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz").model

    assert loaded["SGDPerceptron"].features_ == original["SGDPerceptron"].features_
    assert loaded["SGDPerceptron"].classes_ == original["SGDPerceptron"].classes_
    assert loaded["Standardizer"].standardized == original["Standardizer"].standardized


def test_steps_keep_their_names(tmp_path):
    for names in (["scale", "model"], ["only"]):
        steps = dict(zip(names, [Standardizer(), SGDPerceptron()], strict=False))
        steps[names[-1]] = SGDPerceptron()
        save(compose.Pipeline(*steps.items()), tmp_path / "m.npz")
        assert names == list(load(tmp_path / "m.npz").model.steps)


def forge_checkpoint(tmp_path, **changes):
    """Write a perceptron with forged steps; return the path of the checkpoint."""
    path = tmp_path / "forged.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
    write_checkpoint(path, meta | changes, arrays)
    return path


FORGED = {
    "a class": {"object": ["os.system", {}]},
    "an unlisted class": {"object": ["FuncTransformer", {}]},
    "too many arguments": [[], [], [], 1.0, True, 2.0],
    "an unhashable key": {"dict": [[[]], [1]]},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_steps_are_rejected(name, tmp_path):
    steps = {"names": ["a", "b"], "encoder": FORGED[name], "scaled": []}
    path = forge_checkpoint(tmp_path, steps=steps)
    with pytest.raises(CheckpointError, match=STATED_REASON):
        load(path)


def test_statistics_that_do_not_fit_the_features_are_rejected(tmp_path):
    path, pipeline = tmp_path / "m.npz", Standardizer() | SGDPerceptron(seed=0)
    pipeline.learn_one({"a": 2.0, "b": 3.0}, "up")
    save(pipeline, path)
    meta, arrays = read_checkpoint(path)
    write_checkpoint(path, meta, arrays | {"statistics": arrays["statistics"][:, :1]})
    for load_model in (load, LiveModel.load):
        with pytest.raises(CheckpointError, match="statistics do not fit the features"):
            load_model(path)


def test_models_are_saved_to_open_files(tmp_path):
    model, memory, resaved = SGDPerceptron(0.1, seed=0), io.BytesIO(), io.BytesIO()
    model.learn_one({"a": 1.0}, "x")
    save(model, tmp_path / "m.npz", {"offset": 29})
    save(model, memory, {"offset": 29})
    memory.seek(0)
    loaded, extra = load(memory)
    save(loaded, resaved, extra)

    assert extra == {"offset": 29}
    assert (tmp_path / "m.npz").read_bytes() == memory.getvalue() == resaved.getvalue()


def test_text_files_and_damaged_files_are_rejected(tmp_path):
    path = tmp_path / "m.npz"
    with (
        path.open("w") as file,
        pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"),
    ):
        save(SGDPerceptron(), file)
    with path.open() as file, pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"):
        load(file)
    with pytest.raises(
        CheckpointError, match="the file: not a stream-perceptron model, or damaged"
    ):
        load(io.BytesIO(b"PK"))


def train_scaler_of_another_feature():
    scaler = preprocessing.StandardScaler()
    scaler.learn_one({"other": 1.0})
    return scaler


PYTHON_STEPS = {
    "RecordEncoder": RecordEncoder,
    "that scales feature 'other', unknown to the model": train_scaler_of_another_feature,
}


@pytest.mark.parametrize("step", PYTHON_STEPS)
def test_live_model_names_the_step_that_runs_only_in_python(step, tmp_path):
    path = tmp_path / "m.npz"
    pipeline = PYTHON_STEPS[step]() | SGDPerceptron(seed=0)
    pipeline.learn_one({"a": 1.0}, "up")
    save(pipeline, path)

    assert LiveModel.load(path).python_only_step == step
