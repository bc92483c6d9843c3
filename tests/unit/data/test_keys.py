"""Keys of JSON objects: their paths, in learned and in predicted rows, and invalid ones."""

from __future__ import annotations

import pytest
from helpers import write_csv

from stream_perceptron import RecordEncoder
from stream_perceptron.data import ReadOptions, ReadRequest, open_source


def read_features(path, request):
    """Return the features of the usable rows, and the reasons for the others."""
    batches = [batch for batch in open_source(str(path), "jsonl").batches(request) if len(batch)]
    rows = [row for batch in batches for row in batch.dicts()]
    return rows, [reason for batch in batches for reason in batch.rejected.values()]


def test_members_of_objects_are_features_of_a_model_of_columns(tmp_path, run):
    """The model was trained on a table whose columns have the paths as names."""
    rows = [(200 + i % 3, i % 2, "uv"[i % 2]) for i in range(30)]
    source = write_csv(tmp_path / "t.csv", ["http.status", "b", "label"], rows)
    run("learn", source, "-m", tmp_path / "m.npz", check=0)
    flat, nested = (
        run("predict", "-m", tmp_path / "m.npz", input=f"{line}\n", check=0).stdout
        for line in ('{"http.status": 202, "b": 1}', '{"http": {"status": 202}, "b": 1}')
    )

    assert flat == nested


@pytest.mark.parametrize("to_learn", [True, False])
@pytest.mark.parametrize("value", ["1", '"x"', "[1]", '{"a": 1}', "null"])
def test_key_with_half_a_surrogate_pair_rejects_the_record(value, to_learn, tmp_path):
    path = tmp_path / "s.jsonl"
    lines = ['{"a": 1, "label": "u"}', f'{{"\\ud800": {value}, "a": 1, "label": "u"}}'] * 2
    path.write_text("\n".join([*lines, f'{{"b": {{"\\udfff": {value}}}, "label": "u"}}\n']))
    rows, reasons = read_features(path, ReadRequest(names=["a"], to_learn=to_learn))

    assert rows == [{"a": 1.0}] * 2
    assert reasons == ["an escape in it is half of a surrogate pair"] * 3


def test_escaped_keys_and_options_name_the_same_paths(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"\\u0061": 1, "b": {"c\\u002ed": 2, "\\u0065": 3}, "": {"f": 4}, "label": "u"}\n'
        '{"a": 1, "b": {"c.d": 2, "e": 3}, "": {"f": 4}, "label": "u"}\n'
    )
    options = ReadOptions(ignore=("b",), categorical=("b.c.d",))
    rows, _ = read_features(path, ReadRequest(options))

    assert rows == [{"a": 1.0, "b.c.d=2": 1.0, ".f": 4.0}] * 2
    assert RecordEncoder().transform_one({"": {"f": 4}}) == {".f": 4.0}
