"""Instructions for a row, as multiples of those of a plain loop in C that learns a digit."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import encode_csv, encode_ipc, require_tool, write_csv, write_jsonl

from stream_perceptron.datasets.mnist import sample_path

# Rows of two runs. A cost is the difference between them, divided by the difference in rows.
SIZES, SMALL_ROWS_SIZES = (500, 4500), (4_000, 54_000)
PLAIN_LOOP = r"""
#include <math.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    static double x[784], weights[10][784], y[10];
    for (int i = 0; i < 784; i++) x[i] = i % 5 ? 0.0 : i / 784.0;
    for (int row = 0; row < atoi(argv[1]); row++)
        for (int j = 0; j < 10; j++) {
            double net = 0.0;
            for (int i = 0; i < 784; i++) if (x[i] != 0.0) net += weights[j][i] * x[i];
            y[j] = 1.0 / (1.0 + exp(-net));
            const double delta = ((row % 10 == j) - y[j]) * y[j] * (1.0 - y[j]);
            for (int i = 0; i < 784; i++) if (x[i] != 0.0) weights[j][i] += 0.01 * delta * x[i];
        }
    return 0;
}
"""
LEARN_DIGITS = """
import sys
import numpy as np, pyarrow.parquet as pq
from stream_perceptron import SGDPerceptron
from stream_perceptron.model.rows import FeatureRows, as_samples
from stream_perceptron.datasets.mnist import sample_path
n, table = int(sys.argv[1]), pq.read_table(sample_path())
pixels = np.array([[*image] for image in table["pixels"].to_pylist()])[:4500] / 255
samples = FeatureRows.from_table(tuple(f"p{i}" for i in range(784)), pixels, pixels != 0)
labels, model = table["label"].to_pylist(), SGDPerceptron(classes=range(10), seed=0)
model.train(as_samples(samples[:1], labels[:1], np.ones(1)))
model.train(as_samples(samples[:n], labels[:n], np.ones(n)))
"""
LEARN_WORDS = """
import sys
import numpy as np
from stream_perceptron import SGDPerceptron
from stream_perceptron.model.rows import FeatureRows, as_samples
n, n_known = map(int, sys.argv[1:])
names = tuple(f"w{i}" for i in range(n_known))
starts, ids = np.arange(0, 8 * n + 1, 8), np.arange(8 * n, dtype=np.int32) % n_known
rows = FeatureRows(names, starts, ids, np.ones(len(ids)))
model = SGDPerceptron(classes=["a", "b"], seed=0)
model.network.add_names(names, [])
# Initial weights are drawn at first use.
every_word = FeatureRows.from_table(names, np.ones((1, n_known)))
model.train(as_samples(every_word, ["a"], np.ones(1)))
model.train(as_samples(rows[:n], ["a", "b"] * (n // 2), np.ones(n)))
"""
READ_FILE = """
import sys
from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
source = open_source(sys.argv[2])
request = LiveModel.start([source]).build_request()
rows = sum(len(batch) for batch in source.batches(request) if batch is not None)
assert rows == int(sys.argv[1])
"""


def count_instructions(*command):
    result = subprocess.run(
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
         *map(str, command)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip
    return int(re.search(r"I +refs: +([\d,]+)", result.stderr)[1].replace(",", ""))


def measure_cost(command, arguments=lambda n: (), sizes=SIZES):
    """Return the instructions for a row of a command that gets the number of rows."""
    few, many = (count_instructions(*command, n, *arguments(n)) for n in sizes)
    return (many - few) / (sizes[1] - sizes[0])


@pytest.fixture(scope="module")
def plain_cost(tmp_path_factory):
    require_tool("valgrind")
    require_tool("gcc")
    program = tmp_path_factory.mktemp("plain") / "loop"
    program.with_suffix(".c").write_text(PLAIN_LOOP)
    subprocess.run(["gcc", "-O2", program.with_suffix(".c"), "-o", program, "-lm"], check=True)
    return measure_cost([program])


def write_digits(folder, form, n):
    """Write the first n digits in a format; return the path."""
    table, path = pq.read_table(sample_path()).slice(0, n), folder / f"{n}.{form}"
    rows = list(zip(table["label"].to_pylist(), table["pixels"].to_pylist(), strict=True))
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "arrow":
        path.write_bytes(encode_ipc(table))
    elif form == "csv":
        write_csv(path, ["label", *(f"pixel{i}" for i in range(784))], ([y, *x] for y, x in rows))
    elif form == "jsonl":
        write_jsonl(path, ({"x": [*x], "label": y} for y, x in rows))
    else:
        pairs = ([y, *(f"{i}:{v}" for i, v in enumerate(x, 1) if v)] for y, x in rows)
        path.write_bytes(encode_csv(pairs, delimiter=" "))
    return path


@pytest.mark.nightly
def test_cost_of_learning_a_digit(plain_cost, report_figure):
    cost = measure_cost([sys.executable, "-c", LEARN_DIGITS]) / plain_cost

    report_figure(f"learning a digit costs {cost:.2f} of a plain loop")
    assert cost < 0.6


@pytest.mark.nightly
def test_cost_of_a_sparse_row_does_not_depend_on_the_known_features(plain_cost, report_figure):
    costs = [
        measure_cost([sys.executable, "-c", LEARN_WORDS], lambda n, k=k: [k], SMALL_ROWS_SIZES)
        for k in (10, 100_000)
    ]

    report_figure(f"8 words of 10 cost {costs[0]:,.0f} instructions, of 100,000 {costs[1]:,.0f}")
    assert costs[1] < 2 * costs[0] < 0.2 * plain_cost


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("form", "limit"),
    [("parquet", 0.3), ("arrow", 0.3), ("csv", 0.9), ("jsonl", 0.9), ("libsvm", 0.9)],
)
def test_cost_of_reading_a_digit(form, limit, plain_cost, tmp_path, report_figure):
    cost = measure_cost(
        [sys.executable, "-c", READ_FILE], lambda n: [write_digits(tmp_path, form, n)]
    )

    report_figure(f"reading a digit from {form} costs {cost / plain_cost:.2f} of a plain loop")
    assert cost / plain_cost < limit


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["columns", "row groups"])
def test_cost_of_opening_parquet_is_linear(kind, tmp_path, report_figure):
    require_tool("valgrind")
    costs = []
    for n in (2000, 8000):
        path = tmp_path / f"{n}.parquet"
        names = [f"c{i}" for i in range(n)] if kind == "columns" else ["a"]
        n_rows = 2 if kind == "columns" else n
        columns = {name: range(n_rows) for name in names}
        table = pa.table({**columns, "label": [i % 2 for i in range(n_rows)]})
        pq.write_table(table, path, row_group_size=1)
        costs.append(count_instructions(sys.executable, "-c", READ_FILE, n_rows, path))

    report_figure(f"four times as many {kind} cost {costs[1] / costs[0]:.2f} times as much")
    assert costs[1] < 4 * costs[0]
