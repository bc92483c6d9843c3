"""Fixtures for tests of text formats."""

from __future__ import annotations

import pytest

from stream_perceptron.data import ReadOptions, Request, open_source, read_batches


@pytest.fixture
def read(tmp_path):
    """A function that reads text in a file and returns features by row, labels and rejections."""

    def read_text(text, **read_options):
        path = tmp_path / "source"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        features, labels, rejected = [], [], {}
        for batch in read_batches(open_source(str(path)), Request(ReadOptions(**read_options))):
            features += list(batch.features.dicts())
            labels += batch.labels
            rejected |= {batch.first_row - 1 + i: why for i, why in batch.rejected.items()}
        return features, labels, rejected

    return read_text
