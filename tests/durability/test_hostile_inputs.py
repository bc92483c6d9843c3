"""Hostile numbers, files and interruptions."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
from helpers import COMMAND, require_tool, write_jsonl, write_parquet

from stream_perceptron import LiveModel, SGDPerceptron, load, save
from stream_perceptron.data.opening import open_source
from stream_perceptron.errors import SampleError

HUGE = 10**5000  # more digits than Python converts to text


@pytest.fixture
def overflowing_model(tmp_path):
    """A model whose net inputs overflow if a feature is 1e308."""
    model = SGDPerceptron(activation="identity", classes=["x", "y"], seed=0, init_range=5.0)
    model.learn_one({"a": 0.1}, "x")
    save(model, tmp_path / "steep.npz")
    return tmp_path / "steep.npz"


@pytest.mark.parametrize("command", ["predict", "learn"])
@pytest.mark.parametrize("form", ["json", "csv"])
def test_predictions_never_contain_nan(command, form, run, overflowing_model, tmp_path):
    rows = [{"a": 1}, {"a": 2}, {"a": 1e308}, {"a": 3}]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    output_options = (
        ["-p", tmp_path / f"p.{form}"] if command == "learn" else ["--output-format", form]
    )
    result = run(command, source, "-m", overflowing_model, *output_options, check=1)
    written = (tmp_path / f"p.{form}").read_text() if command == "learn" else result.stdout

    assert "row 3: its net input is not finite: scale the features\n" in result.stderr
    assert len(written.splitlines()) == 2 + (form == "csv")
    assert "nan" not in written


@pytest.mark.parametrize(
    "column",
    [[1.0, 1e300], [1, 2**62], [[0, 1], [2, 2**62]], pa.array([b"12", b"\xff3"], pa.binary(2))],
    ids=["numbers", "integers", "lists", "bytes"],
)
def test_feature_that_overflows_when_scaled_is_rejected(column, run, tmp_path):
    path = write_parquet(tmp_path / "s.parquet", {"x": column, "label": ["a", "b"]})
    result = run("learn", path, "--scale", "1e307", "--quiet", "-p", tmp_path / "p.jsonl", check=1)
    assert "Warning" not in result.stderr
    assert re.search(
        "^Error: .*: row [12]: feature 'x[01]?' is .*, too large for",
        result.stderr.splitlines()[-1],
    )


def test_infinite_net_input_raises_sample_error_in_python(overflowing_model):
    model = load(overflowing_model).model
    for call in (model.predict_one, model.predict_proba_one):
        with pytest.raises(SampleError, match="not finite"):
            call({"a": 1e308})


def test_random_parameters_are_rejected_or_can_be_saved(tmp_path):
    """Parameters of all kinds give one clear error, or a model that can be saved and loaded."""
    rng, n_models, messages = np.random.default_rng(0), 0, []
    numbers = [
        0, 1, -1, 0.1, 1e300, 1e-300, 10**400, HUGE, "1", None, np.float32(0.1), True, np.int64(1),
        float("nan"), float("inf"), b"1", [1], 2**62, 2**63, 2**64, 10**19,
    ]  # fmt: skip
    labels = ["x", 1, HUGE, -HUGE, (1, "b"), 10**3800, 1.5, np.str_("n"), True]
    for _ in range(600):
        names = rng.choice(["lr", "epsilon", "init_range", "max_weights", "seed"], 2)
        parameters = {str(name): numbers[rng.integers(len(numbers))] for name in names}
        try:
            model = SGDPerceptron(**parameters)
            model.learn_one({"a": 1.0}, labels[rng.integers(len(labels))])
        except ValueError as error:
            messages.append(str(error))
            continue
        n_models += 1
        save(model, tmp_path / "m.npz")
        loaded = load(tmp_path / "m.npz").model
        assert loaded.weights.tobytes() == model.weights.tobytes()
        assert loaded.classes_ == model.classes_
    assert 50 < n_models < 550
    assert all(len(line) < 150 and "\n" not in line for line in messages)


def test_max_weights_beyond_any_model_is_rejected(run, mnist_sample, tmp_path):
    options = ["--max-weights", "9" * 19, "-m", tmp_path / "m.npz"]
    line, _ = run("learn", mnist_sample, *options, check=2).stderr.splitlines()
    assert line.startswith("Error: --max-weights is 9999999999999999999: choose")
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
@pytest.mark.parametrize("command", ["inspect", "predict", "evaluate", "report", "average"])
def test_commands_reject_models_that_are_not_regular_files(
    kind, command, run, mnist_sample, tmp_path
):
    """The command neither reads an endless device nor waits for a FIFO's writer."""
    path = {"device": "/dev/zero", "fifo": tmp_path / "fifo", "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    args = {
        "inspect": [path], "predict": [mnist_sample, "-m", path],
        "evaluate": [mnist_sample, "-m", path],
        "report": [path, "-o", tmp_path / "r.html"],
        "average": [path, path, "--base", path, "-o", tmp_path / "a.npz"],
    }[command]  # fmt: skip
    result = run(command, *args)
    line, *_ = result.stderr.splitlines()
    assert result.returncode in (1, 2)
    assert "not a regular file" in line or "is a directory" in line


def test_many_labels_are_evaluated_in_little_memory(tmp_path):
    """A full confusion matrix would take 4.6 GB."""
    lines = [f"{i},{i % 97},{i % 89}\n" for i in range(24_000)]
    (tmp_path / "a.csv").write_text("label,a,b\n" + "".join(lines[:2000]))
    (tmp_path / "b.csv").write_text("label,a,b\n" + "".join(lines))
    limited_command = ["bash", "-c", 'ulimit -v 3000000; exec "$0" "$@"', COMMAND]
    model, shown = tmp_path / "m.npz", []
    options = ["-m", model, "-q", "--save-every", "900"]
    subprocess.run([*limited_command, "learn", tmp_path / "a.csv", *options], check=True)
    for options in ([], ["--json"]):
        command = [*limited_command, "evaluate", tmp_path / "b.csv", "-m", model, *options]
        shown.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    figures = json.loads(shown[1])
    assert (figures["samples"], figures["confusion"]) == (24_000, None)
    assert sum(n for _, _, n in figures["pairs"]) == 24_000
    assert "other pairs; --json lists them all" in shown[0]


def test_file_system_without_hard_links_keeps_no_previous_save(run, mnist_sample, tmp_path):
    """Each save succeeds; the previous one is not kept."""
    require_tool("cc")
    shim = tmp_path / "nolink.c"
    shim.write_text(
        "#include <errno.h>\n"
        "int link(const char *a, const char *b) { errno = ENOSYS; return -1; }\n"
        "int linkat(int a, const char *b, int c, const char *d, int e)"
        " { errno = ENOSYS; return -1; }\n"
    )
    library = tmp_path / "nolink.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, shim], check=True)
    model, env = tmp_path / "m.npz", os.environ | {"LD_PRELOAD": str(library)}
    for limit in (1000, 2000, 3000):
        args = ["learn", mnist_sample, "-m", model, "--limit", limit, "--save-every", 200, "-q"]
        run(*args, env=env, check=0)
        assert limit == LiveModel.load(model).progress.samples
    assert not model.with_name("m.npz.prev").exists()
    run("learn", mnist_sample, "-m", model, "-q", check=0)
    assert model.with_name("m.npz.prev").exists()


def test_copies_and_saves_from_another_thread_are_consistent(mnist_files, tmp_path):
    """Each copy and each save is a consistent snapshot of the running model."""
    sources = [open_source(str(mnist_files["test"]))]
    live = LiveModel.start(sources, seed=0)
    is_done, is_consistent, path = threading.Event(), [], tmp_path / "m.npz"

    def copy_and_save():
        while not is_done.is_set():
            copied = copy.deepcopy(live)
            live.save(path)
            saved = LiveModel.load(path)
            for snapshot in (copied, saved):
                is_consistent.append(
                    snapshot.progress.samples == snapshot.model.n_seen == snapshot.history.run.read
                )

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=copy_and_save)
        thread.start()
        for _ in live.run(sources, passes=5, every=100):
            pass
    finally:
        is_done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(is_consistent) > 10
    assert all(is_consistent)
    assert live.progress.samples == 50_000


@pytest.mark.parametrize("args", [["--help"], ["learn", "--help"], ["--version"]], ids=str)
def test_help_on_a_full_device_is_an_error(args):
    with open("/dev/full", "w") as full:
        result = subprocess.run([COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (1, "Error: No space left on device\n")


def test_interrupt_during_imports_shows_no_traceback(tmp_path):
    """An import hook sends SIGINT before a module is imported."""
    for module in ("click", "numpy", "pyarrow"):
        script = (
            "import sys, os, signal\n"
            "class Sender:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Sender())\n"
            f"sys.argv = ['stream-perceptron', 'inspect', {str(tmp_path / 'no.npz')!r}]\n"
            "(open(sys.argv[2], 'w')).close()\n"
            "from stream_perceptron_cli import run\n"
            "run()\n"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert result.returncode in (-signal.SIGINT, 130, 1), result.stderr
        assert "Traceback" not in result.stderr


HOSTILE_NAME = "m\x1b[31m\u202egpj\n.npz"


def test_control_characters_in_file_names_and_cells_are_escaped(run, mnist_sample, tmp_path):
    """Control characters, reversed text and invalid UTF-8 are escaped wherever names appear."""
    harmful = set(HOSTILE_NAME) - set("m[31gpj.npz") - {"\n"}
    model, source = tmp_path / HOSTILE_NAME, tmp_path / os.fsdecode(b"odd\xff.csv")
    source.write_text('label,a\u202e\x1b[2J,b\n"x\x1b]0;t\x07",1,2\ny\u2067,3,4\n' * 1)
    shown = [
        run("learn", source, "-m", model, check=0), run("inspect", model, check=0),
        run("verify", model, source, check=0), run("evaluate", source, "-m", model, check=0),
        run("average", model, model, "--base", model, "-o", tmp_path / f"a{HOSTILE_NAME}"),
        run("sweep", source, "--lr", "0.1,0.2", check=0),
        run("report", model, "-o", tmp_path / f"{HOSTILE_NAME}.html", check=0),
    ]  # fmt: skip
    for result in shown:
        assert not harmful.intersection(result.stdout + result.stderr), result
    page = (tmp_path / f"{HOSTILE_NAME}.html").read_text()
    assert not harmful.intersection(page)
    assert "\\u202e" in page

    # A strict UTF-8 stream rejects lone surrogates.
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    assert "odd\\udcff.csv" in run("inspect", model, env=strict, check=0).stdout


def test_endless_first_line_is_not_held_in_memory():
    """The line is a rejected row; the other rows are learned."""
    script = (
        "(head -c 1000000000 /dev/zero | tr '\\0' x; printf '\\nlabel,a\\nx,1\\ny,2\\n') |"
        ' (ulimit -v 800000; exec "$0" learn --skip-bad --quiet --json)'
    )
    result = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert tuple(json.loads(result.stdout)[name] for name in ("samples", "skipped")) == (2, 1)


@pytest.mark.parametrize("label", ["1e400", "inf", "nan"])
def test_infinite_or_nan_labels_cause_no_warning(label, run, tmp_path):
    source = write_jsonl(tmp_path / "s.jsonl", [{"a": i, "label": label} for i in range(9)])
    result = run("learn", source, "--classes", f"{label},1", check=0)
    assert "Warning" not in result.stderr


def test_average_with_an_overflowing_variance_is_rejected(run, tmp_path):
    """Each variance is finite, but its product with the number of samples is not."""
    paths = [tmp_path / name for name in ("base.npz", "one.npz", "two.npz")]
    source = write_jsonl(tmp_path / "s.jsonl", [{"a": 1, "label": "x"}])
    run("learn", source, "-m", paths[0], "--standardize", check=0)
    for number, path in enumerate(paths[1:]):
        rows = [{"a": (-1) ** i * 1.2e153, "label": "x"} for i in range(400 + number)]
        path.write_bytes(paths[0].read_bytes())
        source = write_jsonl(tmp_path / "t.jsonl", rows)
        run("learn", source, "-m", path, check=0)
    result = run("average", *paths[1:], "--base", paths[0], "-o", tmp_path / "a.npz", check=1)
    (line,) = result.stderr.splitlines()
    assert line.endswith("a feature's variance over all models is too large: scale the feature")
    assert not (tmp_path / "a.npz").exists()


def test_out_of_memory_while_opening_a_source_is_one_line(tmp_path):
    """The names in one line of 15 MB do not fit in memory."""
    path = tmp_path / "s.csv"
    path.write_text(",".join(f"n{i}" for i in range(1_700_000)) + "\n")
    limited_command = ["bash", "-c", 'ulimit -v 300000; exec "$0" learn "$1"', COMMAND, path]
    result = subprocess.run(limited_command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "Error: out of memory\n")


@pytest.mark.parametrize("line", ["", "#" * 100], ids=["blank lines", "comments"])
def test_endless_blank_or_comment_lines_are_an_error(line):
    script = 'yes "$1" | (ulimit -v 2000000; exec "$0" learn)'
    result = subprocess.run(["bash", "-c", script, COMMAND, line], capture_output=True, text=True)
    error = "Error: stdin: there is no row in its first 16 MiB\n"
    assert (result.returncode, result.stderr) == (1, error)
