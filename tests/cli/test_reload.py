"""A model that is replaced while `predict` runs: the new model reads the rest of the source."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, encode_ipc, write_jsonl

from stream_perceptron import LiveModel
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.loop import learn, predict
from stream_perceptron.model.scaler import Scaler

FORMATS = ["csv", "jsonl", "parquet", "arrow"]
N_ROWS = 1000


def draw_rows(seed, n=N_ROWS):
    rng = random.Random(seed)
    for _ in range(n):
        a, b, colour = rng.gauss(0, 1), rng.gauss(5, 3), rng.choice(["red", "blue", "green"])
        label = "x" if a + (b > 5) + (colour == "red") > 1 else "y"
        yield {"a": round(a, 3), "b": round(b, 3), "colour": colour, "label": label}


def write_source(folder, form, source_rows):
    path, table = folder / f"source.{form}", pa.Table.from_pylist(list(source_rows))
    if form == "csv":
        pa.csv.write_csv(table, path)
    elif form == "jsonl":
        write_jsonl(path, table.to_pylist())
    elif form == "parquet":
        pq.write_table(table, path, row_group_size=300)
    else:
        path.write_bytes(encode_ipc(table, 300))
    return path


def train_model(folder, form, columns=("a", "b", "colour", "label"), **read_options):
    """Return a model trained on the columns of rows in a format."""
    folder.mkdir()
    source_rows = [{name: row[name] for name in columns} for row in draw_rows(1)]
    sources = [open_source(str(write_source(folder, form, source_rows)))]
    live = LiveModel.start(sources, ReadOptions(label="label", **read_options), lr=0.1, seed=0)
    for _ in learn(live, sources):
        pass
    return live


def predict_scores(live, path):
    predicted = []
    for result in predict(live, open_source(str(path))):
        predicted += result.scores.tolist()
    return predicted


@pytest.mark.parametrize("form", FORMATS)
def test_new_model_reads_the_rest_with_its_own_columns_and_scaler(form, tmp_path):
    old = train_model(tmp_path / "old", form)
    new = train_model(tmp_path / "new", form, columns=("a", "colour", "label"), standardize=True)
    path = write_source(tmp_path, form, draw_rows(2))
    expected = [predict_scores(live, path) for live in (old, new)]
    assert isinstance(new.model.network.scaler, Scaler)
    assert set(old.model.features_) > set(new.model.features_)

    live, predicted, changed_at = old, [], None

    def reload(require_fit):
        nonlocal live, changed_at
        if live is old and len(predicted) >= 300:
            require_fit(new, new.read_options)
            live, changed_at = new, len(predicted)
        return live

    for result in predict(old, open_source(str(path)), reload):
        predicted += result.scores.tolist()

    assert 300 <= changed_at < N_ROWS
    assert predicted == expected[0][:changed_at] + expected[1][changed_at:]
    assert expected[0][changed_at:] != expected[1][changed_at:]


@contextlib.contextmanager
def follow(model, *options):
    """Run `predict --follow`; yield it, and a function that gets the prediction for a line."""
    with subprocess.Popen(
        [COMMAND, "predict", "-m", model, "--follow", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip

        def request_prediction(text):
            follower.stdin.write(text)
            follower.stdin.flush()
            return json.loads(follower.stdout.readline())

        yield follower, request_prediction


def end(follower):
    """Close the input; return the notices."""
    follower.stdin.close()
    return follower.stderr.read()


def test_newly_learned_feature_is_used_after_a_reload(tmp_path, run):
    model = tmp_path / "m.npz"
    learn_arguments = ["learn", "-m", model, "--quiet", "--lr", "5"]
    run(*learn_arguments, input='{"a": 1, "y": "u"}\n{"a": -1, "y": "v"}\n' * 50, check=0)
    with follow(model) as (follower, request_prediction):
        before = request_prediction('{"b": 1}\n')["score"]
        rows_with_b = '{"b": 1, "y": "u"}\n{"b": -1, "y": "v"}\n' * 50
        run(*learn_arguments, input=rows_with_b, check=0)
        after = request_prediction('{"b": 1}\n')["score"]
        notice = end(follower)
    fresh = json.loads(run("predict", "-m", model, input='{"b": 1}\n', check=0).stdout)

    assert after == fresh["score"] != before
    assert after > 0.9 > before
    assert notice == f"reloaded {os.fspath(model)}: 200 samples\n"


def test_predict_waits_for_a_model_and_keeps_it_if_the_next_is_damaged(tmp_path, run):
    model, replacement, row = tmp_path / "m.npz", tmp_path / "other.npz", '{"a": 1}\n'
    labeled = '{"a": 1, "y": "u"}\n{"a": -1, "y": "v"}\n' * 50
    with follow(model) as (follower, request_prediction):
        run("learn", "-m", replacement, "--quiet", input=labeled, check=0)
        content = replacement.read_bytes()
        os.replace(replacement, model)
        first = request_prediction(row)
        replacement.write_bytes(content[:-1])
        os.replace(replacement, model)
        second = request_prediction(row)
        notices = end(follower)

    assert first["prediction"] == second["prediction"] == "u"
    assert first["score"] == second["score"]
    assert "still predicting with the previously loaded model" in notices


def test_model_that_does_not_fit_the_source_is_not_loaded(tmp_path, run):
    """The old model continues to predict, with a warning, until a later save fits."""
    model = tmp_path / "m.npz"

    def replace_model(columns, label):
        text = f"{columns},y\n" + f"1,1,{label}\n" * 20
        options = ["--overwrite", "--quiet", "--no-standardize", "--lr", "1"]
        run("learn", "-m", model, *options, input=text, check=0)

    replace_model("a,b", "first")
    with follow(model) as (follower, request_prediction):
        predictions = [request_prediction("b,a\n1,1\n")["prediction"]]
        for columns, label in (("a,c", "second"), ("a,b", "third")):
            replace_model(columns, label)
            predictions.append(request_prediction("1,1\n")["prediction"])
        notices = end(follower).splitlines()

    assert predictions == ["first", "first", "third"]
    assert notices == [
        "warning: stdin: the new model uses further columns ('c'): run the command again; "
        "still predicting with the previously loaded model",
        f"reloaded {model}: 20 samples",
    ]
