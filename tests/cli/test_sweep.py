"""Each trial of a sweep gives the figures of a separate run."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess

import numpy as np
import pytest
from helpers import COMMAND

FIGURES = ("samples", "accuracy", "window_accuracy", "mean_error", "updates")


def parse_trials(result):
    """Return the figures of each trial in a sweep's output, by its settings."""
    trials = json.loads(result.stdout)["trials"]
    return {
        (t["lr"], t["epsilon"], t["init_range"], t["activation"]): {f: t[f] for f in FIGURES}
        for t in trials
    }


@pytest.mark.parametrize(
    "options",
    [
        "--standardize --categorical colour --label y",
        "--standardize --missing NA --ignore colour --limit 700 --label y",
        "--passes 2 --seed 3 --label y --scale 0.5",
        "--skip-bad --label y",
    ],
)
def test_sweep_accepts_the_read_options_of_learn(options, run, tmp_path, rng):
    rows = [
        f"{x:.3f},{rng.choice(['red', 'blue'])},{rng.choice(['NA', '1', '2'])},{'LR'[int(x > 0)]}"
        for x in rng.normal(size=1500)
    ]
    bad = ["?,red,1,L"] if "--skip-bad" in options else []
    missing_options = [] if "--missing" in options else ["--missing", "NA"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,colour,n,y", *rows, *bad]) + "\n")
    args = [path, *options.split(), *missing_options, "--json"]
    trials = parse_trials(run("sweep", *args, "--lr", "0.1,0.5", check=0))

    assert len(trials) == 2
    for (lr, *_), figures in trials.items():
        separate_run = json.loads(run("learn", *args, "--lr", lr, check=0).stdout)
        assert {f: separate_run[f] for f in FIGURES} == figures


def test_best_trial_is_first_and_its_command_reproduces_it(run, tmp_path, mnist_sample):
    result = run(
        "sweep",
        "--lr=0.01,0.1",
        mnist_sample,
        "--epsilon",
        "1e-3,0.1",
        "--activation",
        "tanh",
        check=0,
    )
    header, *rows = result.stdout.splitlines()[:5]
    command = shlex.split(result.stdout.splitlines()[-1])
    columns = header.replace("last 1,000", "last").split()
    rows = [dict(zip(columns, row.split(), strict=False)) for row in rows]
    accuracies = [float(row["accuracy"].rstrip("%")) for row in rows]

    assert sorted(accuracies, reverse=True) == accuracies
    assert command[:2] == ["stream-perceptron", "learn"]
    assert command[-2:] == ["-m", "model.npz"]
    best = json.loads(run(*command[1:], "--json", check=0, cwd=tmp_path).stdout)
    assert rows[0]["accuracy"] == f"{best['accuracy']:.2%}"
    assert (tmp_path / "model.npz").exists()
    stopped = run(*command[1:-2], "--stop", "--json", check=0)
    assert rows[0]["would"] == f"{json.loads(stopped.stdout)['samples']:,}"


def test_diverged_trial_is_listed_and_the_others_continue(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1,a\n-1,b\n" * 500)
    args = ["sweep", path, "--lr", "1,1e200", "--activation", "identity", "--json"]
    good, bad = json.loads(run(*args, check=0).stdout)["trials"]

    assert (good["lr"], good["diverged_at"], good["samples"]) == (1.0, None, 1000)
    assert (bad["lr"], bad["diverged_at"]) == (1e200, bad["samples"] + 1)
    assert bad["samples"] < 10
    diverged_row = run(*args[:-1], check=0).stdout.splitlines()[2]
    assert diverged_row.endswith(f"diverged at sample {bad['diverged_at']}")
    separate_run = run("learn", path, "--lr", "1e200", "--activation", "identity")
    assert f"diverged at sample {bad['diverged_at']}" in separate_run.stderr


@pytest.mark.slow
def test_signal_on_an_idle_pipe_prints_the_table_so_far():
    command = [COMMAND, "sweep", "--lr", "0.1,1", "--label", "y", "--quiet"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("x,y\n" + "1,a\n-1,b\n" * 50)
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10, input="")

    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    lines = out.splitlines()
    assert lines[0] == "interrupted after 100 samples"
    assert [line.split()[0] for line in lines[1:4]] == ["lr", "1", "0.1"]
    assert lines[5:] == [
        "ranked by accuracy; majority class: a, 50.00%",
        "",
        "best:",
        "  stream-perceptron learn - --label y --lr 1 -m model.npz",
    ]


@pytest.fixture
def imbalanced_table(tmp_path, rng):
    """A table with 3% of its rows in class yes and with weakly informative features."""
    labels = np.where(rng.random(3000) < 0.03, "yes", "no")
    X = rng.normal(size=(3000, 2)) + 0.5 * (labels == "yes")[:, np.newaxis]
    path = tmp_path / "s.csv"
    rows = (f"{a:.3f},{b:.3f},{label}" for (a, b), label in zip(X.tolist(), labels, strict=True))
    path.write_text("a,b,label\n" + "\n".join(rows) + "\n")
    return path


def test_majority_class_is_the_baseline_and_decides_how_trials_are_ranked(imbalanced_table, run):
    lines = run("sweep", imbalanced_table, "--lr", "0.01,0.1", check=0).stdout.splitlines()
    figures = json.loads(
        run("sweep", imbalanced_table, "--lr", "0.001,0.1,2,9", "--json", check=0).stdout
    )
    n_no = imbalanced_table.read_text().count(",no\n")
    kappas = [trial["kappa"] for trial in figures["trials"]]

    assert lines[4:6] == [
        f"ranked by kappa; majority class: no, {n_no / 3000:.2%}",
        "no setting is better than always predicting the majority class",
    ]
    assert (figures["majority_class"], figures["majority_share"]) == ("no", n_no / 3000)
    assert figures["ranked_by"] == "kappa"
    assert figures["interrupted"] is False
    assert len(set(kappas)) > 2
    assert kappas == sorted(kappas, reverse=True)


def test_table_fits_80_columns_and_rates_are_compared_by_default(imbalanced_table, run):
    options = ["--epsilon", "0,0.1", "--init-range", "0.1,1", "--activation", "tanh,sigmoid"]
    plain = run("sweep", imbalanced_table, "-q", check=0).stdout.splitlines()
    many = run("sweep", imbalanced_table, "-q", *options, check=0).stdout.splitlines()

    assert sorted(line.split()[0] for line in plain[1:5]) == ["0.01", "0.03", "0.1", "0.3"]
    assert "last 1,000" in plain[0]
    assert "last 1,000" not in many[0]
    assert max(map(len, many[:33])) <= 80
