"""Results of a step: notices, and values copied to predictions."""

from __future__ import annotations

import json

import pytest

from stream_perceptron import LiveModel
from stream_perceptron.data import ReadOptions, open_source


def learn_file(path, *, read_options=None, options=None, **parameters):
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, read_options, seed=0, **parameters)
    return list(live.run(sources, **(options or {})))


def test_large_features_cause_one_notice(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("x,y\n200,0\n-3,1\n")
    notices = [note for step in learn_file(path, lr=1e-6) for note in step.notices]

    assert sum("unscaled features: 'x' reaches 200" in note for note in notices) == 1


@pytest.mark.parametrize(
    ("names", "remedy"), [("pixel0,pixel1", "--scale 1/200.5"), ("pixel0,a", "--standardize")]
)
def test_notice_of_large_features_suggests_a_remedy(names, remedy, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(f"{names},y\n200.5,150,0\n7,3,1\n")
    notices = [note for step in learn_file(path, lr=1e-6) for note in step.notices]

    assert any(f"\n  {remedy}" in note for note in notices)


def test_offsets_and_passthrough_columns_are_copied_for_usable_rows(tmp_path, rng):
    path = tmp_path / "f.jsonl"
    rows = [
        {"a": "bad" if i % 5 == 3 else float(rng.normal()), "id": f"r{i}", "p": i % 2, "o": i}
        | {"y": int(rng.integers(2))}
        for i in range(50)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for position, keep in ((("p", "o"), ()), ((), ("id",)), (("o",), ("id",)), ((), ())):
        read_options = ReadOptions(position=position, keep=keep, ignore=("id", "p", "o"))
        for every in (1, 7, None):
            steps = learn_file(
                path, read_options=read_options, options={"skip_rejected": True, "every": every}
            )
            copied = [values for step in steps for values in step.copied_columns or []]
            expected_values = [{name: row[name] for name in (*position, *keep)} for row in rows]

            expected = [
                values
                for values, row in zip(expected_values, rows, strict=True)
                if row["a"] != "bad"
            ]
            assert copied == (expected if position or keep else [])
