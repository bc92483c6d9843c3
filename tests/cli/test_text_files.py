"""Text files: where runs stop, and how they resume."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess

import pytest
from helpers import COMMAND, make_point_lines, read_contents

from stream_perceptron import LiveModel


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_run_resumes_at_the_row_where_it_stopped(form, is_compressed, tmp_path, run):
    header, lines = make_point_lines(form, 3000)
    source = tmp_path / "source"
    data = header + b"".join(lines)
    source.write_bytes(gzip.compress(data) if is_compressed else data)
    folders = [tmp_path / "at once", tmp_path / "bit by bit"]
    for folder, limits in zip(folders, [[None], [1, 700, 1000, 2345, None]], strict=True):
        folder.mkdir()
        for limit in limits:
            options = [] if limit is None else ["--limit", limit]
            run("learn", source, "-m", folder / "m.npz", "-p", folder / "p.jsonl", *options,
                "--passes", 2, "--quiet", check=0)  # fmt: skip

    for name in ("m.npz", "p.jsonl"):
        assert read_contents(folders[0] / name) == read_contents(folders[1] / name)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_only_new_rows_of_a_grown_file_are_learned(form, tmp_path, run):
    header, lines = make_point_lines(form, 3000)
    source, path, single_run = tmp_path / "source", tmp_path / "m.npz", tmp_path / "clean.npz"
    source.write_bytes(header + b"".join(lines[:1200]))
    run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(b"".join(lines[1200:]))
    run("learn", source, "-m", path, "--quiet", check=0)
    run("learn", source, "-m", single_run, "--quiet", check=0)

    assert read_contents(single_run) == read_contents(path)


def test_file_whose_learned_rows_have_changed_is_rejected(tmp_path, run):
    header, lines = make_point_lines("csv", 3000)
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(header + b"".join([*lines[:1000], b"bad\n"]))
    run("learn", source, "-m", path, "--quiet", check=1)
    before = path.read_bytes()
    source.write_bytes(header + b"".join([*lines[:990], *lines[991:2000]]))
    changed = run("learn", source, "-m", path, "--quiet", check=1)
    source.write_bytes(header + b"".join(lines[:900]))
    shorter = run("learn", source, "-m", path, "--quiet", check=1)

    assert changed.stderr == (
        f"Error: {source}: it has changed since 1,000 rows of it were learned; to learn the "
        "current file from its start:\n  --again\n"
    )
    assert shorter.stderr == changed.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("line_ending", [b"\n", b"\r\n", b"\n\n\r\n"])
def test_last_line_without_newline_is_learned_once(line_ending, tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2")
    run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(line_ending)
    unchanged = run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(b"left,3")
    run("learn", source, "-m", path, "--quiet", check=0)
    single_run = tmp_path / "whole.npz"
    run("learn", source, "-m", single_run, "--quiet", check=0)

    assert unchanged.stderr == ""
    assert read_contents(single_run) == read_contents(path)


def test_row_extended_after_it_was_learned_is_an_error(tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2")
    run("learn", source, "-m", path, "--quiet", "--skip-bad", check=0)
    before = path.read_bytes()
    with source.open("ab") as file:
        file.write(b".5\nleft,3\n")
    changed = run("learn", source, "-m", path, "--quiet", "--skip-bad", check=1)

    assert changed.stderr == (
        f"Error: {source}: row 2 has changed since it was learned: the file ended within it; to "
        "learn the current file from its start:\n  --again\n"
    )
    assert path.read_bytes() == before


def test_new_rows_of_all_files_are_learned(tmp_path, run):
    first, second, path = tmp_path / "first.csv", tmp_path / "second.csv", tmp_path / "m.npz"
    for source in (first, second):
        source.write_text(f"label,a\nleft,1\n{source.stem},2\n")
    run("learn", first, second, "-m", path, "--quiet", check=0)
    with first.open("a") as file:
        file.write("\n\n")
    after_blank_lines = run("learn", first, second, "-m", path, "--quiet", check=0)
    for source in (first, second):
        with source.open("a") as file:
            file.write("left,5\n")
    after_new_rows = run("learn", first, second, "-m", path, "--quiet", check=0)

    assert (after_blank_lines.stderr, after_new_rows.stderr) == ("", "")
    assert LiveModel.load(path).progress.samples == 6
    run("verify", path, second, first, check=0)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_position_follows_the_last_learned_row(is_compressed, tmp_path, run):
    """The text has a header, blank lines, a byte order mark and an overlong line."""
    overlong_line = b"x" * (17 * 2**20)
    lines = [
        b"\xef\xbb\xbf\nlabel,a\n",
        b"\r\nleft,1\n",
        b"\n\nright,2\r\n",
        overlong_line + b"\n",
        b"left,3",
    ]
    data = b"".join(lines)
    source, path, single_run = tmp_path / "s.csv", tmp_path / "m.npz", tmp_path / "whole.npz"
    source.write_bytes(gzip.compress(data + b"\n\n", 1) if is_compressed else data + b"\n\n")
    for limit in range(1, 5):
        run("learn", source, "-m", path, "--limit", limit, "--skip-bad", "--quiet", check=0)
        (position,) = LiveModel.load(path).history.positions
        read = b"".join(lines[1 : limit + 1]) + (b"\n" if limit == 4 else b"")
        n_first = len(read) if len(read) <= 1024 else 4096
        windows = [read[:n_first], read[-n_first:]]

        assert (len(lines[0]), len(read)) == (position.header_size, position.offset)
        assert [hashlib.sha256(window).hexdigest() for window in windows] == [
            position.start_digest,
            position.end_digest,
        ]
    for model in (path, single_run):
        run("learn", source, "-m", model, "--skip-bad", "--quiet", check=0)
    assert read_contents(single_run) == read_contents(path)


@pytest.mark.parametrize("size", [17, 40], ids="{} MB".format)
@pytest.mark.parametrize("rows", [1, 2])
def test_overlong_row_is_reported(size, rows, tmp_path, run):
    """Depending on its length, the row is buffered whole or discarded in parts."""
    source = tmp_path / "source.csv"
    source.write_bytes((b"1," * (size * 500_000) + b"1\n") * rows)

    result = run("learn", source, "--quiet", check=1)

    subject = "its only row is" if rows == 1 else "each of its rows is"
    assert result.stderr == f"Error: {source}: {subject} longer than 16 MiB\n"


def test_rows_next_to_an_overlong_row_are_learned(tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"a,label\n1,x\n" + b"1," * 8_500_000 + b"1\n2,y\n")

    run("learn", source, "-m", path, "--skip-bad", "--quiet", check=0)

    progress = LiveModel.load(path).progress
    assert (progress.samples, progress.skipped) == (2, 1)


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


def test_text_file_is_read_from_the_saved_byte_offset(tmp_path, run):
    """Earlier rows are not parsed again, but counted where a run needs row numbers."""
    source, model = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"\xef\xbb\xbfa,label\r\n1,x\r\n\r\n2,y\r\n3,x")
    run("learn", source, "-m", model, "--limit", 2, "--quiet", check=0)
    (position,) = LiveModel.load(model).history.positions
    run("learn", source, "-m", model, "--quiet", check=0)

    end = position.header_size + position.offset
    assert end == source.read_bytes().index(b"3,x")
    assert LiveModel.load(model).progress.rows == 3
    run("verify", model, source, check=0)


def test_many_files_need_few_file_descriptors(tmp_path):
    """Files are not kept open before or after they are read."""
    sources, model = [], tmp_path / "m.npz"
    for i in range(60):
        sources.append(tmp_path / f"{i:03}.csv")
        sources[-1].write_text(f"a,label\n{i},x\n2,y\n")
    for _ in range(2):
        command = ["sh", "-c", 'ulimit -n 100; exec "$0" "$@"', COMMAND, "learn", *sources]
        subprocess.run([*command, "-m", model, "--quiet"], check=True)
        with sources[-1].open("a") as file:
            file.write("3,y\n")

    assert LiveModel.load(model).progress.rows == 121
