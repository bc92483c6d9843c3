"""No command writes to its own input, and every error names its file."""

from __future__ import annotations

import errno
import os
import stat
import subprocess

import pytest
from click.testing import CliRunner
from helpers import COMMAND, start, wait_for
from river import feature_extraction, preprocessing

from stream_perceptron import LiveModel, SGDPerceptron, load, save
from stream_perceptron_cli.main import main

ROWS = "label,a\n" + "left,1\nright,2\n" * 50


@pytest.fixture
def table_path(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(ROWS)
    return path


@pytest.mark.parametrize("alias", ["itself", "symbolic link", "hard link", "another spelling"])
@pytest.mark.parametrize("option", ["-p", "-m"])
def test_output_that_is_also_a_source_is_rejected(alias, option, table_path, tmp_path, run):
    target = tmp_path / "other"
    if alias == "itself":
        target = table_path
    elif alias == "symbolic link":
        target.symlink_to(table_path)
    elif alias == "hard link":
        os.link(table_path, target)
    else:
        target = tmp_path / "." / ".." / tmp_path.name / table_path.name
    result = run("learn", table_path, option, target, check=2)

    assert result.stderr.count("is both SOURCE and") == 1
    assert ROWS == table_path.read_text()
    assert not (tmp_path / "data.csv.lock").exists()


def test_predictions_and_model_must_be_different_files(table_path, tmp_path, run):
    path = tmp_path / "m"

    assert "is both MODEL and the predictions" in (
        run("learn", table_path, "-m", path, "-p", path, check=2).stderr
    )
    assert not path.exists()


def test_previous_save_is_rejected_as_a_source(tmp_path, run):
    """Otherwise saving the model would overwrite the source."""
    source, model = tmp_path / "m.npz.prev", tmp_path / "m.npz"
    source.write_text(ROWS)

    assert "is both SOURCE and the previous save" in (
        run("learn", source, "-m", model, check=2).stderr
    )
    assert ROWS == source.read_text()


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize("position", ["alone", "last"])
def test_missing_source_leaves_existing_predictions(ending, position, table_path, tmp_path, run):
    model, output = tmp_path / "m.npz", tmp_path / f"p{ending}"
    run("learn", table_path, "-m", model, "--quiet", check=0)
    output.write_text("kept\n")
    sources = (
        [tmp_path / "gone.csv"] if position == "alone" else [table_path, tmp_path / "gone.csv"]
    )
    result = run("predict", *sources, "-m", model, "-p", output, check=1)

    assert result.stderr == f"Error: {tmp_path / 'gone.csv'}: No such file or directory\n"
    assert output.read_text() == "kept\n"


@pytest.mark.parametrize("replaced", ["model", "examples"])
def test_report_does_not_overwrite_its_model_or_examples(replaced, table_path, tmp_path, run):
    path = tmp_path / "m.npz"
    run("learn", table_path, "-m", path, "--quiet", check=0)
    before = path.read_bytes()
    output = path if replaced == "model" else table_path
    result = run("report", path, "--examples", table_path, "-o", output, check=2)

    assert "name another file" in result.stderr
    assert (path.read_bytes(), table_path.read_text()) == (before, ROWS)


def test_average_does_not_overwrite_its_inputs(tmp_path, run):
    path = tmp_path / "m.npz"
    save(SGDPerceptron(seed=0), path)

    run("average", path, "--base", path, "-o", path, check=2)


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
def test_model_is_saved_only_to_a_regular_file(kind, options, table_path, tmp_path, run):
    path = {"device": "/dev/null", "fifo": tmp_path / "fifo", "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    run("learn", table_path, "-m", path, *options, check=2)

    assert not stat.S_ISREG(os.stat(path).st_mode)


def test_predictions_can_be_written_to_a_device(table_path, tmp_path, run):
    shown = run("learn", table_path, "-p", "/dev/stdout", "--quiet", check=0).stdout
    run("learn", table_path, "-p", "/dev/null", "-m", tmp_path / "m.npz", "--quiet", check=0)

    assert shown.count("\n") == 100
    assert LiveModel.load(tmp_path / "m.npz").outputs == {}


def test_predictions_can_be_written_to_a_fifo(table_path, tmp_path):
    """The reader may open the FIFO after the run has started."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(table_path, "-p", fifo, "--quiet") as process:
        shown = fifo.read_text()
        assert process.wait(60) == 0, process.stderr.read()

    assert shown.count("\n") == 100


def test_predictions_file_is_identified_by_its_resolved_path(table_path, tmp_path, run):
    """A path through a symbolic link names the same file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    model = tmp_path / "m.npz"
    run("learn", table_path, "-m", model, "-p", folder / "p", "--limit", 40, "--quiet", check=0)
    run("learn", table_path, "-m", model, "-p", tmp_path / "link" / "p", "--quiet", check=0)

    assert (folder / "p").read_text().count("\n") == 100


@pytest.mark.parametrize("output_kind", ["predictions", "stdout"])
def test_full_disk_error_names_the_output(output_kind, table_path, tmp_path):
    if output_kind == "predictions":
        (tmp_path / "p").symlink_to("/dev/full")
    output = tmp_path / "p" if output_kind == "predictions" else "-"
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [COMMAND, "learn", table_path, "-p", output, "--quiet"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    name = output if output_kind == "predictions" else "stdout"
    assert (result.returncode, result.stderr) == (1, f"Error: {name}: No space left on device\n")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_checkpoint_follows_umask_and_old_one_keeps_its_mode(umask, tmp_path):
    path = tmp_path / "m.npz"
    before = os.umask(umask)
    try:
        save(SGDPerceptron(seed=0), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        path.chmod(0o640)
        save(SGDPerceptron(seed=1), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_error_for_a_damaged_model_names_the_previous_save(tmp_path, run):
    """The damage is an invalid value, not a damaged byte."""
    from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint

    path = tmp_path / "m.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
    meta["model"]["activation"] = "step"
    write_checkpoint(path, meta, arrays)

    assert f"the previous save is {path}.prev" in run("inspect", path, check=1).stderr


def test_predict_waits_for_a_model_and_keeps_it_if_the_next_is_damaged(table_path, tmp_path, run):
    path, source = tmp_path / "m.npz", tmp_path / "rows.jsonl"
    source.write_text('{"a": 1}\n')
    process = subprocess.Popen(
        [COMMAND, "predict", "-m", path, "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run("learn", table_path, "-m", tmp_path / "other.npz", "--quiet", check=0)
    os.replace(tmp_path / "other.npz", path)

    def predict_row():
        process.stdin.write('{"a": 1}\n')
        process.stdin.flush()
        return process.stdout.readline()

    first_line = predict_row()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:-1])
    os.replace(damaged, path)
    assert '"prediction": ' in first_line
    wait_for(
        lambda: predict_row().partition("prediction")[2] == first_line.partition("prediction")[2]
    )
    process.stdin.close()

    assert process.wait(60) == 0
    assert "still predicting with the previously loaded model" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


PYTHON_STEPS = {
    "MinMaxScaler": preprocessing.MinMaxScaler,
    "StandardScaler(with_std=False)": lambda: preprocessing.StandardScaler(with_std=False),
    "BagOfWords": lambda: feature_extraction.BagOfWords("text"),
    "Binarizer": lambda: preprocessing.StandardScaler() | preprocessing.Binarizer(),
}


@pytest.mark.parametrize("name", PYTHON_STEPS)
def test_model_behind_a_python_only_step_is_shown_but_does_not_run(name, tmp_path, run):
    """The error names the step and the Python methods to call; the file is unchanged."""
    path = tmp_path / "m.npz"
    pipeline = PYTHON_STEPS[name]() | SGDPerceptron(seed=0)
    for i in range(20):
        x = {"text": "a b c"} if name == "BagOfWords" else {"a": i, "b": 1.0 * (i % 3)}
        pipeline.learn_one(x, "uv"[i % 2])
    save(pipeline, path)
    before = path.read_bytes()
    source = tmp_path / "s.csv"
    source.write_text("a,b,label\n1,2,u\n3,4,v\n")
    for command in (
        ["predict", source, "-m", path], ["evaluate", source, "-m", path],
        ["learn", source, "-m", path], ["report", path, "--examples", source],
    ):  # fmt: skip
        assert run(*command, cwd=tmp_path, check=1).stderr == (
            f"Error: {path}: this model runs only in Python, because of its step {name}: use "
            "predict_one and learn_one of stream_perceptron.load(PATH).model\n"
        )
    shown = run("inspect", path, check=0).stdout
    run("report", path, "-o", tmp_path / "r.html", check=0)

    for text in (shown, (tmp_path / "r.html").read_text()):
        assert f"only in Python, because of its step {name}" in text
    assert path.read_bytes() == before
    assert load(path).model.predict_one(x) == pipeline.predict_one(x)


def test_predictions_are_written_to_an_unreadable_folder(table_path, tmp_path, monkeypatch):
    """An unreadable folder cannot be synced, but the run accepts it."""

    def deny_access(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("stream_perceptron.checkpoint.atomic.sync_folder", deny_access)
    output = tmp_path / "p.jsonl"
    result = CliRunner().invoke(main, ["learn", str(table_path), "-p", str(output), "--quiet"])

    assert (result.exit_code, output.stat().st_size > 0) == (0, True)
