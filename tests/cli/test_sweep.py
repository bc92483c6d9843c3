"""The table of a sweep, and the command for its best trial."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess

import pytest
from helpers import COMMAND


def test_best_trial_is_first_and_its_command_reproduces_it(run, tmp_path, mnist_sample):
    options = ["--lr=0.01,0.1", "--epsilon", "1e-3,0.1", "--activation", "tanh"]
    result = run("sweep", mnist_sample, *options, check=0)
    header, *rows = result.stdout.splitlines()[:5]
    command = shlex.split(result.stdout.splitlines()[-1])
    columns = header.replace("last 1,000", "last").split()
    rows = [dict(zip(columns, row.split(), strict=False)) for row in rows]
    accuracies = [float(row["accuracy"].rstrip("%")) for row in rows]

    assert sorted(accuracies, reverse=True) == accuracies
    best = json.loads(run(*command[1:], "--json", check=0, cwd=tmp_path).stdout)
    assert rows[0]["accuracy"] == f"{best['accuracy']:.2%}"
    assert (tmp_path / "model.npz").exists()
    stopped = run(*command[1:-2], "--stop", "--json", check=0)
    assert rows[0]["would"] == f"{json.loads(stopped.stdout)['samples']:,}"


def test_default_rate_is_compared_with_constant_ones(run, tmp_path, mnist_sample):
    """The default of tanh is one of the constants, which is listed once."""
    for activation, default, others in (
        ("sigmoid", "0.5:0.1", {0.01, 0.03, 0.1, 0.3}), ("tanh", 0.01, {0.03, 0.1, 0.3})
    ):  # fmt: skip
        options = ["--activation", activation, "--limit", 1000]
        sweep = json.loads(run("sweep", mnist_sample, *options, "--json", check=0).stdout)
        rates = {trial["lr"]: trial["is_default_lr"] for trial in sweep["trials"]}
        alone = json.loads(run("learn", mnist_sample, *options, "--json", check=0).stdout)

        assert rates == {default: True, **dict.fromkeys(others, False)}
        assert len(sweep["trials"]) == len(rates)
        (trial,) = (trial for trial in sweep["trials"] if trial["is_default_lr"])
        assert trial["accuracy"] == alone["accuracy"]
        assert ("--lr" in sweep["command"]) == (sweep["trials"][0] != trial)


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


def test_first_row_that_cannot_be_used_is_reported_as_by_learn(run, tmp_path):
    (tmp_path / "s.jsonl").write_text('{"a": Infinity, "label": "x"}\n')
    learn, sweep = (run(command, tmp_path / "s.jsonl", check=1) for command in ("learn", "sweep"))

    assert learn.stderr.splitlines()[-2:] == sweep.stderr.splitlines()[-2:]
    assert "s.jsonl: row 1: " in sweep.stderr
