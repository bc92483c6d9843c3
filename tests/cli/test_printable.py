"""Output for people: confusion matrices, and the most confused classes."""

from __future__ import annotations

import json
import re

import pytest

COLUMNS = 80


@pytest.mark.parametrize("n", [3, 60])
def test_evaluate_shows_a_matrix_or_the_most_confused_classes(n, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    source, model = tmp_path / "s.csv", tmp_path / "m.npz"
    classes = [f"class with a long name {i}" for i in range(n)]
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
        name = r"(class with a long name \d+)"
        pairs = re.findall(rf"{name} -> {name} (\d+) [\d.]+%", listed)
        wrong = {
            (y, predicted): count for y, predicted, count in figures["pairs"] if y != predicted
        }
        assert sorted(wrong.values())[-20:] == [int(count) for *_, count in pairs][::-1]
        assert all(wrong[y, predicted] == int(count) for y, predicted, count in pairs)
        assert f"and {len(wrong) - 20} other pairs; --json lists them all" in shown
    assert n == len(figures["confusion"])
