"""A consumer that is killed, and whose topic is redelivered, learns each message exactly once."""

from __future__ import annotations

import json
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.csv
import pytest
from helpers import CASE_FACTOR, COMMAND, encode_ipc, read_outputs

from stream_perceptron import LiveModel

N_WORKERS = 2  # in parallel, as there are two cores


def generate_messages(n):
    """Return messages of three partitions, some unlabeled and some invalid."""
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


def consume_command(folder):
    return [
        COMMAND, "learn", "-m", folder / "model.npz", "-p", folder / "predictions.jsonl",
        "--position", "partition,offset", "--skip-bad", "--save-every", "97", "--quiet",
        "--seed", "0", "--lr", "0.1",
    ]  # fmt: skip


def count_read_messages(path):
    """Return the number of messages that the run of a checkpoint has read."""
    return LiveModel.load(path).history.run.read if path.exists() else 0


@pytest.mark.slow
def test_topic_redelivered_after_each_kill_is_learned_once(tmp_path, report_figure):
    lines = generate_messages(6000)
    reference = tmp_path / "reference"
    reference.mkdir()
    subprocess.run(consume_command(reference), input=b"".join(lines), check=True)
    expected = read_outputs(reference)

    def run_consumers(seed):
        rng = random.Random(seed)
        kills = runs = n_redelivered = 0
        while kills < 6 * CASE_FACTOR / N_WORKERS or not n_redelivered:
            folder = tmp_path / f"{seed}-{runs}"
            folder.mkdir()
            runs += 1
            while True:
                n_read = count_read_messages(folder / "model.npz")
                start = rng.randint(0, n_read)
                n_redelivered += n_read - start
                process = subprocess.Popen(
                    consume_command(folder), stdin=subprocess.PIPE, stderr=subprocess.PIPE
                )
                # Sometimes the kill comes after the end of the topic.
                next_index, stop = start, start + rng.randint(1, 5000)
                while next_index < min(stop, len(lines)):
                    end = next_index + rng.randint(1, 60)
                    try:
                        process.stdin.write(b"".join(lines[next_index:end]))
                        process.stdin.flush()
                    except BrokenPipeError:
                        break
                    next_index = end
                    time.sleep(0.002)  # slow down, as a topic does
                if next_index < len(lines):
                    time.sleep(rng.uniform(0, 0.2))
                    process.kill()
                    kills += 1
                errors = process.communicate()[1]
                assert process.returncode in (0, -9), errors
                if process.returncode == 0:
                    break
            assert read_outputs(folder) == expected
        return kills, runs, n_redelivered

    with ThreadPoolExecutor(N_WORKERS) as pool:
        worker_counts = list(pool.map(run_consumers, range(N_WORKERS)))
    kills, runs, n_redelivered = (sum(counts) for counts in zip(*worker_counts, strict=True))

    report_figure(
        f"topic: {kills} kills over {runs} runs, {n_redelivered:,} redelivered, all identical"
    )
    assert kills >= 6 * CASE_FACTOR
    assert n_redelivered > 0


def test_next_offsets_are_shown_and_offsets_copied_to_predictions(tmp_path, run):
    lines = generate_messages(600)
    (tmp_path / "topic.jsonl").write_bytes(b"".join(lines))
    path = tmp_path / "model.npz"
    subprocess.run(consume_command(tmp_path), input=b"".join(lines[:300]), check=True)
    second_run = run("learn", tmp_path / "topic.jsonl", "-m", path, "--skip-bad", "--json", check=0)
    figures = json.loads(second_run.stdout)
    contents = json.loads(run("inspect", path, "--json", check=0).stdout)
    predictions = (tmp_path / "predictions.jsonl").read_text().splitlines()
    predicted = run("predict", tmp_path / "topic.jsonl", "-m", path, "--skip-bad", check=0)

    messages = [json.loads(line) for line in lines]
    last = {m["partition"]: m["offset"] for m in messages}
    assert contents["next_offsets"] == [
        {"partition": str(part), "offset": last[part] + 1} for part in range(3)
    ]
    assert figures["redelivered"] == 300
    assert figures["samples"] + figures["unlabeled"] + figures["skipped"] == 600
    valid_offsets = [(m["partition"], m["offset"]) for m in messages if "bad" not in m["x"]]
    for output in (predictions, predicted.stdout.splitlines()):
        copied = [(record["partition"], record["offset"]) for record in map(json.loads, output)]
        assert valid_offsets[: len(copied)] == copied


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_offsets_are_read_from_columns(form, tmp_path, run):
    """An offset column is given alone, or with a text column as the partition."""
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


@pytest.mark.parametrize("form", ["csv", "arrow", "file"])
def test_redelivered_rows_of_other_formats_are_read_once(form, tmp_path, run):
    """Rows 3 and 5 have no offset, and row 4 repeats row 2."""
    rows = [("p", 1, 0.5), ("p", 2, 1.5), ("p", None, 9.0), ("p", 2, 1.5), ("p", None, 9.0)]
    rows.append(("p", 3, 2.5))
    table = pa.table(
        {
            "p": [row[0] for row in rows],
            "o": pa.array([row[1] for row in rows], pa.int64()),
            "a": [row[2] for row in rows],
            "y": ["u", "v", "u", "v", "u", "v"],
        }
    )
    source, options = tmp_path / "source", ["--position", "p,o", "--json", "--quiet"]
    if form == "csv":
        lines = ["p,o,a,y", *(f"{p},{'' if o is None else o},{a},u" for p, o, a in rows)]
        source.write_text("\n".join(lines) + "\n")
    else:
        new_writer = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
        source.write_bytes(encode_ipc(table, 2, new_writer))

    result = run("learn", source, *options, "--rejected", tmp_path / "r.jsonl", check=0)

    figures = json.loads(result.stdout)
    assert (figures["samples"], figures["skipped"], figures["redelivered"]) == (3, 2, 1)
    rejected = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert [row["row"] for row in rejected] == [3, 5]
