"""The label of JSON is found by one rule, however records are split into files and runs."""

from __future__ import annotations

import json
import random
import re

import numpy as np
from click.testing import CliRunner
from helpers import CASE_FACTOR, get_seeds

from stream_perceptron import LiveModel
from stream_perceptron_cli.main import main

CASES = 80
NAMES = ["label", "class", "target", "y"]
SPELLINGS = [str, str.upper, str.title, " {}".format, "{} ".format]
NO_LABELS = [None, None, {"b": 3}, {}, "", " "]
LABELS = ["u", "v", 'w"', "\u00e4"]
MAX_LABEL_RECORDS = 100


def draw_key(rng):
    return rng.choice(SPELLINGS)(rng.choice(NAMES))


def draw_records(rng):
    """Return records whose label is late, nested, missing, misplaced or oddly spelled."""
    records, keys = [], [draw_key(rng) for _ in range(2)]
    n_before = rng.choice([0, 1, 3, 98, 99, 100])
    for i in range(n_before + rng.randrange(1, 12)):
        record = {"a": float("inf") if i and rng.random() < 0.05 else i % 7}
        if rng.random() < 0.2:
            record["in"] = {rng.choice(NAMES): rng.choice(LABELS)}
        if i >= n_before and rng.random() < 0.9:
            record[rng.choice(keys) if rng.random() < 0.3 else keys[0]] = rng.choice(LABELS)
        if rng.random() < 0.2:
            key = draw_key(rng)
            if key.strip() not in map(str.strip, record):  # it would be a duplicate
                record[key] = rng.choice(NO_LABELS)
        members = list(record.items())
        rng.shuffle(members)
        records.append(dict(members))
    return records


def find_labels(records):
    """Return the key of the label and the classes, or the names that could each be the label."""
    label, classes = None, {}
    for i, record in enumerate(records):
        candidates = [
            name.strip()
            for name, value in record.items()
            if name.strip().lower() in NAMES and not isinstance(value, dict | None)
        ]
        if label is None and i < MAX_LABEL_RECORDS and len(candidates) > 1:
            return candidates
        key = label or (candidates[0] if candidates and i < MAX_LABEL_RECORDS else None)
        values = {name.strip(): value for name, value in record.items()}
        value = values.get(key)
        if isinstance(value, str) and value.strip() and values["a"] != float("inf"):
            label, classes = key, classes | {value: None}
    return label, list(classes)


def learn(tmp_path, name, *runs):
    """Return what a model has learned from runs over files, or the names in an error."""
    path = tmp_path / f"{name}.npz"
    for file in (path, tmp_path / "out"):
        file.unlink(missing_ok=True)
    for run in runs:
        arguments = ["learn", *map(str, run), "-m", path, "-p", tmp_path / "out", "--skip-bad"]
        result = CliRunner().invoke(main, [*map(str, arguments), "-q", "--seed", "1"])
        if "could each be the label" in result.output:
            return re.findall(r"'([^']*)'", result.output.partition(".jsonl: ")[2])
        assert result.exit_code == 0 or "no usable row among" in result.output, result.output
    live = LiveModel.load(path)
    model = live.model
    return live.schema.label, model.classes_, model.features_, model.weights, model.biases


def test_label_is_found_by_one_rule(tmp_path):
    outcomes = set()
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(seed)
        records = draw_records(rng)
        lines = [json.dumps(r).replace("Infinity", "1e999") + "\n" for r in records]
        cut = rng.choice([1, len(lines) // 2, rng.randrange(len(lines))])
        paths = [tmp_path / f"{name}.jsonl" for name in ("whole", "first", "second")]
        for path, part in zip(paths, (lines, lines[:cut], lines[cut:]), strict=True):
            path.write_text("".join(part))
        expected = find_labels(records)
        outcomes.add(type(expected))
        whole = learn(tmp_path, "whole", paths[:1])
        # A model without labels is unused, so that a second run would start a new one.
        has_learned = cut > 0 and find_labels(records[:cut])[1] != []
        runs = [paths[1:2], paths[2:]] if has_learned and rng.random() < 0.5 else [paths[1:]]
        split = learn(tmp_path, "split", *runs)
        if isinstance(expected, list):
            assert whole == split == expected, seed
            continue
        assert (whole[0], list(whole[1])) == expected, (seed, lines)
        for one, other in zip(whole, split, strict=True):
            assert np.array_equal(one, other), seed
    assert outcomes == {list, tuple}
