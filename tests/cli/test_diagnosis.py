"""Findings appear in runs that have the fault, and not in good runs; --trace and check_update."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT, get_seeds

from stream_perceptron import LiveModel, UpdateError, check_update
from stream_perceptron.diagnostics.diagnosis import collect_findings


def learn_findings(run, *args):
    """Run `learn`; return its findings by name."""
    result = run("learn", *args, "--json", "--quiet", check=0)
    return {finding["name"]: finding for finding in json.loads(result.stdout)["diagnosis"]}


def write_csv(path, rows, header="label,a,b"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def generate_points(n, seed=0, flip=0.0):
    """Yield n labels and points of two classes, separated by the sign of a."""
    rng = random.Random(seed)
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        a += 0.2 if a > 0 else -0.2
        label = "right" if (a > 0) != (rng.random() < flip) else "left"
        yield label, a, b


def format_rows(samples):
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
def test_shuffled_digits_have_no_findings(run, mnist_files, options, tmp_path_factory):
    """The digits are shuffled, as later rows of the file can be harder than earlier ones."""
    source = tmp_path_factory.getbasetemp() / "shuffled.parquet"
    if not source.exists():
        table = pq.read_table(mnist_files["train"])
        pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), source)
    assert learn_findings(run, source, *options) == {}


def test_settings_of_the_learner_stop_too_early(run, mnist_files, report_figure):
    """Draw samples at random until an error is below epsilon, with lr 0.05 and epsilon 0.01."""
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon", "0.01"]
    findings_by_name = learn_findings(run, mnist_files["train"], *options)
    output = run("learn", mnist_files["train"], *options, check=0).stderr
    line = re.search("diagnosis: (stopped too early: .*)", output)[1]
    report_figure(f"the learner's settings: {line}")

    assert f"diagnosis: {line}\n" in (ROOT / "docs" / "learning-rule.md").read_text()
    assert list(findings_by_name) == ["stopped too early"]
    assert "epsilon 0.01" in findings_by_name["stopped too early"]["evidence"]
    assert findings_by_name["stopped too early"]["evidence"] in line
    assert "lower epsilon" in findings_by_name["stopped too early"]["suggestion"]


def test_raw_pixels_are_unscaled_features(run, mnist_files):
    findings_by_name = learn_findings(run, mnist_files["train"], "--scale", "1", "--limit", "10000")

    assert next(iter(findings_by_name)) == "unscaled features"
    assert "255" in findings_by_name["unscaled features"]["evidence"]


def test_identity_on_raw_pixels_diverges(run, mnist_files):
    result = run("learn", mnist_files["train"], "--scale", "1", "--activation", "identity", check=1)

    assert "diagnosis: diverging: after 36 samples" in result.stderr
    assert "warning: unscaled features: they reach 255" in result.stderr
    assert "diagnosis: unscaled" not in result.stderr


def test_far_too_low_lr_leaves_outputs_alike(run, mnist_files):
    findings_by_name = learn_findings(run, mnist_files["train"], "--lr", "1e-9", "--limit", "5000")

    assert list(findings_by_name) == ["outputs alike or saturated"]
    assert "10 outputs" in findings_by_name["outputs alike or saturated"]["evidence"]


def test_sorted_labels_are_a_finding_unless_drawn_at_random(run, mnist_files, tmp_path):
    table = pq.read_table(mnist_files["train"]).slice(0, 5000).sort_by("label")
    pq.write_table(table, tmp_path / "sorted.parquet")

    assert "sorted labels" in learn_findings(run, tmp_path / "sorted.parquet")
    assert learn_findings(run, tmp_path / "sorted.parquet", "--random") == {}


def test_class_without_samples_is_a_finding(run, tmp_path):
    path = write_csv(tmp_path / "a.csv", format_rows(generate_points(400)))

    findings_by_name = learn_findings(run, path, "--lr", "0.5", "--classes", "left,right,up")
    assert list(findings_by_name) == ["class never seen"]
    assert "up" in findings_by_name["class never seen"]["evidence"]
    assert learn_findings(run, path, "--lr", "0.5") == {}


def test_class_of_low_recall_is_a_finding_after_200_samples(run, tmp_path):
    """The finding appears only after 200 samples of the class have been tested."""
    rng = random.Random(0)
    rows = format_rows(generate_points(6000))
    rows += [f"rare,{rng.uniform(-1, 1)},{rng.uniform(-1, 1)}" for _ in range(240)]
    rng.shuffle(rows)
    findings_by_name = learn_findings(run, write_csv(tmp_path / "a.csv", rows), "--lr", "0.1")
    findings_of_few = learn_findings(
        run, write_csv(tmp_path / "few.csv", rows[:4000]), "--lr", "0.1"
    )

    assert list(findings_by_name) == ["class hardly ever found"]
    assert (
        "rare (recall 0.0% of 240 samples)"
        in findings_by_name["class hardly ever found"]["evidence"]
    )
    assert findings_of_few == {}


def test_learned_row_number_is_a_finding_unless_ignored(run, tmp_path):
    samples = list(generate_points(2000))
    rows = [
        f"{label},{a},{b},{i}"
        for i, (label, a, b) in enumerate(sorted(samples, key=lambda s: (s[0], s[1])))
    ]
    path = write_csv(tmp_path / "a.csv", rows, "label,a,b,row_id")

    options = ["--lr", "0.5", "--epsilon", "0.01", "--random", "--no-standardize"]
    assert "row numbers" in learn_findings(run, path, *options)
    assert "row numbers" not in learn_findings(run, path, *options, "--ignore", "row_id")


def test_rising_dates_are_no_row_numbers(run, tmp_path):
    rows = [
        f"{row},2024-{1 + i // 28 % 12:02}-{1 + i % 28:02}"
        for i, row in enumerate(format_rows(generate_points(330)))
    ]
    path = write_csv(tmp_path / "a.csv", rows, "label,a,b,day")

    assert learn_findings(run, path, "--dates", "day") == {}


def test_accuracy_drop_is_a_finding_and_a_steady_stream_has_none(run, tmp_path):
    swapped = [
        ("left" if label == "right" else "right", a, b) for label, a, b in generate_points(900, 1)
    ]
    steady = format_rows(generate_points(8000))
    changed = write_csv(tmp_path / "changed.csv", steady + format_rows(swapped))
    options = ["--lr", "0.02", "--epsilon", "0.01"]

    assert "performance dropped" in learn_findings(run, changed, *options)
    assert learn_findings(run, write_csv(tmp_path / "steady.csv", steady), *options) == {}


def test_accuracy_drop_suppresses_the_findings_that_it_explains(run, tmp_path):
    """A drop of accuracy explains that outputs become alike and that the error rises."""
    rows = format_rows(generate_points(3000)) + format_rows(generate_points(3000, 1, flip=0.5))
    path, model = write_csv(tmp_path / "a.csv", rows), tmp_path / "m.npz"
    findings_by_name = learn_findings(run, path, "--lr", "0.5", "-m", model)
    output = run("inspect", model, check=0).stdout

    assert list(findings_by_name) == ["performance dropped"]
    assert output.count("performance dropped: accuracy from 9") == 1
    # Without the event, as in shards, which detect no drops, the rising error is a finding.
    live = LiveModel.load(model)
    live.progress.events.clear()
    (finding,) = collect_findings(live)
    assert finding.evidence.startswith("the mean error rose from ")


def test_epsilon_too_low_to_skip_samples_is_a_finding(run, tmp_path):
    path = write_csv(tmp_path / "a.csv", format_rows(generate_points(3000)))

    findings_by_name = learn_findings(run, path, "--lr", "0.5", "--epsilon", "1e-12")
    assert list(findings_by_name) == ["epsilon never skips"]
    assert learn_findings(run, path, "--lr", "0.5", "--epsilon", "0.01") == {}


def test_inspect_shows_the_findings_of_the_run(run, mnist_files, tmp_path):
    path = tmp_path / "m.npz"
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon", "0.01", "-m", path]
    findings_by_name = learn_findings(run, mnist_files["train"], *options)
    output = json.loads(run("inspect", path, "--json", check=0).stdout)["diagnosis"]

    assert list(findings_by_name.values()) == output
    assert "diagnosis\n  stopped too early" in run("inspect", path, check=0).stdout


def test_trace_shows_the_steps_of_the_oracle(run, tmp_path):
    samples = [("left", 0.5, -1.0), ("right", -2.0, 0.25), ("left", 0.0, 1.5)]
    path = write_csv(tmp_path / "a.csv", format_rows(samples))
    model = tmp_path / "m.npz"
    output = run(
        "learn", path, "--lr", "0.5", "--epsilon", "0.1", "--classes", "left,right",
        "--init-range", "0", "--trace", "2", "--no-standardize", "-m", model, check=0,
    ).stderr  # fmt: skip

    w, b = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for label, a, c in samples[:2]:
        before = [row[:] for row in w], b[:]
        k = ["left", "right"].index(label)
        nets, error = oracle.update_weights(w, b, [a, c], k, 0.5, 0.1, "sigmoid")
        for j, name in enumerate(["left", "right"]):
            y = 1 / (1 + np.exp(-nets[j]))
            d = float(j == k)
            change = max((w[j][i] - before[0][j][i] for i in range(2)), key=abs)
            cells = [nets[j], y, d, d - y, (d - y) * y * (1 - y)]
            numbers = [f"{value:.4f}" for value in cells]
            numbers += [f"{b[j] - before[1][j]:+.6f}", f"{change:+.6f}"]
            assert re.search(r"\s+".join(map(re.escape, [name, *numbers])), output)
        assert f"= {error:.6f} >= epsilon 0.1: learned with rate 0.5" in output
    assert output.count("error = 1/2") == 2
    assert LiveModel.load(model).progress.samples == 3


def test_trace_does_not_change_the_model(run, tmp_path, mnist_sample):
    models = []
    for name, options in (("a", ()), ("b", ("--trace", "7"))):
        path = tmp_path / name
        run("learn", mnist_sample, "--limit", "100", "-m", path, *options, check=0)
        models.append(path.read_bytes())
    piped = run(
        "learn", "--trace", "2", "--epsilon", "9", "-m", tmp_path / "c", check=0,
        input="label,a\nleft,1\nright,0\nleft,2\n",
    )  # fmt: skip

    assert models[0] == models[1]
    assert "epsilon 9: not learned" in piped.stderr
    assert piped.stderr.count("error = 1/2") == 2
    assert LiveModel.load(tmp_path / "c").progress.samples == 3


def test_trace_of_a_sample_whose_features_are_all_zero(run):
    rows = '{"label": "b", "x": 1}\n{"label": "a", "x": 0}\n'
    result = run("learn", "--trace", "2", check=0, input=rows)

    assert "sample 2: label a; x: none" in result.stderr


def sigmoid(net):
    return 1 / (1 + np.exp(-net))


def correct_step(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def scalar_delta(x, d, weights, bias):
    """Use one delta for all outputs, the mistake of the first program."""
    y = sigmoid(weights @ x + bias)
    delta = np.dot(d - y, y * (1 - y))
    return weights + 0.1 * delta * x, bias + 0.1 * delta


def wrong_sign(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = (y - d) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_bias(x, d, weights, bias):
    return correct_step(x, d, weights, bias)[0], bias


def derivative_of_y(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = (d - y) * sigmoid(y) * (1 - sigmoid(y))
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_derivative(x, d, weights, bias):
    delta = d - sigmoid(weights @ x + bias)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def no_lr(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = (d - y) * y * (1 - y)
    return weights + np.outer(delta, x), bias + delta


def doubled_delta(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = 2 * (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def only_label_output(x, d, weights, bias):
    w, b = correct_step(x, d, weights, bias)
    return np.where(d[:, None] == 1, w, weights), np.where(d == 1, b, bias)


def net_without_bias(x, d, weights, bias):
    y = sigmoid(weights @ x)
    delta = (d - y) * y * (1 - y)
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def transposed_weights(x, d, weights, bias):
    return correct_step(x, d, weights, bias)[0].T, bias


def cubed_delta(x, d, weights, bias):
    y = sigmoid(weights @ x + bias)
    delta = (d - y) ** 3
    return weights + 0.1 * np.outer(delta, x), bias + 0.1 * delta


def changed_x(x, d, weights, bias):
    result = correct_step(x, d, weights, bias)
    x *= 2
    return result


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (scalar_delta, "delta is one number for all outputs; there must be one per output"),
        (wrong_sign, "sign"),
        (no_bias, "bias not updated"),
        (derivative_of_y, "derivative taken at y, not at net"),
        (no_derivative, "the derivative f' is left out"),
        (no_lr, "lr is left out"),
        (doubled_delta, "twice as long"),
        (only_label_output, "only the output of the label learns"),
        (net_without_bias, "net leaves the bias out"),
        (transposed_weights, "the new weights have shape (4, 3), the old ones (3, 4)"),
        (cubed_delta, "delta is ["),
        (changed_x, "x or d is changed in place"),
        (lambda *_: None, "must return new weights and new biases"),
        (lambda x, d, w, b: (w * 2, correct_step(x, d, w, b)[1]), "np.outer(delta, x)"),
    ],
)
def test_check_update_names_the_mistake(step, message):
    with pytest.raises(UpdateError, match=re.escape(message)):
        check_update(step)


@pytest.mark.parametrize("seed", get_seeds(5))
def test_check_update_accepts_a_correct_update(seed):
    assert check_update(correct_step, seed=seed) is None
    assert check_update(
        lambda x, d, w, b: (
            w + 0.3 * np.outer(d - (w @ x + b), x), b + 0.3 * (d - (w @ x + b))
        ), "identity", lr=0.3,
    ) is None  # fmt: skip


def test_progress_bar_is_shown_only_on_a_terminal(run, run_on_terminal, mnist_files):
    output = run_on_terminal("learn", mnist_files["train"], "--passes", "3", columns=120)
    assert re.search(r"\[#+ *\] +\d+%, +\d+:\d\d left", output)
    piped_stderr = run("learn", mnist_files["train"], check=0).stderr
    assert "left" not in piped_stderr
    assert "\r" not in piped_stderr


def test_unlabeled_parquet_rows_add_no_learning_curve(run, tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / "a.parquet")
    run("learn", tmp_path / "a.parquet", "-m", tmp_path / "m", "-p", "-", check=0)

    assert len(LiveModel.load(tmp_path / "m").progress.curve.sums) == 0


def test_check_update_chains_the_exception_of_the_update():
    def failing_step(x, d, weights, bias):
        raise TypeError("of the user")

    with pytest.raises(UpdateError, match="must return new weights") as error:
        check_update(failing_step)

    assert str(error.value.__cause__) == "of the user"
