"""The recipes for brokers in docs/pipes.md, run unchanged with real brokers on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from helpers import end_group, free_port, is_listening, require_tool, samples_in, wait_for

from stream_perceptron import LiveModel

MESSAGES = [{"x": [i % 7, i % 5], "y": i % 2} for i in range(900)]


@pytest.fixture(scope="module")
def kafka():
    """The address of librdkafka's mock broker, with the messages in three partitions."""
    from confluent_kafka import Producer

    require_tool("kcat")
    require_tool("jq")
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=30).brokers.values()
    for i, message in enumerate(MESSAGES):
        producer.produce("digits", json.dumps(message).encode(), partition=i % 3)
    assert producer.flush(30) == 0
    yield f"-b {broker.host}:{broker.port}"
    producer.purge()


def test_a_topic_with_kills_and_replays(kafka, shell, tmp_path, tell):
    """The consumer learns each message exactly once, whatever kills it."""
    path, errors = tmp_path / "topic.npz", tmp_path / "errors"
    runs = kills = 0

    def consume(number):
        process = shell("kafka", "errors", ("-b broker", kafka))
        # The first rows print the roles of columns, the position last.
        wait_for(lambda: "position: partition, offset" in errors.read_text(), process)
        process.send_signal(number)
        assert process.wait(60) == (143 if number == signal.SIGTERM else -9), errors.read_text()
        end_group(process)  # the consumer's input

    while not path.exists() or samples_in(path) < 900:
        consume(signal.SIGKILL)
        kills += 1
        consume(signal.SIGTERM)
        runs += 1
    consume(signal.SIGTERM)
    live = LiveModel.load(path)

    tell(f"a topic of Kafka: {kills} kills, {runs + 1} runs ended, each message learned once")
    assert live.progress.samples == 900
    assert live.cursor.offsets == {("0",): 299, ("1",): 299, ("2",): 299}


def test_a_topic_by_many_learners(kafka, shell, tmp_path, run):
    """Every learner gets the base's messages again, and skips them."""
    with (tmp_path / "begin.jsonl").open("w") as file:
        for i, message in enumerate(MESSAGES[:300]):
            file.write(json.dumps(message | {"partition": i % 3, "offset": i // 3}) + "\n")
    base = tmp_path / "topic.npz"
    options = ["--position", "partition,offset"]
    run("learn", tmp_path / "begin.jsonl", "-m", base, *options, check=0)
    process = shell("kafka-many", "errors", ("-b broker", kafka))
    assert process.wait(120) == 0, (tmp_path / "errors").read_text()
    live = LiveModel.load(tmp_path / "mean.npz")

    assert (samples_in(base), live.progress.samples) == (300, 900)
    assert [samples_in(tmp_path / f"part-{part}.npz") for part in range(3)] == [500] * 3
    assert live.cursor.offsets == {("0",): 299, ("1",): 299, ("2",): 299}


@pytest.fixture
def server(tmp_path):
    """Start a server on a local port; return its address."""
    started = []

    def start(command, port):
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        log.close()
        started.append(process)
        wait_for(lambda: is_listening(port), process)
        return f"-h 127.0.0.1 -p {port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def publish(command, is_heard):
    """Publish a sample repeatedly until it is received, then others, and one with label 7."""
    sample = json.dumps(MESSAGES[0])
    while not is_heard():
        subprocess.run([*command, sample], check=True, capture_output=True)
        time.sleep(0.05)
    for message in [*MESSAGES[1:20], {"x": [0, 0], "y": 7}]:
        subprocess.run([*command, json.dumps(message)], check=True, capture_output=True)


def test_a_channel_of_redis(server, shell, tmp_path):
    for tool in ("redis-server", "redis-cli"):
        require_tool(tool)
    port = free_port()
    here = server(["redis-server", "--port", str(port), "--bind", "127.0.0.1"], port)
    process = shell("redis", "errors", ("-h redis", here))
    answers = tmp_path / "answers.jsonl"
    command = ["redis-cli", *here.split(), "PUBLISH", "samples"]
    publish(command, lambda: answers.exists() and answers.read_text())
    wait_for(lambda: 7 in labels_in(answers), process)

    assert [message["y"] for message in MESSAGES[1:20]] == labels_in(answers)[-20:-1]


def labels_in(path):
    """Return the labels of the whole lines of a file."""
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line)["label"] for line in lines]


def test_a_topic_of_mqtt(server, shell, tmp_path):
    for tool in ("mosquitto", "mosquitto_sub", "mosquitto_pub"):
        require_tool(tool)
    port = free_port()
    here = server(["mosquitto", "-p", str(port)], port)
    answers = (tmp_path / "answers").open("w+")
    subscriber = subprocess.Popen(
        ["mosquitto_sub", *here.split(), "-t", "predictions"], stdout=answers
    )
    process = shell("mqtt", "errors", ("-h mqtt", here))
    path = tmp_path / "answers"
    command = ["mosquitto_pub", *here.split(), "-t", "samples", "-m"]
    publish(command, path.read_text)
    wait_for(lambda: 7 in labels_in(path), process)
    subscriber.terminate()
    subscriber.wait(60)
    answers.close()

    assert [message["y"] for message in MESSAGES[1:20]] == labels_in(path)[-20:-1]
