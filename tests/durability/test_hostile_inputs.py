"""Hostile numbers, files and moments."""

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
from helpers import COMMAND, require_tool, write_lines, write_parquet

from stream_perceptron import LiveModel, SGDPerceptron, load, save
from stream_perceptron.data.opening import open_source
from stream_perceptron.errors import SampleError

HUGE = 10**5000  # more digits than Python writes


@pytest.fixture
def steep(tmp_path):
    """A model whose net inputs overflow if a feature is 1e308."""
    model = SGDPerceptron(activation="identity", classes=["x", "y"], seed=0, init_range=5.0)
    model.learn_one({"a": 0.1}, "x")
    save(model, tmp_path / "steep.npz")
    return tmp_path / "steep.npz"


@pytest.mark.parametrize("command", ["predict", "learn"])
@pytest.mark.parametrize("form", ["json", "csv"])
def test_no_nan_leaves_the_program(command, form, run, steep, tmp_path):
    rows = [{"a": 1}, {"a": 2}, {"a": 1e308}, {"a": 3}]
    source = write_lines(tmp_path / "s.jsonl", rows)
    how = ["-p", tmp_path / f"p.{form}"] if command == "learn" else ["--output-format", form]
    result = run(command, source, "-m", steep, *how, check=1)
    written = (tmp_path / f"p.{form}").read_text() if command == "learn" else result.stdout

    assert "row 3: its net input is not finite: scale the features\n" in result.stderr
    assert len(written.splitlines()) == 2 + (form == "csv")
    assert "nan" not in written


@pytest.mark.parametrize(
    "column",
    [[1.0, 1e300], [1, 2**62], [[0, 1], [2, 2**62]], pa.array([b"12", b"\xff3"], pa.binary(2))],
    ids=["numbers", "integers", "lists", "bytes"],
)
def test_a_scale_that_makes_a_feature_infinite(column, run, tmp_path):
    path = write_parquet(tmp_path / "s.parquet", {"x": column, "label": ["a", "b"]})
    result = run("learn", path, "--scale", "1e307", "--quiet", "-p", tmp_path / "p.jsonl", check=1)
    assert "Warning" not in result.stderr
    assert re.search(
        "^Error: .*: row [12]: feature 'x[01]?' is .*, too large for",
        result.stderr.splitlines()[-1],
    )


def test_a_net_input_that_is_not_finite_is_refused_in_python(steep):
    model = load(steep).model
    for call in (model.predict_one, model.predict_proba_one):
        with pytest.raises(SampleError, match="not finite"):
            call({"a": 1e308})


def test_parameters_are_refused_or_can_be_saved(tmp_path):
    """Parameters of all kinds give one clear error, or a model that can be saved and loaded."""
    rng, made, told = np.random.default_rng(0), 0, []
    numbers = [
        0, 1, -1, 0.1, 1e300, 1e-300, 10**400, HUGE, "1", None, np.float32(0.1), True, np.int64(1),
        float("nan"), float("inf"), b"1", [1], 2**62, 2**63, 2**64, 10**19,
    ]  # fmt: skip
    labels = ["x", 1, HUGE, -HUGE, (1, "b"), 10**3800, 1.5, np.str_("n"), True]
    for _ in range(600):
        names = rng.choice(["lr", "epsilon", "init_range", "max_weights", "seed"], 2)
        given = {str(name): numbers[rng.integers(len(numbers))] for name in names}
        try:
            model = SGDPerceptron(**given)
            model.learn_one({"a": 1.0}, labels[rng.integers(len(labels))])
        except ValueError as error:
            told.append(str(error))
            continue
        made += 1
        save(model, tmp_path / "m.npz")
        again = load(tmp_path / "m.npz").model
        assert again.weights.tobytes() == model.weights.tobytes()
        assert again.classes_ == model.classes_
    assert 50 < made < 550
    assert all(len(line) < 150 and "\n" not in line for line in told)


def test_an_option_that_no_model_can_have(run, sample, tmp_path):
    options = ["--max-weights", "9" * 19, "-m", tmp_path / "m.npz"]
    (line,) = run("learn", sample, *options, check=2).stderr.splitlines()
    assert line.startswith("Error: max_weights is 9999999999999999999: choose")
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
@pytest.mark.parametrize("command", ["inspect", "predict", "evaluate", "report", "average"])
def test_models_are_regular_files(kind, command, run, sample, tmp_path):
    """The command neither reads an endless device nor waits for a FIFO's writer."""
    path = {"device": "/dev/zero", "fifo": tmp_path / "fifo", "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    args = {
        "inspect": [path], "predict": [sample, "-m", path], "evaluate": [sample, "-m", path],
        "report": [path, "-o", tmp_path / "r.html"],
        "average": [path, path, "--base", path, "-o", tmp_path / "a.npz"],
    }[command]  # fmt: skip
    result = run(command, *args)
    (line,) = result.stderr.splitlines()
    assert result.returncode in (1, 2)
    assert "not a regular file" in line or "is a directory" in line


def test_many_labels_are_tested_in_little_memory(tmp_path):
    """A full confusion matrix would take 8 GB."""
    lines = [f"{i},{i % 97},{i % 89}\n" for i in range(32_000)]
    (tmp_path / "a.csv").write_text("label,a,b\n" + "".join(lines[:2000]))
    (tmp_path / "b.csv").write_text("label,a,b\n" + "".join(lines))
    limited = ["bash", "-c", 'ulimit -v 3000000; exec "$0" "$@"', COMMAND]
    model, shown = tmp_path / "m.npz", []
    subprocess.run([*limited, "learn", tmp_path / "a.csv", "-m", model, "-q"], check=True)
    for more in ([], ["--json"]):
        command = [*limited, "evaluate", tmp_path / "b.csv", "-m", model, *more]
        shown.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    figures = json.loads(shown[1])
    assert (figures["samples"], figures["confusion"]) == (32_000, None)
    assert sum(n for _, _, n in figures["pairs"]) == 32_000
    assert "other pairs; --json has all" in shown[0]


def test_a_file_system_without_links(run, sample, tmp_path):
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
    model, there = tmp_path / "m.npz", os.environ | {"LD_PRELOAD": str(library)}
    for limit in (1000, 2000, 3000):
        args = ["learn", sample, "-m", model, "--limit", limit, "--save-every", 200, "-q"]
        run(*args, env=there, check=0)
        assert limit == LiveModel.load(model).progress.samples
    assert not model.with_name("m.npz.prev").exists()
    run("learn", sample, "-m", model, "-q", check=0)
    assert model.with_name("m.npz.prev").exists()


def test_progress_copies_and_saves_from_another_thread(digits, tmp_path):
    """Each copy shows one moment, whatever the run does meanwhile."""
    sources = [open_source(str(digits["test"]))]
    live = LiveModel.start(sources, seed=0)
    is_done, found, path = threading.Event(), [], tmp_path / "m.npz"

    def look():
        while not is_done.is_set():
            twin = copy.deepcopy(live)
            live.save(path)
            saved = LiveModel.load(path)
            for each in (twin, saved):
                found.append(each.progress.samples == each.model.n_seen == each.cursor.read)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=look)
        thread.start()
        for _ in live.run(sources, epochs=5, every=100):
            pass
    finally:
        is_done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(found) > 10
    assert all(found)
    assert live.progress.samples == 50_000


@pytest.mark.parametrize("args", [["--help"], ["learn", "--help"], ["--version"]], ids=str)
def test_help_to_a_full_device(args):
    with open("/dev/full", "w") as full:
        result = subprocess.run([COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (1, "Error: No space left on device\n")


def test_an_interrupt_while_the_command_is_imported(tmp_path):
    """A module sends the interrupt during imports; there is no traceback."""
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


NASTY = "m\x1b[31m\u202egpj\n.npz"


def test_names_of_files_and_cells_do_not_change_the_screen(run, sample, tmp_path):
    """Control characters, reversed text and invalid UTF-8 are escaped wherever names appear."""
    harmful = set(NASTY) - set("m[31gpj.npz") - {"\n"}
    model, odd = tmp_path / NASTY, tmp_path / os.fsdecode(b"odd\xff.csv")
    odd.write_text('label,a\u202e\x1b[2J,b\n"x\x1b]0;t\x07",1,2\ny\u2067,3,4\n' * 1)
    shown = [
        run("learn", odd, "-m", model, check=0), run("inspect", model, check=0),
        run("verify", model, odd, check=0), run("evaluate", odd, "-m", model, check=0),
        run("average", model, model, "--base", model, "-o", tmp_path / f"a{NASTY}"),
        run("sweep", odd, "--lr", "0.1,0.2", check=0),
        run("report", model, "-o", tmp_path / f"{NASTY}.html", check=0),
    ]  # fmt: skip
    for result in shown:
        assert not harmful.intersection(result.stdout + result.stderr), result
    page = (tmp_path / f"{NASTY}.html").read_text()
    assert not harmful.intersection(page)
    assert "\\u202e" in page

    # For a terminal that accepts only UTF-8.
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    assert "odd\\udcff.csv" in run("inspect", model, env=strict, check=0).stdout


def test_a_first_line_without_end_is_not_held():
    """It is a rejected row, and the others are learned."""
    script = (
        "(head -c 1000000000 /dev/zero | tr '\\0' x; printf '\\nlabel,a\\nx,1\\ny,2\\n') |"
        ' (ulimit -v 800000; exec "$0" learn --skip-bad --quiet --json)'
    )
    result = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert tuple(json.loads(result.stdout)[name] for name in ("samples", "skipped")) == (2, 1)


@pytest.mark.parametrize("label", ["1e400", "inf", "nan"])
def test_labels_that_are_numbers_without_being_finite(label, run, tmp_path):
    source = write_lines(tmp_path / "s.jsonl", [{"a": i, "label": label} for i in range(9)])
    result = run("learn", source, "--classes", f"{label},1", check=0)
    assert "Warning" not in result.stderr


def test_an_average_that_would_not_be_finite(run, tmp_path):
    """Each variance is finite, but its product with the number of samples is not."""
    paths = [tmp_path / name for name in ("base.npz", "one.npz", "two.npz")]
    source = write_lines(tmp_path / "s.jsonl", [{"a": 1, "label": "x"}])
    run("learn", source, "-m", paths[0], "--standardize", check=0)
    for number, path in enumerate(paths[1:]):
        rows = [{"a": (-1) ** i * 1.2e153, "label": "x"} for i in range(400 + number)]
        path.write_bytes(paths[0].read_bytes())
        source = write_lines(tmp_path / "t.jsonl", rows)
        run("learn", source, "-m", path, check=0)
    result = run("average", *paths[1:], "--base", paths[0], "-o", tmp_path / "a.npz", check=1)
    (line,) = result.stderr.splitlines()
    assert line.endswith("a feature's variance over all models is too large: scale it")
    assert not (tmp_path / "a.npz").exists()


def test_memory_that_runs_out_while_a_source_is_opened(tmp_path):
    """The names in one line of 15 MB do not fit in memory."""
    path = tmp_path / "s.csv"
    path.write_text(",".join(f"n{i}" for i in range(1_700_000)) + "\n")
    limited = ["bash", "-c", 'ulimit -v 300000; exec "$0" learn "$1"', COMMAND, path]
    result = subprocess.run(limited, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "Error: out of memory\n")


@pytest.mark.parametrize("line", ["", "#" * 100], ids=["blanks", "comments"])
def test_lines_without_end_that_are_no_rows(line):
    script = 'yes "$1" | (ulimit -v 2000000; exec "$0" learn)'
    result = subprocess.run(["bash", "-c", script, COMMAND, line], capture_output=True, text=True)
    told = "Error: stdin: there is no row in its first 16 MiB\n"
    assert (result.returncode, result.stderr) == (1, told)
