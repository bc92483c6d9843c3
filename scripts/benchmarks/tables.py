"""Ordinary tables: how well they are learned beside VW, and what standardizing costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
from common import LEARN, VW, in_turns, json_in, process, section, table, timed
from forms import BENCH, prepared
from river import compose, evaluate, linear_model, metrics, multiclass, preprocessing
from sklearn import datasets

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import Selection, open_source, read_batches
from stream_perceptron.model.rows import Samples

TABLES = ("iris", "wine", "breast_cancer", "digits")
OF_RIVER = ("Phishing", "ImageSegments")
RATES = ("0.1", "0.01", "0.003", "0.03", "0.3", "1", "3")
VW_RATES = ("0.5", "0.01", "0.03", "0.1", "0.3", "1", "3")

Rows = list[dict[str, Any]]


def rows_of(name: str) -> Rows:
    """Return shuffled rows with their label, a whole number, under "label"."""
    rng = np.random.default_rng(7)
    if name == "churn":
        return [customer(rng) for _ in range(3000)]
    if name == "colours":
        colours = ["red", "green", "blue"]
        chosen, numbers = rng.choice(colours, 500).tolist(), (rng.normal(size=500) * 50).tolist()
        pairs = zip(chosen, numbers, strict=True)
        return [{"colour": c, "x": x, "label": colours.index(c)} for c, x in pairs]
    if name in OF_RIVER:
        rows = [x | {"label": y} for x, y in getattr(river.datasets, name)()]
        labels = sorted({row["label"] for row in rows})
        rows = [row | {"label": labels.index(row["label"])} for row in rows]
    else:
        data = getattr(datasets, f"load_{name}")()
        names = [*map(str, data.feature_names), "label"]
        values = zip(data.data.tolist(), data.target.tolist(), strict=True)
        rows = [dict(zip(names, [*x, y], strict=True)) for x, y in values]
    return [rows[i] for i in rng.permutation(len(rows))]


def customer(rng: np.random.Generator) -> dict[str, Any]:
    """Return a customer; whether they leave depends on their time, payments and questions."""
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


def samples_of(rows: Rows) -> list[tuple[dict[str, Any], int]]:
    return [({k: v for k, v in row.items() if k != "label"}, row["label"]) for row in rows]


@section("tables")
def tables() -> str:
    """Progressive accuracy of one pass; vw reads its own text. Tuned: the best of seven rates."""
    rows = []
    for name in (*TABLES, *OF_RIVER, "churn", "colours"):
        data = rows_of(name)
        options = ["--one-hot", "colour"] if name == "colours" else []
        source = prepared(f"table-{name}.csv", partial(write_csv, data))
        text = prepared(f"table-{name}.vw", partial(write_vw, data))
        labels = [row["label"] + 1 for row in data]
        # The first rate is our default.
        ours = [by_ours(source, *options)]
        ours += [by_ours(source, *options, "--lr", rate) for rate in RATES]
        vw = [by_vw(text, labels, rate) for rate in VW_RATES]
        cells = [
            np.bincount(labels).max() / len(labels), ours[0], max(ours),
            by_ours(source, *options, "--no-standardize"), vw[0], max(vw), by_river(data),
        ]  # fmt: skip
        rows.append([name, f"{len(data):,}", *(f"{cell:.1%}" for cell in cells)])
    header = ["table", "rows", "largest class", "ours", "tuned", "ours, --no-standardize", "vw",
              "tuned", "River"]  # fmt: skip
    return table(header, rows)


def by_river(rows: Rows) -> float:
    """Return the progressive accuracy of a usual River pipeline."""
    encode = compose.SelectType(str) | preprocessing.OneHotEncoder()
    scale = compose.SelectType(float, int, bool) | preprocessing.StandardScaler()
    model = (scale + encode) | multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    return float(evaluate.progressive_val_score(samples_of(rows), model, metrics.Accuracy()).get())


def by_ours(source: Path, *options: str) -> float:
    return float(process([*LEARN, source, "--json", *options], find=json_in)[1]["accuracy"])


def by_vw(text: Path, labels: Sequence[int], rate: str) -> float:
    """Return VW's progressive accuracy."""
    predicted = BENCH / "predicted"
    oaa = ["--oaa", max(labels), "-l", rate]
    process([*VW, "--quiet", *oaa, "-d", text, "-p", predicted])
    answers = [int(float(line)) for line in predicted.read_text().split()]
    return float(np.mean(np.array(answers) == labels))


def write_csv(rows: Rows, file: Any) -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    file.write(("\n".join(lines) + "\n").encode())


def write_vw(rows: Rows, file: Any) -> None:
    for x, y in samples_of(rows):
        named = [(name.replace(" ", "_"), value) for name, value in x.items()]
        pairs = [f"{n}={v}" if isinstance(v, str) else f"{n}:{float(v)}" for n, v in named]
        file.write(f"{y + 1} | {' '.join(pairs)}\n".encode())


@section("standardize")
def standardize() -> str:
    """Microseconds a row in memory: with --standardize, without, and River's own pipeline."""
    rows = []
    for name in TABLES:
        data = rows_of(name)
        path = prepared(
            f"table-{name}.parquet", partial(pq.write_table, pa.Table.from_pylist(data))
        )
        tasks = {
            "with": partial(by_model, path, True),
            "without": partial(by_model, path, False),
            "river": partial(by_pipeline, samples_of(data)),
        }
        taken = in_turns(7, tasks)
        each = [f"{1e6 * taken[who].median / len(data):.2f}" for who in tasks]
        cost, speed = taken["with"].to("without"), taken["river"].to("with")
        rows.append([name, *each, f"{cost:.1f}", f"{speed:.1f}"])
    header = ["us a row", "--standardize", "without", "River", "cost", "speed to River"]
    return table(header, rows)


def by_model(path: Path, is_standardized: bool) -> float:
    """Return the time of the model without reading."""
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, Selection(standardize=is_standardized), lr=0.1, seed=0)
    batches = list(read_batches(sources[0], live.request()))

    def learn() -> None:
        for batch in batches:
            live.model.train(Samples(batch.features, batch.labels, batch.weights))

    return timed(learn)[0]


def by_pipeline(samples: Sequence[tuple[dict[str, float], int]]) -> float:
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)

    def learn() -> None:
        for x, y in samples:
            model.predict_one(x)
            model.learn_one(x, y)

    return timed(learn)[0]
