"""Secrets are not shown, and names cannot control the terminal."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.fs
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel, SourceError
from stream_perceptron.data import byte_input, open_source

SECRETS = ("AKIAKEY", "s3cret/with@all")


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


def test_checkpoints_and_notices_do_not_contain_passwords(tmp_path, monkeypatch):
    """A local file system stands in for S3, and needs no password."""
    (tmp_path / "s.csv").write_text("label,a\nx,1\ny,2\nx,nan\n")
    real_from_uri = pa.fs.FileSystem.from_uri

    class LocalFileSystem:
        @staticmethod
        def from_uri(uri):
            assert uri == "s3://AKIAKEY:secret@bucket/s.csv"
            return real_from_uri(f"file://{tmp_path}/s.csv")

    monkeypatch.setattr(pyarrow.fs, "FileSystem", LocalFileSystem)
    sources = [open_source("s3://AKIAKEY:secret@bucket/s.csv")]
    live = LiveModel.start(sources, seed=0)
    results = list(live.run(sources, live.plan_run(sources), skip_rejected=True))
    live.save(tmp_path / "m.npz")
    messages = repr([(result.notices, list(map(str, result.rejected))) for result in results])

    assert "s3://bucket/s.csv: row 3" in messages
    assert b"s3://bucket/s.csv" in (tmp_path / "m.npz").read_bytes()
    for content in (messages.encode(), (tmp_path / "m.npz").read_bytes()):
        assert b"AKIAKEY" not in content
        assert b"secret" not in content


def test_file_system_errors_are_one_line(monkeypatch):
    class FailingFileSystem:
        @staticmethod
        def from_uri(uri):
            raise RuntimeError(f"cannot reach {uri}\nfor many\nreasons")

    monkeypatch.setattr(pyarrow.fs, "FileSystem", FailingFileSystem)
    with pytest.raises(SourceError, match=r"^hf://datasets/a: cannot reach hf://datasets/a$"):
        byte_input.open_bytes("hf://datasets/a")


def test_control_characters_in_names_are_escaped(tmp_path, run):
    path = tmp_path / "m.npz"
    control_characters = "\x1b[2J\x07"
    rows = [
        {"label": f"x{control_characters}", f"a{control_characters}": 1, "t": control_characters},
        {"label": "y", f"a{control_characters}": 2},
    ]
    source = write_jsonl(
        tmp_path / "s.jsonl", [*rows, {"label": "y", f"b{control_characters}": None}] * 3
    )
    outputs = [
        run("learn", source, "-m", path, "--skip-bad", "--trace", "2", check=0),
        run("learn", source, "--skip-bad", "--ignore", f"t{control_characters}"),
        run("inspect", path, check=0),
        run("evaluate", source, "-m", path, "--skip-bad", check=0),
        run("predict", source, "-m", path, "--skip-bad", check=0),
        run("learn", source),
    ]

    for result in outputs:
        assert not re.search("[\x07\x1b]", result.stdout + result.stderr)
    assert "x\\x1b[2J\\x07" in outputs[2].stdout
