"""Each suggestion raises the accuracy on the stream that it was made for."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_lines, write_parquet


def learned(run, source, *options):
    """Return the accuracy and the findings by name from `learn --json`."""
    told = json.loads(run("learn", source, *options, "--json", "--quiet", check=0).stdout)
    return told | {"diagnosis": {each["name"]: each for each in told["diagnosis"]}}


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def people(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.uniform(0.18, 0.9), rng.lognormvariate(10, 0.5)
        is_yes = (age - 0.5) / 0.2 + (income - 25_000) / 10_000 + rng.gauss(0, 0.3) > 0
        yield round(age, 3), round(income, 1), ("no", "yes")[is_yes]


def follows(run, source, name, given, advice, *more):
    """Check that one set of options has a finding, and the other a higher accuracy without it."""
    before = learned(run, source, *given)
    assert name in before["diagnosis"], before["diagnosis"]
    after = learned(run, source, *advice, *more)
    assert name not in after["diagnosis"]
    figure = "accuracy" if before["training_accuracy"] is None else "training_accuracy"
    assert after[figure] > before[figure] + 0.02
    return before["diagnosis"][name]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_unscaled_features_of_a_table(form, run, tmp_path):
    """JSON is unscaled by default, CSV on request; the finding names the column."""
    rows, source = list(people(3000)), tmp_path / f"s.{form}"
    if form == "csv":
        write(source, "age,income,label", rows)
    else:
        write_lines(source, [dict(zip(("age", "income", "label"), r, strict=True)) for r in rows])
    given = ["--no-standardize"] if form == "csv" else []
    found = follows(run, source, "unscaled features", given, ["--standardize", "--lr", "0.1"])

    assert "start over with --standardize" in found["suggestion"]
    assert re.match(r"'income' reaches [\d.e+]+ and 'age' only 0\.\d+", found["evidence"])
    told = run("learn", source, *given, check=0).stderr
    assert told.count("unscaled features") == 1


def test_features_of_scales_far_apart(run, tmp_path):
    """None is large, but the small one has hardly any effect."""
    rows = [{"a": age / 1000, "b": income / 10_000, "label": y} for age, income, y in people(3000)]
    source = write_lines(tmp_path / "s.jsonl", rows)
    found = follows(run, source, "unscaled features", [], ["--standardize"])

    assert "'b' reaches" in found["evidence"]
    assert "'a' only 0.000" in found["evidence"]


def test_raw_pixels(run, digits):
    options = ["--limit", "10000"]
    found = follows(
        run, digits["train"], "unscaled features", ["--scale", "1", *options], options,
        "--scale", "1/255",
    )  # fmt: skip
    assert "start over with --scale 1/255" in found["suggestion"]


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
    source = write_lines(tmp_path / "s.jsonl", rows)
    plain, scaled = learned(run, source), learned(run, source, "--standardize")

    assert plain["diagnosis"] == {}
    assert "warning" not in run("learn", source, check=0).stderr
    assert plain["accuracy"] > scaled["accuracy"]


def test_outputs_alike(run, digits):
    options = ["--limit", "10000"]
    given, better = [*options, "--lr", "1e-6"], [*options, "--lr", "0.1"]
    found = follows(run, digits["train"], "outputs alike", given, better)
    assert "raise --lr" in found["suggestion"]


def test_stopped_too_early(run, digits):
    options = ["--random", "--stop", "--lr", "0.05", "--epsilon"]
    found = follows(
        run, digits["train"], "stopped too early", [*options, "0.01"], [*options, "3e-6"]
    )
    assert "lower epsilon" in found["suggestion"]


def test_saturated_outputs(run, digits, tmp_path):
    """Pixels in LIBSVM are sparse, so there is no other finding."""
    table = pq.read_table(digits["train"]).slice(0, 3000).to_pydict()
    lines = (
        f"{label} " + " ".join(f"{i}:{v}" for i, v in enumerate(pixels) if v)
        for label, pixels in zip(table["label"], table["pixels"], strict=True)
    )
    source = tmp_path / "s.libsvm"
    source.write_text("\n".join(lines) + "\n")
    found = follows(run, source, "outputs saturated", ["--lr", "1"], ["--scale", "1/255"])
    assert "--scale" in found["suggestion"]


def test_features_that_grow_until_steps_are_too_long(run, tmp_path):
    rng, rows = random.Random(0), []
    for i in range(4000):
        a, b = (rng.gauss(0, 1 + i / 1000) for _ in "ab")
        rows.append((round(a, 3), round(b, 3), "left" if a > b else "right"))
    source = write(tmp_path / "s.csv", "a,b,label", rows)
    given = ["--no-standardize", "--activation", "identity", "--lr"]
    found = follows(run, source, "accuracy dropped", [*given, "0.05"], [*given, "0.01"])
    assert "lr is too high" in found["suggestion"]


def test_sorted_labels(run, digits, tmp_path):
    """A model of sorted labels fails on others."""
    rows = pq.read_table(digits["train"]).slice(0, 5000)
    source, path = tmp_path / "s.parquet", tmp_path / "m.npz"
    pq.write_table(rows.sort_by("label"), source)
    found = learned(run, source, "-m", path)["diagnosis"]["sorted labels"]
    assert "draw them with --random" in found["suggestion"]

    def tested():
        figures = run("evaluate", digits["test"], "-m", path, "--json", check=0).stdout
        return json.loads(figures)["accuracy"]

    before = tested()
    assert "sorted labels" not in learned(
        run, source, "--random", "-m", path, "--overwrite")["diagnosis"]  # fmt: skip
    assert tested() > before + 0.1


def test_row_numbers(run, tmp_path):
    rows = sorted(people(1500), key=lambda row: row[2])
    source = write(tmp_path / "s.csv", "row id,age,income,label",
                   ((i, *row) for i, row in enumerate(rows)))  # fmt: skip
    told = run("learn", source, "--random", check=0).stderr
    assert "drop it with --ignore 'row id'" in told
    path, test = tmp_path / "m.npz", tmp_path / "t.csv"
    write(test, "row id,age,income,label", ((5000 + i, *r) for i, r in enumerate(people(500, 1))))
    accuracy = []
    for more in ([], ["--ignore", "row id"]):
        run("learn", source, "--random", "-m", path, "--overwrite", *more, check=0)
        figures = run("evaluate", test, "-m", path, "--json", check=0).stdout
        accuracy.append(json.loads(figures)["accuracy"])
    assert accuracy[1] > accuracy[0] + 0.05


def fraud(n):
    rng = random.Random(0)
    for _ in range(n):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_fraud = rng.random() < (0.25 if a > 1.6 else 0.015)
        yield round(a, 3), round(b, 3), 8 if is_fraud else 1, ("ok", "fraud")[is_fraud]


def test_a_rare_class(run, tmp_path):
    """Accuracy is no better than a constant; larger weights find the rare class."""
    rows = list(fraud(20_000))
    source = write(tmp_path / "s.csv", "a,b,w,label", rows)
    share = sum(row[3] == "fraud" for row in rows) / len(rows)
    plain = learned(run, source, "--ignore", "w")
    weighted = learned(run, source, "--ignore", "w", "--class-weight", "balanced")
    found = plain["diagnosis"]["no better than the largest class"]

    assert 0.02 < share < 0.035
    assert "give rare classes more weight (--class-weight balanced)" in found["suggestion"]
    assert plain["largest_class"] == "ok"
    assert plain["largest_share"] == pytest.approx(1 - share, abs=1e-3)
    assert weighted["balanced_accuracy"] > plain["balanced_accuracy"] + 0.1
    assert "balanced" not in str(weighted["diagnosis"])  # which is in use already


def test_a_class_that_is_hardly_ever_found(run, tmp_path):
    rng = random.Random(0)
    rows = []
    for _ in range(4000):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        is_rare = abs(a) < 0.3 and rng.random() < 0.3
        rows.append((a, b, 8 if is_rare else 1, "rare" if is_rare else "LR"[a > 0]))
    source = write(tmp_path / "s.csv", "a,b,w,label", rows)
    plain = learned(run, source, "--ignore", "w")
    found = plain["diagnosis"]["class hardly ever found"]

    assert re.search(r"rare \(recall [\d.]+% of [\d,]+ samples\)", found["evidence"])
    (weight,) = re.findall(r"\(--class-weight (\S+)\)", found["suggestion"])
    weighted = learned(run, source, "--ignore", "w", "--class-weight", weight)
    assert weighted["balanced_accuracy"] > plain["balanced_accuracy"] + 0.03


def test_a_threshold_once_weights_are_in_use(run, tmp_path):
    source, path = write(tmp_path / "s.csv", "a,b,w,label", fraud(20_000)), tmp_path / "m.npz"
    told = learned(run, source, "--ignore", "w", "--class-weight", "fraud=1.5", "-m", path)
    found = told["diagnosis"]["no better than the largest class"]["suggestion"]
    plain = json.loads(run("evaluate", source, "-m", path, "--json", check=0).stdout)
    (figures,) = (each for each in plain["per_class"] if each["class"] == "fraud")
    threshold = f"fraud={figures['best_threshold']}"
    options = ("-m", path, "--threshold", threshold, "--json")
    better = json.loads(run("evaluate", source, *options, check=0).stdout)

    assert "--class-weight" not in found
    assert "evaluate shows the best ones; predict --threshold" in found
    assert better["macro_f1"] > plain["macro_f1"] + 0.1
    assert better["balanced_accuracy"] > plain["balanced_accuracy"] + 0.05


def test_one_label(run, tmp_path):
    source = write(tmp_path / "s.csv", "a,label", ((i % 7, "ok") for i in range(200)))
    assert list(learned(run, source)["diagnosis"]) == ["only one label"]
    told = run("learn", source, "--classes", "ok,bad", check=0).stderr
    assert "diagnosis: only one label: all 200 samples are labeled 'ok'" in told
    assert told.count("diagnosis") == 1


@pytest.mark.parametrize("how", ["whole", "decimals", "classes"])
def test_labels_that_are_a_quantity(how, run, tmp_path):
    """They are 255 or more integer prices, but not 1,000 random class numbers."""
    rng = random.Random(0)
    rows = []
    if how == "classes":
        centers = [[rng.gauss(0, 3) for _ in range(8)] for _ in range(1000)]
        for _ in range(20_000):
            label = rng.randrange(1000)
            rows.append((*(round(rng.gauss(c, 0.5), 3) for c in centers[label]), label))
        header = "a,b,c,d,e,f,g,h,label"
    else:
        for _ in range(20_000):
            area, age = rng.gauss(120, 40), rng.uniform(0, 80)
            price = min(max(area - age / 2 + rng.gauss(0, 15), 0), 254)
            rows.append((round(area), round(age), round(price, 1 if how == "decimals" else None)))
        header = "area,age,label"
    source = write(tmp_path / "s.csv", header, rows)
    found = learned(run, source)["diagnosis"]

    assert (how != "classes") == ("labels are a quantity" in found)
    if how != "classes":
        assert list(found) == ["labels are a quantity"]
        assert "into a few bins" in found["labels are a quantity"]["suggestion"]
        binned = [(a, b, "low" if c < 60 else "middle" if c < 110 else "high") for a, b, c in rows]
        after = learned(run, write(tmp_path / "b.csv", header, binned))
        assert after["diagnosis"] == {}
        assert after["accuracy"] > 0.7


def test_a_clock(run, tmp_path):
    """A rising time misleads the model; random draws make it harmless."""
    rng, rows, now = random.Random(0), [], 0.0
    for _ in range(6000):
        a, now = rng.gauss(0, 1), now + rng.uniform(0.1, 5)
        is_rare = a > 1.5 if rng.random() < 0.9 else rng.random() < 0.1
        rows.append((round(now, 2), round(a, 3), ("ok", "fraud")[is_rare]))
    source, path = write(tmp_path / "s.csv", "Time,a,label", rows), tmp_path / "m.npz"
    accuracy = []
    for more in ([], ["--ignore", "Time"], ["--random"]):
        found = learned(run, source, "-m", path, "--overwrite", *more)["diagnosis"]
        assert (not more) == ("columns that only rise" in found)
        figures = run("evaluate", source, "-m", path, "--json", check=0).stdout
        accuracy.append(json.loads(figures)["accuracy"])

    assert min(accuracy[1:]) > accuracy[0] + 0.02


def test_features_that_are_small(run, digits, tmp_path):
    """Bytes up to 16 are scaled by 1/255 nevertheless."""
    table = pq.read_table(digits["train"]).slice(0, 5000).to_pydict()
    pixels = [[value // 16 for value in row] for row in table["pixels"]]
    columns = {"pixels": pa.array(pixels, pa.list_(pa.uint8())), "label": table["label"]}
    source = write_parquet(tmp_path / "s.parquet", columns)
    found = follows(run, source, "unscaled features", [], ["--standardize"])

    assert "they reach only 0.0588235" in found["evidence"]


def test_an_epsilon_above_every_error(run, digits):
    options = ["--limit", "5000"]
    found = follows(run, digits["train"], "outputs alike", [*options, "--epsilon", "9"], options)

    assert found["suggestion"].startswith("lower --epsilon: 0.0% of the samples")


def test_a_first_label_that_never_comes_again_is_another_one(run, tmp_path):
    rows = [(1, "q"), *((i % 7, "p") for i in range(100))]
    told = learned(run, write(tmp_path / "s.csv", "a,label", rows))

    assert "only one label" not in told["diagnosis"]
    assert told["largest_share"] == 100 / 101


def test_weights_that_are_equal_have_no_order(run, tmp_path):
    rng = random.Random(0)
    rows = ((rng.random(), 0, rng.randrange(60)) for _ in range(3000))
    source = write(tmp_path / "s.csv", "a,pixel1,label", rows)
    options = ["--classes", "0-59", "--init-range", "0"]

    assert "labels are a quantity" not in learned(run, source, *options)["diagnosis"]


def test_what_is_found_does_not_depend_on_delivery(run, tmp_path):
    """Rows bring new names; the same rows by a pipe in two parts verify."""
    rows = []
    for i in range(95):
        names = {f"w{3 * i + j}": 1 for j in range(3)}
        rows.append({"features": {"bias": 1, **names}, "label": "LR"[i % 2]})
    source, path = write_lines(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    lines = source.read_text().splitlines(keepends=True)
    for part in (lines[:70], lines[70:]):
        run("learn", "-m", path, input="".join(part), check=0)

    assert "every bit" in run("verify", path, source, check=0).stdout
