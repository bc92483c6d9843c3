"""Rejected rows are reported in order and by reason, and so are runs without usable rows."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from helpers import COMMAND, read_contents, start, write_jsonl

from stream_perceptron import LiveModel, SampleError, SGDPerceptron
from stream_perceptron.data import open_source
from stream_perceptron.data.records import MAX_LINE_BYTES


def count_samples(path):
    return LiveModel.load(path).progress.samples


def test_short_row_does_not_change_the_known_offset(tmp_path, run):
    """Its last field is not an offset; a run that used it would skip later rows."""
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    rows = [f"left,{i % 3},p,{i}" for i in range(20)]
    rows[5] = "left,p,99999"
    source.write_text("\n".join(["label,a,part,offset", *rows]) + "\n")
    run("learn", source, "-m", path, "--position", "part,offset", "--skip-bad", check=0)

    live = LiveModel.load(path)
    assert (
        live.progress.samples,
        live.progress.skipped,
        live.redeliveries.offsets,
    ) == (19, 1, {("p",): 19})


def test_rejected_rows_are_grouped_by_reason_with_their_share(tmp_path, run):
    source = tmp_path / "s.csv"
    rows = [f"left,{i}" for i in range(1, 21)]
    rows[2], rows[4], rows[9], rows[12] = "left,x", "left", "left,why", "left,zz"
    source.write_text("\n".join(["label,a", *rows]) + "\n")
    result = run("learn", source, "--skip-bad", check=0)
    messages = [line for line in result.stderr.splitlines() if line.startswith("skipped")]

    assert messages == [
        f"skipped: {source}: row 3: column 'a' is 'x', not a number; 2 more like it; to treat "
        "it as missing:",
        f"skipped: {source}: row 5: it has 1 field, not 2",
        "skipped: 4 of 20 rows, 20.0%",
    ]


def test_run_that_rejects_every_row_fails(tmp_path, run):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text("label,a\nleft,1\n")
    run("learn", source, "-m", path, "--quiet", check=0)
    before = path.read_bytes()
    source = tmp_path / "other.csv"
    source.write_text("label,a\nleft,x\nleft,y\n")
    result = run("learn", source, "-m", path, "--skip-bad", check=1)

    assert f"no usable row among 2 rows; the first error: {source}: row 1: column" in result.stderr
    assert path.read_bytes() == before


def test_run_without_new_rows_prints_nothing_new(tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    write_jsonl(source, [{"a": 1.0, "label": "x", "o": i} for i in range(3)])
    run("learn", source, "-m", path, "--position", "o", check=0)
    again = run("learn", source, "-m", path, check=0)
    redelivered = run("learn", "-m", path, input=source.read_text(), check=0)

    assert "nothing new: all requested rows were already learned" in again.stderr
    assert "nothing new: every row was already learned" in redelivered.stderr
    assert count_samples(path) == 3


@pytest.mark.parametrize(
    ("form", "valid", "duplicate", "reason"),
    [
        ("libsvm", "1 1:0.5 2:1\n", "1 1:2 3:1 1:3\n", "it has feature '1' twice"),
        ("jsonl", '{"a": 1, "label": 1}\n', '{"a": 1, "a": 2}\n', "it has the key 'a' twice"),
        ("jsonl", '{"a": 1}\n', '{"features": {"b": 1, "b": 2}}\n', "it has the key 'b' twice"),
    ],
)
def test_duplicate_features_and_keys_are_rejected(form, valid, duplicate, reason, tmp_path, run):
    source = tmp_path / "s"
    source.write_text(valid + duplicate + valid)
    result = run("learn", source, "--format", form, check=1)

    assert f"row 2: {reason}" in result.stderr


@pytest.mark.parametrize("form", ["csv", "csv without header", "jsonl"])
@pytest.mark.parametrize("source_kind", ["path", "pipe"])
def test_overlong_first_line_is_a_rejected_row(form, source_kind, tmp_path, run):
    source, path = tmp_path / "s", tmp_path / "m.npz"
    rows = {
        "csv": "label,a\nleft,1\nright,2\n",
        "csv without header": "left,1\nright,2\n",
        "jsonl": '{"a": 1, "label": "left"}\n{"a": 2, "label": "right"}\n',
    }[form]
    source.write_text("x" * (MAX_LINE_BYTES + 5) + "\n" + rows)
    options = ["-m", path, "--skip-bad", "--json"]
    if source_kind == "path":
        result = run("learn", source, *options, check=0)
    else:
        result = run("learn", *options, input=source.read_text(), check=0)

    figures = json.loads(result.stdout)
    assert (figures["samples"], figures["skipped"]) == (2, 1)
    assert figures["skipped_rows"][0].endswith("row 1: the line is longer than 16 MiB")


def test_unused_columns_need_not_be_utf8(tmp_path, run):
    source, path = tmp_path / "latin.csv", tmp_path / "m.npz"
    source.write_bytes(b"a,name,label\n1,M\xfcller,x\n2,Bob,y\n3,\xe9,x\n")
    run("learn", source, "-m", path, "--quiet", check=0)
    assert count_samples(path) == 3

    source.write_bytes(b"a,name,label\n1,Bob,x\n2,Bob,M\xfcller\n")
    result = run("learn", source, check=1)
    assert "row 2: it is not UTF-8" in result.stderr


def test_csv_field_of_several_hundred_kilobytes_is_read(tmp_path, run):
    source, path = tmp_path / "long.csv", tmp_path / "m.npz"
    source.write_text('a,text,label\n1,x,0\n2,"' + "lorem, " * 50_000 + '",1\n')
    run("learn", source, "-m", path, "--quiet", check=0)

    assert count_samples(path) == 2


def test_int64_offsets_are_accepted_and_larger_ones_rejected(tmp_path, run):
    for form in ("csv", "jsonl"):
        source, path = tmp_path / form, tmp_path / f"{form}.npz"
        offsets = [1700000000000000000, 2**63 - 1, 2**63]
        if form == "csv":
            source.write_text("o,a,label\n" + "".join(f"{o},1,x\n" for o in offsets))
        else:
            write_jsonl(source, [{"o": o, "a": 1, "label": "x"} for o in offsets])
        result = run("learn", source, "-m", path, "--position", "o", check=1)
        assert "row 3: position 'o' is 9223372036854775808" in result.stderr
        assert count_samples(path) == 2


def test_predict_and_evaluate_use_redelivered_rows(tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    write_jsonl(source, [{"a": 1.0, "label": "x", "o": i} for i in (5, 6)])
    run("learn", source, "-m", path, "--position", "o", "--quiet", check=0)
    write_jsonl(source, [{"a": 1.0, "label": "x", "o": i} for i in (2, 1, 1)])

    assert run("predict", source, "-m", path, check=0).stdout.count("\n") == 3
    figures = json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout)
    assert figures["samples"] == 3


@pytest.mark.parametrize("line", [b"1,2\n", b"[1]\n"])
def test_short_line_is_predicted_before_the_next_one_is_sent(line, tmp_path):
    import subprocess

    with subprocess.Popen(
        [COMMAND, "learn", "-p", "-", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(line)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"] == 1
        process.stdin.close()
        process.stdout.read()
        assert process.wait(60) == 0


def test_label_type_beyond_the_limit_is_reported_once(tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    write_jsonl(source, [{"a": 1, "b": 2}, {"a": 1, "b": 2, "label": 3}])
    messages = run("learn", source, "-m", path, "--limit", 1, check=0).stderr
    again = run("learn", source, "-m", path, check=0).stderr

    assert "label: label (int)" in messages
    assert "label:" not in again


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\r1,2\r3,4\r",
        b"a,\xff\xfe,label\n1,2,x\n2,1,y\n",
        b"\xff\xfe\xfd,label\n1,x\n",
    ],
)
def test_malformed_text_is_learned_or_rejected_in_one_line(data, tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_bytes(data)
    result = run("learn", source)

    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or result.stderr.count("Error: ") == 1


def test_parquet_read_as_csv_is_rejected_in_one_line(mnist_sample, run):
    result = run("learn", mnist_sample, "--format", "csv", "--quiet", check=1)

    assert result.stderr.count("\n") == 1


def test_arrow_texts_with_offsets_out_of_bounds_are_rejected(tmp_path, run):
    texts = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, -5, 2], np.int32).tobytes()), pa.py_buffer(b"ab")
    )
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, 2.0]), texts], ["a", "label"])
    source = tmp_path / "s.arrow"
    with pa.ipc.new_stream(source, batch.schema) as writer:
        writer.write_batch(batch)
    result = run("learn", source, "--quiet", check=1)

    assert result.stderr.startswith(f"Error: {source}: damaged after row 0: ")
    assert result.stderr.count("\n") == 1


def test_duplicate_feature_name_raises_sample_error():
    model = SGDPerceptron(seed=0)
    with pytest.raises(SampleError, match="two features are called 'a'"):
        model.test_then_train(np.ones((1, 2)), ["x"], ["a", "a"])

    assert model.features_ == []


def test_run_killed_between_its_stop_and_its_end_finishes(tmp_path):
    """The model is byte-identical to that of an uninterrupted run."""
    rows = [{"x": 1.0, "label": "a"}] * 50
    source = str(write_jsonl(tmp_path / "s.jsonl", rows))

    def start_run():
        sources = [open_source(source)]
        live = LiveModel.start(sources, lr=1.0, epsilon=0.05, seed=0)
        return live, sources, live.plan_run(sources)

    whole, sources, plan = start_run()
    list(whole.run(sources, plan, stop=True))
    whole.save(tmp_path / "whole.npz")
    live, sources, plan = start_run()
    for result in live.run(sources, plan, stop=True, every=1):
        if result.stopped:
            live.save(tmp_path / "killed.npz")
            break
    again = LiveModel.load(tmp_path / "killed.npz")
    assert not again.history.run.is_finished
    sources = [open_source(source)]
    list(again.run(sources, again.plan_run(sources), stop=True))
    again.save(tmp_path / "again.npz")

    assert read_contents(tmp_path / "whole.npz") == read_contents(tmp_path / "again.npz")


def test_limit_ends_the_run_while_the_pipe_is_still_open(tmp_path):
    path = tmp_path / "m.npz"
    with start("-m", path, "--quiet", "--limit", "2", stdin=subprocess.PIPE) as process:
        process.stdin.write("label,a\nleft,1\nright,2\nleft,3\n")
        process.stdin.flush()

        assert process.wait(60) == 0
    assert count_samples(path) == 2


@pytest.mark.parametrize("first", ["nan", ".5", "-1e3", " 2"])
def test_column_with_a_number_in_the_first_row_is_a_feature(first, tmp_path, run):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text(f"label,a,b\nx,{first},1\ny,2,1\nx,3,1\n")
    run("learn", source, "-m", path, "--skip-bad", check=0)

    assert LiveModel.load(path).schema.features == ("a", "b")


def test_weight_column_of_text_is_rejected(tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_text("label,a,w\nx,1,heavy\ny,2,light\n")
    errors = run("learn", source, "--weight", "w", check=1).stderr.splitlines()

    assert len([line for line in errors if line.startswith("Error: ") and "'w'" in line]) == 1


def test_random_order_reads_all_classes_as_text_if_one_is(tmp_path, run):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text("label,a\n1,1\n2,2\nA,3\n")
    run("learn", source, "-m", path, "--random", "--classes", "1,2,A", check=0)

    assert LiveModel.load(path).model.classes_ == ["1", "2", "A"]
