"""Each finding appears in a run that has it, and none in good runs; worked samples."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT

from stream_perceptron import LiveModel, UpdateError, check_update
from stream_perceptron.diagnostics.diagnosis import collect_findings


def findings(run, *args):
    """Return the findings of `learn`, by name."""
    result = run("learn", *args, "--json", "--quiet", check=0)
    return {found["name"]: found for found in json.loads(result.stdout)["diagnosis"]}


def write(path, rows, header="label,a,b"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def points(n, seed=0, flip=0.0):
    """Two classes, separated by the sign of a."""
    rng = random.Random(seed)
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        a += 0.2 if a > 0 else -0.2
        label = "right" if (a > 0) != (rng.random() < flip) else "left"
        yield label, a, b


def lines(samples):
    return [f"{label},{a:.4f},{b:.4f}" for label, a, b in samples]


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
        ["--random", "--stop", "--epsilon", "3e-6"],
        ["--limit", "2000"],
    ],
    ids=" ".join,
)
def test_no_false_alarm_on_digits(run, digits, options, tmp_path_factory):
    """The digits are shuffled, as some of the file's rows are harder than earlier ones."""
    source = tmp_path_factory.getbasetemp() / "shuffled.parquet"
    if not source.exists():
        table = pq.read_table(digits["train"])
        pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), source)
    assert findings(run, source, *options) == {}


def test_the_settings_of_the_learner(run, digits, tell):
    """They are lr 0.05, epsilon 0.01, and random draws until one error is below epsilon."""
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon", "0.01"]
    found = findings(run, digits["train"], *options)
    shown = run("learn", digits["train"], *options, check=0).stderr
    line = re.search("diagnosis: (stopped too early: .*)", shown)[1]
    tell(f"the learner's settings: {line}")

    assert f"diagnosis: {line}\n" in (ROOT / "docs" / "learning-rule.md").read_text()
    assert list(found) == ["stopped too early"]
    assert "epsilon 0.01" in found["stopped too early"]["evidence"]
    assert found["stopped too early"]["evidence"] in line
    assert "lower epsilon" in found["stopped too early"]["suggestion"]


def test_raw_pixels(run, digits):
    found = findings(run, digits["train"], "--scale", "1", "--limit", "10000")

    assert list(found) == ["unscaled features"]
    assert "255" in found["unscaled features"]["evidence"]


def test_identity_on_raw_pixels_diverges(run, digits):
    result = run("learn", digits["train"], "--scale", "1", "--activation", "identity", check=1)

    assert "diagnosis: diverging: after 36 samples" in result.stderr
    assert "warning: unscaled features: they reach 255" in result.stderr
    assert "diagnosis: unscaled" not in result.stderr


def test_a_rate_that_is_far_too_low(run, digits):
    found = findings(run, digits["train"], "--lr", "1e-9", "--limit", "5000")

    assert list(found) == ["outputs alike"]
    assert "10 outputs" in found["outputs alike"]["evidence"]


def test_labels_in_order(run, digits, tmp_path):
    table = pq.read_table(digits["train"]).slice(0, 5000).sort_by("label")
    pq.write_table(table, tmp_path / "sorted.parquet")

    assert "sorted labels" in findings(run, tmp_path / "sorted.parquet")
    assert findings(run, tmp_path / "sorted.parquet", "--random") == {}


def test_classes_that_never_come(run, tmp_path):
    path = write(tmp_path / "a.csv", lines(points(400)))

    found = findings(run, path, "--lr", "0.5", "--classes", "left,right,up")
    assert list(found) == ["class never seen"]
    assert "up" in found["class never seen"]["evidence"]
    assert findings(run, path, "--lr", "0.5") == {}


def test_class_that_is_hardly_ever_found(run, tmp_path):
    """It is found only once 200 samples of the class were tested."""
    rng = random.Random(0)
    rows = lines(points(6000))
    rows += [f"rare,{rng.uniform(-1, 1)},{rng.uniform(-1, 1)}" for _ in range(240)]
    rng.shuffle(rows)
    found = findings(run, write(tmp_path / "a.csv", rows), "--lr", "0.1")
    few = findings(run, write(tmp_path / "few.csv", rows[:4000]), "--lr", "0.1")

    assert list(found) == ["class hardly ever found"]
    assert "rare (recall 0.0% of 240 samples)" in found["class hardly ever found"]["evidence"]
    assert few == {}


def test_row_number_among_the_features(run, tmp_path):
    samples = list(points(2000))
    rows = [
        f"{label},{a},{b},{i}"
        for i, (label, a, b) in enumerate(sorted(samples, key=lambda s: (s[0], s[1])))
    ]
    path = write(tmp_path / "a.csv", rows, "label,a,b,row_id")

    options = ["--lr", "0.5", "--epsilon", "0.01", "--random", "--no-standardize"]
    assert "row number learned" in findings(run, path, *options)
    assert "row number learned" not in findings(run, path, *options, "--ignore", "row_id")


def test_stream_that_changes(run, tmp_path):
    turned = [("left" if label == "right" else "right", a, b) for label, a, b in points(900, 1)]
    steady = lines(points(8000))
    changed = write(tmp_path / "changed.csv", steady + lines(turned))
    options = ["--lr", "0.02", "--epsilon", "0.01"]

    assert "accuracy dropped" in findings(run, changed, *options)
    assert findings(run, write(tmp_path / "steady.csv", steady), *options) == {}


def test_one_event_has_one_finding(run, tmp_path):
    """Outputs become alike and the error rises where accuracy drops: the drop explains both."""
    rows = lines(points(3000)) + lines(points(3000, 1, flip=0.5))
    path, model = write(tmp_path / "a.csv", rows), tmp_path / "m.npz"
    found = findings(run, path, "--lr", "0.5", "-m", model)
    shown = run("inspect", model, check=0).stdout

    assert list(found) == ["accuracy dropped"]
    assert shown.count("accuracy dropped: from 9") == 1
    # Shards detect no drops, as their rows have no order.
    live = LiveModel.load(model)
    live.progress.events.clear()
    assert "error rising" in [finding.name for finding in collect_findings(live)]


def test_epsilon_that_never_skips(run, tmp_path):
    path = write(tmp_path / "a.csv", lines(points(3000)))

    found = findings(run, path, "--lr", "0.5", "--epsilon", "1e-12")
    assert list(found) == ["epsilon never skips"]
    assert findings(run, path, "--lr", "0.5", "--epsilon", "0.01") == {}


def test_inspect_shows_the_findings_of_the_run(run, digits, tmp_path):
    path = tmp_path / "m.npz"
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon", "0.01", "-m", path]
    found = findings(run, digits["train"], *options)
    shown = json.loads(run("inspect", path, "--json", check=0).stdout)["diagnosis"]

    assert list(found.values()) == shown
    assert "diagnosis\n  stopped too early" in run("inspect", path, check=0).stdout


def test_trace_shows_what_the_rule_does_on_paper(run, tmp_path):
    samples = [("left", 0.5, -1.0), ("right", -2.0, 0.25), ("left", 0.0, 1.5)]
    path = write(tmp_path / "a.csv", lines(samples))
    model = tmp_path / "m.npz"
    shown = run(
        "learn", path, "--lr", "0.5", "--epsilon", "0.1", "--classes", "left,right",
        "--init-range", "0", "--trace", "2", "--no-standardize", "-m", model, check=0,
    ).stderr  # fmt: skip

    w, b = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for label, a, c in samples[:2]:
        before = [row[:] for row in w], b[:]
        k = ["left", "right"].index(label)
        nets, error = oracle.step(w, b, [a, c], k, 0.5, 0.1, "sigmoid")
        for j, name in enumerate(["left", "right"]):
            y = 1 / (1 + np.exp(-nets[j]))
            d = float(j == k)
            change = max((w[j][i] - before[0][j][i] for i in range(2)), key=abs)
            cells = [nets[j], y, d, d - y, (d - y) * y * (1 - y)]
            numbers = [f"{value:.4f}" for value in cells]
            numbers += [f"{b[j] - before[1][j]:+.6f}", f"{change:+.6f}"]
            assert re.search(r"\s+".join(map(re.escape, [name, *numbers])), shown)
        assert f"= {error:.6f} >= epsilon 0.1: learned with rate 0.5" in shown
    assert shown.count("error = 1/2") == 2
    assert LiveModel.load(model).progress.samples == 3


def test_trace_does_not_change_what_is_learned(run, tmp_path, sample):
    models = []
    for name, options in (("a", ()), ("b", ("--trace", "7"))):
        path = tmp_path / name
        run("learn", sample, "--limit", "100", "-m", path, *options, check=0)
        models.append(path.read_bytes())
    piped = run(
        "learn", "--trace", "2", "--epsilon", "9", "-m", tmp_path / "c", check=0,
        input="label,a\nleft,1\nright,0\nleft,2\n",
    )  # fmt: skip

    assert models[0] == models[1]
    assert "epsilon 9: not learned" in piped.stderr
    assert piped.stderr.count("error = 1/2") == 2
    assert LiveModel.load(tmp_path / "c").progress.samples == 3


def test_trace_of_a_sample_of_zeros(run):
    rows = '{"label": "b", "x": 1}\n{"label": "a", "x": 0}\n'
    result = run("learn", "--trace", "2", check=0, input=rows)

    assert "sample 2: label a; x: none" in result.stderr


def f(net):
    return 1 / (1 + np.exp(-net))


def right(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def scalar_delta(x, d, weights, bias):
    """The mistake of the first program."""
    y = f(weights @ x + bias)
    delta = np.dot(d - y, y * (1 - y))
    return weights + 0.1 * delta * x, bias + 0.1 * delta


def uphill(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = (y - d) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_bias(x, d, weights, bias):
    return right(x, d, weights, bias)[0], bias


def derivative_of_y(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = (d - y) * f(y) * (1 - f(y))
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_derivative(x, d, weights, bias):
    delta = d - f(weights @ x + bias)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_rate(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = (d - y) * y * (1 - y)
    return weights + np.outer(delta, x), bias + delta


def doubled(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = 2 * (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def only_the_label(x, d, weights, bias):
    w, b = right(x, d, weights, bias)
    return np.where(d[:, None] == 1, w, weights), np.where(d == 1, b, bias)


def net_without_bias(x, d, weights, bias):
    y = f(weights @ x)
    delta = (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def turned(x, d, weights, bias):
    return right(x, d, weights, bias)[0].T, bias


def some_delta(x, d, weights, bias):
    y = f(weights @ x + bias)
    delta = (d - y) ** 3
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def changes_x(x, d, weights, bias):
    result = right(x, d, weights, bias)
    x *= 2
    return result


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (scalar_delta, "delta is one number for all outputs; there must be one per output"),
        (uphill, "sign"),
        (no_bias, "bias not updated"),
        (derivative_of_y, "derivative taken of y, not of net"),
        (no_derivative, "the derivative f' is left out"),
        (no_rate, "lr is left out"),
        (doubled, "twice as long"),
        (only_the_label, "only the output of the label learns"),
        (net_without_bias, "net leaves the bias out"),
        (turned, "the new weights have shape (4, 3), the old ones (3, 4)"),
        (some_delta, "delta is ["),
        (changes_x, "x or d is changed in place"),
        (lambda *_: None, "must return new weights and new biases"),
        (lambda x, d, w, b: (w * 2, right(x, d, w, b)[1]), "np.outer(delta, x)"),
    ],
)
def test_check_update_names_the_mistake(step, message):
    with pytest.raises(UpdateError, match=re.escape(message)):
        check_update(step)


@pytest.mark.parametrize("seed", range(5))
def test_check_update_lets_the_right_one_pass(seed):
    assert check_update(right, seed=seed) is None
    assert check_update(
        lambda x, d, w, b: (
            w + 0.3 * np.outer(d - (w @ x + b), x), b + 0.3 * (d - (w @ x + b))
        ), "identity", lr=0.3,
    ) is None  # fmt: skip


def test_bar_on_a_terminal_and_none_elsewhere(run, on_terminal, digits):
    shown = on_terminal("learn", digits["train"], "--passes", "3", columns=120)
    assert re.search(r"\[#+ *\] +\d+%, +\d+:\d\d left", shown)
    plain = run("learn", digits["train"], check=0).stderr
    assert "left" not in plain
    assert "\r" not in plain


def test_arrow_of_unlabeled_rows_has_no_curve(run, tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / "a.parquet")
    run("learn", tmp_path / "a.parquet", "-m", tmp_path / "m", "-p", "-", check=0)

    assert len(LiveModel.load(tmp_path / "m").progress.curve.sums) == 0


def test_check_update_keeps_the_error_of_the_update():
    def broken(x, d, weights, bias):
        raise TypeError("of the user")

    with pytest.raises(UpdateError, match="must return new weights") as error:
        check_update(broken)

    assert str(error.value.__cause__) == "of the user"
