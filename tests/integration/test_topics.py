"""The topic-to-topic recipes of docs/kafka.md lose nothing, whichever process is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from helpers import (
    CASE_FACTOR,
    COMMAND,
    kill_after_saves,
    kill_process_group,
    require_tool,
    wait_for,
    write_jsonl,
)

from stream_perceptron import LiveModel

ENDS = 12 * CASE_FACTOR  # of the recipe, by signals
MESSAGES = min(5000 * CASE_FACTOR, 50_000)
END_MARKER = {"partition": 9, "offset": 0}  # marks the end of predictions
FREQUENT_SAVES = ("-m topic.npz", "-m topic.npz --save-every 25 --lr 0.1 --quiet")


def make_message(i):
    rng = random.Random(i)
    x = [round(rng.gauss(0, 1), 3) for _ in range(4)]
    return {"x": x, "y": "up" if sum(x) + rng.gauss(0, 0.3) > 0 else "down"}


class Broker:
    """librdkafka's mock broker, with a topic that grows."""

    def __init__(self):
        self.producer = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0}
        )
        (broker,) = self.producer.list_topics("predictions", timeout=30).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self.n = 0

    def produce_messages(self, n):
        # One partition has a fixed order of messages, so that predictions can be compared.
        for _ in range(n):
            self.producer.produce("digits", json.dumps(make_message(self.n)).encode(), partition=0)
            self.producer.poll(0)
            self.n += 1
        assert self.producer.flush(30) == 0

    def count_predictions(self):
        """Return the number of predictions in their topic."""
        settings = {"bootstrap.servers": self.address, "group.id": "end", "log_level": 0}
        with closing(Consumer(settings)) as consumer:
            return consumer.get_watermark_offsets(TopicPartition("predictions", 0), 30)[1]


@pytest.fixture
def broker():
    for tool in ("kcat", "jq", "setsid", "pkill"):
        require_tool(tool)
    mock_broker = Broker()
    yield mock_broker
    mock_broker.producer.purge()


def predict_uninterrupted(folder, n):
    """Return the predictions of an uninterrupted run."""
    rows = [make_message(i) | {"partition": 0, "offset": i} for i in range(n)]
    source = write_jsonl(folder / "reference.jsonl", rows)
    result = subprocess.run(
        [COMMAND, "learn", source, "--position", "partition,offset", "-p", "-", "--lr", "0.1",
         "--quiet"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.splitlines()


def choose_start_offset(path, rng):
    """Return the offset to read from: the saved one, or sometimes the beginning."""
    offsets = LiveModel.load(path).redeliveries.offsets if path.exists() else {}
    return str(offsets[("0",)] + 1) if offsets and rng.random() < 0.75 else "beginning"


def end_recipe(name, process, path, rng):
    """End a running recipe by a random signal; return the signal, or None if it ended before."""
    max_delay = 0.01 if name == "kafka-topics" else 1
    saves, delay = rng.choice([0, 1, 2, 5]), rng.uniform(0, max_delay)
    if not kill_after_saves(process, path, saves, delay, 0):
        return None
    if name == "kafka-file":  # it may be learning or sending
        number = signal.SIGKILL
        os.killpg(process.pid, number)
        return number.name
    number = rng.choice([*[signal.SIGKILL] * 3, signal.SIGTERM, signal.SIGINT])
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does
    else:
        subprocess.run(["pkill", f"-{number.value}", "-P", str(process.pid), "stream-percept"])
    return number.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["kafka-topics", pytest.param("kafka-file", marks=pytest.mark.nightly)]
)
def test_recipe_loses_no_prediction_when_it_is_killed(
    name, broker, start_recipe, tmp_path, report_figure
):
    """Deduplicating consumers see the predictions of an uninterrupted run."""
    path, rng, ends = tmp_path / "topic.npz", random.Random(0), Counter()
    address = ("-b broker", f"-b {broker.address}")
    # At once, as the mock broker keeps only the last 5 MB of a partition.
    with (tmp_path / "once").open("w") as output:
        start_recipe("kafka-once", "once.errors", address, output=output)
    database = start_database(broker, start_recipe)
    while True:
        is_last = sum(ends.values()) >= ENDS
        broker.produce_messages(max(0, MESSAGES - broker.n) if is_last else MESSAGES // ENDS // 2)
        offset = (" -o beginning -J", f" -o {choose_start_offset(path, rng)} -e -J")
        offsets = [offset] if name == "kafka-topics" else []
        process = start_recipe(name, "errors", address, *offsets, FREQUENT_SAVES)
        if is_last:
            assert process.wait(120) == 0, (tmp_path / "errors").read_text()
            break
        if (end := end_recipe(name, process, path, rng)) is not None:
            ends[end] += 1
        if name == "kafka-topics":
            process.wait(120)
        kill_process_group(process)  # the learner's input
        if rng.random() < 2 / ENDS:
            kill_process_group(database)
            database = start_database(broker, start_recipe)
    n_delivered = broker.count_predictions()
    broker.producer.produce("predictions", json.dumps(END_MARKER).encode(), partition=0)
    assert broker.producer.flush(30) == 0
    wait_for(lambda: (tmp_path / "once").read_text().endswith(json.dumps(END_MARKER) + "\n"))
    received = (tmp_path / "once").read_text().splitlines()[:-1]
    expected = predict_uninterrupted(tmp_path, broker.n)
    wait_for(lambda: read_database(tmp_path)[-1:] == [json.dumps(END_MARKER)], database)

    report_figure(
        f"{name}: {broker.n:,} messages, ends {dict(ends)}, "
        f"{n_delivered - broker.n:,} lines were repeated, "
        f"{len({*expected} - {*received})} were lost, {len({*received} - {*expected})} differed"
    )
    assert received == expected
    assert read_database(tmp_path)[:-1] == expected


def start_database(broker, start_recipe):
    address = ('"broker"', f'"{broker.address}"')
    return start_recipe("kafka-database", "database.errors", address)


def read_database(folder):
    """Return the lines in the database, ordered by position."""
    with closing(sqlite3.connect(folder / "predictions.db")) as database:
        if not database.execute("SELECT * FROM sqlite_schema").fetchall():
            return []
        rows = database.execute("SELECT line FROM predictions ORDER BY part, place").fetchall()
        return [line for (line,) in rows]
