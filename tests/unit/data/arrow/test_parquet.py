"""Parquet files: columns that are not used, and rows of very different lengths."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import open_source


def test_decoded_lists_stay_within_a_batch(tmp_path):
    """The metadata shows that longer lists follow, before the first one is decoded."""
    from stream_perceptron.data.arrow.parquet import ParquetSource

    lengths = [2] * 10 + [0] * 3000 + [200_000] * 300 + [0] * 700
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1]))
    labels = ["x", "y"] * (len(lengths) // 2)
    source = write_parquet(tmp_path / "s.parquet", {"v": lists, "label": labels})

    parquet = ParquetSource(str(source))
    batches = list(parquet._read([0], 0, 0, [0, 1]))

    assert sum(batch.num_rows for batch in batches) == len(lengths)
    assert max(batch.nbytes for batch in batches) < 2**26


@pytest.mark.parametrize("value", [0, 21, 255])
def test_a_file_with_a_damaged_byte_in_its_footer_is_read_or_refused(value, tmp_path):
    columns = {"a": np.arange(20.0), "note": list("abcd" * 5), "label": ["x", "y"] * 10}
    path = write_parquet(tmp_path / "s.parquet", columns)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")

    errors = []
    for i in range(len(whole) - 8 - length, len(whole) - 8):
        path.write_bytes(whole[:i] + bytes([value]) + whole[i + 1 :])
        try:
            sources = [open_source(str(path))]
            live = LiveModel.start(sources, seed=0)
            list(live.run(sources, live.resume(sources), skip_rejected=True))
        except StreamPerceptronError as error:
            errors.append(str(error))

    assert 0 < len(errors) < length
    assert not any("\n" in error for error in errors)
