"""A first run that fails leaves no model, so that its options can be corrected."""

from __future__ import annotations

import pytest
from helpers import capture_state, write_jsonl

from stream_perceptron import LiveModel

ROWS = [{"a": i % 5, "b": i % 3, "w": 1, "label": "xy"[i % 5 > 2]} for i in range(60)]
BAD_ROWS = [{**ROWS[0], "w": "none"}, *ROWS[1:]]
# Options with which a run stops at row 1, and the corrected options.
CORRECTIONS = {
    "another column": (["--weight", "w"], ["--weight", "b"]),
    "no column": (["--weight", "w"], []),
    "skipped rows": (["--weight", "w"], ["--weight", "w", "--skip-bad"]),
    "another seed": (["--weight", "w"], ["--seed", "5", "--activation", "tanh"]),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_run_that_stops_at_row_1_saves_no_model(name, tmp_path, run):
    source, model = write_jsonl(tmp_path / "s.jsonl", BAD_ROWS), tmp_path / "m.npz"
    wrong_options, right_options = CORRECTIONS[name]

    error = run("learn", source, "-m", model, *wrong_options, check=1).stderr
    assert "row 1: " in error
    assert not model.exists()

    run("learn", source, "-m", model, *right_options, check=0)
    run("learn", source, "-m", tmp_path / "new.npz", *right_options, check=0)
    corrected, new = LiveModel.load(model), LiveModel.load(tmp_path / "new.npz")
    assert capture_state(corrected.model) == capture_state(new.model)
    assert corrected.progress.samples == new.progress.samples > 50


def test_overwrite_keeps_the_old_model_if_the_first_row_fails(tmp_path, run):
    good = write_jsonl(tmp_path / "good.jsonl", ROWS)
    bad, model = write_jsonl(tmp_path / "bad.jsonl", BAD_ROWS), tmp_path / "m.npz"
    run("learn", good, "-m", model, check=0)
    before = model.read_bytes()
    run("learn", bad, "-m", model, "--weight", "w", "--overwrite", check=1)

    assert model.read_bytes() == before


def test_settings_can_change_while_every_row_was_rejected(tmp_path, run):
    model, rejected = tmp_path / "m.npz", tmp_path / "r.jsonl"
    command = ["learn", "-m", model, "--rejected", rejected]
    run(*command, input="a,label\n1,x,7\n2,y,8\n", check=1)
    live_before = LiveModel.load(model)
    run(*command, "--no-standardize", "--lr", "0.5", input="a,label\n1,x\n2,y\n3,z,\n", check=0)
    live = LiveModel.load(model)

    assert (live_before.progress.rows, live_before.model.n_seen) == (2, 0)
    assert (live.progress.rows, live.progress.samples, live.progress.skipped) == (5, 2, 3)
    assert (live.model.lr, live.read_options.standardize) == (0.5, False)
    assert rejected.read_text().count("\n") == 3


@pytest.mark.parametrize("options", [["-p", "p.jsonl"], ["--join", "id"]])
def test_settings_are_fixed_once_a_sample_is_predicted_or_pending(options, tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", [{"id": 1, "a": 1.0}])
    command = ["learn", source, "-m", "m.npz"]
    run(*command, *options, cwd=tmp_path, check=0)
    error = run(*command, *options, "--seed", 3, cwd=tmp_path, check=1).stderr

    assert "--seed cannot change for an existing model (it is 0)" in error


def test_new_lr_without_new_rows_suggests_overwrite(tmp_path, run):
    source, model = write_jsonl(tmp_path / "s.jsonl", ROWS), tmp_path / "m.npz"
    run("learn", source, "-m", model, check=0)
    stderr = run("learn", source, "-m", model, "--lr", 0.5, check=0).stderr

    assert "lr is 0.5 from now on" in stderr
    assert "to learn these rows again with another --lr:\n  --again" in stderr
