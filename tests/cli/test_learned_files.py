"""Each row of a file is learned once: positions, and the messages about files."""

from __future__ import annotations

import os
import subprocess

from helpers import COMMAND, count_samples

from stream_perceptron import LiveModel


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


def test_links_of_a_file_are_the_same_file(tmp_path, model, run):
    """In one run, and in later ones; the file may grow in between."""
    log, links = tmp_path / "log.jsonl", [tmp_path / name for name in ("hard", "soft", "again")]
    log.write_text("".join(f'{{"a": {i}, "label": "{"xy"[i % 2]}"}}\n' for i in range(50)))
    os.link(log, links[0])
    links[1].symlink_to(log)
    run("learn", log, *links[:2], "-m", model, check=0)
    assert count_samples(model) == 50

    os.link(log, links[2])
    with links[0].open("a") as file:
        file.write('{"a": 1, "label": "x"}\n')
    for path in (*reversed(links), log):
        run("learn", path, "-m", model, check=0)
    assert count_samples(model) == 51
    run("verify", model, links[2], check=0)


def test_comments_and_empty_files_do_not_repeat_passes(tmp_path, model, run):
    """They may look like new rows, until they are read; a row that appears needs a single pass."""
    commented, empty = tmp_path / "a.libsvm", tmp_path / "b.csv"
    commented.write_text("1 x:1\n0 x:2\n# two\n# comments\n")
    empty.write_text("x,label\n")
    for limit in ([], ["--limit", 1], []):
        run("learn", commented, empty, "-m", model, "--passes", "2", *limit, check=0)
    assert count_samples(model) == 4

    with commented.open("a") as file:
        file.write("1 x:3\n")
    saved = model.read_bytes()
    result = run("learn", commented, empty, "-m", model, "--passes", "2", check=1)
    assert "learn its new rows in a run without --passes" in result.stderr
    assert model.read_bytes() == saved
    run("learn", commented, empty, "-m", model, check=0)
    assert count_samples(model) == 4 + 1
    run("learn", commented, empty, "-m", model, "--passes", "2", check=0)
    assert count_samples(model) == 4 + 1 + 3
    run("verify", model, commented, check=0)


def test_rows_appended_during_a_further_pass_are_learned_by_the_next_command(tmp_path, model, run):
    log = tmp_path / "log.csv"
    log.write_text("a,label\n" + "1,x\n2,y\n" * 50)
    run("learn", log, "-m", model, "--passes", "2", "--limit", "101", check=0)
    with log.open("a") as file:
        file.write("3,x\n" * 10)
    run("learn", log, "-m", model, check=0)

    assert count_samples(model) == 100 + 1 + 10


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
