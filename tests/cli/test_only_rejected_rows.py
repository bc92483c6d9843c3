"""Sources without a usable row: an error, and nothing of a pipe or of an output is lost."""

from __future__ import annotations

import json

import pytest
from helpers import contents_of, write_lines

from stream_perceptron import LiveModel

HEADER = "a,label\n"
BAD = HEADER + "1,x,2\n2,y,\n3,x,4\n"
MODEL = ["-m", "m.npz", "--quiet"]


def test_rows_of_a_pipe_are_saved_and_kept_by_the_next_run(tmp_path, run):
    """The rejected rows have no other copy."""
    rejected = tmp_path / "r.jsonl"
    learn = ["learn", *MODEL, "--rejected", rejected]

    result = run(*learn, input=BAD, cwd=tmp_path, check=1)
    run(*learn, input="a,label\n1,x\noops,y\n", cwd=tmp_path, check=0)

    error = "no usable row among 3 rows; the first: stdin: row 1: it has 3 fields, not 2"
    assert result.stderr == f"Error: {error}\n"
    rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [(row["row"], row["line"]) for row in rows] == [
        (1, "1,x,2"), (2, "2,y,"), (3, "3,x,4"), (5, "oops,y"),
    ]  # fmt: skip
    assert LiveModel.load(tmp_path / "m.npz").progress.rows == 5


@pytest.mark.parametrize("keeps_rejected", [False, True])
def test_a_file_is_saved_only_if_lines_were_written(keeps_rejected, tmp_path, run):
    (tmp_path / "bad.csv").write_text(BAD)
    option = ["--rejected", "r.jsonl"] if keeps_rejected else ["--skip-bad"]

    results = [run("learn", "bad.csv", *MODEL, *option, cwd=tmp_path, check=1) for _ in range(2)]

    assert all("no usable row among 3 rows" in result.stderr for result in results)
    assert keeps_rejected == (tmp_path / "m.npz").exists()
    if keeps_rejected:
        assert (tmp_path / "r.jsonl").read_text().count("\n") == 3


def test_an_orphan_label_is_kept(tmp_path, run):
    features = write_lines(tmp_path / "features.jsonl", [{"id": 1, "a": 1.0}, {"id": 2, "a": 2.0}])
    labels = write_lines(tmp_path / "labels.jsonl", [{"id": 3, "label": "x"}])
    more = write_lines(tmp_path / "more.jsonl", [{"id": 1, "label": "x"}])
    learn = ["--join", "id", *MODEL, "--rejected", "r.jsonl"]
    run("learn", features, *learn, cwd=tmp_path, check=0)
    run("learn", labels, *learn, cwd=tmp_path, check=1)
    run("learn", more, *learn, cwd=tmp_path, check=0)

    (row,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert row["reason"] == "'id' is '3', and no sample with this ID is pending"
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 1


@pytest.mark.parametrize("keeps_rejected", [False, True])
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_runs_over_parts_end_as_one_run(form, keeps_rejected, tmp_path, run):
    lines = [f"{i},x,more\n" for i in range(3000)]
    outcomes = []
    for name, ends in (("whole", [3000]), ("split", [7, 1000, 3000])):
        folder, done = tmp_path / name, 0
        folder.mkdir()
        (folder / "s.csv").write_text(HEADER + "".join(lines))
        option = ["--rejected", "r.jsonl"] if keeps_rejected else ["--skip-bad"]
        for end in ends:
            more = {"input": HEADER + "".join(lines[done:end])} if form == "pipe" else {}
            source = [] if form == "pipe" else ["s.csv", "--limit", end]
            learn = ["learn", *source, *MODEL, *option, "--save-every", "100"]
            result = run(*learn, cwd=folder, check=1, **more)
            done = end
        files = sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".jsonl"))
        contents = {path.name: contents_of(path) for path in files}
        outcomes.append((contents, result.stderr.partition("; the first")[0]))

    assert outcomes[0] == outcomes[1]
    assert ("m.npz" in outcomes[0][0]) == (form == "pipe" or keeps_rejected)
