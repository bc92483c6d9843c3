"""Results of a step: notes, and values copied to predictions."""

from __future__ import annotations

import json

from stream_perceptron import LiveModel
from stream_perceptron.data import ReadOptions, open_source


def learned(path, *, read_options=None, options=None, **parameters):
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, read_options, seed=0, **parameters)
    return list(live.run(sources, **(options or {})))


def test_large_features_are_remarked_on(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("x,y\n200,0\n-3,1\n")
    notices = [note for step in learned(path, lr=1e-6) for note in step.notices]

    assert sum("unscaled features: 'x' reaches 200" in note for note in notices) == 1


def test_a_label_of_its_own_for_each_row_is_warned_of(tmp_path):
    for n_labels, expected in ((1500, True), (400, False)):
        path = tmp_path / "f.csv"
        rows = (f"{i % 7},{i % n_labels}" for i in range(1500))
        path.write_text("\n".join(["x,label", *rows]) + "\n")
        notices = {note for step in learned(path, options={"every": 100}) for note in step.notices}

        assert any("brought a new label" in note for note in notices) == expected


def test_offsets_and_kept_columns_go_with_each_usable_row(tmp_path, rng):
    path = tmp_path / "f.jsonl"
    rows = [
        {"a": "bad" if i % 5 == 3 else float(rng.normal()), "id": f"r{i}", "p": i % 2, "o": i}
        | {"y": int(rng.integers(2))}
        for i in range(50)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for position, keep in ((("p", "o"), ()), ((), ("id",)), (("o",), ("id",)), ((), ())):
        asked = ReadOptions(position=position, keep=keep, ignore=("id", "p", "o"))
        for every in (1, 7, None):
            steps = learned(
                path, read_options=asked, options={"skip_rejected": True, "every": every}
            )
            carried = [each for step in steps for each in step.copied_columns or []]
            wanted = [{name: row[name] for name in (*position, *keep)} for row in rows]

            good = [each for each, row in zip(wanted, rows, strict=True) if row["a"] != "bad"]
            assert carried == (good if position or keep else [])
