"""Parts of the program in isolation, in memory, compared with River and scikit-learn."""

from __future__ import annotations

import itertools
import sys
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import (
    LEARN_DIGITS,
    ROOT,
    Measurements,
    Task,
    compare,
    median,
    ratio_to,
    run_in_turns,
    run_process,
    section,
    spread,
    table,
    time_call,
)
from forms import PIXELS, load_digits, mnist_file
from sklearn.linear_model import SGDClassifier
from threadpoolctl import threadpool_limits

from stream_perceptron import LiveModel, SGDPerceptron, stream
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.source import Request, read_batches
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.kernel.types import Counters, Part, Results, Rule
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.weights import WeightStore

BLOCK = 1000
KERNEL = ROOT / "stream_perceptron" / "model" / "kernel"
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC"]
LIBM = """
#include "elementary.h"
#include <math.h>
#define ieee_exp exp
#define ieee_exp_clipped exp
#define ieee_tanh tanh
#define ieee_atan atan
"""
# Functions that build an input for the kernel from a block of pixels.
INPUTS: dict[str, Callable[[np.ndarray], Rows]] = {
    "digits": lambda pixels: Rows.from_table(tuple(range(784)), pixels / 255),
    "digits as bytes": lambda pixels: Rows.from_table(tuple(range(784)), pixels, scale=1 / 255),
    "digits without a zero": lambda pixels: Rows.from_table(tuple(range(784)), pixels / 255 + 1e-3),
}


def load_digit_dicts(n: int) -> list[tuple[dict[Any, float], Any]]:
    return list(itertools.islice(stream.iter_parquet(mnist_file()), n))


@section("in_process")
def in_process() -> str:
    """A pass over 60,000 digits in memory: test_then_train, learn_many and partial_fit."""
    pixels, labels = load_digits()
    X, y = pixels / 255, np.array(labels)
    frame, series = pd.DataFrame(X, columns=PIXELS), pd.Series(y)

    def time_ours(call: str, *data: Any) -> Any:
        return time_call(getattr(SGDPerceptron(classes=range(10), seed=0), call), *data)

    def sklearn() -> float:
        model = SGDClassifier(loss="log_loss", random_state=0)
        return time_call(model.partial_fit, X, y, range(10))[0]

    def accuracy(taken: Measurements) -> str:
        tested = taken.result is not None
        return f"{np.mean(np.array(taken.result) == y):.1%}" if tested else "does not test"

    tasks: dict[Any, Task] = {
        "test_then_train": partial(time_ours, "test_then_train", X, labels),
        "learn_many, pandas": partial(time_ours, "learn_many", frame, series),
        "SGDClassifier.partial_fit": sklearn,
    }
    header = ["in memory", "seconds", "ratio to test_then_train", "progressive accuracy"]
    return compare(header, 5, tasks, median(), ratio_to("test_then_train", ".1f"), accuracy)


def time_kernel(
    pixels: np.ndarray,
    labels: list[int],
    form: str,
    activation: str = "sigmoid",
    learn: Callable[..., Any] = kernel.learn,
) -> float:
    """Return the seconds that the kernel takes for one epoch of digits."""
    rule = Rule(ACTIVATIONS[activation], epsilon=3e-6)
    store = WeightStore(0, 0.03)
    store.current = store.grow(10, 784, is_drawn=True)
    counters, feature_ids = Counters(), np.arange(784, dtype=np.int32)
    taken = 0.0
    for start in range(0, len(labels), BLOCK):
        rows = INPUTS[form](pixels[start : start + BLOCK])
        targets = np.array(labels[start : start + BLOCK], np.intp)
        part = Part(rows, feature_ids, targets, np.ones(BLOCK), np.full(BLOCK, 0.01))
        results = Results(
            np.empty((BLOCK, 10)), np.empty(BLOCK), np.zeros(BLOCK, bool), counters
        )  # fmt: skip
        taken += time_call(learn, store.current, rule, None, part, results)[0]
    return taken


@section("limit")
def limit() -> str:
    """A pass in one thread, compared with its two matrix products, X W^T and D^T X."""
    pixels, labels = load_digits()
    n, X, W = len(labels), pixels / 255, np.zeros((10, 784))
    D = np.random.default_rng(0).normal(size=(n, 10))
    tasks: dict[Any, Task] = {"products": partial(time_call, lambda: (X @ W.T, D.T @ X))}
    for form in INPUTS:
        tasks[form] = partial(time_kernel, pixels, labels, form)
    header = ["of", "us per sample", "ratio to the products"]
    with threadpool_limits(1):
        return compare(header, 7, tasks, median(factor=1e6 / n), ratio_to("products"))


def build_with_libm(folder: Path) -> Callable[..., Any]:
    """Build the kernel with the C library's functions, and return its `learn` function."""
    header, source, library = (folder / name for name in ("libm.h", "kernel.c", "_compiled.so"))
    header.write_text(LIBM)
    run_process([sys.executable, "-m", "cython", "-o", source, KERNEL / "_compiled.pyx"])
    folders = [f"-I{KERNEL}", f"-I{sysconfig.get_path('include')}"]
    run_process(["gcc", *FLAGS, "-include", header, *folders, "-o", library, source, "-lm"])
    spec = spec_from_file_location("_compiled", library)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.learn


@section("functions")
def functions() -> str:
    """A pass over 60,000 digits by the kernel with its own functions and with the C library's."""
    pixels, labels = load_digits()
    with tempfile.TemporaryDirectory() as folder:
        learn = {"own": kernel.learn, "libm": build_with_libm(Path(folder))}
        tasks = {
            (activation, name): partial(
                time_kernel, pixels, labels, "digits as bytes", activation, learn[name]
            )
            for activation in ("sigmoid", "tanh", "arctan")
            for name in learn
        }
        taken = run_in_turns(15, tasks)
    rows = []
    for activation in ("sigmoid", "tanh", "arctan"):
        own, libm = (taken[activation, name] for name in learn)
        figures = [f"{1e6 * task.median / len(labels):.2f}" for task in (own, libm)]
        rows.append([activation, *figures, f"{own.ratio_to('libm'):.3f}"])
    return table(["activation", "own, us per sample", "libm", "ratio of medians"], rows)


@section("sizes")
def sizes() -> str:
    """Time per sample in memory, by the number of classes and features."""
    rng, tasks = np.random.default_rng(0), {}

    def time_pass(model: SGDPerceptron, X: np.ndarray, y: list[int]) -> float:
        return time_call(model.test_then_train, X, y)[0] / len(y)

    for k, d in [(10, 784), (100, 784), (1000, 784), (10, 10_000), (10, 100_000)]:
        n = max(20, min(2000, 40_000_000 // (k * d)))
        X, y = rng.random((n, d)), rng.integers(0, k, n).tolist()
        model = SGDPerceptron(classes=range(k), seed=0)
        model.test_then_train(X, y)
        tasks[f"{k:,}", f"{d:,}"] = partial(time_pass, model, X, y)

    def format_per_weight(taken: Measurements) -> str:
        k, d = (int(part.replace(",", "")) for part in taken.name)
        return spread(taken.figures, factor=1e9 / (k * d))

    header = ["classes", "features", "us per sample", "ns per weight"]
    return compare(header, 5, tasks, median(",.1f", 1e6), format_per_weight)


@section("sparse")
def sparse() -> str:
    """Time to learn a sample of 100 features with 10 classes, when many more features are known."""
    rng, tasks = np.random.default_rng(0), {}

    def learn(model: SGDPerceptron, samples: list[Any]) -> None:
        for x, y in samples:
            model.learn_one(x, y)

    for size in (10**4, 10**5, 10**6):
        model = SGDPerceptron(classes=range(10), seed=0)
        model.learn_one(dict.fromkeys(range(size), 0.0), 0)
        chosen = [rng.choice(size, 100, replace=False).tolist() for _ in range(500)]
        samples = [(dict.fromkeys(some, 1.0), i % 10) for i, some in enumerate(chosen)]
        tasks[f"{size:,}"] = partial(time_call, learn, model, samples)
    return compare(["features known", "us per sample"], 7, tasks, median(factor=1e6 / 500))


@section("parts")
def parts() -> str:
    """Where the time goes in a pass over 60,000 digits, and for one digit passed as a dict."""
    pixels, labels = load_digits()
    n, samples = len(labels), load_digit_dicts(2000)
    model = SGDPerceptron(classes=range(10), seed=0)
    for x, y in samples:
        model.learn_one(x, y)

    def average_time(task: Callable[[dict[Any, float], Any], Any]) -> float:
        return sum(task(x, y) for x, y in samples) / len(samples) * 1e6

    def time_learn_one(x: dict[Any, float], y: Any) -> float:
        model.predict_one(x)
        return time_call(model.learn_one, x, y)[0]

    def time_loop(x: dict[Any, float], y: Any) -> float:
        before = time.perf_counter()
        for _ in x.items():
            pass
        return time.perf_counter() - before

    def time_pass_of_files() -> float:
        sources = [ParquetSource(str(mnist_file()))]
        live = LiveModel.start(sources, seed=0)
        return time_call(deque, live.run(sources), 0)[0] / n * 1e6

    def time_reading() -> float:
        batches = read_batches(ParquetSource(str(mnist_file())), Request())
        return time_call(deque, batches, 0)[0] / n * 1e6

    learn_one_row = [*LEARN_DIGITS, mnist_file(), "--limit", "1"]
    tasks: dict[Any, Task] = {
        "a run over one row: Python, imports and all, ms": lambda: (
            1e3 * run_process(learn_one_row)[0]
        ),
        "a pass, us per row": time_pass_of_files,
        "reading and decoding, in a thread beside it": time_reading,
        "the kernel": lambda: time_kernel(pixels, labels, "digits as bytes") / n * 1e6,
        "predict_one of a dict, us": lambda: average_time(
            lambda x, y: time_call(model.predict_one, x)[0]
        ),
        "learn_one of a dict, us": lambda: average_time(time_learn_one),
        "a loop over the items of the dicts in Python": lambda: average_time(time_loop),
    }
    return compare(["part", "time"], 7, tasks, median())
