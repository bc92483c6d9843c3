"""Each row of a file is learned once: marks, and the messages about them."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import pytest
from helpers import contents_of, samples_in, state_of, write_parquet

from stream_perceptron import LiveModel

REMEDY = "; to learn the present file from its start: --again"


def lines_from(start, n):
    """Return rows of JSON lines, numbered from `start`."""
    rows = ({"a": i % 7 - 3, "b": i, "label": "xy"[i % 7 > 3]} for i in range(start, start + n))
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def notices_of(result):
    """Return the lines about files on stderr."""
    return [line for line in result.stderr.splitlines() if line.startswith(("/", "Error: /"))]


@pytest.fixture
def model(tmp_path):
    return tmp_path / "m.npz"


@pytest.fixture
def log(tmp_path):
    """A file of 100 rows."""
    path = tmp_path / "x.log"
    path.write_text(lines_from(0, 100))
    return path


def test_a_growing_folder_is_learned_once(tmp_path, model, run):
    days = [tmp_path / f"day{i}.jsonl" for i in range(4)]
    for i, day in enumerate(days[:3]):
        day.write_text(lines_from(1000 * i, 1000))
    run("learn", *days[:3], "-m", model, check=0)
    days[0].unlink()
    days[3].write_text(lines_from(3000, 1000))

    result = run("learn", *days[1:], "-m", model, check=0)

    assert samples_in(model) == 4000
    assert notices_of(result) == [f"{day}: already learned (1,000 rows)" for day in days[1:3]]
    result = run("learn", *days[1:], "-m", model, check=0)
    assert samples_in(model) == 4000
    assert "nothing new: all requested rows were already learned" in result.stderr


def test_a_file_that_has_grown_continues_after_its_mark(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(lines_from(500, 50))
    run("learn", log, "-m", model, check=0)
    run("learn", other, "-m", model, check=0)
    with log.open("a") as file:
        file.write(lines_from(100, 30))

    result = run("learn", other, log, "-m", model, check=0)

    assert samples_in(model) == 180
    assert notices_of(result) == [f"{other}: already learned (50 rows)"]
    entries = LiveModel.load(model).lineage.entries
    segments = [(entry.sources[0].name, entry.start, entry.end) for entry in entries]
    assert segments == [(str(log), 0, 100), (str(other), 0, 50), (str(log), 100, 130)]
    run("verify", model, other, log.rename(tmp_path / "moved"), check=0)


@pytest.mark.parametrize("how", ["rename", "copy and truncate", "compress"])
def test_rotated_logs_are_learned_once(how, tmp_path, log, model, run):
    old = tmp_path / "x.log.1"
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(lines_from(100, 10))
    if how == "copy and truncate":
        shutil.copyfile(log, old)
    elif how == "compress":
        old.write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
    else:
        log.rename(old)
    log.write_text(lines_from(110, 20))

    result = run("learn", log, old, "-m", model, check=0)

    assert samples_in(model) == 130
    assert notices_of(result) == [f"{log}: new content; 100 rows of the old one were learned"]
    again = run("learn", old, log, "-m", model, check=0)
    assert samples_in(model) == 130
    assert notices_of(again) == [
        f"{old}: already learned (110 rows)",
        f"{log}: already learned (20 rows)",
    ]


@pytest.mark.parametrize("change", ["edited", "cut", "replaced in place"])
def test_a_changed_file_is_an_error(change, log, model, run):
    run("learn", log, "-m", model, check=0)
    before = model.read_bytes()
    rows = log.read_text().splitlines(keepends=True)
    if change == "edited":
        rows[95] = rows[95].replace("label", "lable")
    elif change == "cut":
        rows = rows[:-1]
        rows[0] = rows[0].replace("-3", "-2")
        rows.append(" " * 40 + "\n")
    else:
        rows = lines_from(1000, 120).splitlines(keepends=True)
    with log.open("r+") as file:
        file.write("".join(rows))

    result = run("learn", log, "-m", model, "-q", check=1)

    reason = "it has changed since 100 rows of it were learned"
    assert result.stderr == f"Error: {log}: {reason}{REMEDY}\n"
    assert model.read_bytes() == before
    run("learn", log, "-m", model, "--again", "--skip-bad", "-q", check=0)
    assert LiveModel.load(model).progress.rows == 100 + len(rows)


def test_a_line_that_goes_on_is_an_error(log, model, run):
    log.write_text(lines_from(0, 3)[:-1])
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(" \n")

    result = run("learn", log, "-m", model, "-q", check=1)

    reason = "row 3 has changed since it was learned: the file ended within it"
    assert result.stderr == f"Error: {log}: {reason}{REMEDY}\n"


def test_another_parquet_file_of_a_known_name_is_announced(tmp_path, model, run):
    path = write_parquet(tmp_path / "x.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    run("learn", path, "-m", model, check=0)
    write_parquet(path, {"a": [3.0], "label": ["x"]})

    result = run("learn", path, "-m", model, check=0)

    assert notices_of(result) == [f"{path}: new content; 2 rows of the old one were learned"]
    assert samples_in(model) == 3


@pytest.mark.parametrize(("options", "expected"), [([], 100), (["--passes", "2"], 300)])
@pytest.mark.parametrize("with_model", [False, True])
def test_a_file_given_twice(with_model, options, expected, log, model, run):
    """The second pass reads the whole list."""
    saving = ["-m", model] if with_model else []

    result = run("learn", log, log, *saving, *options, "--json", check=0)

    assert json.loads(result.stdout)["samples"] == expected
    assert f"{log}: already learned (100 rows)" in result.stderr


def test_a_copy_is_not_learned_again_and_has_its_own_mark(tmp_path, log, model, run):
    copy = tmp_path / "copy.log"
    run("learn", log, "-m", model, check=0)
    shutil.copyfile(log, copy)
    run("learn", copy, "-m", model, check=0)
    for path, start in ((log, 100), (copy, 200)):
        with path.open("a") as file:
            file.write(lines_from(start, 10))

    run("learn", log, copy, "-m", model, check=0)

    assert samples_in(model) == 120


def test_files_without_rows_have_no_mark(tmp_path, log, model, run):
    empty = tmp_path / "empty.log"
    empty.touch()

    run("learn", empty, log, "-m", model, check=0)

    assert [mark.source.name for mark in LiveModel.load(model).marks] == [str(log)]


def test_a_limit_counts_rows_of_earlier_runs_and_skipped_files(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(lines_from(500, 50))
    run("learn", other, "-m", model, check=0)
    for limit, expected in ((40, 50), (50, 50), (70, 70), (70, 70), (150, 150)):
        run("learn", other, log, "-m", model, "--limit", limit, check=0)
        assert samples_in(model) == expected


def test_learning_again_resumes_after_an_interrupt(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(lines_from(500, 50))
    run("learn", log, other, "-m", model, check=0)
    at_once = tmp_path / "at_once.npz"
    shutil.copyfile(model, at_once)
    run("learn", log, other, "-m", at_once, "--again", check=0)
    live = LiveModel.load(model)
    sources = [open_file(path) for path in (log, other)]
    next(live.run(sources, live.resume(sources, again=True), n_single_rows=7))
    live.save(model)

    run("learn", log, other, "-m", model, "--again", check=0)

    assert state_of(LiveModel.load(model).model) == state_of(LiveModel.load(at_once).model)
    assert samples_in(model) == 300
    run("verify", model, other, log, check=0)
    run("learn", log, other, "-m", model, "--again", check=0)
    assert samples_in(model) == 450


def open_file(path):
    from stream_perceptron.data import open_source

    return open_source(str(path))


def test_learning_again_moves_the_mark_of_a_file_that_has_grown(log, model, run):
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(lines_from(100, 10))
    run("learn", log, "-m", model, "--again", "--limit", 50, check=0)
    assert [mark.n_rows for mark in LiveModel.load(model).marks] == [100]

    run("learn", log, "-m", model, check=0)

    assert samples_in(model) == 160
    assert [mark.n_rows for mark in LiveModel.load(model).marks] == [110]


@pytest.mark.parametrize("options", [["--passes", "2"], ["--again"]])
def test_rows_that_are_repeated_ignore_their_offsets(options, tmp_path, model, run):
    topic = tmp_path / "topic.csv"
    topic.write_text("o,a,label\n" + "".join(f"{i},{i % 5},{'xy'[i % 2]}\n" for i in range(60)))
    learn = ["learn", topic, "-m", model, "--position", "o"]
    run(*learn, check=0)
    run(*learn, *options, check=0)

    assert samples_in(model) == 120
    run("verify", model, topic, check=0)
    more = "o,a,label\n59,4,x\n60,0,y\n"
    run("learn", "-m", model, "-q", input=more, check=0)
    assert samples_in(model) == 121


@pytest.mark.parametrize(
    "options",
    [["--random"], pytest.param(["--shards", "2", "--ray"], marks=pytest.mark.slow)],
    ids=["random", "ray"],
)
def test_a_whole_pass_in_another_way_marks_the_end_of_its_files(options, tmp_path, model, run):
    numbers = [float(i % 7) for i in range(50)]
    path = write_parquet(
        tmp_path / "x.parquet", {"a": numbers, "label": ["xy"[a > 3] for a in numbers]}
    )
    run("learn", path, "-m", model, *options, check=0)

    result = run("learn", path, "-m", model, check=0)

    assert notices_of(result) == [f"{path}: already learned (50 rows)"]


def test_a_finished_file_in_an_unchanged_state_is_not_read(log, model, run):
    """Its content was changed without a trace; `verify` reads it nevertheless."""
    an_hour_ago = log.stat().st_mtime - 3600
    os.utime(log, (an_hour_ago, an_hour_ago))
    run("learn", log, "-m", model, check=0)
    with log.open("r+") as file:
        file.write(log.read_text().replace("x", "y"))
    os.utime(log, (an_hour_ago, an_hour_ago))

    result = run("learn", log, "-m", model, check=0)

    assert notices_of(result) == [f"{log}: already learned (100 rows)"]
    assert "is not among the given sources" in run("verify", model, log, check=1).stderr
    os.utime(log)
    assert "it has changed" in run("learn", log, "-m", model, check=1).stderr


def test_a_pipe_is_not_learned_again(model, run):
    result = run("learn", "-", "-m", model, "--again", input="a,label\n1,x\n", check=2)

    assert "stdin and pipes can be read only once: --again needs files" in result.stderr


def test_inspect_says_which_files_a_further_run_needs(tmp_path, log, model, run):
    part, gone = tmp_path / "part.jsonl", tmp_path / "gone.jsonl"
    part.write_text(lines_from(500, 50))
    gone.write_text(lines_from(600, 1))
    run("learn", log, gone, "-m", model, check=0)
    run("learn", part, "-m", model, "--limit", 20, check=0)
    gone.unlink()
    files = json.loads(run("inspect", model, "--json", check=0).stdout)["files"]
    shown = " ".join(run("inspect", model, check=0).stdout.split())

    expected = {
        log: (100, "finished", "finished: can be deleted"),
        gone: (1, "missing", "finished, no longer there"),
        part: (20, "unfinished", "not finished: further runs need it"),
    }
    assert {file["name"]: (file["rows"], file["status"]) for file in files} == {
        str(path): status[:2] for path, status in expected.items()
    }
    assert [file["can_be_deleted"] for file in files] == [True, False, False]
    for path, (n, _, status) in expected.items():
        assert f"{path} {n} row{'s' * (n != 1)}, {status}" in shown
    with log.open("a") as file:
        file.write(lines_from(100, 1))
    assert "changed since: further runs need it" in run("inspect", model, check=0).stdout


def test_inspect_groups_many_files(tmp_path, model, run):
    days = [tmp_path / f"day-{i:03}.jsonl" for i in range(25)]
    for i, day in enumerate(days):
        day.write_text(lines_from(10 * i, 10))
    run("learn", *days, "-m", model, check=0)

    shown = run("inspect", model, check=0).stdout
    sources = " ".join(shown.partition("files\n")[2].partition("results")[0].split())

    pattern = tmp_path / "day-*.jsonl"
    assert sources == f"{pattern} 25 files, 250 rows, finished: can be deleted"
    assert "... 5 more, which --json lists" in shown


def test_rows_without_a_readable_offset_are_redelivered_alike_wherever_a_run_ends(tmp_path, run):
    """They have the status of the row before them, in the same file."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("o,a,label\n1,0,x\n2,1,y\n,2,x\n")
    second.write_text("o,a,label\n2,1,y\n,3,x\n,4,y\n,5,x\n,6,y\n3,5,x\n,6,y\n")
    outcomes = []
    for limits in ([], range(1, 11)):
        model = tmp_path / f"{len(limits)}.npz"
        learn = ["learn", first, second, "-m", model, "--position", "o", "--skip-bad", "-q"]
        for limit in limits:
            run(*learn, "--limit", limit, check=0)
        run(*learn, check=0)
        run("verify", model, second, first, check=0)
        outcomes.append(contents_of(model))

    assert outcomes[0] == outcomes[1]


def test_a_file_that_was_edited_after_it_was_finished_is_not_deletable(log, model, run):
    run("learn", log, "-m", model, check=0)
    an_hour_ago = log.stat().st_mtime - 3600
    os.utime(log, (an_hour_ago, an_hour_ago))
    run("learn", log, "-m", model, check=0)
    log.write_text(log.read_text().replace("x", "y"))

    (file,) = json.loads(run("inspect", model, "--json", check=0).stdout)["files"]

    assert (file["status"], file["can_be_deleted"]) == ("changed", False)
