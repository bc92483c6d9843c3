"""Learned models have the same digests on every machine and with every compiler."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, ROOT, require_tool
from river.base import Base

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.datasets.mnist import sample_path
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import Rows, Samples

GOLDEN = ROOT / "tests" / "golden"
KERNEL = ROOT / "stream_perceptron" / "model" / "kernel"
TABLE = json.loads((GOLDEN / "table.json").read_text())
FLAGS = ["-O3", "-ffp-contract=off", "-Wno-psabi", "-Wno-unused-function"]


class Halving(Base):
    """A falling rate, computed by elementary arithmetic alone."""

    def get(self, t):
        return 0.1 / (1.0 + t / 1000.0)


def digits():
    table = pq.read_table(sample_path())
    pixels = np.array([list(row) for row in table["pixels"].to_pylist()], np.uint8)
    return pixels, table["label"].to_pylist()


def learn_digits(spread=1, **parameters):
    """Learn the shipped digits in blocks of 1,000, as bytes, or sparse over more columns."""
    pixels, labels = digits()
    model = SGDPerceptron(classes=range(10), seed=0, **parameters)
    model.network.add_names([f"x{i}" for i in range(784 * spread)], [])
    probabilities = []
    for start in range(0, len(labels), 1000):
        rows = pixels[start : start + 1000]
        if spread == 1:
            names = tuple(model.features_)
            features = Rows.from_table(names, rows, scale=1 / 255)
        else:
            samples = [[f"x{i * spread}" for i in np.flatnonzero(row).tolist()] for row in rows]
            values = [row[row > 0] / 255 for row in rows]
            features = Rows.from_rows(samples, values)
        block = Samples(features, labels[start : start + 1000], np.ones(1000))
        result = model.train(block, TrainOptions(with_probabilities=True))
        probabilities.append(result.probabilities)
    return model, np.concatenate(probabilities)


def table_in(folder):
    """Write a table with texts and blanks; return its path."""
    rng = random.Random(0)
    path = folder / "table.csv"
    with path.open("w") as file:
        file.write("colour,a,b,label\n")
        for _ in range(5000):
            colour, a = rng.choice(["red", "green", "blue"]), rng.randrange(100)
            b = "" if rng.random() < 0.1 else rng.randrange(-50, 50) / 8
            file.write(f"{colour},{a},{b},{'high' if a > 60 or colour == 'red' else 'low'}\n")
    return path


def learn_table(standardize, folder):
    """Learn a table from a file."""
    sources = [open_source(str(table_in(folder)))]
    asked = ReadOptions(one_hot=("colour",), standardize=standardize)
    live = LiveModel.start(sources, asked, lr=0.1 if standardize else 0.001, seed=0)
    results = list(live.run(sources, with_probabilities=True))
    return live.model, np.concatenate([result.probabilities for result in results])


CASES = {
    activation: lambda _, activation=activation: learn_digits(activation=activation, lr=0.01)
    for activation in ACTIVATIONS
} | {
    "sparse": lambda _: learn_digits(spread=7, lr=0.1),
    "a schedule": lambda _: learn_digits(lr=Halving()),
    "a threshold": lambda _: learn_digits(lr=0.1, epsilon=0.01, activation="tanh"),
    "one-hot": lambda folder: learn_table(False, folder),
    "one-hot, standardized": lambda folder: learn_table(True, folder),
}


def digest_of(model, probabilities):
    """Return the digest of a model and its predictions."""
    learned = hashlib.sha256(model.weights.tobytes() + model.biases.tobytes())
    if model.network.scaler is not None:
        learned.update(model.network.scaler.table.tobytes())
    learned.update(probabilities.tobytes())
    return learned.hexdigest()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Return the digest of each case, and its kernel calls with their outputs."""
    folder = tmp_path_factory.mktemp("golden")
    digests, calls, written, first = {}, [], [], 0
    real = kernel.learn

    def learn(weights, rule, scaler, part, results):
        call = call_of(weights, rule, scaler, part)
        before = results.counters.counts.copy()
        n_done = real(weights, rule, scaler, part, results)
        # Two batches of digits are enough for each compiler, as one of them is emulated.
        if not weights.weights.size or sum(len(one) > 500_000 for one in calls[first:]) == 2:
            return n_done
        errors = np.where(part.targets < 0, 0.0, results.errors)
        counts = results.counters.counts - before
        parts = [
            weights.weights.T, weights.biases, results.nets, errors, results.updated, counts
        ]  # fmt: skip
        if scaler is not None:
            parts.append(scaler.table)
        calls.append(call)
        written.append(struct.pack("q", n_done) + b"".join(array.tobytes() for array in parts))
        return n_done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "learn", learn)
        for name, case in CASES.items():
            first = len(calls)
            digests[name] = digest_of(*case(folder))
    (folder / "calls").write_bytes(b"".join(calls))
    return digests, folder / "calls", b"".join(written)


def call_of(weights, rule, scaler, part):
    """Return a kernel call in the form that the C program reads."""
    (k, d), rows = weights.weights.shape, part.rows
    activation = rule.activation
    function = list(ACTIVATIONS).index(activation.name)
    is_bytes, is_table = rows.values.dtype == np.uint8, rows.name_ids is None
    # Tables with other column orders have another code path, covered by tests of the kernel.
    assert not is_table or part.feature_ids.tolist() == list(range(len(part.feature_ids)))
    stride = weights.weights.strides[1] // weights.weights.itemsize
    numbers = (
        function, rule.stop, len(rows), k, d, stride, len(rows.values), len(part.feature_ids),
        is_bytes, is_table, 0 if scaler is None else len(scaler),
    )  # fmt: skip
    head = struct.pack("11q3d", *map(int, numbers), activation.low, activation.high, rule.epsilon)
    parts = [weights.weights.T, weights.biases, rows.starts, rows.values]
    parts += [rows.byte_values] * is_bytes
    if not is_table:
        parts += [part.feature_ids, rows.name_ids]
    parts += [part.targets, part.sample_weights, part.rates]
    if scaler is not None:
        parts.append(scaler.table)
    return head + b"".join(array.tobytes() for array in parts)


def test_what_is_learned_is_in_the_table(learned):
    assert learned[0] == TABLE, json.dumps(learned[0], indent=1)


BUILDS = {
    "SSE2": (["gcc", "-march=x86-64"], []),
    "AVX2": (["gcc", "-march=x86-64-v3"], []),
    "AVX-512": (["gcc", "-march=x86-64-v4"], []),
    "each processor": (["gcc"], []),
    "plain C": (["gcc", "-DPLAIN_C"], []),
    "unoptimised": (["gcc", "-O0"], []),
    "clang": (["clang", "-march=x86-64-v3"], []),
    "musl": (["musl-gcc", "-static"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64-static"]),
}
NEEDED = {
    "SSE2": "sse2",
    "AVX2": "avx2",
    "clang": "avx2",
    "AVX-512": "avx512vl",
}  # of the processor


@pytest.mark.slow
def test_every_compiler_and_processor_gives_the_same_bits(learned, tmp_path, tell):
    """The kernel's headers, built alone, learn the same as the installed module."""
    _, calls, written = learned
    here = Path("/proc/cpuinfo").read_text().split()
    builds = {name: way for name, way in BUILDS.items() if NEEDED.get(name, here[0]) in here}
    for compiler, emulator in builds.values():
        for tool in [compiler[0], *emulator]:
            require_tool(tool)
    digests = {"installed": hashlib.sha256(written).hexdigest()}
    for name, (compiler, emulator) in builds.items():
        program = tmp_path / "driver"
        command = [compiler[0], *FLAGS, *compiler[1:], f"-I{KERNEL}"]
        if name != "each processor":
            command.append("-DFOR_EACH_PROCESSOR=")
        subprocess.run([*command, "-o", program, GOLDEN / "driver.c", "-lm"], check=True)
        with calls.open("rb") as file:
            result = subprocess.run(
                [*emulator, program], stdin=file, capture_output=True, check=True
            )
        digests[name] = hashlib.sha256(result.stdout).hexdigest()

    tell(f"the same bits from {', '.join(builds)}")
    assert {digests["installed"]} == set(digests.values()), digests


def test_excess_precision_is_refused(tmp_path):
    """The 387 would round twice."""
    require_tool("gcc")
    if platform.machine() != "x86_64":
        pytest.skip("only x86 has a 387")
    command = ["gcc", "-mfpmath=387", *FLAGS, f"-I{KERNEL}", "-c", "-o", tmp_path / "driver.o"]
    result = subprocess.run([*command, GOLDEN / "driver.c"], capture_output=True, text=True)

    assert result.returncode != 0
    assert "arithmetic here has excess precision" in result.stderr


@pytest.fixture(scope="module")
def another_library(tmp_path_factory):
    """The environment of a C library that rounds differently."""
    require_tool("gcc")
    library = tmp_path_factory.mktemp("library") / "moved.so"
    source = GOLDEN / "moved.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    # Python computes constant powers when it compiles, and caches them.
    return {"LD_PRELOAD": str(library), "PYTHONPYCACHEPREFIX": str(library.parent)}


@pytest.fixture(scope="module")
def plain_numpy():
    """The environment in which NumPy uses only baseline instructions."""
    from numpy._core import _multiarray_umath as info

    features = [name for name in info.__cpu_dispatch__ if info.__cpu_features__[name]]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(features)}


@pytest.fixture(scope="module")
def other_hashes():
    """The environment with other hashes of texts."""
    return {"PYTHONHASHSEED": "1"}


@pytest.mark.parametrize("environment", ["another_library", "plain_numpy", "other_hashes"])
@pytest.mark.parametrize(
    "options",
    [
        ["digits", "--activation", "sigmoid"],
        ["digits", "--activation", "tanh", "--init-range", "0.5"],
        ["table", "--activation", "arctan", "--standardize", "--one-hot", "colour"],
    ],
    ids=lambda options: options[2],
)
def test_a_checkpoint_does_not_depend_on_libraries(options, environment, sample, request, tmp_path):
    """The same for predictions with all probabilities."""
    written = []
    source, *options = options
    source = sample if source == "digits" else table_in(tmp_path)
    for more in ({}, request.getfixturevalue(environment)):
        folder = tmp_path / str(len(written))
        folder.mkdir()
        subprocess.run(
            [COMMAND, "learn", source, "-m", "m.npz", "-p", "p.jsonl", "--probabilities",
             "--quiet", *options],
            cwd=folder, env=os.environ | {"PYTHONHASHSEED": "0"} | more, check=True,
        )  # fmt: skip
        written.append([(folder / name).read_bytes() for name in ("m.npz", "p.jsonl")])

    assert written[0] == written[1]


def test_the_other_library_is_another(another_library):
    """Otherwise the test above would prove nothing."""
    script = "import math; print([math.exp(1.5), math.tanh(0.3), math.atan(0.3), 1.7 ** 0.3])"
    shown = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", script], env=os.environ | more, capture_output=True
            ).stdout
        )
        for more in ({}, another_library)
    ]

    assert np.nextafter(shown[0], np.inf).tolist() == shown[1]
