"""Each row of a folder is learned once, however its files are moved, rotated, grown and copied."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections import Counter

import pytest
from folders import require_learned_once
from helpers import CASE_FACTOR, COMMAND, kill_after_saves

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS = 3  # run in parallel
CASES = 60
MIN_KILLS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_each_row_of_a_changing_folder_is_learned_once(part, tmp_path, monkeypatch, report_figure):
    n, counts = CASES * CASE_FACTOR // PARTS, Counter()
    for seed in range(part * n, (part + 1) * n):
        folder = tmp_path / str(seed)
        folder.mkdir()
        counts += require_learned_once(random.Random(seed), folder, monkeypatch)

    count_names = ("cases", "changes", "rows", "whole", "limit", "signal", "crash", "rejected")
    report_figure(
        f"folders, part {part}: " + ", ".join(f"{counts[name]:,} {name}" for name in count_names)
    )
    assert counts["learned"] > n / 2


class Logs:
    """Files that a thread appends to and rotates; each row has its own ID."""

    def __init__(self, folder, seed):
        self.folder, self.n_rows = folder, 0
        self.current_files = [folder / f"{name}.jsonl" for name in "abc"]
        self._rng, self._is_stopped = random.Random(seed), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        for path in self.current_files:
            self._append(path, 500)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_stopped.set()
        self._thread.join()

    def files(self):
        return sorted(self.folder.glob("*.jsonl*"))

    def _append(self, path, n):
        rows = (
            {"id": i, "a": i % 7 - 3, "label": "xy"[i % 7 > 3]}
            for i in range(self.n_rows, self.n_rows + n)
        )
        with path.open("a") as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in rows))
        self.n_rows += n

    def _write(self):
        n_rotated = 0
        while not self._is_stopped.wait(0.002):
            path = self._rng.choice(self.current_files)
            if self._rng.random() < 0.01:
                n_rotated += 1
                path.rename(path.with_name(f"{path.name}.{n_rotated:04}"))
            self._append(path, self._rng.randrange(1, 40))


@pytest.mark.slow
def test_rows_of_growing_files_are_predicted_once_despite_kills(tmp_path, report_figure):
    """Each row has exactly one prediction, though files are rotated and runs are killed."""
    folder, model, predictions = tmp_path / "logs", tmp_path / "m.npz", tmp_path / "p.jsonl"
    folder.mkdir()
    rng, kills, runs = random.Random(0), 0, 0
    options = ["-m", model, "-p", predictions, "--keep", "id", "--ignore", "id", "--quiet"]
    with Logs(folder, 0) as logs:
        while kills < MIN_KILLS * CASE_FACTOR:
            files = rng.sample(logs.files(), len(logs.files()))
            command = [COMMAND, "learn", *files, *options, "--save-every", "100"]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            kills += kill_after_saves(process, model, rng.choice([0, 1, 3]), rng.uniform(0, 0.1))
            runs += 1
            error = process.communicate()[1]
            # A file may be rotated while the command starts, or while it reads the file.
            is_rotated = "No such file" in error or "opened: try again" in error
            assert process.returncode in (0, -9) or is_rotated, error
    subprocess.run([COMMAND, "learn", *logs.files(), *options], check=True)
    ids = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]

    report_figure(
        f"{len(logs.files())} growing files: {kills} kills in {runs} runs, {len(ids):,} rows"
    )
    assert sorted(ids) == list(range(logs.n_rows))
    subprocess.run([COMMAND, "verify", model, *logs.files()], check=True)
