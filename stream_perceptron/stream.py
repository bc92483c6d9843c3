"""Read sources as streams for River's pipelines and evaluation loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions

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
) -> Iterator[tuple[object, ...]]:
    """Iterate over the samples of sources in any format, one source after another.

    Only one batch of rows is held in memory at a time. Rows from a pipe are yielded as they arrive.

    Parameters
    ----------
    paths
        Paths, URIs that `pyarrow.fs` accepts, or - for stdin. The content may be compressed.
    label, weight, ignore, scale, one_hot, dates, words, missing
        The same as the options of the `learn` command.
    file_format
        parquet, arrow, csv, jsonl or libsvm. By default, the format of each source is detected from
        its first bytes.

    Yields
    ------
    Pairs of a dict of features and a label, which is None if the row has none. With `weight`,
    triples whose third item is `{"w": weight}`, as River's evaluation loops expect.

    Raises
    ------
    SourceError
        If a source cannot be read, or lacks a requested column.
    SampleError
        If a row cannot be used; the rows before it have been yielded.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "plants.csv")
    >>> _ = path.write_text("height,color,class\\n3,red,a\\n,blue,b\\n")
    >>> list(iter_source(path, one_hot=["color"]))
    [({'height': 3.0, 'color_red': 1.0}, 'a'), ({'color_blue': 1.0}, 'b')]

    """
    from stream_perceptron.data.opening import open_source

    read_options = ReadOptions(
        label,
        weight,
        tuple(ignore),
        scale,
        one_hot=tuple(one_hot),
        dates=tuple(dates),
        words=tuple(words),
        missing=tuple(missing),
    )
    sources = [open_source(fspath(path), file_format) for path in paths]
    return _iter_samples(sources, Request(read_options, keeps_zeros=True, keeps_unlabeled=True))


def iter_parquet(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    scale: float | None = None,
) -> Iterator[tuple[object, ...]]:
    """Iterate over the samples of Parquet files, as `iter_source` does.

    Examples
    --------
    >>> from river import evaluate, metrics
    >>> from stream_perceptron import SGDPerceptron, stream
    >>> from stream_perceptron.datasets.mnist import sample_path

    >>> digits = stream.iter_parquet(sample_path())
    >>> model = SGDPerceptron(lr=0.1, classes=range(10), seed=0)
    >>> evaluate.progressive_val_score(digits, model, metrics.Accuracy())
    Accuracy: 84.52%

    """
    return iter_source(
        *paths, label=label, weight=weight, ignore=ignore, scale=scale, file_format="parquet"
    )


def _iter_samples(sources: Sequence[Source], request: Request) -> Iterator[tuple[object, ...]]:
    """Yield (x, y) for each sample, or (x, y, {"w": w}) if there is a weight column."""
    current = request
    for source in sources:
        opening = source.open(current)
        if opening is not None:
            if current is request:
                request = replace(request, read_options=opening.scale_pixels(request.read_options))
            current = request.after(opening.schema)
    current = request
    for source in sources:
        batches = source.batches(current)
        for batch in batches:
            if batch is None:
                continue
            usable = batch.truncate_at_rejected()
            samples = zip(usable.features.dicts(), usable.labels, usable.weights, strict=True)
            for x, y, w in samples:
                yield (x, y) if request.read_options.weight is None else (x, y, {"w": w})
            batch.require_usable()
        columns = batches.columns
        current = replace(request.after(columns.schema), names=columns.names)
