"""Pipes: each row is learned and predicted once, and no prediction is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time

import pyarrow as pa
import pytest
from helpers import (
    CASE_FACTOR,
    COMMAND,
    count_samples,
    count_unread_bytes,
    encode_csv,
    encode_ipc,
    kill_after_saves,
    load_outcome,
    start,
    wait_for,
    write_csv,
)

from stream_perceptron import LiveModel

ROWS = 600
FORMS = ["csv", "jsonl"]
IGNORED = {"csv": '"id\n(text)"', "jsonl": "id"}
TABLE_ROWS = 3000
ENDS = ["SIGKILL", "SIGTERM"]


def generate_records(form):
    """Yield the header, if any, and the rows; the first column of CSV has newlines."""
    rng = random.Random(form)
    if form == "csv":
        yield '\ufeff"id\n(text)",a,b,label\n'
    for i in range(ROWS):
        a, b = round(rng.gauss(0, 1), 4), round(rng.gauss(0, 1), 4)
        label = int(a > b)
        if form == "csv":
            name = f'"r{i}, ""{i % 7}""\n\nend"' if i % 3 else f"r{i}"
            yield f"{name},{a},{b},{label}\n"
        else:
            yield json.dumps({"a": a, "b": b, "label": label, "id": f"ä{i}"}) + "\n"


class Writer(threading.Thread):
    """A thread that writes records to a pipe, the second half only when released."""

    def __init__(self, descriptor, records, seed):
        super().__init__(daemon=True)
        self._descriptor, self._records, self._rng = descriptor, records, random.Random(seed)
        self.is_released = threading.Event()
        self.start()

    def run(self):
        with os.fdopen(self._descriptor, "wb", buffering=0) as pipe:
            n_written = 0
            while n_written < len(self._records):
                if n_written > len(self._records) / 2:
                    self.is_released.wait()
                n = self._rng.choice([1, 2, 20])
                pipe.write("".join(self._records[n_written : n_written + n]).encode())
                n_written += n
                time.sleep(self._rng.random() / 50)


class Reader(threading.Thread):
    """A thread that reads a pipe, sometimes slowly, to its end or for about `max_bytes` bytes."""

    def __init__(self, pipe, seed, max_bytes=2**30):
        super().__init__()
        self.received = bytearray()
        self._pipe, self._rng, self._max_bytes = pipe, random.Random(seed), max_bytes
        self.start()

    def run(self):
        with self._pipe:
            while len(self.received) < self._max_bytes and (
                data := os.read(self._pipe.fileno(), self._rng.choice([1, 500, 5000, 65536]))
            ):
                self.received += data
                if self._rng.random() < 0.2:
                    time.sleep(self._rng.random() / 100)


def index_by_row(data):
    """Return the prediction lines by row; repeated lines must be equal."""
    lines_by_row = {}
    for line in data.splitlines():
        assert lines_by_row.setdefault(json.loads(line)["row"], line) == line
    return lines_by_row


@pytest.mark.slow
@pytest.mark.parametrize("output", ["slow reader", "reader that leaves"])
@pytest.mark.parametrize("form", FORMS)
def test_each_row_of_a_pipe_is_learned_and_predicted_once(form, output, tmp_path):
    records = list(generate_records(form))
    expected, expected_predictions = tmp_path / "expected.npz", tmp_path / "answers"
    options = ["--quiet", "--save-every", "100", "--classes", "0,1", "--ignore", IGNORED[form]]
    command = ["-m", expected, "-p", expected_predictions, *options]
    subprocess.run([COMMAND, "learn", *command], input="".join(records).encode(), check=True)
    n_ends = 0
    for run in range(CASE_FACTOR):
        rng = random.Random(f"{form} {output} {run}")
        model = tmp_path / f"{run}.npz"
        read_end, write_end = os.pipe()
        writer, received_lines, code = Writer(write_end, records, run), b"", None
        while code != 0:
            command = ["-m", model, "-p", "-", *options]
            with start(*command, stdin=read_end, stdout=subprocess.PIPE) as process:
                max_bytes = rng.randint(1, 60_000) if output == "reader that leaves" else 2**30
                reader = Reader(process.stdout, rng.random(), max_bytes)
                # Before the first save, no model can continue the pipe.
                saves, seconds = 0 if model.exists() else 1, rng.uniform(0, 0.25)
                kill_after_saves(process, model, saves, seconds, signal.SIGTERM)
                writer.is_released.set()  # so the first run could not end by itself
                errors = process.stderr.read()
                reader.join()
            code = process.returncode
            assert code in (0, 143, 141), errors
            n_ends += code != 0
            received_lines += reader.received[: reader.received.rfind(b"\n") + 1]
            if output != "reader that leaves":
                n_rows = LiveModel.load(model).progress.rows
                assert [*range(1, n_rows + 1)] == sorted(index_by_row(received_lines))
        writer.join()
        os.close(read_end)
        lines, expected_lines = map(
            index_by_row, (received_lines, expected_predictions.read_bytes())
        )
        if output == "reader that leaves":
            assert lines.items() <= expected_lines.items()
            assert len(lines) == received_lines.count(b"\n")
        else:
            assert lines == expected_lines
        assert load_outcome(expected) == load_outcome(model)
    assert n_ends >= CASE_FACTOR


def send_and_interrupt(process, data):
    """Send bytes to a process, and SIGTERM when it has read all of them; return its stderr."""
    process.stdin.buffer.write(data)
    process.stdin.flush()
    wait_for(lambda: count_unread_bytes(process.stdin.fileno()) == 0)
    process.send_signal(signal.SIGTERM)
    return process.stderr.read()


@pytest.mark.parametrize(
    ("data", "lost", "n"),
    [
        (b"a,b,label\n1,2,x\n3,4,y\n5,", "2 bytes were lost", 2),
        (b"a,b,label\n1,", "12 bytes were lost, because no model existed yet", None),
    ],
)
def test_lost_bytes_of_an_incomplete_row_are_reported(data, lost, n, tmp_path):
    model = tmp_path / "m.npz"
    with start("-m", model, "--quiet", stdin=subprocess.PIPE) as process:
        errors = send_and_interrupt(process, data)

    assert process.returncode == 143
    assert f"stdin: {lost}" in errors
    assert (count_samples(model) if model.exists() else None) == n


def test_signal_ends_arrow_data_between_rows(tmp_path):
    """An incomplete row is dropped, and the next run begins with new data."""
    rng, n, model = random.Random(0), 30_000, tmp_path / "m.npz"
    a = [round(rng.random(), 6) for _ in range(n)]
    labels = ["x" if number > 0.5 else "y" for number in a]
    data = encode_ipc(pa.table({"a": a, "label": labels}), 1000)
    text = encode_csv(zip(a, labels, strict=True), ["a", "label"])
    with start("-m", model, "--quiet", stdin=subprocess.PIPE) as process:
        errors = send_and_interrupt(process, data[: 2 * len(data) // 3 + 50])
    progress = LiveModel.load(model).progress
    command = [COMMAND, "learn", "-m", model]
    run = subprocess.run(command, input=text, capture_output=True, check=True)

    assert (process.returncode, errors) == (143, "")
    assert n / 3 < progress.samples < n
    assert progress.skipped == 0
    assert b"warning" not in run.stderr


def test_rows_read_from_a_pipe_are_learned_before_the_run_ends(tmp_path):
    """The other bytes stay in the pipe for the next reader."""
    options = ["--quiet", "--ignore", "id", "--save-every", "100000"]
    command = ["bash", "-c", "echo id,a,label; exec seq -f %.0f,1,x 1000000000"]
    for i in range(3):
        path = tmp_path / f"{i}.npz"
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            with start("-m", path, *options, stdin=writer.stdout) as process:
                wait_for(path.exists, process)
                time.sleep(i / 5)
                process.send_signal(signal.SIGTERM)
                errors = process.stderr.read()
            rest = writer.stdout.readline()
            writer.kill()
        next_row = b"%d,1,x\n" % (LiveModel.load(path).progress.rows + 1)
        n_lost = len(next_row) - len(rest)

        assert process.returncode == 143
        assert next_row.endswith(rest)
        assert (f"{n_lost} byte" in errors) == (n_lost > 0)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The path of a table of two classes, and the expected prediction lines by row."""
    folder = tmp_path_factory.mktemp("undelivered")
    rng = random.Random(0)
    points = [(round(rng.gauss(0, 1), 4), round(rng.gauss(0, 1), 4)) for _ in range(TABLE_ROWS)]
    rows = ((a, b, "left" if a < b else "right", f"r{i}") for i, (a, b) in enumerate(points))
    path = write_csv(folder / "points.csv", ["a", "b", "label", "id"], rows)
    result = subprocess.run(learn_command(path, folder / "m.npz"), capture_output=True, check=True)
    return path, index_by_row(result.stdout)


def learn_command(source, model, *options):
    return [
        COMMAND, "learn", source, "-m", model, "-p", "-", "--keep", "id", "--seed", "0",
        "--save-every", "100", "--quiet", *options,
    ]  # fmt: skip


def run_until_end(command, end, rng, model, fifo=None):
    """Run the command until `end` stops it; return the exit code and the delivered bytes."""
    stdout = None if fifo else subprocess.PIPE
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        reader = Reader(fifo.open("rb") if fifo else process.stdout, rng.random())
        if end is not None:
            saves, seconds = rng.choice([1, 1, 5]), rng.uniform(0, 0.02)
            kill_after_saves(process, model, saves, seconds, getattr(signal, end))
        errors = process.stderr.read()
        reader.join()
    codes = {"SIGKILL": (-9, 0), "SIGTERM": (-15, 143, 0), None: (0,)}
    assert process.returncode in codes[end], errors
    return process.returncode, bytes(reader.received)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["stdout", "fifo"])
def test_every_prediction_is_eventually_delivered(output, table, tmp_path):
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
        repeats += lines.count(b"\n") - TABLE_ROWS
        assert index_by_row(lines) == expected

    assert repeats > 0
    assert min(ends.values()) > 0


def test_lines_longer_than_the_pipe_buffer_are_delivered_whole(tmp_path):
    """Each line has the scores of many classes; the reader is slow."""
    n, model, source = 60, tmp_path / "m.npz", tmp_path / "f.csv"
    source.write_bytes(encode_csv(((i % 7, i % 3000, i) for i in range(n)), ["a", "label", "id"]))
    command = learn_command(source, model, "--scores", "--classes", "0-2999")
    expected = index_by_row(subprocess.run(command, capture_output=True, check=True).stdout)
    model.unlink()
    rng, received_lines = random.Random(0), b""
    for end in ("SIGTERM", "SIGTERM", None):
        _, data = run_until_end(command, end, rng, model)
        received_lines += data

    assert n == len(expected)
    assert min(map(len, expected.values())) > 2**16
    assert index_by_row(received_lines) == expected


def test_rows_are_saved_on_time_while_the_pipe_is_idle(tmp_path):
    path = tmp_path / "m.npz"
    command = [COMMAND, "learn", "-m", path, "--save-every", "1s", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"label,a\nleft,1\nright,2\n")
        process.stdin.flush()
        wait_for(path.exists)
        process.kill()

    assert count_samples(path) == 2


def test_evaluate_reports_the_tested_samples_after_a_signal(tmp_path, run):
    model = tmp_path / "m.npz"
    run("learn", "-m", model, "-q", input="label,a,b\nleft,1,2\nright,2,1\n", check=0)
    with start(
        "-m", model, "--json", subcommand="evaluate", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        errors = send_and_interrupt(process, b"label,a,b\nleft,1,2\nright,2,1\nleft,")
        figures = json.loads(process.stdout.read())

    assert process.returncode == 143
    assert "stdin: 5 bytes were lost" in errors
    assert (figures["samples"], figures["interrupted"]) == (2, True)


def test_rows_are_learned_without_a_reader_of_predictions(tmp_path):
    fifo, path = tmp_path / "fifo", tmp_path / "m.npz"
    os.mkfifo(fifo)
    with start("-m", path, "-p", fifo, "--quiet", stdin=subprocess.PIPE) as process:
        errors = send_and_interrupt(process, b"label,a\nleft,1\nright,2\n")

    assert (process.returncode, errors) == (143, "")
    assert count_samples(path) == 2


def test_limit_ends_the_run_while_the_pipe_is_still_open(tmp_path):
    path = tmp_path / "m.npz"
    with start("-m", path, "--quiet", "--limit", "2", stdin=subprocess.PIPE) as process:
        process.stdin.write("label,a\nleft,1\nright,2\nleft,3\n")
        process.stdin.flush()

        assert process.wait(60) == 0
    assert count_samples(path) == 2
