"""Truncated Arrow IPC streams."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stream_perceptron import LiveModel


def test_truncated_arrow_stream_is_read_up_to_the_damage(tmp_path, run):
    table = pa.table({"a": np.arange(3000.0) / 3000, "label": [0, 1] * 1500})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, 1000)
    path = tmp_path / "source.arrows"
    path.write_bytes(sink.getvalue().to_pybytes()[:-5000])
    result = run("learn", path, "-m", tmp_path / "model.npz", "--quiet", check=1)

    assert "damaged after row 2,000" in result.stderr
    assert LiveModel.load(tmp_path / "model.npz").progress.samples == 2000
