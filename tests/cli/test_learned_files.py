"""Each row of a file is learned once: positions, and the messages about files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from helpers import COMMAND, count_samples

from stream_perceptron import LiveModel
from stream_perceptron.live.loop import learn


def make_json_lines(start, n):
    """Return n rows as JSON lines, numbered from `start`."""
    rows = ({"a": i % 7 - 3, "b": i, "label": "xy"[i % 7 > 3]} for i in range(start, start + n))
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def get_file_notices(result):
    """Return the lines of stderr that are about files."""
    return [line for line in result.stderr.splitlines() if line.startswith(("/", "Error: /"))]


@pytest.fixture
def log(tmp_path):
    """A log of 100 rows."""
    path = tmp_path / "x.log"
    path.write_text(make_json_lines(0, 100))
    return path


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


def test_files_without_rows_have_no_position(tmp_path, log, model, run):
    empty = tmp_path / "empty.log"
    empty.touch()

    run("learn", empty, log, "-m", model, check=0)

    assert [each.name for each in LiveModel.load(model).history.positions] == [str(log)]


def open_file(path):
    from stream_perceptron.data import open_source

    return open_source(str(path))


def test_repeated_passes_ignore_offsets(tmp_path, model, run):
    topic = tmp_path / "topic.csv"
    topic.write_text("o,a,label\n" + "".join(f"{i},{i % 5},{'xy'[i % 2]}\n" for i in range(60)))
    arguments = ["learn", topic, "-m", model, "--position", "o"]
    run(*arguments, check=0)
    run(*arguments, "--passes", "2", check=0)

    assert count_samples(model) == 120
    run("verify", model, topic, check=0)
    more = "o,a,label\n59,4,x\n60,0,y\n"
    run("learn", "-m", model, "-q", input=more, check=0)
    assert count_samples(model) == 121


def test_comments_and_empty_files_do_not_repeat_passes(tmp_path, model, run):
    """They may look like new rows, until they are read; then a row appears."""
    commented, empty = tmp_path / "a.libsvm", tmp_path / "b.csv"
    commented.write_text("1 x:1\n0 x:2\n# two\n# comments\n")
    empty.write_text("x,label\n")
    for limit in ([], ["--limit", 1], []):
        run("learn", commented, empty, "-m", model, "--passes", "2", *limit, check=0)
    assert count_samples(model) == 4

    with commented.open("a") as file:
        file.write("1 x:3\n")
    for _ in range(2):
        run("learn", commented, empty, "-m", model, "--passes", "2", check=0)
    assert count_samples(model) == 4 + 1 + 3
    run("verify", model, commented, check=0)


def test_rows_appended_during_a_further_pass_are_learned_by_the_next_command(log, model, run):
    run("learn", log, "-m", model, check=0)
    live, sources = LiveModel.load(model), [open_file(log)]
    results = learn(live, sources, passes=2, every=1)
    next(results)
    live.save(model)
    with log.open("a") as file:
        file.write(make_json_lines(100, 10))

    run("learn", log, "-m", model, check=0)

    assert count_samples(model) == 100 + 1 + 10


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


def test_file_changed_while_it_is_read_cannot_be_continued(tmp_path):
    """The run learns the rows that it has read; the next run fails."""
    source, model, fifo = tmp_path / "source.csv", tmp_path / "m.npz", tmp_path / "predictions"
    rows = b"".join(b"%d,x\n" % i for i in range(100_000))
    source.write_bytes(b"a,label\n" + rows)
    os.mkfifo(fifo)
    command = [COMMAND, "learn", source, "-m", model]
    process = subprocess.Popen([*command, "-p", fifo, "--quiet"], stderr=subprocess.PIPE, text=True)
    with fifo.open("rb") as reader:
        reader.read(1)
        with source.open("r+b") as file:  # the run waits for its reader
            file.seek(9)
            file.write(b"7")
        while reader.read(2**16):
            pass
    _, stderr = process.communicate()
    next_run = subprocess.run(command, capture_output=True, text=True)

    assert process.returncode == 0
    assert stderr == ""
    assert LiveModel.load(model).progress.rows == 100_000
    assert next_run.returncode == 1
    assert f"{source}: it has changed since 100,000 rows of it were learned" in next_run.stderr
