"""A consumer that is killed and replays its topic learns every message exactly once."""

from __future__ import annotations

import json
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.csv
import pytest
from helpers import COMMAND, TIMES, outcome_in

from stream_perceptron import LiveModel

LANES = 2  # at once, as there are two cores


def topic(n):
    """Messages of three partitions, some unlabeled, some bad."""
    rng = random.Random(0)
    offsets = [100, 0, 7]
    lines = []
    for i in range(n):
        partition = rng.randrange(3)
        x = [rng.gauss(0, 1), rng.gauss(0, 1)]
        row = {"x": x, "y": int(sum(x) > 0), "partition": partition, "offset": offsets[partition]}
        offsets[partition] += rng.choice([1, 1, 1, 5])
        if i % 10 == 3:
            del row["y"]
        if i % 50 == 7:
            row["x"] = ["bad", 1]
        lines.append(json.dumps(row).encode() + b"\n")
    return lines


def consume(folder):
    return [
        COMMAND, "learn", "-m", folder / "model.npz", "-p", folder / "predictions.jsonl",
        "--position", "partition,offset", "--skip-bad", "--save-every", "97", "--quiet",
        "--seed", "0", "--lr", "0.1",
    ]  # fmt: skip


def seen(path):
    """Return the number of messages seen by a checkpoint."""
    return LiveModel.load(path).cursor.read if path.exists() else 0


@pytest.mark.slow
def test_a_topic_replayed_after_each_kill(tmp_path, tell):
    lines = topic(6000)
    reference = tmp_path / "reference"
    reference.mkdir()
    subprocess.run(consume(reference), input=b"".join(lines), check=True)
    expected = outcome_in(reference)

    def lane(number):
        rng = random.Random(number)
        kills = runs = replayed = 0
        while kills < 6 * TIMES / LANES or not replayed:
            folder = tmp_path / f"{number}-{runs}"
            folder.mkdir()
            runs += 1
            while True:
                known = seen(folder / "model.npz")
                start = rng.randint(0, known)
                replayed += known - start
                process = subprocess.Popen(
                    consume(folder), stdin=subprocess.PIPE, stderr=subprocess.PIPE
                )
                # Sometimes the kill comes after the topic's end.
                position, stop = start, start + rng.randint(1, 5000)
                while position < min(stop, len(lines)):
                    end = position + rng.randint(1, 60)
                    try:
                        process.stdin.write(b"".join(lines[position:end]))
                        process.stdin.flush()
                    except BrokenPipeError:
                        break
                    position = end
                    time.sleep(0.002)  # slow down, as a topic does
                if position < len(lines):
                    time.sleep(rng.uniform(0, 0.2))
                    process.kill()
                    kills += 1
                errors = process.communicate()[1]
                assert process.returncode in (0, -9), errors
                if process.returncode == 0:
                    break
            assert outcome_in(folder) == expected
        return kills, runs, replayed

    with ThreadPoolExecutor(LANES) as pool:
        lanes = list(pool.map(lane, range(LANES)))
    kills, runs, replayed = (sum(counts) for counts in zip(*lanes, strict=True))

    tell(
        f"topic: {kills} kills over {runs} runs, {replayed:,} messages came again, all ended alike"
    )
    assert kills >= 6 * TIMES
    assert replayed > 0


def test_next_offsets_are_shown_and_positions_echoed(tmp_path, run):
    lines = topic(600)
    (tmp_path / "topic.jsonl").write_bytes(b"".join(lines))
    path = tmp_path / "model.npz"
    subprocess.run(consume(tmp_path), input=b"".join(lines[:300]), check=True)
    again = run("learn", tmp_path / "topic.jsonl", "-m", path, "--skip-bad", "--json", check=0)
    figures = json.loads(again.stdout)
    contents = json.loads(run("inspect", path, "--json", check=0).stdout)
    predictions = (tmp_path / "predictions.jsonl").read_text().splitlines()
    predicted = run("predict", tmp_path / "topic.jsonl", "-m", path, "--skip-bad", check=0)

    messages = [json.loads(line) for line in lines]
    last = {m["partition"]: m["offset"] for m in messages}
    assert contents["position"] == ["partition", "offset"]
    assert contents["next_offsets"] == [
        {"partition": str(part), "offset": last[part] + 1} for part in range(3)
    ]
    assert figures["redelivered"] == 300
    assert figures["samples"] + figures["unlabeled"] + figures["skipped"] == 600
    good = [(m["partition"], m["offset"]) for m in messages if "bad" not in m["x"]]
    for output in (predictions, predicted.stdout.splitlines()):
        echoed = [(record["partition"], record["offset"]) for record in map(json.loads, output)]
        assert good[: len(echoed)] == echoed


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_positions_in_columns(form, tmp_path, run):
    """A single increasing field, and a text as partition."""
    table = pa.table(
        {
            "topic": ["a", "a", "b", "a", "b", "a"],
            "offset": [1, 2, 1, 2, 3, 4],
            "v": [1.0, -1.0, 2.0, 9.0, -2.0, 3.0],
            "label": ["p", "n", "p", "n", "n", "p"],
        }
    )
    source = tmp_path / "source"
    if form == "csv":
        pa.csv.write_csv(table, source)
    else:
        with pa.OSFile(str(source), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    by_topic = run("learn", source, "--position", "topic,offset", "--json", check=0)
    by_offset = run("learn", source, "--position", "offset", "--json", "--ignore", "topic", check=0)
    wrong = run("learn", source, "--position", "offset,topic", check=1)
    missing = run("learn", source, "--position", "nowhere", check=1)

    assert tuple(json.loads(by_topic.stdout)[k] for k in ("samples", "redelivered")) == (5, 1)
    assert tuple(json.loads(by_offset.stdout)[k] for k in ("samples", "redelivered")) == (4, 2)
    assert "whole number" in wrong.stderr
    assert "there is no position column 'nowhere'" in missing.stderr
