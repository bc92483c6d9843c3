"""Two options together mean the same in every format, and lose no row and no kept cell.

The names of columns are not ASCII, so JSON spells them with escapes.
"""

from __future__ import annotations

import itertools
import json
import random

import pytest
from helpers import NIGHTLY, write_csv, write_jsonl, write_parquet

N_ROWS = 40
OPTIONS = {
    "--activation": "tanh", "--categorical": "zip", "--class-weight": "balanced",
    "--classes": "y,x", "--epsilon": "0.02", "--ignore": "clé", "--init-range": "0.5",
    "--join": "idé",
    "--keep": "pärt,label,clé,off", "--limit": "30", "--lr": "0.5", "--max-weights": "100000",
    "--missing": "b", "--no-standardize": None, "--passes": "2", "--position": "pärt,off",
    "--scale": "0.5", "--scores": None, "--seed": "7", "--skip-bad": None, "--standardize": None,
    "--stop": None, "--threshold": "x=0.6", "--weight": "wé",
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    rng, texts = random.Random(0), ["a", "b", "two words", "1999-12-31", "a long text of six words"]
    return [
        {"pärt": i % 3, "off": 100 + i, "idé": f"k{i}", "a": rng.choice([0.5, 7.25, -3.5]),
         "clé": rng.choice(texts), "zip": rng.choice([1, 2, 30]), "wé": rng.choice([1.0, 2.0]),
         "label": rng.choice("xy")}
        for i in range(N_ROWS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def sources(table, tmp_path_factory):
    folder, columns = tmp_path_factory.mktemp("pairs"), {}
    for name in table[0]:
        columns[name] = [row[name] for row in table]
    return (
        write_csv(folder / "t.csv", columns, zip(*columns.values(), strict=True)),
        write_jsonl(folder / "t.jsonl", table),
        write_parquet(folder / "t.parquet", columns),
    )


def learn(run, source, pair, folder):
    """Return the exit code, the predictions without kept columns, and these columns as strings."""
    arguments = [part for name in pair for part in (name, OPTIONS[name]) if part is not None]
    predictions = folder / f"{source.suffix[1:]}.jsonl"
    predictions.unlink(missing_ok=True)
    result = run("learn", source, *arguments, "-q", "-p", predictions)
    assert "Traceback" not in result.stderr
    if result.returncode:
        return result.returncode, result.stderr.replace(source.suffix, ""), []
    rows = [*map(json.loads, predictions.read_text().splitlines())]
    given = OPTIONS["--keep"].split(",") if "--keep" in pair else []
    given += ["pärt", "off"] if "--position" in pair else []
    given += ["idé"] if "--join" in pair else []
    kept = [{name: str(row.pop(name)) for name in given if name != "label"} for row in rows]
    return 0, rows, kept


@pytest.mark.parametrize("part", range(4))
def test_pairs_of_options_agree_in_all_formats(part, table, sources, run, tmp_path):
    pairs = list(itertools.combinations(OPTIONS, 2))[part::4]
    if NIGHTLY is None:
        pairs = random.Random(part).sample(pairs, 8)
    for pair in pairs:
        results = [learn(run, source, pair, tmp_path) for source in sources]
        assert results[0] == results[1] == results[2], pair
        code, rows, kept = results[0]
        if code:
            assert code == 2, (pair, rows)  # what cannot be combined is a usage error
            continue
        if "--stop" not in pair:
            n = 30 if "--limit" in pair else N_ROWS * (1 + ("--passes" in pair))
            assert len(rows) == n, pair
        for row, cells, found in zip(itertools.cycle(table), kept, rows, strict=False):
            assert cells == {name: str(row[name]) for name in cells}, pair
            assert found["label"] == row["label"], pair
