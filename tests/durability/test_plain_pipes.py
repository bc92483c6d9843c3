"""Successive runs on one pipe learn and predict each row, or leave it in the pipe."""

from __future__ import annotations

import fcntl
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
    count_unread_bytes,
    encode_ipc,
    kill_after_saves,
    load_outcome,
    start,
)

from stream_perceptron import LiveModel

ROWS = 600
FORMS = ["csv", "csv without a header", "jsonl", "libsvm"]


def generate_records(form):
    """Yield the header, if any, and the rows; a CSV field may contain a newline."""
    rng = random.Random(form)
    if form == "csv":
        yield "\ufeffid,a,b,label\n"
    for i in range(ROWS):
        a, b = round(rng.gauss(0, 1), 4), round(rng.gauss(0, 1), 4)
        label = int(a > b)
        if form == "csv":
            yield f'"r{i}, ""{i % 7}""",{a},{b},{label}\n' if i % 3 else f"r{i},{a},{b},{label}\n"
        elif form == "jsonl":
            yield json.dumps({"a": a, "b": b, "label": label, "id": f"ä{i}"}) + "\n"
        elif form == "libsvm":
            yield f"{label} 1:{a} 2:{b}\n"
        else:
            yield f"{label}\t{a}\t{b}\n"


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
    for line in data.decode().splitlines():
        assert lines_by_row.setdefault(json.loads(line)["row"], line) == line
    return lines_by_row


@pytest.mark.slow
@pytest.mark.parametrize("output", ["file", "slow reader", "reader that leaves"])
@pytest.mark.parametrize("form", FORMS)
def test_each_row_of_a_pipe_is_learned_and_predicted_once(form, output, tmp_path, report_figure):
    data = "".join(generate_records(form)).encode()
    expected, expected_predictions = tmp_path / "expected.npz", tmp_path / "answers"
    extra_options = ["--ignore", "id"] * (form in ("csv", "jsonl"))
    options = ["--quiet", "--save-every", "100", "--classes", "0,1", *extra_options]
    command = ["-m", expected, "-p", expected_predictions, *options]
    subprocess.run([COMMAND, "learn", *command], input=data, check=True)
    n_ends = 0
    for run in range(CASE_FACTOR):
        rng = random.Random(f"{form} {output} {run}")
        model, predictions_path = tmp_path / f"{run}.npz", tmp_path / f"{run}.jsonl"
        read_end, write_end = os.pipe()
        writer, received_lines, code = Writer(write_end, data, run), b"", None
        while code != 0:
            stdout_read_end, stdout_write_end = os.pipe()
            path = predictions_path if output == "file" else "-"
            process = start(
                "-m", model, "-p", path, *options, stdin=read_end, stdout=stdout_write_end
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
            predictions = predictions_path.read_bytes() if output == "file" else received_lines
            if output != "reader that leaves":
                assert list(range(1, live.progress.rows + 1)) == sorted(index_by_row(predictions))
        writer.join()
        os.close(read_end)
        lines, expected_lines = map(index_by_row, (predictions, expected_predictions.read_bytes()))
        if output == "reader that leaves":
            assert lines.items() <= expected_lines.items()
            assert len(lines) == predictions.count(b"\n")
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

    def learn_until_signal(self, model, *options, saves=0, seconds=0.5, **kwargs):
        """Learn from the pipe until SIGTERM; return the exit code and stderr."""
        process = start("-m", model, "--quiet", *options, stdin=self.read_end, **kwargs)
        kill_after_saves(process, model, saves, seconds, signal.SIGTERM)
        errors = process.communicate()[1]
        return process.returncode, errors


@pytest.mark.parametrize("form", FORMS)
def test_row_is_read_to_its_end_if_its_writer_pauses_briefly(form, tmp_path):
    """A signal comes while the writer pauses at any byte; the next run begins at a row."""
    rng = random.Random(form)
    records = [record.encode() for record in generate_records(form)][: 40 * CASE_FACTOR]
    expected, model = tmp_path / "expected.npz", tmp_path / "m.npz"
    options = ["--quiet", *(["--ignore", "id"] * (form in ("csv", "jsonl")))]
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


@pytest.mark.parametrize("form", FORMS)
def test_lost_bytes_of_an_incomplete_row_are_reported(form, tmp_path):
    rng = random.Random(form)
    records = [record.encode() for record in generate_records(form)][:40]
    pause_offset = rng.randrange(1, len(records[-1]))
    options = ["--quiet", *(["--ignore", "id"] * (form in ("csv", "jsonl")))]
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.write_end, b"".join(records[:-1]) + records[-1][:pause_offset])
    process = start("-m", model, *options, stdin=pipe.read_end)
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    os.write(pipe.write_end, records[-1][pause_offset:])

    assert process.returncode == 143
    assert f"stdin: {pause_offset:,} byte{'s were' if pause_offset > 1 else ' was'} lost" in errors
    assert LiveModel.load(model).progress.samples == len(records) - 1 - (form == "csv")
    assert records[-1][pause_offset:] == os.read(pipe.read_end, 1000)
    pipe.close()


def test_lost_bytes_are_reported_if_no_model_exists(tmp_path):
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.write_end, b"a,b,label\n1,")
    process = start("-m", model, stdin=pipe.read_end)
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    pipe.close()

    assert process.returncode == 143
    assert "stdin: 12 bytes were lost, because no model existed yet" in errors
    assert not model.exists()


@pytest.mark.parametrize("n", [10, 8_000])
@pytest.mark.parametrize("options", [["--limit", "3"], ["--stop", "--epsilon", "9"]])
def test_signal_after_a_limit_or_stop_learns_no_more_rows(options, n, tmp_path):
    """The signal comes while the run waits for a reader.

    If there are more than a few rows, a thread prefetches them, and part of a row is left over.
    """
    pipe, model = Pipe(), tmp_path / "m.npz"
    pipe.write(b"a,b,label\n" + b"1,2,x\n3,4,y\n" * n + b"5,")
    stdout_read_end, stdout_write_end = os.pipe()
    os.write(stdout_write_end, bytes(fcntl.fcntl(stdout_write_end, fcntl.F_GETPIPE_SZ)))
    extra_options = ["-p", "-", "--save-every", "1", *options]
    code, errors = pipe.learn_until_signal(
        model, *extra_options, stdout=stdout_write_end, seconds=3
    )
    live = LiveModel.load(model)

    assert (code, errors) == (143, "")
    assert 0 < live.progress.rows <= 3
    for descriptor in (stdout_read_end, stdout_write_end, pipe.read_end, pipe.write_end):
        os.close(descriptor)


@pytest.mark.parametrize("position", ["first", "in the middle"])
def test_overlong_line_does_not_shift_the_next_rows(position, tmp_path):
    pipe, model = Pipe(), tmp_path / "m.npz"
    long_line, rows = b"z" * (17 * 2**20) + b"\n", b"1,2,x\n3,4,z\n" * 10
    header = b"a,b,label\n"
    pipe.write(
        header + rows + long_line if position == "in the middle" else long_line + header + rows
    )
    code, errors = pipe.learn_until_signal(
        model, "--skip-bad", "--save-every", "1", saves=1, seconds=2
    )
    assert (code, errors) == (143, "")
    pipe.write(b"5,6,z\n7,8,x\n")
    pipe.learn_until_signal(model, "--skip-bad", seconds=4)
    live = LiveModel.load(model)

    assert (live.progress.samples, live.progress.skipped) == (22, 1)


def test_overlong_line_is_lost_if_its_writer_pauses(tmp_path):
    pipe, model = Pipe(), tmp_path / "m.npz"
    long_line = b"z" * (17 * 2**20)
    pipe.write(b"a,b,label\n1,2,x\n3,4,y\n" + long_line)
    code, errors = pipe.learn_until_signal(
        model, "--skip-bad", "--save-every", "1", saves=1, seconds=2
    )
    live = LiveModel.load(model)

    assert code == 143
    assert f"stdin: {len(long_line):,} bytes were lost" in errors
    assert (live.progress.samples, live.progress.skipped) == (2, 0)


def test_signal_ends_arrow_data_between_rows(tmp_path):
    """An incomplete row is dropped, and the next run begins with new data."""
    rng, n = random.Random(0), 30_000
    a = [round(rng.random(), 6) for _ in range(n)]
    labels = ["x" if number > 0.5 else "y" for number in a]
    text = "".join(["a,label\n", *map("{},{}\n".format, a, labels)]).encode()
    whole = encode_ipc(pa.table({"a": a, "label": labels}), 1000)
    pipe, model = Pipe(), tmp_path / "m.npz"
    pipe.write(whole[: 2 * len(whole) // 3 + rng.randrange(100)])
    code, errors = pipe.learn_until_signal(model, seconds=1.5)
    progress = LiveModel.load(model).progress
    run = subprocess.run(
        [COMMAND, "learn", "-m", model], input=text, capture_output=True, check=True
    )

    assert (code, errors) == (143, "")
    assert n / 3 < progress.samples < n
    assert progress.skipped == 0
    assert b"warning" not in run.stderr


def test_rows_already_read_from_a_second_pipe_are_learned(tmp_path):
    """The first record of each source is read when a run begins."""
    pipes, model = [Pipe(), Pipe()], tmp_path / "m.npz"
    pipes[0].write(b"a,b,label\n1,2,x\n3,")
    pipes[1].write(b"a,b,label\n5,6,y\n")
    names = [f"/dev/fd/{pipe.read_end}" for pipe in pipes]
    process = start(*names, "-m", model, "--save-every", "1", "--quiet",
                    pass_fds=[pipe.read_end for pipe in pipes])  # fmt: skip
    kill_after_saves(process, model, 1, 0.3, signal.SIGTERM)
    errors = process.communicate()[1]

    assert process.returncode == 143
    assert f"{names[0]}: 2 bytes were lost" in errors
    assert LiveModel.load(model).model.classes_ == ["x", "y"]
