"""A checkpoint is rejected if any of its arrays has the wrong type or shape."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from helpers import STATED_REASON, encode_npy, forge_archive, read_members

from stream_perceptron import CheckpointError, LiveModel

VARIABLE_LENGTH = ("confusion", "curve", "window")
ARRAY_CHANGES = {
    "one row fewer": lambda array: array[1:],
    "one row more": lambda array: np.concatenate([array, array[:1]]),
    "one dimension more": lambda array: array[np.newaxis],
    "another type": lambda array: array.astype("<f4" if array.dtype.kind == "f" else "<i2"),
}


@pytest.mark.parametrize("name", ARRAY_CHANGES)
def test_array_with_a_wrong_type_or_shape_is_rejected(name, tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{"id": 1, "a": 0.5, "b": "x"}, {"id": 2, "a": 1, "b": "y"}, {"id": 1, "label": "left"}]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run("learn", source, "--join", "id", "--one-hot", "b", "--standardize", "-m", path, check=0)
    parts = read_members(path)
    arrays = {n: np.load(io.BytesIO(part)) for n, part in parts.items() if n.endswith(".npy")}
    assert len(arrays) == 16
    if "row" in name:  # some arrays may have any number of rows
        arrays = {
            n: arrays[n]
            for n in arrays.keys() - {f"{array_name}.npy" for array_name in VARIABLE_LENGTH}
        }
    for member, array in arrays.items():
        changed_array = ARRAY_CHANGES[name](array if array.size else np.zeros(2, array.dtype))
        path.write_bytes(forge_archive({**parts, member: encode_npy(changed_array)}.items()))
        with pytest.raises(CheckpointError, match=STATED_REASON):
            LiveModel.load(path)
