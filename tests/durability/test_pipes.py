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
    encode_ipc,
    kill_after_saves,
    load_outcome,
    start,
    wait_for,
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
    """A thread that writes bytes to a pipe in pieces, the second half only when released."""

    def __init__(self, descriptor, data, seed):
        super().__init__(daemon=True)
        self._descriptor, self._data, self._rng = descriptor, data, random.Random(seed)
        self.is_released = threading.Event()
        self.start()

    def run(self):
        with os.fdopen(self._descriptor, "wb", buffering=0) as pipe:
            n_written = 0
            while n_written < len(self._data):
                if n_written > len(self._data) / 2:
                    self.is_released.wait()
                n = self._rng.choice([1, 10, 500])
                pipe.write(self._data[n_written : n_written + n])
                n_written += n
                time.sleep(self._rng.random() / 50)


def read_slowly(descriptor, max_bytes, received, rng):
    """Read slowly into `received`, until the end or for about `max_bytes` bytes."""
    while len(received) < max_bytes and (data := os.read(descriptor, rng.choice([500, 5000]))):
        received += data
        time.sleep(rng.random() / 50)
    os.close(descriptor)


def index_by_row(data):
    """Return the prediction lines by row; repeated lines must be equal."""
    lines_by_row = {}
    for line in data.splitlines():
        assert lines_by_row.setdefault(json.loads(line)["row"], line) == line
    return lines_by_row


@pytest.mark.slow
@pytest.mark.parametrize("output", ["slow reader", "reader that leaves"])
@pytest.mark.parametrize("form", FORMS)
def test_each_row_of_a_pipe_is_learned_and_predicted_once(form, output, tmp_path, report_figure):
    data = "".join(generate_records(form)).encode()
    expected, expected_predictions = tmp_path / "expected.npz", tmp_path / "answers"
    options = ["--quiet", "--save-every", "100", "--classes", "0,1", "--ignore", IGNORED[form]]
    command = ["-m", expected, "-p", expected_predictions, *options]
    subprocess.run([COMMAND, "learn", *command], input=data, check=True)
    n_ends = 0
    for run in range(CASE_FACTOR):
        rng = random.Random(f"{form} {output} {run}")
        model = tmp_path / f"{run}.npz"
        read_end, write_end = os.pipe()
        writer, received_lines, code = Writer(write_end, data, run), b"", None
        while code != 0:
            stdout_read_end, stdout_write_end = os.pipe()
            process = start(
                "-m", model, "-p", "-", *options, stdin=read_end, stdout=stdout_write_end
            )
            os.close(stdout_write_end)
            max_bytes = rng.randint(1, 60_000) if output == "reader that leaves" else 2**30
            received = bytearray()
            reader = threading.Thread(
                target=read_slowly, args=(stdout_read_end, max_bytes, received, rng)
            )
            reader.start()
            # Before the first save, no model can continue the pipe.
            saves, seconds = 0 if model.exists() else 1, rng.uniform(0, 0.25)
            kill_after_saves(process, model, saves, seconds, signal.SIGTERM)
            writer.is_released.set()  # so the first run could not end by itself
            errors = process.communicate()[1]
            reader.join()
            code = process.returncode
            assert code in (0, 143, 141), errors
            n_ends += code != 0
            live = LiveModel.load(model)
            received_lines += received[: received.rfind(b"\n") + 1]
            if output != "reader that leaves":
                assert [*range(1, live.progress.rows + 1)] == sorted(index_by_row(received_lines))
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
    report_figure(
        f"{form} on a plain pipe, {output}: {n_ends} ends, each row is learned and predicted once"
    )
    assert n_ends >= CASE_FACTOR


class Pipe:
    """A pipe that successive runs inherit."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()

    def write(self, data):
        threading.Thread(target=os.write, args=(self.write_end, data), daemon=True).start()

    def wait_until_read(self, process):
        """Wait until a process has read all bytes."""
        while process.poll() is None and count_unread_bytes(self.read_end):
            time.sleep(0.002)

    def close(self):
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.mark.parametrize("form", FORMS)
def test_row_is_read_to_its_end_if_its_writer_pauses_briefly(form, tmp_path):
    """A signal comes while the writer pauses at any byte; the next run begins at a row."""
    rng = random.Random(form)
    records = [record.encode() for record in generate_records(form)][: 40 * CASE_FACTOR]
    expected, model = tmp_path / "expected.npz", tmp_path / "m.npz"
    options = ["--quiet", "--ignore", IGNORED[form]]
    subprocess.run(
        [COMMAND, "learn", "-m", expected, *options], input=b"".join(records), check=True
    )
    pipe, unwritten = Pipe(), b""
    while len(records) > 8:
        batch, records = records[:8], records[8:]
        last, following = records[:2]
        pause_offset, n_following = rng.randrange(len(last)), rng.choice([0, 1, len(following)])
        process = start("-m", model, *options, stdin=pipe.read_end)
        os.write(pipe.write_end, unwritten + b"".join(batch) + last[:pause_offset])
        pipe.wait_until_read(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        rest_of_record = last[pause_offset:] if pause_offset else b""
        os.write(pipe.write_end, rest_of_record + following[:n_following] if pause_offset else b"")
        errors = process.communicate()[1]

        assert (process.returncode, errors) == (143, "")
        unwritten = last + following if not pause_offset else following[n_following:]
        records = records[2:]
    os.write(pipe.write_end, unwritten + b"".join(records))
    os.close(pipe.write_end)
    subprocess.run([COMMAND, "learn", "-m", model, *options], stdin=pipe.read_end, check=True)
    os.close(pipe.read_end)

    assert load_outcome(expected) == load_outcome(model)


@pytest.mark.parametrize(
    ("data", "lost", "n"),
    [
        (b"a,b,label\n1,2,x\n3,4,y\n5,", "2 bytes were lost", 2),
        (b"a,b,label\n1,", "12 bytes were lost, because no model existed yet", None),
    ],
)
def test_lost_bytes_of_an_incomplete_row_are_reported(data, lost, n, tmp_path):
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.write_end, data)
    process = start("-m", model, "--quiet", stdin=pipe.read_end)
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    pipe.close()

    assert process.returncode == 143
    assert f"stdin: {lost}" in errors
    assert (count_samples(model) if model.exists() else None) == n


def test_signal_ends_arrow_data_between_rows(tmp_path):
    """An incomplete row is dropped, and the next run begins with new data."""
    rng, n = random.Random(0), 30_000
    a = [round(rng.random(), 6) for _ in range(n)]
    labels = ["x" if number > 0.5 else "y" for number in a]
    text = "".join(["a,label\n", *map("{},{}\n".format, a, labels)]).encode()
    whole = encode_ipc(pa.table({"a": a, "label": labels}), 1000)
    pipe, model = Pipe(), tmp_path / "m.npz"
    pipe.write(whole[: 2 * len(whole) // 3 + rng.randrange(100)])
    process = start("-m", model, "--quiet", stdin=pipe.read_end)
    wait_for(lambda: count_unread_bytes(pipe.read_end) == 0, process)
    process.terminate()
    errors = process.communicate()[1]
    progress = LiveModel.load(model).progress
    run = subprocess.run(
        [COMMAND, "learn", "-m", model], input=text, capture_output=True, check=True
    )

    assert (process.returncode, errors) == (143, "")
    assert n / 3 < progress.samples < n
    assert progress.skipped == 0
    assert b"warning" not in run.stderr


def test_rows_read_from_a_pipe_are_learned_before_the_run_ends(tmp_path):
    """The other rows stay in the pipe for the next reader."""
    rng = random.Random(2)
    lines = b"left,0.5,1\nright,1,0.5\n" * 1_500_000
    for i in range(3):
        path = tmp_path / f"{i}.npz"
        (read_end, write_end), sent = os.pipe(), []

        def write(write_end=write_end, sent=sent):
            with os.fdopen(write_end, "wb") as file:
                file.write(b"label,a,b\n")
                for begin in range(0, len(lines), 2**20):
                    file.write(lines[begin : begin + 2**20])
                    sent.append(begin)

        with start("-m", path, "--quiet", stdin=read_end) as process:
            writer = threading.Thread(target=write)
            writer.start()
            wait_for(lambda sent=sent: len(sent) > 1, process)
            time.sleep(rng.uniform(0, 0.5))
            process.send_signal(signal.SIGTERM)
            assert process.stderr.read() == ""
        with os.fdopen(read_end, "rb") as file:
            n_unread = file.read().count(b"\n")
        writer.join()

        assert process.returncode == 143
        rows = LiveModel.load(path).progress.rows if path.exists() else 0
        assert rows + n_unread == 3_000_000 + (not path.exists())
    assert rows > 0


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The path of a table of two classes, and the expected prediction lines by row."""
    folder = tmp_path_factory.mktemp("undelivered")
    rng = random.Random(0)
    points = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(TABLE_ROWS)]
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
        repeats += lines.count(b"\n") - TABLE_ROWS
        assert index_by_row(lines) == expected

    report_figure(
        f"predictions on a {output}: {ends}, {repeats:,} lines were repeated, none was lost"
    )
    assert repeats > 0
    assert min(ends.values()) > 0


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


def test_sigterm_ends_the_wait_for_a_fifo(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(fifo, "-m", tmp_path / "m.npz", "--quiet") as process:
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 143


def test_rows_are_saved_on_time_while_the_pipe_is_idle(tmp_path):
    path = tmp_path / "m.npz"
    command = [COMMAND, "learn", "-m", path, "--save-every", "1s", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"label,a\nleft,1\nright,2\n")
        process.stdin.flush()
        wait_for(path.exists)
        process.kill()

    assert LiveModel.load(path).progress.samples == 2


def send_and_interrupt(process, text):
    """Send a text to a process, and SIGTERM when the process has read all of it."""
    process.stdin.write(text)
    process.stdin.flush()
    wait_for(lambda: count_unread_bytes(process.stdin.fileno()) == 0)
    process.send_signal(signal.SIGTERM)


def test_evaluate_reports_the_tested_samples_after_a_signal(tmp_path, run):
    model = tmp_path / "m.npz"
    run("learn", "-m", model, "-q", input="label,a,b\nleft,1,2\nright,2,1\n", check=0)
    with start(
        "-m", model, "--json", subcommand="evaluate", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        send_and_interrupt(process, "label,a,b\nleft,1,2\nright,2,1\nleft,")
        figures, errors = json.loads(process.stdout.read()), process.stderr.read()

    assert process.returncode == 143
    assert "stdin: 5 bytes were lost" in errors
    assert (figures["samples"], figures["interrupted"]) == (2, True)


def test_rows_are_learned_without_a_reader_of_predictions(tmp_path):
    fifo, path = tmp_path / "fifo", tmp_path / "m.npz"
    os.mkfifo(fifo)
    with start("-m", path, "-p", fifo, "--quiet", stdin=subprocess.PIPE) as process:
        send_and_interrupt(process, "label,a\nleft,1\nright,2\n")
        errors = process.stderr.read()
    live = LiveModel.load(path)

    assert (process.returncode, errors) == (143, "")
    assert live.progress.samples == 2


def test_limit_ends_the_run_while_the_pipe_is_still_open(tmp_path):
    path = tmp_path / "m.npz"
    with start("-m", path, "--quiet", "--limit", "2", stdin=subprocess.PIPE) as process:
        process.stdin.write("label,a\nleft,1\nright,2\nleft,3\n")
        process.stdin.flush()

        assert process.wait(60) == 0
    assert count_samples(path) == 2
