"""How soon a fall of accuracy is found, how often a false one, and what looking for it costs."""

from __future__ import annotations

import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
from common import in_turns, ratio, spread, table, train_file

from stream_perceptron import LiveModel
from stream_perceptron.data import Selection, open_source
from stream_perceptron.live.drift import Change, Drift

STEADY, LONG = 1000, 100_000  # streams, samples
LEARNING, FALLS = 200, 1000  # streams
RUNS = 25
AT_ONCE = 4096
LABELS = 10

# The accuracy before and after, when it falls, and how many rows may pass until that is told.
CASES = (
    (0.9, 0.8, 20_000, 2000),
    (0.9, 0.88, 20_000, 20_000),
    (0.9, 0.88, 50_000, 20_000),
    (0.99, 0.01, 10_000, 200),
)


def changes_of(wrong: np.ndarray, labels: np.ndarray) -> list[Change]:
    """Return what is found in a stream of tested samples."""
    drift, changes = Drift(), []
    rows = np.arange(1, len(wrong) + 1)
    for start in range(0, len(wrong), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        drift.update(labels[part], wrong[part], rows[part], changes)
    return changes


def share(found: list[bool]) -> str:
    return f"{np.mean(found):.1%}" if found else ""


def simulated(rng: np.random.Generator) -> list[list[str]]:
    rows = []
    for accuracy in (0.5, 0.9, 0.99):
        alarms = [
            bool(changes_of(rng.random(LONG) >= accuracy, rng.integers(0, LABELS, LONG)))
            for _ in range(STEADY)
        ]
        rows.append([f"{STEADY:,} steady at {accuracy:.0%}", share(alarms), "", "", ""])
    for before, after, at, within in CASES:
        told, near, delays = [], [], []
        for _ in range(FALLS):
            begin = at + int(rng.integers(0, 100))
            n = begin + within
            level = np.where(np.arange(n) < begin, before, after)
            found = changes_of(rng.random(n) >= level, rng.integers(0, LABELS, n))
            right = [change for change in found if change.found > begin]
            told.append(bool(right))
            if right:
                delays.append(right[0].found - begin)
                near.append(abs(right[0].row - begin) <= (2500 if within > 10_000 else 500))
        what = f"{FALLS:,} that fall from {before:.0%} to {after:.0%} after {at:,}"
        middle = f"{statistics.median(delays):,.0f} rows"
        rows.append([what, "", f"{share(told)} in {within:,}", middle, share(near)])
    return rows


def pixels(rng: np.random.Generator) -> pa.Table:
    digits = pq.read_table(train_file())
    return digits.take(rng.permutation(len(digits)))


def segments(rng: np.random.Generator) -> pa.Table:
    rows = [x | {"label": y} for x, y in river.datasets.ImageSegments()]
    once = pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))])
    return pa.concat_tables([once] * (LONG // len(rows)))


def learned(path: Path, seed: int = 0, epochs: int = 1) -> LiveModel:
    """Return a model that learned a file with the usual settings."""
    source = open_source(str(path))
    is_table = "pixels" not in pq.read_schema(path).names
    selection = Selection(standardize=is_table)
    live = LiveModel.start([source], selection, lr=0.1 if is_table else 0.01, seed=seed)
    for _ in live.run([source], epochs=epochs):
        pass
    return live


def learning(rng: np.random.Generator, make: Callable[[np.random.Generator], pa.Table]) -> str:
    """Return how many models that still learn raise an alarm."""
    alarms = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        for seed in range(LEARNING // 2):
            pq.write_table(make(rng), path, row_group_size=AT_ONCE)
            found = learned(path, seed).progress.changes
            alarms.append(any(change.is_fall for change in found))
    return share(alarms)


def drift() -> str:
    """Streams of samples right or wrong by chance, and models that still learn."""
    rng = np.random.default_rng(0)
    rows = simulated(rng)
    for name, make in (("MNIST, shuffled", pixels), ("ImageSegments, repeated", segments)):
        rows.append([f"{LEARNING // 2} of {name}", learning(rng, make), "", "", ""])
    return table(["streams", "false alarms", "told in time", "after (median)", "named near"], rows)


def drift_cost() -> str:
    """Ten passes over the digits with the search for falls and without, in the learning thread."""

    def without() -> None:
        with mock.patch.object(Drift, "update"):
            learned(train_file(), epochs=10)

    def seconds(learn: Callable[[], object]) -> float:
        return timeit.timeit(learn, timer=time.thread_time, number=1)

    tasks = {
        "with": partial(seconds, partial(learned, train_file(), epochs=10)),
        "without": partial(seconds, without),
    }
    taken = in_turns(RUNS, tasks)
    rows = [
        [name, spread(times), f"{ratio(times, taken['without']):.3f}"]
        for name, times in taken.items()
    ]
    return table(["600,000 digits from Parquet", "seconds of CPU", "to without"], rows)


SECTIONS = {"drift": drift, "drift_cost": drift_cost}
