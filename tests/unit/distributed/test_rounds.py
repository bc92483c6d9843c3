"""Learning the rows of a shard."""

from __future__ import annotations

import sys

from stream_perceptron import DivergedError, LiveModel
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.position import FilePosition
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.distributed.rounds import learn_row_ranges, plan_round
from stream_perceptron.live.history import Shards


def test_largest_learning_rate_times_the_number_of_shards_diverges(mnist_sample):
    source = ParquetSource(str(mnist_sample))
    live = LiveModel.start([source], ReadOptions(), lr=sys.float_info.max, seed=0)
    files = [FilePosition(source.path, rows=5000)]
    row_ranges = plan_round(files, Shards(n=2, rows=1000), number=0)[0]
    outcome = learn_row_ranges(live, row_ranges, factor=2.0)

    assert isinstance(outcome.error, DivergedError)
    assert live.model.lr == outcome.live.model.lr == sys.float_info.max
