"""Streams for River's pipelines and evaluation loops, which know no Parquet themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request


def iter_parquet(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    scale: float | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Iterate over the samples of Parquet files, one after another.

    Columns are used as the command line uses them. Only one batch of rows is held in memory.

    Parameters
    ----------
    paths
        Paths, or URIs that `pyarrow.fs` knows.
    label
        The label column; None for the only one of label, class, target and y that there is.
    weight
        The column of sample weights, if any.
    ignore
        Columns not to use.
    scale
        What features are multiplied by; None for 1/255 where they are 8-bit, else 1.

    Yields
    ------
    Pairs of a dict of features and a label, None where there is none; with `weight` triples, whose
    third part is `{"w": weight}`, as River's evaluation loops take it.

    Raises
    ------
    SourceError
        If a file cannot be read, or does not hold what was asked for.
    SampleError
        If a row cannot be used.

    Examples
    --------
    >>> from river import evaluate, metrics
    >>> from stream_perceptron import SGDPerceptron, stream
    >>> from stream_perceptron.datasets.mnist import sample_path

    >>> digits = stream.iter_parquet(sample_path())
    >>> model = SGDPerceptron(lr=0.1, classes=range(10), seed=0)
    >>> evaluate.progressive_val_score(digits, model, metrics.Accuracy())
    Accuracy: 84.38%

    """
    from stream_perceptron.data.parquet import ParquetSource

    request = Request(Selection(label, weight, tuple(ignore), scale))
    sources = [ParquetSource(str(path)) for path in paths]
    for source in sources:
        request = replace(request, schema=source.fit(request).schema)
    for source in sources:
        for batch in source.batches(request):
            batch.require_usable()
            request = replace(request, schema=batch.schema)
            samples = zip(batch.features.dicts(), batch.labels, batch.weights, strict=True)
            for x, y, w in samples:
                yield (x, y) if weight is None else (x, y, {"w": w})
