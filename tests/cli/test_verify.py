"""verify retrains a model from its recorded sources, and compares every bit."""

from __future__ import annotations

import copy
import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import CASE_FACTOR, ROOT, encode_jsonl, write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, save
from stream_perceptron.checkpoint.archive import read_checkpoint, to_bytes, write_checkpoint
from stream_perceptron.checkpoint.encoding import decode
from stream_perceptron.model.rates import format_lr

VERIFIED_MESSAGE = "every bit of the {} x {} weights follows from these sources\n"


@pytest.fixture
def assert_verified(run):
    """A function that checks that a model is verified with these sources."""

    def run_verify(path, *sources):
        shape = LiveModel.load(path).model.weights.shape
        result = run("verify", path, *sources, check=0)
        assert result.stdout == f"{path}: {VERIFIED_MESSAGE.format(*shape)}"
        assert result.stderr == ""

    return run_verify


@pytest.fixture
def get_verify_error(run):
    """A function that checks that verify fails with these sources, and returns the reason."""

    def run_verify(path, *sources):
        result = run("verify", path, *sources, check=1)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix(f"Error: {path}: ").rstrip()

    return run_verify


def load_entries(path):
    return LiveModel.load(path).history.entries


def modify_checkpoint(path, change):
    """Change a checkpoint in place, with a valid digest."""
    meta, arrays = read_checkpoint(path)
    change(meta, arrays)
    write_checkpoint(path, meta, arrays)


def test_runs_with_other_rates_files_and_pipes_are_verified(
    daily_files, run, tmp_path, assert_verified, get_verify_error
):
    """verify gets the files under other names and in another order."""
    path = tmp_path / "m.npz"
    run("learn", daily_files[0], "-m", path, "--limit", 700, "-q", check=0)
    run("learn", daily_files[0], "-m", path, "--lr", "0.2", "-q", check=0)
    run("learn", *daily_files[1:], "-m", path, "--epsilon", "0.01", "-q", check=0)
    points = [{"a": i % 7 - 3, "b": i % 5, "class": "left"} for i in range(90)]
    points[40] |= {"class": ["bad"]}
    topic = write_jsonl(tmp_path / "topic.jsonl", points)
    for part in (points[:30], points[30:]):
        run("learn", "-m", path, "--skip-bad", "-q", input=encode_jsonl(part).decode(), check=0)
    sources = []
    for i, day in enumerate(daily_files):
        sources.append(tmp_path / f"copy{i}")
        sources[-1].write_bytes(day.read_bytes())

    assert_verified(path, topic, *reversed(sources))
    entries = load_entries(path)
    assert [(e.start, e.end, format_lr(decode(e.lr)), e.epsilon) for e in entries] == [
        (0, 700, "0.5:0.1", 3e-6), (700, 1500, "0.2", 3e-6), (0, 1500, "0.2", 0.01),
        (0, 1500, "0.2", 0.01), (0, 90, "0.2", 0.01),
    ]  # fmt: skip
    reason = get_verify_error(path, *sources)
    assert "the files that stand for it lack the last 90 of these rows" in reason
    topic.write_text(topic.read_text().replace('["bad"]', '"left"'))
    reason = get_verify_error(path, topic, *sources)
    assert reason == "stdin: rows 1 to 90: rejected rows: 0 now, 1 when learned"


def test_weight_changed_by_one_bit_is_reported(mnist_sample, run, tmp_path, get_verify_error):
    path = tmp_path / "m.npz"
    run("learn", mnist_sample, "-m", path, "--quiet", check=0)
    weight = float(LiveModel.load(path).model.weights[7, 400])
    changed = float(np.nextafter(weight, 9))
    modify_checkpoint(path, lambda _, arrays: arrays["weights"].__setitem__((7, 400), changed))
    error = get_verify_error(path, mnist_sample)

    feature = "weights (class 7, feature 'pixel400')"
    assert error == f"{feature}: {changed!r}, but the sources give {weight!r}"
    assert f"m.npz: {error}\n" in (ROOT / "docs" / "checkpoints.md").read_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lr": 0.03}, ", but the sources give "),
        ({"end": 1499}, "n_seen: 2500, but the sources give 2499"),
        ({"end": 1501}, "rows 1 to 1,501: "),
        ({"lr": "x"}, "choose a finite number above 0"),
        ({"unit": "rounds"}, "has an inconsistent history"),
        ({"start": 9000}, "has an inconsistent history"),
    ],
)
def test_changed_history_is_detected(change, reason, daily_files, run, tmp_path, get_verify_error):
    path = tmp_path / "m.npz"
    run("learn", daily_files[0], "-m", path, "--limit", 1000, "--quiet", check=0)
    run("learn", daily_files[1], "-m", path, "--lr", "0.02", "--quiet", check=0)
    modify_checkpoint(path, lambda meta, _: meta["state"]["history"]["entries"][1].update(change))

    assert reason in get_verify_error(path, *daily_files[:2])


def test_model_that_its_sources_cannot_reproduce_is_rejected(
    mnist_sample, run, tmp_path, get_verify_error
):
    """Examples are models created or trained in Python."""
    model = SGDPerceptron(seed=0)
    model.learn_one({f"pixel{i}": 1.0 for i in range(784)}, 1)
    in_python, path = (tmp_path / f"{name}.npz" for name in "ab")
    save(model, in_python)
    run("learn", mnist_sample, "-m", in_python, "--quiet", check=0)
    run("learn", mnist_sample, "-m", path, "--quiet", check=0)
    live = LiveModel.load(path)
    live.model.learn_one({"pixel0": 1.0}, 1)
    live.save(path)

    assert get_verify_error(in_python, mnist_sample).startswith("was partly trained in Python")
    assert get_verify_error(path, mnist_sample) == "n_seen: 5001, but the sources give 5000"


# Parts of a checkpoint that the rows do not determine: settings, and the last reported row.
NOT_VERIFIED = {
    ("model", "lr"), ("model", "lr_in_use"), ("model", "epsilon"), ("model", "max_weights"),
    ("model", "classes"), ("model", "seed"), ("model", "init_range"), ("model", "has_indicators"),
}  # fmt: skip


def iterate_leaf_keys(value, path=()):
    """Yield the keys that lead to each scalar in a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(part, dict | list):
            yield from iterate_leaf_keys(part, (*path, key))
        elif part is not None:
            yield (*path, key)


def alter_value(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return np.nextafter(value, 9) if isinstance(value, float) else value + 1


def build_histories(tmp_path, run):
    """Yield models with different histories, each with its sources."""
    rows = [
        {"t": "uv"[i % 2], "a": i % 7, "o": i, "label": None if i % 9 == 0 else "xy"[i % 7 > 3]}
        for i in range(1500)
    ]
    table = write_jsonl(tmp_path / "table.jsonl", rows)
    path = tmp_path / "table.npz"
    table_options = ["--categorical", "t", "--standardize", "--position", "o"]
    run("learn", table, "-m", path, *table_options, "-q", check=0)
    yield path, [table]
    late = []
    for i in range(300):
        late.append({"id": i, "a": i % 5, "b": 1 - i % 2})
        if i >= 20:
            late.append({"id": i - 20, "label": "xy"[i % 3 > 1]})
    joined = write_jsonl(tmp_path / "joined.jsonl", late)
    path = tmp_path / "joined.npz"
    run("learn", joined, "-m", path, "--join", "id", "-q", check=0)
    yield path, [joined]
    plain = [{"a": i % 7, "b": i % 3, "label": "xy"[i % 7 > 3]} for i in range(900)]
    log, old, path = tmp_path / "a.log", tmp_path / "a.log.1", tmp_path / "rotated.npz"
    write_jsonl(log, plain[:400])
    run("learn", log, "-m", path, "--format", "jsonl", "-q", check=0)
    log.rename(old)
    with old.open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in plain[400:600])
    write_jsonl(log, plain[600:])
    run("learn", old, log, "-m", path, "--format", "jsonl", "-q", check=0)
    yield path, [log, old]
    table, path = tmp_path / "shards.parquet", tmp_path / "shards.npz"
    pq.write_table(pa.Table.from_pylist(plain), table, row_group_size=200)
    run("distribute", table, "-m", path, "--shards", 2, "--round-rows", 200, "-q", check=0)
    yield path, [table]


@pytest.mark.slow
def test_any_change_of_the_learned_state_is_detected(tmp_path, run):
    rng, n = np.random.default_rng(0), 0
    for path, sources in build_histories(tmp_path, run):
        run("verify", path, *sources, check=0)
        meta, arrays = read_checkpoint(path)
        key_paths = [
            keys
            for keys in iterate_leaf_keys(meta)
            if keys[:3] not in NOT_VERIFIED and keys[:2] not in NOT_VERIFIED
            and (keys[0] == "model" or keys[1:2] in [("progress",), ("schema",), ("pending",)])
        ]  # fmt: skip
        order = rng.permutation(len(key_paths))[: CASE_FACTOR * len(key_paths) // 8]
        chosen = [key_paths[i] for i in order]
        chosen += [(name,) for name in arrays for _ in range(CASE_FACTOR) if arrays[name].size]
        for keys in chosen:
            changed_meta, changed_arrays = copy.deepcopy(meta), dict(arrays)
            if len(keys) == 1:
                array = arrays[keys[0]].copy()
                array_bytes = array.reshape(-1).view(np.uint8)
                array_bytes[rng.integers(len(array_bytes))] ^= 1
                changed_arrays[keys[0]] = array
            else:
                parent = functools.reduce(lambda part, key: part[key], keys[:-1], changed_meta)
                parent[keys[-1]] = alter_value(parent[keys[-1]])
            path.write_bytes(to_bytes(changed_meta, changed_arrays))
            result = run("verify", path, *sources)
            assert result.returncode == 1, keys
            assert result.stderr.startswith(f"Error: {path}: "), keys
            assert result.stderr.count("\n") == 1, keys
            n += 1
    assert n > 50
