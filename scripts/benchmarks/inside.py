"""Parts of the program by themselves."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import LEARN, digits, in_turns, ratio, seconds_of, spread, table, train_file
from river import datasets, evaluate, metrics, preprocessing

from stream_perceptron import LiveModel, SGDPerceptron, stream
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.source import Request
from stream_perceptron.evaluate import progressive_val_score
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import get_activation
from stream_perceptron.model.kernel.types import Block, Counters, Rule
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.weights import WeightStore

RUNS = 7
BLOCK = 1000
RIVERS = "River's"
NAMES = tuple(range(784))


def microseconds(times: list[float], samples: int) -> str:
    """Return median and spread in microseconds a sample."""
    return spread([seconds / samples * 1e6 for seconds in times], ".2f")


# What the kernel is given, made of a block of pixels.
INPUTS: dict[str, Callable[[np.ndarray], Rows]] = {
    "digits": lambda pixels: Rows.of_table(NAMES, pixels / 255),
    "digits as bytes": lambda pixels: Rows.of_table(NAMES, pixels, scale=1 / 255),
    "digits without a zero": lambda pixels: Rows.of_table(NAMES, pixels / 255 + 1e-3),
}


def pass_seconds(pixels: np.ndarray, labels: list[int], dtype: str, of: str = "digits") -> float:
    """Return the time that the kernel takes for a pass over digits."""
    rule = Rule(get_activation("sigmoid"), epsilon=3e-6)
    store = WeightStore(0, 0.03, np.dtype(dtype))
    store.use(store.grown(10, 784))
    counters, places = Counters(), np.arange(784, dtype=np.int32)
    taken = 0.0
    for start in range(0, len(labels), BLOCK):
        rows = INPUTS[of](pixels[start : start + BLOCK])
        block = Block(
            targets=np.array(labels[start : start + BLOCK], np.intp),
            sample_weights=np.ones(BLOCK),
            rates=np.full(BLOCK, 0.01),
            nets=np.empty((BLOCK, 10), dtype),
            eps=np.empty(BLOCK),
            updated=np.zeros(BLOCK, bool),
        )
        before = time.perf_counter()
        kernel.learn(store.now, rows, places, rule, block, counters)
        taken += time.perf_counter() - before
    return taken


def dense_kernel() -> str:
    """The kernel's pass over 60,000 digits, 784 features and 10 classes."""
    pixels, labels = digits()
    tasks = {
        f"{of}, {dtype}": partial(pass_seconds, pixels, labels, dtype, of)
        for of in INPUTS
        for dtype in ("float64", "float32")
    }
    rows = [
        [kernel.NAME, name, microseconds(taken, len(labels))]
        for name, taken in in_turns(RUNS, tasks).items()
    ]
    return table(["kernel", "input", "us a sample"], rows)


def sparse() -> str:
    """Learning a sample of 100 features and 10 classes when many features are known."""
    rng = np.random.default_rng(0)
    models, streams = {}, {}
    for size in (10**4, 10**5, 10**6):
        models[size] = SGDPerceptron(classes=range(10), seed=0)
        models[size].learn_one(dict.fromkeys(range(size), 0.0), 0)
        streams[size] = [
            (dict.fromkeys(rng.choice(size, 100, replace=False).tolist(), 1.0), i % 10)
            for i in range(500)
        ]

    def seconds(size: int) -> float:
        before = time.perf_counter()
        for x, y in streams[size]:
            models[size].learn_one(x, y)
        return time.perf_counter() - before

    times = in_turns(RUNS, {f"{size:,}": lambda s=size: seconds(s) for size in models})
    return table(
        ["features known", "us a sample"],
        [[size, microseconds(taken, 500)] for size, taken in times.items()],
    )


def checkpoint() -> str:
    """Saving within a run over 600,000 rows: time in saves over the time of the rest."""
    sources = [ParquetSource(str(train_file()))]
    saves: dict[str, int] = {}

    # Within a run, as whole runs differ by more than the saves cost.
    def share(name: str, rows: int | None) -> float:
        taken = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.npz"
            start = saved_at = time.perf_counter()
            live = LiveModel.start(sources, seed=0)
            cursor = live.resume(sources)
            saving = time.perf_counter() - start  # telling the sources apart is part of it
            for _ in live.run(sources, cursor, epochs=10, every=rows):
                now = time.perf_counter()
                if live.cursor.read % rows == 0 if rows else now - saved_at >= 60:
                    live.save(path)
                    saved_at = time.perf_counter()
                    taken.append(saved_at - now)
            now = time.perf_counter()
            live.save(path)
            taken.append(time.perf_counter() - now)
            saving += sum(taken)
            saves[name] = len(taken)
            return saving / (time.perf_counter() - start - saving)

    intervals = {"60 s, the default": None, "10,000 rows": 10_000}
    times = in_turns(3, {n: lambda n=n, rows=rows: share(n, rows) for n, rows in intervals.items()})
    return table(
        ["every", "share of the time", "saves"],
        [[name, spread(shares, ".2%"), str(saves[name])] for name, shares in times.items()],
    )


def evaluation() -> str:
    """River's progressive validation and this one, of 20,000 samples, saved every 10,000."""
    segments = list(datasets.ImageSegments())
    streams = {
        "ImageSegments, a pipeline": (segments * 9)[:20_000],
        "MNIST": list(itertools.islice(stream.iter_parquet(train_file()), 20_000)),
    }
    rows = []
    for name, samples in streams.items():
        makes = {
            RIVERS: (evaluate.progressive_val_score, False),
            "without a checkpoint": (progressive_val_score, False),
            "with one": (progressive_val_score, True),
        }
        tasks = {how: partial(_score_seconds, samples, *given) for how, given in makes.items()}
        taken = in_turns(RUNS, tasks)
        rows += [
            [name, how, spread(times), f"{ratio(times, taken[RIVERS]):.3f}"]
            for how, times in taken.items()
        ]
    return table(["20,000 samples", "", "seconds", "to River's"], rows)


def _score_seconds(samples: list[Any], score: Callable[..., object], is_saved: bool) -> float:
    model: Any = SGDPerceptron(lr=0.1, seed=0)
    if len(samples[0][0]) < 100:
        model = preprocessing.StandardScaler() | model
    with tempfile.TemporaryDirectory() as folder:
        more = {"checkpoint": Path(folder, "m.npz")} if is_saved else {}
        begin = time.perf_counter()
        score(samples, model, metrics.Accuracy(), **more)
        return time.perf_counter() - begin


def parts() -> str:
    """Where the time goes: of a pass over 60,000 digits, and of a digit that is given as a dict."""
    pixels, labels = digits()
    samples = list(itertools.islice(stream.iter_parquet(train_file()), 2000))
    model = SGDPerceptron(classes=range(10), seed=0)
    for x, y in samples:
        model.learn_one(x, y)

    def of_each(task: Callable[[dict[Any, float], Any], Any]) -> float:
        before = time.perf_counter()
        for x, y in samples:
            task(x, y)
        return (time.perf_counter() - before) / len(samples) * 1e6

    def of_learning() -> float:
        taken = 0.0
        for x, y in samples:
            model.predict_one(x)
            before = time.perf_counter()
            model.learn_one(x, y)
            taken += time.perf_counter() - before
        return taken / len(samples) * 1e6

    def of_a_pass() -> float:
        sources = [ParquetSource(str(train_file()))]
        live = LiveModel.start(sources, seed=0)
        before = time.perf_counter()
        for _ in live.run(sources):
            pass
        return (time.perf_counter() - before) / len(labels) * 1e6

    def of_reading() -> float:
        before = time.perf_counter()
        for _ in ParquetSource(str(train_file())).batches(Request()):
            pass
        return (time.perf_counter() - before) / len(labels) * 1e6

    learn_one_row = [*LEARN, train_file(), "--limit", "1"]
    tasks: dict[str, Callable[[], float]] = {
        "a run over one row: Python, imports and all, ms": lambda: 1e3 * seconds_of(learn_one_row),
        "a pass, us a row": of_a_pass,
        "reading and decoding, in a thread beside it": of_reading,
        "the kernel": lambda: (
            pass_seconds(pixels, labels, "float64", "digits as bytes") / len(labels) * 1e6
        ),
        "predict_one of a dict, us": lambda: of_each(lambda x, y: model.predict_one(x)),
        "learn_one of a dict, us": of_learning,
        "a loop over the items of the dicts in Python": lambda: of_each(
            lambda x, y: [None for item in x.items()]
        ),
    }
    return table(
        ["part", "time"],
        [[name, spread(taken, ".2f")] for name, taken in in_turns(RUNS, tasks).items()],
    )


SECTIONS = {
    "kernel": dense_kernel,
    "sparse": sparse,
    "checkpoint": checkpoint,
    "parts": parts,
    "evaluation": evaluation,
}
