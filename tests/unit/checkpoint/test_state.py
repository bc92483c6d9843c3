"""Loaded models continue bit-identically."""

from __future__ import annotations

import datetime as dt
import enum
from pathlib import Path

import pytest
from river import compose, datasets, preprocessing
from river.optim import losses, schedulers

from stream_perceptron import CheckpointError, SGDPerceptron, load, save

ROWS = list(datasets.ImageSegments().take(900))


def predict_and_learn(model, rows):
    for x, y in rows:
        model.predict_one(x)
        model.learn_one(x, y)


MODELS = {
    "plain": lambda: SGDPerceptron(0.001, seed=3),
    "drawn seed": lambda: SGDPerceptron(),
    "tanh and classes": lambda: SGDPerceptron(1e-4, activation="tanh", classes=["sky", "x"]),
    "inverse scaling": lambda: SGDPerceptron(schedulers.InverseScaling(0.1, power=0.25), seed=3),
    "optimal": lambda: SGDPerceptron(schedulers.Optimal(losses.Hinge(0.5), alpha=1.0), seed=3),
    "standard scaler": lambda: preprocessing.StandardScaler() | SGDPerceptron(0.1, seed=3),
    "min-max scaler": lambda: preprocessing.MinMaxScaler() | SGDPerceptron(0.1, seed=3),
    "two scalers": lambda: (
        preprocessing.StandardScaler(with_std=False)
        | preprocessing.MinMaxScaler()
        | SGDPerceptron(0.1, seed=3)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_loaded_model_continues_bit_identically(name, tmp_path):
    path, copy_path = tmp_path / "model.npz", tmp_path / "again.npz"
    model = MODELS[name]()
    predict_and_learn(model, ROWS[:400])
    save(model, path, {"offset": 399})
    loaded, extra = load(path)
    save(loaded, copy_path, extra)
    assert copy_path.read_bytes() == path.read_bytes()

    predict_and_learn(model, ROWS[400:])
    predict_and_learn(loaded, ROWS[400:])
    x = ROWS[0][0]
    assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
    save(model, path, extra)
    save(loaded, copy_path, extra)
    assert copy_path.read_bytes() == path.read_bytes()
    assert extra == {"offset": 399}
    assert repr(loaded) == repr(model)


def test_untrained_model_can_be_saved(tmp_path):
    save(SGDPerceptron(), tmp_path / "model.npz")
    model, extra = load(tmp_path / "model.npz")

    assert (model.predict_one({"x": 1}), extra, model.n_seen) == (None, {}, 0)


NAMES = ["", "\ud800", "é", True, 2, 2.5, -(10**30), b"\xff", ("a", (b"b", 1.5)),
         dt.date(2024, 2, 29), dt.datetime(2024, 1, 1, 12, 30, 0, 7),
         dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))]  # fmt: skip


@pytest.mark.filterwarnings("ignore:label")
def test_labels_and_features_keep_their_types(tmp_path):
    model = SGDPerceptron(seed=0, classes=NAMES)
    model.learn_one({name: float(i) for i, name in enumerate(NAMES)}, NAMES[0])
    save(model, tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz").model

    assert [(type(n), n) for n in loaded.classes_] == [(type(n), n) for n in model.classes_]
    assert [(type(n), n) for n in loaded.features_] == [(type(n), n) for n in model.features_]


class Colour(enum.IntEnum):
    RED = 1


class Halving(schedulers.Constant):
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SGDPerceptron(classes=[frozenset("a")]), "frozenset cannot be saved"),
        (lambda: SGDPerceptron(classes=[Colour.RED]), "Colour cannot be saved"),
        (lambda: SGDPerceptron(Halving(0.1)), "Halving cannot be saved as lr"),
        (lambda: compose.Pipeline(preprocessing.StandardScaler()), "end with an SGDPerceptron"),
    ],
)
def test_unsupported_model_is_rejected_and_nothing_is_written(make, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        save(make(), tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}, [1], {"a": {1, 2}}])
def test_extra_that_is_not_json_is_rejected(extra, tmp_path):
    with pytest.raises(CheckpointError, match="extra"):
        save(SGDPerceptron(), tmp_path / "model.npz", extra)


def test_equal_states_are_saved_as_equal_bytes(tmp_path):
    files = []
    for i in range(2):
        model = SGDPerceptron(0.1, seed=1)
        predict_and_learn(model, ROWS[:100])
        save(model, tmp_path / f"{i}.npz")
        files.append((tmp_path / f"{i}.npz").read_bytes())

    assert files[0] == files[1]


def test_paths_may_be_strings(tmp_path):
    save(SGDPerceptron(seed=0), str(tmp_path / "model.npz"))

    assert load(str(tmp_path / "model.npz")).model.seed_ == 0
    with pytest.raises(FileNotFoundError):
        load(Path("missing.npz"))


class Subclass(SGDPerceptron):
    """A perceptron whose code no checkpoint contains."""


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_subclass_is_rejected(in_pipeline, tmp_path):
    model = Subclass(seed=0)
    if in_pipeline:
        model = preprocessing.StandardScaler() | model

    with pytest.raises(CheckpointError, match="Subclass cannot be saved: use SGDPerceptron itself"):
        save(model, tmp_path / "m.npz")

    assert not list(tmp_path.iterdir())
