"""Drift detection: delay, false alarms and cost."""

from __future__ import annotations

import statistics
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
import river.drift
import river.drift.binary
from common import section, table
from forms import mnist_file
from numpy.typing import NDArray
from river import preprocessing
from river.datasets import synth

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.drift import DriftDetector, DriftEvent

Wrong = NDArray[np.bool_]  # which samples of a stream are predicted wrongly

N_STREAMS, N_MODELS = 1000, 100
STREAM_LENGTH = 100_000  # samples
BLOCK_ROWS = 4096
N_DEPENDENT, N_DEPENDENT_OURS = 30, 300  # streams with dependent mistakes; more for our fast tests
# The accuracy before and after, the row of the drop, and the rows allowed until detection.
DROPS = (
    (0.9, 0.8, 20_000, 500),
    (0.9, 0.88, 20_000, 8000),
    (0.9, 0.88, 50_000, 8000),
    (0.9, 0.88, 100_000, 8000),
    (0.99, 0.01, 10_000, 100),
)


def detect(wrong: Wrong, labels: NDArray[np.intp] | None = None) -> list[DriftEvent]:
    """Return the drift events of a stream, which has a single label by default."""
    events: list[DriftEvent] = []
    tests, rows = DriftDetector(), np.arange(1, len(wrong) + 1)
    labels = np.zeros(len(wrong), np.intp) if labels is None else labels
    for start in range(0, len(wrong), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        tests.update(labels[part], wrong[part], rows[part], events)
    return events


def detect_drops(rng: np.random.Generator, accuracy: np.ndarray) -> list[DriftEvent]:
    """Return the drops in a stream of ten labels, given the accuracy at each sample."""
    n = len(accuracy)
    events = detect(rng.random(n) >= accuracy, rng.integers(0, 10, n))
    return [event for event in events if event.is_drop]


def share(found: list[Any]) -> str:
    return f"{np.mean(list(map(bool, found))):.1%}" if found else ""


def measure_drop(
    rng: np.random.Generator, before: float, after: float, at: int, within: int
) -> list[str]:
    """Return the table's row for streams with one drop in accuracy."""
    reported, near, delays = [], [], []
    for _ in range(N_STREAMS):
        begin = at + int(rng.integers(0, 100))
        drops = detect_drops(rng, np.where(np.arange(begin + within) < begin, before, after))
        right = [drop for drop in drops if drop.found > begin]
        reported.append(right)
        if right:
            delays.append(right[0].found - begin)
            near.append(abs(right[0].row - begin) <= (2500 if within > 1000 else 500))
    title = f"{N_STREAMS:,} that drop from {before:.0%} to {after:.0%} after {at:,}"
    middle = f"{statistics.median(delays):,.0f} rows"
    return [title, "", f"{share(reported)} in {within:,}", middle, share(near)]


def load_digits(rng: np.random.Generator) -> pa.Table:
    digits = pq.read_table(mnist_file())
    return digits.take(rng.permutation(len(digits)))


def load_segments(rng: np.random.Generator) -> pa.Table:
    rows = [x | {"label": y} for x, y in river.datasets.ImageSegments()]
    once = pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))])
    return pa.concat_tables([once] * (STREAM_LENGTH // len(rows)))


def train_model(path: Path, seed: int = 0) -> LiveModel:
    """Return a model that learned a file with default settings."""
    source = open_source(str(path))
    is_table = "pixels" not in pq.read_schema(path).names
    read_options = ReadOptions(standardize=is_table)
    live = LiveModel.start([source], read_options, lr=0.1 if is_table else 0.01, seed=seed)
    deque(live.run([source]), 0)
    return live


@section("drift")
def drift() -> str:
    """Streams of samples that are right or wrong at random, and models that are still learning."""
    rng, rows = np.random.default_rng(0), []
    for accuracy in (0.5, 0.9, 0.99):
        alarms = [detect_drops(rng, np.full(STREAM_LENGTH, accuracy)) for _ in range(N_STREAMS)]
        rows.append([f"{N_STREAMS:,} steady at {accuracy:.0%}", share(alarms), "", "", ""])
    rows += [measure_drop(rng, *each) for each in DROPS]
    for name, make in (
        ("MNIST, shuffled", load_digits),
        ("ImageSegments, repeated", load_segments),
    ):
        alarms = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.parquet"
            for seed in range(N_MODELS):
                pq.write_table(make(rng), path, row_group_size=BLOCK_ROWS)
                alarms.append(train_model(path, seed).progress.events)
        rows.append([f"{N_MODELS} of {name}", share(alarms), "", "", ""])
    return table(["streams", "false alarms", "in time", "after (median)", "row is near"], rows)


def draw_sessions(rng: np.random.Generator, size: int, low: float, high: float) -> Wrong:
    """Return mistakes in sessions, of which one in five is noisy."""
    shares = np.where(rng.random(STREAM_LENGTH // size + 1) < 0.2, high, low)
    return rng.random(STREAM_LENGTH) < np.repeat(shares, size)[:STREAM_LENGTH]


def draw_repeated_rows(rng: np.random.Generator, times: int) -> Wrong:
    """Return mistakes in rows that are delivered several times."""
    return np.repeat(rng.random(STREAM_LENGTH // times) < 0.05, times)


def draw_waves(rng: np.random.Generator, period: int) -> Wrong:
    """Return mistakes whose share of 5% rises and falls by 3 percentage points."""
    at = 2 * np.pi * (np.arange(STREAM_LENGTH) / period + rng.random())
    return rng.random(STREAM_LENGTH) < 0.05 + 0.03 * np.sin(at)


DEPENDENT: dict[str, Callable[[np.random.Generator], Wrong]] = {
    "independent, 5%": lambda rng: rng.random(STREAM_LENGTH) < 0.05,
    "sessions of 20, 5 and 20%": partial(draw_sessions, size=20, low=0.05, high=0.2),
    "sessions of 50, 5 and 10%": partial(draw_sessions, size=50, low=0.05, high=0.1),
    "sessions of 200, 5 and 10%": partial(draw_sessions, size=200, low=0.05, high=0.1),
    "each row delivered twice": partial(draw_repeated_rows, times=2),
    "each row delivered five times": partial(draw_repeated_rows, times=5),
    "waves of 2,000 rows, 2 to 8%": partial(draw_waves, period=2000),
}
ACCURACY_LEVELS = ((0.98, 0.5, 0.9, 0.7), (0.99, 0.4, 0.2))


def detect_with_ours(wrong: Wrong, has_rises: bool = False) -> list[int]:
    """Return the rows at which our tests report a drop or, with `has_rises`, a recovery."""
    return [event.found for event in detect(wrong) if event.is_drop or has_rises]


def detect_with_river(make: Callable[[], Any], wrong: Wrong, has_rises: bool = False) -> list[int]:
    """Return the rows at which one of River's detectors reports a change to more mistakes.

    With `has_rises`, changes to fewer mistakes are included.
    """
    detector, found = make(), []
    before = after = 0.0
    for row, is_wrong in enumerate(wrong.tolist(), 1):
        detector.update(is_wrong)
        if detector.drift_detected:
            after = float(wrong[max(0, row - 200) : row].mean())
            if after > before or has_rises:
                found.append(row)
        if row % 200 == 0:
            before = float(wrong[max(0, row - 2000) : row].mean())
    return found


DETECTORS: dict[str, Callable[..., list[int]]] = {
    "ours": detect_with_ours,
    "ADWIN": partial(detect_with_river, river.drift.ADWIN),
    "DDM": partial(detect_with_river, river.drift.binary.DDM),
    "Page-Hinkley": partial(detect_with_river, river.drift.PageHinkley),
}


@section("drift_dependent")
def drift_dependent() -> str:
    """How many of 30 streams have alarms (total alarms), or each change found in 2,000 rows."""
    rows = []
    for name, make in DEPENDENT.items():
        found = {}
        for way, find in DETECTORS.items():
            rng = np.random.default_rng(0)
            n = N_DEPENDENT_OURS if way == "ours" else N_DEPENDENT  # the other detectors are slow
            found[way] = [find(make(rng)) for _ in range(n)]
        begins = {name: 0} | ({"the same, after two waves": 4000} if "waves" in name else {})
        for title, begin in begins.items():
            counts = [
                [sum(row > begin for row in rows_of) for rows_of in found[way]] for way in DETECTORS
            ]
            cells = [
                f"{sum(map(bool, few))} ({sum(few):,})" for few in (c[:N_DEPENDENT] for c in counts)
            ]
            rows.append([title, *cells, f"{sum(map(bool, counts[0]))}"])
    for levels in ACCURACY_LEVELS:
        cells = []
        for find in DETECTORS.values():
            rng, reported = np.random.default_rng(0), 0
            for _ in range(N_DEPENDENT):
                wrong = np.concatenate([rng.random(10_000) >= level for level in levels])
                found_rows = np.array(find(wrong, has_rises=True)) - 1
                soon = found_rows[found_rows % 10_000 < 2000] // 10_000
                reported += set(range(1, len(levels))) <= set(soon.tolist())
            cells.append(f"{reported} reported")
        rows.append([" -> ".join(f"{level:.0%}" for level in levels), *cells, ""])
    return table(["30 streams", *DETECTORS, "ours, of 300"], rows)


def draw_rare_class(rng: np.random.Generator, share: float) -> tuple[Wrong, NDArray[np.intp]]:
    """Return a stream of four classes.

    The accuracy of the last class drops from 90% to 5% after 100,000 rows.
    """
    n = 2 * STREAM_LENGTH
    labels = np.where(rng.random(n) < share, 3, rng.integers(0, 3, n))
    accuracy = np.where((labels == 3) & (np.arange(n) >= STREAM_LENGTH), 0.05, 0.9)
    return rng.random(n) >= accuracy, labels


def draw_many_classes(rng: np.random.Generator, n_classes: int) -> tuple[Wrong, NDArray[np.intp]]:
    """Return a steady stream of classes with unequal shares and accuracies."""
    labels = rng.choice(n_classes, STREAM_LENGTH, p=rng.dirichlet(np.full(n_classes, 0.5)))
    return rng.random(STREAM_LENGTH) >= rng.uniform(0.3, 1, n_classes)[labels], labels


@section("drift_classes")
def drift_classes() -> str:
    """Drops in rare classes, and steady streams of many classes."""
    rows = []
    for share in (0.01, 0.002):
        delays, rng = [], np.random.default_rng(0)
        for _ in range(N_DEPENDENT):
            wrong, labels = draw_rare_class(rng, share)
            (found, *_) = [
                e.found for e in detect(wrong, labels) if e.is_drop and e.label == 3
            ] or [len(wrong)]  # fmt: skip
            delays.append(int(np.count_nonzero(labels[STREAM_LENGTH:found] == 3)))
        figures = f"{statistics.median(delays):.0f} rows of the class (at most {max(delays)})"
        rows.append([f"a class of {share:.1%} drops from 90 to 5%", f"named after {figures}"])
    for n_classes in (2, 10, 100, 1000):
        rng = np.random.default_rng(0)
        alarms = sum(bool(detect(*draw_many_classes(rng, n_classes))) for _ in range(N_DEPENDENT))
        rows.append([f"steady, {n_classes:,} classes", f"{alarms} with alarms"])
    return table(["30 streams", "reported"], rows)


def iterate_sea(n: int = 20_000) -> Iterator[tuple[dict[Any, float], Any]]:
    """Yield samples of four SEA concepts, with 10% noise."""
    for variant in (0, 1, 2, 3):
        yield from synth.SEA(variant=variant, noise=0.1, seed=variant).take(n)


def find_mistakes(samples: Iterable[tuple[dict[Any, float], Any]]) -> Wrong:
    """Return which samples our perceptron predicts wrongly, by progressive validation."""
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.05, seed=0)
    wrong = []
    for x, y in samples:
        wrong.append(model.predict_one(x) != y)
        model.learn_one(x, y)
    return np.array(wrong)


@section("drift_known")
def drift_known() -> str:
    """River's streams with changes: the rows at which each detector reports a drop."""
    elec = river.datasets.Elec2()
    streams: dict[str, Iterable[tuple[dict[Any, float], Any]]] = {
        "SEA, concepts 0, 1, 2, 3 of 20,000 rows": iterate_sea(),
        "Phishing": river.datasets.Phishing(),
        "ImageSegments": river.datasets.ImageSegments(),
    }
    if elec.is_downloaded:
        streams["Elec2"] = elec
    rows = []
    for name, samples in streams.items():
        wrong = find_mistakes(samples)
        cells = []
        for way in ("ours", "ADWIN"):
            found = DETECTORS[way](wrong)
            more = f" and {len(found) - 6} more" if len(found) > 6 else ""
            cells.append(", ".join(f"{row:,}" for row in found[:6]) + more or "none")
        rows.append([name, *cells])
    if not elec.is_downloaded:
        rows.append(["Elec2", "not here: `river.datasets.Elec2().download()`", ""])
    return table(["stream", "ours", "ADWIN"], rows)
