"""Live models and the rows that are read for them."""

from __future__ import annotations

import pytest
from helpers import write_jsonl

from stream_perceptron import StreamPerceptronError
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.model import LiveModel


def start_live(path):
    sources = [open_source(str(path))]
    return LiveModel.start(sources, ReadOptions(standardize=False), seed=0), sources


def test_rows_read_for_another_model_are_refused(tmp_path):
    """Otherwise, their numbers would stand for other names."""
    rows = [{"a": 1.0, "label": "x"}, {"b": 2.0, "label": "y"}, {"c": 1.0, "label": "z"}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    (live, (source,)), (other, _) = start_live(path), start_live(path)
    batches = source.batches(live.build_request())
    batches.max_rows = 2
    first, second = (batch for batch in batches if batch is not None)
    refusal = "these rows were read for a model with 2 labels and 2 features, but this model has"
    with pytest.raises(StreamPerceptronError, match=f"{refusal} 0 and 0: read them for this"):
        other.step(second)
    assert (other.model.n_seen, other.is_consistent) == (0, True)

    live.step(first)
    live.save(tmp_path / "m.npz")
    loaded = LiveModel.load(tmp_path / "m.npz")
    with pytest.raises(StreamPerceptronError, match="a model with 0 labels and 0 features"):
        loaded.step(first)
    live.model.learn_one({"d": 1.0}, "x")
    with pytest.raises(StreamPerceptronError, match=f"{refusal} 2 and 3"):
        live.step(second)
    assert loaded.step(second).failure is None
    assert loaded.model.features_ == ["a", "b", "c"]
