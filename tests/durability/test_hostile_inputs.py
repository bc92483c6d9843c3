"""Hostile numbers, files and interruptions."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
from helpers import encode_ipc, run_limited

from stream_perceptron import LiveModel
from stream_perceptron.data.opening import open_source
from stream_perceptron.live.loop import learn


@pytest.mark.parametrize("model", ["/dev/zero", "fifo", "folder"])
@pytest.mark.parametrize(
    "command",
    ["inspect {0}", "predict {1} -m {0}", "evaluate {1} -m {0}", "report {0} -o r.html",
     "learn {1} -m {0} --overwrite"],
)  # fmt: skip
def test_commands_reject_models_that_are_not_regular_files(
    model, command, run, mnist_sample, tmp_path
):
    """The command neither reads an endless device nor waits for a FIFO's writer."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    words = (word.format(model, mnist_sample) for word in command.split())
    result = run(*words, cwd=tmp_path)
    line, *_ = result.stderr.splitlines()

    assert result.returncode in (1, 2)
    assert "not a regular file" in line or "is a directory" in line


def test_many_labels_are_evaluated_in_little_memory(tmp_path):
    """A full confusion matrix would take 4.6 GB."""
    lines = [f"{i},{i % 97},{i % 89}\n" for i in range(24_000)]
    (tmp_path / "a.csv").write_text("label,a,b\n" + "".join(lines[:2000]))
    (tmp_path / "b.csv").write_text("label,a,b\n" + "".join(lines))
    model = ["-m", tmp_path / "m.npz"]
    learned = run_limited(3_000_000, "learn", tmp_path / "a.csv", *model, "--save-every", "900")
    result = run_limited(3_000_000, "evaluate", tmp_path / "b.csv", *model, "--json")
    figures = json.loads(result.stdout)

    assert learned.returncode == 0
    assert (figures["samples"], figures["confusion"]) == (24_000, None)
    assert sum(n for _, _, n in figures["pairs"]) == 24_000


def test_copies_and_saves_from_another_thread_are_consistent(mnist_sample, tmp_path):
    """Each copy and each save is a consistent snapshot of the running model."""
    sources = [open_source(str(mnist_sample))]
    live = LiveModel.start(sources, seed=0)
    is_consistent, path, interval = [], tmp_path / "m.npz", sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=lambda: [*learn(live, sources, passes=10, every=100)])
        thread.start()
        while thread.is_alive():
            copied = copy.deepcopy(live)
            live.save(path)
            for snapshot in (copied, LiveModel.load(path)):
                n_read = sum(each.n_rows_read for each in snapshot.history.files)
                is_consistent.append(snapshot.progress.samples == snapshot.model.n_seen == n_read)
    finally:
        thread.join()
        sys.setswitchinterval(interval)
    assert len(is_consistent) > 10
    assert all(is_consistent)
    assert live.progress.samples == 50_000


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
        run("predict", source, "-m", model, check=0),
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


def encode_damaged_stream(damage):
    data = encode_ipc(pa.table({"a": np.arange(3000.0), "label": [0, 1] * 1500}), 1000)
    if damage == "truncated":
        return data[:-5000]
    if damage == "forged size":
        with pa.ipc.open_stream(data) as reader:
            batch = reader.read_next_batch().serialize()
        size = pa.ipc.read_message(pa.BufferReader(batch)).body.size
        return data.replace(size.to_bytes(8, "little"), (2**50).to_bytes(8, "little"))
    offsets = pa.py_buffer(np.array([0, -5, 2], np.int32).tobytes())
    texts = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"ab"))
    return encode_ipc(pa.table({"a": [1.0, 2.0], "label": texts}))


@pytest.mark.parametrize(("damage", "n"), [("truncated", 2000), ("forged size", 0), ("offsets", 0)])
def test_damaged_arrow_stream_is_read_up_to_the_damage(damage, n, tmp_path, run):
    source, model = tmp_path / "s.arrow", tmp_path / "m.npz"
    source.write_bytes(encode_damaged_stream(damage))
    error = run("learn", source, "-m", model, "--quiet", check=1).stderr

    assert f"{source}: damaged after row {n:,}" in error
    assert error.count("\n") == 1
    assert (LiveModel.load(model).progress.samples if model.exists() else 0) == n
