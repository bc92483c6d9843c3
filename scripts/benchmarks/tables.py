"""Ordinary tables: accuracy compared with VW and River, and the cost of standardizing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
from common import LEARN, VW, find_json, run_in_turns, run_process, section, table, time_call
from forms import BENCH, prepare_file
from river import compose, evaluate, linear_model, metrics, multiclass, preprocessing
from sklearn import datasets

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import ReadOptions, open_source, read_batches
from stream_perceptron.model.rows import Samples

TABLES = ("iris", "wine", "breast_cancer", "digits")
RIVER_TABLES = ("Phishing", "ImageSegments")
RATES = ("0.1", "0.01", "0.003", "0.03", "0.3", "1", "3")
VW_RATES = ("0.5", "0.01", "0.03", "0.1", "0.3", "1", "3")

Rows = list[dict[str, Any]]


def load_rows(name: str) -> Rows:
    """Return shuffled rows with their label, a whole number, under "label"."""
    rng = np.random.default_rng(7)
    if name == "churn":
        return [draw_customer(rng) for _ in range(3000)]
    if name == "colours":
        colours = ["red", "green", "blue"]
        chosen, numbers = rng.choice(colours, 500).tolist(), (rng.normal(size=500) * 50).tolist()
        pairs = zip(chosen, numbers, strict=True)
        return [{"colour": c, "x": x, "label": colours.index(c)} for c, x in pairs]
    if name in RIVER_TABLES:
        rows = [x | {"label": y} for x, y in getattr(river.datasets, name)()]
        labels = sorted({row["label"] for row in rows})
        rows = [row | {"label": labels.index(row["label"])} for row in rows]
    else:
        data = getattr(datasets, f"load_{name}")()
        names = [*map(str, data.feature_names), "label"]
        values = zip(data.data.tolist(), data.target.tolist(), strict=True)
        rows = [dict(zip(names, [*x, y], strict=True)) for x, y in values]
    return [rows[i] for i in rng.permutation(len(rows))]


def draw_customer(rng: np.random.Generator) -> dict[str, Any]:
    """Return a customer; whether they leave depends on months, monthly payment and calls."""
    months, calls = int(rng.integers(1, 72)), int(rng.poisson(2))
    monthly = round(float(rng.uniform(20, 120)), 2)
    urge = 0.8 - 0.06 * months + 0.02 * monthly + 0.5 * calls + rng.normal()
    return {
        "months": months,
        "monthly": monthly,
        "total": round(months * monthly * float(rng.uniform(0.9, 1.1)), 2),
        "calls": calls,
        "age": int(rng.integers(18, 90)),
        "label": int(urge > 1.5),
    }


def split_labels(rows: Rows) -> list[tuple[dict[str, Any], int]]:
    return [({k: v for k, v in row.items() if k != "label"}, row["label"]) for row in rows]


@section("tables")
def tables() -> str:
    """Progressive accuracy of one pass; vw reads its own format. Tuned: the best of seven rates."""
    rows = []
    for name in (*TABLES, *RIVER_TABLES, "churn", "colours"):
        data = load_rows(name)
        options = ["--one-hot", "colour"] if name == "colours" else []
        source = prepare_file(f"table-{name}.csv", partial(write_csv, data))
        text = prepare_file(f"table-{name}.vw", partial(write_vw, data))
        labels = [row["label"] + 1 for row in data]
        # The first rate is our default.
        ours = [measure_ours(source, *options)]
        ours += [measure_ours(source, *options, "--lr", rate) for rate in RATES]
        vw = [measure_vw(text, labels, rate) for rate in VW_RATES]
        cells = [
            np.bincount(labels).max() / len(labels), ours[0], max(ours),
            measure_ours(source, *options, "--no-standardize"), vw[0], max(vw), measure_river(data),
        ]  # fmt: skip
        rows.append([name, f"{len(data):,}", *(f"{cell:.1%}" for cell in cells)])
    header = ["table", "rows", "largest class", "ours", "tuned", "ours, --no-standardize", "vw",
              "tuned", "River"]  # fmt: skip
    return table(header, rows)


def measure_river(rows: Rows) -> float:
    """Return the progressive accuracy of a typical River pipeline."""
    encode = compose.SelectType(str) | preprocessing.OneHotEncoder()
    scale = compose.SelectType(float, int, bool) | preprocessing.StandardScaler()
    model = (scale + encode) | multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    return float(
        evaluate.progressive_val_score(split_labels(rows), model, metrics.Accuracy()).get()
    )


def measure_ours(source: Path, *options: str) -> float:
    return float(run_process([*LEARN, source, "--json", *options], find=find_json)[1]["accuracy"])


def measure_vw(text: Path, labels: Sequence[int], rate: str) -> float:
    """Return VW's progressive accuracy."""
    predicted = BENCH / "predicted"
    oaa = ["--oaa", max(labels), "-l", rate]
    run_process([*VW, "--quiet", *oaa, "-d", text, "-p", predicted])
    answers = [int(float(line)) for line in predicted.read_text().split()]
    return float(np.mean(np.array(answers) == labels))


def write_csv(rows: Rows, file: Any) -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    file.write(("\n".join(lines) + "\n").encode())


def write_vw(rows: Rows, file: Any) -> None:
    for x, y in split_labels(rows):
        named = [(name.replace(" ", "_"), value) for name, value in x.items()]
        pairs = [f"{n}={v}" if isinstance(v, str) else f"{n}:{float(v)}" for n, v in named]
        file.write(f"{y + 1} | {' '.join(pairs)}\n".encode())


@section("standardize")
def standardize() -> str:
    """Microseconds per row in memory: with --standardize, without it, and in a River pipeline."""
    rows = []
    for name in TABLES:
        data = load_rows(name)
        path = prepare_file(
            f"table-{name}.parquet", partial(pq.write_table, pa.Table.from_pylist(data))
        )
        tasks = {
            "with": partial(time_model, path, True),
            "without": partial(time_model, path, False),
            "river": partial(time_pipeline, split_labels(data)),
        }
        taken = run_in_turns(7, tasks)
        figures = [f"{1e6 * taken[who].median / len(data):.2f}" for who in tasks]
        cost, speed = taken["with"].ratio_to("without"), taken["river"].ratio_to("with")
        rows.append([name, *figures, f"{cost:.1f}", f"{speed:.1f}"])
    header = ["us per row", "--standardize", "without", "River", "cost", "speedup over River"]
    return table(header, rows)


def time_model(path: Path, is_standardized: bool) -> float:
    """Return the seconds that the model takes, excluding reading."""
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions(standardize=is_standardized), lr=0.1, seed=0)
    batches = list(read_batches(sources[0], live.request()))

    def learn() -> None:
        for batch in batches:
            live.model.train(Samples(batch.features, batch.labels, batch.weights))

    return time_call(learn)[0]


def time_pipeline(samples: Sequence[tuple[dict[str, float], int]]) -> float:
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)

    def learn() -> None:
        for x, y in samples:
            model.predict_one(x)
            model.learn_one(x, y)

    return time_call(learn)[0]
