"""Models on disk: learn -m, predict, evaluate and inspect."""

from __future__ import annotations

import json
import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import count_samples, start, wait_for

from stream_perceptron import LiveModel


def test_run_continues_with_the_next_file_and_skips_a_repeated_one(
    daily_files, model, run, tmp_path
):
    """The next day's file is learned after a finished one; the same file again adds nothing."""
    for day, expected in ((0, 1500), (0, 1500), (1, 3000), (2, 4500), (2, 4500)):
        run("learn", daily_files[day], "-m", model, "--quiet", check=0)
        assert count_samples(model) == expected
    whole = tmp_path / "whole.npz"
    run("learn", *daily_files, "-m", whole, "--quiet", check=0)

    live, at_once = LiveModel.load(model), LiveModel.load(whole)
    assert live.model.weights.tobytes() == at_once.model.weights.tobytes()
    assert live.progress.error_sum == at_once.progress.error_sum


@pytest.mark.parametrize("forms", [["csv"] * 2, ["jsonl"] * 2, ["svm"] * 2, ["parquet", "csv"]])
def test_smaller_second_file_is_not_mistaken_for_a_truncated_first(forms, tmp_path, model, run):
    """Each file is learned once, in whatever runs it is read."""
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
    assert count_samples(model) == 4200
    run("verify", model, *files, check=0)
    for sources in (files, files[:1]):
        run("learn", *sources, "-m", model, "--quiet", check=0)
    assert count_samples(model) == 4200


def test_sources_can_be_appended_to_the_list(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    run("learn", *daily_files[:2], "-m", model, "--quiet", check=0)
    run("learn", *daily_files, "-m", model, "--limit", 4000, "--quiet", check=0)
    assert count_samples(model) == 4000

    run("learn", *daily_files, "-m", model, "--quiet", check=0)
    assert count_samples(model) == 4500


def test_passes_and_limit_include_earlier_runs(daily_files, model, run):
    steps = [
        (["--limit", 700], 700), (["--limit", 700], 700), (["--limit", 1600, "--passes", 2], 1600),
        ([], 1600), (["--passes", 2], 3000), (["--passes", 3], 4500), (["--passes", 1], 4500),
    ]  # fmt: skip
    for options, expected in steps:
        run("learn", daily_files[0], "-m", model, "--quiet", *options, check=0)
        assert count_samples(model) == expected


def test_moved_file_resumes_where_it_stopped(daily_files, model, run, tmp_path):
    run("learn", daily_files[0], "-m", model, "--limit", 500, "--quiet", check=0)
    moved = daily_files[0].rename(tmp_path / "moved.parquet")
    run("learn", moved, "-m", model, "--quiet", check=0)

    assert count_samples(model) == 1500


def test_unfinished_file_resumes_after_another_file(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--limit", 500, "--quiet", check=0)
    run("learn", daily_files[1], "-m", model, "--quiet", check=0)
    run("learn", *reversed(daily_files), "-m", model, "--quiet", check=0)

    assert count_samples(model) == 4500
    run("verify", model, *daily_files, check=0)


def test_changed_lr_and_epsilon_are_reported(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    result = run("learn", daily_files[1], "-m", model, "--lr", 0.5, "--epsilon", 0.1, check=0)

    assert "lr is 0.5 from now on" in result.stderr
    assert "epsilon is 0.1 from now on" in result.stderr
    changed = LiveModel.load(model).model
    assert (changed.lr, changed.epsilon) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (["--activation", "tanh"], "sigmoid"),
        (["--seed", "1"], "0"),
        (["--init-range", "1"], "0.03"),
        (["--classes", "left,right"], "not set"),
        (["--scale", "1/255"], "1"),
        (["--label", "b"], "class"),
        (["--ignore", "b"], "not set"),
        (["--no-standardize"], "on"),
    ],
    ids=str,
)
def test_error_for_a_changed_setting_names_the_old_value(options, value, daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    result = run("learn", daily_files[1], "-m", model, *options, check=1)
    option = options[0].replace("--no-", "--")

    assert result.stderr == (
        f"Error: {model}: {option} cannot change for an existing model (it is {value}): leave it "
        "out, or start over with --overwrite\n"
    )
    assert model.read_bytes() == before


def test_overwrite_starts_over_and_backs_up_the_old_model(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    run("learn", daily_files[1], "-m", model, "--overwrite", "--seed", 1, "--quiet", check=0)

    assert (count_samples(model), LiveModel.load(model).model.seed_) == (1500, 1)
    assert model.with_name("model.npz.prev").read_bytes() == before


def test_damaged_model_is_rejected_and_left_unchanged(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    run("learn", daily_files[1], "-m", model, "--quiet", check=0)
    model.write_bytes(model.read_bytes()[:-3])
    damaged = model.read_bytes()
    for command in (
        ["learn", daily_files[2], "-m"],
        ["predict", daily_files[2], "-m"],
        ["inspect"],
    ):
        result = run(*command, model, check=1)

        assert len(result.stderr.splitlines()) == 1
        assert f"the previous save is {model}.prev" in result.stderr
        assert damaged == model.read_bytes()


def test_diverging_run_saves_the_samples_before_divergence(tmp_path, model, run):
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"x": [1.0] * 50 + [1e200], "y": ["a", "b", "c"] * 17}), path)
    options = ["--activation", "identity", "-m", model, "--quiet"]
    result = run("learn", path, *options, check=1)

    line = "row 51: diverged at sample 51: lower lr or scale the features\n"
    assert result.stderr == f"Error: {path}: {line}"
    assert count_samples(model) == 50


def test_rows_before_a_rejected_row_are_saved(tmp_path, model, run):
    path = tmp_path / "bad.parquet"
    x = [1.0] * 1234 + [float("nan")] + [1.0] * 10
    pq.write_table(pa.table({"x": x, "y": ["a", "b", "c", "d", "e"] * 249}), path)
    result = run("learn", path, "-m", model, "--quiet", check=1)
    repeated = run("learn", path, "-m", model, "--quiet", check=1)
    skipped = run("learn", path, "-m", model, "--quiet", "--skip-bad", "--json", check=0)

    assert result.stderr.splitlines()[-1] == repeated.stderr.splitlines()[-1]
    assert "row 1235: column 'x' is nan" in repeated.stderr
    assert tuple(json.loads(skipped.stdout)[key] for key in ("samples", "skipped")) == (1244, 1)


def test_stopped_run_stays_stopped_until_epsilon_is_lowered(mnist_files, model, run):
    options = ["--random", "--stop", "--lr", 0.05, "--quiet", "-m", model]
    run("learn", mnist_files["train"], *options, "--epsilon", 0.01, check=0)
    stopped = count_samples(model)
    run("learn", mnist_files["train"], *options, check=0)
    assert stopped == count_samples(model)

    run("learn", mnist_files["train"], *options, "--epsilon", 0.001, check=0)
    assert stopped < count_samples(model)


@pytest.mark.parametrize("options", [["--save-every", "9"], ["--overwrite"], ["--again"]], ids=str)
def test_checkpoint_options_require_a_model_path(options, daily_files, run):
    result = run("learn", daily_files[0], *options, check=2)

    assert f"{options[0]} needs a checkpoint: add -m MODEL" in result.stderr


@pytest.mark.parametrize("interval", ["0", "x", "5 s", "-1", "1.5s"])
def test_invalid_save_every_is_a_usage_error(interval, daily_files, model, run):
    result = run("learn", daily_files[0], "-m", model, "--save-every", interval, check=2)

    assert "is not a number of rows or a time such as 30s or 5m" in result.stderr


def test_each_run_on_stdin_learns_the_rows_it_receives(daily_files, model, run):
    for expected, day in ((1500, daily_files[0]), (3000, daily_files[1])):
        with day.open("rb") as file:
            run("learn", "-", "-m", model, "--quiet", stdin=file, check=0)
        assert count_samples(model) == expected
    usage = run("learn", "-", "--passes", 2, check=2)

    assert "can be read only once" in usage.stderr


def test_predictions_are_appended_and_a_new_file_has_only_new_rows(
    daily_files, model, run, tmp_path
):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    run("learn", daily_files[0], "-m", model, "-p", first, "--limit", 900, "--quiet", check=0)
    with first.open("a") as file:
        file.write("written by a run that was killed before it could save\n")
    run("learn", daily_files[0], "-m", model, "-p", first, "--quiet", check=0)
    run("learn", daily_files[1], "-m", model, "-p", first, "--quiet", check=0)
    run("learn", daily_files[2], "-m", model, "-p", second, "--quiet", check=0)
    rows = [json.loads(line)["row"] for line in first.read_text().splitlines()]

    assert rows == list(range(1, 3001))
    assert json.loads(second.read_text().splitlines()[0])["row"] == 3001
    second.write_bytes(second.read_bytes()[:-1])
    result = run("learn", daily_files[0], "-m", model, "-p", second, check=1)
    assert "had been written when the model was saved" in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_rotated_predictions_file_is_started_again(
    form, is_emptied, daily_files, model, run, tmp_path
):
    path, rotated = tmp_path / f"p.{form}", tmp_path / "rotated"
    run("learn", daily_files[0], "-m", model, "-p", path, "--quiet", check=0)
    shutil.copy(path, rotated)
    path.write_bytes(b"") if is_emptied else path.unlink()
    result = run("learn", daily_files[1], "-m", model, "-p", path, "--quiet", check=0)
    run("learn", daily_files[2], "-m", model, "-p", path, "--quiet", check=0)
    lines = path.read_text().splitlines()
    rows = [
        json.loads(x)["row"] if form == "jsonl" else int(x.split(",")[0]) for x in lines[-3000:]
    ]

    warning = f"{path} has been removed or emptied since the last save: starting a new file"
    assert result.stderr == f"warning: {warning}\n"
    assert rows == list(range(1501, 4501))
    assert len(lines) == 3000 + (form == "csv")  # with a header


def test_save_every_applies_to_a_second_source(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    # Nobody reads the predictions, so the run blocks after fewer rows than the first file has.
    with start(
        daily_files[1],
        "-m",
        model,
        "--quiet",
        "--save-every",
        "100",
        "-p",
        "-",
        stdout=subprocess.PIPE,
    ) as process:
        wait_for(lambda: count_samples(model) > 1500, process)
        process.kill()

    assert count_samples(model) < 3000


def test_diverging_row_with_a_new_label_is_not_saved(tmp_path, run):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text("a,label\n" + "1,x\n2,y\n" * 1200 + "1e308,z\n1,x\n")
    options = ["--activation", "identity", "--scores", "-p", tmp_path / "p.jsonl"]
    result = run("learn", source, "-m", path, "--quiet", *options, check=1)
    saved = LiveModel.load(path)

    assert f"Error: {source}: row 2401: diverged at sample 2,401" in result.stderr
    assert (saved.model.classes_, saved.model.n_seen) == (["x", "y"], 2400)
    assert (saved.progress.samples, saved.progress.rows, saved.history.run.read) == (
        2400,
        2400,
        2400,
    )
    assert [entry.end for entry in saved.history.entries] == [2400]
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 2400
