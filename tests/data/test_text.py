"""Lines from files and pipes: what they say, where they stop, and how they go on."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT, lines_of, state_of

from stream_perceptron import LiveModel, SampleError, SourceError
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request


@pytest.fixture
def read(tmp_path):
    """Return the features by row, the labels, and what is wrong, of some text in a file."""

    def read_text(text, **selection):
        path = tmp_path / "source"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        features, labels, rejected = [], [], {}
        for batch in open_source(str(path)).batches(Request(Selection(**selection))):
            features += list(batch.features.dicts())
            labels += batch.labels
            rejected |= {batch.first_row - 1 + i: why for i, why in batch.rejected.items()}
        return features, labels, rejected

    return read_text


@pytest.mark.parametrize(
    ("text", "features", "labels"),
    [
        ("a,label,b\n1,x,2\n", [{"a": 1, "b": 2}], ["x"]),
        ("a;y\n1.5;0\n", [{"a": 1.5}], [0]),
        ("a\ty\n1.5\t0\n", [{"a": 1.5}], [0]),
        ('name,a,label\n"Smith, J",1,"x"\n', [{"a": 1}], ["x"]),
        ("3,1,2\n4,5,6\n", [{"x0": 1, "x1": 2}, {"x0": 5, "x1": 6}], [3, 4]),
        ("0,1,label\n7,8,9\n", [{"0": 7, "1": 8}], [9]),
        ("label,a\n\n1,2\n\r\n\n3,4", [{"a": 2}, {"a": 4}], [1, 3]),
        ("label,a10,a9\n1,2,3\n", [{"a9": 3, "a10": 2}], [1]),
        ("label,a,b\n1,true,2\n1,False,1\n1,0,TRUE\n",
         [{"a": 1, "b": 2}, {"a": 0, "b": 1}, {"a": 0, "b": 1}], [1, 1, 1]),
        ("label,a\n1,2\n1,true\n0,3\n", [{"a": 2}, {"a": 1}, {"a": 3}], [1, 1, 0]),
        ("label,a\n, 2 \n", [{"a": 2}], [None]),
        ('{"a": 1, "b": true, "label": "x"}', [{"a": 1, "b": 1}], ["x"]),
        ('{"a": 1, "b": null, "y": 2.0}', [{"a": 1}], [2]),
        ('{"x": [[1, 2], [3, 4]], "target": 0}',
         [{"x0": 1, "x1": 2, "x2": 3, "x3": 4}], [0]),
        ('{"image": [1, 2], "label": 0}', [{"pixel0": 1, "pixel1": 2}], [0]),
        ("[1, 2.5]\n[3, 4]\n", [{"x0": 1, "x1": 2.5}, {"x0": 3, "x1": 4}], [None, None]),
        ('{"features": {"a": 1}, "label": 1, "n": 5}', [{"a": 1}], [1]),
        ('{"a": 1, "name": "Smith", "label": 1}\n{"b": 2, "name": "Jones"}\n',
         [{"a": 1}, {"b": 2}], [1, None]),
        ("+1 1:0.5 3:2 # a comment\n-1\n1:7\n", [{"1": 0.5, "3": 2}, {}, {"1": 7}], [1, -1, None]),
        ("1 0:5\n", [{"0": 5}], [1]),
        ("\N{BYTE ORDER MARK}1 0:5\n", [{"0": 5}], [1]),
    ],
)  # fmt: skip
def test_what_lines_say(text, features, labels, read):
    found = read(text)

    assert (features, labels, {}) == found
    assert [type(label) for label in labels] == [type(label) for label in found[1]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("label,a\n1,2\n1,2,3\n", "it has 3 fields, not 2"),
        ("label,a\n1,2\n1,x\n", "column 'a' is 'x', not a number"),
        ("label,a\n1,2\n1,nan\n", "column 'a' is 'nan', not a number"),
        ("label,a\n1,2\n1,1e999\n", "column 'a' is 1e999, not finite"),
        ("label,a\n1,true\n1,x\n", "column 'a' is 'x', not a number"),
        ("label,a\n1,2\nA,3\n", "label 'A' is not a whole number, as labels are"),
        ("label,a\n1,2\n2.5,3\n", "label '2.5' is not a whole number, as labels are"),
        ('label,a\n1,2\n"3,4\n', "it has an open quote"),
        ('{"a": 1}\n{"a": "x"}', "feature 'a' is 'x', a text, but was a number before"),
        ('{"a": 1}\n{"a": 1', "it is not JSON from character 9 on"),
        ('{"a": 1}\n{"b": []}', "feature 'b' is [], a list"),
        ('{"x": [1]}\n{"x": [1, 2]}', "list 'x' has 2 values, not 1"),
        ('{"x": [1]}\n{"x": ["1"]}', "feature 'x0' is '1', a str"),
        ('{"x": [1]}\n{"z": [1]}', "it has no list 'x'"),
        ('{"features": {"a": 1}}\n{"a": 1}', "it has no object 'features'"),
        ('{"a": 1}\n{"label": 1}', "it has no features"),
        ('{"a": 1}\n{"a": 1, "y": 1, "class": 2}', "'class', 'y' could each be the label"),
        ("1 1:2\n1 2\n", "it is not LIBSVM: '2' is not an index:value pair"),
    ],
)
def test_what_is_wrong_with_lines(text, reason, read):
    bad = read(text)[2]

    assert [1] == list(bad)
    assert bad[1].startswith(reason)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[\n{}\n]\n", "a JSON array of objects"),
        (b'[{"a": 1, "label": 2}]\n', "a JSON array of objects"),
        (bytes(range(256)) * 10, "neither Parquet nor Arrow nor text in UTF-8"),
        (b"a,b\nx,y\n", "no usable features among"),
        (b"a,a,label\n1,2,3\n", "two columns are called 'a'"),
        (b"class,label,a\n1,2,3\n", "could each be the label"),
        (b"\xff\xff\xff\xff1234", "not an Arrow stream"),
        (b"PAR1 and no more", "not a Parquet file, or not a whole one"),
        (gzip.compress(b"label,a\n" + b"1,2\n" * 100_000)[:-20], "its gzip data ends too early"),
    ],
)
def test_sources_that_cannot_be_read(data, message, tmp_path):
    path = tmp_path / "source"
    path.write_bytes(data)

    def read():
        list(open_source(str(path)).batches(Request()))

    with pytest.raises(SourceError, match=message) as error:
        read()

    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_truncated_arrow_stream_is_read_up_to_there(tmp_path, run):
    table = pa.table({"a": np.arange(3000.0) / 3000, "label": [0, 1] * 1500})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, 1000)
    path = tmp_path / "source.arrows"
    path.write_bytes(sink.getvalue().to_pybytes()[:-5000])
    result = run("learn", path, "-m", tmp_path / "model.npz", "--quiet", check=1)

    assert "damaged after row 2,000" in result.stderr
    assert 2000 == LiveModel.load(tmp_path / "model.npz").progress.samples


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
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


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

    assert clean.read_bytes() == path.read_bytes()


def test_a_file_whose_read_part_has_changed_is_refused(tmp_path, run):
    header, lines = lines_of("csv", 3000)
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(header + b"".join([*lines[:1000], b"bad\n"]))
    run("learn", source, "-m", path, "--quiet", check=1)
    before = path.read_bytes()
    source.write_bytes(header + b"".join([*lines[1:2000], *lines[:1], *lines[2000:]]))
    changed = run("learn", source, "-m", path, "--quiet", check=1)
    source.write_bytes(header + b"".join(lines[:500]))
    shorter = run("learn", source, "-m", path, "--quiet", check=1)

    assert "row 1,000 of" in changed.stderr
    assert "the file's content has changed; --next" in changed.stderr
    assert "the file has changed from" in shorter.stderr
    assert before == path.read_bytes()


def test_a_finished_file_that_has_changed_is_another_and_that_is_said(tmp_path, run):
    """Such as one whose last line was not whole."""
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2\nleft,3")
    run("learn", source, "-m", path, "--quiet", check=0)
    same = run("learn", source, "-m", path, "--quiet", check=0)
    with source.open("ab") as file:
        file.write(b".7\nright,5\n")
    changed = run("learn", source, "-m", path, "--quiet", check=0)

    assert "" == same.stderr
    assert (
        f"warning: {source} changed after it was read; reading it again from the start\n"
        == changed.stderr
    )
    assert 7 == LiveModel.load(path).progress.samples


def test_random_draws_from_lines_are_those_from_columns(sample, tmp_path, run):
    table = pq.read_table(sample)
    path = tmp_path / "digits.jsonl"
    with path.open("w") as file:
        for pixels, label in zip(table["pixels"].to_pylist(), table["label"].to_pylist(),
                                 strict=True):  # fmt: skip
            file.write(json.dumps({"pixels": list(pixels), "label": label}) + "\n")
    options = ["--random", "--classes", "0-9", "--limit", 3000, "--quiet"]
    run("learn", sample, "-m", tmp_path / "a.npz", *options, check=0)
    for limit in (["--limit", 999], []):
        run("learn", path, "-m", tmp_path / "b.npz", "--scale", "1/255", *options, *limit, check=0)
    models = [LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz")]

    assert state_of(models[0]) == state_of(models[1])


def test_golden_run_of_version_1_goes_on(tmp_path):
    """Saved by format version 1 at the eleventh of twelve rows of a topic, one of them rejected."""
    live = LiveModel.load(ROOT / "tests" / "golden" / "run-1.npz")

    assert (10, 1, 11) == (live.progress.samples, live.progress.skipped, live.cursor.row)
    assert ("part", "offset") == live.selection.position
    assert (("a", "b"), "str") == (live.schema.features, live.schema.label_type)
    assert {("p",): 14, ("q",): 5} == live.cursor.offsets
    assert [(0, 11, 1)] == [(e.start, e.end, e.rejected) for e in live.lineage.entries]
    assert (1, 10) == (len(live.progress.curve.sums), live.progress.confusion.tested + 1)
    path = tmp_path / "rest.csv"
    path.write_text("label,a,b,part,offset\nleft,1,1,q,5\nright,1.5,1,q,6\n")
    sources = [open_source(str(path))]
    list(live.run(sources, live.resume(sources, go_next=True)))
    assert (11, 1) == (live.progress.samples, live.replayed)


def test_sample_errors_of_libraries_keep_the_model(tmp_path):
    """In Python as on the command line."""
    path = tmp_path / "source.csv"
    path.write_text("label,a\nleft,1\nright,x\n")
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, Selection())
    with pytest.raises(SampleError, match="row 2: column 'a' is 'x', not a number"):
        list(live.run(sources))

    assert 1 == live.progress.samples == live.cursor.row


def test_a_fifo_that_is_opened_before_its_writer_is_read_to_the_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; echo 'label,a\nx,1' > {fifo}"]):
        source = open_source(str(fifo))
        labels = [label for batch in source.batches(Request()) for label in batch.labels]

    assert ["x"] == labels


def test_fifos_are_read_beyond_the_descriptors_that_select_knows_and_closed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        for _ in range(20):
            with subprocess.Popen(["sh", "-c", f"echo 'label,a\nx,1' > {fifo}"]):
                batches = open_source(str(fifo)).batches(Request())
                assert ["x"] == [label for batch in batches for label in batch.labels]
            del batches
        opened = os.open(os.devnull, os.O_RDONLY)
        assert opened < held[-1] + 20
        os.close(opened)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_header_that_leaves_a_quote_open_takes_the_line_that_closes_it(read):
    assert ([], [], {}) == read('label,"a\nb"\n')


def test_lines_between_quotes_are_one_record_only_if_it_has_all_its_fields(read):
    """Else each is a record by itself."""
    features, labels, rejected = read('a,t,y\n1,"x,0\n5,6,y",1,0\n3,z,1\n4,"two\nlines",0\n')

    assert ([{"a": 3}, {"a": 4}], [1, 0]) == (features, labels)
    assert [0, 1] == sorted(rejected)
    assert rejected[0].startswith("it has an open quote")
