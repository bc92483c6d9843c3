"""Sources without a usable row: the run ends with an error, and no row or output is lost."""

from __future__ import annotations

import json

import pytest
from helpers import read_contents, write_jsonl

from stream_perceptron import LiveModel

HEADER = "a,label\n"
INVALID_CSV = HEADER + "1,x,2\n2,y,\n3,x,4\n"
MODEL_OPTIONS = ["-m", "m.npz", "--quiet"]


def test_rejected_rows_of_a_pipe_survive_the_next_run(tmp_path, run):
    """The rejected rows have no other copy."""
    rejected = tmp_path / "r.jsonl"
    arguments = ["learn", *MODEL_OPTIONS, "--rejected", rejected]

    result = run(*arguments, input=INVALID_CSV, cwd=tmp_path, check=1)
    run(*arguments, input="a,label\n1,x\noops,y\n", cwd=tmp_path, check=0)

    error = "no usable row among 3 rows; the first error: stdin: row 1: it has 3 fields, not 2"
    assert result.stderr == f"Error: {error}\n"
    rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [(row["row"], row["line"]) for row in rows] == [
        (1, "1,x,2"), (2, "2,y,"), (3, "3,x,4"), (5, "oops,y"),
    ]  # fmt: skip
    assert LiveModel.load(tmp_path / "m.npz").progress.rows == 5


@pytest.mark.parametrize("writes_rejected", [False, True])
def test_model_is_saved_only_if_rejected_rows_were_written(writes_rejected, tmp_path, run):
    (tmp_path / "bad.csv").write_text(INVALID_CSV)
    option = ["--rejected", "r.jsonl"] if writes_rejected else ["--skip-bad"]

    arguments = ["learn", "bad.csv", *MODEL_OPTIONS, *option]
    results = [run(*arguments, cwd=tmp_path, check=1) for _ in range(2)]

    assert all("no usable row among 3 rows" in result.stderr for result in results)
    assert writes_rejected == (tmp_path / "m.npz").exists()
    if writes_rejected:
        assert (tmp_path / "r.jsonl").read_text().count("\n") == 3


def test_label_without_a_pending_sample_is_written_as_rejected(tmp_path, run):
    features = write_jsonl(tmp_path / "features.jsonl", [{"id": 1, "a": 1.0}, {"id": 2, "a": 2.0}])
    labels = write_jsonl(tmp_path / "labels.jsonl", [{"id": 3, "label": "x"}])
    more = write_jsonl(tmp_path / "more.jsonl", [{"id": 1, "label": "x"}])
    arguments = ["--join", "id", *MODEL_OPTIONS, "--rejected", "r.jsonl"]
    run("learn", features, *arguments, cwd=tmp_path, check=0)
    run("learn", labels, *arguments, cwd=tmp_path, check=1)
    run("learn", more, *arguments, cwd=tmp_path, check=0)

    (row,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert row["reason"] == "'id' is '3', and no sample with this ID is pending"
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 1


@pytest.mark.parametrize("writes_rejected", [False, True])
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_split_runs_end_like_a_single_run(form, writes_rejected, tmp_path, run):
    lines = [f"{i},x,more\n" for i in range(3000)]
    outcomes = []
    for name, ends in (("whole", [3000]), ("split", [7, 1000, 3000])):
        folder, start = tmp_path / name, 0
        folder.mkdir()
        (folder / "s.csv").write_text(HEADER + "".join(lines))
        option = ["--rejected", "r.jsonl"] if writes_rejected else ["--skip-bad"]
        for end in ends:
            stdin = {"input": HEADER + "".join(lines[start:end])} if form == "pipe" else {}
            source = [] if form == "pipe" else ["s.csv"]
            source += ["--limit", end] if source and end < 3000 else []
            arguments = ["learn", *source, *MODEL_OPTIONS, *option, "--save-every", "100"]
            result = run(*arguments, cwd=folder, check=1, **stdin)
            start = end
        files = sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".jsonl"))
        contents = {
            path.name: str(read_contents(path)).replace(str(folder), "FOLDER") for path in files
        }
        outcomes.append((contents, result.stderr.partition("; the first")[0]))

    assert outcomes[0] == outcomes[1]
    assert ("m.npz" in outcomes[0][0]) == (form == "pipe" or writes_rejected)
