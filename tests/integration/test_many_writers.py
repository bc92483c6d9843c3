"""The recipe of docs/pipes.md for connections over TCP, and writers that share a FIFO."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import subprocess
import threading

from helpers import (
    CASE_FACTOR,
    COMMAND,
    count_samples,
    find_free_port,
    is_listening,
    kill_process_group,
    require_tool,
    wait_for,
)

N_WRITERS = 8
LINES_PER_WRITER = 200 * CASE_FACTOR


def encode_samples(writer):
    """Return the samples of a writer; some lines have PIPE_BUF bytes, the longest atomic write."""
    rng = random.Random(writer)
    lines = []
    for i in range(LINES_PER_WRITER):
        sample = {"id": f"{writer}-{i}", "x": [i % 7, i % 5], "label": i % 2, "note": ""}
        max_padding = select.PIPE_BUF - len(json.dumps(sample)) - 1
        sample["note"] = "n" * rng.choice([0, rng.randint(0, max_padding), max_padding])
        lines.append(json.dumps(sample).encode() + b"\n")
    return lines


def run_writers(function):
    threads = [threading.Thread(target=function, args=(writer,)) for writer in range(N_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_each_sample_is_predicted(predictions):
    """Check the IDs of predictions; a torn line would be skipped or have another ID."""
    ids = [json.loads(line)["id"] for line in predictions]
    for writer in range(N_WRITERS):
        ids_of_writer = [name for name in ids if name.startswith(f"{writer}-")]
        assert ids_of_writer == [f"{writer}-{i}" for i in range(LINES_PER_WRITER)]
    assert len(ids) == N_WRITERS * LINES_PER_WRITER


def test_concurrent_tcp_connections_tear_no_line(start_recipe, tmp_path, report_figure):
    """TCP segments may end within a line, and a connection may be lost there."""
    require_tool("socat")
    port = find_free_port()
    predictions = tmp_path / "answers"
    with predictions.open("w") as output:
        process = start_recipe(
            "socat", "errors", ("TCP-LISTEN:9000", f"TCP-LISTEN:{port}"), output=output
        )
    wait_for(lambda: is_listening(port), process)

    def send(writer):
        rng, data = random.Random(writer), b"".join(encode_samples(writer))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data:
                n = rng.choice([1, 100, 5000, 50_000])
                client.sendall(data[:n])
                data = data[n:]

    with socket.create_connection(("127.0.0.1", port)) as lost_client:
        lost_client.sendall(b'{"id": "lost", "x": [1, 2')
    run_writers(send)
    wait_for(lambda: predictions.read_bytes().count(b"\n") >= N_WRITERS * LINES_PER_WRITER, process)
    kill_process_group(process)

    report_figure(
        f"{N_WRITERS} connections over TCP: {N_WRITERS * LINES_PER_WRITER:,} lines, none was torn"
    )
    assert_each_sample_is_predicted(predictions.read_text().splitlines())


def test_writers_that_share_a_fifo_tear_no_line(tmp_path):
    """Lines of up to PIPE_BUF bytes stay whole if each is written in one call."""
    fifo, model = tmp_path / "shared", tmp_path / "many.npz"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [COMMAND, "learn", fifo, "-m", model, "-p", tmp_path / "answers", "--keep", "id", "--quiet"]
    )
    open_fifo = os.open(fifo, os.O_WRONLY)

    def write(writer):
        for part in range(2):  # a writer may close the FIFO and open it again
            with fifo.open("wb", buffering=0) as file:
                for line in encode_samples(writer)[part::2]:
                    file.write(line)

    run_writers(write)
    os.close(open_fifo)
    assert process.wait(60) == 0

    assert N_WRITERS * LINES_PER_WRITER == count_samples(model)
    lines = (tmp_path / "answers").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == N_WRITERS * LINES_PER_WRITER
