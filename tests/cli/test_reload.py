"""A model that is replaced while it predicts a source reads the rest as the new one asks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, ipc, write_lines

from stream_perceptron import LiveModel
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.model.scaler import Scaler

FORMS = ["csv", "csv pipe", "jsonl", "jsonl pipe", "parquet", "arrow file", "arrow pipe"]
ROWS = 1000


def rows(seed, n=ROWS):
    rng = random.Random(seed)
    for _ in range(n):
        a, b, colour = rng.gauss(0, 1), rng.gauss(5, 3), rng.choice(["red", "blue", "green"])
        label = "x" if a + (b > 5) + (colour == "red") > 1 else "y"
        yield {"a": round(a, 3), "b": round(b, 3), "colour": colour, "label": label}


def write(folder, form, some):
    kind = form.split()[0]
    path, table = folder / f"source.{kind}", pa.Table.from_pylist(list(some))
    if kind == "csv":
        pa.csv.write_csv(table, path)
    elif kind == "jsonl":
        write_lines(path, table.to_pylist())
    elif kind == "parquet":
        pq.write_table(table, path, row_group_size=300)
    else:
        make = pa.ipc.new_file if form == "arrow file" else pa.ipc.new_stream
        path.write_bytes(ipc(table, 300, make))
    return path


def learned(folder, form, **asked):
    """Return a model that has learned rows of a form; `columns` limits what it knows."""
    columns = asked.pop("columns", None)
    folder.mkdir()
    some = [{n: v for n, v in row.items() if columns is None or n in columns} for row in rows(1)]
    sources = [open_source(str(write(folder, form.split()[0], some)))]
    live = LiveModel.start(sources, ReadOptions(label="label", **asked), lr=0.1, seed=0)
    for _ in live.run(sources):
        pass
    return live


def opened(path, form):
    """Open a source; of a pipe, return it with the process that feeds it."""
    if not form.endswith("pipe"):
        return open_source(str(path)), None
    process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    return open_source(f"/dev/fd/{process.stdout.fileno()}"), process


def scores(live, path, form):
    source, process = opened(path, form)
    found = []
    for batch in live.batches(source):
        found += live.predict(batch).probabilities.tolist()
    if process is not None:
        process.wait()
        process.stdout.close()
    return found


@pytest.mark.parametrize("form", FORMS)
def test_names_columns_one_hot_features_and_scaler_are_those_of_the_new_model(form, tmp_path):
    old = learned(tmp_path / "old", form, columns=("a", "label"))
    new = learned(tmp_path / "new", form, one_hot=("colour",), standardize=True)
    path = write(tmp_path, form, rows(2))
    expected = [scores(live, path, form) for live in (old, new)]
    assert isinstance(new.model.network.scaler, Scaler)
    assert set(old.model.features_) < set(new.model.features_)

    source, process = opened(path, form)
    live, found, changed_at = old, [], None

    def reload(require_fit):
        nonlocal live, changed_at
        if live is old and len(found) >= 300:
            require_fit(new)
            live, changed_at = new, len(found)
        return live

    for batch in old.batches(source, reload=reload):
        found += live.predict(batch).probabilities.tolist()
    if process is not None:
        process.wait()
        process.stdout.close()

    assert 300 <= changed_at < ROWS
    assert found == expected[0][:changed_at] + expected[1][changed_at:]
    assert expected[0][changed_at:] != expected[1][changed_at:]


def test_a_feature_that_was_learned_meanwhile_is_used(tmp_path, run):
    model, learn = tmp_path / "m.npz", ["learn", "-m", tmp_path / "m.npz", "--quiet", "--lr", "5"]
    run(*learn, input='{"a": 1, "y": "u"}\n{"a": -1, "y": "v"}\n' * 50, check=0)
    with subprocess.Popen(
        [COMMAND, "predict", "-m", model, "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip

        def ask():
            follower.stdin.write('{"b": 1}\n')
            follower.stdin.flush()
            return json.loads(follower.stdout.readline())["probability"]

        before = ask()
        run(*learn, input='{"b": 1, "y": "u"}\n{"b": -1, "y": "v"}\n' * 50, check=0)
        after = ask()
        follower.stdin.close()
        notice = follower.stderr.read()
    fresh = json.loads(run("predict", "-m", model, input='{"b": 1}\n', check=0).stdout)

    assert after == fresh["probability"] != before
    assert after > 0.9 > before
    assert notice == f"reloaded {os.fspath(model)}: 200 samples\n"


def test_a_model_that_does_not_fit_the_source_is_not_used(tmp_path, run):
    """The old model goes on, with a warning, as after a damaged save; a later save is used."""
    model = tmp_path / "m.npz"

    def learn(columns, label):
        text = f"{columns},y\n" + f"1,1,{label}\n" * 20
        options = ["--overwrite", "--quiet", "--no-standardize", "--lr", "1"]
        run("learn", "-m", model, *options, input=text, check=0)

    learn("a,b", "first")
    with subprocess.Popen(
        [COMMAND, "predict", "-m", model, "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip

        def ask(text):
            follower.stdin.write(text)
            follower.stdin.flush()
            return json.loads(follower.stdout.readline())["prediction"]

        answers = [ask("b,a\n1,1\n")]
        for columns, label in (("a,c", "second"), ("a,b", "third")):
            learn(columns, label)
            answers.append(ask("1,1\n"))
        follower.stdin.close()
        notices = follower.stderr.read().splitlines()

    assert answers == ["first", "first", "third"]
    assert notices == [
        "warning: stdin: it lacks 'c' of the model's features and has 'b' instead; still "
        "predicting with the model loaded before",
        f"reloaded {model}: 20 samples",
    ]


def test_a_class_without_a_column_ends_the_predictions_of_csv(tmp_path, run):
    model, predictions = tmp_path / "m.npz", tmp_path / "p.csv"
    run("learn", "-m", model, "--quiet", input='{"a": 1, "y": "u"}\n{"a": 2, "y": "v"}\n', check=0)
    with subprocess.Popen(
        [COMMAND, "predict", "-m", model, "--follow", "--probabilities", "-p", predictions],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip
        follower.stdin.write('{"a": 1}\n')
        follower.stdin.flush()
        while not predictions.exists() or predictions.read_text().count("\n") < 2:
            time.sleep(0.01)
        run("learn", "-m", model, "--quiet", input='{"a": 1, "y": "new"}\n', check=0)
        follower.stdin.write('{"a": 1}\n')
        follower.stdin.flush()
        stderr = follower.stderr.read()

    assert follower.returncode == 1
    assert stderr.count("\n") == 2  # of the reload and of the error
    assert "label 'new' has no column in the predictions" in stderr
