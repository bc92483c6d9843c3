"""Learned models have the same digests on every machine and with every compiler."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, ROOT, require_tool, write_csv
from river.base import Base

from stream_perceptron import FallingRate, LiveModel, SGDPerceptron
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.datasets.mnist import sample_path
from stream_perceptron.live.loop import learn
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import FeatureRows, as_samples

GOLDEN = ROOT / "tests" / "golden"
KERNEL = ROOT / "stream_perceptron" / "model" / "kernel"
EXPECTED_DIGESTS = json.loads((GOLDEN / "table.json").read_text())
FLAGS = ["-O3", "-ffp-contract=off", "-Wno-psabi", "-Wno-unused-function"]


class InverseDecay(Base):
    """A decreasing learning rate that needs only elementary arithmetic."""

    def get(self, t):
        return 0.1 / (1.0 + t / 1000.0)


def learn_digits(spread=1, **parameters):
    """Learn the shipped digits in batches of 1,000, with zeros, or sparse over more features."""
    table = pq.read_table(sample_path())
    pixels = np.array([list(row) for row in table["pixels"].to_pylist()], np.uint8)
    labels = table["label"].to_pylist()
    model = SGDPerceptron(classes=range(10), seed=0, **parameters)
    model.network.add_names([f"x{i}" for i in range(784 * spread)], [])
    scores = []
    for start in range(0, len(labels), 1000):
        rows = pixels[start : start + 1000]
        if spread == 1:
            names = tuple(model.features_)
            features = FeatureRows.from_table(names, rows * (1 / 255))
        else:
            samples = [[f"x{i * spread}" for i in np.flatnonzero(row).tolist()] for row in rows]
            values = [row[row > 0] / 255 for row in rows]
            features = FeatureRows.from_rows(samples, values)
        batch = as_samples(features, labels[start : start + 1000], np.ones(1000))
        result = model.train(batch, TrainOptions(with_scores=True))
        scores.append(result.scores)
    return model, np.concatenate(scores)


def write_table(folder):
    """Write a table with texts and nulls; return its path."""
    rng, rows = random.Random(0), []
    for _ in range(5000):
        color, a = rng.choice(["red", "green", "blue"]), rng.randrange(100)
        b = "" if rng.random() < 0.1 else rng.randrange(-50, 50) / 8
        rows.append([color, a, b, "high" if a > 60 or color == "red" else "low"])
    return write_csv(folder / "table.csv", ["colour", "a", "b", "label"], rows)


def learn_table(standardize, lr, folder):
    """Learn a table from a file."""
    sources = [open_source(str(write_table(folder)))]
    read_options = ReadOptions(standardize=standardize)
    live = LiveModel.start(sources, read_options, lr=lr, seed=0)
    results = list(learn(live, sources, with_scores=True))
    return live.model, np.concatenate([result.scores for result in results])


CASES = {
    activation: lambda _, activation=activation: learn_digits(activation=activation, lr=0.01)
    for activation in ACTIVATIONS
} | {
    "sparse": lambda _: learn_digits(spread=7, lr=0.1),
    "a schedule": lambda _: learn_digits(lr=InverseDecay()),
    "a threshold": lambda _: learn_digits(lr=0.1, epsilon=0.01, activation="tanh"),
    "a falling rate": lambda _: learn_digits(),
    "categories": lambda folder: learn_table(False, 0.001, folder),
    "categories, standardized": lambda folder: learn_table(True, 0.1, folder),
    "categories, standardized, a falling rate": lambda folder: learn_table(
        True, FallingRate(0.5, 0.01), folder
    ),
}


def compute_digest(model, scores):
    """Return the digest of a model and its predictions."""
    digest = hashlib.sha256(model.weights.tobytes() + model.biases.tobytes())
    if model.network.scaler is not None:
        digest.update(model.network.scaler.statistics.tobytes())
    digest.update(scores.tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def golden_run(tmp_path_factory):
    """The digest of each case, the file of kernel calls, and the outputs of these calls."""
    folder = tmp_path_factory.mktemp("golden")
    digests, calls, outputs, first = {}, [], [], 0
    original_learn = kernel.learn

    def record_call(weights, rule, scaler, class_weights, counters, samples, part, results):
        targets = results.targets.copy()
        call = encode_call(weights, rule, scaler, samples, part, targets)
        before = counters.counts.copy()
        end = original_learn(weights, rule, scaler, class_weights, counters, samples, part, results)
        # Two batches of digits are enough for each compiler, as one of them is emulated.
        is_predicted = weights.weights.size and part.with_predictions and part.learns
        if not is_predicted or sum(len(record) > 500_000 for record in calls[first:]) == 2:
            return end
        # The C program begins with zeros where the kernel leaves a result unchanged.
        learned = slice(part.start, part.end)
        errors = np.where(targets < 0, 0.0, results.errors)[learned]
        counts = counters.counts - before
        parts = [
            weights.weights.T, weights.biases, weights.update_counts[: 1 + len(weights.weights.T)],
            np.maximum(results.predicted, 0)[learned],
            np.nan_to_num(results.scores)[learned], errors, results.updated[learned], counts,
        ]  # fmt: skip
        if scaler is not None:
            parts.append(scaler.statistics)
        calls.append(call)
        outputs.append(struct.pack("q", end) + b"".join(array.tobytes() for array in parts))
        return end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "learn", record_call)
        for name, case in CASES.items():
            first = len(calls)
            digests[name] = compute_digest(*case(folder))
    (folder / "calls").write_bytes(b"".join(calls))
    return digests, folder / "calls", b"".join(outputs)


def encode_call(weights, rule, scaler, samples, part, targets):
    """Return a kernel call in the form that the C program reads."""
    k, d = weights.weights.shape
    activation = rule.activation
    function = list(ACTIVATIONS).index(activation.name)
    stride = weights.weights.strides[1] // weights.weights.itemsize
    numbers = (
        function, rule.stop, part.start, part.end, len(samples), k, d, stride,
        len(samples.values), part.n_features is not None, part.n_labels is not None,
        0 if scaler is None else len(scaler),
    )  # fmt: skip
    rate = rule.falling_rate
    falling = (0.0, 0.0) if rate is None else (rate.n_falling, rate.start / rate.end)
    head = struct.pack(
        "12q5d", *map(int, numbers), activation.low, activation.high, rule.epsilon, *falling
    )
    parts = [weights.weights.T, weights.biases, weights.update_counts[: 1 + d]]
    parts += [samples.starts, samples.values]
    parts += [samples.feature_ids, samples.status]
    parts += [counts for counts in (part.n_features, part.n_labels) if counts is not None]
    parts += [targets, part.sample_weights, part.rates]
    if scaler is not None:
        parts.append(scaler.statistics)
    return head + b"".join(array.tobytes() for array in parts)


def test_learned_digests_are_in_the_table(golden_run):
    assert golden_run[0] == EXPECTED_DIGESTS, json.dumps(golden_run[0], indent=1)


# The compiler and its options, an emulator, and instructions that the processor must have.
BUILDS = {
    "SSE2": ("gcc -march=x86-64", "", "sse2"),
    "AVX2": ("gcc -march=x86-64-v3", "", "avx2"),
    "AVX-512": ("gcc -march=x86-64-v4", "", "avx512vl"),
    "each processor": ("gcc", "", ""),
    "plain C": ("gcc -DPLAIN_C", "", ""),
    "unoptimized": ("gcc -O0", "", ""),
    "clang": ("clang -march=x86-64-v3", "", "avx2"),
    "musl": ("musl-gcc -static", "", ""),
    "aarch64": ("aarch64-linux-gnu-gcc -static", "qemu-aarch64-static", ""),
}


@pytest.mark.slow
def test_every_compiler_and_processor_gives_the_same_bits(golden_run, tmp_path, report_figure):
    """The kernel's headers, compiled alone, give the same bits as the installed module."""
    _, calls, outputs = golden_run
    cpu_info, program = Path("/proc/cpuinfo").read_text(), tmp_path / "driver"
    digests = {"installed": hashlib.sha256(outputs).hexdigest()}
    for name, (compiler, emulator, instructions) in BUILDS.items():
        if instructions not in cpu_info:
            continue
        tool, *options = compiler.split()
        for name_of_tool in (tool, *emulator.split()):
            require_tool(name_of_tool)
        command = [tool, *FLAGS, *options, f"-I{KERNEL}"]
        if name != "each processor":
            command.append("-DFOR_EACH_PROCESSOR=")
        subprocess.run([*command, "-o", program, GOLDEN / "driver.c", "-lm"], check=True)
        with calls.open("rb") as file:
            output = subprocess.check_output([*emulator.split(), program], stdin=file)
        digests[name] = hashlib.sha256(output).hexdigest()

    report_figure(f"the same bits from {', '.join(digests)}")
    assert len(set(digests.values())) == 1, digests


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Variables: another rounding in the C library, NumPy's baseline instructions, other hashes."""
    from numpy._core import _multiarray_umath as info

    require_tool("gcc")
    library = tmp_path_factory.mktemp("library") / "moved.so"
    source = GOLDEN / "moved.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    features = [name for name in info.__cpu_dispatch__ if info.__cpu_features__[name]]
    return [
        # Python computes constant powers when it compiles, and caches them.
        {"LD_PRELOAD": str(library), "PYTHONPYCACHEPREFIX": str(library.parent)},
        {"NPY_DISABLE_CPU_FEATURES": " ".join(features)},
        {"PYTHONHASHSEED": "1"},
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["digits", "--activation", "sigmoid"],
        ["digits", "--activation", "tanh", "--init-range", "0.5"],
        ["table", "--activation", "arctan", "--standardize"],
    ],
    ids=lambda options: options[2],
)
def test_checkpoint_does_not_depend_on_the_environment(
    options, environments, mnist_sample, tmp_path
):
    """Predictions with all scores do not depend on it, either."""
    outputs, source = [], mnist_sample
    if options[0] == "table":
        source = write_table(tmp_path)
        os.utime(source, (10**9, 10**9))  # a checkpoint lacks the time of a recent change
    for number, variables in enumerate([{}, *environments]):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run(
            [COMMAND, "learn", source, "-m", "m.npz", "-p", "p.jsonl", "--scores",
             "--quiet", *options[1:]],
            cwd=folder, env=os.environ | {"PYTHONHASHSEED": "0"} | variables, check=True,
        )  # fmt: skip
        outputs.append([(folder / name).read_bytes() for name in ("m.npz", "p.jsonl")])

    assert outputs[1:] == outputs[:1] * len(environments)


def test_altered_math_library_rounds_differently(environments):
    """Otherwise the test of checkpoints would prove nothing."""
    script = "import math; print([math.exp(1.5), math.tanh(0.3), math.atan(0.3), 1.7 ** 0.3])"
    values, altered = (
        json.loads(subprocess.check_output([sys.executable, "-c", script], env=os.environ | each))
        for each in ({}, environments[0])
    )

    assert np.nextafter(values, np.inf).tolist() == altered
