"""Output for people: tables, and texts that are wrapped between words."""

from __future__ import annotations

import json
import random
import re

import pytest
from helpers import get_seeds

from stream_perceptron_cli.printable import measure_width

COLUMNS = 80
LETTERS = "abcxyzABC019_-.()+\u00e9\u6e7f\u5ea6\u0301"


def draw_names(rng, n):
    """Return n distinct names, about half of them without words after their number."""
    words = ["".join(rng.choices(LETTERS, k=rng.randint(1, 24))) for _ in range(100)]
    return [" ".join([str(i), *rng.sample(words, rng.choice((0, 0, 1, 6)))]) for i in range(n)]


def require_width(lines, columns=COLUMNS):
    """Check that no line is too wide, except for a single word."""
    for line in lines:
        assert measure_width(line) <= columns or " " not in line


@pytest.mark.parametrize("seed", get_seeds(3))
def test_inspect_and_evaluate_fit_the_width_with_any_names(seed, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    rng = random.Random(seed)
    classes, features = draw_names(rng, (3, 12, 60)[seed % 3]), draw_names(rng, 12)
    path, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [
        {"label": rng.choice(classes), **{name: rng.gauss(0, 1) for name in features}}
        for _ in range(600)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    notices = run("learn", path, "-m", model, check=0).stderr
    inspected = run("inspect", model, check=0).stdout
    evaluated = run("evaluate", path, "-m", model, check=0).stdout

    require_width([*inspected.splitlines(), *evaluated.splitlines()])
    words = {*inspected.split(), *evaluated.split()}
    assert {word for name in classes for word in name.split()} <= words
    counts = {name: sum(row["label"] == name for row in rows) for name in classes}
    if len(classes) > 20:
        low, high = min(counts.values()), max(counts.values())
        assert f"classes: 60, with {low} to {high} samples each\n" in notices
    else:
        assert all(f"{name} ({n})" in notices for name, n in counts.items())


@pytest.mark.parametrize("n", [3, 60])
def test_evaluate_shows_a_matrix_or_the_most_confused_classes(n, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    source, model = tmp_path / "s.csv", tmp_path / "m.npz"
    classes = [f"a class with a long name {i}" for i in range(n)]
    rows = [f"{classes[i % n]},{i % n // 2},{i % 7}" for i in range(1200)]
    source.write_text("\n".join(["label,a,b", *rows]))
    run("learn", source, "-m", model, check=0)
    shown = run("evaluate", source, "-m", model, check=0).stdout
    figures = json.loads(run("evaluate", source, "-m", model, "--json", check=0).stdout)

    if n == 3:
        matrix = shown.partition("confusion matrix (rows: true, columns: predicted)\n")[2]
        counts = [[int(cell) for cell in line.split()[-n:]] for line in matrix.splitlines()[1:]]
        assert figures["confusion"] == counts
    else:
        listed = " ".join(shown.partition("most confused classes\n")[2].split())
        name = r"(a class with a long name \d+)"
        pairs = re.findall(rf"{name} -> {name} (\d+) [\d.]+%", listed)
        wrong = {
            (y, predicted): count for y, predicted, count in figures["pairs"] if y != predicted
        }
        assert sorted(wrong.values())[-20:] == [int(count) for *_, count in pairs][::-1]
        assert all(wrong[y, predicted] == int(count) for y, predicted, count in pairs)
        assert f"and {len(wrong) - 20} other pairs; --json lists them all" in shown
    assert n == len(figures["confusion"])
