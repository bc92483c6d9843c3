"""A pipeline with `RecordEncoder` learns from dicts what `learn` learns from the same JSON."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from helpers import CASE_FACTOR, capture_state, encode_ipc, get_seeds, write_csv, write_jsonl
from river.compose import Pipeline

from stream_perceptron import RecordEncoder, SGDPerceptron, Standardizer, load, save, stream
from stream_perceptron_cli.main import main

CASES = 150
TEXTS = ["red", " blue", "Late, late refund now", "\u00c4RGER mit x1 und x2", "", "NA", "5", "a=b"]
DATES = ["2024-03-05", "2024-03-05T13:45:10.5Z", "1969-12-31 23:59", "2024-02-30"]
LISTS = [[], [None], ["vip", "new"], ["a b c d", None, 7, True], [1, 2], [["x"]], [{"u": 1}, "x"]]


def draw_value(rng, kind):
    return {
        "number": lambda: rng.choice([0, 1, 2.5, -3, True, None, "x"]),
        "code": lambda: rng.choice([1, 2.0, "3", 7.5, True, ["x", 1], "2024-03-05", "a b c d e"]),
        "text": lambda: rng.choice(TEXTS),
        "id": lambda: f"u{rng.random()}",
        "date": lambda: rng.choice(DATES),
        "list": lambda: rng.choice(LISTS),
        "object": lambda: {"b": rng.choice([1, 3, "y"]), "c": {"d": rng.choice(TEXTS)}},
    }[kind]()


def draw_records(rng):
    """Return random records; later ones may have further members."""
    kinds = ["number", "text", "id", "date", "list", "object"]
    columns = {name: rng.choice(kinds) for name in "abcdef"[: rng.randrange(1, 7)]}
    columns |= {"zip": "code"} if rng.random() < 0.5 else {}
    records = []
    for _ in range(rng.randrange(2, 40)):
        if rng.random() < 0.1:
            columns[f"late{rng.randrange(3)}"] = rng.choice(kinds)
        record = {
            rng.choice([name, name, f" {name}", f"{name}  "]): draw_value(rng, kind)
            for name, kind in columns.items()
            if rng.random() < 0.9
        }
        records.append(record | {rng.choice(["label", " label"]): rng.choice("xy")})
    # A list of numbers in the first record with features would be a vector.
    records[0] = {name: value for name, value in records[0].items() if value != [1, 2]}
    return [{"first": 1} | records[0], *records[1:]]


def test_pipeline_learns_what_the_command_learns(tmp_path):
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(seed)
        records = draw_records(rng)
        path, model_path = tmp_path / "rows.jsonl", tmp_path / "model.npz"
        categorical, missing = rng.choice([[], ["zip"], ["zip", "a"]]), rng.choice([[], ["NA"]])
        ignored = rng.choice([[], ["b"]])
        options = {"--categorical": categorical, "--missing": missing, "--ignore": ignored}
        arguments = ["learn", str(path), "-m", str(model_path), "--standardize", "--overwrite"]
        arguments += ["--seed", str(seed)]
        for option, names in options.items():
            arguments += [option, ",".join(names)] if names else []
        n = rng.randrange(len(records) + 1)
        write_jsonl(path, records)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, (seed, result.output)
        learned = load(model_path).model
        assert set(learned["RecordEncoder"].ignore) == {*ignored, "label"}, seed

        perceptron = SGDPerceptron(seed=seed)
        encoder = RecordEncoder(categorical, [*ignored, "label"], missing, vectors=False)
        pipeline = encoder | Standardizer() | perceptron
        for i, (x, y) in enumerate(stream.iter_source(path)):
            assert x == {
                name.strip(): v for name, v in records[i].items() if name.strip() != "label"
            }
            if i == n:  # goes on after it was saved and loaded
                file = io.BytesIO()
                save(pipeline, file)
                pipeline = load(io.BytesIO(file.getvalue())).model
            pipeline.learn_one(records[i] if rng.random() < 0.5 else x, y)

        ours, theirs = pipeline["SGDPerceptron"], learned["SGDPerceptron"]
        assert ours.features_ == theirs.features_
        for name in ("weights", "biases"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), seed
        for record in records:
            assert learned.predict_proba_one(record) == pipeline.predict_proba_one(record), seed


def draw_pipeline(rng, seed):
    """Return a new pipeline, which may lack a scaler."""
    rate, has_label = rng.choice([None, 0.1]), rng.random() < 0.5
    scaler = rng.choice([None, Standardizer])
    settings = {
        "categorical": rng.choice([None, "zip", ["zip", "a"]]),
        "ignore": rng.choice([["label"], ["label", "b"]] if has_label else [None, ["b"]]),
        "missing": rng.choice([None, ["NA"]]),
        "scale": rng.choice([None, 0.5]),
        "vectors": False,  # otherwise, each record decides in Python
    }

    steps = [RecordEncoder(**settings), *([scaler()] if scaler else [])]
    steps.append(SGDPerceptron(rate, seed=seed))
    return Pipeline(*((f"step {i}", step) for i, step in enumerate(steps)))


def capture_pipeline(pipeline):
    """Return what a pipeline has learned."""
    perceptron, scaler = [*pipeline.steps.values()][-1], [*pipeline.steps.values()][-2]
    names = getattr(scaler, "counts", {})
    statistics = {
        name: (scaler.counts[name], scaler.means[name], scaler.vars[name]) for name in names
    }
    return capture_state(perceptron), statistics, getattr(scaler, "standardized", None)


def test_python_and_the_command_line_learn_in_turns(tmp_path, run):
    """Both read and write one model file; whoever learns a record, the model is the same."""
    path, model_path = tmp_path / "rows.jsonl", tmp_path / "model.npz"
    for seed in get_seeds(CASES // 3 * CASE_FACTOR):
        rng = random.Random(seed)
        records = draw_records(rng)
        plain = draw_pipeline(rng, seed)
        save(plain, model_path)
        # The first record of all, not that of a part, decides whether rows are lists.
        samples_of_all = [*stream.iter_source(write_jsonl(path, records))]
        ends = sorted(rng.choices(range(len(records) + 1), k=3))
        for start, end in pairwise([0, *ends, len(records)]):
            part, samples = records[start:end], samples_of_all[start:end]
            write_jsonl(path, part)
            expected = [plain.predict_proba_one(x) for x, _ in samples]
            if part and start:
                lines = run("predict", path, "-m", model_path, "--scores", check=0).stdout
                scores = [json.loads(line)["scores"] for line in lines.splitlines()]
                assert scores == expected, seed
            for x, y in samples:
                plain.learn_one(x, y)
            if rng.random() < 0.5:
                loaded = load(model_path).model
                for x, y in samples:
                    loaded.learn_one(x, y)
                save(loaded, model_path)
            elif part:
                run("learn", path, "-m", model_path, "-q", check=0)
            assert capture_pipeline(load(model_path).model) == capture_pipeline(plain), seed


TYPED_CELLS = {
    "number": lambda rng: rng.choice([0.0, 1.0, 2.5, -3.0]),
    "flag": lambda rng: rng.random() < 0.5,
    "text": lambda rng: rng.choice(TEXTS[:6]),  # in CSV, "5" is a number
    "day": lambda rng: dt.date(2024, 3, rng.randrange(1, 29)),
    "time": lambda rng: dt.datetime(2024, 3, 5, rng.randrange(24), 7),
    "tags": lambda rng: rng.choice([["vip", "new"], ["new", "vip"], ["a b c d", None]]),
    "cart": lambda rng: rng.choice([[1, 2], [2, 1], [7]]),
    "object": lambda rng: {"b": rng.choice([1, 3]), "c": rng.choice(TEXTS)},
}
FRAMES = {
    "pandas": (pd.DataFrame, lambda frame: frame.to_dict("records")),
    "polars": (pl.DataFrame, lambda frame: frame.to_dicts()),
    "pyarrow": (pa.table, lambda frame: frame.to_pylist()),
}


def draw_frame(rng, library, n):
    """Return a frame of columns with nulls, and the dicts of its rows."""
    names = rng.sample([*TYPED_CELLS], rng.randrange(2, len(TYPED_CELLS) + 1))
    columns = {
        name: [None if rng.random() < 0.2 else TYPED_CELLS[name](rng) for _ in range(n)]
        for name in names
    }
    build, list_rows = FRAMES[library]
    frame = build({"first": [1.0] * n, **columns})
    return frame, list_rows(frame)


def test_frames_are_learned_and_predicted_like_their_rows():
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(seed)
        library, has_scaler = rng.choice([*FRAMES]), rng.random() < 0.5
        models = []
        for _ in range(2):
            model = SGDPerceptron(seed=seed)
            model = Standardizer() | model if has_scaler else model
            models.append(RecordEncoder(categorical="cart", vectors=False) | model)
        for _ in range(3):
            frame, rows = draw_frame(rng, library, rng.randrange(1, 9))
            labels = rng.choices("xy", k=len(rows))
            models[0].learn_many(frame, labels)
            if has_scaler:  # as in River's pipelines, the scaler learns the frame first
                for x in rows:
                    models[1]["Standardizer"].learn_one(models[1]["RecordEncoder"].transform_one(x))
            for x, y in zip(rows, labels, strict=True):
                encoded = models[1]["RecordEncoder"].transform_one(x)
                if has_scaler:
                    encoded = models[1]["Standardizer"].transform_one(encoded)
                models[1]["SGDPerceptron"].learn_one(encoded, y)
            assert capture_pipeline(models[0]) == capture_pipeline(models[1]), seed
            frame, rows = draw_frame(rng, library, 5)
            predicted = models[0].predict_many(frame)
            assert type(predicted).__module__.split(".")[0] == library, seed
            assert [*map(str, predicted)] == [models[0].predict_one(x) for x in rows], seed
            scores = FRAMES[library][1](models[0].predict_proba_many(frame))
            assert scores == [models[0].predict_proba_one(x) for x in rows], seed


def format_cell(value):
    """Return a cell as CSV and JSON spell it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.date) else value


def write_forms(folder, rows, labels):
    """Write rows in every format that can hold them; return the paths."""
    table = pa.Table.from_pylist(rows).append_column("label", pa.array(labels, pa.string()))
    paths = [folder / f"rows.{suffix}" for suffix in ("parquet", "arrow", "jsonl")]
    pq.write_table(table, paths[0], row_group_size=3)
    paths[1].write_bytes(encode_ipc(table, 4))
    records = [row | {"label": y} for row, y in zip(rows, labels, strict=True)]
    paths[2].write_text("".join(json.dumps(x, default=format_cell) + "\n" for x in records))
    if not any(isinstance(value, list | dict) for row in rows for value in row.values()):
        cells = [[*map(format_cell, record.values())] for record in records]
        paths.append(write_csv(folder / "rows.csv", records[0], cells))
    return paths


def test_every_form_of_a_record_is_learned_and_predicted_alike(tmp_path, run):
    """Compare files of each format, `iter_source`, `load(...).model` and frames."""
    n_forms = Counter()
    for seed in get_seeds(CASES // 10 * CASE_FACTOR):
        rng = random.Random(seed)
        kinds = rng.sample(sorted(TYPED_CELLS.keys() - {"object"}), rng.randrange(1, 5))
        rows = [
            {"first": 1.0}
            | {name: None if rng.random() < 0.2 else TYPED_CELLS[name](rng) for name in kinds}
            for _ in range(rng.randrange(1, 12))
        ]
        kinds = [name for name in kinds if any(row[name] is not None for row in rows)]
        rows = [{name: row[name] for name in ["first", *kinds]} for row in rows]
        labels, categorical = (
            rng.choices("xy", k=len(rows)),
            rng.choice([None, rng.choice(kinds or ["first"])]),
        )
        expected = expected_scores = None
        for path in write_forms(tmp_path, rows, labels):
            model_path = tmp_path / "model.npz"
            options = ["--categorical", categorical] if categorical else []
            run(
                "learn",
                path,
                "-m",
                model_path,
                "--overwrite",
                "--seed",
                seed,
                "-q",
                *options,
                check=0,
            )
            learned = load(model_path).model
            encoder = RecordEncoder(categorical, "label", vectors=False)
            pipeline = encoder | Standardizer() | SGDPerceptron(seed=seed)
            samples = [*stream.iter_source(path)]
            for x, y in samples:
                pipeline.learn_one(x, y)
            state = capture_pipeline(learned)
            expected = expected or state
            assert state == expected == capture_pipeline(pipeline), (seed, path.suffix)

            lines = run("predict", path, "-m", model_path, "--scores", check=0).stdout
            scores = [json.loads(line)["scores"] for line in lines.splitlines()]
            expected_scores = expected_scores or scores
            assert scores == expected_scores, (seed, path.suffix)
            assert scores == [learned.predict_proba_one(x) for x, _ in samples], seed
            n_forms[path.suffix] += 1
        for library, (build, list_rows) in FRAMES.items():
            frame = pa.Table.from_pylist(rows) if library == "pyarrow" else build(rows)
            assert list_rows(learned.predict_proba_many(frame)) == scores, (seed, library)
    assert len(n_forms) == 4
