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
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(ROWS)
    return path


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link", "another spelling"])
@pytest.mark.parametrize("option", ["-p", "-m"])
def test_a_source_is_never_written_to(how, option, data, tmp_path, run):
    other = tmp_path / "other"
    if how == "itself":
        other = data
    elif how == "symbolic link":
        other.symlink_to(data)
    elif how == "hard link":
        os.link(data, other)
    else:
        other = tmp_path / "." / ".." / tmp_path.name / data.name
    result = run("learn", data, option, other, check=2)

    assert result.stderr.count("is both SOURCE and") == 1
    assert ROWS == data.read_text()
    assert not (tmp_path / "data.csv.lock").exists()


def test_predictions_and_model_are_two_files(data, tmp_path, run):
    path = tmp_path / "m"

    assert "is both MODEL and the predictions" in (
        run("learn", data, "-m", path, "-p", path, check=2).stderr
    )
    assert not path.exists()


def test_the_previous_save_is_no_source(tmp_path, run):
    """The save would replace its own source."""
    source, model = tmp_path / "m.npz.prev", tmp_path / "m.npz"
    source.write_text(ROWS)

    assert "is both SOURCE and the previous save" in (
        run("learn", source, "-m", model, check=2).stderr
    )
    assert ROWS == source.read_text()


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize("place", ["alone", "last"])
def test_what_is_not_there_does_not_empty_the_predictions(ending, place, data, tmp_path, run):
    model, output = tmp_path / "m.npz", tmp_path / f"p{ending}"
    run("learn", data, "-m", model, "--quiet", check=0)
    output.write_text("kept\n")
    sources = [tmp_path / "gone.csv"] if place == "alone" else [data, tmp_path / "gone.csv"]
    result = run("predict", *sources, "-m", model, "-p", output, check=1)

    assert result.stderr == f"Error: {tmp_path / 'gone.csv'}: No such file or directory\n"
    assert output.read_text() == "kept\n"


@pytest.mark.parametrize("which", ["model", "examples"])
def test_a_report_does_not_replace_what_it_is_about(which, data, tmp_path, run):
    path = tmp_path / "m.npz"
    run("learn", data, "-m", path, "--quiet", check=0)
    before = path.read_bytes()
    output = path if which == "model" else data
    result = run("report", path, "--examples", data, "-o", output, check=2)

    assert "name another file" in result.stderr
    assert (path.read_bytes(), data.read_text()) == (before, ROWS)


def test_an_average_does_not_replace_what_it_is_made_of(tmp_path, run):
    path = tmp_path / "m.npz"
    save(SGDPerceptron(seed=0), path)

    run("average", path, "--base", path, "-o", path, check=2)


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
def test_a_model_is_kept_in_a_regular_file_only(kind, options, data, tmp_path, run):
    path = {"device": "/dev/null", "fifo": tmp_path / "fifo", "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    run("learn", data, "-m", path, *options, check=2)

    assert not stat.S_ISREG(os.stat(path).st_mode)


def test_predictions_may_go_to_a_device(data, tmp_path, run):
    shown = run("learn", data, "-p", "/dev/stdout", "--quiet", check=0).stdout
    run("learn", data, "-p", "/dev/null", "-m", tmp_path / "m.npz", "--quiet", check=0)

    assert shown.count("\n") == 100
    assert LiveModel.load(tmp_path / "m.npz").cursor.outputs == {}


def test_predictions_may_go_to_a_fifo(data, tmp_path):
    """The FIFO's reader may come later."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(data, "-p", fifo, "--quiet") as process:
        shown = fifo.read_text()
        assert process.wait(60) == 0, process.stderr.read()

    assert shown.count("\n") == 100


def test_a_file_of_predictions_is_known_by_where_it_is(data, tmp_path, run):
    """The spelling of its path does not matter."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    model = tmp_path / "m.npz"
    run("learn", data, "-m", model, "-p", folder / "p", "--limit", 40, "--quiet", check=0)
    run("learn", data, "-m", model, "-p", tmp_path / "link" / "p", "--quiet", check=0)

    assert (folder / "p").read_text().count("\n") == 100


@pytest.mark.parametrize("what", ["predictions", "stdout"])
def test_a_full_disk_is_named(what, data, tmp_path):
    if what == "predictions":
        (tmp_path / "p").symlink_to("/dev/full")
    output = tmp_path / "p" if what == "predictions" else "-"
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [COMMAND, "learn", data, "-p", output, "--quiet"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    name = output if what == "predictions" else "stdout"
    assert (result.returncode, result.stderr) == (1, f"Error: {name}: No space left on device\n")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_checkpoint_follows_the_umask_and_an_old_one_keeps_its_mode(umask, tmp_path):
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


def test_the_error_of_a_damaged_model_names_the_one_before(tmp_path, run):
    """The error names it for invalid contents too, not only for damaged bytes."""
    from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint

    path = tmp_path / "m.npz"
    save(SGDPerceptron(seed=0), path)
    meta, arrays = read_checkpoint(path)
    meta["model"]["activation"] = "step"
    write_checkpoint(path, meta, arrays)

    assert f"the previous save is {path}.prev" in run("inspect", path, check=1).stderr


def test_predict_waits_for_a_model_and_keeps_it_when_the_next_is_damaged(data, tmp_path, run):
    path, source = tmp_path / "m.npz", tmp_path / "rows.jsonl"
    source.write_text('{"a": 1}\n')
    process = subprocess.Popen(
        [COMMAND, "predict", "-m", path, "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run("learn", data, "-m", tmp_path / "other.npz", "--quiet", check=0)
    os.replace(tmp_path / "other.npz", path)

    def predict():
        process.stdin.write('{"a": 1}\n')
        process.stdin.flush()
        return process.stdout.readline()

    first = predict()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:-1])
    os.replace(damaged, path)
    assert '"prediction": ' in first
    wait_for(lambda: predict().partition("prediction")[2] == first.partition("prediction")[2])
    process.stdin.close()

    assert process.wait(60) == 0
    assert "still predicting with the model loaded before" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


PYTHON_STEPS = {
    "MinMaxScaler": preprocessing.MinMaxScaler,
    "StandardScaler(with_std=False)": lambda: preprocessing.StandardScaler(with_std=False),
    "BagOfWords": lambda: feature_extraction.BagOfWords("text"),
    "Binarizer": lambda: preprocessing.StandardScaler() | preprocessing.Binarizer(),
}


@pytest.mark.parametrize("name", PYTHON_STEPS)
def test_a_model_behind_a_step_of_python_is_shown_and_does_not_run(name, tmp_path, run):
    """The error names the step and the calls in Python; the file stays as it is."""
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
            f"Error: {path}: the step {name} of this model runs only in Python: use "
            "predict_one and learn_one of stream_perceptron.load(PATH).model\n"
        )
    shown = run("inspect", path, check=0).stdout
    run("report", path, "-o", tmp_path / "r.html", check=0)

    for text in (shown, (tmp_path / "r.html").read_text()):
        assert f"{name}, which runs only in Python" in text
    assert path.read_bytes() == before
    assert load(path).model.predict_one(x) == pipeline.predict_one(x)


def test_predictions_go_to_a_folder_that_cannot_be_read(data, tmp_path, monkeypatch):
    """Such a folder cannot be synced, and is accepted nevertheless."""

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("stream_perceptron.checkpoint.atomic.sync_folder", refuse)
    output = tmp_path / "p.jsonl"
    result = CliRunner().invoke(main, ["learn", str(data), "-p", str(output), "--quiet"])

    assert (result.exit_code, output.stat().st_size > 0) == (0, True)
