"""The kernel's own functions beside those of the C library."""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import ROOT, digits, in_turns, table

from stream_perceptron.model.activations import ACTIVATIONS

RUNS = 15
KERNEL = ROOT / "stream_perceptron" / "model" / "kernel"
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-Wno-unused-function"]


def built(folder: str, name: str, *flags: str) -> ctypes.CDLL:
    """Return the kernel, built by itself."""
    library = f"{folder}/{name}.so"
    source = Path(__file__).with_suffix(".c")
    command = ["gcc", *FLAGS, *flags, "-shared", "-fPIC", f"-I{KERNEL}", "-o", library, source]
    subprocess.run([*command, "-lm"], check=True)
    return ctypes.CDLL(library)


def pass_seconds(
    library: ctypes.CDLL, activation: str, pixels: np.ndarray, targets: np.ndarray
) -> float:
    """Return the time of a pass over digits."""
    n = len(targets)
    weights = np.random.default_rng(0).uniform(-0.03, 0.03, (10, 784))
    arrays = [
        pixels, targets, np.ones(n), np.full(n, 0.01), weights, np.zeros(10), np.empty((n, 10)),
        np.empty(n), np.zeros(n, bool),
    ]  # fmt: skip
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    low = ctypes.c_double(ACTIVATIONS[activation].low)
    number = list(ACTIVATIONS).index(activation)
    before = time.perf_counter()
    library.learn_digits(number, low, ctypes.c_ssize_t(n), *pointers)
    return time.perf_counter() - before


def functions() -> str:
    """A pass over 60,000 digits by the kernel with its own functions and with the C library's."""
    pixels, labels = digits()
    pixels, targets = np.ascontiguousarray(pixels), np.array(labels, np.intp)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        libraries = {"own": built(folder, "own"), "libm": built(folder, "libm", "-DLIBM")}
        for activation in ("sigmoid", "tanh", "arctan"):
            tasks = {
                name: partial(pass_seconds, library, activation, pixels, targets)
                for name, library in libraries.items()
            }
            taken = in_turns(RUNS, tasks)
            own, libm = (statistics.median(taken[name]) for name in libraries)
            each = [f"{1e6 * seconds / len(labels):.2f}" for seconds in (own, libm)]
            rows.append([activation, *each, f"{own / libm:.3f}"])
    return table(["activation", "own, us a sample", "libm", "ratio of medians"], rows)


SECTIONS = {"functions": functions}
