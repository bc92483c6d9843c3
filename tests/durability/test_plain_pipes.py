"""Successive runs on one pipe learn and answer each row, or leave it in the pipe."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import signal
import subprocess
import threading
import time

import pyarrow as pa
import pytest
from helpers import COMMAND, TIMES, ipc, kill_after_saves, n_unread, outcome_of, start

from stream_perceptron import LiveModel

ROWS = 600
FORMS = ["csv", "csv without a header", "jsonl", "libsvm"]


def lines_of(form):
    """Return the header, if any, and the rows; a field of CSV may have a newline."""
    rng = random.Random(form)
    if form == "csv":
        yield "\ufeffid,a,b,label\n"
    for i in range(ROWS):
        a, b = round(rng.gauss(0, 1), 4), round(rng.gauss(0, 1), 4)
        label = int(a > b)
        if form == "csv":
            yield f'"r{i}\n, ""{i % 7}""",{a},{b},{label}\n' if i % 3 else f"r{i},{a},{b},{label}\n"
        elif form == "jsonl":
            yield json.dumps({"a": a, "b": b, "label": label, "id": f"ä{i}"}) + "\n"
        elif form == "libsvm":
            yield f"{label} 1:{a} 2:{b}\n"
        else:
            yield f"{label}\t{a}\t{b}\n"


class Writer(threading.Thread):
    """Writes bytes to a pipe, cut at random places."""

    def __init__(self, descriptor, data, seed):
        super().__init__(daemon=True)
        self._descriptor, self._data, self._rng = descriptor, data, random.Random(seed)
        self.start()

    def run(self):
        with os.fdopen(self._descriptor, "wb", buffering=0) as pipe:
            done = 0
            while done < len(self._data):
                n = self._rng.choice([1, 10, 500])
                pipe.write(self._data[done : done + n])
                done += n
                time.sleep(self._rng.random() / 50)


def read_slowly(descriptor, most, taken, rng):
    """Read to the end, or a number of bytes, slowly."""
    while len(taken) < most and (data := os.read(descriptor, rng.choice([500, 5000]))):
        taken += data
        time.sleep(rng.random() / 50)
    os.close(descriptor)


def by_row(data):
    """Return lines by row; repeated lines must be equal."""
    found = {}
    for line in data.decode().splitlines():
        assert found.setdefault(json.loads(line)["row"], line) == line
    return found


@pytest.mark.slow
@pytest.mark.parametrize("output", ["file", "slow reader", "reader that leaves"])
@pytest.mark.parametrize("form", FORMS)
def test_rows_of_a_pipe_add_up_after_each_end(form, output, tmp_path, tell):
    data = "".join(lines_of(form)).encode()
    expected, answers = tmp_path / "expected.npz", tmp_path / "answers"
    more = ["--ignore", "id"] * (form in ("csv", "jsonl"))
    options = ["--quiet", "--save-every", "100", "--classes", "0,1", *more]
    command = ["-m", expected, "-p", answers, *options]
    subprocess.run([COMMAND, "learn", *command], input=data, check=True)
    ends = 0
    for run in range(TIMES):
        rng = random.Random(f"{form} {output} {run}")
        model, lines = tmp_path / f"{run}.npz", tmp_path / f"{run}.jsonl"
        into, out = os.pipe()
        writer, got, code = Writer(out, data, run), b"", None
        while code != 0:
            reading, writing = os.pipe()
            path = lines if output == "file" else "-"
            process = start("-m", model, "-p", path, *options, stdin=into, stdout=writing)
            os.close(writing)
            most = rng.randint(1, 60_000) if output == "reader that leaves" else 2**30
            taken = bytearray()
            reader = threading.Thread(target=read_slowly, args=(reading, most, taken, rng))
            reader.start()
            # Before the first save there is no model to keep the header in.
            saves, seconds = 0 if model.exists() else 1, rng.uniform(0, 0.25)
            kill_after_saves(process, model, saves, seconds, signal.SIGTERM)
            errors = process.communicate()[1]
            reader.join()
            code = process.returncode
            assert code in (0, 143, 141), errors
            ends += code != 0
            live = LiveModel.load(model)
            got += taken[: taken.rfind(b"\n") + 1]
            found = lines.read_bytes() if output == "file" else got + live.cursor.untaken.encode()
            assert list(range(1, live.progress.rows + 1)) == sorted(by_row(found))
        writer.join()
        os.close(into)
        assert by_row(found) == by_row(answers.read_bytes())
        assert outcome_of(expected) == outcome_of(model)
        assert LiveModel.load(model).cursor.header is None
    tell(f"{form} on a plain pipe, {output}: {ends} ends, each row is learned and answered once")
    assert ends > 0


class Pipe:
    """A pipe that successive runs inherit."""

    def __init__(self):
        self.into, self.out = os.pipe()

    def write(self, data):
        threading.Thread(target=os.write, args=(self.out, data), daemon=True).start()

    def wait_until_read(self, process):
        """Wait until a process has read all bytes."""
        while process.poll() is None and n_unread(self.into):
            time.sleep(0.002)

    def close(self):
        os.close(self.into)
        os.close(self.out)

    def learn(self, model, *options, saves=0, seconds=0.5, **kwargs):
        """Run until a signal; return the exit code and the messages."""
        process = start("-m", model, "--quiet", *options, stdin=self.into, **kwargs)
        kill_after_saves(process, model, saves, seconds, signal.SIGTERM)
        errors = process.communicate()[1]
        return process.returncode, errors


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_read_to_its_end_if_its_writer_pauses_shortly(form, tmp_path):
    """A signal comes while the writer pauses at any byte; the next run begins with a row."""
    rng = random.Random(form)
    records = [record.encode() for record in lines_of(form)][: 40 * TIMES]
    expected, model = tmp_path / "expected.npz", tmp_path / "m.npz"
    options = ["--quiet", *(["--ignore", "id"] * (form in ("csv", "jsonl")))]
    subprocess.run(
        [COMMAND, "learn", "-m", expected, *options], input=b"".join(records), check=True
    )
    pipe, left = Pipe(), b""
    while len(records) > 8:
        some, records = records[:8], records[8:]
        last, following = records[:2]
        place, n_following = rng.randrange(len(last)), rng.choice([0, 1, len(following)])
        process = start("-m", model, *options, stdin=pipe.into)
        os.write(pipe.out, left + b"".join(some) + last[:place])
        pipe.wait_until_read(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        rest = last[place:] if place else b""
        os.write(pipe.out, rest + following[:n_following] if place else b"")
        errors = process.communicate()[1]

        assert (process.returncode, errors) == (143, "")
        left = last + following if not place else following[n_following:]
        records = records[2:]
    os.write(pipe.out, left + b"".join(records))
    os.close(pipe.out)
    subprocess.run([COMMAND, "learn", "-m", model, *options], stdin=pipe.into, check=True)
    os.close(pipe.into)

    assert outcome_of(expected) == outcome_of(model)


@pytest.mark.parametrize("form", FORMS)
def test_the_bytes_of_a_row_whose_writer_pauses_are_reported(form, tmp_path):
    rng = random.Random(form)
    records = [record.encode() for record in lines_of(form)][:40]
    place = rng.randrange(1, len(records[-1]))
    options = ["--quiet", *(["--ignore", "id"] * (form in ("csv", "jsonl")))]
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.out, b"".join(records[:-1]) + records[-1][:place])
    process = start("-m", model, *options, stdin=pipe.into)
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    os.write(pipe.out, records[-1][place:])

    assert process.returncode == 143
    assert f"stdin: {place:,} byte{'s were' if place > 1 else ' was'} lost" in errors
    assert LiveModel.load(model).progress.samples == len(records) - 1 - (form == "csv")
    assert records[-1][place:] == os.read(pipe.into, 1000)
    pipe.close()


@pytest.mark.parametrize("is_first", [False, True])
def test_a_record_with_a_newline_in_quotes_is_read_to_its_end(is_first, tmp_path):
    """A signal comes after the newline, with the first record of a run or with a later one."""
    pipe, model = Pipe(), tmp_path / "m.npz"
    learn = [COMMAND, "learn", "-m", model, "--quiet", "--ignore", "note"]
    subprocess.run(learn, input=b"note,a,label\nx,1,u\n", check=True)
    before = b"" if is_first else b"z,4,u\n"
    process = start("-m", model, "--quiet", stdin=pipe.into)
    os.write(pipe.out, b"note,a,label\n" + before + b'"two\n')
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    os.write(pipe.out, b'lines",2,v\ny,3,u\n')
    errors = process.communicate()[1]

    assert (process.returncode, errors) == (143, "")
    assert LiveModel.load(model).model.classes_ == ["u", "v"]
    assert os.read(pipe.into, 1000) == b"y,3,u\n"
    pipe.close()


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_pipe_is_known_after_kill_9(form, tmp_path):
    """The next run begins within a row, which it skips."""
    records = [record.encode() for record in lines_of(form)][:40]
    options = ["--quiet", *(["--ignore", "id"] * (form in ("csv", "jsonl")))]
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.out, b"".join(records[:20]) + records[20][:-3])
    process = start("-m", model, "--save-every", "1", *options, stdin=pipe.into)
    kill_after_saves(process, model, 1, 0.1)
    process.communicate()
    saved = LiveModel.load(model).progress.rows
    os.write(pipe.out, b"".join([records[20][-3:], *records[21:]]))
    os.close(pipe.out)
    subprocess.run(
        [COMMAND, "learn", "-m", model, "--skip-bad", *options], stdin=pipe.into, check=True
    )
    os.close(pipe.into)

    assert 0 < saved <= 20
    assert saved + len(records[21:]) <= LiveModel.load(model).progress.samples


def test_without_a_model_it_is_said_what_is_lost(tmp_path):
    model, pipe = tmp_path / "m.npz", Pipe()
    os.write(pipe.out, b"a,b,label\n1,")
    process = start("-m", model, stdin=pipe.into)
    pipe.wait_until_read(process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    pipe.close()

    assert process.returncode == 143
    assert "stdin: 12 bytes were lost, because no model existed yet" in errors
    assert not model.exists()


def test_the_order_of_columns_is_known_to_the_next_run_on_the_pipe(tmp_path):
    """The first run on it ends before the header, the second one before the first row."""
    model, pipe = tmp_path / "m.npz", Pipe()
    subprocess.run([COMMAND, "learn", "-m", model, "-q"], input=b"a,b,label\n1,2,x\n", check=True)
    for line in (b"", b"label,b,a\n", b"y,2,1\n"):
        process = start("-m", model, "--quiet", stdin=pipe.into)
        os.write(pipe.out, line)
        pipe.wait_until_read(process)
        process.send_signal(signal.SIGTERM)
        assert (process.wait(60), process.communicate()[1]) == (143, "")
    pipe.close()

    assert LiveModel.load(model).model.classes_ == ["x", "y"]


@pytest.mark.parametrize("n", [10, 8_000])
@pytest.mark.parametrize("options", [["--limit", "3"], ["--stop", "--epsilon", "9"]])
def test_what_a_limit_left_is_not_learned_again(options, n, tmp_path):
    """The signal comes while the run waits for a reader, after all requested rows are learned.

    A thread reads ahead if there is more than a few rows, and then a part of a row is left.
    """
    pipe, model = Pipe(), tmp_path / "m.npz"
    pipe.write(b"a,b,label\n" + b"1,2,x\n3,4,y\n" * n + b"5,")
    reading, writing = os.pipe()
    more = ["-p", "-", "--save-every", "1", *options]
    code, errors = pipe.learn(model, *more, stdout=writing, saves=1, seconds=1)
    live = LiveModel.load(model)

    assert (code, errors) == (143, "")
    assert 0 < live.progress.rows <= 3
    assert live.progress.rows == live.cursor.untaken.count("\n")
    for descriptor in (reading, writing, pipe.into, pipe.out):
        os.close(descriptor)


@pytest.mark.parametrize("place", ["first", "in the midst"])
def test_a_line_that_is_too_long_does_not_shift_the_next_ones(place, tmp_path):
    pipe, model = Pipe(), tmp_path / "m.npz"
    long, rows = b"z" * (17 * 2**20) + b"\n", b"1,2,x\n3,4,y\n" * 10
    pipe.write(
        b"a,b,label\n" + rows + long if place == "in the midst" else long + b"a,b,label\n" + rows
    )
    code, errors = pipe.learn(model, "--skip-bad", "--save-every", "1", saves=1, seconds=2)
    assert (code, errors) == (143, "")
    pipe.write(b"5,6,y\n7,8,x\n")
    pipe.learn(model, "--skip-bad", seconds=4)
    live = LiveModel.load(model)

    assert (live.progress.samples, live.progress.skipped) == (22, 1)


def test_a_line_that_is_too_long_is_lost_if_its_writer_pauses(tmp_path):
    pipe, model = Pipe(), tmp_path / "m.npz"
    long = b"z" * (17 * 2**20)
    pipe.write(b"a,b,label\n1,2,x\n3,4,y\n" + long)
    code, errors = pipe.learn(model, "--skip-bad", "--save-every", "1", saves=1, seconds=2)
    live = LiveModel.load(model)

    assert code == 143
    assert f"stdin: {len(long):,} bytes were lost" in errors
    assert (live.progress.samples, live.progress.skipped) == (2, 0)


@pytest.mark.parametrize("how", ["gzip", "bz2", "zstd", "arrow"])
def test_compressed_and_arrow_data_end_where_a_signal_comes(how, tmp_path):
    """A part of a row is left out, and the next run begins anew."""
    rng, n = random.Random(how), 30_000
    a = [round(rng.random(), 6) for _ in range(n)]
    labels = ["x" if number > 0.5 else "y" for number in a]
    text = "".join(["a,label\n", *map("{},{}\n".format, a, labels)]).encode()
    compress = {
        "gzip": gzip.compress,
        "bz2": lambda data: bz2.compress(data, 1),
        "zstd": lambda data: pa.compress(data, "zstd", asbytes=True),
        "arrow": lambda data: ipc(pa.table({"a": a, "label": labels}), 1000),
    }
    whole = compress[how](text)
    pipe, model = Pipe(), tmp_path / "m.npz"
    pipe.write(whole[: 2 * len(whole) // 3 + rng.randrange(100)])
    code, errors = pipe.learn(model, seconds=1.5)
    progress = LiveModel.load(model).progress
    run = subprocess.run(
        [COMMAND, "learn", "-m", model], input=text, capture_output=True, check=True
    )

    assert (code, errors) == (143, "")
    assert n / 3 < progress.samples < n
    assert progress.skipped == 0
    assert b"warning" not in run.stderr


def test_rows_that_were_read_of_a_further_pipe_are_learned(tmp_path):
    """The first record of each source is read when a run begins."""
    pipes, model = [Pipe(), Pipe()], tmp_path / "m.npz"
    pipes[0].write(b"a,b,label\n1,2,x\n3,")
    pipes[1].write(b"a,b,label\n5,6,y\n")
    names = [f"/dev/fd/{pipe.into}" for pipe in pipes]
    process = start(*names, "-m", model, "--save-every", "1", "--quiet",
                    pass_fds=[pipe.into for pipe in pipes])  # fmt: skip
    kill_after_saves(process, model, 1, 0.3, signal.SIGTERM)
    errors = process.communicate()[1]

    assert process.returncode == 143
    assert f"{names[0]}: 2 bytes were lost" in errors
    assert LiveModel.load(model).model.classes_ == ["x", "y"]
