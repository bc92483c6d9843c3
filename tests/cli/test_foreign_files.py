"""Outputs replace only empty files and files that the program itself has written."""

from __future__ import annotations

import pytest

FOREIGN = b"name,age\nAnn,41\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.csv"
    path.write_text("a,label\n1,x\noops,y\n2,y\n")
    return path


@pytest.fixture
def model(source, tmp_path, run):
    path = tmp_path / "model.npz"
    run("learn", source, "-m", path, "--skip-bad", "--quiet", check=0)
    return path


def build_command(kind, source, model, output):
    """Return the command that writes this kind of output."""
    return {
        "predictions of learn": ["learn", source, "--skip-bad", "-p", output],
        "rejected rows": ["learn", source, "--rejected", output],
        "predictions": ["predict", source, "-m", model, "--skip-bad", "-p", output],
        "report": ["report", model, "-o", output],
    }[kind]


OUTPUT_KINDS = ["predictions of learn", "rejected rows", "predictions", "report"]


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.html"])
@pytest.mark.parametrize("kind", OUTPUT_KINDS)
def test_foreign_file_is_rejected_and_left_unchanged(kind, name, source, model, tmp_path, run):
    output = tmp_path / name
    output.write_bytes(FOREIGN)

    result = run(*build_command(kind, source, model, output), check=1)

    is_learn = kind in OUTPUT_KINDS[:2]
    remedy = "remove it, or name another file" if is_learn else "to replace it:\n  --overwrite"
    assert result.stderr.startswith(f"Error: {output}: it exists but does not contain ")
    assert result.stderr.endswith(f"; {remedy}\n")
    assert output.read_bytes() == FOREIGN


@pytest.mark.parametrize("kind", ["predictions", "report"])
def test_overwrite_replaces_a_foreign_file(kind, source, model, tmp_path, run):
    output, expected = tmp_path / "data.csv", tmp_path / "expected.csv"
    output.write_bytes(FOREIGN)

    run(*build_command(kind, source, model, output), "--overwrite", check=0)
    run(*build_command(kind, source, model, expected), check=0)

    assert output.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("kind", OUTPUT_KINDS)
def test_empty_file_and_earlier_output_are_replaced(kind, source, model, tmp_path, run):
    output = tmp_path / "output.jsonl"
    command = build_command(kind, source, model, output)
    output.touch()
    run(*command, check=0)
    expected = output.read_bytes()

    if "predictions" in kind:
        run(*command, "--output-format", "csv", check=0)
        assert output.read_bytes() != expected
    run(*command, check=0)

    assert output.read_bytes() == expected
