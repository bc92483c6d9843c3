"""Findings appear in runs that have the fault, and not in good runs; worked samples."""

from __future__ import annotations

import json
import random
import re
import shlex

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT, summarize_run, write_csv

from stream_perceptron import SGDPerceptron, UpdateError
from stream_perceptron.diagnostics import check_update, work_sample

SMALL_STEPS = ["--lr", "0.02", "--epsilon", "0.01"]


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


def write_points(path, rows, *names):
    return write_csv(path, ["label", "a", "b", *names], rows)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--lr", "0.1"],
        ["--lr", "0.1", "--epsilon", "0.03"],
        ["--activation", "tanh", "--lr", "0.005"],
        ["--activation", "arctan", "--lr", "0.005"],
        ["--activation", "identity", "--lr", "0.001"],
        ["--passes", "3"],
        ["--limit", "2000"],
    ],
    ids=" ".join,
)
def test_shuffled_digits_have_no_findings(run, mnist_files, options, tmp_path_factory):
    """The digits are shuffled, as later rows of the file can be harder than earlier ones."""
    source = tmp_path_factory.getbasetemp() / "shuffled.parquet"
    if not source.exists():
        table = pq.read_table(mnist_files["train"])
        pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), source)
    assert learn_findings(run, source, *options) == {}


def test_identity_on_raw_pixels_diverges(run, mnist_files):
    result = run("learn", mnist_files["train"], "--scale", "1", "--activation", "identity", check=1)

    assert "diagnosis: diverging: after 36 samples" in result.stderr
    assert "warning: unscaled features: they reach 255" in result.stderr
    assert "diagnosis: unscaled" not in result.stderr


def read_digits(mnist_sample):
    table = pq.read_table(mnist_sample)
    images = [list(image) for image in table["pixels"].to_pylist()]
    return list(zip(map(str, table["label"].to_pylist()), images, strict=True))


def draw_table():
    rng = np.random.default_rng(0)
    centers, labels = 1.2 * rng.normal(size=(4, 6)), rng.integers(4, size=5000)
    points = (centers[labels] + rng.normal(size=(5000, 6))).round(4)
    return [(f"c{label}", point) for label, point in zip(labels, points.tolist(), strict=True)]


def write_rows(path, rows):
    """Write rows as Parquet, in which lists of bytes are pixels, or as CSV."""
    labels, points = zip(*rows, strict=True)
    if path.suffix == ".csv":
        return write_csv(path, ["label", *"abcdef"], [(y, *x) for y, x in rows])
    pixels = pa.array(points, pa.list_(pa.uint8()))
    pq.write_table(pa.table({"pixels": pixels, "label": pa.array(labels)}), path)
    return path


def swap_labels(rows):
    """Give each row the label of another, like training images with test labels."""
    labels = [label for label, _ in rows]
    random.Random(0).shuffle(labels)
    return [(label, x) for label, (_, x) in zip(labels, rows, strict=True)]


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
    "one label": (lambda rows: [("a", x) for _, x in rows], [], "only one label"),
    "change": (lambda rows: rows[:4000] + swap_labels(rows[4000:]), [], "performance dropped"),
}


@pytest.mark.parametrize("name", ["digits.parquet", "table.csv"])
@pytest.mark.parametrize("cause", CAUSES)
def test_first_finding_names_the_cause(run, mnist_sample, tmp_path, name, cause):
    change, options, expected = CAUSES[cause]
    rows = draw_table() if name == "table.csv" else read_digits(mnist_sample)
    findings = learn_findings(run, write_rows(tmp_path / name, change(rows)), *options)

    assert next(iter(findings), None) == expected


def test_sweep_that_is_suggested_finds_a_better_learning_rate(run, tmp_path):
    source = write_rows(tmp_path / "table.csv", draw_table())
    summary = run("learn", source, "--lr", "0.0001", "--json", check=0).stdout
    ((command,),) = [finding["remedies"] for finding in json.loads(summary)["diagnosis"]]
    trials = json.loads(run(*shlex.split(command)[1:], "--json", check=0).stdout)["trials"]

    assert trials[0]["kappa"] > json.loads(summary)["cohen_kappa"] + 0.1


def test_class_of_low_recall_is_a_finding_after_200_samples(run, tmp_path):
    rng = random.Random(0)
    rows = list(generate_points(6000))
    rows += [("rare", rng.uniform(-1, 1), rng.uniform(-1, 1)) for _ in range(240)]
    rng.shuffle(rows)
    findings_by_name, findings_of_few = (
        learn_findings(run, write_points(tmp_path / "a.csv", rows[:n]), "--lr", "0.1")
        for n in (6240, 4000)
    )

    assert list(findings_by_name) == ["class hardly ever found"]
    evidence = findings_by_name["class hardly ever found"]["evidence"]
    assert "rare (recall 0.0% of 240 samples)" in evidence
    assert findings_of_few == {}


def test_rising_dates_are_no_row_numbers(run, tmp_path):
    days = (f"2024-{1 + i // 28 % 12:02}-{1 + i % 28:02}" for i in range(330))
    rows = ((*row, day) for row, day in zip(generate_points(330), days, strict=True))
    path = write_points(tmp_path / "a.csv", rows, "day")

    assert learn_findings(run, path) == {}


def test_accuracy_drop_suppresses_the_findings_that_it_explains(run, tmp_path):
    """A drop of accuracy explains that outputs become alike."""
    rows = [*generate_points(3000), *generate_points(3000, 1, flip=0.5)]
    path, model = write_points(tmp_path / "a.csv", rows), tmp_path / "m.npz"
    findings_by_name = learn_findings(run, path, "--lr", "0.5", "-m", model)
    output = run("inspect", model, check=0).stdout

    assert list(findings_by_name) == ["performance dropped"]
    assert output.count("performance dropped: accuracy from 9") == 1


def test_inspect_and_the_documentation_show_the_findings_of_the_learner(run, mnist_files, tmp_path):
    """Stop once an error is below epsilon, with lr 0.05 and epsilon 0.01."""
    path = tmp_path / "m.npz"
    options = ["--stop", "--lr", "0.05", "--epsilon", "0.01", "-m", path]
    findings_by_name = learn_findings(run, mnist_files["train"], *options)
    shown = json.loads(run("inspect", path, "--json", check=0).stdout)["diagnosis"]
    finding = findings_by_name["stopped too early"]
    line = f"diagnosis: stopped too early: {finding['evidence']}; {finding['suggestion']}\n"

    assert list(findings_by_name) == ["stopped too early"]
    assert list(findings_by_name.values()) == shown
    assert "diagnosis\n  stopped too early" in run("inspect", path, check=0).stdout
    assert line in (ROOT / "docs" / "learning-rule.md").read_text()


def test_worked_sample_has_the_numbers_of_the_oracle():
    samples = [("left", 0.5, -1.0), ("right", -2.0, 0.25), ("left", 0.0, 1.5)]
    model = SGDPerceptron(lr=0.5, epsilon=0.1, init_range=0, classes=["left", "right"], seed=0)
    w, b = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for label, a, c in samples:
        sample = work_sample(model, {"a": a, "c": c}, label)
        k = ["left", "right"].index(label)
        before, biases = np.array(w), np.array(b)
        nets, error = oracle.update_weights(w, b, [a, c], k, 0.5, 0.1, "sigmoid")
        changes = np.array(w) - before
        largest = changes[[0, 1], np.abs(changes).argmax(axis=1)]
        text = str(sample)

        np.testing.assert_allclose(sample.net, nets)
        np.testing.assert_allclose(sample.y, 1 / (1 + np.exp(-np.array(nets))))
        np.testing.assert_allclose(sample.bias_change, np.array(b) - biases)
        np.testing.assert_allclose(sample.weight_change, largest)
        assert f"error = {error:.6f} >= epsilon 0.1: learned with rate 0.5" in text
        model.learn_one({"a": a, "c": c}, label)


def sigmoid(net):
    return 1 / (1 + np.exp(-net))


def build_update(compute_delta, lr=0.1):
    """Return an update by the delta of each output, computed from the net input and the target."""

    def update(x, d, weights, bias):
        change = lr * compute_delta(weights @ x + bias, d) * np.ones(len(d))
        return weights + np.outer(change, x), bias + change

    return update


def compute_delta(net, d):
    y = sigmoid(net)
    return (d - y) * y * (1 - y)


correct_update = build_update(compute_delta)


def update_only_the_label(x, d, weights, bias):
    w, b = correct_update(x, d, weights, bias)
    return np.where(d[:, None] == 1, w, weights), np.where(d == 1, b, bias)


def leave_the_bias_out_of_net(x, d, weights, bias):
    w, change = correct_update(x, d, weights, 0 * bias)
    return w, bias + change


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
    "lr is left out": build_update(compute_delta, lr=1),
    "twice as long": build_update(compute_delta, lr=0.2),
    "only the output of the label learns": update_only_the_label,
    "net leaves the bias out": leave_the_bias_out_of_net,
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
    update = build_update(lambda net, d: d - net, lr=0.3)
    for seed in range(5):
        assert check_update(correct_update, seed=seed) is None
        assert check_update(update, "identity", lr=0.3) is None


def test_check_update_chains_the_exception_of_the_update():
    with pytest.raises(UpdateError, match="must return new weights") as error:
        check_update(lambda x, d, weights, bias: int(weights))

    assert isinstance(error.value.__cause__, TypeError)
