"""Learning the rows of a shard."""

from __future__ import annotations

import sys

from stream_perceptron import DivergedError, LiveModel
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.distributed.shards import assign_rows, learn_row_ranges
from stream_perceptron.live.history import Shards


def test_largest_learning_rate_times_the_number_of_shards_diverges(mnist_sample):
    source = ParquetSource(str(mnist_sample))
    live = LiveModel.start([source], ReadOptions(), lr=sys.float_info.max, seed=0)
    row_ranges = next(iter(assign_rows([source.groups], Shards(n=2, rows=1000))))
    outcome = learn_row_ranges(live, [source.name], row_ranges, factor=2.0)

    assert isinstance(outcome.error, DivergedError)
    assert live.model.lr == outcome.live.model.lr == sys.float_info.max
