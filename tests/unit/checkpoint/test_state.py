"""Loaded models continue bit-identically."""

from __future__ import annotations

import pytest
from river import datasets
from river.optim import losses, schedulers

from stream_perceptron import CheckpointError, SGDPerceptron, load, save

ROWS = list(datasets.ImageSegments().take(900))


def learn_rows(model, rows):
    for x, y in rows:
        model.predict_one(x)
        model.learn_one(x, y)


MODELS = {
    "drawn seed": lambda: SGDPerceptron(),
    "inverse scaling": lambda: SGDPerceptron(schedulers.InverseScaling(0.1, power=0.25), seed=3),
    "optimal": lambda: SGDPerceptron(schedulers.Optimal(losses.Hinge(0.5), alpha=1.0), seed=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_loaded_model_continues_bit_identically(name, tmp_path):
    path, copy_path = tmp_path / "model.npz", tmp_path / "again.npz"
    model = MODELS[name]()
    learn_rows(model, ROWS[:400])
    save(model, path, {"offset": 399})
    loaded, extra = load(path)
    save(loaded, copy_path, extra)
    assert copy_path.read_bytes() == path.read_bytes()

    learn_rows(model, ROWS[400:])
    learn_rows(loaded, ROWS[400:])
    x = ROWS[0][0]
    assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
    save(model, path, extra)
    save(loaded, copy_path, extra)
    assert copy_path.read_bytes() == path.read_bytes()
    assert extra == {"offset": 399}
    assert repr(loaded) == repr(model)


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}, [1], {"a": {1, 2}}])
def test_extra_that_is_not_json_is_rejected(extra, tmp_path):
    with pytest.raises(CheckpointError, match="extra"):
        save(SGDPerceptron(), tmp_path / "model.npz", extra)
