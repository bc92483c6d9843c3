"""verify retrains a model from its recorded sources, and compares every bit."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import random
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, ROOT, TIMES, kill_after_saves, write_lines

from stream_perceptron import LiveModel, ModelSizeError, SGDPerceptron, VerificationError, save
from stream_perceptron.checkpoint.archive import read_checkpoint, to_bytes, write_checkpoint
from stream_perceptron.data import open_source
from stream_perceptron.model.weights import WeightStore
from stream_perceptron.verification import verify

FOLLOWS = "every bit of {} x {} weights follows from these sources\n"


@pytest.fixture
def proven(run):
    """Check that a model verifies from these sources."""

    def require(path, *sources):
        shape = LiveModel.load(path).model.weights.shape
        result = run("verify", path, *sources, check=0)
        assert result.stdout == f"{path}: {FOLLOWS.format(*shape)}"
        assert result.stderr == ""

    return require


@pytest.fixture
def refused(run):
    """Check that a model does not verify from these sources; return the reason."""

    def require(path, *sources):
        result = run("verify", path, *sources, check=1)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix(f"Error: {path}: ").rstrip()

    return require


def entries_of(path):
    return LiveModel.load(path).lineage.entries


def changed(path, change):
    """Write a changed checkpoint with a valid digest."""
    meta, arrays = read_checkpoint(path)
    change(meta, arrays)
    write_checkpoint(path, meta, arrays)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--passes", "3", "--limit", "150000"],
        ["--random", "--stop", "--epsilon", "1e-5"],
        ["--standardize", "--activation", "tanh"],
    ],
    ids=lambda options: " ".join(options) or "in order",
)
def test_a_run_that_was_killed_again_and_again_is_proven(options, digits, tmp_path, proven, tell):
    """Its lineage equals that of an uninterrupted run."""
    path, alone = tmp_path / "model.npz", tmp_path / "alone.npz"
    command = [COMMAND, "learn", digits["train"], "--save-every", "500", "--quiet", *options]
    subprocess.run([*command, "-m", alone], check=True)
    rng = random.Random(0)
    kills = 0
    while True:
        process = subprocess.Popen([*command, "-m", path])
        if kills < 2 * TIMES:
            kills += kill_after_saves(process, path, rng.choice([1, 5, 20]), rng.uniform(0, 0.1))
        if process.wait() == 0:
            break

    tell(f"verified after {kills} kills: {' '.join(options) or 'in order'}")
    assert kills > 0
    assert entries_of(alone) == entries_of(path)
    proven(path, digits["train"])


def test_another_rate_two_files_and_pipes(days, run, tmp_path, proven, refused):
    """The files given to verify have other names and another order."""
    path = tmp_path / "m.npz"
    run("learn", days[0], "-m", path, "--limit", 700, "--quiet", check=0)
    run("learn", days[0], "-m", path, "--lr", "0.2", "--quiet", check=0)
    run("learn", days[1], days[2], "-m", path, "--epsilon", "0.01", "--quiet", check=0)
    topic = tmp_path / "topic.jsonl"
    points = [{"a": i % 7 - 3, "b": i % 5, "class": "left"} for i in range(90)]
    points[40] = {"a": "bad"}
    topic.write_text("".join(json.dumps(point) + "\n" for point in points))
    for part in (points[:30], points[30:]):
        text = "".join(json.dumps(point) + "\n" for point in part)
        run("learn", "-m", path, "--skip-bad", "--quiet", input=text, check=0)
    sources = []
    for i, day in enumerate(days):
        sources.append(tmp_path / f"copy{i}")
        sources[-1].write_bytes(day.read_bytes())

    proven(path, topic, *reversed(sources))
    assert [(e.start, e.end, e.lr, e.epsilon) for e in entries_of(path)] == [
        (0, 700, 0.1, 3e-6), (700, 1500, 0.2, 3e-6), (0, 1500, 0.2, 0.01), (0, 1500, 0.2, 0.01),
        (0, 90, 0.2, 0.01),
    ]  # fmt: skip
    why = refused(path, *sources)
    assert "the files that stand for it lack the last 90 of these rows" in why
    topic.write_text(topic.read_text().replace('"bad"', "0"))
    why = refused(path, topic, *sources)
    assert why == "stdin: rows 1 to 90: rejected rows: 0 now, 1 when learned"


def test_a_text_file_that_has_grown_is_found_by_its_first_rows(run, tmp_path, proven, refused):
    path, source = tmp_path / "m.npz", tmp_path / "log.csv"
    lines = [f"{i % 7},{i % 3},{'x' if i % 7 > i % 3 else 'y'}\n" for i in range(200)]
    source.write_text("a,b,label\n" + "".join(lines[:120]))
    run("learn", source, "-m", path, "--quiet", check=0)
    source.write_text("a,b,label\n" + "".join(lines))
    proven(path, source)
    run("learn", source, "-m", path, "--lr", 1, "--quiet", check=0)
    with source.open("a") as file:
        file.write("1,2,z\n")

    proven(path, source)
    source.write_text(source.read_text().replace("6,2,x", "6,1,x", 1))
    assert refused(path, source).endswith("is not among the given sources")


def test_rows_that_came_again_are_left_out_again(run, tmp_path, proven):
    """Offsets identify them; the file may hold the topic with or without replays."""
    path = tmp_path / "m.npz"
    rows = [{"a": i % 7, "b": -i % 5, "label": i % 2, "offset": i} for i in range(300)]
    lines = [json.dumps(row) + "\n" for row in rows]
    deliveries = [lines[:100], lines[60:220], lines[200:]]
    for part in deliveries:
        run("learn", "-m", path, "--position", "offset", "--quiet", input="".join(part), check=0)
    once, as_it_came = tmp_path / "once.jsonl", tmp_path / "came.jsonl"
    once.write_text("".join(lines))
    as_it_came.write_text("".join("".join(part) for part in deliveries))

    assert [(entry.start, entry.end) for entry in entries_of(path)] == [(0, 300)]
    proven(path, once)
    proven(path, as_it_came)


def test_a_mean_is_proven_from_what_each_model_added(days, run, tmp_path, proven, refused):
    base, mean = tmp_path / "base.npz", tmp_path / "mean.npz"
    run("learn", days[0], "-m", base, "--limit", 1000, "--quiet", "--standardize", check=0)
    models = []
    for i, day in enumerate(days):
        models.append(tmp_path / f"{i}.npz")
        models[-1].write_bytes(base.read_bytes())
        # The first continues the base's file, so that its entry has the rows of both.
        run("learn", day, "-m", models[-1], "--lr", "0.03", "--quiet", check=0)
    run("average", *models, "--base", base, "-o", mean, check=0)
    run("learn", *days, "-m", mean, "--limit", 4500, "--quiet", check=0)
    assert LiveModel.load(mean).progress.samples == 4500  # each day was learned by a model
    run("learn", days[0], "-m", mean, "--again", "--limit", 10, "--quiet", check=0)

    proven(mean, *days)
    *_, average, last = entries_of(mean)
    assert {(entry.start, entry.end) for part in average.models for entry in part} == {
        (1000, 1500),
        (0, 1500),
    }
    assert (last.start, last.end) == (0, 10)
    assert f"{days[1]} " in refused(mean, days[0], days[2])


def test_a_weight_changed_by_one_bit_is_named(sample, run, tmp_path, refused):
    path = tmp_path / "m.npz"
    run("learn", sample, "-m", path, "--quiet", check=0)
    shown = run("verify", path, sample, check=0).stdout
    weight = LiveModel.load(path).model.weights[7, 400]
    other = np.nextafter(weight, 9)
    changed(path, lambda _, arrays: arrays["weights"].__setitem__((7, 400), other))
    assert (
        f"the weight of class 7 for feature 'pixel400' is {float(other)!r}, "
        f"but the sources give {float(weight)!r}"
    ) == refused(path, sample)
    page = (ROOT / "docs" / "checkpoints.md").read_text()
    assert f"m.npz: {refused(path, sample)}\n" in page
    assert shown.endswith("m.npz: every bit of 10 x 784 weights follows from these sources\n")


def test_a_weight_of_another_zero_is_named(run, tmp_path, refused):
    """Positive and negative zero are equal, but not bit-identical."""
    path, source = tmp_path / "m.npz", tmp_path / "zeros.csv"
    source.write_text("a,label\n1,x\n2,y\n")
    run("learn", source, "-m", path, "--init-range", 0, "--epsilon", 9, "--quiet", check=0)

    changed(path, lambda _, arrays: arrays["weights"].__setitem__((0, 0), -0.0))
    assert "the weight of class 'x' for feature 'a' is -0.0, but the sources give 0.0" == (
        refused(path, source)
    )


def test_a_pixel_changed_is_noticed(sample, run, tmp_path, refused):
    path, source = tmp_path / "m.npz", tmp_path / "digits.parquet"
    source.write_bytes(sample.read_bytes())
    run("learn", source, "-m", path, "--quiet", check=0)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    table = pq.read_table(source)
    pixels = [bytearray(picture) for picture in table["pixels"].to_pylist()]
    pixels[3000][200] ^= 1
    column = pa.array(list(map(bytes, pixels)), table.schema.field("pixels").type)
    pq.write_table(table.set_column(0, table.schema.field("pixels"), column), source)

    size = f"{sample.stat().st_size:,} bytes"
    why = f"({size}, SHA-256 {digest[:12]}...) is not among the given sources"
    assert refused(path, source) == f"{source} {why}"
    assert f"mnist-sample.parquet {why}\n" in (ROOT / "docs" / "checkpoints.md").read_text()


def _without_first(meta, _):
    del meta["run"]["lineage"]["entries"][0]


def _with_another_rate(meta, _):
    meta["run"]["lineage"]["entries"][1]["lr"] = 0.03


def _with_fewer_rows(meta, _):
    meta["run"]["lineage"]["entries"][1]["end"] -= 1


def _with(values):
    return lambda meta, _: meta["run"]["lineage"]["entries"][1].update(values)


def _with_more_rows(meta, _):
    meta["run"]["lineage"]["entries"][1]["end"] += 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without_first, "the number of its samples is 2500, but the sources give 1500"),
        (_with_another_rate, ", but the sources give "),
        (_with_fewer_rows, "the number of its samples is 2500, but the sources give 2499"),
        (_with_more_rows, "rows 1 to 1,501: "),
        (_with({"lr": "x"}), "lr is not a JSON object"),
        (_with({"unit": "rounds"}), "has an inconsistent lineage"),
        (_with({"start": 9000}), "has an inconsistent lineage"),
    ],
)
def test_a_lineage_that_was_changed_is_noticed(change, why, days, run, tmp_path, refused):
    path = tmp_path / "m.npz"
    run("learn", days[0], "-m", path, "--limit", 1000, "--quiet", check=0)
    run("learn", days[1], "-m", path, "--lr", "0.02", "--quiet", check=0)
    changed(path, change)

    sources = days[1:2] if change is _without_first else days[:2]
    assert why in refused(path, *sources)


def test_what_has_no_record_is_refused(sample, run, tmp_path, refused):
    """Such are models made or trained in Python, and models of the other kernel."""
    model = SGDPerceptron(seed=0)
    model.learn_one({f"pixel{i}": 1.0 for i in range(784)}, 1)
    in_python, path, numpy = (tmp_path / f"{name}.npz" for name in "abc")
    save(model, in_python)
    run("learn", sample, "-m", in_python, "--quiet", check=0)
    run("learn", sample, "-m", path, "--quiet", check=0)
    live = LiveModel.load(path)
    live.model.learn_one({"pixel0": 1.0}, 1)
    live.save(path)
    subprocess.run(
        [COMMAND, "learn", sample, "-m", numpy, "--quiet"], check=True,
        env={"STREAM_PERCEPTRON_KERNEL": "numpy"},
    )  # fmt: skip

    assert refused(in_python, sample).startswith("was partly learned in Python")
    assert refused(path, sample) == "the number of its samples is 5001, but the sources give 5000"
    assert refused(numpy, sample).startswith("was learned with the numpy kernel")


def test_a_source_too_many_and_a_pipe(sample, days, run, tmp_path, refused):
    path = tmp_path / "m.npz"
    run("learn", sample, "-m", path, "--quiet", check=0)

    assert f"{days[0]} is not one of the sources that it learned from" == (
        refused(path, sample, days[0])
    )
    assert refused(path, "/dev/stdin").startswith("/dev/stdin can be read only once")


def test_inspect_shows_what_a_model_was_learned_from(days, run, tmp_path):
    path = tmp_path / "m.npz"
    run("learn", days[0], "-m", path, "--limit", 1000, "--quiet", check=0)
    run("learn", days[1], "-m", path, "--random", "--limit", 500, "--quiet", check=0)
    shown = run("inspect", path, check=0).stdout.partition("learned from\n")[2]
    shown = " ".join(shown.split())  # undo line breaks
    entries = json.loads(run("inspect", path, "--json", check=0).stdout)["lineage"]["entries"]

    assert shown.startswith(f"{days[0]} (")
    assert f"): rows 1 to 1,000, lr 0.1, epsilon 3e-06 {days[1]} (" in shown
    assert "): draws 1 to 500, lr 0.1, epsilon 3e-06 files" in shown
    assert [(entry["start"], entry["end"]) for entry in entries] == [(0, 1000), (0, 500)]


@pytest.mark.parametrize("error", [MemoryError, ModelSizeError])
def test_a_model_that_does_not_fit_any_more_is_one_line(error, days, run, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    run("learn", days[0], "-m", path, "--limit", 100, "--quiet", check=0)
    live, sources = LiveModel.load(path), [open_source(str(days[0]))]

    def refuse(*_):
        raise error

    monkeypatch.setattr(WeightStore, "grow", refuse)
    with pytest.raises(VerificationError, match="rows 1 to 100: does not fit in memory"):
        verify(live, sources)


# Parts of a saved run that its rows do not decide: settings, and what was reported.
UNDECIDED = {
    ("model", "lr"), ("model", "epsilon"), ("model", "max_weights"), ("model", "classes"),
    ("model", "seed"), ("model", "init_range"), ("run", "progress", "reported_row"),
}  # fmt: skip


def leaves_of(value, path=()):
    """Yield the place of each number and text in JSON."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(part, dict | list):
            yield from leaves_of(part, (*path, key))
        elif part is not None:
            yield (*path, key)


def altered(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return np.nextafter(value, 9) if isinstance(value, float) else value + 1


def histories(tmp_path, run):
    """Yield models of several histories with their sources."""
    rows = [
        {"t": "uv"[i % 2], "a": i % 7, "o": i, "label": None if i % 9 == 0 else "xy"[i % 7 > 3]}
        for i in range(1500)
    ]
    table = write_lines(tmp_path / "table.jsonl", rows)
    path = tmp_path / "table.npz"
    table_options = ["--one-hot", "t", "--standardize", "--position", "o"]
    run("learn", table, "-m", path, *table_options, "-q", check=0)
    yield path, [table]
    late = []
    for i in range(300):
        late.append({"id": i, "a": i % 5, "b": 1 - i % 2})
        if i >= 20:
            late.append({"id": i - 20, "label": "xy"[i % 3 > 1]})
    joined = write_lines(tmp_path / "joined.jsonl", late)
    path = tmp_path / "joined.npz"
    run("learn", joined, "-m", path, "--join", "id", "-q", check=0)
    yield path, [joined]
    plain = [{"a": i % 7, "b": i % 3, "label": "xy"[i % 7 > 3]} for i in range(900)]
    log, old, path = tmp_path / "a.log", tmp_path / "a.log.1", tmp_path / "rotated.npz"
    write_lines(log, plain[:400])
    run("learn", log, "-m", path, "--format", "jsonl", "-q", check=0)
    log.rename(old)
    with old.open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in plain[400:600])
    write_lines(log, plain[600:])
    run("learn", old, log, "-m", path, "--format", "jsonl", "-q", check=0)
    yield path, [log, old]
    parts = [write_lines(tmp_path / f"{i}.jsonl", plain[i::3]) for i in range(3)]
    base, merged = tmp_path / "base.npz", tmp_path / "merged.npz"
    run("learn", parts[0], "-m", base, "-q", check=0)
    for i in (1, 2):
        shutil.copy(base, tmp_path / f"{i}.npz")
        run("learn", parts[i], "-m", tmp_path / f"{i}.npz", "-q", check=0)
    models = [tmp_path / "1.npz", tmp_path / "2.npz"]
    run("average", *models, "--base", base, "-o", merged, check=0)
    yield merged, parts
    table, path = tmp_path / "shards.parquet", tmp_path / "shards.npz"
    pq.write_table(pa.Table.from_pylist(plain), table, row_group_size=200)
    sharded = ["--ray", "--shards", 2, "--round-rows", 200]
    run("learn", table, "-m", path, *sharded, "-q", check=0)
    yield path, [table]


def test_whatever_is_changed_in_the_state_is_named(tmp_path, run):
    rng, n = np.random.default_rng(0), 0
    for path, sources in histories(tmp_path, run):
        run("verify", path, *sources, check=0)
        meta, arrays = read_checkpoint(path)
        places = [
            place
            for place in leaves_of(meta)
            if place[:3] not in UNDECIDED and place[:2] not in UNDECIDED
            and (place[0] == "model" or place[1:2] in [("progress",), ("schema",), ("waiting",)])
        ]  # fmt: skip
        places += [(name,) for name in arrays for _ in range(3) if arrays[name].size]
        some = rng.permutation(len(places))[: TIMES * len(places) // 3]
        for place in [places[i] for i in some]:
            changed_meta, others = copy.deepcopy(meta), dict(arrays)
            if len(place) == 1:
                array = arrays[place[0]].copy()
                bits = array.reshape(-1).view(np.uint8)
                bits[rng.integers(len(bits))] ^= 1
                others[place[0]] = array
            else:
                parent = functools.reduce(lambda part, key: part[key], place[:-1], changed_meta)
                parent[place[-1]] = altered(parent[place[-1]])
            path.write_bytes(to_bytes(changed_meta, others))
            result = run("verify", path, *sources)
            assert result.returncode == 1, place
            assert result.stderr.startswith(f"Error: {path}: "), place
            assert result.stderr.count("\n") == 1, place
            n += 1
    assert n > 80
