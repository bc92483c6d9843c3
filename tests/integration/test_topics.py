"""The recipes of docs/pipes.md from topic to topic lose nothing, whatever is killed."""

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
    COMMAND,
    TIMES,
    end_group,
    kill_after_saves,
    require_tool,
    wait_for,
)

from stream_perceptron import LiveModel

# One partition has a fixed order of messages, so that predictions can be compared.
KILLS = 12 * TIMES
MESSAGES = min(5000 * TIMES, 50_000)
LAST = {"partition": 9, "offset": 0}  # marks the end of predictions
SAVING = ("-m topic.npz", "-m topic.npz --save-every 25 --lr 0.1 --quiet")


def message(i):
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

    def grow(self, n):
        for _ in range(n):
            self.producer.produce("digits", json.dumps(message(self.n)).encode(), partition=0)
            self.producer.poll(0)
            self.n += 1
        assert self.producer.flush(30) == 0

    def end(self):
        """Return the number of delivered predictions."""
        settings = {"bootstrap.servers": self.address, "group.id": "end", "log_level": 0}
        with closing(Consumer(settings)) as consumer:
            return consumer.get_watermark_offsets(TopicPartition("predictions", 0), 30)[1]


@pytest.fixture
def broker():
    for tool in ("kcat", "jq", "setsid"):
        require_tool(tool)
    opened = Broker()
    yield opened
    opened.producer.purge()


def expected_lines(folder, n):
    """Return the predictions of an uninterrupted run."""
    source = folder / "reference.jsonl"
    source.write_text(
        "".join(json.dumps(message(i) | {"partition": 0, "offset": i}) + "\n" for i in range(n))
    )
    done = subprocess.run(
        [COMMAND, "learn", source, "--position", "partition,offset", "-p", "-", "--lr", "0.1",
         "--quiet"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


class Learner:
    """The learner of a recipe, a child of the recipe's shell."""

    def __init__(self, shell):
        self.pid = 0  # 0 until found; it may have ended before
        wait_for(lambda: self._find(shell.pid) or shell.poll() is not None)

    def _find(self, shell):
        with suppress(FileNotFoundError, ProcessLookupError):
            for number in Path(f"/proc/{shell}/task/{shell}/children").read_text().split():
                words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
                if b"learn" in words and b"-c" not in words:  # skip a shell before its exec
                    self.pid = int(number)
        return self.pid

    def poll(self):
        return None if self.pid and Path(f"/proc/{self.pid}").exists() else 0

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("learn", seconds)
            time.sleep(0.001)

    def send_signal(self, number):
        """Send a signal; SIGINT to the whole group, as Ctrl-C does."""
        if not self.pid:
            return  # signalling 0 would reach the tests themselves
        with suppress(ProcessLookupError):
            os.kill(self.pid if number != signal.SIGINT else -os.getpgid(self.pid), number)


def start_of(path, rng):
    """Return the offset to read from: the saved one, or sometimes the beginning."""
    offsets = LiveModel.load(path).cursor.offsets if path.exists() else {}
    return str(offsets[("0",)] + 1) if offsets and rng.random() < 0.75 else "beginning"


@pytest.mark.slow
def test_predictions_of_a_topic_in_a_topic(broker, shell, tmp_path, tell):
    """Signals end the learner; consumers that drop repeats see the predictions of a whole run."""
    path, rng = tmp_path / "topic.npz", random.Random(0)
    here = ("-b broker", f"-b {broker.address}")
    start_consumer(shell, here, tmp_path)
    database = start_database(broker, shell)
    ends = {"SIGKILL": 0, "SIGTERM": 0, "SIGINT": 0}
    while True:
        is_last = ends["SIGKILL"] >= KILLS
        broker.grow(max(0, MESSAGES - broker.n) if is_last else 3 * MESSAGES // KILLS // 5)
        reading = (" -o beginning -J", f" -o {start_of(path, rng)} -e -J")
        process = shell("kafka-topics", "errors", here, reading, SAVING)
        if not is_last:
            end = rng.choice(["SIGKILL", "SIGKILL", *ends])
            saves, more = rng.choice([0, 1, 2, 5]), rng.uniform(0, 0.01)
            number = getattr(signal, end)
            ends[end] += kill_after_saves(Learner(process), path, saves, more, number)
        process.wait(120)
        end_group(process)  # the learner's input
        if rng.random() < 2 / KILLS:
            end_group(database)
            database = start_database(broker, shell)
        if is_last:
            break
    delivered = broker.end()
    found, expected = consumed(broker, tmp_path), expected_lines(tmp_path, broker.n)
    wait_for(lambda: kept_in(tmp_path)[-1:] == [json.dumps(LAST)], database)

    tell(
        f"a topic to a topic: {broker.n:,} messages, ends of the learner {ends}, "
        f"{delivered - broker.n:,} lines came again, {len({*expected} - {*found})} were lost, "
        f"{len({*found} - {*expected})} differed"
    )
    assert found == expected
    assert kept_in(tmp_path)[:-1] == expected
    assert LiveModel.load(path).cursor.untaken == ""


def start_consumer(shell, here, folder):
    """Read predictions as they come, as the mock broker keeps only the last 5 MB of a partition."""
    with (folder / "once").open("w") as once:
        shell("kafka-once", "once.errors", here, output=once)


def consumed(broker, folder):
    """Return the consumer's output after the last prediction."""
    broker.producer.produce("predictions", json.dumps(LAST).encode(), partition=0)
    assert broker.producer.flush(30) == 0
    wait_for(lambda: (folder / "once").read_text().endswith(json.dumps(LAST) + "\n"))
    return (folder / "once").read_text().splitlines()[:-1]


def start_database(broker, shell):
    address = ('"broker"', f'"{broker.address}"')
    return shell("kafka-database", "database.errors", address)


def kept_in(folder):
    """Return the lines in the database, ordered by position."""
    path = folder / "predictions.db"
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
        rows = database.execute("SELECT line FROM predictions ORDER BY part, place").fetchall()
        return [line for (line,) in rows]
    return []


@pytest.mark.slow
def test_predictions_by_way_of_a_file(broker, shell, tmp_path, tell):
    """The whole recipe is killed at once while it learns or sends."""
    path, rng = tmp_path / "topic.npz", random.Random(0)
    here, errors = ("-b broker", f"-b {broker.address}"), tmp_path / "errors"
    kills = {"learner": 0, "sender": 0}
    start_consumer(shell, here, tmp_path)
    while sum(kills.values()) < 4 * TIMES or 0 in kills.values():
        broker.grow(300)
        process = shell("kafka-file", "errors", here, SAVING)
        victim = rng.choice(list(kills))
        if victim == "learner":
            saves = rng.choice([0, 1, 2, 5])
            kills[victim] += kill_after_saves(process, path, saves, rng.uniform(0, 0.01))
        else:
            wait_for(lambda process=process: is_sending(process) or process.poll() is not None)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 0.05))
            kills[victim] += process.poll() is None
        end_group(process)
    process = shell("kafka-file", "errors", here, SAVING)
    assert process.wait(120) == 0, errors.read_text()
    delivered = broker.end()
    found, expected = consumed(broker, tmp_path), expected_lines(tmp_path, broker.n)

    tell(
        f"a topic to a topic by way of a file: {broker.n:,} messages, kills {kills}, "
        f"{delivered - broker.n:,} lines came again, {len({*expected} - {*found})} were lost"
    )
    assert (tmp_path / "predictions.jsonl").read_text().splitlines() == expected
    assert found == expected


def is_sending(shell):
    """Whether a recipe has reached its last step."""
    for number in os.listdir("/proc"):
        with suppress(FileNotFoundError, NotADirectoryError, ProcessLookupError):
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"kcat", b"-P"] and os.getpgid(int(number)) == shell.pid:
                return True
    return False
