"""Models on disk: learn -m, predict, evaluate and inspect."""

from __future__ import annotations

import json
import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import samples_in, start, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.model.kernel import NAME


def test_a_finished_source_may_be_followed_by_another(days, model, run, tmp_path):
    """The next day's file continues a finished one; the same file again adds nothing."""
    for day, expected in ((0, 1500), (0, 1500), (1, 3000), (2, 4500), (2, 4500)):
        run("learn", days[day], "-m", model, "--quiet", check=0)
        assert samples_in(model) == expected
    whole = tmp_path / "whole.npz"
    run("learn", *days, "-m", whole, "--quiet", check=0)

    live, at_once = LiveModel.load(model), LiveModel.load(whole)
    assert live.model.weights.tobytes() == at_once.model.weights.tobytes()
    assert live.progress.error_sum == at_once.progress.error_sum


@pytest.mark.parametrize("forms", [["csv"] * 2, ["jsonl"] * 2, ["svm"] * 2, ["parquet", "csv"]])
def test_a_text_file_that_follows_another_is_learned_once(forms, tmp_path, model, run):
    """A smaller file that follows is not mistaken for the first one, truncated."""
    files = []
    for i, (form, n) in enumerate(zip(forms, (3000, 1200), strict=True)):
        path = tmp_path / f"{i}.{form}"
        rows = [{"a": j % 7 - 3, "b": j % 5 + i, "label": "xy"[j % 7 > 3]} for j in range(n)]
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            line = {
                "csv": "{a},{b},{label}\n",
                "jsonl": '{{"a": {a}, "b": {b}, "label": "{label}"}}\n',
                "svm": "{label} 1:{a} 2:{b}\n",
            }[form]
            header = "a,b,label\n" if form == "csv" else ""
            path.write_text(header + "".join(line.format(**row) for row in rows))
        files.append(path)
    run("learn", files[0], "-m", model, "--quiet", check=0)
    run("learn", files[1], "-m", model, "--limit", 500, "--quiet", check=0)
    for _ in range(2):
        result = run("learn", files[1], "-m", model, "--quiet", check=0)
    assert result.stderr == ""
    assert samples_in(model) == 4200
    run("verify", model, *files, check=0)
    for again in (files, files[:1]):
        run("learn", *again, "-m", model, "--quiet", check=0)
    assert samples_in(model) == 4200


def test_sources_may_be_added_behind(days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    run("learn", *days[:2], "-m", model, "--quiet", check=0)
    run("learn", *days, "-m", model, "--limit", 4000, "--quiet", check=0)
    assert samples_in(model) == 4000

    run("learn", *days, "-m", model, "--quiet", check=0)
    assert samples_in(model) == 4500


def test_passes_and_limit_count_what_was_done_before(days, model, run):
    steps = [
        (["--limit", 700], 700), (["--limit", 700], 700), (["--limit", 1600, "--passes", 2], 1600),
        ([], 1600), (["--passes", 2], 3000), (["--passes", 3], 4500), (["--passes", 1], 4500),
    ]  # fmt: skip
    for options, expected in steps:
        run("learn", days[0], "-m", model, "--quiet", *options, check=0)
        assert samples_in(model) == expected


def test_moved_files_are_the_same_sources(days, model, run, tmp_path):
    run("learn", days[0], "-m", model, "--limit", 500, "--quiet", check=0)
    moved = days[0].rename(tmp_path / "moved.parquet")
    run("learn", moved, "-m", model, "--quiet", check=0)

    assert samples_in(model) == 1500


def test_other_files_may_be_read_before_one_is_finished(days, model, run):
    run("learn", days[0], "-m", model, "--limit", 500, "--quiet", check=0)
    run("learn", days[1], "-m", model, "--quiet", check=0)
    run("learn", *reversed(days), "-m", model, "--quiet", check=0)

    assert samples_in(model) == 4500
    run("verify", model, *days, check=0)


def test_lr_and_epsilon_may_change_and_it_is_said(days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    result = run("learn", days[1], "-m", model, "--lr", 0.5, "--epsilon", 0.1, check=0)

    assert "lr is 0.5 from now on" in result.stderr
    assert "epsilon is 0.1 from now on" in result.stderr
    changed = LiveModel.load(model).model
    assert (changed.lr, changed.epsilon) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--activation", "tanh"], "with --activation sigmoid, not with --activation tanh"),
        (["--seed", "1"], "with --seed 0, not with --seed 1"),
        (["--init-range", "1"], "with --init-range 0.03, not with --init-range 1"),
        (["--classes", "left,right"], "without --classes, not with --classes left,right"),
        (["--scale", "1/255"], "with --scale 1, not with --scale 1/255"),
        (["--label", "class"], "without --label, not with --label class"),
        (["--ignore", "b"], "without --ignore, not with --ignore b"),
        (["--no-standardize"], "with --standardize, not with --no-standardize"),
    ],
    ids=str,
)
def test_other_contradictions_name_both_values(options, reason, days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    result = run("learn", days[1], "-m", model, *options, check=1)

    assert result.stderr == (
        f"Error: {model}: the model was made {reason}: leave out the option, or start over with "
        "--overwrite\n"
    )
    assert model.read_bytes() == before


def test_overwrite_begins_anew_and_keeps_the_old_model(days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    run("learn", days[1], "-m", model, "--overwrite", "--seed", 1, "--quiet", check=0)

    assert (samples_in(model), LiveModel.load(model).model.seed_) == (1500, 1)
    assert model.with_name("model.npz.prev").read_bytes() == before


def test_damaged_model_is_refused_and_nothing_is_lost(days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    run("learn", days[1], "-m", model, "--quiet", check=0)
    model.write_bytes(model.read_bytes()[:-3])
    damaged = model.read_bytes()
    for command in (["learn", days[2], "-m"], ["predict", days[2], "-m"], ["inspect"]):
        result = run(*command, model, check=1)

        assert len(result.stderr.splitlines()) == 1
        assert f"the previous save is {model}.prev" in result.stderr
        assert damaged == model.read_bytes()


def test_another_kernel_is_announced(days, model, run, monkeypatch):
    from stream_perceptron.checkpoint import state

    run("learn", days[0], "-m", model, "--quiet", check=0)
    live = LiveModel.load(model)
    monkeypatch.setattr(state, "KERNEL", "other")
    live.save(model)
    result = run("learn", days[1], "-m", model, "--quiet", check=0)

    assert result.stderr.startswith(
        f"warning: saved with the other kernel, resuming with the {NAME} "
    )
    assert LiveModel.load(model).kernel == NAME


def test_divergence_is_one_line_and_saved_up_to(tmp_path, model, run):
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"x": [1.0] * 50 + [1e200], "y": ["a", "b", "c"] * 17}), path)
    options = ["--activation", "identity", "-m", model, "--quiet"]
    result = run("learn", path, *options, check=1)

    line = "row 51: diverged at sample 51: lower lr or scale the features\n"
    assert result.stderr == f"Error: {path}: {line}"
    assert samples_in(model) == 50


def test_bad_row_is_saved_up_to(tmp_path, model, run):
    path = tmp_path / "bad.parquet"
    x = [1.0] * 1234 + [float("nan")] + [1.0] * 10
    pq.write_table(pa.table({"x": x, "y": ["a", "b", "c", "d", "e"] * 249}), path)
    result = run("learn", path, "-m", model, "--quiet", check=1)
    again = run("learn", path, "-m", model, "--quiet", check=1)
    skipping = run("learn", path, "-m", model, "--quiet", "--skip-bad", "--json", check=0)

    assert result.stderr.splitlines()[-1] == again.stderr.splitlines()[-1]
    assert "row 1235: column 'x' is nan" in again.stderr
    assert tuple(json.loads(skipping.stdout)[key] for key in ("samples", "skipped")) == (1244, 1)


def test_stop_is_not_passed_when_started_again(digits, model, run):
    options = ["--random", "--stop", "--lr", 0.05, "--quiet", "-m", model]
    run("learn", digits["train"], *options, "--epsilon", 0.01, check=0)
    stopped = samples_in(model)
    run("learn", digits["train"], *options, check=0)
    assert stopped == samples_in(model)

    run("learn", digits["train"], *options, "--epsilon", 0.001, check=0)
    assert stopped < samples_in(model)


@pytest.mark.parametrize("options", [["--save-every", "9"], ["--overwrite"], ["--again"]], ids=str)
def test_checkpoint_options_want_a_checkpoint(options, days, run):
    result = run("learn", days[0], *options, check=2)

    assert f"{options[0]} needs a checkpoint: add -m MODEL" in result.stderr


@pytest.mark.parametrize("interval", ["0", "x", "5 s", "-1", "1.5s"])
def test_save_every_is_rows_or_time(interval, days, model, run):
    result = run("learn", days[0], "-m", model, "--save-every", interval, check=2)

    assert "is not a number of rows or a time such as 30s or 5m" in result.stderr


def test_stdin_goes_on_with_what_comes(days, model, run):
    for expected, day in ((1500, days[0]), (3000, days[1])):
        with day.open("rb") as file:
            run("learn", "-", "-m", model, "--quiet", stdin=file, check=0)
        assert samples_in(model) == expected
    usage = run("learn", "-", "--passes", 2, check=2)

    assert "can be read only once" in usage.stderr


def test_predictions_are_written_on_and_begun_anew_elsewhere(days, model, run, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    run("learn", days[0], "-m", model, "-p", first, "--limit", 900, "--quiet", check=0)
    with first.open("a") as file:
        file.write("written by a run that was killed before it could save\n")
    run("learn", days[0], "-m", model, "-p", first, "--quiet", check=0)
    run("learn", days[1], "-m", model, "-p", first, "--quiet", check=0)
    run("learn", days[2], "-m", model, "-p", second, "--quiet", check=0)
    rows = [json.loads(line)["row"] for line in first.read_text().splitlines()]

    assert rows == list(range(1, 3001))
    assert json.loads(second.read_text().splitlines()[0])["row"] == 3001
    second.write_bytes(second.read_bytes()[:-1])
    result = run("learn", days[0], "-m", model, "-p", second, check=1)
    assert "were written when the model was saved" in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("empties", [False, True])
def test_a_rotated_file_of_predictions_is_started_again(form, empties, days, model, run, tmp_path):
    path, rotated = tmp_path / f"p.{form}", tmp_path / "rotated"
    run("learn", days[0], "-m", model, "-p", path, "--quiet", check=0)
    shutil.copy(path, rotated)
    path.write_bytes(b"") if empties else path.unlink()
    result = run("learn", days[1], "-m", model, "-p", path, "--quiet", check=0)
    run("learn", days[2], "-m", model, "-p", path, "--quiet", check=0)
    lines = path.read_text().splitlines()
    rows = [
        json.loads(x)["row"] if form == "jsonl" else int(x.split(",")[0]) for x in lines[-3000:]
    ]

    warning = f"{path} was removed or emptied since the last save: it is started again"
    assert result.stderr == f"warning: {warning}\n"
    assert rows == list(range(1501, 4501))
    assert len(lines) == 3000 + (form == "csv")  # with a header


def test_a_second_source_is_saved_as_often_as_the_first(days, model, run):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    # Nobody reads the predictions, so this run stops before the rows of the first file.
    with start(
        days[1], "-m", model, "--quiet", "--save-every", "100", "-p", "-", stdout=subprocess.PIPE
    ) as process:
        wait_for(lambda: samples_in(model) > 1500, process)
        process.kill()

    assert samples_in(model) < 3000
