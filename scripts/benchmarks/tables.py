"""Tables: accuracy compared with VW, River and scikit-learn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import river.datasets
from common import (
    BENCH,
    LEARN,
    VW,
    find_json,
    median,
    ratio_to,
    run_in_turns,
    run_process,
    section,
    table,
)
from forms import prepare_file
from real_tables import FOLDER, Pairs, Table, write_tables
from real_tables import TABLES as REAL_TABLES
from river import evaluate, linear_model, metrics, multiclass, preprocessing
from sklearn import datasets
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss, roc_auc_score

from stream_perceptron.live.metrics import format_kappa

TABLES = ("iris", "wine", "breast_cancer", "digits")
RIVER_TABLES = ("Phishing", "ImageSegments")
TABLES_WITH_STRINGS = ("tweets", "mails", "reviews", "stops", "pets", "flights")
REPEATED_TABLES = ("tweets", "stops")
TABLES_WITH_TWO_CLASSES = ("churn", "crashes", "mails", "reviews", "loans")
RATES = ("0.1", "0.01", "0.003", "0.03", "0.3", "1", "3")
VW_RATES = ("0.5", "0.01", "0.03", "0.1", "0.3", "1", "3")

Rows = list[dict[str, Any]]


def load_rows(name: str) -> Rows:
    """Return shuffled rows with their label, a whole number, under "label"."""
    rng = np.random.default_rng(7)
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


def split_labels(rows: Rows) -> list[tuple[dict[str, Any], int]]:
    return [({k: v for k, v in row.items() if k != "label"}, row["label"]) for row in rows]


@section("tables")
def tables() -> str:
    """Progressive accuracy of one pass; vw reads its own format. Tuned: the best of seven rates."""
    rows = []
    for name in (*TABLES, *RIVER_TABLES):
        data = load_rows(name)
        source = prepare_file(f"table-{name}.csv", partial(write_csv, data))
        text = prepare_file(f"table-{name}.vw", partial(write_vw, data))
        labels = [row["label"] + 1 for row in data]
        ours = [measure_ours(source)]
        ours += [measure_ours(source, "--lr", rate) for rate in RATES]
        vw = [measure_vw(text, labels, rate) for rate in VW_RATES]
        cells = [
            np.bincount(labels).max() / len(labels), ours[0], max(ours),
            measure_ours(source, "--no-standardize"), vw[0], max(vw), measure_river(data),
        ]  # fmt: skip
        rows.append([name, f"{len(data):,}", *(f"{cell:.1%}" for cell in cells)])
    header = ["table", "rows", "majority class", "ours", "tuned", "ours, --no-standardize", "vw",
              "tuned", "River"]  # fmt: skip
    return table(header, rows)


@section("real_tables")
def real_tables() -> str:
    """Progressive accuracy on tables of strings; ours has no options but --label."""
    write_tables()
    rows, shares = [], []
    for real in REAL_TABLES:
        figures = measure_ours_unaided(real)
        samples = list(real.read())
        labels = sorted({label for *_, label in samples})
        counts = [sum(label == y for *_, y in samples) for label in labels]
        scaled = standardize(samples)
        one_vs_rest = multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
        softmax = linear_model.SoftmaxRegression()
        cells = [
            max(counts) / len(samples), figures["accuracy"],
            measure_river_model(scaled, one_vs_rest), measure_river_model(scaled, softmax),
            measure_sklearn(scaled, labels), measure_vw_encoded(real, samples, labels),
        ]  # fmt: skip
        shares.append(cells)
        shown = [f"{cell:.1%}" for cell in cells]
        name, kappa = real.file.partition(".")[0], format_kappa(figures["cohen_kappa"])
        rows.append([name, f"{len(samples):,}", *shown[:2], kappa, *shown[2:]])
    means = [f"{mean:.1%}" for mean in np.mean(shares, axis=0)]
    rows.append(["mean", "", *means[:2], "", *means[2:]])
    header = ["table", "labeled rows", "majority class", "ours", "kappa", "River, one-vs-rest",
              "River, softmax", "scikit-learn", "vw"]  # fmt: skip
    return table(header, rows)


@section("scores")
def scores() -> str:
    """AUC and log loss of progressive scores on tables with two classes."""
    write_tables()
    rows = []
    for real in REAL_TABLES:
        name = real.file.partition(".")[0]
        if name not in TABLES_WITH_TWO_CLASSES:
            continue
        samples = list(real.read())
        labels = sorted({label for *_, label in samples})
        scaled = standardize(samples)
        programs = [
            score_ours(real, labels[1]), score_river(scaled, labels[1]),
            score_sklearn(scaled, labels), score_vw(real, samples, labels),
        ]  # fmt: skip
        is_second = [label == labels[1] for *_, label in samples]
        cells = [f"{roc_auc_score(is_second, program):.3f}" for program in programs]
        clipped = [np.clip(program, 1e-6, 1 - 1e-6) for program in programs]
        cells += [f"{log_loss(is_second, program):.3f}" for program in clipped]
        rows.append([name, *cells])
    names = ["ours", "River", "scikit-learn", "vw"]
    header = [f"{metric}, {name}" for metric in ("AUC", "log loss") for name in names]
    return table(["table", *header], rows)


def score_ours(real: Table, label: str) -> list[float]:
    """Return the progressive scores of a label, 0.5 before the label is known."""
    path = BENCH / "scores.jsonl"
    path.unlink(missing_ok=True)
    run_process([*LEARN, FOLDER / real.file, "--label", real.label, "-p", path, "--scores"])
    lines = map(json.loads, path.read_text().splitlines())
    return [(line["scores"] or {}).get(label, 0.5) for line in lines if line["label"] is not None]


def score_river(samples: list[tuple[Pairs, str]], label: str) -> list[float]:
    """Return the progressive probabilities of a label."""
    model, probabilities = linear_model.LogisticRegression(), []
    for x, y in samples:
        probabilities.append(model.predict_proba_one(x)[True])
        model.learn_one(x, y == label)
    return probabilities


def score_sklearn(samples: list[tuple[Pairs, str]], labels: list[str]) -> list[float]:
    """Return the progressive probabilities of the second label."""
    hasher, model = FeatureHasher(2**16), SGDClassifier(loss="log_loss", random_state=0)
    probabilities = []
    for i, (x, label) in enumerate(samples):
        row = hasher.transform([x])
        probabilities.append(float(model.predict_proba(row)[0, 1]) if i else 0.5)
        model.partial_fit(row, [label], classes=labels)
    return probabilities


def score_vw(
    real: Table, samples: list[tuple[Pairs, Pairs, str]], labels: list[str]
) -> list[float]:
    """Return VW's progressive probabilities of the second label."""
    text, predicted = prepare_vw_table(real, samples, labels), BENCH / "predicted"
    options = ["--oaa", 2, "--loss_function", "logistic", "--probabilities", "-p", predicted]
    run_process([*VW, "--quiet", "-d", text, *options])
    return [float(line.split("2:")[1]) for line in predicted.read_text().splitlines()]


@section("texts")
def texts() -> str:
    """Whole processes over tables with strings; vw reads the same words from its own format."""
    tasks: dict[Any, Any] = {}
    for title, pair in list_string_tables():
        tasks[title, "ours"] = partial(run_process, pair.ours)
        tasks[title, "vw"] = partial(run_process, pair.vw)
    measured = run_in_turns(7, tasks)
    rows = [
        [title, median()(ours), median()(measured[title, "vw"]), ratio_to("vw")(ours)]
        for (title, program), ours in measured.items()
        if program == "ours"
    ]
    return table(["table", "ours, seconds", "vw, seconds", "ours / vw"], rows)


class Pair(NamedTuple):
    """The commands that learn a table, ours and VW's."""

    ours: list[Any]
    vw: list[Any]


def list_string_tables(names: Sequence[str] = ()) -> Iterator[tuple[str, Pair]]:
    """Yield the commands for tables with strings, or for those that are named, by their titles."""
    write_tables()
    for real in REAL_TABLES:
        name = real.file.partition(".")[0]
        if name not in TABLES_WITH_STRINGS or (names and name not in names):
            continue
        samples = list(real.read())
        labels = sorted({label for *_, label in samples})
        text = prepare_vw_table(real, samples, labels)
        files = {f"{len(samples):,} {name}": (FOLDER / real.file, text)}
        if name in REPEATED_TABLES:
            files[f"{10 * len(samples):,} {name}"] = (
                prepare_file(f"real-10-{real.file}", partial(write_copies, FOLDER / real.file)),
                prepare_file(f"real-10-{real.file}.vw", partial(write_copies, text)),
            )
        for title, (ours, theirs) in files.items():
            learn = [*LEARN, ours, "--label", real.label]
            yield title, Pair(learn, [*VW, "--oaa", len(labels), "-d", theirs])


def write_copies(path: Path, file: Any) -> None:
    """Write ten copies of the rows of a file, with one header if it is CSV."""
    header, rows = b"", path.read_bytes()
    if path.suffix == ".csv":
        header, _, rows = rows.partition(b"\n")
        header += b"\n"
    file.write(header + 10 * rows)


def standardize(samples: list[tuple[Pairs, Pairs, str]]) -> list[tuple[Pairs, str]]:
    """Return the features of all samples, with numbers standardized as far as seen."""
    scaler = preprocessing.StandardScaler()
    scaled = []
    for numbers, indicators, label in samples:
        scaler.learn_one(numbers)
        scaled.append((scaler.transform_one(numbers) | indicators, label))
    return scaled


def measure_ours_unaided(real: Table) -> dict[str, Any]:
    command = [*LEARN, FOLDER / real.file, "--label", real.label, "--json"]
    return run_process(command, find=find_json)[1]


def measure_river_model(samples: list[tuple[Pairs, str]], model: Any) -> float:
    return float(evaluate.progressive_val_score(samples, model, metrics.Accuracy()).get())


def measure_sklearn(samples: list[tuple[Pairs, str]], labels: list[str]) -> float:
    """Return the progressive accuracy of SGDClassifier, which learns one hashed row at a time."""
    hasher, model = FeatureHasher(2**16), SGDClassifier(loss="log_loss", random_state=0)
    correct = 0
    for i, (x, label) in enumerate(samples):
        row = hasher.transform([x])
        correct += bool(i and model.predict(row)[0] == label)
        model.partial_fit(row, [label], classes=labels)
    return correct / len(samples)


def measure_vw_encoded(
    real: Table, samples: list[tuple[Pairs, Pairs, str]], labels: list[str]
) -> float:
    """Return VW's progressive accuracy; it scales numbers by itself."""
    text = prepare_vw_table(real, samples, labels)
    return measure_vw(text, [labels.index(label) + 1 for *_, label in samples], "0.5")


def prepare_vw_table(
    real: Table, samples: list[tuple[Pairs, Pairs, str]], labels: list[str]
) -> Path:
    """Return a table in VW's text format, with its words and categories."""

    def write(file: Any) -> None:
        for numbers, indicators, label in samples:
            pairs = [
                f"{re.sub(r'[^!-9;-{}~]+', '_', k)}:{v}" for k, v in (numbers | indicators).items()
            ]
            file.write(f"{labels.index(label) + 1} | {' '.join(pairs)}\n".encode())

    return prepare_file(f"real-{real.file}.vw", write)


def measure_river(rows: Rows) -> float:
    """Return the progressive accuracy of a typical River pipeline."""
    model = preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(
        linear_model.LogisticRegression()
    )
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
        pairs = [f"{n}:{float(v)}" for n, v in named]
        file.write(f"{y + 1} | {' '.join(pairs)}\n".encode())
