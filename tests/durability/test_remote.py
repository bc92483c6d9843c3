"""Sources at URIs: servers that hang, and objects that are replaced."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pyarrow.fs
import pytest
from helpers import (
    COMMAND,
    capture_state,
    find_free_port,
    is_listening,
    load_recipe,
    read_contents,
    start,
    wait_for,
    write_jsonl,
)

from stream_perceptron import LiveModel
from stream_perceptron.data.input.bytes import strip_credentials

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECRETS = ("AKIAKEY", "s3cret/with@all")


def build_uri(port, name="digits.parquet"):
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    return f"s3://key:secret@bucket/{name}?{options}&allow_bucket_creation=true"


@pytest.fixture(scope="module")
def s3_server():
    """The process and the port of an S3 server with a bucket."""
    port, null = find_free_port(), subprocess.DEVNULL
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=null, stderr=null) as process:
        wait_for(lambda: is_listening(port), process)
        filesystem, bucket = pyarrow.fs.FileSystem.from_uri(build_uri(port, ""))
        filesystem.create_dir(bucket.strip("/"))
        yield process, port
        process.kill()


@pytest.fixture
def s3_port(s3_server):
    return s3_server[1]


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


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["learn", "predict", "evaluate", "report"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_signal_interrupts_opening_a_source_on_a_silent_server(
    scheme, command, number, silent_server, tmp_path, mnist_sample, run
):
    path = tmp_path / "m.npz"
    run("learn", mnist_sample, "-m", path, "--limit", "10", "--quiet", check=0)
    port = silent_server.getsockname()[1]
    source_uri = build_uri(port)
    if scheme == "gs":
        source_uri = f"gs://anonymous@bucket/x.csv?scheme=http&endpoint_override=127.0.0.1:{port}"
    options = [source_uri, "-m", path]
    if command == "report":
        options = [path, "-o", tmp_path / "r.html", "--examples", source_uri]
    before = path.read_bytes()
    with start(*options, subcommand=command) as process:
        with silent_server.accept()[0]:  # the command has connected
            process.send_signal(number)
            process.wait(10)

        errors = process.stderr.read()
    is_reported = number == signal.SIGINT
    assert (process.returncode, errors) == (128 + number, "interrupted\n" * is_reported)
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_interrupts_reading_from_a_stalled_server(number, s3_server, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    server, port = s3_server
    source.write_bytes(b"label,a\n" + b"left,1\nright,2\n" * 2_000_000)
    upload(port, source, "s.csv")
    with start(build_uri(port, "s.csv"), "-m", path, "--save-every", "1000") as process:
        wait_for(path.exists, process)
        server.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        process.send_signal(number)
        try:
            assert process.wait(10) == 128 + number
        finally:
            server.send_signal(signal.SIGCONT)
    assert 0 < LiveModel.load(path).progress.rows < 4_000_000


def test_run_resumes_an_object_and_recognizes_its_replacement(s3_port, mnist_sample, tmp_path, run):
    """The replacement has the same size and footer, but other bytes at its start."""
    path = tmp_path / "m.npz"
    other = tmp_path / "other.parquet"
    data = bytearray(mnist_sample.read_bytes())
    data[1000] ^= 1  # within a column, which has no checksum
    other.write_bytes(data)
    upload(s3_port, mnist_sample)
    run("learn", build_uri(s3_port), "-m", path, "--limit", 1000, "-q", check=0)
    upload(s3_port, other)
    result = run("learn", build_uri(s3_port), "-m", path, check=1)

    name = strip_credentials(build_uri(s3_port))
    assert f"{name}: it has changed since 1,000 rows of it were learned" in result.stderr
    assert "secret" not in result.stderr
    assert b"secret" not in path.read_bytes()
    upload(s3_port, mnist_sample)
    run("learn", build_uri(s3_port), "-m", path, check=0)
    assert LiveModel.load(path).progress.rows == 5000


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
    shown = [
        run(*command, source, "-m", path, check=0).stdout
        for command in (["evaluate", "--json"], ["predict"])
        for source in (mnist_files["test"], build_uri(s3_port, "test.parquet"))
    ]
    run("learn", mnist_files["train"], "-m", tmp_path / "local.npz", "-q", check=0)

    assert read_contents(uninterrupted) == read_contents(path)
    models = [LiveModel.load(each).model for each in (path, tmp_path / "local.npz")]
    assert capture_state(models[0]) == capture_state(models[1])
    assert shown[::2] == shown[1::2]
    run("verify", path, build_uri(s3_port, name), check=0)
    upload(s3_port, mnist_files["test"], name)
    error = run("verify", path, build_uri(s3_port, name), check=1).stderr
    assert "is not among the given sources" in error


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
    models = [LiveModel.load(path).model for path in (model, local)]
    assert capture_state(models[0]) == capture_state(models[1])

    grown = tmp_path / "grown.npz"
    run("learn", remote, "-m", grown, "--quiet", check=0)
    source.write_text(source.read_text() + "".join(rows[:100]))
    upload(s3_port, source, "s.csv")
    run("learn", remote, "-m", grown, "--quiet", check=0)
    assert LiveModel.load(grown).progress.rows == 3100


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAKEY:s3cret/with@all@bucket/x.parquet",
        "gs://AKIAKEY:s3cret/with@all@bucket/x y.csv",
        "foo://AKIAKEY:s3cret/with@all@bucket/x.csv",
    ],
)
@pytest.mark.parametrize("command", ["learn", "evaluate", "predict"])
def test_errors_do_not_contain_passwords(command, uri, tmp_path, run):
    path = tmp_path / "m.npz"
    if command != "learn":
        source = write_jsonl(tmp_path / "s.jsonl", [{"label": "x", "a": 1}])
        run("learn", source, "-m", path, check=0)
    result = run(command, uri, "-m", path, check=1)

    assert result.stderr.count("\n") == 1
    assert not [secret for secret in SECRETS if secret in result.stderr]
    assert result.stderr.startswith("Error: " + re.sub("AKIAKEY.*@", "", uri) + ": ")
