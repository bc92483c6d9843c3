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
    COMMAND,
    TIMES,
    end_group,
    free_port,
    is_listening,
    require_tool,
    samples_in,
    wait_for,
)

WRITERS = 8
LINES = 200 * TIMES


def lines_of(writer):
    """Return the samples of a writer; some lines have PIPE_BUF bytes, the longest atomic write."""
    rng = random.Random(writer)
    lines = []
    for i in range(LINES):
        sample = {"id": f"{writer}-{i}", "x": [i % 7, i % 5], "label": i % 2, "note": ""}
        room = select.PIPE_BUF - len(json.dumps(sample)) - 1
        sample["note"] = "n" * rng.choice([0, rng.randint(0, room), room])
        lines.append(json.dumps(sample).encode() + b"\n")
    return lines


def in_threads(function):
    threads = [threading.Thread(target=function, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def require_an_answer_for_each_line(answers):
    """Check the ids of answers; a torn line would be skipped or have another id."""
    found = [json.loads(line)["id"] for line in answers]
    for writer in range(WRITERS):
        own = [name for name in found if name.startswith(f"{writer}-")]
        assert own == [f"{writer}-{i}" for i in range(LINES)]
    assert len(found) == WRITERS * LINES


def test_connections_that_send_at_once(shell, tmp_path, tell):
    """Segments may end within a line."""
    require_tool("socat")
    port = free_port()
    answers = tmp_path / "answers"
    with answers.open("w") as output:
        process = shell("socat", "errors", ("TCP-LISTEN:9000", f"TCP-LISTEN:{port}"), output=output)
    wait_for(lambda: is_listening(port), process)

    def send(writer):
        rng, data = random.Random(writer), b"".join(lines_of(writer))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data:
                n = rng.choice([1, 100, 5000, 50_000])
                client.sendall(data[:n])
                data = data[n:]

    in_threads(send)
    wait_for(lambda: answers.read_bytes().count(b"\n") >= WRITERS * LINES, process)
    end_group(process)

    tell(f"{WRITERS} connections over TCP: {WRITERS * LINES:,} lines, none was torn")
    require_an_answer_for_each_line(answers.read_text().splitlines())


def test_writers_that_share_a_fifo(tmp_path):
    """Lines of up to PIPE_BUF bytes stay whole, each in one write to a FIFO held open."""
    fifo, model = tmp_path / "shared", tmp_path / "many.npz"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [COMMAND, "learn", fifo, "-m", model, "-p", tmp_path / "answers", "--keep", "id", "--quiet"]
    )
    holder = os.open(fifo, os.O_WRONLY)

    def write(writer):
        for part in range(2):  # a writer may leave and return
            with fifo.open("wb", buffering=0) as file:
                for line in lines_of(writer)[part::2]:
                    file.write(line)

    in_threads(write)
    os.close(holder)
    assert process.wait(60) == 0

    assert WRITERS * LINES == samples_in(model)
    found = (tmp_path / "answers").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in found}) == WRITERS * LINES
