"""No prediction on a pipe is lost when the run ends and its reader lives on."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import threading
import time

import pytest
from helpers import CASE_FACTOR, COMMAND, kill_after_saves

ROWS = 3000
ENDS = ["SIGKILL", "SIGTERM"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The path of a table of two classes, and the expected prediction lines by row."""
    folder = tmp_path_factory.mktemp("undelivered")
    rng = random.Random(0)
    points = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(ROWS)]
    rows = [f"{a:.4f},{b:.4f},{'left' if a < b else 'right'},r{i}" for i, (a, b) in
            enumerate(points)]  # fmt: skip
    path = folder / "points.csv"
    path.write_text("\n".join(["a,b,label,id", *rows]) + "\n")
    result = subprocess.run(learn_command(path, folder / "m.npz"), capture_output=True, check=True)
    return path, index_by_row(result.stdout)


def learn_command(source, model, *options):
    return [
        COMMAND, "learn", source, "-m", model, "-p", "-", "--keep", "id", "--seed", "0",
        "--save-every", "100", "--quiet", *options,
    ]  # fmt: skip


def index_by_row(data):
    """Return the prediction lines by row; repeated lines must be equal."""
    lines_by_row = {}
    for line in data.splitlines():
        assert lines_by_row.setdefault(json.loads(line)["row"], line) == line
    return lines_by_row


class Reader(threading.Thread):
    """A thread that reads a pipe, sometimes slowly, to its end."""

    def __init__(self, descriptor, seed):
        super().__init__()
        self.received = bytearray()
        self._descriptor, self._rng = descriptor, random.Random(seed)
        self.start()

    def run(self):
        while data := os.read(self._descriptor, self._rng.choice([1, 500, 5000, 65536])):
            self.received += data
            if self._rng.random() < 0.2:
                time.sleep(self._rng.random() / 100)
        os.close(self._descriptor)


def run_until_end(command, end, rng, model, fifo=None):
    """Run the command until `end` stops it; return the exit code and the delivered bytes."""
    reading, writing = (None, None) if fifo else os.pipe()
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE)
    if fifo:
        reading = os.open(fifo, os.O_RDONLY)
    else:
        os.close(writing)
    reader = Reader(reading, rng.random())
    if end is not None:
        saves, seconds = rng.choice([1, 1, 5]), rng.uniform(0, 0.02)
        kill_after_saves(process, model, saves, seconds, getattr(signal, end))
    errors = process.communicate()[1]
    reader.join()
    codes = {"SIGKILL": (-9, 0), "SIGTERM": (-15, 143, 0), None: (0,)}
    assert process.returncode in codes[end], errors
    return process.returncode, bytes(reader.received)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["stdout", "fifo"])
def test_every_prediction_is_eventually_delivered(output, table, tmp_path, report_figure):
    source, expected = table
    rng = random.Random(output)
    ends = dict.fromkeys(ENDS, 0)
    repeats = 0
    for run in range(2 * CASE_FACTOR):
        model, fifo = tmp_path / f"{run}.npz", None
        command = learn_command(source, model)
        if output == "fifo":
            fifo = tmp_path / f"{run}.fifo"
            os.mkfifo(fifo)
            command[command.index("-")] = fifo
        received_lines = []
        for end in [*rng.sample(ENDS * 2, 2 * len(ENDS)), None]:
            code, data = run_until_end(command, end, rng, model, fifo)
            if end is not None:
                ends[end] += code != 0
            assert data[-1:] in (b"", b"\n")
            received_lines.append(data)
        lines = b"".join(received_lines)
        repeats += lines.count(b"\n") - ROWS
        assert index_by_row(lines) == expected

    report_figure(
        f"predictions on a {output}: {ends}, {repeats:,} lines were repeated, none was lost"
    )
    assert repeats > 0
    assert min(ends.values()) > 0


@pytest.mark.parametrize("output", ["predictions.csv", "-"])
def test_predictions_file_is_continued_after_another_output(output, table, tmp_path):
    """With -p a, -p b and -p a again, a keeps its lines."""
    source, _ = table
    model, first = tmp_path / "m.npz", tmp_path / "a.csv"
    for path, limit in ((first, 10), (output, 20), (first, 30)):
        command = learn_command(source, model, "--limit", str(limit), "--output-format", "csv")
        command[command.index("-")] = path
        subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    lines = first.read_text().splitlines()

    assert [line.partition(",")[0] for line in lines] == [
        "row",
        *map(str, [*range(1, 11), *range(21, 31)]),
    ]


def test_reader_that_pauses_at_a_signal_gets_every_line(table, tmp_path):
    """The pipe is full when the signal arrives."""
    source, expected = table
    command, (reading, writing) = learn_command(source, tmp_path / "m.npz"), os.pipe()
    process = subprocess.Popen(command, stdout=writing)
    while select.select([], [writing], [], 0)[1]:  # until the pipe is full
        time.sleep(0.01)
    os.close(writing)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    reader = Reader(reading, 0)
    assert process.wait(60) in (-15, 143)
    reader.join()
    assert reader.received.count(b"\n") < ROWS
    rest = subprocess.run(command, capture_output=True, check=True).stdout

    assert index_by_row(bytes(reader.received) + rest) == expected


def test_lines_longer_than_the_pipe_buffer_are_delivered_whole(tmp_path):
    """Each line has the scores of many classes; the reader is slow."""
    n, model, source = 60, tmp_path / "m.npz", tmp_path / "f.csv"
    source.write_text("\n".join(["a,label", *(f"{i % 7},{i % 3000}" for i in range(n))]) + "\n")
    command = learn_command(source, model, "--scores", "--classes", "0-2999")
    del command[command.index("--keep") : command.index("--keep") + 2]
    expected = index_by_row(subprocess.run(command, capture_output=True, check=True).stdout)
    model.unlink()
    rng, received_lines = random.Random(0), b""
    for end in ("SIGTERM", "SIGTERM", None):
        _, data = run_until_end(command, end, rng, model)
        received_lines += data

    assert n == len(expected)
    assert min(map(len, expected.values())) > 2**16
    assert index_by_row(received_lines) == expected


@pytest.mark.parametrize("form", ["json", "csv"])
def test_predictions_and_rejected_rows_match_an_uninterrupted_run(form, tmp_path):
    """The runs read two files, and are ended by signals."""
    rng, sources = random.Random(form), [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path in sources:
        columns = rng.sample(["a", "b", "label"], 3)
        rows = ({"a": rng.choice(["oops", 1, 2.5]), "b": rng.random(), "label": rng.choice("xy")}
                for _ in range(1000))  # fmt: skip
        lines = [",".join(str(row[name]) for name in columns) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    options = ["--save-every", "100", "--learned", "--quiet", "--output-format", form]

    def command(name):
        paths = ["-m", tmp_path / f"{name}.npz", "--rejected", tmp_path / f"{name}.rejected"]
        return [COMMAND, "learn", *sources, *paths, "-p", "-", *options]

    whole = subprocess.run(command("whole"), capture_output=True, check=True).stdout
    received_lines, code = b"", None
    for end in [*rng.sample(ENDS * 3, 6), None]:
        code, data = run_until_end(command("split"), end, rng, tmp_path / "split.npz")
        received_lines += data[: data.rfind(b"\n") + 1]
    lines_by_row = {line.partition(b",")[0]: line for line in received_lines.splitlines()}

    assert code == 0
    assert sorted(lines_by_row.values()) == sorted(whole.splitlines())
    assert set(received_lines.splitlines()) == set(whole.splitlines())
    rejected = [(tmp_path / f"{name}.rejected").read_bytes() for name in ("whole", "split")]
    assert rejected[0] == rejected[1]
    assert rejected[0].count(b"oops") > 200
