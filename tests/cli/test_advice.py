"""Following a suggestion of the diagnosis raises the accuracy on the same stream."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import summarize_run, write_csv, write_jsonl, write_parquet


def evaluate_model(run, source, path, *options):
    return json.loads(run("evaluate", source, "-m", path, *options, "--json", check=0).stdout)


def generate_people(n, seed=0):
    """Yield the age, the income and the label of n people."""
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.uniform(0.18, 0.9), rng.lognormvariate(10, 0.5)
        is_yes = (age - 0.5) / 0.2 + (income - 25_000) / 10_000 + rng.gauss(0, 0.3) > 0
        yield round(age, 3), round(income, 1), ("no", "yes")[is_yes]


def write_people(folder, digits):
    return write_csv(folder / "s.csv", ["age", "income", "label"], generate_people(3000))


def write_small_people(folder, digits):
    """No feature is large, but the small one has hardly any effect."""
    return write_jsonl(folder / "s.jsonl", [
        {"a": age / 1000, "b": income / 10_000, "label": y}
        for age, income, y in generate_people(3000)
    ])  # fmt: skip


def get_digits(folder, digits):
    return digits


def write_sparse_digits(folder, digits):
    """Pixels in LIBSVM are sparse, so there is no other finding."""
    table = pq.read_table(digits).slice(0, 3000).to_pydict()
    lines = (
        f"{label} " + " ".join(f"{i}:{v}" for i, v in enumerate(pixels) if v)
        for label, pixels in zip(table["label"], table["pixels"], strict=True)
    )
    (folder / "s.libsvm").write_text("\n".join(lines) + "\n")
    return folder / "s.libsvm"


def write_dark_digits(folder, digits):
    """Bytes are scaled by 1/255 even if none is above 15."""
    table = pq.read_table(digits).slice(0, 5000).to_pydict()
    pixels = [[value // 16 for value in row] for row in table["pixels"]]
    columns = {"pixels": pa.array(pixels, pa.list_(pa.uint8())), "label": table["label"]}
    return write_parquet(folder / "s.parquet", columns)


def write_growing_points(folder, digits):
    rng, rows = random.Random(0), []
    for i in range(4000):
        a, b = (rng.gauss(0, 1 + i / 1000) for _ in "ab")
        rows.append((a, b, "left" if a > b else "right"))
    return write_csv(folder / "s.csv", ["a", "b", "label"], rows)


FIRST, IDENTITY = "--limit 10000 ", "--no-standardize --activation identity "
EARLY = "--stop --lr 0.05 --epsilon "
SCALES, ALIKE = "unscaled features", "outputs alike or saturated"


@pytest.mark.parametrize(
    ("write", "faulty", "name", "evidence", "suggestion", "better"),
    [
        (write_people, "--no-standardize", SCALES, "'income' reaches .* 'age' only 0",
         "--standardize", "--lr 0.1"),
        (write_small_people, "--no-standardize", SCALES, "'b' reaches .* 'a' only 0.000",
         "--standardize", ""),
        (get_digits, FIRST + "--scale 1", SCALES, "255", "--scale 1/255", FIRST + "--scale 1/255"),
        (write_dark_digits, "", SCALES, "they reach only 0.0588235", "", "--standardize"),
        (get_digits, FIRST + "--lr 1e-6", ALIKE, "10 outputs", "raise --lr", FIRST + "--lr 0.1"),
        (get_digits, FIRST + "--epsilon 9", ALIKE, "", "lower --epsilon: 0.0% of the", FIRST),
        (write_sparse_digits, "--lr 1", ALIKE, "", "--scale", "--scale 1/255"),
        (get_digits, EARLY + "0.01", "stopped too early", "epsilon 0.01", "lower epsilon",
         EARLY + "3e-6"),
        (write_growing_points, IDENTITY + "--lr 0.05", "performance dropped", "",
         "lr is too high", IDENTITY + "--lr 0.01"),
    ],
)  # fmt: skip
def test_better_options_remove_the_finding(
    write, faulty, name, evidence, suggestion, better, run, mnist_files, tmp_path
):
    source = write(tmp_path, mnist_files["train"])
    before = summarize_run(run, source, *faulty.split())
    after = summarize_run(run, source, *better.split())

    finding = before["diagnosis"][name]
    assert re.search(evidence, finding["evidence"])
    assert suggestion in " ".join([finding["suggestion"], *finding["remedies"]])
    assert name not in after["diagnosis"]
    figure = "window_accuracy" if before["accuracy"] is None else "accuracy"
    assert after[figure] > before[figure] + 0.02


def test_sparse_samples_get_no_advice_to_scale(run, tmp_path):
    """Scaling would lower the accuracy of bags of words."""
    rng, rows = random.Random(0), []
    for _ in range(4000):
        topic, words = rng.randrange(5), {}
        for _ in range(20):
            word = rng.randrange(2000) if rng.random() < 0.6 else topic * 400 + rng.randrange(60)
            words[f"w{word}"] = words.get(f"w{word}", 0) + 1
        if rng.random() < 0.05:
            words["length"] = rng.randint(200, 3000)
        rows.append(words | {"label": f"t{topic}"})
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    plain, scaled = summarize_run(run, source, "--no-standardize"), summarize_run(run, source)

    assert plain["diagnosis"] == {}
    assert plain["accuracy"] > scaled["accuracy"]


def test_sorted_labels_get_advice_to_shuffle(run, mnist_files, tmp_path):
    """A model that has learned sorted labels fails on the test digits."""
    rows = pq.read_table(mnist_files["train"]).slice(0, 5000)
    source, path = tmp_path / "s.parquet", tmp_path / "m.npz"
    findings, accuracies = [], []
    for table in (rows.sort_by("label"), rows):
        pq.write_table(table, source)
        findings.append(summarize_run(run, source, "-m", path, "--overwrite")["diagnosis"])
        accuracies.append(evaluate_model(run, mnist_files["test"], path)["accuracy"])

    assert "shuffle the samples" in findings[0]["sorted labels"]["suggestion"]
    assert findings[1] == {}
    assert accuracies[1] > accuracies[0] + 0.1


def test_row_number_column_gets_advice_to_ignore_it(run, tmp_path):
    header = ["row id", "age", "income", "label"]
    rows = sorted(generate_people(1500), key=lambda row: row[2])
    source = write_csv(tmp_path / "s.csv", header, ((i, *row) for i, row in enumerate(rows)))
    others = enumerate(generate_people(500, 1), 5000)
    test = write_csv(tmp_path / "t.csv", header, ((i, *row) for i, row in others))
    path, messages, accuracies = tmp_path / "m.npz", [], []
    for options in ([], ["--ignore", "row id"]):
        arguments = ["learn", source, "-m", path, "--overwrite", *options]
        messages.append(run(*arguments, check=0).stderr)
        accuracies.append(evaluate_model(run, test, path)["accuracy"])

    assert "to drop it:\n  --ignore 'row id'\n" in messages[0]
    assert accuracies[1] > accuracies[0] + 0.05


def write_frauds(path):
    """Write 20,000 payments, of which hardly any is a fraud."""
    rng, rows = random.Random(0), []
    for _ in range(20_000):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_fraud = rng.random() < (0.25 if a > 1.6 else 0.015)
        rows.append((round(a, 3), round(b, 3), ("ok", "fraud")[is_fraud]))
    return write_csv(path, ["a", "b", "label"], rows)


def write_rare_middle(path):
    """Write rows of two frequent classes, and a rare one between them."""
    rng, rows = random.Random(0), []
    for _ in range(4000):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_rare = abs(a) < 0.3 and rng.random() < 0.3
        rows.append((a, b, "rare" if is_rare else "LR"[a > 0]))
    return write_csv(path, ["a", "b", "label"], rows)


@pytest.mark.parametrize(
    ("write", "options", "name", "label", "figure", "gain"),
    [
        (write_frauds, [], "no better than the majority class", "fraud", "cohen_kappa", 0.1),
        (write_frauds, ["--class-weight", "fraud=1.5"], "no better than the majority class",
         "fraud", "cohen_kappa", 0.1),
        (write_rare_middle, [], "class hardly ever found", "rare", "balanced_accuracy", 0.03),
    ],
    ids=["majority", "weighted", "rare"],
)  # fmt: skip
def test_threshold_advice_finds_more_of_a_rare_class(
    write, options, name, label, figure, gain, run, tmp_path
):
    source, path = write(tmp_path / "s.csv"), tmp_path / "m.npz"
    finding = summarize_run(run, source, "-m", path, *options)["diagnosis"][name]
    plain = evaluate_model(run, source, path)
    (metrics,) = (entry for entry in plain["per_class"] if entry["class"] == label)
    threshold = f"{label}={metrics['best_threshold']}"
    better = evaluate_model(run, source, path, "--threshold", threshold)

    assert "to set one: predict --threshold" in finding["suggestion"]
    assert better[figure] > plain[figure] + gain


def test_single_label_is_the_only_finding(run, tmp_path):
    source = write_csv(tmp_path / "s.csv", ["a", "label"], ((i % 7, "ok") for i in range(200)))
    assert list(summarize_run(run, source)["diagnosis"]) == ["only one label"]
    stderr = run("learn", source, "--classes", "ok,bad", check=0).stderr
    assert "diagnosis: only one label: all 200 samples are labeled 'ok'" in stderr
    assert stderr.count("diagnosis") == 1
    write_csv(source, ["a", "label"], [(1, "bad"), *((i % 7, "ok") for i in range(100))])
    assert "only one label" not in summarize_run(run, source)["diagnosis"]


def generate_prices(n, digits):
    rng = random.Random(0)
    for _ in range(n):
        area, age = rng.gauss(120, 40), rng.uniform(0, 80)
        price = min(max(area - age / 2 + rng.gauss(0, 15), 0), 254)
        yield round(area), round(age), round(price, digits)


@pytest.mark.parametrize("digits", [None, 1])
def test_numeric_labels_get_advice_to_bin_them(digits, run, tmp_path):
    """After the first save, labels that are a quantity do not end the run."""
    rows, header = list(generate_prices(20_000, digits)), ["area", "age", "label"]
    source = write_csv(tmp_path / "s.csv", header, rows)
    options = ["-m", tmp_path / "m.npz", "--save-every", "500"]
    findings = summarize_run(run, source, *options)["diagnosis"]
    binned = [(a, b, "low" if c < 60 else "middle" if c < 110 else "high") for a, b, c in rows]
    after = summarize_run(run, write_csv(tmp_path / "b.csv", header, binned))

    assert list(findings) == ["labels are a quantity"]
    assert "into a few bins" in findings["labels are a quantity"]["suggestion"]
    assert after["diagnosis"] == {}
    assert after["accuracy"] > 0.7


def test_class_numbers_are_no_quantity(run, tmp_path):
    """Their order has no meaning, or all weights are still equal."""
    rng = random.Random(0)
    centers = [[rng.gauss(0, 3) for _ in range(8)] for _ in range(2000)]
    labels = rng.choices(range(2000), k=20_000)
    rows = ((*(rng.gauss(center, 0.5) for center in centers[k]), k) for k in labels)
    source = write_csv(tmp_path / "s.csv", [*"abcdefgh", "label"], rows)
    assert "labels are a quantity" not in summarize_run(run, source)["diagnosis"]

    unrelated = ((rng.random(), 0, rng.randrange(60)) for _ in range(3000))
    source = write_csv(tmp_path / "s.csv", ["a", "pixel1", "label"], unrelated)
    options = ["--classes", "0-59", "--init-range", "0"]
    assert "labels are a quantity" not in summarize_run(run, source, *options)["diagnosis"]


def test_rising_time_column_is_a_finding_unless_ignored(run, tmp_path):
    rng, rows, now = random.Random(0), [], 0.0
    for _ in range(6000):
        a, now = rng.gauss(0, 1), now + rng.uniform(0.1, 5)
        is_rare = a > 1.5 if rng.random() < 0.9 else rng.random() < 0.1
        rows.append((round(now, 2), round(a, 3), ("ok", "fraud")[is_rare]))
    source, path = write_csv(tmp_path / "s.csv", ["Time", "a", "label"], rows), tmp_path / "m.npz"
    accuracies = []
    for options in ([], ["--ignore", "Time"]):
        findings = summarize_run(run, source, "-m", path, "--overwrite", *options)["diagnosis"]
        assert (not options) == ("row numbers" in findings)
        accuracies.append(evaluate_model(run, source, path)["accuracy"])

    assert accuracies[1] > accuracies[0] + 0.02
