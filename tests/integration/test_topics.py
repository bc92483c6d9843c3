"""The topic-to-topic recipes of docs/kafka.md lose nothing, whichever process is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
from contextlib import closing

import pytest
from helpers import (
    CASE_FACTOR,
    COMMAND,
    kill_after_saves,
    kill_process_group,
    require_tool,
    wait_for,
    write_jsonl,
)

ENDS = 12 * CASE_FACTOR  # of the recipe, by signals
MESSAGES = min(5000 * CASE_FACTOR, 50_000)
END_MARKER = {"partition": 9, "offset": 0}  # marks the end of predictions
FREQUENT_SAVES = ("-m topic.npz", "-m topic.npz --save-every 25 --lr 0.1 --quiet")


def make_message(i):
    rng = random.Random(i)
    x = [round(rng.gauss(0, 1), 3) for _ in range(4)]
    return {"x": x, "y": "up" if sum(x) + rng.gauss(0, 0.3) > 0 else "down"}


def produce_messages(producer, numbers):
    """Produce messages in one partition, whose order is fixed, so that predictions are, too."""
    for i in numbers:
        producer.produce("digits", json.dumps(make_message(i)).encode(), partition=0)
        producer.poll(0)
    assert producer.flush(30) == 0


def predict_uninterrupted(folder, n):
    """Return the predictions of an uninterrupted run."""
    rows = [make_message(i) | {"partition": 0, "offset": i} for i in range(n)]
    source = write_jsonl(folder / "reference.jsonl", rows)
    options = ["--position", "partition,offset", "-p", "-", "--lr", "0.1", "--quiet"]
    return subprocess.check_output([COMMAND, "learn", source, *options], text=True).splitlines()


def end_recipe(name, process, path, rng):
    """End a running recipe by a random signal; return whether it was still running."""
    delay = rng.uniform(0, 0.01 if name == "kafka-topics" else 1)
    if not kill_after_saves(process, path, rng.choice([0, 1, 2, 5]), delay, 0):
        return False
    number = rng.choice([*[signal.SIGKILL] * 3, signal.SIGTERM, signal.SIGINT])
    if name == "kafka-file":  # it may be learning or sending
        number = signal.SIGKILL
    if name == "kafka-file" or number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does
    else:
        subprocess.run(["pkill", f"-{number.value}", "-P", str(process.pid), "stream-percept"])
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["kafka-topics", pytest.param("kafka-file", marks=pytest.mark.nightly)]
)
def test_recipe_loses_no_prediction_when_it_is_killed(name, kafka, start_recipe, tmp_path):
    """Deduplicating consumers see the predictions of an uninterrupted run."""
    for tool in ("setsid", "pkill"):
        require_tool(tool)
    (producer, address), path = kafka, tmp_path / "topic.npz"
    rng, n_ends, n = random.Random(0), 0, 0
    # At once, as the mock broker keeps only the last 5 MB of a partition.
    with (tmp_path / "once").open("w") as output:
        start_recipe("kafka-once", "once.errors", address, output=output)
    database = start_recipe("kafka-database", "database.errors", address)
    while True:
        is_last = n_ends >= ENDS
        n_before, n = n, max(n, MESSAGES) if is_last else n + MESSAGES // ENDS // 2
        produce_messages(producer, range(n_before, n))
        ending = [(" -o beginning -J", " -o beginning -e -J")] if name == "kafka-topics" else []
        process = start_recipe(name, "errors", address, *ending, FREQUENT_SAVES)
        if is_last:
            assert process.wait(120) == 0, (tmp_path / "errors").read_text()
            break
        n_ends += end_recipe(name, process, path, rng)
        if name == "kafka-topics":
            process.wait(120)
        kill_process_group(process)  # the learner's input
        if rng.random() < 2 / ENDS:
            kill_process_group(database)
            database = start_recipe("kafka-database", "database.errors", address)
    producer.produce("predictions", json.dumps(END_MARKER).encode(), partition=0)
    assert producer.flush(30) == 0
    wait_for(lambda: (tmp_path / "once").read_text().endswith(json.dumps(END_MARKER) + "\n"))
    received = (tmp_path / "once").read_text().splitlines()[:-1]
    expected = predict_uninterrupted(tmp_path, n)
    wait_for(lambda: read_database(tmp_path)[-1:] == [json.dumps(END_MARKER)], database)

    assert received == expected
    assert read_database(tmp_path)[:-1] == expected


def read_database(folder):
    """Return the lines in the database, ordered by position."""
    with closing(sqlite3.connect(folder / "predictions.db")) as database:
        if not database.execute("SELECT * FROM sqlite_schema").fetchall():
            return []
        rows = database.execute("SELECT line FROM predictions ORDER BY part, place").fetchall()
        return [line for (line,) in rows]
