"""Checkpoints of all versions of the format are read, continued and verified."""

from __future__ import annotations

import json
import shutil

import pytest
from golden_checkpoints import (
    CASES,
    FOLDER,
    N_LEARNED,
    PYTHON_MODEL,
    build_pipeline,
    read_samples,
)
from helpers import capture_state

from stream_perceptron import LiveModel, RecordEncoder, SGDPerceptron, load, save
from stream_perceptron.checkpoint import migrations

VERSIONS = sorted(path.name for path in FOLDER.iterdir())


def test_there_are_checkpoints_of_every_version():
    versions = range(migrations.FIRST_VERSION, migrations.FORMAT_VERSION + 1)
    assert {*VERSIONS} == {*map(str, versions)}
    assert migrations.MIGRATIONS.keys() == {*versions[:-1]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_checkpoint_continues_as_if_this_version_had_written_it(name, version, tmp_path, run):
    folder, (source, options) = FOLDER / version, CASES[name]
    path, fresh_path = tmp_path / "m.npz", tmp_path / "fresh.npz"
    shutil.copy(folder / f"{name}.npz", path)
    assert LiveModel.load(path).progress.rows == N_LEARNED
    run("learn", folder / source, "-m", path, "-q", check=0)
    run("verify", path, folder / source, check=0)
    run("learn", folder / source, "-m", fresh_path, *options, "-q", check=0)
    live, fresh = LiveModel.load(path), LiveModel.load(fresh_path)

    assert capture_state(live.model) == capture_state(fresh.model)
    for part in ("progress", "schema", "redeliveries"):
        assert live.encode()[0]["state"][part] == fresh.encode()[0]["state"][part]


@pytest.mark.parametrize("version", VERSIONS)
def test_pipeline_continues_as_if_this_version_had_written_it(version, run):
    path, samples = FOLDER / version / PYTHON_MODEL, read_samples(FOLDER / version)
    loaded, fresh = load(path), build_pipeline()
    assert loaded.extra == {"offset": N_LEARNED}
    for x, y in samples[:N_LEARNED]:
        fresh.learn_one(x, y)
    for x, y in samples[N_LEARNED:]:
        assert loaded.model.predict_proba_one(x) == fresh.predict_proba_one(x)
        loaded.model.learn_one(x, y)
        fresh.learn_one(x, y)
    assert json.loads(run("inspect", path, "--json", check=0).stdout)["samples"] == N_LEARNED


def test_later_version_converts_a_checkpoint(tmp_path, monkeypatch):
    """An example of a migration: a version in which epsilon has another name."""
    version, path = migrations.FORMAT_VERSION, tmp_path / "m.npz"
    save(RecordEncoder() | SGDPerceptron(epsilon=0.25), path)

    def rename_epsilon(meta, arrays):
        meta["model"]["epsilon"] /= 2
        arrays["biases"] += 1.0

    monkeypatch.setattr(migrations, "FORMAT_VERSION", version + 1)
    monkeypatch.setitem(migrations.MIGRATIONS, version, rename_epsilon)
    loaded = load(path).model
    assert loaded["SGDPerceptron"].epsilon == 0.125
    save(loaded, path)

    assert load(path).model["SGDPerceptron"].epsilon == 0.125
