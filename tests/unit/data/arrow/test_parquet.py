"""Parquet files: rows of very different lengths, and damaged footers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import open_source


def test_long_lists_are_decoded_in_small_batches(tmp_path):
    from stream_perceptron.data.arrow.parquet import ParquetSource

    lengths = [200_000] * 300
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1]))
    labels = ["x", "y"] * (len(lengths) // 2)
    source = write_parquet(tmp_path / "s.parquet", {"v": lists, "label": labels})

    parquet = ParquetSource(str(source))
    batches = list(parquet._read([0], 0, 0, [0, 1]))

    assert sum(batch.num_rows for batch in batches) == len(lengths)
    assert max(batch.nbytes for batch in batches) < 2**26


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 21, 255])
def test_file_with_a_damaged_footer_byte_is_read_or_reported(value, tmp_path):
    columns = {"a": np.arange(20.0), "note": list("abcd" * 5), "label": ["x", "y"] * 10}
    path = write_parquet(tmp_path / "s.parquet", columns)
    original_bytes = path.read_bytes()
    footer_length = int.from_bytes(original_bytes[-8:-4], "little")

    errors = []
    for i in range(len(original_bytes) - 8 - footer_length, len(original_bytes) - 8):
        path.write_bytes(original_bytes[:i] + bytes([value]) + original_bytes[i + 1 :])
        try:
            sources = [open_source(str(path))]
            live = LiveModel.start(sources, seed=0)
            list(live.run(sources, live.plan_run(sources), skip_rejected=True))
        except StreamPerceptronError as error:
            errors.append(str(error))

    assert 0 < len(errors) < footer_length
    assert not any("\n" in error for error in errors)
