"""A scaler of River before a model becomes the model's own, and its own one of River."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import dicts
from river import preprocessing

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint

SCALERS = {
    "standard": preprocessing.StandardScaler,
    "centred": lambda: preprocessing.StandardScaler(with_std=False),
    "range": preprocessing.MinMaxScaler,
}


def learned(make, rng, n=200):
    """Return a pipeline that has learned, and samples that it has not."""
    X = dicts(rng.normal(3, 5, (n, 6)))
    y = rng.integers(0, 3, n).tolist()
    pipeline = make() | SGDPerceptron(lr=0.1, seed=0)
    for x, label in zip(X, y, strict=True):
        pipeline.predict_one(x)
        pipeline.learn_one(x, label)
    return pipeline, dicts(rng.normal(3, 5, (50, 6)))


@pytest.mark.parametrize("name", SCALERS)
def test_a_pipeline_predicts_alike_in_the_command_line_and_back_in_python(name, rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, X = learned(SCALERS[name], rng)
    save(pipeline, path)
    live = LiveModel.load(path)
    inside = [live.model.predict_one(x) for x in X]
    live.save(path)
    back = load(path).model

    assert [pipeline.predict_one(x) for x in X] == inside == [back.predict_one(x) for x in X]
    table = live.model.network.scaler.table
    assert (table[0] == 200).all()
    again = LiveModel.load(path).model.network.scaler
    assert (type(live.model.network.scaler), table.tobytes()) == (
        type(again),
        again.table.tobytes(),
    )


def forged(table, name):
    counts, middle, last = table
    if name == "negative variance":
        last[0] = -1.0
    elif name == "half a sample":
        counts[0] = 1.5
    elif name == "no number":
        middle[0] = np.inf
    elif name == "statistics of nothing":
        counts[0] = 0
    return table


@pytest.mark.parametrize(
    "name", ["negative variance", "half a sample", "statistics of nothing", "no number"]
)
def test_statistics_that_no_samples_lead_to_are_refused(name, rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, _ = learned(SCALERS["standard"], rng)
    save(pipeline, path)
    LiveModel.load(path).save(path)
    meta, arrays = read_checkpoint(path)
    arrays["statistics"] = forged(arrays["statistics"].copy(), name)
    write_checkpoint(path, meta, arrays)
    for read in (load, LiveModel.load):
        with pytest.raises(CheckpointError):
            read(path)


def test_a_scaler_that_knows_more_than_its_model_is_refused(rng, tmp_path):
    path = tmp_path / "m.npz"
    pipeline, _ = learned(SCALERS["standard"], rng)
    pipeline["StandardScaler"].learn_one({"other": 1.0})
    save(pipeline, path)

    assert "other" in load(path).model["StandardScaler"].means
    with pytest.raises(CheckpointError, match="'other', which its model does not have"):
        LiveModel.load(path)
