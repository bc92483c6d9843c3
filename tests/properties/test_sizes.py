"""Numbers of things around powers of two, at which a counter could overflow."""

from __future__ import annotations

import json

import pytest
from helpers import NIGHTLY, write_csv, write_jsonl, write_parquet

from stream_perceptron import LiveModel

SIZES = [*range(127, 130), *range(255, 258), *([] if NIGHTLY is None else range(65_535, 65_538))]


@pytest.mark.parametrize("n", SIZES)
def test_columns_classes_elements_and_words_of_any_number_are_learned(n, run, tmp_path):
    path, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    numbers, n_strings = [f"n{i}" for i in range(n)], min(n, 2**15)  # as many as are learned
    row = {"words": " ".join(f"w{i}" for i in range(n)), "list": [f"e{i}" for i in range(n)]}
    row |= {name: i for i, name in enumerate(numbers, 1)} | {"x" * n: 1}
    write_jsonl(path, (row | {"label": f"c{i % n}"} for i in range(2)))
    classes = ",".join(f"c{i}" for i in range(n if n < 300 else 2))
    run("learn", path, "-m", model, "--classes", classes, "-q", check=0)
    live = LiveModel.load(model)

    names = {f"{kind}{i}" for kind in ("words=w", "list=e") for i in range(n_strings)}
    assert set(live.model.features_) == {*names, *numbers, "x" * n}
    assert ",".join(live.model.classes_) == classes
    assert "follows" in run("verify", model, path, check=0).stdout


@pytest.mark.parametrize("n", [size for size in SIZES if size < 300])
def test_kept_columns_files_and_row_groups_of_any_number_are_read(n, run, tmp_path):
    names = [f"k{i}" for i in range(n)]
    cells = {name: [f"cell {i}"] * 2 for i, name in enumerate(names)}
    out, lines = tmp_path / "p.jsonl", [[*(f"cell {i}" for i in range(n)), y] for y in "uv"]
    path = write_csv(tmp_path / "s.csv", [*names, "label"], lines)
    table = write_parquet(tmp_path / "s.parquet", cells | {"label": ["u", "v"]})
    for source in (path, table):
        run("learn", source, "-p", out, "--keep", ",".join(names), "-q", check=0)
        for line in out.read_text().splitlines():
            kept = json.loads(line)
            assert [kept[name] for name in names] == [f"cell {i}" for i in range(n)]
    columns = {"a": [*range(n)], "label": ["u"] * n}
    groups = write_parquet(tmp_path / "groups.parquet", columns, row_group_size=1)
    files = [write_csv(tmp_path / f"{i}.csv", ["a", "label"], [[i, "u"]]) for i in range(n)]
    summaries = [
        json.loads(run("learn", *sources, "--json", "-q", check=0).stdout)
        for sources in ([groups], files)
    ]
    assert [summary["samples"] for summary in summaries] == [n, n]
