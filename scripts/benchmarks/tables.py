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
import river.datasets
from common import BENCH, BIN, VW, in_turns, prepared, table
from river import compose, evaluate, linear_model, metrics, multiclass, preprocessing
from sklearn import datasets

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import Selection, open_source
from stream_perceptron.model.rows import Samples

TABLES = ("iris", "wine", "breast_cancer", "digits")
OF_RIVER = ("Phishing", "ImageSegments")
RATES = ("0.1", "0.01", "0.003", "0.03", "0.3", "1", "3")
VW_RATES = ("0.5", "0.01", "0.03", "0.1", "0.3", "1", "3")
RUNS = 7
SEED = 7


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return shuffled rows with their label, a whole number, under "label"."""
    rng = np.random.default_rng(SEED)
    if name == "colours":
        chosen = rng.choice(["red", "green", "blue"], 500).tolist()
        numbers = (rng.normal(size=500) * 50).tolist()
        kinds = {"red": 0, "green": 1, "blue": 2}
        pairs = zip(chosen, numbers, strict=True)
        return [{"colour": c, "x": x, "label": kinds[c]} for c, x in pairs]
    if name == "churn":
        return _churn(rng)
    if name in OF_RIVER:
        found = [x | {"label": y} for x, y in getattr(river.datasets, name)()]
        labels = sorted({row["label"] for row in found})
        rows = [row | {"label": labels.index(row["label"])} for row in found]
        return [rows[i] for i in rng.permutation(len(rows))]
    loaded = getattr(datasets, f"load_{name}")()
    order = rng.permutation(len(loaded.data))
    names = [str(each) for each in loaded.feature_names]
    pairs = zip(loaded.data[order].tolist(), loaded.target[order].tolist(), strict=True)
    return [dict(zip(names, x, strict=True)) | {"label": y} for x, y in pairs]


def _churn(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return customers whose leaving depends on how long they stayed, what they pay and ask."""
    rows = []
    for _ in range(3000):
        months, calls = int(rng.integers(1, 72)), int(rng.poisson(2))
        monthly = round(float(rng.uniform(20, 120)), 2)
        urge = 0.8 - 0.06 * months + 0.02 * monthly + 0.5 * calls + rng.normal()
        rows.append(
            {
                "months": months,
                "monthly": monthly,
                "total": round(months * monthly * float(rng.uniform(0.9, 1.1)), 2),
                "calls": calls,
                "age": int(rng.integers(18, 90)),
                "label": int(urge > 1.5),
            }
        )
    return rows


def tables() -> str:
    """Progressive accuracy of one pass; vw reads its own text. Tuned: the best of seven rates."""
    rows = []
    for name in (*TABLES, *OF_RIVER, "churn", "colours"):
        data = rows_of(name)
        options = ["--one-hot", "colour"] if name == "colours" else []
        source = prepared(f"table-{name}.csv", partial(_write_csv, data))
        text = prepared(f"table-{name}.vw", partial(_write_vw, data))
        labels = [row["label"] + 1 for row in data]
        found = [[_ours(source, options, rate) for rate in (None, *RATES)]]
        found += [[_ours(source, [*options, "--no-standardize"], None)]]
        found += [[_vw(text, labels, ["-l", rate]) for rate in VW_RATES]]
        found += [[_river(data)]]
        # The first rate is the program's own.
        cells = [np.bincount(labels).max() / len(labels)]
        for each in found:
            cells += [each[0], max(each)] if len(each) > 1 else each
        rows.append([name, f"{len(data):,}", *(f"{cell:.1%}" for cell in cells)])
    header = ["table", "rows", "largest class", "ours", "tuned", "ours, --no-standardize", "vw",
              "tuned", "River"]  # fmt: skip
    return table(header, rows)


def _river(data: Sequence[dict[str, Any]]) -> float:
    """Return the progressive accuracy of a usual pipeline of River's."""
    encode = compose.SelectType(str) | preprocessing.OneHotEncoder()
    scale = compose.SelectType(float, int, bool) | preprocessing.StandardScaler()
    model = (scale + encode) | multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    metric = metrics.Accuracy()
    pairs = (({k: v for k, v in row.items() if k != "label"}, row["label"]) for row in data)
    return float(evaluate.progressive_val_score(pairs, model, metric).get())


def _write_csv(data: Sequence[dict[str, Any]], file: Any) -> None:
    lines = [",".join(data[0]), *(",".join(map(str, row.values())) for row in data)]
    file.write(("\n".join(lines) + "\n").encode())


def _write_vw(data: Sequence[dict[str, Any]], file: Any) -> None:
    for row in data:
        x = {name.replace(" ", "_"): value for name, value in row.items() if name != "label"}
        pairs = [f"{n}={v}" if isinstance(v, str) else f"{n}:{float(v)}" for n, v in x.items()]
        file.write(f"{row['label'] + 1} | {' '.join(pairs)}\n".encode())


def _ours(source: Path, options: Sequence[str], rate: str | None) -> float:
    command = [BIN / "stream-perceptron", "learn", source, "--json", "--quiet"]
    command += ["--lr", rate] if rate else []
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
    for name in TABLES:
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
