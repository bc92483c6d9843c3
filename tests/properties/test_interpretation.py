"""Records are interpreted identically, whether one at a time or in blocks."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from helpers import CASE_FACTOR
from random_records import advance_context, draw_cells

from stream_perceptron.data.interpreter import NameRoles, interpret
from stream_perceptron.data.interpreter.vectorized import interpret_block
from stream_perceptron.data.source import Knowledge
from stream_perceptron.live.metrics import Progress


def sort_feature_bits(x):
    return sorted((name, np.float64(value).tobytes()) for name, value in x.items())


FORMS = ["csv", "flat", "features", "list", "libsvm", "arrow", "arrow list"]


def interpret_in_parts(context, cells, sizes, names=None):
    """Interpret consecutive records in parts of these sizes; return the combined results."""
    progress, knowledge = Progress(), Knowledge(context.schema)
    parts, first, redeliveries = [], 0, context.redeliveries and context.redeliveries.copy()
    for n in sizes:
        batch = interpret(
            replace(context, redeliveries=redeliveries), cells[first : first + n], names
        )
        parts.append((first, batch))
        knowledge.adopt(batch.inferred)
        progress.count_missing(batch.missing, knowledge)
        context = advance_context(context, batch.inferred)
        for offset in batch.offsets:
            redeliveries.update(offset)
        first += n
    return (
        [first + i for first, batch in parts for i in batch.rows.tolist()],
        [sort_feature_bits(x) for _, batch in parts for x in batch.features.dicts()],
        [repr(label) for _, batch in parts for label in batch.labels],
        [weight for _, batch in parts for weight in batch.weights.tolist()],
        {first + i: reason for first, batch in parts for i, reason in batch.rejected.items()},
        [offset for _, batch in parts for offset in batch.offsets],
        sum(0 if b.redelivered is None else int(b.redelivered.sum()) for _, b in parts),
        progress.missing,
        progress.untyped_nulls,
        frozenset().union(*(batch.unscaled for _, batch in parts)),
        [content for _, batch in parts for content in batch.passthrough],
        context.schema,
        sorted(context.vocabulary.names),
    )


def draw_sizes(rng, n):
    """Return random sizes of parts that have n records in total."""
    ends = sorted(rng.sample(range(1, n), rng.randrange(6)))
    return [end - start for start, end in zip([0, *ends], [*ends, n], strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_splitting_records_does_not_change_their_interpretation(form, report_figure):
    """Single records are interpreted by the reference implementation."""
    rng, n_vectorized = random.Random(form), 0
    n_blocks, n = 60 * CASE_FACTOR, 60
    for _ in range(n_blocks):
        context, cells = draw_cells(rng, form, n)
        if rng.random() < 0.5:  # the model has learned some of the records before
            learned = interpret(replace(context, learns=True), cells[: rng.randrange(1, n)])
            context = advance_context(context, learned.inferred)
        expected = interpret_in_parts(context, cells, [1] * n)
        assert interpret_in_parts(context, cells, draw_sizes(rng, n), NameRoles()) == expected
        block = interpret_block(
            advance_context(context, interpret(context, cells).inferred), cells, NameRoles()
        )
        n_vectorized += 0 if block is None else len(block) - int(block.is_deferred.sum())
    report_figure(
        f"{form}: {n_vectorized:,} of {n_blocks * n:,} records can be interpreted in blocks"
    )
    assert n_vectorized > n_blocks * n / 6
