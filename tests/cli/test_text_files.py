"""Text files: where runs stop, and how they resume."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess

import pytest
from helpers import COMMAND, contents_of, lines_of

from stream_perceptron import LiveModel


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_interrupted_file_goes_on_at_its_row(form, packed, tmp_path, run):
    header, lines = lines_of(form, 3000)
    source = tmp_path / "source"
    data = header + b"".join(lines)
    source.write_bytes(gzip.compress(data) if packed else data)
    folders = [tmp_path / "at once", tmp_path / "bit by bit"]
    for folder, limits in zip(folders, [[None], [1, 700, 1000, 2345, None]], strict=True):
        folder.mkdir()
        for limit in limits:
            options = [] if limit is None else ["--limit", limit]
            run("learn", source, "-m", folder / "m.npz", "-p", folder / "p.jsonl", *options,
                "--passes", 2, "--quiet", check=0)  # fmt: skip

    for name in ("m.npz", "p.jsonl"):
        assert contents_of(folders[0] / name) == contents_of(folders[1] / name)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_that_has_grown_goes_on_with_what_is_new(form, tmp_path, run):
    header, lines = lines_of(form, 3000)
    source, path, clean = tmp_path / "source", tmp_path / "m.npz", tmp_path / "clean.npz"
    source.write_bytes(header + b"".join(lines[:1200]))
    run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(b"".join(lines[1200:]))
    run("learn", source, "-m", path, "--quiet", check=0)
    run("learn", source, "-m", clean, "--quiet", check=0)

    assert contents_of(clean) == contents_of(path)


def test_a_file_whose_read_part_has_changed_is_refused(tmp_path, run):
    header, lines = lines_of("csv", 3000)
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(header + b"".join([*lines[:1000], b"bad\n"]))
    run("learn", source, "-m", path, "--quiet", check=1)
    before = path.read_bytes()
    source.write_bytes(header + b"".join([*lines[1:2000], *lines[:1], *lines[2000:]]))
    changed = run("learn", source, "-m", path, "--quiet", check=1)
    source.write_bytes(header + b"".join(lines[:900]))
    shorter = run("learn", source, "-m", path, "--quiet", check=1)

    assert changed.stderr == (
        f"Error: {source}: it has changed since 1,000 rows of it were learned; to learn the "
        "present file from its start: --again\n"
    )
    assert shorter.stderr == changed.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("more", [b"\n", b"\r\n", b"\n\n\r\n"])
def test_a_last_line_without_its_newline_is_learned_once(more, tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2")
    run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(more)
    same = run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(b"left,3")
    run("learn", source, "-m", path, "--quiet", check=0)
    whole = tmp_path / "whole.npz"
    run("learn", source, "-m", whole, "--quiet", check=0)

    assert same.stderr == ""
    assert contents_of(whole) == contents_of(path)


def test_a_row_that_was_learned_before_its_end_stops_a_run(tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2")
    run("learn", source, "-m", path, "--quiet", "--skip-bad", check=0)
    model = path.read_bytes()
    with source.open("ab") as file:
        file.write(b".5\nleft,3\n")
    changed = run("learn", source, "-m", path, "--quiet", "--skip-bad", check=1)

    assert changed.stderr == (
        f"Error: {source}: row 2 has changed since it was learned: the file ended within it; to "
        "learn the present file from its start: --again\n"
    )
    assert model == path.read_bytes()


def test_new_rows_of_all_files_are_learned(tmp_path, run):
    first, second, path = tmp_path / "first.csv", tmp_path / "second.csv", tmp_path / "m.npz"
    for source in (first, second):
        source.write_text(f"label,a\nleft,1\n{source.stem},2\n")
    run("learn", first, second, "-m", path, "--quiet", check=0)
    with first.open("a") as file:
        file.write("\n\n")
    blanks = run("learn", first, second, "-m", path, "--quiet", check=0)
    for source in (first, second):
        with source.open("a") as file:
            file.write("left,5\n")
    grown = run("learn", first, second, "-m", path, "--quiet", check=0)

    assert (blanks.stderr, grown.stderr) == ("", "")
    assert LiveModel.load(path).progress.samples == 6
    run("verify", path, second, first, check=0)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_text_file_is_told_by_the_bytes_up_to_its_last_row(is_compressed, tmp_path, run):
    """These include a header, blank lines, a byte order mark, and a line too long to hold."""
    long = b"x" * (17 * 2**20)
    lines = [
        b"\xef\xbb\xbf\nlabel,a\n",
        b"\r\nleft,1\n",
        b"\n\nright,2\r\n",
        long + b"\n",
        b"left,3",
    ]
    data = b"".join(lines)
    source, path, whole = tmp_path / "s.csv", tmp_path / "m.npz", tmp_path / "whole.npz"
    source.write_bytes(gzip.compress(data + b"\n\n", 1) if is_compressed else data + b"\n\n")
    for limit in range(1, 5):
        run("learn", source, "-m", path, "--limit", limit, "--skip-bad", "--quiet", check=0)
        (fingerprint,) = LiveModel.load(path).cursor.sources
        read = b"".join(lines[: limit + 1]) + (b"\n" if limit == 4 else b"")

        assert (len(read), hashlib.sha256(read).hexdigest()) == (
            fingerprint.size,
            fingerprint.digest,
        )
    run("learn", source, "-m", whole, "--skip-bad", "--quiet", check=0)
    assert contents_of(whole) == contents_of(path)


@pytest.mark.parametrize("size", [17, 40], ids="{} MB".format)
@pytest.mark.parametrize("rows", [1, 2])
def test_an_error_names_a_row_that_is_too_long(size, rows, tmp_path, run):
    """The length decides whether the row is held whole or dropped in parts."""
    source = tmp_path / "source.csv"
    source.write_bytes((b"1," * (size * 500_000) + b"1\n") * rows)

    result = run("learn", source, "--quiet", check=1)

    which = "its only row is" if rows == 1 else "each of its rows is"
    assert result.stderr == f"Error: {source}: {which} longer than 16 MiB\n"


def test_rows_beside_one_that_is_too_long_are_learned(tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"a,label\n1,x\n" + b"1," * 8_500_000 + b"1\n2,y\n")

    run("learn", source, "-m", path, "--skip-bad", "--quiet", check=0)

    progress = LiveModel.load(path).progress
    assert (progress.samples, progress.skipped) == (2, 1)


def test_a_file_that_is_changed_while_it_is_read_cannot_be_continued(tmp_path):
    """The run learns what it read, and warns; the next run names the file."""
    source, model, fifo = tmp_path / "source.csv", tmp_path / "m.npz", tmp_path / "predictions"
    rows = b"".join(b"%d,x\n" % i for i in range(100_000))
    source.write_bytes(b"a,label\n" + rows)
    os.mkfifo(fifo)
    learn = [COMMAND, "learn", source, "-m", model]
    running = subprocess.Popen([*learn, "-p", fifo, "--quiet"], stderr=subprocess.PIPE, text=True)
    with fifo.open("rb") as reader:
        reader.read(1)
        with source.open("r+b") as file:  # the run waits for its reader
            file.seek(9)
            file.write(b"7")
        while reader.read(2**16):
            pass
    _, stderr = running.communicate()
    again = subprocess.run(learn, capture_output=True, text=True)

    assert running.returncode == 0
    assert stderr == (
        f"warning: {source} was changed while it was read: the next run cannot continue it\n"
    )
    assert LiveModel.load(model).progress.rows == 100_000
    assert again.returncode == 1
    assert f"{source}: it has changed since 100,000 rows of it were learned" in again.stderr


def test_a_text_file_is_read_from_its_offset_on(tmp_path, run):
    """Rows before it are not parsed again; a run that names them by number counts them."""
    source, model = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"\xef\xbb\xbfa,label\r\n1,x\r\n\r\n2,y\r\n3,x")
    run("learn", source, "-m", model, "--limit", 2, "--quiet", check=0)
    offset = LiveModel.load(model).cursor.offset
    run("learn", source, "-m", model, "--quiet", check=0)

    assert offset == source.read_bytes().index(b"3,x")
    assert LiveModel.load(model).progress.rows == 3
    run("verify", model, source, check=0)


def test_many_files_need_few_descriptors(tmp_path):
    """Files that were read, or are to be read, are not kept open to identify them."""
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
