"""Scores for rare classes, compared with those of peers."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import (
    BENCH,
    LEARN,
    VW,
    run_process,
    section,
    table,
)
from forms import PIXELS, load_digits, prepare_file
from numpy.typing import NDArray
from river import compose, imblearn, linear_model, preprocessing
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.preprocessing import StandardScaler

TABLES = ("clicks", "fraud", "defects")
N_ROWS = 20_000
RARE = "5"  # the digit against the rest

Rows = list[tuple[dict[str, Any], int]]


def draw_samples(name: str) -> Rows:
    """Return samples of which 1% to 3% have the label 1."""
    rng = np.random.default_rng(7)
    draw = {"clicks": draw_view, "fraud": draw_payment, "defects": draw_part}[name]
    return [draw(rng) for _ in range(N_ROWS)]


def _draw_label(rng: np.random.Generator, logit: float) -> int:
    return int(rng.random() < 1 / (1 + np.exp(-logit)))


def draw_view(rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """Return a view of an advertisement, with ten standard normal features; 2% are clicked."""
    x = rng.normal(size=10)
    return {f"f{i}": float(v) for i, v in enumerate(x)}, _draw_label(
        rng, 1.5 * x[0] - x[1] + 0.5 * x[2] - 5.1
    )


def draw_payment(rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """Return a payment; 3% are fraud, often large payments at night from new customers."""
    amount, hour = float(rng.lognormal(4, 1)), int(rng.integers(24))
    years, country = float(rng.exponential(3)), str(rng.choice(["de", "fr", "it", "es"]))
    logit = amount / 60 + 3 * (hour < 6) - 0.8 * years + 1.5 * (country == "es") - 7.5
    x = {"amount": amount, "hour": str(hour), "years": years, "country": country}
    return x, _draw_label(rng, logit)


def draw_part(rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """Return a part with correlated measurements; 2% are defective."""
    heat = rng.normal()
    x = {f"sensor{i}": float(heat + 0.7 * rng.normal()) for i in range(8)}
    x["pressure"] = float(100 + 15 * rng.normal())
    logit = 2.5 * heat + (x["pressure"] - 100) / 10 - 7
    return x, _draw_label(rng, logit)


def load_digit_samples() -> Rows:
    """Return the pixels of each training digit, and whether it is the rare digit."""
    pixels, labels = load_digits()
    return [
        (dict(zip(PIXELS, x, strict=True)), int(str(y) == RARE))
        for x, y in zip((pixels / 255).tolist(), labels, strict=True)
    ]


@section("rare")
def rare() -> str:
    """Average precision, recall at a precision of 50%, and best F1 in one progressive pass."""
    table_rows = []
    for name in (*TABLES, "digit"):
        rows = load_digit_samples() if name == "digit" else draw_samples(name)
        labels = np.array([y for _, y in rows])
        ways: dict[str, Callable[[], NDArray[np.float64]]] = {
            "ours": partial(score_with_ours, name, rows),
            "ours, balanced": partial(score_with_ours, name, rows, "--class-weight", "balanced"),
            "River": partial(score_with_river, rows, linear_model.LogisticRegression()),
            "River, under-sampled": partial(score_with_river, rows, create_under_sampler()),
            "scikit-learn, balanced": partial(score_with_sklearn, rows),
            "vw, balanced": partial(score_with_vw, name, rows),
        }
        for way, score in ways.items():
            scores = score()
            precision, recall, _ = precision_recall_curve(labels, scores)
            shown = (
                average_precision_score(labels, scores),
                recall[precision >= 0.5].max(),
                (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max(),
            )
            cells = [f"{figure:.3f}" for figure in shown]
            table_rows.append([name, f"{labels.mean():.1%}", way, *cells])
    header = ["table", "rare class", "", "average precision", "recall at precision 50%", "best F1"]
    return table(header, table_rows)


def score_with_ours(name: str, rows: Rows, *options: str) -> NDArray[np.float64]:
    """Return the scores of the rare class that our program writes while it learns."""
    if name == "digit":
        source = prepare_file("rare-digit.parquet", write_digits)
    else:
        source = prepare_file(f"rare-{name}.csv", partial(write_csv, rows))
    texts = [n for n, value in rows[0][0].items() if isinstance(value, str)]
    encode = ["--one-hot", ",".join(texts)] if texts else []
    output = BENCH / "rare-predictions.csv"
    output.unlink(missing_ok=True)
    run_process([*LEARN, source, "--classes", "0,1", *encode, *options, "-p", output,
             "--scores"])  # fmt: skip
    with output.open() as file:
        return np.array([float(row["score of 1"]) for row in csv.DictReader(file)])


def create_under_sampler() -> Any:
    return imblearn.RandomUnderSampler(
        linear_model.LogisticRegression(), desired_dist={0: 0.5, 1: 0.5}, seed=0
    )


def score_with_river(rows: Rows, model: Any) -> NDArray[np.float64]:
    """Return the scores of a River pipeline, each computed before its sample is learned."""
    if PIXELS[0] not in rows[0][0]:
        encode = compose.SelectType(str) | preprocessing.OneHotEncoder()
        scale = compose.SelectType(float) | preprocessing.StandardScaler()
        model = (scale + encode) | model
    scores = []
    for x, y in rows:
        scores.append(model.predict_proba_one(x).get(1, 0.0))
        model.learn_one(x, y)
    return np.array(scores)


def compute_balanced_weights(rows: Rows) -> Iterator[float]:
    """Yield the weight n / (k * n_class), at most 100, for each sample."""
    counts: Counter[int] = Counter()
    for _, y in rows:
        counts[y] += 1
        yield min(counts.total() / (len(counts) * counts[y]), 100.0)


def score_with_sklearn(rows: Rows) -> NDArray[np.float64]:
    """Return the scores of SGDClassifier, each computed before its sample is learned."""
    X = DictVectorizer(sparse=False).fit_transform([x for x, _ in rows])
    model, scaler, scores = SGDClassifier(loss="log_loss", random_state=0), StandardScaler(), []
    for i, ((_, y), weight) in enumerate(zip(rows, compute_balanced_weights(rows), strict=True)):
        x = X[i : i + 1]
        if PIXELS[0] not in rows[0][0]:
            x = scaler.partial_fit(x).transform(x)
        scores.append(model.predict_proba(x)[0, 1] if i else 0.0)
        model.partial_fit(x, [y], [0, 1], sample_weight=[weight])
    return np.array(scores)


def score_with_vw(name: str, rows: Rows) -> NDArray[np.float64]:
    """Return the scores of vw with importance weights."""
    text, scores = prepare_file(f"rare-{name}.vw", partial(write_vw, rows)), BENCH / "rare-scores"
    options = ["--loss_function", "logistic", "--link", "logistic"]
    run_process([*VW, "--quiet", *options, "-d", text, "-p", scores])
    return np.array([float(line) for line in scores.read_text().split()])


def write_csv(rows: Rows, file: Any) -> None:
    lines = [",".join([*rows[0][0], "label"])]
    lines += [",".join(map(str, [*x.values(), y])) for x, y in rows]
    file.write(("\n".join(lines) + "\n").encode())


def write_digits(file: Any) -> None:
    pixels, labels = load_digits()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), pixels.shape[1])
    is_rare = [int(str(y) == RARE) for y in labels]
    pq.write_table(pa.table({"pixels": lists, "label": is_rare}), file)


def write_vw(rows: Rows, file: Any) -> None:
    for (x, y), weight in zip(rows, compute_balanced_weights(rows), strict=True):
        pairs = [
            f"{name}={value}" if isinstance(value, str) else f"{name}:{value}"
            for name, value in x.items()
            if value
        ]
        file.write(f"{2 * y - 1} {weight} | {' '.join(pairs)}\n".encode())
