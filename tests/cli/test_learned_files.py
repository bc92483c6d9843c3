"""Each row of a file is learned once: positions, and the messages about files."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from helpers import capture_state, count_samples, read_contents, write_parquet

from stream_perceptron import LiveModel, SourceError
from stream_perceptron.data.draws import RandomDraws

REMEDY = "; to learn the current file from its start:\n  --again"


def make_json_lines(start, n):
    """Return n rows as JSON lines, numbered from `start`."""
    rows = ({"a": i % 7 - 3, "b": i, "label": "xy"[i % 7 > 3]} for i in range(start, start + n))
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def get_file_notices(result):
    """Return the lines of stderr that are about files."""
    return [line for line in result.stderr.splitlines() if line.startswith(("/", "Error: /"))]


@pytest.fixture
def model(tmp_path):
    return tmp_path / "m.npz"


@pytest.fixture
def log(tmp_path):
    """A log of 100 rows."""
    path = tmp_path / "x.log"
    path.write_text(make_json_lines(0, 100))
    return path


def test_a_growing_folder_is_learned_once(tmp_path, model, run):
    days = [tmp_path / f"day{i}.jsonl" for i in range(4)]
    for i, day in enumerate(days[:3]):
        day.write_text(make_json_lines(1000 * i, 1000))
    run("learn", *days[:3], "-m", model, check=0)
    days[0].unlink()
    days[3].write_text(make_json_lines(3000, 1000))

    result = run("learn", *days[1:], "-m", model, check=0)

    assert count_samples(model) == 4000
    assert get_file_notices(result) == [f"{day}: already learned (1,000 rows)" for day in days[1:3]]
    result = run("learn", *days[1:], "-m", model, check=0)
    assert count_samples(model) == 4000
    assert "nothing new: all requested rows were already learned" in result.stderr


def test_grown_file_continues_at_its_position(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(make_json_lines(500, 50))
    run("learn", log, "-m", model, check=0)
    run("learn", other, "-m", model, check=0)
    with log.open("a") as file:
        file.write(make_json_lines(100, 30))

    result = run("learn", other, log, "-m", model, check=0)

    assert count_samples(model) == 180
    assert get_file_notices(result) == [f"{other}: already learned (50 rows)"]
    entries = LiveModel.load(model).history.entries
    segments = [(entry.files[0].name, entry.start, entry.end) for entry in entries]
    assert segments == [(str(log), 0, 100), (str(other), 0, 50), (str(log), 100, 130)]
    run("verify", model, other, log.rename(tmp_path / "moved"), check=0)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_file_whose_last_row_met_the_limit_is_already_learned(form, tmp_path, model, run):
    path, rows = tmp_path / f"x.{form}", 50
    if form == "parquet":
        columns = {
            "a": [i % 7 - 3.0 for i in range(rows)],
            "label": ["xy"[i % 2] for i in range(rows)],
        }
        write_parquet(path, columns)
    else:
        path.write_text(make_json_lines(0, rows))
    run("learn", path, "--limit", rows, "-m", model, check=0)
    result = run("learn", path, "-m", model, check=0)

    assert count_samples(model) == rows
    assert "nothing new: all requested rows were already learned" in result.stderr


@pytest.mark.parametrize("rotation", ["rename", "copy and truncate", "compress"])
def test_rotated_logs_are_learned_once(rotation, tmp_path, log, model, run):
    old = tmp_path / "x.log.1"
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(make_json_lines(100, 10))
    if rotation == "copy and truncate":
        shutil.copyfile(log, old)
    elif rotation == "compress":
        old.write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
    else:
        log.rename(old)
    log.write_text(make_json_lines(110, 20))

    result = run("learn", log, old, "-m", model, check=0)

    assert count_samples(model) == 130
    assert get_file_notices(result) == [f"{log}: new file; 100 rows of the old file were learned"]
    again = run("learn", old, log, "-m", model, check=0)
    assert count_samples(model) == 130
    assert get_file_notices(again) == [
        f"{old}: already learned (110 rows)",
        f"{log}: already learned (20 rows)",
    ]


@pytest.mark.parametrize("change", ["edited at the start", "edited at the end", "cut"])
def test_changed_file_is_an_error(change, log, model, run):
    run("learn", log, "-m", model, check=0)
    before = model.read_bytes()
    rows = log.read_text().splitlines(keepends=True)
    if change == "cut":
        rows = rows[:-1]
    else:
        i = 3 if change == "edited at the start" else 95
        rows[i] = rows[i].replace("label", "lable")
    log.write_text("".join(rows))

    result = run("learn", log, "-m", model, "-q", check=1)

    reason = "it has changed since 100 rows of it were learned"
    assert result.stderr == f"Error: {log}: {reason}{REMEDY}\n"
    assert model.read_bytes() == before
    run("learn", log, "-m", model, "--again", "--skip-bad", "-q", check=0)
    assert LiveModel.load(model).progress.rows == 100 + len(rows)


def test_continued_last_line_is_an_error(log, model, run):
    log.write_text(make_json_lines(0, 3)[:-1])
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(" \n")

    result = run("learn", log, "-m", model, "-q", check=1)

    reason = "row 3 has changed since it was learned: the file ended within it"
    assert result.stderr == f"Error: {log}: {reason}{REMEDY}\n"


def test_new_parquet_file_with_a_known_name_is_reported(tmp_path, model, run):
    path = write_parquet(tmp_path / "x.parquet", {"a": [1.0, 2.0], "label": ["x", "y"]})
    run("learn", path, "-m", model, check=0)
    write_parquet(path, {"a": [3.0], "label": ["x"]})

    result = run("learn", path, "-m", model, check=0)

    assert get_file_notices(result) == [f"{path}: new file; 2 rows of the old file were learned"]
    assert count_samples(model) == 3


@pytest.mark.parametrize(("options", "expected"), [([], 100), (["--passes", "2"], 200)])
def test_file_given_twice_is_read_once(options, expected, tmp_path, log, model, run):
    link = tmp_path / "link.log"
    link.symlink_to(log)

    result = run("learn", log, link, "-m", model, *options, check=0)

    assert count_samples(model) == expected
    assert get_file_notices(result) == [f"{link}: given more than once, but read only once"]


@pytest.mark.parametrize("is_copy_first", [False, True])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_copy_beside_a_learned_file_is_a_new_file(is_renamed, is_copy_first, tmp_path, model, run):
    """The file may have been renamed and copied back; the copy is the one with the new name."""
    log, copy = tmp_path / "app.csv", tmp_path / "copy.csv"
    log.write_text("a,label\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(600)))
    run("learn", log, "-m", model, check=0)
    if is_renamed:
        log.rename(copy)
    shutil.copyfile(*((copy, log) if is_renamed else (log, copy)))
    for path, row in ((log, "7,x\n"), (copy, "8,y\n")):
        with path.open("a") as file:
            file.write(row)

    files = [copy, log] if is_copy_first else [log, copy]
    result = run("learn", *files, "-m", model, check=0)

    assert get_file_notices(result) == [
        f"{copy}: new file, though it begins like {log}, which was learned"
    ]
    positions = LiveModel.load(model).history.positions
    assert {position.name: position.rows for position in positions} == {
        str(log): 601,
        str(copy): 601,
    }
    assert count_samples(model) == 601 + 601
    run("learn", *files, "-m", model, check=0)
    assert count_samples(model) == 601 + 601
    run("verify", model, log, copy, check=0)


@pytest.mark.parametrize("line", ['{"a": 3, "la', '{"a": 3, "label": "x", "b": [}'])
def test_incomplete_last_line_is_left_for_the_next_run(line, log, model, run):
    rows = log.read_text()
    log.write_text(rows + line)

    result = run("learn", log, "-m", model, "--skip-bad", check=0)

    (position,) = LiveModel.load(model).history.positions
    assert (position.rows, position.rejected, position.left) == (100, 0, len(line))
    assert f"{log}: the last line is incomplete (" in result.stderr
    before = model.read_bytes()
    again = run("learn", log, "-m", model, check=0)
    assert get_file_notices(again) == [f"{log}: already learned (100 rows)"]
    assert model.read_bytes() == before
    assert "unfinished" in run("inspect", model, "--json", check=0).stdout
    log.write_text(rows + make_json_lines(3, 1))
    run("learn", log, "-m", model, check=0)
    assert count_samples(model) == 101
    run("verify", model, log, check=0)


@pytest.mark.parametrize("n", [100, 3000])
def test_log_that_outgrows_its_copy_and_truncation_is_learned(n, log, model, run):
    log.write_text(make_json_lines(0, n))
    run("learn", log, "-m", model, check=0)
    old = log.with_name("x.log.1")
    shutil.copyfile(log, old)
    with log.open("r+") as file:
        file.truncate()
        file.write(make_json_lines(10_000, 2 * n))

    result = run("learn", log, old, "-m", model, check=0)

    assert count_samples(model) == 3 * n
    assert get_file_notices(result) == [
        f"{log}: new file; {n:,} rows of the old file were learned",
        f"{old}: already learned ({n:,} rows)",
    ]
    run("verify", model, log, old, check=0)


def test_small_edited_file_counts_as_new(model, run, tmp_path):
    """Up to 1 KiB, both windows cover all rows."""
    path = tmp_path / "small.jsonl"
    path.write_text(make_json_lines(0, 10))
    run("learn", path, "-m", model, check=0)
    path.write_text(path.read_text().replace('"b": 5', '"b": 6'))

    result = run("learn", path, "-m", model, check=0)

    assert get_file_notices(result) == [f"{path}: new file; 10 rows of the old file were learned"]
    assert count_samples(model) == 20


def test_files_without_rows_have_no_position(tmp_path, log, model, run):
    empty = tmp_path / "empty.log"
    empty.touch()

    run("learn", empty, log, "-m", model, check=0)

    assert [each.name for each in LiveModel.load(model).history.positions] == [str(log)]


def test_limit_counts_rows_of_earlier_runs_and_skipped_files(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(make_json_lines(500, 50))
    run("learn", other, "-m", model, check=0)
    for limit, expected in ((40, 50), (50, 50), (70, 70), (70, 70), (150, 150)):
        run("learn", other, log, "-m", model, "--limit", limit, check=0)
        assert count_samples(model) == expected


def test_interrupted_again_run_resumes(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(make_json_lines(500, 50))
    run("learn", log, other, "-m", model, check=0)
    uninterrupted = tmp_path / "at_once.npz"
    shutil.copyfile(model, uninterrupted)
    run("learn", log, other, "-m", uninterrupted, "--again", check=0)
    live = LiveModel.load(model)
    sources = [open_file(path) for path in (log, other)]
    next(live.run(sources, live.plan_run(sources, is_again=True), n_single_rows=7))
    live.save(model)

    run("learn", log, "-m", model, check=0)  # without new rows, the run stays open
    run("learn", log, other, "-m", model, "--again", check=0)

    assert capture_state(LiveModel.load(model).model) == capture_state(
        LiveModel.load(uninterrupted).model
    )
    assert count_samples(model) == 300
    run("verify", model, other, log, check=0)
    run("learn", log, other, "-m", model, "--again", check=0)
    assert count_samples(model) == 450


def open_file(path):
    from stream_perceptron.data import open_source

    return open_source(str(path))


def test_partial_again_run_keeps_the_position_of_a_grown_file(log, model, run):
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write(make_json_lines(100, 10))
    run("learn", log, "-m", model, "--again", "--limit", 50, check=0)
    assert [each.rows for each in LiveModel.load(model).history.positions] == [100]

    run("learn", log, "-m", model, check=0)

    assert count_samples(model) == 160
    assert [each.rows for each in LiveModel.load(model).history.positions] == [110]


@pytest.mark.parametrize("options", [["--passes", "2"], ["--again"]])
def test_repeated_passes_ignore_offsets(options, tmp_path, model, run):
    topic = tmp_path / "topic.csv"
    topic.write_text("o,a,label\n" + "".join(f"{i},{i % 5},{'xy'[i % 2]}\n" for i in range(60)))
    arguments = ["learn", topic, "-m", model, "--position", "o"]
    run(*arguments, check=0)
    run(*arguments, *options, check=0)

    assert count_samples(model) == 120
    run("verify", model, topic, check=0)
    more = "o,a,label\n59,4,x\n60,0,y\n"
    run("learn", "-m", model, "-q", input=more, check=0)
    assert count_samples(model) == 121


def test_random_pass_marks_the_end_of_files(tmp_path, model, run):
    numbers = [float(i % 7) for i in range(50)]
    path = write_parquet(
        tmp_path / "x.parquet", {"a": numbers, "label": ["xy"[a > 3] for a in numbers]}
    )
    run("learn", path, "-m", model, "--random", check=0)

    result = run("learn", path, "-m", model, check=0)

    assert get_file_notices(result) == [f"{path}: already learned (50 rows)"]


def test_again_rejects_pipes(model, run):
    result = run("learn", "-", "-m", model, "--again", input="a,label\n1,x\n", check=2)

    assert "stdin and pipes can be read only once: --again needs files" in result.stderr


def test_inspect_shows_which_files_further_runs_need(tmp_path, log, model, run):
    partial, deleted = tmp_path / "part.jsonl", tmp_path / "gone.jsonl"
    partial.write_text(make_json_lines(500, 50))
    deleted.write_text(make_json_lines(600, 1))
    run("learn", log, deleted, "-m", model, check=0)
    run("learn", partial, "-m", model, "--limit", 20, check=0)
    deleted.unlink()
    files = json.loads(run("inspect", model, "--json", check=0).stdout)["files"]
    shown = " ".join(run("inspect", model, check=0).stdout.split())

    expected = {
        log: (100, "finished", "finished: can be deleted"),
        deleted: (1, "missing", "finished, no longer there"),
        partial: (20, "unfinished", "not finished: further runs need it"),
    }
    assert {file["name"]: (file["rows"], file["status"]) for file in files} == {
        str(path): status[:2] for path, status in expected.items()
    }
    assert [file["can_be_deleted"] for file in files] == [True, False, False]
    for path, (n, _, status) in expected.items():
        assert f"{path} {n} row{'s' * (n != 1)}, {status}" in shown
    with log.open("a") as file:
        file.write(make_json_lines(100, 1))
    assert "has changed: further runs need it" in run("inspect", model, check=0).stdout


def test_inspect_lists_the_last_of_many_files(tmp_path, model, run):
    days = [tmp_path / f"day-{i:03}.jsonl" for i in range(45)]
    for i, day in enumerate(days):
        day.write_text(make_json_lines(10 * i, 10))
    run("learn", *days, "-m", model, check=0)

    shown = run("inspect", model, check=0).stdout
    files = shown.partition("files, the last 40 of 45\n")[2].partition("results")[0]

    assert [str(day) in files for day in days] == [False] * 5 + [True] * 40
    assert "learned from, the last 40 of 45\n" in shown


def test_row_without_readable_offset_has_the_status_of_the_row_before(tmp_path, run):
    """It counts as redelivered if the row before it in the file does, wherever a run ends."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("o,a,label\n1,0,x\n2,1,y\n,2,x\n")
    second.write_text("o,a,label\n2,1,y\n,3,x\n,4,y\n,5,x\n,6,y\n3,5,x\n,6,y\n")
    outcomes = []
    for limits in ([], range(1, 11)):
        model = tmp_path / f"{len(limits)}.npz"
        arguments = ["learn", first, second, "-m", model, "--position", "o", "--skip-bad", "-q"]
        for limit in limits:
            run(*arguments, "--limit", limit, check=0)
        run(*arguments, check=0)
        run("verify", model, second, first, check=0)
        outcomes.append(read_contents(model))

    assert outcomes[0] == outcomes[1]


def test_file_edited_after_it_was_finished_cannot_be_deleted(log, model, run):
    run("learn", log, "-m", model, check=0)
    log.write_text(log.read_text().replace("x", "y"))

    (file,) = json.loads(run("inspect", model, "--json", check=0).stdout)["files"]

    assert (file["status"], file["can_be_deleted"]) == ("changed", False)


def test_same_command_again_leaves_the_same_bytes(tmp_path, log, model, run):
    other = tmp_path / "other.jsonl"
    other.write_text(make_json_lines(500, 50))
    run("learn", log, other, "-m", model, check=0)
    before = model.read_bytes()
    run("learn", log, other, "-m", model, check=0)

    assert model.read_bytes() == before


def test_incomplete_last_line_is_rejected_unless_it_is_learned(log, model, run):
    """It may be completed before a later run of `learn`, but other commands read it once."""
    run("learn", log, "-m", model, check=0)
    with log.open("a") as file:
        file.write('{"a": 1, "lab')

    for command in ("predict", "evaluate"):
        result = run(command, log, "-m", model, check=1)
        assert f"Error: {log}: row 101: it is not valid JSON" in result.stderr
    text, pipe = log.read_text(), log.with_name("pipe.npz")
    run("learn", "-", "-m", pipe, "--skip-bad", "--quiet", input=text, check=0)
    assert LiveModel.load(pipe).progress.skipped == 1
    run("verify", pipe, log, check=0)


def test_rows_appended_during_a_further_pass_are_learned_by_the_next_command(log, model, run):
    run("learn", log, "-m", model, check=0)
    live, sources = LiveModel.load(model), [open_file(log)]
    results = live.run(sources, live.plan_run(sources, 2), passes=2, n_single_rows=7)
    next(results)
    live.save(model)
    with log.open("a") as file:
        file.write(make_json_lines(100, 10))

    run("learn", log, "-m", model, check=0)

    assert count_samples(model) == 100 + 1 + 10


def test_renamed_file_is_not_drawn_from_again(tmp_path, log, model, run):
    run("learn", log, "-m", model, "--random", check=0)
    moved = log.rename(tmp_path / "moved.log")
    run("learn", moved, "-m", model, "--random", check=0)

    assert count_samples(model) == 100
    with moved.open("a") as file:
        file.write(make_json_lines(100, 10))
    error = run("verify", model, moved, check=1).stderr
    assert "rows were added after the model was trained: pass the files as they were" in error


def test_files_of_an_unfinished_random_run_cannot_be_deleted(log, model, run):
    run("learn", log, "-m", model, check=0)
    sources = [RandomDraws([open_file(log)], 0)]
    live = LiveModel.load(model)
    results = live.run(sources, live.plan_run(sources), n_single_rows=7)
    next(results)
    live.save(model)

    (file,) = json.loads(run("inspect", model, "--json", check=0).stdout)["files"]
    assert (file["status"], file["can_be_deleted"]) == ("in_pass", False)


@pytest.mark.parametrize("passes", [[], ["--passes", "2"]])
def test_average_has_one_position_of_each_file(passes, tmp_path, log, model, run):
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(rows[:40]))
    run("learn", log, "-m", model, check=0)
    log.write_text("".join(rows))
    branch, mean = tmp_path / "branch.npz", tmp_path / "mean.npz"
    shutil.copyfile(model, branch)
    run("learn", log, "-m", branch, *passes, check=0)
    run("average", branch, "--base", model, "-o", mean, check=0)

    assert [each.rows for each in LiveModel.load(mean).history.positions] == [100]


def test_file_changed_in_place_between_passes_is_an_error(log):
    live, sources = LiveModel.start([open_file(log)], seed=0), [open_file(log)]
    results = live.run(sources, passes=2)
    next(results)
    log.write_text(log.read_text().replace("x", "y"))

    with pytest.raises(SourceError, match="the file has changed since the first pass"):
        list(results)
