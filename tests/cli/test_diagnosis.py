"""Findings appear in runs that have the fault, and not in good runs; worked samples."""

from __future__ import annotations

import json
import random
import re
import shlex

import numpy as np
import oracle
import pyarrow.parquet as pq
import pytest
from helpers import summarize_run, write_csv, write_jsonl
from river import datasets

from stream_perceptron import SGDPerceptron, UpdateError
from stream_perceptron.diagnostics import check_update, work_sample


def learn_findings(run, source, *options):
    return summarize_run(run, source, *options)["diagnosis"]


def generate_points(n, seed=0, flip=0.0):
    """Yield n labels and points of two classes, separated by the sign of a."""
    rng = random.Random(seed)
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        a += 0.2 if a > 0 else -0.2
        label = "right" if (a > 0) != (rng.random() < flip) else "left"
        yield label, round(a, 4), round(b, 4)


OPTIONS = (
    "", "--epsilon 0.03", "--activation tanh --lr 0.005", "--activation arctan --lr 0.005",
    "--activation identity --lr 0.001", "--passes 3", "--limit 2000",
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_shuffled_digits_have_no_findings(run, mnist_files, options, tmp_path_factory):
    """The digits are shuffled, as later rows of the file can be harder than earlier ones."""
    source = tmp_path_factory.getbasetemp() / "shuffled.parquet"
    if not source.exists():
        table = pq.read_table(mnist_files["train"])
        pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), source)
    assert learn_findings(run, source, *options.split()) == {}


def test_identity_on_raw_pixels_diverges(run, mnist_files):
    result = run("learn", mnist_files["train"], "--scale", "1", "--activation", "identity", check=1)

    assert "diagnosis: diverging: after 36 samples" in result.stderr
    assert "warning: unscaled features: they reach 255" in result.stderr
    assert "diagnosis: unscaled" not in result.stderr


def draw_table():
    rng = np.random.default_rng(0)
    centers, labels = 1.2 * rng.normal(size=(4, 6)), rng.integers(4, size=5000)
    points = (centers[labels] + rng.normal(size=(5000, 6))).round(4)
    return [(f"c{label}", *point) for label, point in zip(labels, points.tolist(), strict=True)]


def swap_labels(rows):
    """Give each row the label of another."""
    labels = [label for label, *_ in rows]
    random.Random(0).shuffle(labels)
    return [(label, *row[1:]) for label, row in zip(labels, rows, strict=True)]


# What keeps a model from learning: a change of the rows, options, and the first finding.
CAUSES = {
    "nothing": (list, [], None),
    "epsilon ends the run": (list, ["--stop", "--epsilon", "0.05"], "stopped too early"),
    "epsilon": (list, ["--epsilon", "0.5"], "outputs alike or saturated"),
    "small steps": (list, ["--lr", "0.0001"], "outputs alike or saturated"),
    "large steps": (list, ["--lr", "30"], "outputs alike or saturated"),
    "scale": (list, ["--scale", "300", "--no-standardize"], "unscaled features"),
    "labels of others": (swap_labels, [], "no better than the majority class"),
    "order": (sorted, [], "sorted labels"),
    "one label": (lambda rows: [("a", *x) for _, *x in rows], [], "only one label"),
    "change": (lambda rows: rows[:4000] + swap_labels(rows[4000:]), [], "performance dropped"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_first_finding_names_the_cause(run, tmp_path, cause):
    change, options, expected = CAUSES[cause]
    source = write_csv(tmp_path / "s.csv", ["label", *"abcdef"], change(draw_table()))
    findings = learn_findings(run, source, *options)

    assert next(iter(findings), None) == expected


@pytest.mark.parametrize(
    ("lr", "name"),
    [("0.0001", "outputs alike or saturated"), ("0.01", "learning rate too low"), ("0.1", None)],
)
def test_sweep_that_is_suggested_finds_a_better_learning_rate(run, tmp_path, lr, name):
    rows = [[y, *x.values()] for x, y in datasets.ImageSegments()]
    header = ["label", *(f"x{i}" for i in range(len(rows[0]) - 1))]
    source = write_csv(tmp_path / "segments.csv", header, rows)
    summary = json.loads(run("learn", source, "--lr", lr, "--json", check=0).stdout)
    findings = {finding["name"]: finding["remedies"] for finding in summary["diagnosis"]}
    assert [*findings] == ([] if name is None else [name])
    for (command,) in findings.values():
        trials = json.loads(run(*shlex.split(command)[1:], "--json", check=0).stdout)["trials"]
        assert trials[0]["kappa"] > summary["cohen_kappa"] + 0.05


def test_accuracy_drop_suppresses_the_findings_that_it_explains(run, tmp_path):
    """A drop of accuracy explains that outputs become alike."""
    rows = [*generate_points(3000), *generate_points(3000, 1, flip=0.5)]
    source = write_csv(tmp_path / "a.csv", ["label", "a", "b"], rows)

    assert list(learn_findings(run, source, "--lr", "0.5")) == ["performance dropped"]


def evaluate_model(run, source, path, *options):
    return json.loads(run("evaluate", source, "-m", path, *options, "--json", check=0).stdout)


def generate_people(n, seed=0):
    """Yield the age, the income and the label of n people."""
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.uniform(0.18, 0.9), rng.lognormvariate(10, 0.5)
        is_yes = (age - 0.5) / 0.2 + (income - 25_000) / 10_000 + rng.gauss(0, 0.3) > 0
        yield round(age, 3), round(income, 1), ("no", "yes")[is_yes]


def write_people(folder):
    return write_csv(folder / "s.csv", ["age", "income", "label"], generate_people(3000))


def write_small_people(folder):
    """No feature is large, but the small one has hardly any effect."""
    return write_jsonl(folder / "s.jsonl", [
        {"a": age / 1000, "b": income / 10_000, "label": y}
        for age, income, y in generate_people(3000)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("write", "evidence"),
    [(write_people, "'income' reaches"), (write_small_people, "'a' only 0.000")],
)
def test_standardization_helps_if_features_are_unscaled(run, tmp_path, write, evidence):
    source = write(tmp_path)
    before, after = summarize_run(run, source, "--no-standardize"), summarize_run(run, source)

    assert evidence in before["diagnosis"]["unscaled features"]["evidence"]
    assert "unscaled features" not in after["diagnosis"]
    assert after["accuracy"] > before["accuracy"] + 0.02


def test_sparse_samples_get_no_advice_to_scale(run, tmp_path):
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

    assert learn_findings(run, source, "--no-standardize") == {}


def test_threshold_finds_more_of_a_rare_class(run, tmp_path):
    """The rare class is between two frequent ones."""
    rng, rows, model = random.Random(0), [], tmp_path / "m.npz"
    for _ in range(4000):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_rare = abs(a) < 0.3 and rng.random() < 0.3
        rows.append((a, b, "rare" if is_rare else "LR"[a > 0]))
    source = write_csv(tmp_path / "s.csv", ["a", "b", "label"], rows)
    finding = summarize_run(run, source, "-m", model)["diagnosis"]["class hardly ever found"]
    plain = evaluate_model(run, source, model)
    (metrics,) = (entry for entry in plain["per_class"] if entry["class"] == "rare")
    threshold = f"rare={metrics['best_threshold']}"
    better = evaluate_model(run, source, model, "--threshold", threshold)

    assert re.match(r"rare \(recall [0-4]\.\d% of \d+ samples\)", finding["evidence"])
    assert "at the cost of mistakes" in finding["suggestion"]
    assert better["balanced_accuracy"] > plain["balanced_accuracy"] + 0.03


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
    assert ("some with decimals" in findings["labels are a quantity"]["evidence"]) == bool(digits)
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


def test_counter_of_rows_is_a_finding_unless_ignored(run, tmp_path):
    """A time and an odometer rise, too, but not by the same step."""
    rng, rows, now, distance = random.Random(0), [], 1.6e9, 40_000
    for i in range(6000):
        a, now, distance = rng.gauss(0, 1), now + rng.uniform(0.1, 5), distance + rng.expovariate(1)
        is_rare = a > 1.5 if rng.random() < 0.9 else rng.random() < 0.1
        if rng.random() > 0.01:  # a few rows are missing
            rows.append((7 + 3 * i, now, distance, round(a, 3), ("ok", "fraud")[is_rare]))
    header = ["place", "Time", "odometer", "a", "label"]
    source, path = write_csv(tmp_path / "s.csv", header, rows), tmp_path / "m.npz"
    for options in ([], ["--ignore", "place"]):
        findings = summarize_run(run, source, "-m", path, "--overwrite", *options)["diagnosis"]
        assert (not options) == ("row numbers" in findings)
        if not options:
            assert ": place" in findings["row numbers"]["evidence"]
            inspected = run("inspect", path, check=0).stdout
            assert re.search(r"(?m)^ +--ignore place --overwrite$", inspected)


def test_worked_sample_has_the_numbers_of_the_oracle():
    samples = [("left", 0.5, -1.0), ("right", -2.0, 0.25), ("left", 0.0, 1.5)]
    model = SGDPerceptron(lr=0.5, epsilon=0.1, init_range=0, classes=["left", "right"], seed=0)
    w, b = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for label, a, c in samples:
        sample = work_sample(model, {"a": a, "c": c}, label)
        k = ["left", "right"].index(label)
        before, biases = np.array(w), np.array(b)
        nets, error = oracle.update_weights(w, b, [a, c], k, [0.5] * 3, 0.1, "sigmoid")
        changes = np.array(w) - before
        largest = changes[[0, 1], np.abs(changes).argmax(axis=1)]

        np.testing.assert_allclose(sample.net, nets)
        np.testing.assert_allclose(sample.bias_change, np.array(b) - biases)
        np.testing.assert_allclose(sample.weight_change, largest)
        assert f"error = {error:.6f} >= epsilon 0.1: learned with rate 0.5" in str(sample)
        model.learn_one({"a": a, "c": c}, label)


def sigmoid(net):
    return 1 / (1 + np.exp(-net))


def compute_delta(net, d):
    y = sigmoid(net)
    return (d - y) * y * (1 - y)


def build_update(compute_delta=compute_delta, lr=0.1, bias_share=1):
    """Return an update by the delta of each output, computed from the net input and the target."""

    def update(x, d, weights, bias):
        change = lr * compute_delta(weights @ x + bias_share * bias, d) * np.ones(len(d))
        return weights + np.outer(change, x), bias + change

    return update


correct_update = build_update()


def change_in_place(x, d, weights, bias):
    weights[:], bias[:] = correct_update(x, d, weights, bias)
    return weights, bias


def change_x(x, d, weights, bias):
    result = correct_update(x, d, weights, bias)
    x *= 2
    return result


MISTAKES = {
    # The first program's mistake.
    "delta is one number for all outputs; there must be one per output": build_update(
        lambda net, d: compute_delta(net, d).sum()
    ),
    "sign": build_update(lambda net, d: -compute_delta(net, d)),
    "bias not updated": lambda x, d, w, b: (correct_update(x, d, w, b)[0], b),
    "derivative taken at y, not at net": build_update(
        lambda net, d: (d - sigmoid(net)) * sigmoid(sigmoid(net)) * (1 - sigmoid(sigmoid(net)))
    ),
    "the derivative f' is left out": build_update(lambda net, d: d - sigmoid(net)),
    "lr is left out": build_update(lr=1),
    "twice as long": build_update(lr=0.2),
    "only the output of the label learns": build_update(lambda net, d: d * compute_delta(net, d)),
    "net leaves the bias out": build_update(bias_share=0),
    "the new weights have shape (4, 3), the old ones (3, 4)": lambda x, d, w, b: (w.T, b),
    "delta is [": build_update(lambda net, d: (d - sigmoid(net)) ** 3),
    "x or d is changed in place": change_x,
    "must return new weights and new biases": lambda *_: None,
    "np.outer(delta, x)": lambda x, d, w, b: (2 * w, correct_update(x, d, w, b)[1]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_check_update_names_the_mistake(message):
    with pytest.raises(UpdateError, match=re.escape(message)):
        check_update(MISTAKES[message])


def test_check_update_accepts_a_correct_update():
    for seed in range(5):
        check_update(correct_update, seed=seed)
        check_update(change_in_place, seed=seed)
        check_update(build_update(lambda net, d: d - net, lr=0.3), "identity", lr=0.3, seed=seed)
