"""Detection of falls of accuracy: delay, false alarms and cost."""

from __future__ import annotations

import statistics
import tempfile
import time
import timeit
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
import river.drift
import river.drift.binary
from common import compare, median, section, table, to
from forms import mnist_file
from numpy.typing import NDArray

from stream_perceptron import LiveModel
from stream_perceptron.data import Selection, open_source
from stream_perceptron.live.drift import Change, Drift

Wrong = NDArray[np.bool_]  # which samples of a stream are predicted wrongly

STREAMS, LEARNING = 1000, 100
LONG = 100_000  # samples
AT_ONCE = 4096
FEW = 30  # streams with dependent mistakes
# The accuracy before and after, the row of the fall, and the rows allowed until detection.
FALLS = (
    (0.9, 0.8, 20_000, 2000),
    (0.9, 0.88, 20_000, 20_000),
    (0.9, 0.88, 50_000, 20_000),
    (0.99, 0.01, 10_000, 200),
)


def changes_in(rng: np.random.Generator, accuracy: np.ndarray) -> list[Change]:
    """Return the changes found in a stream of ten labels, given each sample's accuracy."""
    found: list[Change] = []
    drift, n = Drift(), len(accuracy)
    wrong, labels, rows = rng.random(n) >= accuracy, rng.integers(0, 10, n), np.arange(1, n + 1)
    for start in range(0, n, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        drift.update(labels[part], wrong[part], rows[part], found)
    return found


def share(found: list[Any]) -> str:
    return f"{np.mean(list(map(bool, found))):.1%}" if found else ""


def fall(rng: np.random.Generator, before: float, after: float, at: int, within: int) -> list[str]:
    """Return a row of the table: streams with one fall of accuracy."""
    told, near, delays = [], [], []
    for _ in range(STREAMS):
        begin = at + int(rng.integers(0, 100))
        found = changes_in(rng, np.where(np.arange(begin + within) < begin, before, after))
        right = [change for change in found if change.found > begin]
        told.append(right)
        if right:
            delays.append(right[0].found - begin)
            near.append(abs(right[0].row - begin) <= (2500 if within > 10_000 else 500))
    what = f"{STREAMS:,} that fall from {before:.0%} to {after:.0%} after {at:,}"
    middle = f"{statistics.median(delays):,.0f} rows"
    return [what, "", f"{share(told)} in {within:,}", middle, share(near)]


def pixels(rng: np.random.Generator) -> pa.Table:
    digits = pq.read_table(mnist_file())
    return digits.take(rng.permutation(len(digits)))


def segments(rng: np.random.Generator) -> pa.Table:
    rows = [x | {"label": y} for x, y in river.datasets.ImageSegments()]
    once = pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))])
    return pa.concat_tables([once] * (LONG // len(rows)))


def learned(path: Path, seed: int = 0, epochs: int = 1) -> LiveModel:
    """Return a model that learned a file with default settings."""
    source = open_source(str(path))
    is_table = "pixels" not in pq.read_schema(path).names
    selection = Selection(standardize=is_table)
    live = LiveModel.start([source], selection, lr=0.1 if is_table else 0.01, seed=seed)
    deque(live.run([source], epochs=epochs), 0)
    return live


@section("drift")
def drift() -> str:
    """Streams of samples right or wrong by chance, and models that still learn."""
    rng, rows = np.random.default_rng(0), []
    for accuracy in (0.5, 0.9, 0.99):
        alarms = [changes_in(rng, np.full(LONG, accuracy)) for _ in range(STREAMS)]
        rows.append([f"{STREAMS:,} steady at {accuracy:.0%}", share(alarms), "", "", ""])
    rows += [fall(rng, *each) for each in FALLS]
    for name, make in (("MNIST, shuffled", pixels), ("ImageSegments, repeated", segments)):
        alarms = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.parquet"
            for seed in range(LEARNING):
                pq.write_table(make(rng), path, row_group_size=AT_ONCE)
                alarms.append([c for c in learned(path, seed).progress.changes if c.is_fall])
        rows.append([f"{LEARNING} of {name}", share(alarms), "", "", ""])
    return table(["streams", "false alarms", "told in time", "after (median)", "named near"], rows)


def sessions(rng: np.random.Generator, size: int, low: float, high: float) -> Wrong:
    """Return mistakes in sessions, one in five of which is noisy."""
    shares = np.where(rng.random(LONG // size + 1) < 0.2, high, low)
    return rng.random(LONG) < np.repeat(shares, size)[:LONG]


def repeated(rng: np.random.Generator, times: int) -> Wrong:
    """Return mistakes of rows that are delivered several times."""
    return np.repeat(rng.random(LONG // times) < 0.05, times)


def waves(rng: np.random.Generator, period: int) -> Wrong:
    """Return mistakes whose share of 5 % rises and falls by 3 %."""
    at = 2 * np.pi * (np.arange(LONG) / period + rng.random())
    return rng.random(LONG) < 0.05 + 0.03 * np.sin(at)


DEPENDENT: dict[str, Callable[[np.random.Generator], Wrong]] = {
    "independent, 5%": lambda rng: rng.random(LONG) < 0.05,
    "sessions of 20, 5 and 20%": partial(sessions, size=20, low=0.05, high=0.2),
    "sessions of 50, 5 and 10%": partial(sessions, size=50, low=0.05, high=0.1),
    "sessions of 200, 5 and 10%": partial(sessions, size=200, low=0.05, high=0.1),
    "each row delivered twice": partial(repeated, times=2),
    "each row delivered five times": partial(repeated, times=5),
    "waves of 2,000 rows, 2 to 8%": partial(waves, period=2000),
}
FURTHER = ((0.98, 0.5, 0.9, 0.7), (0.99, 0.4, 0.2))


def found_by_ours(wrong: Wrong) -> list[int]:
    """Return the rows at which our test reports a fall."""
    found: list[Change] = []
    test, labels = Drift(), np.zeros(len(wrong), np.intp)
    for start in range(0, len(wrong), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        test.update(labels[part], wrong[part], np.arange(len(wrong))[part] + 1, found)
    return [change.found for change in found if change.is_fall]


def found_by_river(make: Callable[[], Any], wrong: Wrong) -> list[int]:
    """Return the rows at which a detector of River reports a change to more mistakes."""
    detector, found = make(), []
    before = after = 0.0
    for row, is_wrong in enumerate(wrong.tolist(), 1):
        detector.update(is_wrong)
        if detector.drift_detected:
            after = float(wrong[max(0, row - 200) : row].mean())
            if after > before:
                found.append(row)
        if row % 200 == 0:
            before = float(wrong[max(0, row - 2000) : row].mean())
    return found


WAYS: dict[str, Callable[[Wrong], list[int]]] = {
    "ours": found_by_ours,
    "ADWIN": partial(found_by_river, river.drift.ADWIN),
    "DDM": partial(found_by_river, river.drift.binary.DDM),
    "Page-Hinkley": partial(found_by_river, river.drift.PageHinkley),
}


@section("drift_dependent")
def drift_dependent() -> str:
    """Of 30 steady streams, those with alarms (alarms); and further falls told within 2,000."""
    rows = []
    for name, make in DEPENDENT.items():
        cells = []
        for find in WAYS.values():
            rng = np.random.default_rng(0)
            counts = [len(find(make(rng))) for _ in range(FEW)]
            cells.append(f"{sum(map(bool, counts))} ({sum(counts):,})")
        rows.append([name, *cells])
    for levels in FURTHER:
        cells = []
        for find in WAYS.values():
            rng, told = np.random.default_rng(0), 0
            for _ in range(FEW):
                wrong = np.concatenate([rng.random(10_000) >= level for level in levels])
                last = len(wrong) - 10_000
                told += any(last < row <= last + 2000 for row in find(wrong))
            cells.append(f"{told} told")
        rows.append([" -> ".join(f"{level:.0%}" for level in levels), *cells])
    return table(["30 streams", *WAYS], rows)


@section("drift_cost")
def drift_cost() -> str:
    """Ten passes over the digits with the search for falls and without, in the learning thread."""

    def without() -> None:
        with mock.patch.object(Drift, "update"):
            learned(mnist_file(), epochs=10)

    seconds = partial(timeit.timeit, timer=time.thread_time, number=1)
    tasks = {
        "with": partial(seconds, partial(learned, mnist_file(), epochs=10)),
        "without": partial(seconds, without),
    }
    header = ["600,000 digits from Parquet", "seconds of CPU", "to without"]
    return compare(header, 25, tasks, median(), to("without", ".3f"))
