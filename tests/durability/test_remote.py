"""Sources behind URIs: servers that hang, and objects that are replaced."""

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
from helpers import COMMAND, contents_of, recipe, start, state_of, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.data.byte_stream import read_version, strip_credentials

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def uri(port, name="digits.parquet"):
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    return f"s3://key:secret@bucket/{name}?{options}&allow_bucket_creation=true"


@pytest.fixture(scope="module")
def server():
    """The port of an S3 server with a bucket."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: answers(port), process)
        filesystem, bucket = pyarrow.fs.FileSystem.from_uri(uri(port, ""))
        filesystem.create_dir(bucket.strip("/"))
        yield port
        process.kill()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def put(port, path, name="digits.parquet"):
    filesystem, key = pyarrow.fs.FileSystem.from_uri(uri(port, name))
    with filesystem.open_output_stream(key) as stream:
        stream.write(path.read_bytes())


@pytest.fixture
def silent():
    """The port of a server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(60)
        yield listening


@pytest.fixture
def stalling(server):
    """The port of a proxy that forwards 5 MB of answers, and then hangs."""
    left, opened, threads = [5_000_000], [], []
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source, target, is_answer):
        with suppress(OSError):
            while data := source.recv(2**14):
                if is_answer:
                    data = data[: left[0]]
                    left[0] -= len(data)
                if data:
                    target.sendall(data)
            if left[0]:
                target.shutdown(socket.SHUT_WR)

    def accept():
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                upstream = socket.create_connection(("127.0.0.1", server))
                opened.extend([client, upstream])
                for ends in ((client, upstream, False), (upstream, client, True)):
                    threads.append(threading.Thread(target=pump, args=ends, daemon=True))
                    threads[-1].start()

    threads.append(threading.Thread(target=accept, daemon=True))
    threads[-1].start()
    yield listening.getsockname()[1]
    for each in (listening, *opened):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for each in (listening, *opened):
        each.close()


def test_the_recipe_for_object_storage(server, sample, tmp_path):
    filesystem, _ = pyarrow.fs.FileSystem.from_uri(uri(server))
    filesystem.create_dir("digits")
    with filesystem.open_output_stream("digits/train.parquet") as stream:
        stream.write(sample.read_bytes())
    command = recipe("s3")
    assert "localhost:9000" in command
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    path = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-e", "-c", command.replace("localhost:9000", f"127.0.0.1:{server}")],
        cwd=tmp_path, env=os.environ | keys | path, check=True, capture_output=True,
    )  # fmt: skip

    assert LiveModel.load(tmp_path / "s3.npz").progress.samples == 5000


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("command", ["learn", "predict", "evaluate", "report"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_signal_ends_the_opening_of_what_does_not_answer(
    scheme, command, number, silent, tmp_path, sample, run
):
    path = tmp_path / "m.npz"
    run("learn", sample, "-m", path, "--limit", "10", "--quiet", check=0)
    port = silent.getsockname()[1]
    where = uri(port)
    if scheme == "gs":
        where = f"gs://anonymous@bucket/x.csv?scheme=http&endpoint_override=127.0.0.1:{port}"
    options = {
        "learn": [where, "-m", path],
        "report": [path, "-o", tmp_path / "r.html", "--examples", where],
    }.get(command, [where, "-m", path])
    before = path.read_bytes()
    with start(*options, subcommand=command) as process:
        with silent.accept()[0]:  # the command has connected
            process.send_signal(number)
            process.wait(10)

        shown = process.stderr.read()
    is_reported = number == signal.SIGINT and command != "learn"
    assert (process.returncode, shown) == (CODES[number], "interrupted\n" * is_reported)
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_the_reading_of_what_stops_in_the_midst(number, server, stalling, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\n" + b"left,1\nright,2\n" * 600_000)
    put(server, source, "s.csv")
    with start(uri(stalling, "s.csv"), "-m", path, "--save-every", "1000") as process:
        wait_for(path.exists, process)
        process.send_signal(number)
        process.wait(10)

        assert process.returncode == CODES[number], process.stderr.read()
    assert 0 < LiveModel.load(path).progress.rows < 1_200_000


def test_a_run_goes_on_with_an_object_and_knows_another_by_its_tag(server, sample, tmp_path, run):
    """The other object has the same size and footer."""
    path = tmp_path / "m.npz"
    other = tmp_path / "other.parquet"
    data = bytearray(sample.read_bytes())
    data[1000] ^= 1  # within a column, which has no checksum
    other.write_bytes(data)
    put(server, sample)
    sources = [open_source(uri(server))]
    live = LiveModel.start(sources, seed=0)
    next(live.run(sources, live.resume(sources)))
    live.save(path)
    put(server, other)
    result = run("learn", uri(server), "-m", path, check=0)

    name = strip_credentials(uri(server))
    assert f"{name}: new content; 1,000 rows of the old one were learned\n" in result.stderr
    assert b"secret" not in path.read_bytes()
    assert LiveModel.load(path).progress.rows == 6000
    put(server, sample)
    run("learn", uri(server), "-m", path, check=0)
    assert LiveModel.load(path).progress.rows == 10_000


def test_a_digit_is_the_same_from_a_server(server, sample, tmp_path, run):
    put(server, sample)
    models = []
    for source in (sample, uri(server)):
        run("learn", source, "-m", tmp_path / "m.npz", "--overwrite", check=0)
        models.append(LiveModel.load(tmp_path / "m.npz").model.weights.tobytes())

    assert models[0] == models[1]


def test_an_object_from_a_server_after_kill_9_and_whole(server, digits, tmp_path, run):
    """It is learned, resumed after kills, verified, predicted and tested like a file."""
    name = "train.parquet"
    put(server, digits["train"], name)
    put(server, digits["test"], "test.parquet")
    alone, path = tmp_path / "alone.npz", tmp_path / "m.npz"
    options = ["--save-every", "500", "--quiet"]
    run("learn", uri(server, name), "-m", alone, *options, check=0)
    process = start(uri(server, name), "-m", path, *options)
    wait_for(path.exists, process)
    process.kill()
    process.communicate(timeout=60)
    assert LiveModel.load(path).progress.rows < 60_000
    run("learn", uri(server, name), "-m", path, *options, check=0)
    figures = []
    for source in (digits["test"], uri(server, "test.parquet")):
        figures.append(json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout))
    answers = [
        run("predict", source, "-m", path, check=0).stdout
        for source in (digits["test"], uri(server, "test.parquet"))
    ]

    assert contents_of(alone) == contents_of(path)
    assert figures[0] == figures[1]
    assert answers[0] == answers[1]
    run("verify", path, uri(server, name), check=0)
    put(server, digits["test"], name)
    assert (
        "is not among the given sources" in run("verify", path, uri(server, name), check=1).stderr
    )


@pytest.mark.slow
def test_shards_of_an_object_are_those_of_a_file(server, sample, tmp_path, run):
    put(server, sample)
    options = ["--shards", 2, "--round-rows", 500, "--quiet", "--ray"]
    for path, source in (("a.npz", sample), ("b.npz", uri(server))):
        run("learn", source, "-m", tmp_path / path, *options, check=0)
    models = [LiveModel.load(tmp_path / path).model for path in ("a.npz", "b.npz")]

    assert models[0].n_seen == 5000
    assert state_of(models[0]) == state_of(models[1])


def test_text_behind_a_uri_is_read_in_passes_and_resumed_when_it_has_grown(server, tmp_path, run):
    source, model, local = tmp_path / "s.csv", tmp_path / "m.npz", tmp_path / "local.npz"
    rows = [f"{i % 7},{'x' if i % 7 < 3 else 'y'}\n" for i in range(3000)]
    source.write_text("a,label\n" + "".join(rows))
    put(server, source, "s.csv")
    remote = uri(server, "s.csv")
    options = ["--passes", "2", "--quiet"]
    run("learn", remote, "-m", model, *options, "--limit", "3500", check=0)
    run("learn", remote, "-m", model, *options, check=0)
    run("learn", source, "-m", local, *options, check=0)
    at_once = tmp_path / "at_once.npz"
    run("learn", remote, "-m", at_once, *options, check=0)
    expected = state_of(LiveModel.load(local).model)
    assert state_of(LiveModel.load(model).model) == expected
    assert state_of(LiveModel.load(at_once).model) == expected

    grown = tmp_path / "grown.npz"
    run("learn", remote, "-m", grown, "--quiet", check=0)
    source.write_text(source.read_text() + "".join(rows[:100]))
    put(server, source, "s.csv")
    run("learn", remote, "-m", grown, "--quiet", check=0)
    assert LiveModel.load(grown).progress.rows == 3100
    versions = [each.version for each in LiveModel.load(grown).cursor.sources]
    assert versions == [read_version(remote)]

    part = tmp_path / "part.npz"
    run("learn", remote, "-m", part, "--limit", "1000", "--quiet", check=0)
    text = source.read_text()
    source.write_text(text[:-2] + "z\n")  # as long as before, with other bytes after the first ones
    put(server, source, "s.csv")
    assert LiveModel.load(part).cursor.sources[0].size < len(text)
    run("learn", remote, "-m", part, "--quiet", check=0)  # it has rows after those that were read

    whole = tmp_path / "whole.npz"
    run("learn", remote, "-m", whole, "--quiet", check=0)
    put(server, source, "s.csv")
    again = run("learn", remote, "-m", whole, check=0)
    source.write_text(text[:-2] + "w\n")
    put(server, source, "s.csv")
    changed = run("learn", remote, "-m", whole, check=1)

    assert "nothing new" in again.stderr
    assert "it has changed since 3,100 rows of it were learned; to learn" in changed.stderr
