"""Options and commands that messages suggest: they can be copied, run, and make better models."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess

import pytest
from helpers import COMMAND, summarize_run, write_csv

NAMES = ["Origin State", "it's", 'a "quoted" name', "Size", "x$HOME", "Größe", "p/q", "last *"]


def write_table_of_texts(path, n=300):
    """Write a table whose texts determine the label, in columns with unusual names."""
    rng, rows = random.Random(0), []
    for _ in range(n):
        texts = [rng.choice(["low", "mid", "high"]) for _ in NAMES]
        when = f"2024-0{rng.randrange(1, 9)}-1{rng.randrange(9)}"
        note = f"{rng.choice(['paid', 'owes'])} some money for order {rng.randrange(10**6)}"
        is_yes = (texts[0] == "high") + (texts[-1] == "low") + note.startswith("owes") > 1
        rows.append([rng.random(), *texts, when, note, "yes" if is_yes else "no"])
    return write_csv(path, ["a", *NAMES, "the day", "the note", "label"], rows)


def test_options_on_a_terminal_can_be_pasted_into_a_shell(run_on_terminal, tmp_path):
    """They stand whole on a line of their own, and name every column that the sentence names."""
    source = write_table_of_texts(tmp_path / "my table.csv")
    shown = run_on_terminal("learn", source, columns=80)
    (options,) = re.findall(r"(?m)^  (--.*?)\r?$", shown)
    result = subprocess.run(
        ["sh", "-c", f'{COMMAND} learn "my table.csv" --json {options}'],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert max(map(len, shown.splitlines())) > 80
    assert "ignored (strings)" not in result.stderr
    columns = ",".join(shlex.split(options)[1::2]).split(",")
    assert sorted(columns) == sorted([*NAMES, "the day", "the note"])
    assert json.loads(result.stdout)["cohen_kappa"] > 0.4


def test_runs_of_equal_labels_are_not_sorted_labels(run, tmp_path):
    """Only a file in which the rows of each label follow one another is sorted."""
    rng, rows = random.Random(0), []
    for _ in range(200):
        label = rng.choice("xyz")
        rows += [[rng.gauss(ord(label), 1), label] for _ in range(rng.randrange(5, 40))]
    for is_sorted in (False, True):
        rows = sorted(rows, key=lambda row: row[1]) if is_sorted else rows
        source = write_csv(tmp_path / f"{is_sorted}.csv", ["a", "label"], rows)
        assert ("sorted labels" in run("learn", source, check=0).stderr) == is_sorted


def test_large_sample_weights_are_the_only_finding(run, tmp_path):
    rng, rows = random.Random(0), []
    for _ in range(1500):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        rows.append([a, b, rng.uniform(1, 900), "yes" if a + b / 2 > 0 else "no"])
    source = write_csv(tmp_path / "s.csv", ["a", "b", "w", "label"], rows)
    (finding,) = summarize_run(run, source, "--weight", "w")["diagnosis"].values()
    pattern = r"weights multiply the step, and their mean is ([\d.]+)"
    mean = float(re.search(pattern, finding["evidence"])[1])

    assert finding["code"] == "large_sample_weights"
    assert f"--lr {0.1 / mean:.2g}" in finding["suggestion"]
    assert abs(mean - 450) < 30


@pytest.mark.parametrize("output", ["-p", "--rejected"])
def test_two_runs_cannot_write_to_one_file(output, run, tmp_path):
    source, path = write_csv(tmp_path / "s.csv", ["a", "label"], [[1, "x"]]), tmp_path / "out.jsonl"
    command = [COMMAND, "learn", "-", output, path, "-m", tmp_path / "m.npz", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"a,label\n1,x\n")
        process.stdin.flush()
        while not path.exists():
            pass
        error = run("learn", source, output, path, check=1).stderr
        process.communicate()

    assert error == f"Error: {path}: another process is writing it\n"
    assert process.returncode == 0


def test_labels_error_replaces_the_live_line(run_on_terminal, tmp_path):
    source = tmp_path / "prices.csv"
    rows = [f"{i % 7},{i * 1.37 + 0.5:.2f}" for i in range(600)]
    source.write_text("\n".join(["rooms,price", *rows]) + "\n")
    output = run_on_terminal("learn", source, "--label", "price", code=1, NO_COLOR="1")

    assert "the labels are not classes" in " ".join(output.split())
    assert re.search(r"(\n|\x1b\[K)Error:", output)
