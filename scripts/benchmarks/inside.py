"""Parts of the program by themselves, in memory, beside River and scikit-learn."""

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
    DIGITS,
    ROOT,
    Taken,
    Task,
    compare,
    in_turns,
    median,
    process,
    section,
    spread,
    table,
    timed,
    to,
)
from forms import PIXELS, digits, mnist_file
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
#define ieee_exp_within exp
#define ieee_tanh tanh
#define ieee_atan atan
"""
# Inputs of the kernel, made from a block of pixels.
INPUTS: dict[str, Callable[[np.ndarray], Rows]] = {
    "digits": lambda pixels: Rows.of_table(tuple(range(784)), pixels / 255),
    "digits as bytes": lambda pixels: Rows.of_table(tuple(range(784)), pixels, scale=1 / 255),
    "digits without a zero": lambda pixels: Rows.of_table(tuple(range(784)), pixels / 255 + 1e-3),
}


def some_digits(n: int) -> list[tuple[dict[Any, float], Any]]:
    return list(itertools.islice(stream.iter_parquet(mnist_file()), n))


@section("in_process")
def in_process() -> str:
    """A pass over 60,000 digits in memory: test_then_train, learn_many and partial_fit."""
    pixels, labels = digits()
    X, y = pixels / 255, np.array(labels)
    frame, series = pd.DataFrame(X, columns=PIXELS), pd.Series(y)

    def ours(call: str, *data: Any) -> Any:
        return timed(getattr(SGDPerceptron(classes=range(10), seed=0), call), *data)

    def sklearn() -> float:
        model = SGDClassifier(loss="log_loss", random_state=0)
        return timed(model.partial_fit, X, y, range(10))[0]

    def accuracy(taken: Taken) -> str:
        tested = taken.told is not None
        return f"{np.mean(np.array(taken.told) == y):.1%}" if tested else "does not test"

    tasks: dict[Any, Task] = {
        "test_then_train": partial(ours, "test_then_train", X, labels),
        "learn_many, pandas": partial(ours, "learn_many", frame, series),
        "SGDClassifier.partial_fit": sklearn,
    }
    header = ["in memory", "seconds", "to test_then_train", "progressive accuracy"]
    return compare(header, 5, tasks, median(), to("test_then_train", ".1f"), accuracy)


def kernel_pass(
    pixels: np.ndarray,
    labels: list[int],
    of: str,
    activation: str = "sigmoid",
    learn: Callable[..., Any] = kernel.learn,
) -> float:
    """Return the seconds of the kernel for one epoch of digits."""
    rule = Rule(ACTIVATIONS[activation], epsilon=3e-6)
    store = WeightStore(0, 0.03)
    store.current = store.grow(10, 784, draws=True)
    counters, feature_ids = Counters(), np.arange(784, dtype=np.int32)
    taken = 0.0
    for start in range(0, len(labels), BLOCK):
        rows = INPUTS[of](pixels[start : start + BLOCK])
        targets = np.array(labels[start : start + BLOCK], np.intp)
        part = Part(rows, feature_ids, targets, np.ones(BLOCK), np.full(BLOCK, 0.01))
        results = Results(
            np.empty((BLOCK, 10)), np.empty(BLOCK), np.zeros(BLOCK, bool), counters
        )  # fmt: skip
        taken += timed(learn, store.current, rule, None, part, results)[0]
    return taken


@section("limit")
def limit() -> str:
    """The pass beside the two matrix products X W^T and D^T X that it consists of, one thread."""
    pixels, labels = digits()
    n, X, W = len(labels), pixels / 255, np.zeros((10, 784))
    D = np.random.default_rng(0).normal(size=(n, 10))
    tasks: dict[Any, Task] = {"products": partial(timed, lambda: (X @ W.T, D.T @ X))}
    for of in INPUTS:
        tasks[of] = partial(kernel_pass, pixels, labels, of)
    header = ["of", "us a sample", "to the products"]
    with threadpool_limits(1):
        return compare(header, 7, tasks, median(factor=1e6 / n), to("products"))


def learn_by_libm(folder: Path) -> Callable[..., Any]:
    """Return the kernel's `learn`, built with the C library's functions."""
    header, source, library = (folder / name for name in ("libm.h", "kernel.c", "_compiled.so"))
    header.write_text(LIBM)
    process([sys.executable, "-m", "cython", "-o", source, KERNEL / "_compiled.pyx"])
    folders = [f"-I{KERNEL}", f"-I{sysconfig.get_path('include')}"]
    process(["gcc", *FLAGS, "-include", header, *folders, "-o", library, source, "-lm"])
    spec = spec_from_file_location("_compiled", library)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.learn


@section("functions")
def functions() -> str:
    """A pass over 60,000 digits by the kernel with its own functions and with the C library's."""
    pixels, labels = digits()
    with tempfile.TemporaryDirectory() as folder:
        learn = {"own": kernel.learn, "libm": learn_by_libm(Path(folder))}
        tasks = {
            (activation, name): partial(
                kernel_pass, pixels, labels, "digits as bytes", activation, learn[name]
            )
            for activation in ("sigmoid", "tanh", "arctan")
            for name in learn
        }
        taken = in_turns(15, tasks)
    rows = []
    for activation in ("sigmoid", "tanh", "arctan"):
        own, libm = (taken[activation, name] for name in learn)
        each = [f"{1e6 * of.median / len(labels):.2f}" for of in (own, libm)]
        rows.append([activation, *each, f"{own.to('libm'):.3f}"])
    return table(["activation", "own, us a sample", "libm", "ratio of medians"], rows)


@section("sizes")
def sizes() -> str:
    """Time a sample in memory against classes and features."""
    rng, tasks = np.random.default_rng(0), {}

    def pass_over(model: SGDPerceptron, X: np.ndarray, y: list[int]) -> float:
        return timed(model.test_then_train, X, y)[0] / len(y)

    for k, d in [(10, 784), (100, 784), (1000, 784), (10, 10_000), (10, 100_000)]:
        n = max(20, min(2000, 40_000_000 // (k * d)))
        X, y = rng.random((n, d)), rng.integers(0, k, n).tolist()
        model = SGDPerceptron(classes=range(k), seed=0)
        model.test_then_train(X, y)
        tasks[f"{k:,}", f"{d:,}"] = partial(pass_over, model, X, y)

    def of_weight(taken: Taken) -> str:
        k, d = (int(part.replace(",", "")) for part in taken.name)
        return spread(taken.figures, factor=1e9 / (k * d))

    header = ["classes", "features", "us a sample", "ns a weight"]
    return compare(header, 5, tasks, median(",.1f", 1e6), of_weight)


@section("sparse")
def sparse() -> str:
    """Learning a sample of 100 features and 10 classes when many features are known."""
    rng, tasks = np.random.default_rng(0), {}

    def learn(model: SGDPerceptron, samples: list[Any]) -> None:
        for x, y in samples:
            model.learn_one(x, y)

    for size in (10**4, 10**5, 10**6):
        model = SGDPerceptron(classes=range(10), seed=0)
        model.learn_one(dict.fromkeys(range(size), 0.0), 0)
        chosen = [rng.choice(size, 100, replace=False).tolist() for _ in range(500)]
        samples = [(dict.fromkeys(some, 1.0), i % 10) for i, some in enumerate(chosen)]
        tasks[f"{size:,}"] = partial(timed, learn, model, samples)
    return compare(["features known", "us a sample"], 7, tasks, median(factor=1e6 / 500))


@section("parts")
def parts() -> str:
    """Where the time goes: of a pass over 60,000 digits, and of a digit that is given as a dict."""
    pixels, labels = digits()
    n, samples = len(labels), some_digits(2000)
    model = SGDPerceptron(classes=range(10), seed=0)
    for x, y in samples:
        model.learn_one(x, y)

    def of_each(task: Callable[[dict[Any, float], Any], Any]) -> float:
        return sum(task(x, y) for x, y in samples) / len(samples) * 1e6

    def learned(x: dict[Any, float], y: Any) -> float:
        model.predict_one(x)
        return timed(model.learn_one, x, y)[0]

    def looked_at(x: dict[Any, float], y: Any) -> float:
        before = time.perf_counter()
        for _ in x.items():
            pass
        return time.perf_counter() - before

    def a_pass() -> float:
        sources = [ParquetSource(str(mnist_file()))]
        live = LiveModel.start(sources, seed=0)
        return timed(deque, live.run(sources), 0)[0] / n * 1e6

    def reading() -> float:
        batches = read_batches(ParquetSource(str(mnist_file())), Request())
        return timed(deque, batches, 0)[0] / n * 1e6

    learn_one_row = [*DIGITS, mnist_file(), "--limit", "1"]
    tasks: dict[Any, Task] = {
        "a run over one row: Python, imports and all, ms": lambda: 1e3 * process(learn_one_row)[0],
        "a pass, us a row": a_pass,
        "reading and decoding, in a thread beside it": reading,
        "the kernel": lambda: kernel_pass(pixels, labels, "digits as bytes") / n * 1e6,
        "predict_one of a dict, us": lambda: of_each(lambda x, y: timed(model.predict_one, x)[0]),
        "learn_one of a dict, us": lambda: of_each(learned),
        "a loop over the items of the dicts in Python": lambda: of_each(looked_at),
    }
    return compare(["part", "time"], 7, tasks, median())
