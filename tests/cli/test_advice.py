"""Following a suggestion of the diagnosis raises the accuracy on the same stream."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl, write_parquet


def summarize_run(run, source, *options):
    """Return the summary of `learn --json`, with its findings by name."""
    summary = json.loads(run("learn", source, *options, "--json", "--quiet", check=0).stdout)
    return summary | {"diagnosis": {finding["name"]: finding for finding in summary["diagnosis"]}}


def write_csv(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def generate_people(n, seed=0):
    """Yield the age, the income and the label of n people."""
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.uniform(0.18, 0.9), rng.lognormvariate(10, 0.5)
        is_yes = (age - 0.5) / 0.2 + (income - 25_000) / 10_000 + rng.gauss(0, 0.3) > 0
        yield round(age, 3), round(income, 1), ("no", "yes")[is_yes]


def check_advice(run, source, name, faulty_options, better_options):
    """Check that the better options raise the accuracy and remove a finding; return the finding."""
    before = summarize_run(run, source, *faulty_options)
    assert name in before["diagnosis"], before["diagnosis"]
    after = summarize_run(run, source, *better_options)
    assert name not in after["diagnosis"]
    figure = "window_accuracy" if before["accuracy"] is None else "accuracy"
    assert after[figure] > before[figure] + 0.02
    return before["diagnosis"][name]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_unscaled_columns_get_advice_to_standardize(form, run, tmp_path):
    """The finding names the columns."""
    rows, source = list(generate_people(3000)), tmp_path / f"s.{form}"
    if form == "csv":
        write_csv(source, "age,income,label", rows)
    else:
        write_jsonl(source, [dict(zip(("age", "income", "label"), r, strict=True)) for r in rows])
    faulty_options = ["--no-standardize"]
    finding = check_advice(
        run, source, "unscaled features", faulty_options, ["--standardize", "--lr", "0.1"]
    )

    assert finding["suggestion"].endswith(":\n  --standardize")
    assert re.match(r"'income' reaches [\d.e+]+ and 'age' only 0\.\d+", finding["evidence"])
    stderr = run("learn", source, *faulty_options, check=0).stderr
    assert stderr.count("unscaled features") == 1


def test_features_of_very_different_scales_get_advice_to_standardize(run, tmp_path):
    """No feature is large, but the small one has hardly any effect."""
    rows = [
        {"a": age / 1000, "b": income / 10_000, "label": y}
        for age, income, y in generate_people(3000)
    ]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    finding = check_advice(run, source, "unscaled features", ["--no-standardize"], [])

    assert "'b' reaches" in finding["evidence"]
    assert "'a' only 0.000" in finding["evidence"]


def test_raw_pixels_get_advice_to_divide_by_255(run, mnist_files):
    options = ["--limit", "10000", "--scale"]
    finding = check_advice(
        run, mnist_files["train"], "unscaled features", [*options, "1"], [*options, "1/255"]
    )
    assert finding["suggestion"].endswith(":\n  --scale 1/255")


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
    assert "warning" not in run("learn", source, "--no-standardize", check=0).stderr
    assert plain["accuracy"] > scaled["accuracy"]


def test_outputs_alike_get_advice_to_raise_lr(run, mnist_files):
    options = ["--limit", "10000"]
    finding = check_advice(
        run, mnist_files["train"], "outputs alike or saturated",
        [*options, "--lr", "1e-6"], [*options, "--lr", "0.1"],
    )  # fmt: skip
    assert "raise --lr" in finding["suggestion"]


def test_early_stop_gets_advice_to_lower_epsilon(run, mnist_files):
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon"]
    finding = check_advice(
        run, mnist_files["train"], "stopped too early", [*options, "0.01"], [*options, "3e-6"]
    )
    assert "lower epsilon" in finding["suggestion"]


def test_saturated_outputs_get_advice_to_scale(run, mnist_files, tmp_path):
    """Pixels in LIBSVM are sparse, so there is no other finding."""
    table = pq.read_table(mnist_files["train"]).slice(0, 3000).to_pydict()
    lines = (
        f"{label} " + " ".join(f"{i}:{v}" for i, v in enumerate(pixels) if v)
        for label, pixels in zip(table["label"], table["pixels"], strict=True)
    )
    source = tmp_path / "s.libsvm"
    source.write_text("\n".join(lines) + "\n")
    finding = check_advice(
        run, source, "outputs alike or saturated", ["--lr", "1"], ["--scale", "1/255"]
    )
    assert "--scale" in finding["suggestion"]


def test_growing_features_get_advice_to_lower_lr(run, tmp_path):
    rng, rows = random.Random(0), []
    for i in range(4000):
        a, b = (rng.gauss(0, 1 + i / 1000) for _ in "ab")
        rows.append((round(a, 3), round(b, 3), "left" if a > b else "right"))
    source = write_csv(tmp_path / "s.csv", "a,b,label", rows)
    options = ["--no-standardize", "--activation", "identity", "--lr"]
    finding = check_advice(
        run, source, "performance dropped", [*options, "0.05"], [*options, "0.01"]
    )
    assert "lr is too high" in finding["suggestion"]


def test_sorted_labels_get_advice_to_draw_at_random(run, mnist_files, tmp_path):
    """A model that has learned sorted labels fails on the test digits."""
    rows = pq.read_table(mnist_files["train"]).slice(0, 5000)
    source, path = tmp_path / "s.parquet", tmp_path / "m.npz"
    pq.write_table(rows.sort_by("label"), source)
    finding = summarize_run(run, source, "-m", path)["diagnosis"]["sorted labels"]
    assert "draw them with --random" in finding["suggestion"]

    def measure_test_accuracy():
        figures = run("evaluate", mnist_files["test"], "-m", path, "--json", check=0).stdout
        return json.loads(figures)["accuracy"]

    before = measure_test_accuracy()
    assert "sorted labels" not in summarize_run(
        run, source, "--random", "-m", path, "--overwrite")["diagnosis"]  # fmt: skip
    assert measure_test_accuracy() > before + 0.1


def test_row_number_column_gets_advice_to_ignore_it(run, tmp_path):
    rows = sorted(generate_people(1500), key=lambda row: row[2])
    source = write_csv(tmp_path / "s.csv", "row id,age,income,label",
                   ((i, *row) for i, row in enumerate(rows)))  # fmt: skip
    stderr = run("learn", source, "--random", check=0).stderr
    assert "to drop it:\n  --ignore 'row id'\n" in stderr
    path, test = tmp_path / "m.npz", tmp_path / "t.csv"
    write_csv(
        test,
        "row id,age,income,label",
        ((5000 + i, *r) for i, r in enumerate(generate_people(500, 1))),
    )
    accuracy = []
    for options in ([], ["--ignore", "row id"]):
        run("learn", source, "--random", "-m", path, "--overwrite", *options, check=0)
        figures = run("evaluate", test, "-m", path, "--json", check=0).stdout
        accuracy.append(json.loads(figures)["accuracy"])
    assert accuracy[1] > accuracy[0] + 0.05


def generate_payments(n):
    rng = random.Random(0)
    for _ in range(n):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_fraud = rng.random() < (0.25 if a > 1.6 else 0.015)
        yield round(a, 3), round(b, 3), 8 if is_fraud else 1, ("ok", "fraud")[is_fraud]


def write_rare_middle(path):
    """Write rows of two frequent classes, and a rare one between them."""
    rng, rows = random.Random(0), []
    for _ in range(4000):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_rare = abs(a) < 0.3 and rng.random() < 0.3
        rows.append((a, b, "rare" if is_rare else "LR"[a > 0]))
    return write_csv(path, "a,b,label", rows)


@pytest.mark.parametrize("options", [[], ["--class-weight", "fraud=1.5"]])
def test_model_no_better_than_a_constant_gets_advice_to_set_a_threshold(options, run, tmp_path):
    rows = [(a, b, label) for a, b, _, label in generate_payments(20_000)]
    source, path = write_csv(tmp_path / "s.csv", "a,b,label", rows), tmp_path / "m.npz"
    share = sum(row[2] == "fraud" for row in rows) / len(rows)
    summary = summarize_run(run, source, "-m", path, *options)
    suggestion = summary["diagnosis"]["no better than the majority class"]["suggestion"]
    better, plain = follow_threshold_advice(run, source, path, "fraud")

    assert summary["majority_share"] == pytest.approx(1 - share, abs=1e-3)
    assert "evaluate shows the best ones; to set one: predict --threshold" in suggestion
    assert better["cohen_kappa"] > plain["cohen_kappa"] + 0.1


def test_class_of_low_recall_gets_advice_to_set_a_threshold(run, tmp_path):
    source, path = write_rare_middle(tmp_path / "s.csv"), tmp_path / "m.npz"
    finding = summarize_run(run, source, "-m", path)["diagnosis"]["class hardly ever found"]
    better, plain = follow_threshold_advice(run, source, path, "rare")

    assert re.search(r"rare \(recall [\d.]+% of [\d,]+ samples\)", finding["evidence"])
    assert "to set one: predict --threshold" in finding["suggestion"]
    assert better["balanced_accuracy"] > plain["balanced_accuracy"] + 0.03


def follow_threshold_advice(run, source, path, label):
    """Return the figures of `evaluate` with the best threshold of a class, and without."""
    plain = json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout)
    (metrics,) = (entry for entry in plain["per_class"] if entry["class"] == label)
    options = ("-m", path, "--threshold", f"{label}={metrics['best_threshold']}", "--json")
    return json.loads(run("evaluate", source, *options, check=0).stdout), plain


def test_single_label_is_the_only_finding(run, tmp_path):
    source = write_csv(tmp_path / "s.csv", "a,label", ((i % 7, "ok") for i in range(200)))
    assert list(summarize_run(run, source)["diagnosis"]) == ["only one label"]
    stderr = run("learn", source, "--classes", "ok,bad", check=0).stderr
    assert "diagnosis: only one label: all 200 samples are labeled 'ok'" in stderr
    assert stderr.count("diagnosis") == 1


@pytest.mark.parametrize("label_kind", ["whole", "decimals", "classes"])
def test_numeric_labels_get_advice_to_bin_them(label_kind, run, tmp_path):
    """Prices are a quantity, with or without decimals; 1,000 unordered class numbers are not."""
    rng = random.Random(0)
    rows = []
    if label_kind == "classes":
        centers = [[rng.gauss(0, 3) for _ in range(8)] for _ in range(1000)]
        for _ in range(20_000):
            label = rng.randrange(1000)
            rows.append((*(round(rng.gauss(c, 0.5), 3) for c in centers[label]), label))
        header = "a,b,c,d,e,f,g,h,label"
    else:
        for _ in range(20_000):
            area, age = rng.gauss(120, 40), rng.uniform(0, 80)
            price = min(max(area - age / 2 + rng.gauss(0, 15), 0), 254)
            rows.append(
                (round(area), round(age), round(price, 1 if label_kind == "decimals" else None))
            )
        header = "area,age,label"
    source = write_csv(tmp_path / "s.csv", header, rows)
    # After the first save, labels that are a quantity do not end the run.
    options = ["-m", tmp_path / "m.npz", "--save-every", "500"]
    findings = summarize_run(run, source, *options)["diagnosis"]

    assert (label_kind != "classes") == ("labels are a quantity" in findings)
    if label_kind != "classes":
        assert list(findings) == ["labels are a quantity"]
        assert "into a few bins" in findings["labels are a quantity"]["suggestion"]
        binned = [(a, b, "low" if c < 60 else "middle" if c < 110 else "high") for a, b, c in rows]
        after = summarize_run(run, write_csv(tmp_path / "b.csv", header, binned))
        assert after["diagnosis"] == {}
        assert after["accuracy"] > 0.7


def test_rising_time_column_is_a_finding_unless_ignored_or_drawn(run, tmp_path):
    """A rising time misleads the model, unless it is ignored or rows are drawn at random."""
    rng, rows, now = random.Random(0), [], 0.0
    for _ in range(6000):
        a, now = rng.gauss(0, 1), now + rng.uniform(0.1, 5)
        is_rare = a > 1.5 if rng.random() < 0.9 else rng.random() < 0.1
        rows.append((round(now, 2), round(a, 3), ("ok", "fraud")[is_rare]))
    source, path = write_csv(tmp_path / "s.csv", "Time,a,label", rows), tmp_path / "m.npz"
    accuracy = []
    for options in ([], ["--ignore", "Time"], ["--random"]):
        findings = summarize_run(run, source, "-m", path, "--overwrite", *options)["diagnosis"]
        assert (not options) == ("row numbers" in findings)
        figures = run("evaluate", source, "-m", path, "--json", check=0).stdout
        accuracy.append(json.loads(figures)["accuracy"])

    assert min(accuracy[1:]) > accuracy[0] + 0.02


def test_small_bytes_get_advice_to_standardize(run, mnist_files, tmp_path):
    """Bytes are scaled by 1/255 even if none is above 15."""
    table = pq.read_table(mnist_files["train"]).slice(0, 5000).to_pydict()
    pixels = [[value // 16 for value in row] for row in table["pixels"]]
    columns = {"pixels": pa.array(pixels, pa.list_(pa.uint8())), "label": table["label"]}
    source = write_parquet(tmp_path / "s.parquet", columns)
    finding = check_advice(run, source, "unscaled features", [], ["--standardize"])

    assert "they reach only 0.0588235" in finding["evidence"]


def test_too_high_epsilon_gets_advice_to_lower_it(run, mnist_files):
    options = ["--limit", "5000"]
    finding = check_advice(
        run,
        mnist_files["train"],
        "outputs alike or saturated",
        [*options, "--epsilon", "9"],
        options,
    )

    assert finding["suggestion"].startswith("lower --epsilon: 0.0% of the samples")


def test_label_of_the_first_row_alone_counts_as_a_second_label(run, tmp_path):
    rows = [(1, "q"), *((i % 7, "p") for i in range(100))]
    summary = summarize_run(run, write_csv(tmp_path / "s.csv", "a,label", rows))

    assert "only one label" not in summary["diagnosis"]
    assert summary["majority_share"] == 100 / 101


def test_equal_weights_do_not_make_labels_a_quantity(run, tmp_path):
    rng = random.Random(0)
    rows = ((rng.random(), 0, rng.randrange(60)) for _ in range(3000))
    source = write_csv(tmp_path / "s.csv", "a,pixel1,label", rows)
    options = ["--classes", "0-59", "--init-range", "0"]

    assert "labels are a quantity" not in summarize_run(run, source, *options)["diagnosis"]


def test_findings_do_not_depend_on_how_rows_are_delivered(run, tmp_path):
    """Rows with new feature names, learned from a pipe in two parts, verify against the file."""
    rows = []
    for i in range(95):
        names = {f"w{3 * i + j}": 1 for j in range(3)}
        rows.append({"features": {"bias": 1, **names}, "label": "LR"[i % 2]})
    source, path = write_jsonl(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    lines = source.read_text().splitlines(keepends=True)
    for part in (lines[:70], lines[70:]):
        run("learn", "-m", path, input="".join(part), check=0)

    assert "every bit" in run("verify", path, source, check=0).stdout
