"""Averages of live models that learned different rows."""

from __future__ import annotations

import copy
import random

from helpers import write_jsonl

from stream_perceptron import LiveModel
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.distributed.averaging import average_live
from stream_perceptron.live.loop import learn


def learn_rows(path, rows, live=None):
    """Return a copy of a live model, or a new one, that has learned rows from a file."""
    sources = [open_source(str(write_jsonl(path, rows)))]
    if live is None:
        live = LiveModel.start(sources, ReadOptions(label="y"), seed=0)
    live = copy.deepcopy(live)
    for _ in learn(live, sources):
        pass
    return live


def test_windows_and_counts_of_the_base_and_the_models_are_joined(tmp_path):
    rng = random.Random(1)
    parts = [
        [{"a": rng.uniform(-1, 1), "b": i % 7, "y": "uv"[i % 2]} for i in range(n)]
        for n in (100, 30, 20)
    ]
    parts[0][50]["a"] = None
    base = learn_rows(tmp_path / "0.jsonl", parts[0])
    models = [learn_rows(tmp_path / f"{i}.jsonl", parts[i], base) for i in (1, 2)]
    mean = average_live(base, models).progress

    assert (base.progress.missing, mean.missing, mean.samples) == (1, 0, 150)
    assert (
        len(base.progress.recent_outcomes) == 99
    )  # the first sample is untested, as no label was known
    assert mean.recent_outcomes[:99].tolist() == base.progress.recent_outcomes.tolist()
    assert len(mean.recent_outcomes) == 149
    assert mean.recent_outcomes[99:].sum() == sum(
        live.progress.recent_outcomes[99:].sum() for live in models
    )


def test_indicators_and_string_columns_are_joined(tmp_path):
    """A feature is an indicator if it has only been 0 or 1 in all models."""
    base, one, two = (
        [{"x": i / 7, "b": i % n, **row, "t": f"{t}{i % 4}", "y": i % 3} for i in range(40)]
        for n, t, row in ((2, "p", {}), (2, "q", {"c": 1, "d": 1}), (4, "r", {"d": 0}))
    )
    live = learn_rows(tmp_path / "base.jsonl", base)
    models = [learn_rows(tmp_path / f"{i}.jsonl", rows, live) for i, rows in enumerate((one, two))]
    mean = average_live(live, models)
    network = mean.model.network
    is_indicator = dict(zip(network.feature_names, network.scaler.statistics[3], strict=False))

    assert [is_indicator[name] for name in "xbcd"] == [0, 0, 1, 1]
    assert mean.state.string_columns == {"t": 12}
