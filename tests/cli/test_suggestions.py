"""Options and commands that messages suggest: they can be copied, run, and make better models."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import subprocess

import pytest
from helpers import COMMAND, write_jsonl

NAMES = ["Origin State", "it's", 'a "quoted" name', "Size", "x$HOME", "Größe", "p/q", "last *"]


def find_suggested(text):
    """Return the lines of options and commands in a message or in the output of a command."""
    return re.findall(r"(?m)^  ((?:--|stream-perceptron ).*?)\r?$", text)


def run_in_shell(command, folder):
    """Run a line as a user would paste it into a shell."""
    path = f"{os.path.dirname(COMMAND)}:{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=os.environ | {"PATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def learn_with(source, options, folder):
    """Learn a file with options as a line of a shell; return the summary and the messages."""
    command = f"stream-perceptron learn {shlex.quote(source.name)} --json {options}"
    result = run_in_shell(command, folder)
    return json.loads(result.stdout), result.stderr


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


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
    (options,) = find_suggested(shown)
    summary, messages = learn_with(source, options, tmp_path)

    assert max(map(len, shown.splitlines())) > 80
    assert "ignored (strings)" not in messages
    columns = ",".join(shlex.split(options)[1::2]).split(",")
    assert sorted(columns) == sorted([*NAMES, "the day", "the note"])
    assert summary["cohen_kappa"] > 0.4


def write_mail(rng):
    is_spam = rng.random() < 0.4
    words = rng.choices(["offer", "free", "win"] if is_spam else ["meeting", "report"], k=3)
    return f"{' '.join(words)} number {rng.randrange(10**6)}", "spam" if is_spam else "ham"


def write_source(path, case):
    """Write a file for which a message suggests options, and return the options of the first run.

    The options of the second run follow the suggestion.
    """
    rng = random.Random(0)
    numbers = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(1500)]
    labels = ["yes" if a + b / 2 + rng.gauss(0, 0.3) > 0 else "no" for a, b in numbers]
    pairs = list(zip(numbers, labels, strict=True))
    if case == "one-hot":
        rows = [[a, "up" if y == "yes" else "down", y] for (a, _), y in pairs]
        write_csv(path, ["a", "plan", "label"], rows)
    elif case == "dates":
        rows = [[b, f"2024-{1 if y == 'yes' else 7:02}-1{i % 9}", y]
                for i, ((_, b), y) in enumerate(pairs)]  # fmt: skip
        write_csv(path, ["b", "when", "label"], rows)
    elif case == "words":
        rows = [[rng.random(), *write_mail(rng)] for _ in range(1500)]
        write_csv(path, ["r", "text", "label"], rows)
    elif case == "text only":
        rows = [write_mail(rng) for _ in range(1500)]
        write_csv(path, ["text", "label"], rows)
    elif case == "missing":
        rows = [["n/a" if i % 9 == 8 else a, b, y] for i, ((a, b), y) in enumerate(pairs)]
        write_csv(path, ["a", "b", "label"], rows)
    elif case == "decimal comma":
        rows = [[f"{a:.3f}".replace(".", ","), f"{b:.3f}", y] for (a, b), y in pairs]
        path.write_text("\n".join(["a;b;label", *map(";".join, rows)]) + "\n")
    elif case == "delimiter":
        path.write_text("\n".join(["a|b|label", *(f"{a}|{b}|{y}" for (a, b), y in pairs)]) + "\n")
    elif case == "sample weights":
        rows = [[a, b, rng.uniform(1, 900), y] for (a, b), y in pairs]
        write_csv(path, ["a", "b", "w", "label"], rows)
        return "--weight w"
    elif case == "standardize":
        rows = [[a / 1000, b * 1000, y] for (a, b), y in pairs]
        write_csv(path, ["a", "b", "label"], rows)
        return "--no-standardize"
    elif case == "pixels":
        rows = [[*(max(0, 300.5 * a + 400) for a in x), y] for x, y in pairs]
        write_csv(path, ["pixel0", "pixel1", "label"], rows)
    elif case == "list of texts":
        write_jsonl(path, [{"a": b, "tags": ["x", y], "label": y} for (_, b), y in pairs])
    return ""


CASES = {
    # The text that introduces the suggestion.
    "one-hot": "to use it:",
    "dates": "to use it:",
    "words": "to use it:",
    "text only": "texts with --one-hot, --dates or --words",
    "missing": "not a number",
    "decimal comma": "has a decimal comma",
    "delimiter": "to split it:",
    "sample weights": "weights multiply the step",
    "standardize": "a step grows with their square",
    "pixels": "a step grows with their square",
    "list of texts": "is a list of strings",
}


@pytest.mark.parametrize("case", [case for case in CASES if case != "text only"])
def test_following_a_suggestion_makes_the_model_better(case, run, tmp_path):
    """Kappa rises, or the file becomes readable."""
    source = tmp_path / ("s.jsonl" if case == "list of texts" else "s.csv")
    options = write_source(source, case)
    before = run("learn", source, *shlex.split(options), "--json")
    events = [json.loads(line) for line in before.stderr.splitlines() if line.startswith("{")]
    texts = [event.get("text", "") for event in events] + [before.stderr]
    text = next(text for text in texts if CASES[case] in text)
    suggested = find_suggested(text)[0]
    if case == "standardize":
        options = ""  # two opposite options would follow each other
    after, _ = learn_with(source, f"{options} {suggested}", tmp_path)

    if before.returncode == 0:
        assert after["cohen_kappa"] > json.loads(before.stdout)["cohen_kappa"]
    else:
        assert after["cohen_kappa"] > 0.3


def test_stream_with_two_thousand_classes_is_learned(run, tmp_path):
    rng = random.Random(0)
    numbers = rng.sample(range(2000), 2000)
    rows = [
        [k % 45 + rng.random(), k // 45, numbers[k]] for k in rng.choices(range(2000), k=20_000)
    ]
    source = write_csv(tmp_path / "s.csv", ["a", "b", "label"], rows)
    result = run("learn", source, "--json", check=0)

    assert "labels are" not in result.stderr
    assert json.loads(result.stdout)["samples"] == 20_000


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
    source = tmp_path / "s.csv"
    options = write_source(source, "sample weights")
    summary = json.loads(run("learn", source, *shlex.split(options), "--json", check=0).stdout)
    (finding,) = summary["diagnosis"]
    mean = float(
        re.search(r"mean weight of the first 1,000 samples is ([\d.]+)", finding["evidence"])[1]
    )

    assert finding["code"] == "large_sample_weights"
    assert f"--lr {0.1 / mean:.2g}" in finding["suggestion"]
    assert abs(mean - 450) < 30


def test_ignored_key_is_seen_in_random_draws(run, tmp_path):
    rows = [{"id": i, "a": i % 2, "label": "xy"[i % 2]} for i in range(50)]
    source = write_jsonl(tmp_path / "s.jsonl", rows)

    assert run("learn", source, "--ignore", "id", "--random", "-q", check=0).stderr == ""
    shown = run("learn", source, "--ignore", "ids", "--random", "-q", check=0).stderr
    assert "--ignore ids: no row had 'ids'" in shown


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


def test_inspect_shows_suggested_options_on_lines_of_their_own(run, tmp_path):
    source = tmp_path / "s.csv"
    rows = [f"{i % 90},{i % 50 * 1000},{'ab'[i % 3 > 1]}" for i in range(900)]
    source.write_text("\n".join(["x,z,label", *rows]) + "\n")
    run("learn", source, "--no-standardize", "-m", tmp_path / "m.npz", check=0)
    lines = run("inspect", tmp_path / "m.npz", check=0).stdout.splitlines()

    assert "    --standardize" in lines
    assert not any("\\n" in line for line in lines)
