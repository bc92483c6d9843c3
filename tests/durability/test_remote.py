"""Sources at URIs: servers that hang, and objects that are replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress

import pyarrow.fs
import pytest
from helpers import COMMAND, capture_state, load_recipe, read_contents, start, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.data.byte_input import strip_credentials

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def build_uri(port, name="digits.parquet"):
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    return f"s3://key:secret@bucket/{name}?{options}&allow_bucket_creation=true"


@pytest.fixture(scope="module")
def s3_port():
    """The port of an S3 server with a bucket."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: accepts_connections(port), process)
        filesystem, bucket = pyarrow.fs.FileSystem.from_uri(build_uri(port, ""))
        filesystem.create_dir(bucket.strip("/"))
        yield port
        process.kill()


def accepts_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def upload(port, path, name="digits.parquet"):
    filesystem, key = pyarrow.fs.FileSystem.from_uri(build_uri(port, name))
    with filesystem.open_output_stream(key) as stream:
        stream.write(path.read_bytes())


@pytest.fixture
def silent_server():
    """The socket of a server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(60)
        yield listening


@pytest.fixture
def stalling_port(s3_port):
    """The port of a proxy that forwards 5 MB of responses and then hangs."""
    n_left, sockets, threads = [5_000_000], [], []
    listening = socket.create_server(("127.0.0.1", 0))

    def forward(source, target, is_answer):
        with suppress(OSError):
            while data := source.recv(2**14):
                if is_answer:
                    data = data[: n_left[0]]
                    n_left[0] -= len(data)
                if data:
                    target.sendall(data)
            if n_left[0]:
                target.shutdown(socket.SHUT_WR)

    def accept():
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                upstream = socket.create_connection(("127.0.0.1", s3_port))
                sockets.extend([client, upstream])
                for forward_args in ((client, upstream, False), (upstream, client, True)):
                    threads.append(threading.Thread(target=forward, args=forward_args, daemon=True))
                    threads[-1].start()

    threads.append(threading.Thread(target=accept, daemon=True))
    threads[-1].start()
    yield listening.getsockname()[1]
    for connection in (listening, *sockets):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for connection in (listening, *sockets):
        connection.close()


def test_recipe_for_object_storage_works(s3_port, mnist_sample, tmp_path):
    filesystem, _ = pyarrow.fs.FileSystem.from_uri(build_uri(s3_port))
    filesystem.create_dir("digits")
    with filesystem.open_output_stream("digits/train.parquet") as stream:
        stream.write(mnist_sample.read_bytes())
    command = load_recipe("s3")
    assert "localhost:9000" in command
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    path = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-e", "-c", command.replace("localhost:9000", f"127.0.0.1:{s3_port}")],
        cwd=tmp_path, env=os.environ | keys | path, check=True, capture_output=True,
    )  # fmt: skip

    assert LiveModel.load(tmp_path / "s3.npz").progress.samples == 5000


@pytest.mark.parametrize("signal_number", EXIT_CODES)
@pytest.mark.parametrize("command", ["learn", "predict", "evaluate", "report"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_signal_interrupts_opening_a_source_on_a_silent_server(
    scheme, command, signal_number, silent_server, tmp_path, mnist_sample, run
):
    path = tmp_path / "m.npz"
    run("learn", mnist_sample, "-m", path, "--limit", "10", "--quiet", check=0)
    port = silent_server.getsockname()[1]
    source_uri = build_uri(port)
    if scheme == "gs":
        source_uri = f"gs://anonymous@bucket/x.csv?scheme=http&endpoint_override=127.0.0.1:{port}"
    options = {
        "learn": [source_uri, "-m", path],
        "report": [path, "-o", tmp_path / "r.html", "--examples", source_uri],
    }.get(command, [source_uri, "-m", path])
    before = path.read_bytes()
    with start(*options, subcommand=command) as process:
        with silent_server.accept()[0]:  # the command has connected
            process.send_signal(signal_number)
            process.wait(10)

        errors = process.stderr.read()
    is_reported = signal_number == signal.SIGINT and command != "learn"
    assert (process.returncode, errors) == (
        EXIT_CODES[signal_number],
        "interrupted\n" * is_reported,
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("signal_number", EXIT_CODES)
def test_signal_interrupts_reading_from_a_stalled_server(
    signal_number, s3_port, stalling_port, tmp_path
):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\n" + b"left,1\nright,2\n" * 600_000)
    upload(s3_port, source, "s.csv")
    with start(build_uri(stalling_port, "s.csv"), "-m", path, "--save-every", "1000") as process:
        wait_for(path.exists, process)
        process.send_signal(signal_number)
        process.wait(10)

        assert process.returncode == EXIT_CODES[signal_number], process.stderr.read()
    assert 0 < LiveModel.load(path).progress.rows < 1_200_000


def test_run_resumes_an_object_and_recognizes_its_replacement(s3_port, mnist_sample, tmp_path, run):
    """The replacement has the same size and footer, but other bytes at its start."""
    path = tmp_path / "m.npz"
    other = tmp_path / "other.parquet"
    data = bytearray(mnist_sample.read_bytes())
    data[1000] ^= 1  # within a column, which has no checksum
    other.write_bytes(data)
    upload(s3_port, mnist_sample)
    sources = [open_source(build_uri(s3_port))]
    live = LiveModel.start(sources, seed=0)
    results = live.run(sources, live.plan_run(sources))
    while not live.progress.rows:  # results are empty while the server is slow
        next(results)
    live.save(path)
    upload(s3_port, other)
    result = run("learn", build_uri(s3_port), "-m", path, check=1)

    name = strip_credentials(build_uri(s3_port))
    assert f"{name}: it has changed since 1,000 rows of it were learned" in result.stderr
    assert b"secret" not in path.read_bytes()
    upload(s3_port, mnist_sample)
    run("learn", build_uri(s3_port), "-m", path, check=0)
    assert LiveModel.load(path).progress.rows == 5000


def test_object_and_local_file_give_the_same_weights(s3_port, mnist_sample, tmp_path, run):
    upload(s3_port, mnist_sample)
    models = []
    for source in (mnist_sample, build_uri(s3_port)):
        run("learn", source, "-m", tmp_path / "m.npz", "--overwrite", check=0)
        models.append(LiveModel.load(tmp_path / "m.npz").model.weights.tobytes())

    assert models[0] == models[1]


def test_object_is_learned_verified_and_predicted_like_a_file(s3_port, mnist_files, tmp_path, run):
    """A run on the object that is killed and resumed ends like an uninterrupted run."""
    name = "train.parquet"
    upload(s3_port, mnist_files["train"], name)
    upload(s3_port, mnist_files["test"], "test.parquet")
    uninterrupted, path = tmp_path / "alone.npz", tmp_path / "m.npz"
    options = ["--save-every", "500", "--quiet"]
    run("learn", build_uri(s3_port, name), "-m", uninterrupted, *options, check=0)
    process = start(build_uri(s3_port, name), "-m", path, *options)
    wait_for(path.exists, process)
    process.kill()
    process.communicate(timeout=60)
    assert LiveModel.load(path).progress.rows < 60_000
    run("learn", build_uri(s3_port, name), "-m", path, *options, check=0)
    figures = []
    for source in (mnist_files["test"], build_uri(s3_port, "test.parquet")):
        figures.append(json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout))
    predictions = [
        run("predict", source, "-m", path, check=0).stdout
        for source in (mnist_files["test"], build_uri(s3_port, "test.parquet"))
    ]

    assert read_contents(uninterrupted) == read_contents(path)
    assert figures[0] == figures[1]
    assert predictions[0] == predictions[1]
    run("verify", path, build_uri(s3_port, name), check=0)
    upload(s3_port, mnist_files["test"], name)
    assert (
        "is not among the given sources"
        in run("verify", path, build_uri(s3_port, name), check=1).stderr
    )


@pytest.mark.nightly
def test_sharded_runs_on_an_object_and_a_file_are_identical(s3_port, mnist_sample, tmp_path, run):
    upload(s3_port, mnist_sample)
    options = ["--shards", 2, "--round-rows", 500, "--quiet", "--ray"]
    for path, source in (("a.npz", mnist_sample), ("b.npz", build_uri(s3_port))):
        run("learn", source, "-m", tmp_path / path, *options, check=0)
    models = [LiveModel.load(tmp_path / path).model for path in ("a.npz", "b.npz")]

    assert models[0].n_seen == 5000
    assert capture_state(models[0]) == capture_state(models[1])


def test_text_object_is_read_in_passes_and_resumed_after_it_grows(s3_port, tmp_path, run):
    source, model, local = tmp_path / "s.csv", tmp_path / "m.npz", tmp_path / "local.npz"
    rows = [f"{i % 7},{'x' if i % 7 < 3 else 'y'}\n" for i in range(3000)]
    source.write_text("a,label\n" + "".join(rows))
    upload(s3_port, source, "s.csv")
    remote = build_uri(s3_port, "s.csv")
    options = ["--passes", "2", "--quiet"]
    run("learn", remote, "-m", model, *options, "--limit", "3500", check=0)
    run("learn", remote, "-m", model, *options, check=0)
    run("learn", source, "-m", local, *options, check=0)
    at_once = tmp_path / "at_once.npz"
    run("learn", remote, "-m", at_once, *options, check=0)
    expected = capture_state(LiveModel.load(local).model)
    assert capture_state(LiveModel.load(model).model) == expected
    assert capture_state(LiveModel.load(at_once).model) == expected

    grown = tmp_path / "grown.npz"
    run("learn", remote, "-m", grown, "--quiet", check=0)
    source.write_text(source.read_text() + "".join(rows[:100]))
    upload(s3_port, source, "s.csv")
    run("learn", remote, "-m", grown, "--quiet", check=0)
    assert LiveModel.load(grown).progress.rows == 3100

    part = tmp_path / "part.npz"
    run("learn", remote, "-m", part, "--limit", "1000", "--quiet", check=0)
    text = source.read_text()
    source.write_text(text[:-2] + "z\n")  # the same length, with other bytes at the end
    upload(s3_port, source, "s.csv")
    assert LiveModel.load(part).history.positions[0].offset < len(text)
    run("learn", remote, "-m", part, "--quiet", check=0)  # it has rows after those that were read

    whole = tmp_path / "whole.npz"
    run("learn", remote, "-m", whole, "--quiet", check=0)
    upload(s3_port, source, "s.csv")
    again = run("learn", remote, "-m", whole, check=0)

    assert "nothing new" in again.stderr


@pytest.mark.parametrize("position", [8, 4090])
def test_longer_text_object_with_another_beginning_has_changed(position, s3_port, tmp_path, run):
    source, model = tmp_path / "s.csv", tmp_path / "m.npz"
    data = b"a,label\n" + b"".join(b"%d,%s\n" % (i % 7, b"xy"[i % 2 :][:1]) for i in range(3000))
    source.write_bytes(data)
    upload(s3_port, source, "s.csv")
    remote = build_uri(s3_port, "s.csv")
    run("learn", remote, "-m", model, "--quiet", check=0)
    digit = data.index(b",", position) - 1  # of a number
    source.write_bytes(data[:digit] + b"8" + data[digit + 1 :] + b"1,x\n" * 100)
    upload(s3_port, source, "s.csv")

    assert digit < 4096
    result = run("learn", remote, "-m", model, check=1)
    assert "it has changed since 3,000 rows of it were learned" in result.stderr
