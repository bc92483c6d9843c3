"""The topic-to-topic recipes of docs/pipes.md lose nothing, whichever process is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from helpers import (
    CASE_FACTOR,
    COMMAND,
    kill_after_saves,
    kill_process_group,
    require_tool,
    wait_for,
)

from stream_perceptron import LiveModel

# One partition has a fixed order of messages, so that predictions can be compared.
KILLS = 8 * CASE_FACTOR
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
    for tool in ("kcat", "jq", "setsid"):
        require_tool(tool)
    mock_broker = Broker()
    yield mock_broker
    mock_broker.producer.purge()


def predict_uninterrupted(folder, n):
    """Return the predictions of an uninterrupted run."""
    source = folder / "reference.jsonl"
    source.write_text(
        "".join(
            json.dumps(make_message(i) | {"partition": 0, "offset": i}) + "\n" for i in range(n)
        )
    )
    result = subprocess.run(
        [COMMAND, "learn", source, "--position", "partition,offset", "-p", "-", "--lr", "0.1",
         "--quiet"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.splitlines()


class Learner:
    """The learner of a recipe, a child of the recipe's shell."""

    def __init__(self, recipe):
        self.pid = 0  # 0 until it is found; it may have ended already
        wait_for(lambda: self._find(recipe.pid) or recipe.poll() is not None)

    def _find(self, shell_pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            for number in Path(f"/proc/{shell_pid}/task/{shell_pid}/children").read_text().split():
                arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
                if b"learn" in arguments and b"-c" not in arguments:  # skip a shell before its exec
                    self.pid = int(number)
        return self.pid

    def poll(self):
        return None if self.pid and Path(f"/proc/{self.pid}").exists() else 0

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("learn", seconds)
            time.sleep(0.001)

    def send_signal(self, number):
        """Send a signal; SIGINT to the whole group, as Ctrl-C does."""
        if not self.pid:
            return  # a signal to process 0 would reach the tests themselves
        with suppress(ProcessLookupError):
            os.kill(self.pid if number != signal.SIGINT else -os.getpgid(self.pid), number)


def choose_start_offset(path, rng):
    """Return the offset to read from: the saved one, or sometimes the beginning."""
    offsets = LiveModel.load(path).redeliveries.offsets if path.exists() else {}
    return str(offsets[("0",)] + 1) if offsets and rng.random() < 0.75 else "beginning"


@pytest.mark.slow
def test_topic_recipe_loses_no_prediction_when_the_learner_is_killed(
    broker, start_recipe, tmp_path, report_figure
):
    """Deduplicating consumers see the predictions of an uninterrupted run."""
    path, rng = tmp_path / "topic.npz", random.Random(0)
    broker_replacement = ("-b broker", f"-b {broker.address}")
    start_consumer(start_recipe, broker_replacement, tmp_path)
    database = start_database(broker, start_recipe)
    signal_counts = {"SIGKILL": 0, "SIGTERM": 0, "SIGINT": 0}
    while True:
        is_last = signal_counts["SIGKILL"] >= KILLS
        broker.produce_messages(
            max(0, MESSAGES - broker.n) if is_last else 3 * MESSAGES // KILLS // 5
        )
        offset_replacement = (" -o beginning -J", f" -o {choose_start_offset(path, rng)} -e -J")
        process = start_recipe(
            "kafka-topics", "errors", broker_replacement, offset_replacement, FREQUENT_SAVES
        )
        if not is_last:
            signal_name = rng.choice(["SIGKILL", "SIGKILL", *signal_counts])
            saves, delay = rng.choice([0, 1, 2, 5]), rng.uniform(0, 0.01)
            number = getattr(signal, signal_name)
            signal_counts[signal_name] += kill_after_saves(
                Learner(process), path, saves, delay, number
            )
        process.wait(120)
        kill_process_group(process)  # the learner's input
        if rng.random() < 2 / KILLS:
            kill_process_group(database)
            database = start_database(broker, start_recipe)
        if is_last:
            break
    n_delivered = broker.count_predictions()
    received, expected = (
        read_consumed_lines(broker, tmp_path),
        predict_uninterrupted(tmp_path, broker.n),
    )
    wait_for(lambda: read_database(tmp_path)[-1:] == [json.dumps(END_MARKER)], database)

    report_figure(
        f"a topic to a topic: {broker.n:,} messages, ends of the learner {signal_counts}, "
        f"{n_delivered - broker.n:,} lines were repeated, "
        f"{len({*expected} - {*received})} were lost, "
        f"{len({*received} - {*expected})} differed"
    )
    assert received == expected
    assert read_database(tmp_path)[:-1] == expected


def start_consumer(start_recipe, broker_replacement, folder):
    """Start a consumer at once, as the mock broker keeps only the last 5 MB of a partition."""
    with (folder / "once").open("w") as output_file:
        start_recipe("kafka-once", "once.errors", broker_replacement, output=output_file)


def read_consumed_lines(broker, folder):
    """Send the end marker; return the lines that the consumer has received before it."""
    broker.producer.produce("predictions", json.dumps(END_MARKER).encode(), partition=0)
    assert broker.producer.flush(30) == 0
    wait_for(lambda: (folder / "once").read_text().endswith(json.dumps(END_MARKER) + "\n"))
    return (folder / "once").read_text().splitlines()[:-1]


def start_database(broker, start_recipe):
    address = ('"broker"', f'"{broker.address}"')
    return start_recipe("kafka-database", "database.errors", address)


def read_database(folder):
    """Return the lines in the database, ordered by position."""
    path = folder / "predictions.db"
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
        rows = database.execute("SELECT line FROM predictions ORDER BY part, place").fetchall()
        return [line for (line,) in rows]
    return []


@pytest.mark.nightly
def test_file_recipe_loses_no_prediction_when_it_is_killed(
    broker, start_recipe, tmp_path, report_figure
):
    """All processes of the recipe are killed at once, while it learns or sends."""
    path, rng = tmp_path / "topic.npz", random.Random(0)
    broker_replacement, errors = ("-b broker", f"-b {broker.address}"), tmp_path / "errors"
    kills = {"learner": 0, "sender": 0}
    start_consumer(start_recipe, broker_replacement, tmp_path)
    while sum(kills.values()) < 4 * CASE_FACTOR or 0 in kills.values():
        broker.produce_messages(300)
        process = start_recipe("kafka-file", "errors", broker_replacement, FREQUENT_SAVES)
        victim = rng.choice(list(kills))
        if victim == "learner":
            saves = rng.choice([0, 1, 2, 5])
            kills[victim] += kill_after_saves(process, path, saves, rng.uniform(0, 0.01))
        else:
            wait_for(lambda process=process: is_sending(process) or process.poll() is not None)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 0.05))
            kills[victim] += process.poll() is None
        kill_process_group(process)
    process = start_recipe("kafka-file", "errors", broker_replacement, FREQUENT_SAVES)
    assert process.wait(120) == 0, errors.read_text()
    n_delivered = broker.count_predictions()
    received, expected = (
        read_consumed_lines(broker, tmp_path),
        predict_uninterrupted(tmp_path, broker.n),
    )

    report_figure(
        f"a topic to a topic by way of a file: {broker.n:,} messages, kills {kills}, "
        f"{n_delivered - broker.n:,} lines were repeated, "
        f"{len({*expected} - {*received})} were lost"
    )
    assert (tmp_path / "predictions.jsonl").read_text().splitlines() == expected
    assert received == expected


def is_sending(recipe):
    """Return whether a recipe has reached its last step."""
    for number in os.listdir("/proc"):
        with suppress(FileNotFoundError, NotADirectoryError, ProcessLookupError):
            arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            if arguments[:2] == [b"kcat", b"-P"] and os.getpgid(int(number)) == recipe.pid:
                return True
    return False
