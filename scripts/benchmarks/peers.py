"""Whole runs over MNIST beside Vowpal Wabbit, scikit-learn and River."""

from __future__ import annotations

import io
import itertools
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    BENCH,
    LEARN,
    VW,
    digits,
    in_turns,
    ratio,
    rcv1,
    spread,
    table,
    texts,
    train_file,
)

RUNS = 5
SKLEARN = """
import sys
import numpy as np, pyarrow.parquet as pq
from sklearn.linear_model import SGDClassifier
model, hits, n = SGDClassifier(loss="log_loss", random_state=0), 0, 0
for turn in range(int(sys.argv[2])):
    for batch in pq.ParquetFile(sys.argv[1]).iter_batches(1000):
        pixels = np.frombuffer(batch["pixels"].buffers()[1], np.uint8, 784 * len(batch),
                               batch["pixels"].offset * 784)
        X, y = pixels.reshape(-1, 784) / 255, np.asarray(batch["label"])
        if n:
            hits += (model.predict(X) == y).sum()
        model.partial_fit(X, y, classes=range(10))
        n += len(y)
print(hits / n)
"""


class Process:
    """A command that reports its progressive accuracy; run it for its seconds."""

    def __init__(
        self,
        command: Iterable[str | Path],
        find: Callable[[str], float],
        feed: Sequence[Path] = (),
    ) -> None:
        self._command = list(command)
        self._find = find
        self._feed = feed
        self.accuracy = 0.0

    def __call__(self) -> float:
        before = time.perf_counter()
        feeder = None
        if self._feed:
            feeder = subprocess.Popen(["cat", *self._feed], stdout=subprocess.PIPE)
        result = subprocess.run(
            self._command, stdin=feeder.stdout if feeder else None, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - before
        if feeder:
            feeder.wait()
        self.accuracy = self._find(result.stdout)
        return seconds


def of_ours(output: str) -> float:
    return float(json.loads(output.splitlines()[-1])["accuracy"])


def of_vw(output: str) -> float:
    match = re.search(r"average loss = ([0-9.]+)", output)
    return 1 - float(match[1]) if match else float("nan")


def processes() -> str:
    """Whole processes over MNIST: start, read, predict, learn. Ours from Parquet."""
    vw_text = texts()["vw text"]
    cache = BENCH / "digits.vw.cache"
    vw = [*(part for part in VW if part != "--quiet"), "--oaa", "10"]
    if not cache.exists():
        subprocess.run(
            [*vw, "-d", vw_text, "--cache_file", cache, "-k"], check=True, capture_output=True
        )
    cached = [*vw, "-d", vw_text, "--cache_file", cache, "--holdout_off"]
    ours = [*LEARN, "--json", train_file()]
    rows = []
    figure: dict[str, dict[str, list[float]]] = {}
    for passes, name in ((1, "60,000"), (10, "600,000")):
        again = ["--passes", str(passes)]
        tasks = {
            "ours, float64": Process([*ours, *again], of_ours),
            "ours, float32": Process([*ours, *again, "--dtype", "float32"], of_ours),
            "vw, text": Process([*vw, "-d", "/dev/stdin"], of_vw, [vw_text] * passes),
            "vw, cache": Process([*cached, *again], of_vw),
            "vw, cache, --sgd": Process([*cached, *again, "--sgd"], of_vw),
            "scikit-learn": Process(
                [sys.executable, "-c", SKLEARN, train_file(), str(passes)], float
            ),
        }
        times = in_turns(RUNS, tasks)  # type: ignore[arg-type]
        figure[name] = times
        rows += [
            [
                name, task, spread(taken), f"{ratio(times['ours, float64'], taken):.2f}",
                f"{tasks[task].accuracy:.1%}",
            ]
            for task, taken in times.items()
        ]  # fmt: skip
    draw(figure, BENCH / "processes.png")
    header = ["samples", "program", "seconds", "ours to this", "progressive accuracy"]
    return table(header, rows)


def wide_text() -> str:
    """Whole processes over 781,265 texts in the shape of RCV1: 76 of 47,236 words each."""
    files = rcv1()
    vw = [*(part for part in VW if part != "--quiet"), "-d", files["vw text"]]
    vw += ["--loss_function", "logistic", "--binary"]
    ours = [LEARN[0], "learn", files["libsvm"], "--quiet", "--json", "--lr", "2"]
    tasks = {
        "ours": Process(ours, of_ours),
        "vw": Process(vw, of_vw),
        "vw --sgd": Process([*vw, "--sgd"], of_vw),
    }
    times = in_turns(RUNS, tasks)  # type: ignore[arg-type]
    rows = [
        [task, spread(taken), f"{ratio(times['ours'], taken):.2f}", f"{tasks[task].accuracy:.1%}"]
        for task, taken in times.items()
    ]
    return table(["program", "seconds", "ours to this", "progressive accuracy"], rows)


def draw(figure: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Draw medians as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plots, axes = plt.subplots(1, len(figure), figsize=(11, 3.2), layout="constrained")
    for axis, (name, times) in zip(axes, figure.items(), strict=True):
        medians = [float(np.median(taken)) for taken in times.values()]
        colours = ["#2a6f97" if task.startswith("ours") else "#b0b0b0" for task in times]
        bars = axis.barh(list(times), medians, color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.set_title(f"{name} digits of MNIST, seconds, median of {RUNS}")
        axis.spines[["top", "right"]].set_visible(False)
    plots.savefig(path, dpi=110)


def in_process() -> str:
    """A pass over 60,000 digits in memory: test_then_train, learn_many and partial_fit."""
    import pandas as pd
    from sklearn.linear_model import SGDClassifier

    from stream_perceptron import SGDPerceptron

    pixels, labels = digits()
    X, y = pixels / 255, np.array(labels)
    frame, series = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(784)]), pd.Series(y)
    accuracy: dict[str, float] = {}

    def timed(name: str, task: Callable[[], Any]) -> float:
        before = time.perf_counter()
        predictions = task()
        seconds = time.perf_counter() - before
        if predictions is not None:
            accuracy[name] = float((np.array(predictions) == y).mean())
        return seconds

    def ours() -> SGDPerceptron:
        return SGDPerceptron(classes=range(10), seed=0)

    tasks: dict[str, Callable[[], Any]] = {
        "test_then_train": lambda: ours().test_then_train(X, labels),
        "learn_many, pandas": lambda: ours().learn_many(frame, series),
        "SGDClassifier.partial_fit": lambda: (
            SGDClassifier(loss="log_loss", random_state=0).partial_fit(X, y, range(10)),
            None,
        )[1],
    }
    times = in_turns(RUNS, {name: partial(timed, name, task) for name, task in tasks.items()})
    rows = [
        [name, spread(taken), f"{ratio(taken, times['test_then_train']):.1f}",
         f"{accuracy[name]:.1%}" if name in accuracy else "does not test"]
        for name, taken in times.items()
    ]  # fmt: skip
    return table(["in memory", "seconds", "to test_then_train", "progressive accuracy"], rows)


Sample = tuple[dict[Any, float], Any]
Timing = tuple[float, float]  # microseconds a sample, and accuracy


def with_river(model: Any, samples: list[Sample]) -> Timing:
    """Evaluate a model in River's loop."""
    from river import evaluate, metrics

    metric = metrics.Accuracy()
    before = time.perf_counter()
    evaluate.progressive_val_score(samples, model, metric)
    return (time.perf_counter() - before) / len(samples) * 1e6, metric.get()


def with_sklearn(samples: list[Sample]) -> Timing:
    """Predict and then learn each sample with SGDClassifier."""
    from sklearn.linear_model import SGDClassifier

    model, hits = SGDClassifier(loss="log_loss", random_state=0), 0
    rows = [(np.array([list(x.values())]), np.array([y])) for x, y in samples]
    model.partial_fit(*rows[0], classes=range(10))
    before = time.perf_counter()
    for x, y in rows:
        hits += int(model.predict(x)[0] == y[0])
        model.partial_fit(x, y)
    return (time.perf_counter() - before) / len(samples) * 1e6, hits / len(samples)


def with_vw(samples: list[Sample]) -> Timing:
    """Predict and then learn each sample with Vowpal Wabbit's Python module."""
    from vowpalwabbit import Workspace

    workspace, hits = Workspace("--oaa 10 --quiet"), 0
    lines = [
        f"{y + 1} | " + " ".join(f"{name}:{v}" for name, v in x.items() if v) for x, y in samples
    ]
    before = time.perf_counter()
    for line, (_, y) in zip(lines, samples, strict=True):
        example = workspace.example(line)
        hits += int(workspace.predict(example)) == y + 1
        workspace.learn(example)
        workspace.finish_example(example)
    return (time.perf_counter() - before) / len(samples) * 1e6, hits / len(samples)


def with_capymoa(samples: list[Sample]) -> Timing:
    """Predict and then learn each sample with MOA's Perceptron."""
    from capymoa.base import MOAClassifier
    from capymoa.stream import NumpyStream
    from moa.classifiers.functions import Perceptron

    X = np.array([list(x.values()) for x, _ in samples])
    y = np.array([y for _, y in samples])
    stream = NumpyStream(X, y, target_type="categorical")
    model, hits = MOAClassifier(schema=stream.get_schema(), moa_learner=Perceptron()), 0
    instances = [stream.next_instance() for _ in samples]
    before = time.perf_counter()
    for instance in instances:
        hits += int(model.predict(instance) == instance.y_index)
        model.train(instance)
    return (time.perf_counter() - before) / len(samples) * 1e6, hits / len(samples)


def one_at_a_time() -> str:
    """Digits one by one through River's progressive_val_score, the cost of the stream left out."""
    from river import linear_model, multiclass

    from stream_perceptron import SGDPerceptron, stream

    samples = list(itertools.islice(stream.iter_parquet(train_file()), 2000))
    one_vs_rest = multiclass.OneVsRestClassifier
    tasks: dict[str, Callable[[], Timing]] = {
        "ours": lambda: with_river(SGDPerceptron(classes=range(10), seed=0), samples),
        "SoftmaxRegression": lambda: with_river(linear_model.SoftmaxRegression(), samples[:100]),
        "OneVsRest(LogisticRegression)": lambda: with_river(
            one_vs_rest(linear_model.LogisticRegression()), samples[:100]
        ),
        "OneVsRest(Perceptron)": lambda: with_river(
            one_vs_rest(linear_model.Perceptron()), samples[:100]
        ),
        "OneVsRest(PAClassifier)": lambda: with_river(
            one_vs_rest(linear_model.PAClassifier()), samples[:100]
        ),
        "SGDClassifier": lambda: with_sklearn(samples[:200]),
        "vw, Workspace": lambda: with_vw(samples),
    }
    if find_spec("capymoa") and shutil.which("java"):
        tasks["CapyMOA, MOA's Perceptron"] = lambda: with_capymoa(samples[:500])
    accuracy: dict[str, float] = {}

    def seconds(name: str) -> float:
        taken, accuracy[name] = tasks[name]()
        return taken

    times = in_turns(RUNS, {name: partial(seconds, name) for name in tasks})
    rows = [
        [name, spread(taken, ",.0f"), f"{ratio(taken, times['ours']):,.0f}",
         f"{accuracy[name]:.1%}"]
        for name, taken in times.items()
    ]  # fmt: skip
    header = ["one at a time", "us a sample", "to ours", "accuracy over its samples"]
    return table(header, rows)


def fields() -> str:
    """Fields where the peers are at home: sparse text, and badly scaled tables."""
    from river import datasets, evaluate, linear_model, metrics, multiclass, preprocessing

    from stream_perceptron import SGDPerceptron

    def text() -> list[tuple[dict[str, float], str]]:
        samples = list(docstrings())
        np.random.default_rng(0).shuffle(samples)  # type: ignore[arg-type]
        return samples

    def softmax() -> Any:
        return linear_model.SoftmaxRegression()

    def perceptrons() -> Any:
        return multiclass.OneVsRestClassifier(linear_model.Perceptron())

    scaled = preprocessing.StandardScaler
    streams = {
        "which package a docstring is from": text(),
        "ImageSegments, raw": list(datasets.ImageSegments()),
    }
    models: dict[str, Callable[[], Any]] = {
        "ours, lr 0.5": lambda: SGDPerceptron(lr=0.5, seed=0),
        "ours behind StandardScaler": lambda: scaled() | SGDPerceptron(lr=0.1, seed=0),
        "SoftmaxRegression": softmax,
        "SoftmaxRegression behind StandardScaler": lambda: scaled() | softmax(),
        "OneVsRest(Perceptron)": perceptrons,
    }
    rows = []
    for field, samples in streams.items():
        accuracy: dict[str, float] = {}

        def seconds(name: str, samples: Any = samples, accuracy: Any = accuracy) -> float:
            metric = metrics.Accuracy()
            before = time.perf_counter()
            evaluate.progressive_val_score(samples, models[name](), metric)
            accuracy[name] = metric.get()
            return time.perf_counter() - before

        times = in_turns(3, {name: partial(seconds, name) for name in models})
        rows += [
            [f"{field} ({len(samples):,})", name, spread(taken), f"{accuracy[name]:.1%}"]
            for name, taken in times.items()
        ]
    return table(["field (samples)", "model", "seconds", "progressive accuracy"], rows)


def docstrings() -> Iterable[tuple[dict[str, float], str]]:
    """Yield the words of docstrings of installed packages, each with its package."""
    import pyarrow
    import river
    import scipy
    import sklearn

    for package in (np, scipy, sklearn, pyarrow, river):
        seen = set()
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            with warnings.catch_warnings(), io.StringIO():
                warnings.simplefilter("ignore")
                try:
                    module = __import__(info.name, fromlist=["_"])
                except Exception:
                    continue  # some need what is not installed
            for name in dir(module):
                try:
                    text = getattr(module, name).__doc__
                except Exception:
                    continue
                if isinstance(text, str) and len(text) > 200 and text not in seen:
                    seen.add(text)
                    words = re.findall(r"[a-z]{3,}", text.lower())
                    kept = [w for w in words if w not in ("numpy", "scipy", "sklearn", "river")]
                    yield dict.fromkeys(kept, 1.0), package.__name__


def limit() -> str:
    """The pass beside the two matrix products X W^T and D^T X that it consists of, one thread."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    script = Path(__file__).with_name("products.py")
    output = subprocess.run(
        [sys.executable, script], check=True, capture_output=True, text=True
    ).stdout
    rows = [
        [dtype, name, spread(taken), f"{ratio(taken, times['products']):.2f}"]
        for dtype, times in json.loads(output).items()
        for name, taken in times.items()
    ]  # fmt: skip
    return table(["type", "of", "us a sample", "to the products"], rows)


SECTIONS = {
    "processes": processes,
    "wide text": wide_text,
    "in_process": in_process,
    "one_at_a_time": one_at_a_time,
    "fields": fields,
    "limit": limit,
}
