"""Run by the section `limit`, which sets the number of threads: prints times as JSON."""

from __future__ import annotations

import json
import time
from functools import partial

import numpy as np
from common import digits, in_turns
from inside import INPUTS, pass_seconds

RUNS = 7


def main() -> None:
    pixels, labels = digits()
    n = len(labels)
    results = {}
    for dtype in ("float64", "float32"):
        X = (pixels / 255).astype(dtype)
        W = np.zeros((10, 784), dtype)
        D = np.random.default_rng(0).normal(size=(n, 10)).astype(dtype)

        def products(X: np.ndarray = X, W: np.ndarray = W, D: np.ndarray = D) -> float:
            before = time.perf_counter()
            _ = X @ W.T
            _ = D.T @ X
            return (time.perf_counter() - before) / n * 1e6

        def kernel(of: str, dtype: str = dtype) -> float:
            return pass_seconds(pixels, labels, dtype, of) / n * 1e6

        tasks = {of: partial(kernel, of) for of in INPUTS}
        results[dtype] = in_turns(RUNS, {"products": products, **tasks})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
