"""Run the command in a fork for a shell whose PATH leads to a client of this process."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from forked import FORK_CONTEXT, run_child

CLIENT = """#!{python} -IS
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    variables = [f"{{name}}={{value}}" for name, value in os.environ.items()]
    words = [os.getcwd(), str(len(variables)), *variables, *sys.argv[1:]]
    socket.send_fds(server, [os.fsencode("\\0".join(words))], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    code = int(server.makefile().read())
sys.exit(code if code >= 0 else 128 - code)
"""

# `pick NAME...` prints some values of the JSON objects that it reads.
PICK = """#!{python} -IS
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(*(json.dumps(row.get(name), ensure_ascii=False) for name in sys.argv[1:]))
"""


@contextmanager
def serve_commands(folder):
    """Yield the environment of a shell that runs `stream-perceptron` in forks of this process."""
    address = str(folder / "socket")
    for name, script in (("stream-perceptron", CLIENT), ("pick", PICK)):
        (folder / name).write_text(script.format(python=sys.executable, address=address))
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield {"PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _accept(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_run, args=(client,), daemon=True).start()


def _run(client):
    with client:
        words, descriptors, *_ = socket.recv_fds(client, 2**17, 3)
        folder, n, *words = os.fsdecode(words).split("\0")
        environment = dict(variable.split("=", 1) for variable in words[: int(n)])
        connections = [Connection(descriptor) for descriptor in descriptors]
        process = FORK_CONTEXT.Process(
            target=run_child, args=(words[int(n) :], environment, folder, connections)
        )
        process.start()
        for connection in connections:
            connection.close()
        process.join()
        client.sendall(str(process.exitcode).encode())
