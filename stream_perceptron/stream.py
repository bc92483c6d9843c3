"""Sources as streams for River's pipelines and evaluation loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Knowledge, Request, read_batches

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source


def iter_source(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    scale: float | None = None,
    one_hot: Sequence[str] = (),
    dates: Sequence[str] = (),
    words: Sequence[str] = (),
    missing: Sequence[str] = (),
    file_format: str | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Iterate over the samples of sources of any format, one source after another.

    Memory holds one block of rows. Rows of a pipe are yielded as they arrive.

    Parameters
    ----------
    paths
        Paths, URIs for `pyarrow.fs`, or - for stdin, compressed or not.
    label, weight, ignore, scale, one_hot, dates, words, missing
        As the options of the command `learn`.
    file_format
        parquet, arrow, csv, jsonl or libsvm; None detects it from the first bytes of a source.

    Yields
    ------
    Pairs of a dict of features and a label or None; with `weight`, triples that end with
    `{"w": weight}`, as River's evaluation loops expect.

    Raises
    ------
    SourceError
        If a source cannot be read, or lacks a column that was asked for.
    SampleError
        If a row cannot be used; the rows before it were yielded.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "plants.csv")
    >>> _ = path.write_text("height,colour,class\\n3,red,a\\n,blue,b\\n")
    >>> list(iter_source(path, one_hot=["colour"]))
    [({'height': 3.0, 'colour_red': 1.0}, 'a'), ({'colour_blue': 1.0}, 'b')]

    """
    from stream_perceptron.data.opening import open_source

    asked = Selection(
        label,
        weight,
        tuple(ignore),
        scale,
        one_hot=tuple(one_hot),
        dates=tuple(dates),
        words=tuple(words),
        missing=tuple(missing),
    )
    return _samples([open_source(fspath(path), file_format) for path in paths], Request(asked))


def iter_parquet(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    scale: float | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Iterate over the samples of Parquet files, as `iter_source` does.

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
    return iter_source(
        *paths, label=label, weight=weight, ignore=ignore, scale=scale, file_format="parquet"
    )


def _samples(sources: Sequence[Source], request: Request) -> Iterator[tuple[Any, ...]]:
    asked = request
    for source in sources:
        opening = source.open(asked)
        asked = asked if opening is None else asked.after(opening.schema)
    knowledge = Knowledge()
    for source in sources:
        asked = replace(request.after(knowledge.schema), names=knowledge.names)
        for batch in read_batches(source, asked, knowledge):
            usable = batch.before_rejected()
            samples = zip(usable.features.dicts(), usable.labels, usable.weights, strict=True)
            for x, y, w in samples:
                yield (x, y) if request.selection.weight is None else (x, y, {"w": w})
            batch.require_usable()
