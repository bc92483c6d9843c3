"""How two threads share the work of learning a file, and which one limits the speed."""

from __future__ import annotations

import gc
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import forms
from common import run_in_turns, section, table, time_call

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source, read_batches
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Source
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import Samples

BUFFER = 2**21  # bytes per read
RUNS = 5
CLASSES = [str(digit) for digit in range(10)]

Options = dict[str, Any]  # of a model, and the scale of its features


def start_model(path: Path, options: Options) -> tuple[LiveModel, Source]:
    """Return a new model and the source to learn."""
    source = open_source(str(path))
    read_options = ReadOptions(scale=options.get("scale"))
    parameters = {name: value for name, value in options.items() if name != "scale"}
    return LiveModel.start([source], read_options, seed=0, **parameters), source


def read_bytes(path: Path) -> float:
    """Return the seconds that copying a cached file takes: the limit set by memory bandwidth."""
    buffer = memoryview(bytearray(BUFFER))
    descriptor = os.open(path, os.O_RDONLY)
    before = time.perf_counter()
    while os.readv(descriptor, [buffer]):
        pass
    taken = time.perf_counter() - before
    os.close(descriptor)
    return taken


def scan(path: Path, options: Options) -> float:
    """Return the seconds one thread takes to read a file and split it into cells or columns."""
    live, source = start_model(path, options)
    request = live.request()

    def read_rows() -> None:
        for _ in source.rows(request):
            pass

    return time_call(read_rows)[0]


def train(path: Path, options: Options) -> float:
    """Return the seconds that the model alone takes to learn a file's samples in memory."""
    live, source = start_model(path, options)
    batches = list(read_batches(source, live.request()))
    model = live.model

    def learn() -> None:
        for batch in batches:
            samples = Samples(batch.features, batch.labels, batch.weights, batch.unscaled)
            model.train(samples, TrainOptions())

    return time_call(learn)[0]


def learn(path: Path, options: Options) -> tuple[float, float, float]:
    """Return the seconds a run takes, and the CPU seconds of the learning and the other threads."""
    live, source = start_model(path, options)
    gc.collect()
    process, thread, wall = time.process_time(), time.thread_time(), time.perf_counter()
    for _ in live.run([source]):
        pass
    wall, thread = time.perf_counter() - wall, time.thread_time() - thread
    return wall, thread, time.process_time() - process - thread


@section("threads")
def threads() -> str:
    """Seconds to learn a file in a running process, and to run each part alone."""
    digits: Options = {"classes": CLASSES, "scale": 1 / 255}
    texts = forms.prepare_digits()
    files: dict[str, tuple[Path, Options]] = {
        "60,000 digits, Parquet": (Path(forms.mnist_file()), {"classes": CLASSES}),
        "60,000 digits, CSV": (texts["csv"], digits),
        "60,000 digits, JSON": (texts["json, flat"], digits),
        "60,000 digits, LIBSVM": (texts["libsvm"], digits),
        "200,000 rows of 17 digits, CSV": (forms.prepare_long_numbers()["csv"], {}),
        "200,000 bags of words, LIBSVM": (forms.prepare_bags()["libsvm"], {"lr": 0.1}),
        "200,000 bags of words, JSON": (forms.prepare_bags()["json"], {"lr": 0.1}),
    }
    rows = []
    for name, (path, options) in files.items():
        tasks = {
            "bytes": partial(read_bytes, path),
            "scan": partial(scan, path, options),
            "train": partial(train, path, options),
        }
        figures = [taken.median for taken in run_in_turns(RUNS, tasks).values()]
        whole, learning, reading = sorted(learn(path, options) for _ in range(RUNS))[RUNS // 2]
        rows.append([
            name, f"{path.stat().st_size / 1e6:.0f}", *(f"{figure:.2f}" for figure in figures),
            f"{whole:.2f}", f"{reading:.2f}", f"{learning:.2f}",
            f"{(reading + learning) / whole / 2:.0%}",
            "learning thread" if learning >= reading else "reading thread",
        ])  # fmt: skip
    header = [
        "file", "MB", "bytes alone", "read and scan alone", "train alone", "learn",
        "CPU of the reading thread", "CPU of the learning thread", "two cores", "bound by",
    ]  # fmt: skip
    return table(header, rows)
