"""River pipelines that move between processes, Python and the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers import ROOT
from river_pipelines import STEPS, draw_samples, train_scaled_pipeline

from stream_perceptron import LiveModel, load, save


@pytest.mark.slow
def test_saved_pipelines_continue_in_another_process(tmp_path):
    """The hash seed is fixed, because it determines the order in which Select yields features."""
    imports = "from river_pipelines import *; from stream_perceptron import *\n"
    train = (
        "for name in STEPS:\n"
        "    model = STEPS[name]() | SGDPerceptron(0.1, seed=0)\n"
        "    for x, y in draw_samples(300): model.learn_one(x, y)\n"
        "    save(model, f'{name}.npz'); predict_and_learn(model)\n"
        "    save(model, f'{name} expected.npz')"
    )
    resume = (
        "for name in STEPS:\n"
        "    model = load(f'{name}.npz').model; predict_and_learn(model)\n"
        "    save(model, f'{name}.npz')"
    )
    env = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT / "tests" / "support")}
    for code in (train, resume):
        subprocess.run([sys.executable, "-c", imports + code], cwd=tmp_path, env=env, check=True)

    for name in STEPS:
        expected, continued = (tmp_path / f"{name}{end}.npz" for end in (" expected", ""))
        assert continued.read_bytes() == expected.read_bytes(), name


def test_model_of_a_table_continues_in_python_and_is_saved_again(tmp_path, run):
    path, source = tmp_path / "m.npz", tmp_path / "table.csv"
    lines = [f"{x['colour']},{x['u']},{x['v']},{y}" for x, y in draw_samples(200)]
    source.write_text("\n".join(["colour,u,v,label", *lines]) + "\n")
    run("learn", source, "-m", path, "--one-hot", "colour", "--standardize", "--quiet", check=0)
    model = load(path).model
    resaved_path = tmp_path / "again.npz"
    save(model, resaved_path)
    resaved = load(resaved_path).model

    for x, y in draw_samples(50, seed=2):
        x = {name: x[name] for name in ("colour", "u", "v")}
        assert resaved.predict_proba_one(x) == model.predict_proba_one(x)
        model.learn_one(x, y)
        resaved.learn_one(x, y)
    assert resaved["SGDPerceptron"].classes_ == LiveModel.load(path).model.classes_


def test_scaler_with_a_feature_the_model_lacks_runs_only_in_python(rng, tmp_path, run):
    path = tmp_path / "m.npz"
    pipeline, _ = train_scaled_pipeline(rng)
    pipeline["StandardScaler"].learn_one({"other": 1.0})
    save(pipeline, path)
    step = "StandardScaler (with feature 'other', which the model lacks)"

    assert "other" in load(path).model["StandardScaler"].means
    assert LiveModel.load(path).python_step == step
    assert step in " ".join(run("inspect", path, check=0).stdout.split())
    result = run("predict", "-m", path, input="a\n1\n", check=1)
    reason = f"this model runs only in Python, because of its step {step}"
    assert result.stderr.startswith(f"Error: {path}: {reason}: use predict_one")
