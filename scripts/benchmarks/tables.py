"""Tables: accuracy compared with VW and River, the effect of advice, and standardizing."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import river.datasets
from common import (
    BENCH,
    COMMAND,
    LEARN,
    VW,
    find_json,
    run_in_turns,
    run_process,
    section,
    table,
    time_call,
)
from forms import prepare_file
from real_tables import TABLES as REAL_TABLES
from real_tables import prepare_table
from river import compose, evaluate, linear_model, metrics, multiclass, preprocessing
from sklearn import datasets
from sklearn.metrics import cohen_kappa_score

from stream_perceptron import LiveModel, SGDPerceptron
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.model.rows import Samples
from stream_perceptron.stream import iter_source

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
def real_tables() -> str:
    """Accuracy and kappa: by default, with suggested options, and of VW and River with these."""
    rows = []
    for name, (_, label, _) in REAL_TABLES.items():
        source, options = prepare_table(name), {"--label": label}
        runs = [learn_real_table(source, options)]
        for kind in ("notice", "finding"):
            options = merge_options(options, runs[-1].suggested[kind])
            runs.append(learn_real_table(source, options))
            if kind == "notice":
                peers = measure_peers(source, runs[-1].options)
        cells = [(run.accuracy, run.kappa) for run in runs] + peers
        rows.append([name, *(f"{100 * a:.1f} / {100 * kappa:.1f}" for a, kappa in cells)])
    return table(
        ["accuracy / kappa, %", "default", "notices", "first finding", "vw", "River"], rows
    )


@dataclass
class Learned:
    """A run of `learn`: its options, its figures, and the options that it suggests."""

    options: dict[str, str]
    accuracy: float
    kappa: float
    suggested: dict[str, list[str]]


def learn_real_table(source: Path, options: dict[str, str]) -> Learned:
    """Learn a table; if an error suggests options, learn it with these."""
    arguments = [argument for pair in options.items() for argument in pair]
    command = [*COMMAND, "learn", str(source), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return learn_real_table(source, merge_options(options, find_options(done.stderr)[:1]))
    suggested: dict[str, list[str]] = {"notice": [], "finding": []}
    for line in done.stderr.splitlines():
        event = json.loads(line)
        lines = find_options(event.get("text", ""))
        if event["kind"] in ("notice", "warning"):
            suggested["notice"] += lines
        elif event["kind"] == "finding" and not suggested["finding"]:
            suggested["finding"] = lines
    figures = json.loads(done.stdout)
    return Learned(options, figures["accuracy"], figures["cohen_kappa"], suggested)


def find_options(text: str) -> list[str]:
    """Return the lines of options that a message suggests."""
    return re.findall("(?m)^  (--.*)", text)


def merge_options(options: dict[str, str], lines: Sequence[str]) -> dict[str, str]:
    """Return options with those in the given lines; columns are added to those already given."""
    merged = dict(options)
    for line in lines:
        words = shlex.split(line)
        for flag, value in zip(words[::2], words[1::2], strict=True):
            known = merged.get(flag)
            is_list = known is not None and flag in ("--one-hot", "--dates", "--words", "--ignore")
            merged[flag] = f"{known},{value}" if is_list else value
    return merged


def measure_peers(source: Path, options: dict[str, str]) -> list[tuple[float, float]]:
    """Return the accuracy and kappa of VW and of River, from the same features."""
    columns = {
        flag[2:].replace("-", "_"): value.split(",")
        for flag, value in options.items() if flag not in ("--label", "--lr")
    }  # fmt: skip
    samples = [(x, str(y)) for x, y in iter_source(source, label=options["--label"], **columns)]
    y, labels = [y for _, y in samples], list(dict.fromkeys(y for _, y in samples))
    text = BENCH / "peers.vw"
    with text.open("w") as file:
        for x, label in samples:
            pairs = " ".join(f"{re.sub('[ :|]', '_', name)}:{v}" for name, v in x.items())
            file.write(f"{labels.index(label) + 1} | {pairs}\n")
    predicted = BENCH / "predicted"
    run_process([*VW, "--quiet", "--oaa", len(labels), "-d", text, "-p", predicted])
    vw = [labels[int(float(line)) - 1] for line in predicted.read_text().split()]
    pipeline = preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(
        linear_model.LogisticRegression()
    )
    river = []
    for x, label in samples:
        river.append(pipeline.predict_one(x))
        pipeline.learn_one(x, label)
    river = [labels[0] if label is None else label for label in river]
    return [(float(np.mean(np.array(p) == y)), cohen_kappa_score(y, p)) for p in (vw, river)]


@section("small_tables")
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
    header = ["table", "rows", "majority class", "ours", "tuned", "ours, --no-standardize", "vw",
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
    batches = list(sources[0].batches(live.request()))

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
