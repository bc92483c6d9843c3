"""Records are interpreted identically, whether one at a time or in blocks."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from helpers import CASE_FACTOR
from random_records import advance_context, draw_cells

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import ReadOptions, open_source
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


VALUES = (
    1, 2.5, "u", None, True, {"a": 1}, {"a": "t"}, {"b": {"c": 1}}, {}, [1, 2],
)  # fmt: skip


def draw_objects(rng):
    """Return records with values and objects under names that options or roles may claim."""
    names = ["x", "y", "label.a", "ig", "ig.a", "w", "k.a", "target.z", "class", "z", "y.b"]
    used = rng.sample(names, rng.randrange(2, 7))
    late = {name for name in used if rng.random() < 0.4}  # absent from the first records
    records = []
    for i in range(rng.randrange(10, 40)):
        present = [name for name in used if rng.random() < 0.97 and (i > 4 or name not in late)]
        record = {n: rng.choice(VALUES) if rng.random() < 0.1 else rng.random() for n in present}
        if rng.random() < 0.95:
            record["label"] = rng.choice("pq") if rng.random() < 0.97 else {"a": 1}
        records.append(record)
    return records


def learn_objects(source, options, n_single_rows):
    """Return the features, the number of samples and the rejections of a run, or its error."""
    sources, rejections = [open_source(str(source))], []
    try:
        live = LiveModel.start(sources, options, seed=0)
        for result in live.run(
            sources, live.resume(sources), skip_rejected=True, n_single_rows=n_single_rows
        ):
            rejections += map(str, result.rejected)
    except StreamPerceptronError as error:
        return str(error)
    return live.model.features_, live.progress.samples, rejections


@pytest.mark.parametrize("part", range(4))
def test_objects_are_read_alike_in_blocks_and_one_by_one(part, tmp_path):
    n, source = 75 * CASE_FACTOR, tmp_path / "s.jsonl"
    for seed in range(part * n, (part + 1) * n):
        rng = random.Random(seed)
        records = draw_objects(rng)
        options = rng.choice(
            [{}, {"weight": "w"}, {"ignore": ("ig",)}, {"ignore": ("y", "ig")}, {"label": "label"}]
        )
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
        in_blocks = learn_objects(source, ReadOptions(**options), 0)
        one_by_one = learn_objects(source, ReadOptions(**options), len(records))
        assert in_blocks == one_by_one, (seed, options)
