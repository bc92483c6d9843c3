"""Lines from files and pipes: what they say, where they stop, and how they go on."""

from __future__ import annotations

import gzip
import hashlib
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
        ('{"a": 1, "y": 1}\n{"a": "x"}', "feature 'a' is 'x', a text, but was a number before"),
        ('{"a": 1}\n{"a": 1', "it is not JSON from character 9 on"),
        ('{"a": 1, "y": 1}\n{"b": []}', "feature 'b' is [], a list"),
        ('{"x": [1], "y": 1}\n{"x": [1, 2]}', "list 'x' has 2 values, not 1"),
        ('{"x": [1]}\n{"x": ["1"]}', "feature 'x0' is '1', a str"),
        ('{"x": [1], "y": 1}\n{"z": [1]}', "it has no list 'x'"),
        ('{"features": {"a": 1}, "y": 1}\n{"a": 1}', "it has no object 'features'"),
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
    ("rows", "learned", "why"),
    [
        (  # an unlabelled row does not make a number of a key
            [{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "e": 5}, {"a": 2, "e": "red", "y": 1}],
            [0, 1, 3], {},
        ),
        ([{"a": 1, "y": 0}, {"a": 1, "e": 5, "y": 0}, {"e": "red", "y": 1}],
         [0, 1], {2: "feature 'e'"}),
        ([{"e": None, "a": 1, "y": 0}, {"e": "", "a": 1, "y": 0}, {"e": "red", "a": 2, "y": 1}],
         [0, 1, 2], {}),
        ([{"x": [1, 2], "y": 0}, {"x": [1, 2], "tags": ["a"], "y": 0}], [0, 1], {}),
        ([{"x": [1], "tags": ["a"], "y": 0}, {"x": [1], "y": 0}], [1], {0: "lists 'x', 'tags'"}),
        ([{"a": 1, "y": 0}, {"a": 2, "features": {}, "y": 0}], [0], {1: "feature 'features'"}),
        ([{"features": {"a": 1}}, {"a": 2, "y": 0}, {"a": 1, "y": 1}], [1, 2], {}),
        ([{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "y": 0}, {"a": 1, "e": 5, "y": None},
          {"a": 1, "e": "red", "y": 1}], [0, 1, 2, 4], {}),
        ([{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "y": 0}, {"a": 1e300, "e": 5, "y": 0},
          {"a": 1, "e": "red", "y": 1}], [0, 1, 2, 4], {3: "a feature is"}),
        ([{"a": 1e300, "e": 5, "y": 0}, {"a": 1, "e": "red", "y": 0}], [1], {0: "a feature is"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("are_split", [False, True])
def test_only_learned_rows_tell_what_others_mean(rows, learned, why, are_split, tmp_path):
    """Whether they are read in one go, or one after another by runs that resume."""
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, seed=0, dtype="float32")
    found, rejected = [], {}
    for limit in range(1, len(rows) + 1) if are_split else [None]:
        for result in live.run(sources, live.resume(sources), limit=limit, skip_rejected=True):
            both = zip(result.rows.tolist(), result.labels, strict=True)
            found += [row - 1 for row, label in both if label is not None]
            for told in result.rejected:
                rejected[int(told.place.split("row ")[1]) - 1] = told.why
        live.save(path)
        live = LiveModel.load(path)

    assert learned == found
    assert why.keys() == rejected.keys()
    assert all(rejected[i].startswith(start) for i, start in why.items())


def test_random_draws_are_of_rows_that_are_read_by_all_that_others_tell(tmp_path, run):
    """A key that holds nothing at first, and texts later, is never a number that is missing."""
    source = tmp_path / "s.jsonl"
    rows = [{"a": i % 5, "d": "red" if i > 30 else None, "y": i % 2} for i in range(40)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path, limits in ((tmp_path / "whole.npz", [40]), (tmp_path / "split.npz", [7, 23, 40])):
        for limit in limits:
            options = ["--random", "--limit", limit, "--quiet"]
            run("learn", source, "-m", path, *options, check=0)

    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "split.npz").read_bytes()


@pytest.mark.parametrize("missing", ["0", "7", "99", "-9"])
def test_numbers_may_mean_a_missing_value(missing, tmp_path):
    """In the first row too, and where rows are read many at once."""
    cells = [missing, "1", "2.5", missing, "3"] * 40
    path = tmp_path / "s.csv"
    path.write_text("a,b,c,d,e,y\n" + "".join(f"{c},{c},{c},{c},{c},u\n" for c in cells))
    batches = list(open_source(str(path)).batches(Request(Selection(missing=(missing,)))))
    dicts = [x for batch in batches for x in batch.features.dicts()]

    assert [{} if c == missing else dict.fromkeys("abcde", float(c)) for c in cells] == dicts
    counts = [batch.missing for batch in batches if batch.missing is not None]
    assert 80 * 5 == sum(int(missing.sum()) for missing in counts)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[\n{}\n]\n", "a JSON array of objects"),
        (b'[{"a": 1, "label": 2}]\n', "a JSON array of objects"),
        (bytes(range(256)) * 10, "neither Parquet nor Arrow nor text in UTF-8"),
        (b"a,b\nx,y\n", "no usable features among"),
        (b"a,a,label\n1,2,3\n", "columns 1 and 2 are both called 'a': drop one with --ignore 2"),
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
    assert "the file's content has changed in its first 19,874 bytes; --next" in changed.stderr
    assert "the file's content has changed in its first" in shorter.stderr
    assert before == path.read_bytes()


def test_a_finished_file_that_has_changed_is_another_and_that_is_said(tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\nleft,1\nright,2\nleft,3\n")
    run("learn", source, "-m", path, "--quiet", check=0)
    same = run("learn", source, "-m", path, "--quiet", check=0)
    source.write_bytes(b"label,a\nleft,9\nright,2\nleft,3\nright,5\n")
    changed = run("learn", source, "-m", path, "--quiet", check=0)

    assert "" == same.stderr
    assert (
        f"warning: {source} changed after it was read; reading it again from the start\n"
        == changed.stderr
    )
    assert 7 == LiveModel.load(path).progress.samples


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

    assert "" == same.stderr
    assert whole.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("before", "more", "row"),
    [
        (b"label,a\nleft,1\nright,2", b".5\nleft,3\n", 2),
        (b'label,a\nleft,1\n"right,2\n', b'x",2\nleft,3\n', 2),
    ],
    ids=["a number goes on", "a quote closes"],
)
def test_a_row_that_was_learned_before_its_end_stops_a_run(before, more, row, tmp_path, run):
    source, path = tmp_path / "source.csv", tmp_path / "m.npz"
    source.write_bytes(before)
    run("learn", source, "-m", path, "--quiet", "--skip-bad", check=0)
    model = path.read_bytes()
    with source.open("ab") as file:
        file.write(more)
    changed = run("learn", source, "-m", path, "--quiet", "--skip-bad", check=1)

    assert f"row {row} has changed since it was read" in changed.stderr
    assert model == path.read_bytes()


def test_files_that_have_grown_but_are_passed_are_named(tmp_path, run):
    first, second, path = tmp_path / "first.csv", tmp_path / "second.csv", tmp_path / "m.npz"
    for source in (first, second):
        source.write_text("label,a\nleft,1\nright,2\n")
    run("learn", first, second, "-m", path, "--quiet", check=0)
    with first.open("a") as file:
        file.write("\n\n")
    blanks = run("learn", first, second, "-m", path, "--quiet", check=0)
    for source in (first, second):
        with source.open("a") as file:
            file.write("left,5\n")
    grown = run("learn", first, second, "-m", path, "--quiet", check=0)

    assert "" == blanks.stderr
    assert f"warning: {first} has grown, but a later source was begun" in grown.stderr
    assert 1 == grown.stderr.count("\n")
    assert 5 == LiveModel.load(path).progress.samples


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


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_text_file_is_told_by_the_bytes_up_to_its_last_row(is_compressed, tmp_path, run):
    """With the header, blank lines, a byte order mark, and a line that is too long to be held."""
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
        (identity,) = LiveModel.load(path).cursor.sources
        read = b"".join(lines[: limit + 1]) + (b"\n" if limit == 4 else b"")

        assert (len(read), hashlib.sha256(read).hexdigest()) == (identity.size, identity.digest)
    run("learn", source, "-m", whole, "--skip-bad", "--quiet", check=0)
    assert whole.read_bytes() == path.read_bytes()
