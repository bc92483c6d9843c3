"""learn --join: labels in their own rows, in files and on pipes, under kills."""

from __future__ import annotations

import csv
import json
import random
import re
import subprocess
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, TIMES, json_lines, kill_runs, outcome_in, state_of, write_lines
from late_labels import FEATURES, Plain, good_rows, random_rows, write_rows

from stream_perceptron import LiveModel, SGDPerceptron

PLAIN = ["--join", "id", "--no-standardize", "--lr", "0.1"]


def plain_of(rows, most=10**9, **parameters):
    """Return the oracle after these rows."""
    plain = Plain(SGDPerceptron(**{"lr": 0.1, "seed": 0} | parameters), most)
    for number, row in enumerate(rows, 1):
        plain.take(number, row)
    return plain


def expected_lines(rows, plain):
    """Return the expected row, prediction, label and id of each line, as texts."""
    return [
        (str(number), text(predicted), text(row.get("label")), text(row["id"]))
        for number, predicted in plain.predicted.items()
        for row in [rows[number - 1]]
    ]


def text(value):
    return "" if value is None else str(value)


def lines_in(path):
    """Return the same of written predictions."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            records = list(csv.DictReader(file))
    else:
        records = [json.loads(line) for line in path.read_text().splitlines()]
    return [tuple(text(each[n]) for n in ("row", "prediction", "label", "id")) for each in records]


@pytest.mark.parametrize("to", ["p.jsonl", "p.csv"])
@pytest.mark.parametrize("form", ["json", "csv", "parquet", "arrow"])
def test_predictions_have_ids_and_labels_no_line(form, to, run, tmp_path):
    rows = good_rows(0, 1200)
    source, predictions = write_rows(tmp_path / f"s.{form}", form, rows), tmp_path / to
    model = tmp_path / "m.npz"
    run("learn", source, *PLAIN, "-m", model, "-p", predictions, check=0)
    plain, live = plain_of(rows), LiveModel.load(model)

    assert lines_in(predictions) == expected_lines(rows, plain)
    assert state_of(live.model) == state_of(plain.model)
    assert live.model.features_ == list(FEATURES)
    assert plain.accuracy == live.progress.accuracy > 0.5
    if form == "json" and to == "p.jsonl":
        kept = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]
        assert all(type(key) is int for key in kept)
        assert not any("a" in json.loads(line) for line in predictions.read_text().splitlines())


def test_columns_to_keep_stand_beside_ids(run, tmp_path):
    rows = [{"id": i, "user": f"u{i}", "a": i % 3} for i in range(9)] + [{"id": 3, "label": "x"}]
    source, predictions = write_lines(tmp_path / "s.jsonl", rows), tmp_path / "p.jsonl"
    run("learn", source, *PLAIN, "-p", predictions, "--keep", "user", "--learned", check=0)
    records = [json.loads(line) for line in predictions.read_text().splitlines()]

    assert [(record["id"], record["user"], record["learned"]) for record in records] == [
        (i, f"u{i}", 0) for i in range(9)
    ]


def test_figures_have_the_numbers_of_pending_and_evicted_samples(run, tmp_path):
    rows, model = random_rows(0, 3000, 60), tmp_path / "m.npz"
    source, plain = write_lines(tmp_path / "s.jsonl", rows), plain_of(rows, 9)
    args = ["learn", source, *PLAIN, "--max-pending", "9", "--skip-bad", "-m", model]
    told = run(*args, "--json", check=0)
    summary = json.loads(told.stdout)
    events = [json.loads(line) for line in told.stderr.splitlines()]
    progress = [event for event in events if event["kind"] == "progress"]
    skipped = len(plain.rejected)

    assert (len(plain.samples), plain.n_evicted) == (summary["pending"], summary["evicted"])
    assert plain.n_evicted > 100
    assert (len(plain.tested), skipped) == (summary["samples"], summary["skipped"])
    assert summary["samples"] + summary["unlabeled"] + summary["skipped"] == 3000
    assert plain.accuracy == summary["accuracy"]
    assert progress
    assert all(each["pending"] <= 9 and each["evicted"] >= 0 for each in progress)

    # Also as text, at the end and later.
    model.unlink()
    shown = run(*args, check=0).stderr.splitlines()
    inspected = run("inspect", model, check=0).stdout
    contents = json.loads(run("inspect", model, "--json", check=0).stdout)
    n = f"{len(plain.samples)} samples; {plain.n_evicted:,} evicted, as more than 9 were pending"
    assert f"pending: {n}" in shown
    assert re.search(rf"^  pending +{n}$", inspected, re.MULTILINE)
    assert re.search(r"^  joined by +id$", inspected, re.MULTILINE)
    assert "id" not in contents["features"]
    assert (len(plain.samples), plain.n_evicted) == (contents["pending"], contents["evicted"])


def test_runs_that_join_nothing_do_not_tell_of_it(run, tmp_path):
    source = tmp_path / "s.csv"
    source.write_text("id,a,label\n" + "1,1,x\n2,,y\n3,3,\n" * 700)
    told = run("learn", source, "--json", "-m", tmp_path / "m.npz", check=0)
    inspected = run("inspect", tmp_path / "m.npz", check=0).stdout
    for line in [told.stdout, *told.stderr.splitlines()]:
        assert not {"pending", "evicted"}.intersection(json.loads(line))
    assert "pending" not in inspected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--random"], "--random"),
        (["--passes", "2"], "--passes"),
        (["--stop"], "--stop"),
        (["--ray", "--shards", "2"], "--ray"),
        (["--max-pending", "0"], "--max-pending"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_joined(options, named, run, tmp_path):
    source = write_rows(tmp_path / "s.parquet", "parquet", good_rows(0, 50))
    result = run("learn", source, "--join", "id", "-m", tmp_path / "m.npz", *options, check=2)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert named in line
    assert "--max-pending" in line or "--join" in line
    assert not (tmp_path / "m.npz").exists()


def test_join_is_for_learn_and_of_a_column_that_is_there(run, tmp_path):
    source = write_rows(tmp_path / "s.csv", "csv", good_rows(0, 50))
    swept = run("sweep", source, "--lr", "0.1,0.2", "--join", "id", check=2).stderr
    assert "--join" in swept
    assert "'nowhere'" in run("learn", source, "--join", "nowhere", check=1).stderr


def test_another_join_or_number_is_refused_later(run, tmp_path):
    rows, model = good_rows(0, 60), tmp_path / "m.npz"
    source = write_lines(tmp_path / "s.jsonl", rows)
    run("learn", source, *PLAIN, "--max-pending", "50", "-m", model, "--limit", 40, check=0)
    before = model.read_bytes()
    for options in (["--join", "a"], ["--join", "id", "--max-pending", "9"]):
        (line,) = run("learn", source, *options, "-m", model, check=1).stderr.splitlines()
        assert f"the model was made with {options[-2]} " in line
        assert f"not with {options[-2]} {options[-1]}: " in line
    assert model.read_bytes() == before
    # A resumed run needs no --join.
    run("learn", source, "-m", model, check=0)
    assert state_of(plain_of(rows).model) == state_of(LiveModel.load(model).model)


BAD = [
    ({"id": 1, "a": 3.0}, "already pending"),
    ({"id": 1, "a": 3.0, "label": "left"}, "already pending"),
    ({"a": 3.0}, "'id'"),
    ({"id": 9, "label": "left"}, "'9'"),
    ({"id": 1}, "neither"),
]


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_bad_rows_are_listed_and_written_to_a_file(form, run, tmp_path):
    rows = [{"id": 1, "a": 1.0}, *(row for row, _ in BAD), {"id": 1, "label": "right"}]
    source = write_rows(tmp_path / f"s.{form}", form, rows, ("a",))
    rejected = tmp_path / "r.jsonl"
    ended = run("learn", source, "--join", "id", check=1).stderr.splitlines()[-1]
    assert ended.startswith(f"Error: {source}: row 2: ")
    assert "--skip-bad" in ended
    shown = run("learn", source, "--join", "id", "--skip-bad", check=0).stderr
    summary = json.loads(
        run("learn", source, "--join", "id", "--rejected", rejected, "--json", check=0).stdout
    )
    found = [json.loads(line) for line in rejected.read_text().splitlines()]

    assert "skipped: 5 of 7 rows, 71.4%" in shown
    assert f"skipped: {source}: row 2: " in shown
    assert tuple(summary[name] for name in ("samples", "unlabeled", "skipped")) == (1, 1, 5)
    assert [row["row"] for row in found] == [2, 3, 4, 5, 6]
    for row, (_, why), line in zip(found, BAD, summary["skipped_rows"], strict=True):
        assert why in row["reason"]
        assert line == f"{source}: row {row['row']}: {row['reason']}"
    there = {"id": "", "a": "", "label": ""}
    expected = [list(map(str, (there | row).values())) for row, _ in BAD]
    values = [
        there | {k: v for k, v in row["values"].items() if v not in (None, "")} for row in found
    ]
    assert [list(map(str, each.values())) for each in values] == expected


def consume(folder, options):
    return [
        COMMAND, "learn", *PLAIN, *options, "-m", folder / "model.npz", "-p",
        folder / "predictions.jsonl", "--quiet",
    ]  # fmt: skip


def test_rows_that_come_again_are_left_out(tmp_path):
    """Replayed samples are not predicted again, and replayed labels are not rejected."""
    rng, rows = random.Random(0), []
    for i, row in enumerate(random_rows(1, 1000, 40)):
        rows.append({**row, "part": "pq"[i % 2], "offset": i})
    options = [
        "--position",
        "part,offset",
        "--skip-bad",
        "--max-pending",
        "15",
        "--save-every",
        "50",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    subprocess.run(consume(whole, options), input=json_lines(rows), check=True, timeout=300)
    done = replayed = 0
    while done < len(rows):
        start, stop = rng.randint(0, done), min(done + rng.randint(1, 250), len(rows))
        replayed += done - start
        data = json_lines(rows[start:stop])
        subprocess.run(consume(parts, options), input=data, check=True, timeout=300)
        done = stop
    live = LiveModel.load(parts / "model.npz")

    assert replayed > 500
    assert outcome_in(whole) == outcome_in(parts)
    plain = plain_of(rows, 15)
    assert lines_in(parts / "predictions.jsonl") == expected_lines(rows, plain)
    assert list(live.pending.samples) == list(plain.samples)
    assert live.progress.rows == len(rows)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_lines_on_a_pipe_are_answered_one_by_one(form, tmp_path):
    """Each sample is predicted by the model that has learned the earlier labels."""
    rows = good_rows(3, 400, late=6)
    source = write_rows(tmp_path / "s", form, rows)
    lines = source.read_bytes().splitlines(keepends=True)
    plain, found = plain_of(rows, lr=1.0), []
    command = [COMMAND, "learn", "--join", "id", "--no-standardize", "--lr", "1", "-p", "-"]
    with subprocess.Popen(
        [*command, "--quiet", "--learned"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if form == "csv":
            process.stdin.write(lines.pop(0))
        for number, line in enumerate(lines, 1):
            process.stdin.write(line)
            process.stdin.flush()
            if number in plain.predicted:
                found.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0

    assert [
        tuple(text(record[name]) for name in ("row", "prediction", "label", "id"))
        for record in found
    ] == expected_lines(rows, plain)
    is_label = [row.get("label") is not None for row in rows]
    assert [record["learned"] for record in found] == [
        sum(is_label[: number - 1]) for number in plain.predicted
    ]


def test_a_pipe_that_ends_and_another_that_goes_on(tmp_path):
    """A later run brings the labels of samples that were saved waiting."""
    rows = [{"id": f"q{i}", "a": i - 5.0, "b": 1.0, "c": 0.0} for i in range(10)]
    labels = [{"id": f"q{i}", "label": "right" if i > 5 else "left"} for i in range(10)]
    for part in (rows, labels, rows[:2]):
        subprocess.run(consume(tmp_path, []), input=json_lines(part), check=True, timeout=60)
    live, plain = LiveModel.load(tmp_path / "model.npz"), plain_of([*rows, *labels, *rows[:2]])

    assert state_of(live.model) == state_of(plain.model)
    assert (live.progress.samples, live.progress.unlabeled) == (10, 12)
    assert list(live.pending.samples) == ["q0", "q1"]
    assert lines_in(tmp_path / "predictions.jsonl") == expected_lines(
        [*rows, *labels, *rows[:2]], plain
    )


@pytest.mark.parametrize("name", ["label", "Label", "TARGET"])
@pytest.mark.parametrize("labels", [("up", "down"), (7, 8)], ids=["texts", "numbers"])
def test_a_label_is_found_in_the_first_row_that_has_it(labels, name, run, tmp_path):
    """A number under a name that is new might be a feature, too."""
    rows = [{"id": i, "a": i % 2, "b": 1} for i in range(40)]
    rows += [{"id": i, name: labels[i % 2]} for i in range(40)]
    source, model = write_lines(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--join", "id", "-m", model, "-q", check=0)

    live = LiveModel.load(model)
    assert (live.progress.samples, live.schema.label) == (40, name)
    assert list(live.model.features_) == ["a", "b"]


def test_the_model_predicts_rows_without_ids(run, tmp_path):
    source, model = write_lines(tmp_path / "s.jsonl", good_rows(0, 300)), tmp_path / "m.npz"
    run("learn", source, *PLAIN, "-m", model, check=0)
    for rows in ([{"a": 1.0, "b": 2.0, "c": 3.0}], [{"id": 7, "a": 1.0, "b": 2.0, "c": 3.0}]):
        result = run("predict", "-m", model, input=json_lines(rows).decode(), check=0)
        assert json.loads(result.stdout)["prediction"] == "right"


def test_the_whole_is_verified(run, tmp_path):
    source, model = write_lines(tmp_path / "s.jsonl", random_rows(2, 2000)), tmp_path / "m.npz"
    for limit in (700, 701, 2000):
        args = [*PLAIN, "--max-pending", "5", "--skip-bad", "--limit", limit]
        run("learn", source, *args, "-m", model, "--quiet", check=0)
    assert "follows from these sources" in run("verify", model, source, check=0).stdout


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv"])
def test_kills_lose_no_waiting_sample(form, tmp_path, tell):
    """Nor is one learned twice."""
    rows = random_rows(5, 20_000, 60)
    source = write_rows(tmp_path / f"s.{form}", form, rows)
    reference, wanted = tmp_path / "reference", 12 * TIMES
    reference.mkdir()
    run_once = consume(reference, [source, "--max-pending", "25", "--skip-bad"])
    subprocess.run(run_once, check=True, timeout=300)
    expected, plain = outcome_in(reference), plain_of(rows, 25)
    assert lines_in(reference / "predictions.jsonl") == expected_lines(rows, plain)
    assert state_of(plain.model) == state_of(LiveModel.load(reference / "model.npz").model)

    args = [source, "--save-every", "100", "--max-pending", "25", "--skip-bad"]
    kills, outcomes = kill_runs(
        lambda folder: consume(folder, args), [0, 1, 4, 15], wanted, tmp_path
    )
    tell(f"late labels, {form}: {kills} kills over {len(outcomes)} runs, all ended alike")
    assert all(outcome == expected for outcome in outcomes)
    assert kills >= wanted


@pytest.mark.parametrize(
    ("first", "second"), [("csv", "csv"), ("parquet", "csv"), ("csv", "parquet")]
)
def test_labels_in_a_file_of_their_own(first, second, run, tmp_path):
    """Features in one file and labels in another, in any order, equal one stream."""
    rng = random.Random(first + second)
    rows = [{"id": i, "a": rng.random(), "b": rng.random()} for i in range(300)]
    labels = [{"id": i, "label": rng.choice(["left", "right"])} for i in range(300)]
    rng.shuffle(labels)
    both = write_rows(tmp_path / "s.csv", "csv", rows + labels, ("a", "b"))
    sources = [
        write_rows(tmp_path / f"f.{first}", first, rows, ("a", "b")),
        write_rows(tmp_path / f"l.{second}", second, labels, ()),
    ]
    for name, given in (("one", [both]), ("two", sources)):
        run("learn", *given, "-m", tmp_path / f"{name}.npz", "--join", "id", "--quiet", check=0)
    run("learn", *sources, "-m", tmp_path / "cut.npz", "--join", "id", "--limit", "431", check=0)
    run("learn", *sources, "-m", tmp_path / "cut.npz", "--join", "id", check=0)
    one, two, cut = (LiveModel.load(tmp_path / f"{n}.npz") for n in ("one", "two", "cut"))

    assert one.progress.samples == two.progress.samples == 300
    assert one.model.weights.tobytes() == two.model.weights.tobytes()
    assert two.model.weights.tobytes() == cut.model.weights.tobytes()


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_join_column_may_be_given_by_position(form, run, tmp_path):
    """A second source may have its columns in another order."""
    features = [{"a": i, "label": None, "id": f"u{i}"} for i in range(5)]
    labels = [{"id": f"u{i}", "label": "xy"[i % 2]} for i in range(5)]
    for name, rows in (("features", features), ("labels", labels)):
        table, path = pa.Table.from_pylist(rows), tmp_path / f"{name}.{form}"
        if form == "jsonl":
            write_lines(path, rows)
        elif form == "csv":
            pa.csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
    sources = [tmp_path / f"features.{form}", tmp_path / f"labels.{form}"]
    learn = ["learn", *sources, "-m", tmp_path / "m.npz", "--join"]

    run(*learn, "-1", "-p", tmp_path / "p.jsonl", check=0)
    again = run(*learn, "id", check=0)

    predictions = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [prediction["id"] for prediction in predictions] == [f"u{i}" for i in range(5)]
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 5
    assert "nothing new" in again.stderr


@pytest.mark.parametrize("n", ["0", "-1", str(10**12 + 1), str(2**62), str(2**70)])
def test_a_number_of_pending_samples_that_cannot_be_saved_is_a_usage_error(n, run, tmp_path):
    source, model = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text("a,label,id\n1,x,u\n")

    result = run("learn", source, "--join", "id", "--max-pending", n, "-m", model, check=2)

    assert f"Invalid value for '--max-pending': {n} is not in the range" in result.stderr
    assert not model.exists()


@pytest.mark.parametrize("forms", [("csv", "csv"), ("parquet", "parquet"), ("csv", "parquet")])
def test_features_and_labels_may_come_in_two_files(forms, run, tmp_path):
    """Columns for samples are required only where there are features."""
    colors, n = ["red", "blue", "green"], 300
    ads = {
        "ad": [f"k{i}" for i in range(n)],
        "price": [float(i % 7) for i in range(n)],
        "color": [colors[i % 3] for i in range(n)],
        "w": [1.0 + i % 2 for i in range(n)],
    }
    clicks = {
        "ad": [f"k{i}" for i in range(n) if i % 5],
        "clicked": [int(i % 3 == 0) for i in range(n) if i % 5],
    }
    both = pa.concat_tables([pa.table(ads), pa.table(clicks)], promote_options="default")
    tables = {"ads": pa.table(ads), "clicks": pa.table(clicks), "both": both}
    sources = {}
    for (name, table), form in zip(tables.items(), (*forms, forms[0]), strict=True):
        sources[name] = tmp_path / f"{name}.{form}"
        write = pq.write_table if form == "parquet" else pa.csv.write_csv
        write(table, sources[name])
    options = ["--join", "ad", "--label", "clicked", "--one-hot", "color", "--weight", "w"]
    learned = {}
    for name, files in (("two", [sources["ads"], sources["clicks"]]), ("one", [sources["both"]])):
        model, predictions = tmp_path / f"{name}.npz", tmp_path / f"{name}.jsonl"
        run("learn", *files, "-m", model, *options, "-p", predictions, "--quiet", check=0)
        run("verify", model, *files, check=0)
        learned[name] = LiveModel.load(model), predictions.read_text()

    (two, lines_of_two), (one, lines_of_one) = learned["two"], learned["one"]
    assert two.progress.samples == len(clicks["ad"])
    assert state_of(two.model) == state_of(one.model)
    assert lines_of_two == lines_of_one


def test_a_source_with_features_needs_their_columns(run, tmp_path):
    source = tmp_path / "ads.csv"
    source.write_text("ad,price\nk1,5\n")
    result = run("learn", source, "--join", "ad", "--label", "clicked", "--weight", "w", check=1)
    without_id = run("learn", source, "--join", "id", "--label", "clicked", check=1)

    assert "there is no weight column 'w' among 'ad', 'price'" in result.stderr
    assert "there is no join column 'id' among 'ad', 'price'" in without_id.stderr


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_evaluate_and_report_join_labels_as_learn_does(form, run, tmp_path):
    """Each label tests the prediction for its sample; rows of features are unlabeled."""
    train, test = good_rows(0, 1200), good_rows(1, 900)
    model, source = tmp_path / "m.npz", write_rows(tmp_path / f"test.{form}", form, test)
    learned = write_rows(tmp_path / f"train.{form}", form, train)
    run("learn", learned, *PLAIN, "-m", model, "--quiet", check=0)
    known = LiveModel.load(model).model
    oracle = Plain(SimpleNamespace(predict_one=known.predict_one, learn_one=lambda x, y: None))
    for number, row in enumerate(test, 1):
        oracle.take(number, row)
    figures = json.loads(run("evaluate", source, "-m", model, "--json", check=0).stdout)
    page = tmp_path / "report.html"
    run("report", model, "-o", page, "--examples", source, check=0)

    assert figures["samples"] == len(oracle.tested)
    assert figures["accuracy"] == oracle.accuracy
    assert f"({oracle.accuracy:.1%}) are predicted correctly" in page.read_text()


def test_evaluate_names_a_label_without_a_sample(run, tmp_path):
    model, source = tmp_path / "m.npz", tmp_path / "s.csv"
    source.write_text("id,a,label\n1,2,\n1,,x\n2,3,\n2,,y\n")
    run("learn", source, *PLAIN, "-m", model, "--quiet", check=0)
    source.write_text("id,a,label\n1,2,\n1,,x\n7,,x\n2,3,\n2,,y\n")
    refused = run("evaluate", source, "-m", model, check=1)
    skipped = run("evaluate", source, "-m", model, "--skip-bad", "--json", check=0)

    assert "row 3: 'id' is '7', and no sample with this ID is pending" in refused.stderr
    assert (json.loads(skipped.stdout)["samples"], json.loads(skipped.stdout)["skipped"]) == (2, 1)
