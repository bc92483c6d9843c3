"""Events of a run do not depend on the chunks of the stream, nor on kills."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CASE_FACTOR, COMMAND, start, write_jsonl

from stream_perceptron_cli.main import main

DRIFT = ("drop", "recovery")
KINDS = (*DRIFT, "finding")


def write_flipped(path, n=20_000, flips=(10_000,), seed=0):
    """Write samples whose two labels swap at the rows `flips`; return the path."""
    rng, lines = random.Random(seed), ["label,a,b"]
    for i in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        is_right = (a > 0) != (sum(i >= flip for flip in flips) % 2 == 1)
        lines.append(f"{'right' if is_right else 'left'},{a:.4f},{b:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def parse_events(stderr, kinds=KINDS):
    """Return the events of the given kinds from the stderr of `--json`."""
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return [event for event in events if event["kind"] in kinds]


def test_drop_and_recovery_are_reported_and_saved(run, tmp_path):
    source, model = write_flipped(tmp_path / "s.csv"), tmp_path / "m.npz"
    output = run("learn", source, "-m", model, check=0).stderr.splitlines()
    (drop,) = (line for line in output if line.startswith("warning: accuracy dropped from 99."))
    (recovery,) = (line for line in output if line.startswith("accuracy recovered from "))
    assert output.index(drop) < output.index(recovery)
    assert "near row 10,00" in drop
    assert not [line for line in output if line.startswith("diagnosis")]

    inspected = run("inspect", model, check=0).stdout
    assert re.search(r"(?m)^events\n  accuracy dropped from 99\.", inspected)
    assert re.search(r"(?m)^  accuracy recovered from ", inspected)
    (first, last) = json.loads(run("inspect", model, "--json", check=0).stdout)["events"]
    assert [first["kind"], last["kind"]] == ["drop", "recovery"]
    assert drop.partition(";")[0] == f"warning: {first['text']}"
    assert 10_000 <= first["row"] < 10_050 < first["found"] <= 10_200 < last["row"]

    page = tmp_path / "r.html"
    run("report", model, "-o", page, check=0)
    assert f"{drop.removeprefix('warning: a').split(';')[0]}." in page.read_text()
    assert "stroke-dasharray" in page.read_text()


def test_lasting_drop_is_a_finding(run, tmp_path):
    """Labels become random, so there is nothing left to learn."""
    source, rng = write_flipped(tmp_path / "s.csv", 8000, ()), random.Random(1)
    with source.open("a") as file:
        for _ in range(4000):
            file.write(f"{rng.choice(['left', 'right'])},{rng.random():.4f},0.5\n")
    result = run("learn", source, "--json", "-m", tmp_path / "m.npz", check=0)
    drop = parse_events(result.stderr, DRIFT)[0]
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)["diagnosis"]}
    assert drop["kind"] == "drop"
    assert drop["near"] <= 8050 < drop["row"]
    assert drop["before"] > 0.98 > 0.6 > drop["after"]
    assert findings["performance dropped"]["suggestion"] == drop["suggestion"]
    inspected = run("inspect", tmp_path / "m.npz", check=0).stdout
    assert "performance dropped: accuracy dropped from 9" in inspected
    text = run("learn", source, check=0).stderr
    assert text.count("accuracy dropped") == 1
    resumed = run("learn", source, "-m", tmp_path / "m.npz", check=0).stderr
    assert resumed.count("diagnosis: performance dropped: accuracy dropped from 9") == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_quiet_runs_report_only_drops(options, run, tmp_path):
    result = run("learn", write_flipped(tmp_path / "s.csv"), "--quiet", *options, check=0)
    (line,) = result.stderr.splitlines()
    if not options:
        assert line.startswith("warning: accuracy dropped from 99.")
        return
    event = json.loads(line)
    assert set(event) == {
        "kind", "row", "text", "remedies", "near", "before", "after", "suggestion"
    }  # fmt: skip
    summary = json.loads(result.stdout.splitlines()[-1])
    assert 0.8 < summary["accuracy"] < 1


def test_each_finding_is_printed_once_per_run(run, tmp_path):
    """One column counts rows, and one class is predicted late."""
    rng, rows = random.Random(0), []
    for i in range(20_000):
        a, late = rng.gauss(0, 1), rng.gauss(0, 1) if i > 6000 else 0.5
        label = "rare" if (a > 1.6 and i < 5000) or late > 1.2 else "usual"
        rows.append({"id": i, "a": round(a, 3), "late": round(late, 3), "label": label})
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    events = parse_events(run("learn", source, "--json", "--standardize", check=0).stderr)
    reported = [(event["kind"], event["name"], event["row"]) for event in events if "name" in event]

    assert ("finding", "row numbers", 4000) in reported
    assert {row for _, _, row in reported} <= {4000, 8000, 16_000, 20_000}
    names = [name for _, name, _ in reported]
    assert len(names) == len(set(names))
    for event in events:
        if event["kind"] == "finding":
            assert set(event) == {
                "kind", "row", "text", "code", "name", "evidence", "suggestion", "remedies"
            }  # fmt: skip


def learn_through_pipe(source, options, write):
    """Return the events of a run on a pipe, to which `write` sends the file."""
    with subprocess.Popen(
        [COMMAND, "learn", "--json", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        write(process.stdin.fileno(), source.read_bytes())
        process.stdin.close()
        errors = process.stderr.read().decode()
        process.stdout.read()
    assert process.returncode == 0, errors
    return parse_events(errors)


def write_at_once(descriptor, data):
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)


def test_events_do_not_depend_on_how_rows_are_delivered(run, tmp_path):
    source = write_flipped(tmp_path / "s.csv", 12_000, (3000, 7000))
    expected = parse_events(run("learn", source, "--json", check=0).stderr)
    rng = random.Random(0)

    def write_in_shreds(descriptor, data):
        while data:
            n = rng.choice([1, 10, 100, 1000, 10_000])
            os.write(descriptor, data[:n])
            data = data[n:]

    kinds = [event["kind"] for event in expected]
    assert [kind for kind in kinds if kind != "finding"][:3] == ["drop", "recovery", "drop"]
    assert learn_through_pipe(source, [], write_in_shreds) == expected
    output = run("learn", source, "--json", "-p", tmp_path / "p.jsonl", check=0).stderr
    assert parse_events(output) == expected
    # The same rows in two files.
    text = source.read_text().splitlines(keepends=True)
    parts = [tmp_path / "one.csv", tmp_path / "two.csv"]
    parts[0].write_text("".join(text[:5001]))
    parts[1].write_text("".join(text[:1] + text[5001:]))
    assert parse_events(run("learn", *parts, "--json", check=0).stderr) == expected


def test_drop_on_an_open_pipe_is_reported_immediately(tmp_path):
    """The drop is printed before the pipe closes, and before a batch is full."""
    lines = write_flipped(tmp_path / "s.csv", 3000, (2000,)).read_text().splitlines(keepends=True)
    with start("--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        reported = threading.Event()

        def watch():
            for line in process.stderr:
                if json.loads(line)["kind"] == "drop":
                    reported.set()

        threading.Thread(target=watch, daemon=True).start()
        process.stdin.writelines(lines[:2400])
        process.stdin.flush()
        was_reported = reported.wait(30)
        process.stdin.close()
        process.stdout.read()
    assert was_reported


@pytest.mark.parametrize("lr", [0.1, 0.01])
@pytest.mark.parametrize("signal", [0, 0.1])
@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_model_without_a_signal_has_no_drop(n_features, signal, lr, run, tmp_path):
    """It predicts now one class more often, now the other.

    JSON has the drops of a class that are too early for a warning.
    """
    for seed in range(3 * CASE_FACTOR):
        rng = np.random.default_rng([seed, n_features])
        labels = rng.integers(0, 2, (10_000, 1))
        features = rng.normal(size=(10_000, n_features)) + signal * labels
        header = ",".join([*"abcd"[:n_features], "label"])
        np.savetxt(tmp_path / "s.csv", np.hstack([features, labels]), "%.4f", ",", header=header,
                   comments="")  # fmt: skip
        result = run("learn", tmp_path / "s.csv", "--lr", lr, "--json", "-q", check=0)
        assert parse_events(result.stderr, ("drop",)) == []


def test_next_source_is_diagnosed_after_its_own_4000_rows(run, tmp_path):
    """The diagnosis follows 4,000 rows of the new source, however many were learned before."""
    model = tmp_path / "m.npz"
    for n, *options in ((9000, "--lr", "1e-9"), (8000,)):
        source = write_flipped(tmp_path / f"{n}.csv", n, (), n)
        output = run("learn", source, "-m", model, *options, "--json", check=0).stderr
    reported = {(event.get("name"), event["row"]) for event in parse_events(output)}
    assert ("outputs alike or saturated", 13_000) in reported


def test_drop_reported_before_an_error_is_not_repeated(run, tmp_path):
    source = write_flipped(tmp_path / "s.csv", 6400, (6000,))
    with source.open("a") as file:
        file.write("left,1\n")
    results = [run("learn", source, "-m", tmp_path / "m.npz", "-q", check=1) for _ in range(2)]
    assert [result.stderr.count("accuracy dropped") for result in results] == [1, 0]


def test_row_of_an_event_counts_unlabeled_and_rejected_rows(run, tmp_path):
    """The event names the row in the source, not the number of samples."""
    rng, clean_source = random.Random(0), write_flipped(tmp_path / "s.csv", 12_000, (8000,))
    header, *lines = clean_source.read_text().splitlines()
    mixed, flip_row = [header], None
    for i, line in enumerate(lines):
        while (chance := rng.random()) < 0.3:
            mixed.append(",0.5,0.5" if chance < 0.2 else "left,1")
        if i == 8000:
            flip_row = len(mixed)
        mixed.append(line)
    source = tmp_path / "mixed.csv"
    source.write_text("\n".join(mixed) + "\n")
    options = ["--skip-bad", "-p", tmp_path / "p.jsonl"]
    expected = parse_events(run("learn", source, "--json", *options, check=0).stderr)
    (drop, *_) = (event for event in expected if event["kind"] == "drop")
    assert flip_row > 9000
    assert abs(drop["near"] - flip_row) <= 80
    assert drop["near"] < drop["row"] <= drop["near"] + 300
    options[-1] = tmp_path / "q.jsonl"
    assert learn_through_pipe(source, options, write_at_once) == expected


def test_summary_and_errors_are_json_beside_predictions_on_stdout(run, tmp_path):
    """With --json, each line on stderr is JSON, also if the command is wrong or a row is bad."""
    (tmp_path / "s.csv").write_text("a,label\n1,x\n2,y\n")
    (tmp_path / "bad.csv").write_text("a,label\n1,x\n2,y,z\n")
    result = run("learn", tmp_path / "s.csv", "--json", "-p", "-", check=0)
    *_, summary = map(json.loads, result.stderr.splitlines())

    assert [json.loads(line)["row"] for line in result.stdout.splitlines()] == [1, 2]
    assert (summary["kind"], summary["samples"]) == ("summary", 2)
    for command in (["learn"], ["sweep"], ["evaluate", "-m", tmp_path / "none.npz"]):
        for options in ([tmp_path / "bad.csv"], [tmp_path / "none.csv"], ["--unknown"]):
            result = run(*command, *options, "--json", check=None)
            records = [json.loads(line) for line in result.stderr.splitlines()]

            assert result.returncode > 0
            assert records[-1]["kind"] == "error"


def test_figures_are_printed_at_least_once_a_minute(monkeypatch, run, tmp_path):
    monkeypatch.setattr("stream_perceptron_cli.progress._MAX_SILENCE", 0.0)
    (tmp_path / "s.csv").write_text("a,label\n" + "1,x\n2,y\n" * 20)
    arguments = ["learn", str(tmp_path / "s.csv"), "-m", str(tmp_path / "m.npz")]
    output = CliRunner().invoke(main, [*arguments, "--save-every", "10"]).stderr

    assert [line.split()[0] for line in output.splitlines()[3:7]] == ["10", "20", "30", "40"]
