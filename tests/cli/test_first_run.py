"""A first run that fails can be corrected, as it leaves no model with the wrong settings."""

from __future__ import annotations

import pytest
from helpers import state_of, write_lines

from stream_perceptron import LiveModel

ROWS = [{"a": i % 5, "b": i % 3, "w": 1, "label": "xy"[i % 5 > 2]} for i in range(60)]
BAD_ROWS = [{**ROWS[0], "w": "none"}, *ROWS[1:]]
# A command that stops at row 1, and the corrected one.
CORRECTIONS = {
    "another column": (["--weight", "w"], ["--weight", "b"]),
    "no column": (["--weight", "w"], []),
    "skipped rows": (["--weight", "w"], ["--weight", "w", "--skip-bad"]),
    "another seed": (["--weight", "w"], ["--seed", "5", "--activation", "tanh"]),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_a_run_that_stops_at_row_1_saves_nothing(name, tmp_path, run):
    source, model = write_lines(tmp_path / "s.jsonl", BAD_ROWS), tmp_path / "m.npz"
    wrong, right = CORRECTIONS[name]

    error = run("learn", source, "-m", model, *wrong, check=1).stderr
    assert "row 1: " in error
    assert not model.exists()

    run("learn", source, "-m", model, *right, check=0)
    run("learn", source, "-m", tmp_path / "new.npz", *right, check=0)
    corrected, new = LiveModel.load(model), LiveModel.load(tmp_path / "new.npz")
    assert state_of(corrected.model) == state_of(new.model)
    assert corrected.progress.samples == new.progress.samples > 50


def test_overwrite_keeps_the_old_model_if_the_first_row_fails(tmp_path, run):
    good = write_lines(tmp_path / "good.jsonl", ROWS)
    bad, model = write_lines(tmp_path / "bad.jsonl", BAD_ROWS), tmp_path / "m.npz"
    run("learn", good, "-m", model, check=0)
    before = model.read_bytes()
    run("learn", bad, "-m", model, "--weight", "w", "--overwrite", check=1)

    assert model.read_bytes() == before


def test_settings_may_change_while_all_rows_of_a_pipe_were_rejected(tmp_path, run):
    model, rejected = tmp_path / "m.npz", tmp_path / "r.jsonl"
    learn = ["learn", "-m", model, "--rejected", rejected]
    run(*learn, input="a,label\n1,x,7\n2,y,8\n", check=1)
    kept = LiveModel.load(model)
    run(*learn, "--no-standardize", "--lr", "0.5", input="a,label\n1,x\n2,y\n3,z,\n", check=0)
    live = LiveModel.load(model)

    assert (kept.progress.rows, kept.model.n_seen) == (2, 0)
    assert (live.progress.rows, live.progress.samples, live.progress.skipped) == (5, 2, 3)
    assert (live.model.lr, live.read_options.standardize) == (0.5, False)
    assert rejected.read_text().count("\n") == 3


@pytest.mark.parametrize("options", [["-p", "p.jsonl"], ["--join", "id"]])
def test_settings_are_fixed_once_a_sample_is_predicted_or_pending(options, tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", [{"id": 1, "a": 1.0}])
    learn = ["learn", source, "-m", "m.npz"]
    run(*learn, *options, cwd=tmp_path, check=0)
    error = run(*learn, *options, "--seed", 3, cwd=tmp_path, check=1).stderr

    assert "made with --seed 0, not with --seed 3" in error


def test_another_lr_without_new_rows_says_how_to_start_over(tmp_path, run):
    source, model = write_lines(tmp_path / "s.jsonl", ROWS), tmp_path / "m.npz"
    run("learn", source, "-m", model, check=0)
    said = run("learn", source, "-m", model, "--lr", 0.5, check=0).stderr

    assert "lr is 0.5 from now on" in said
    assert "to learn all rows again with another lr: --overwrite" in said
