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


@pytest.fixture
def require_said(read):
    """A function that checks the features and labels of lines, with their types."""

    def require(text, features, labels):
        found = read(text)

        assert found == (features, labels, {})
        assert [type(label) for label in found[1]] == [type(label) for label in labels]

    return require


@pytest.fixture
def require_wrong(read):
    """A function that checks that only the second row is rejected, for this reason."""

    def require(text, reason):
        bad = read(text)[2]

        assert list(bad) == [1]
        assert bad[1].startswith(reason)

    return require
