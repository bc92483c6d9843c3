"""Every format, by path and by pipe, in blocks and as it trickles."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, state_of
from river.stream import iter_libsvm

from stream_perceptron import LiveModel, SGDPerceptron

DIGITS = ["--classes", "0-9", "--seed", "0"]
SCALED = [*DIGITS, "--scale", "1/255"]
NAMES = [f"pixel{i}" for i in range(784)]


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_lines(rows, header=None, delimiter=","):
    rows = rows if header is None else [header, *rows]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def ipc(table, most=None, kind=pa.ipc.new_stream):
    sink = io.BytesIO()
    with kind(sink, table.schema) as writer:
        writer.write_table(table, most)
    return sink.getvalue()


@pytest.fixture(scope="session")
def pixels(sample):
    """The 5,000 digits that come with the package, as lists of labels and of pixels."""
    table = pq.read_table(sample)
    rows = np.array([list(row) for row in table["pixels"].to_pylist()])
    return table["label"].to_pylist(), rows.tolist()


@pytest.fixture(scope="session")
def layouts(sample, pixels):
    """The same digits, by format: options, and bytes."""
    labels, rows = pixels
    both = list(zip(labels, rows, strict=True))
    table = pq.read_table(sample)
    labelled = [[label, *row] for label, row in both]
    text = csv_lines(labelled, ["label", *NAMES])
    return {
        "parquet": (DIGITS, sample.read_bytes()),
        "arrow": (DIGITS, ipc(table)),
        "arrow file": (DIGITS, ipc(table, kind=pa.ipc.new_file)),
        "csv": (SCALED, text),
        "csv.gz": (SCALED, gzip.compress(text, 1)),
        "csv.zst": (SCALED, pa.compress(text, codec="zstd", asbytes=True)),
        "csv with CRLF": (SCALED, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
        "tsv without header": (SCALED, csv_lines(labelled, delimiter="\t")),
        "json, flat": (
            SCALED,
            json_lines({"label": y, **dict(zip(NAMES, x, strict=True))} for y, x in both),
        ),
        "json, pixels": (SCALED, json_lines({"pixels": x, "label": y} for y, x in both)),
        "json, x and y": (SCALED, json_lines({"x": x, "y": y} for y, x in both)),
        "json, features": (
            SCALED,
            json_lines({"features": dict(zip(NAMES, x, strict=True)), "label": y} for y, x in both),
        ),
    }


def outcome(path):
    """Return what a run comes to, whatever the features are called."""
    live = LiveModel.load(path)
    progress = live.progress
    return (
        live.model.weights.tobytes(),
        live.model.biases.tobytes(),
        progress.confusion.pairs.tobytes(),
        progress.window.tobytes(),
        (progress.samples, progress.unlabelled, progress.updates, progress.epsilon_sum),
    )


@pytest.fixture(scope="session")
def expected(layouts, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "model.npz"
    learn(path, *layouts["parquet"])
    return outcome(path)


def learn(path, options, data, **kwargs):
    """Learn from a pipe."""
    command = [COMMAND, "learn", "-m", path, "--quiet", *options]
    subprocess.run(command, input=data, check=True, timeout=300, **kwargs)
    return LiveModel.load(path)


def answers(path, options, lines, before=b""):
    """Send samples one by one, each when the one before was answered; return the answers."""
    command = [COMMAND, "learn", "-m", path, "--quiet", "-p", "-", *options]
    found = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(before)
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            found.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert b"" == process.stdout.read()
        assert 0 == process.wait(60)
    return found


FORMATS = (
    "parquet", "arrow", "arrow file", "csv", "csv.gz", "csv.zst", "csv with CRLF",
    "tsv without header", "json, flat", "json, pixels", "json, x and y", "json, features",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_digits_give_the_same_bits_by_path_and_by_pipe(
    name, layouts, expected, tmp_path, run
):
    options, data = layouts[name]
    source = tmp_path / "digits"
    source.write_bytes(data)
    run("learn", source, "-m", tmp_path / "path.npz", *options, check=0)
    learn(tmp_path / "pipe.npz", options, data)

    assert expected == outcome(tmp_path / "path.npz")
    assert expected == outcome(tmp_path / "pipe.npz")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["csv", "tsv without header", "json, flat", "json, x and y", "json, features"]
)
def test_each_line_is_answered_before_the_next_is_sent(name, layouts, expected, tmp_path):
    options, data = layouts[name]
    header, lines = b"", data.splitlines(keepends=True)
    if name == "csv":
        header = lines.pop(0)
    found = answers(tmp_path / "model.npz", options, lines, header)

    assert [*range(1, 5001)] == [answer["row"] for answer in found]
    assert expected == outcome(tmp_path / "model.npz")


@pytest.mark.slow
def test_each_arrow_message_is_answered_before_the_next_is_sent(sample, expected, tmp_path):
    table = pq.read_table(sample)
    messages = []
    for batch in table.to_batches(max_chunksize=1):
        messages.append(batch.serialize().to_pybytes())
    schema = table.schema.serialize().to_pybytes()
    found = answers(tmp_path / "model.npz", DIGITS, messages, schema)

    assert 5000 == len(found)
    assert expected == outcome(tmp_path / "model.npz")


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("how", ["path", "pipe"])
def test_libsvm_has_the_bits_of_a_river_loop(first, how, pixels, tmp_path, run):
    """As MNIST8M has it: only what is not zero, counted from 0 or 1."""
    lines = [
        f"{y} " + " ".join(f"{i + first}:{v}" for i, v in enumerate(x) if v) + "\n"
        for y, x in zip(*pixels, strict=True)
    ][:2000]
    source = tmp_path / "digits.libsvm"
    source.write_text("".join(lines))
    model = SGDPerceptron(lr=1e-4, seed=0)
    hits = []
    for x, y in iter_libsvm(io.StringIO("".join(lines)), target_type=int):
        predicted = model.predict_one(x)
        if predicted is not None:
            hits.append(predicted == y)
        model.learn_one(x, y)
    if how == "path":
        run("learn", source, "-m", tmp_path / "m.npz", "--lr", "1e-4", "--seed", 0, check=0)
        live = LiveModel.load(tmp_path / "m.npz")
    else:
        live = learn(tmp_path / "m.npz", ["--lr", "1e-4", "--seed", "0"], source.read_bytes())

    assert state_of(model) == state_of(live.model)
    assert sum(hits) / len(hits) == live.progress.accuracy


def chunks(data, how):
    """Cut lines into what is sent at once."""
    if how == "at once":
        return [data]
    if how == "line by line":
        return [line + b"\n" for line in data.rstrip(b"\n").split(b"\n")]
    return [data[i : i + 7] for i in range(0, len(data), 7)]


@pytest.mark.parametrize("how", ["at once", "line by line", "in shreds"])
@pytest.mark.parametrize(
    ("labels", "classes", "kind", "n_bad"),
    [
        (["3", "A", "007", "true", "3.0", "4", ""], [3, 4], "int", 3),
        (["A", "3", "007", "true", "A"], ["A", "3", "007", "true"], "str", 0),
        (["007", "3", "7"], ["007", "3", "7"], "str", 0),
        (["true", "3", "False", "A", "FALSE"], [True, False], "bool", 2),
        (["", "3", "A"], [3], "int", 1),
    ],
)
def test_the_first_label_gives_all_their_type(labels, classes, kind, n_bad, how, tmp_path):
    """Whatever arrives together."""
    data = csv_lines([[label, i % 3] for i, label in enumerate(labels)], ["label", "a"])
    path = tmp_path / "model.npz"
    command = [COMMAND, "learn", "-m", path, "--skip-bad", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for chunk in chunks(data, how):
            process.stdin.write(chunk)
            process.stdin.flush()
        figures = json.loads(process.communicate()[0])
    live = LiveModel.load(path)

    assert classes == live.model.classes_
    assert [type(label) for label in classes] == [type(label) for label in live.model.classes_]
    assert kind == live.schema.label_type
    assert n_bad == figures["skipped"]
    assert labels.count("") == figures["unlabelled"]
    assert len(labels) - n_bad - labels.count("") == figures["samples"]


def test_labels_of_json_keep_their_types(tmp_path):
    data = json_lines({"a": 1, "label": label} for label in ["3", "4", 3, True, None, "true"])
    live = learn(tmp_path / "model.npz", ["--skip-bad"], data)

    assert ["3", "4", "true"] == live.model.classes_
    assert (3, 1, 2) == (
        live.progress.samples,
        live.progress.unlabelled,
        live.progress.skipped,
    )


def test_classes_fix_the_type_of_labels_before_the_first(tmp_path):
    data = csv_lines([["7", 1], ["x", 2]], ["label", "a"])
    live = learn(tmp_path / "model.npz", ["--classes", "x,7"], data)

    assert ["x", "7"] == live.model.classes_


@pytest.mark.parametrize("how", ["at once", "line by line"])
def test_a_key_that_comes_later_is_a_new_feature(how, tmp_path, rng):
    """Keys come and go, in the bits of a loop over learn_one."""
    rows = []
    for i in range(3000):
        x = {f"f{j}": rng.normal() for j in rng.choice(3 + i // 100, 3, replace=False)}
        rows.append((x, "left" if sum(x.values()) < 0 else "right"))
    model = SGDPerceptron(lr=0.5, seed=0)
    for x, y in rows:
        model.learn_one(x, y)
    data = json_lines({**x, "label": y, "comment": "a text"} for x, y in rows)
    path = tmp_path / "model.npz"
    options = ["--lr", "0.5", "--seed", "0"]
    if how == "at once":
        learn(path, options, data)
    else:
        answers(path, options, data.splitlines(keepends=True))

    assert len(model.features_) > 30
    assert state_of(model) == state_of(LiveModel.load(path).model)


@pytest.mark.parametrize("name", ["csv", "json, flat", "json, x and y", "arrow"])
def test_rows_without_label_are_predicted_and_not_learned(name, pixels, tmp_path, run):
    rng = random.Random(0)
    labels, rows = pixels
    given = [None if rng.random() < 0.3 else label for label in labels]
    there = [i for i, label in enumerate(given) if label is not None]
    model = SGDPerceptron(classes=range(10), seed=0)
    X = np.array(rows) * (1 / 255)
    model.test_then_train(X[there], [labels[i] for i in there])
    both = list(zip(given, rows, strict=True))
    table = pa.table({"x": pa.array(rows), "label": pa.array(given)})
    data = {
        "csv": lambda: csv_lines(
            [["" if y is None else y, *x] for y, x in both], ["label", *NAMES]
        ),
        "json, flat": lambda: json_lines(
            ({} if y is None else {"label": y}) | dict(zip(NAMES, x, strict=True)) for y, x in both
        ),
        "json, x and y": lambda: json_lines({"x": x, "y": y} for y, x in both),
        "arrow": lambda: ipc(table),
    }[name]()
    predictions = tmp_path / "predictions.jsonl"
    live = learn(tmp_path / "model.npz", [*SCALED, "-p", predictions], data)
    records = [json.loads(line) for line in predictions.read_text().splitlines()]

    assert model.weights.tobytes() == live.model.weights.tobytes()
    assert (len(there), 5000 - len(there)) == (live.progress.samples, live.progress.unlabelled)
    assert given == [record["label"] for record in records]
    assert all(record["prediction"] in range(10) for record in records)


def bad_csv_lines(n):
    cells = ["1"] * n
    return [
        ",".join(["left", *cells[1:]]),
        ",".join(["left", *cells, "1"]),
        ",".join(["left", "abc", *cells[1:]]),
        ",".join(["left", "", *cells[1:]]),
        ",".join(["left", "NaN", *cells[1:]]),
        ",".join(["left", *cells[1:], "1e999"]),
        ",".join(["left", *cells[1:], "1" + "0" * 400]),
        ",".join(['"left', *cells]),
        ",".join(["left", "\udcff1", *cells[1:]]),
        ",".join(["le\udcffft", *cells]),
        ",".join(["left", "1\r2", *cells[1:]]),
    ]


def bad_json_lines(n):
    x = {f"a{i}": 1 for i in range(n)}
    text = json.dumps({"label": "left", **x})
    return [
        text[:-1],
        text + text,
        "",
        json.dumps({"label": "left", **x, "a0": "abc"}),
        json.dumps({"label": "left", **x, "a0": [1]}),
        text.replace('"a1": 1', '"a1": NaN'),
        text.replace('"a1": 1', '"a1": 1e999'),
        text.replace('"a1": 1', '"a1": -Infinity'),
        text.replace('"a1": 1', '"a1": 1' + "0" * 400),
        text.replace('"a1": 1', '"a1": 1' + "0" * 5000),
        text.replace('"a1": 1', '"a1": ' + "[" * 100_000),
        text.replace("left", "le\udcffft"),
        text.replace("left", "\\ud800"),
        json.dumps({"label": "left"}),
        json.dumps({"label": 3, **x}),
        json.dumps({"label": ["left"], **x}),
        json.dumps({"label": "left", "class": "left", **x}),
        "17",
        "null",
        '"left"',
    ]


def bad_libsvm_lines(n):
    return ["left 1", "left a:b", "left 1:", "left 1:nan", "left 1:1e999", "le\udcffft 1:1"]


def good_lines(name, n):
    rng = random.Random(name)
    for _ in range(n):
        x = [round(rng.gauss(0, 1), 3) for _ in range(6)]
        y = "right" if x[0] + x[1] > 0 else "left"
        if name == "csv":
            yield ",".join([y, *map(str, x)])
        elif name == "json":
            yield json.dumps({"label": y, **{f"a{i}": v for i, v in enumerate(x)}})
        else:
            yield f"{y} " + " ".join(f"{i}:{v}" for i, v in enumerate(x))


BAD = {"csv": bad_csv_lines, "json": bad_json_lines, "libsvm": bad_libsvm_lines}
HEADER = {"csv": "label,a0,a1,a2,a3,a4,a5", "json": None, "libsvm": None}


def as_bytes(lines):
    return "".join(line + "\n" for line in lines if line is not None).encode(
        errors="surrogateescape"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_ten_thousand_bad_rows_among_good_ones(name, tmp_path, tell):
    rng = random.Random(1)
    good = list(good_lines(name, 20_000))
    kinds = [line for line in BAD[name](6) if line]
    bad = [kinds[i % len(kinds)] for i in range(10_000)]
    # Deep nesting is long, and a few of it are enough.
    bad = [line if len(line) < 50_000 or rng.random() < 0.02 else kinds[0] for line in bad]
    mixed = [*((line, True) for line in good[1:]), *((line, False) for line in bad)]
    order = sorted(range(len(mixed)), key=lambda i: rng.random())
    places = iter(sorted(i for i, j in enumerate(order) if mixed[j][1]))
    spread: list[str] = [""] * len(mixed)
    for line in good[1:]:
        spread[next(places)] = line
    rest = iter(bad)
    spread = [line or next(rest) for line in spread]
    options = ["--lr", "0.1", "--seed", "0", "--json"]
    clean = learn(
        tmp_path / "clean.npz", options, as_bytes([HEADER[name], *good]), stdout=subprocess.DEVNULL
    )
    result = subprocess.run(
        [COMMAND, "learn", "-m", tmp_path / "mixed.npz", "--skip-bad", *options],
        input=as_bytes([HEADER[name], good[0], *spread]), capture_output=True, check=True,
    )  # fmt: skip
    figures = json.loads(result.stdout)
    live = LiveModel.load(tmp_path / "mixed.npz")

    tell(f"bad rows, {name}: {figures['skipped']:,} skipped, {figures['samples']:,} learned")
    assert state_of(clean.model) == state_of(live.model)
    assert (20_000, 10_000) == (figures["samples"], figures["skipped"])
    assert clean.progress.confusion.pairs.tolist() == live.progress.confusion.pairs.tolist()
    assert 10 == len(figures["skipped_rows"])


@pytest.fixture(scope="session")
def after_25(tmp_path_factory):
    """What 25 good rows come to, by format."""
    outcomes = {}
    for name in BAD:
        path = tmp_path_factory.mktemp("good") / "model.npz"
        data = as_bytes([HEADER[name], *list(good_lines(name, 40))[:25]])
        learn(path, ["--seed", "0"], data)
        outcomes[name] = outcome(path)
    return outcomes


@pytest.mark.parametrize("how", ["at once", "line by line"])
@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in BAD for i, bad in enumerate(BAD[name](6)) if bad]
)
def test_the_first_bad_row_is_named_and_ends_the_run(name, number, how, tmp_path, after_25):
    """The model is as after the last good row, and saved, whatever arrived together."""
    good = list(good_lines(name, 40))
    bad = BAD[name](6)[number]
    path = tmp_path / "model.npz"
    data = as_bytes([HEADER[name], *good[:25], bad, *good[25:]])
    with subprocess.Popen(
        [COMMAND, "learn", "-m", path, "--seed", "0", "--quiet"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for chunk in chunks(data, how):
            try:
                process.stdin.write(chunk)
                process.stdin.flush()
            except BrokenPipeError:
                break
        errors = process.communicate()[1].decode()

    assert 1 == process.returncode
    assert errors.startswith("Error: -: row 26: ")
    assert 1 == errors.count("\n")
    assert len(errors) < 500
    assert "--skip-bad leaves such rows out" in errors
    assert after_25[name] == outcome(path)


@pytest.mark.parametrize("name", BAD)
def test_a_line_of_100_mb_is_a_bad_row(name, tmp_path, peak_memory_of_pipe):
    good = list(good_lines(name, 10))
    piece = {"csv": "1,", "json": '{"a": [', "libsvm": "left 1:1 "}[name]
    long = piece * (100_000_000 // len(piece))
    source = tmp_path / "source"
    source.write_bytes(as_bytes([HEADER[name], *good[:5], long, *good[5:]]))
    peak, result = peak_memory_of_pipe(source, "-m", tmp_path / "m.npz", "--skip-bad", "--quiet")

    assert 0 == result.returncode, result.stderr
    progress = LiveModel.load(tmp_path / "m.npz").progress
    assert (10, 1) == (progress.samples, progress.skipped)
    assert peak < 200


@pytest.fixture
def peak_memory_of_pipe():
    """Let the command learn what a file holds from a pipe; return the most memory used in MB."""

    def run_command(source, *args):
        script = (
            "import re, sys; from stream_perceptron_cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "status = open('/proc/self/status').read()\n"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])"
        )
        command = [Path(COMMAND).with_name("python"), "-c", script, "learn", *args]
        with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
            result = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True)
        return int(result.stdout) / 1024, result

    return run_command


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csv", "json", "arrow"])
def test_memory_does_not_grow_with_the_pipe(name, tmp_path, rng, peak_memory_of_pipe, tell):
    """Twenty times the rows take at most a tenth more memory."""
    peaks = []
    for n in (100_000, 2_000_000):
        source = tmp_path / str(n)
        with source.open("wb") as file:
            X = np.round(rng.normal(size=(10_000, 4)), 3)
            y = (X[:, 0] > 0).astype(int)
            table = pa.table({"y": y, **{f"a{i}": X[:, i] for i in range(4)}})
            rows = [[label, *x] for label, x in zip(y.tolist(), X.tolist(), strict=True)]
            if name == "arrow":
                with pa.ipc.new_stream(file, table.schema) as writer:
                    for _ in range(n // len(X)):
                        writer.write_table(table)
            else:
                names = table.column_names
                lines = csv_lines(rows)
                if name == "json":
                    lines = json_lines(dict(zip(names, row, strict=True)) for row in rows)
                else:
                    file.write(csv_lines([], names))
                for _ in range(n // len(X)):
                    file.write(lines)
        peak, result = peak_memory_of_pipe(source, "-m", tmp_path / f"{n}.npz", "--quiet")
        assert 0 == result.returncode, result.stderr
        assert n == LiveModel.load(tmp_path / f"{n}.npz").progress.samples
        peaks.append(peak)
        source.unlink()

    tell(f"peak memory, {name}, 100,000 and 2,000,000 rows: {peaks[0]:.0f}, {peaks[1]:.0f} MB")
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_200_runs_into_head(layouts, tmp_path, tell):
    """Nobody reads on: no traceback, 141, and a checkpoint that loads."""
    source = tmp_path / "digits.csv"
    source.write_bytes(layouts["csv"][1])
    script = (
        f"set -o pipefail; cat {source} | "
        f"{COMMAND} learn -m $1 -p - --quiet {' '.join(SCALED)} | head -1 >$1.out; "
        "echo ${PIPESTATUS[1]}"
    )

    def run_into_head(i):
        path = tmp_path / f"{i}.npz"
        result = subprocess.run(
            ["bash", "-c", script, "bash", path], capture_output=True, text=True, timeout=60
        )
        assert ("141\n", "") == (result.stdout, result.stderr)
        assert 1 == json.loads(Path(f"{path}.out").read_text())["row"]
        return LiveModel.load(path).progress.samples

    with ThreadPoolExecutor(2) as pool:
        samples = list(pool.map(run_into_head, range(200)))

    tell(f"200 runs into head -1: {min(samples)} to {max(samples)} samples learned before the end")
    assert min(samples) > 0


def test_a_terminal_on_stdin_gets_a_hint(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "learn", "-m", tmp_path / "m.npz"], stdin=theirs, stderr=subprocess.PIPE
    )
    os.write(ours, b"label,a\nleft,1\nright,2\n\x04")
    _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert errors.startswith(b"reading samples from the terminal, a line each; Ctrl-D ends\n")
    assert 2 == LiveModel.load(tmp_path / "m.npz").progress.samples


@pytest.mark.parametrize("model_is_there", [False, True])
def test_nothing_on_stdin(model_is_there, tmp_path, sample, run):
    """An error for a new model; nothing new for one that is there."""
    path = tmp_path / "model.npz"
    if model_is_there:
        run("learn", sample, "-m", path, "--quiet", check=0)
    before = path.read_bytes() if model_is_there else None
    result = run("learn", "-m", path, "--quiet", stdin=subprocess.DEVNULL)

    assert (int(not model_is_there), "" if model_is_there else "Error: -: it has no rows\n") == (
        result.returncode,
        result.stderr,
    )
    if model_is_there:
        assert 5000 == LiveModel.load(path).progress.samples
        assert before is not None


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_every_command_ends_quietly_when_nobody_reads(command, run, sample, tmp_path):
    model = tmp_path / "model.npz"
    run("learn", sample, "-m", model, check=0)
    read, write = os.pipe()
    os.close(read)
    arguments = {"inspect": [model], "evaluate": [sample, "-m", model]}[command]
    result = subprocess.run(
        [COMMAND, command, *arguments], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)

    assert (141, "") == (result.returncode, result.stderr)
