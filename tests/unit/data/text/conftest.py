"""Fixtures for tests of text formats."""

from __future__ import annotations

import pytest

from stream_perceptron.data import ReadOptions, Request, open_source


@pytest.fixture
def read_text_source(tmp_path):
    """Return a function that writes text to a file and reads features, labels and rejections."""

    def write_and_read(text, **read_options):
        path = tmp_path / "source"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        features, labels, rejected = [], [], {}
        request = Request(ReadOptions(**read_options), keeps_zeros=True)
        for batch in open_source(str(path)).batches(request):
            features += list(batch.features.dicts())
            labels += batch.labels
            rejected |= {batch.first_row - 1 + i: reason for i, reason in batch.rejected.items()}
        return features, labels, rejected

    return write_and_read
