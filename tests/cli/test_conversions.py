"""The error for a foreign format suggests a command that converts it."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile

import numpy as np
import pytest
from helpers import COMMAND, require_tool

X = np.array([[0.1, 2.0], [-3.0, 0.25], [0.5, 1.0]])
Y = np.array([0, 1, 1])


def write_foreign_file(path, kind):
    if kind == "npy":
        np.save(path, np.c_[Y, X])
    elif kind == "npz":
        np.savez(path, x_train=X, y_train=Y)
    elif kind == "X, y":
        with path.open("wb") as file:
            np.savez(file, X=X, y=Y)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.csv", "label,a,b\n" + "".join(
                f"{y},{a},{b}\n" for y, (a, b) in zip(Y, X, strict=True)
            ))  # fmt: skip
    else:
        rows = [f'{{"label": {y}, "a": {a}, "b": {b}}}' for y, (a, b) in zip(Y, X, strict=True)]
        path.write_text(f"[{', '.join(rows)}]\n")


def run_suggested_command(command, folder):
    """Run the command that an error message suggests; return the finished process."""
    command = command.replace("stream-perceptron ...", f"{COMMAND} learn --json")
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=folder,
        env=os.environ | {"PATH": f"{os.path.dirname(COMMAND)}:{os.environ['PATH']}"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "tool"),
    [("npy", None), ("npz", None), ("X, y", None), ("zip", "unzip"), ("json", "jq")],
)
def test_suggested_command_converts_the_file(kind, tool, run, tmp_path):
    path = tmp_path / f"my data.{kind}"
    write_foreign_file(path, kind)
    error = run("learn", path.name, check=1, cwd=tmp_path).stderr
    if tool is not None:
        require_tool(tool)

    assert error.count("\n") == 1
    if kind == "json":
        command = re.search("as (jq .*) does", error)[1] + " | stream-perceptron ..."
    else:
        command = error.partition(": ")[2].partition(": ")[2].partition(": ")[2]
    result = run_suggested_command(command, tmp_path)

    assert '"samples": 3' in result.stdout, result.stderr


def test_suggested_command_converts_an_array_from_a_pipe(run, tmp_path):
    write_foreign_file(tmp_path / "a.npy", "npy")
    with (tmp_path / "a.npy").open("rb") as file:
        error = run("learn", stdin=file, check=1).stderr
    assert error.startswith("Error: stdin: a NumPy array: python -c ")
    result = run_suggested_command(f"cat a.npy | {error.partition('NumPy array: ')[2]}", tmp_path)

    assert '"samples": 3' in result.stdout, result.stderr


def test_saved_model_given_as_a_source_is_an_error(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("label,a\n1,2\n")
    run("learn", path, "-m", tmp_path / "m.npz", check=0)

    assert "a saved model, not samples" in run("learn", tmp_path / "m.npz", check=1).stderr


def test_folder_pattern_or_url_as_a_source_is_explained(run, tmp_path):
    (tmp_path / "b.parquet").touch()
    for path, advice in [
        (tmp_path, f"{tmp_path}: a folder; name the files in it: {tmp_path}/*.parquet"),
        (f"{tmp_path}/*.csv", "no such file: if any file matches the pattern, unquote it"),
        ("https://example.invalid/a.csv", "curl -sSfL https://example.invalid/a.csv | "),
    ]:
        result = run("learn", path, check=1)
        assert advice in result.stderr
        assert result.stderr.count("\n") == 1


def test_password_is_hidden_and_format_option_overrides_detection(run, tmp_path):
    result = run("learn", "https://me:secret@example.invalid/a.csv", check=1)
    path = tmp_path / "t.csv"
    path.write_text("[,label\n1,2\n")

    assert "secret" not in result.stderr
    run("learn", path, "--format", "csv", check=0)


def test_spreadsheet_error_suggests_libreoffice(run, tmp_path):
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "")

    assert f"libreoffice --headless --convert-to csv {path}" in run("learn", path, check=1).stderr
