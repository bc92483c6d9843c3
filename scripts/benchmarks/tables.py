"""Ordinary tables: how well they are learned beside VW, and what standardizing costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import BENCH, BIN, VW, in_turns, prepared, table
from river import preprocessing
from sklearn import datasets

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import Selection, open_source
from stream_perceptron.model.rows import Samples

TABLES = ("iris", "wine", "breast_cancer", "digits", "colours")
RATES = ("0.01", "0.003", "0.03", "0.1", "0.3", "1", "3")
VW_RATES = ("0.5", "0.01", "0.03", "0.1", "0.3", "1", "3")
RUNS = 7


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return shuffled rows with their label under "label"."""
    rng = np.random.default_rng(0)
    if name == "colours":
        chosen = rng.choice(["red", "green", "blue"], 500).tolist()
        numbers = (rng.normal(size=500) * 50).tolist()
        kinds = {"red": 0, "green": 1, "blue": 2}
        pairs = zip(chosen, numbers, strict=True)
        return [{"colour": c, "x": x, "label": kinds[c]} for c, x in pairs]
    loaded = getattr(datasets, f"load_{name}")()
    order = rng.permutation(len(loaded.data))
    names = [str(each) for each in loaded.feature_names]
    pairs = zip(loaded.data[order].tolist(), loaded.target[order].tolist(), strict=True)
    return [dict(zip(names, x, strict=True)) | {"label": y} for x, y in pairs]


def tables() -> str:
    """Progressive accuracy; vw reads its own text. Tuned: the best of seven learning rates."""
    rows = []
    for name in TABLES:
        data = rows_of(name)
        options = ["--one-hot", "colour"] if name == "colours" else []
        source = prepared(f"table-{name}.csv", partial(_write_csv, data))
        text = prepared(f"table-{name}.vw", partial(_write_vw, data))
        labels = [row["label"] + 1 for row in data]
        found = [[_ours(source, options, rate) for rate in RATES]]
        found += [[_ours(source, [*options, "--standardize"], rate) for rate in RATES]]
        for more in ([], ["--sgd"]):
            found += [[_vw(text, labels, [*more, "-l", rate]) for rate in VW_RATES]]
        # The first rate is the program's own.
        cells = [accuracy for each in found for accuracy in (each[0], max(each))]
        rows.append([name, *(f"{cell:.1%}" for cell in cells)])
    header = ["table"]
    for program in ("ours", "ours, --standardize", "vw", "vw --sgd"):
        header += [program, "tuned"]
    return table(header, rows)


def _write_csv(data: Sequence[dict[str, Any]], file: Any) -> None:
    lines = [",".join(data[0]), *(",".join(map(str, row.values())) for row in data)]
    file.write(("\n".join(lines) + "\n").encode())


def _write_vw(data: Sequence[dict[str, Any]], file: Any) -> None:
    for row in data:
        x = {name.replace(" ", "_"): value for name, value in row.items() if name != "label"}
        pairs = [f"{n}={v}" if isinstance(v, str) else f"{n}:{v}" for n, v in x.items()]
        file.write(f"{row['label'] + 1} | {' '.join(pairs)}\n".encode())


def _ours(source: Path, options: Sequence[str], rate: str) -> float:
    command = [BIN / "stream-perceptron", "learn", source, "--lr", rate, "--json", "--quiet"]
    shown = subprocess.run([*command, *options], capture_output=True, check=True).stdout
    return float(json.loads(shown)["accuracy"])


def _vw(text: Path, labels: Sequence[int], options: Sequence[str]) -> float:
    """Return the share of samples that VW predicted correctly before it learned them."""
    predicted = BENCH / "predicted"
    command = [*VW, "--oaa", str(max(labels)), "-d", text, "-p", predicted, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = [int(float(line)) for line in predicted.read_text().split()]
    return float(np.mean([a == y for a, y in zip(answers, labels, strict=True)]))


def standardize() -> str:
    """Microseconds a row in memory: with --standardize, without, and River's own pipeline."""
    rows = []
    for name in TABLES[:4]:
        data = rows_of(name)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(data), sink)
        path = prepared(
            f"table-{name}.parquet", lambda file, sink=sink: file.write(sink.getvalue())
        )
        samples = [({k: v for k, v in r.items() if k != "label"}, r["label"]) for r in data]
        taken = in_turns(
            RUNS,
            {
                "with": partial(_seconds, path, True),
                "without": partial(_seconds, path, False),
                "river": partial(_seconds_of_river, samples),
            },
        )
        per_row = {who: 1e6 * statistics.median(t) / len(data) for who, t in taken.items()}
        rows.append(
            [
                name,
                *(f"{per_row[who]:.2f}" for who in ("with", "without", "river")),
                f"{per_row['with'] / per_row['without']:.1f}",
                f"{per_row['river'] / per_row['with']:.1f}",
            ]
        )
    header = ["us a row", "--standardize", "without", "River", "cost", "speed to River"]
    return table(header, rows)


def _seconds(path: Path, is_standardized: bool) -> float:
    """Return the time that the model takes, without the reading."""
    sources = [open_source(str(path))]
    selection = Selection(standardize=is_standardized)
    live = LiveModel.start(sources, selection, lr=0.1, seed=0)
    batches = list(sources[0].batches(live.request()))
    before = time.perf_counter()
    for batch in batches:
        live.model.train(Samples(batch.features, batch.labels, batch.weights))
    return time.perf_counter() - before


def _seconds_of_river(samples: Sequence[tuple[dict[str, float], int]]) -> float:
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    before = time.perf_counter()
    for x, y in samples:
        model.predict_one(x)
        model.learn_one(x, y)
    return time.perf_counter() - before


SECTIONS = {"tables": tables, "standardize": standardize}
