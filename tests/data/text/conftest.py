"""What the tests of the formats share."""

from __future__ import annotations

import pytest

from stream_perceptron.data import Request, Selection, open_source


@pytest.fixture
def read(tmp_path):
    """Return the features by row, the labels, and what is wrong, of some text in a file."""

    def read_text(text, **selection):
        path = tmp_path / "source"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        features, labels, rejected = [], [], {}
        for batch in open_source(str(path)).batches(Request(Selection(**selection))):
            features += list(batch.features.dicts())
            labels += batch.labels
            rejected |= {batch.first_row - 1 + i: why for i, why in batch.rejected.items()}
        return features, labels, rejected

    return read_text
