"""Read sources as streams for River's pipelines and evaluation loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

from stream_perceptron.data.meaning.raw_records import iter_records
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source


def iter_source(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: Sequence[str] = (),
    file_format: str | None = None,
) -> Iterator[tuple[object, ...]]:
    """Iterate over the records of sources in any format, one source after another.

    Records are raw: `RecordEncoder` turns them into features, as `learn` does. If the features are
    a list of numbers, such as `pixels`, the record has an item for each element: `pixel0`, ...;
    those of bytes and images are divided by 255, as `learn` does. Only one batch of rows is held in
    memory at a time. Rows from a pipe are yielded as they arrive.

    Parameters
    ----------
    paths
        Paths, URIs that `pyarrow.fs` accepts, or - for stdin. The content may be compressed.
    label, weight, ignore
        The columns of labels and of sample weights, and columns that are left out.
    categorical
        The columns whose numbers are codes: CSV cells of these columns are yielded as strings.
    missing
        Strings that mean a missing label, besides the empty string.
    file_format
        parquet, arrow, csv, jsonl or libsvm. By default, the format of each source is detected from
        its first bytes.

    Yields
    ------
    Pairs of a dict and a label, which is None if the row has none. In CSV, cells that spell numbers
    or bools are yielded as these. With `weight`, triples whose third item is `{"w": weight}`, as
    River's evaluation loops expect.

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
    >>> list(iter_source(path))
    [({'height': 3.0, 'color': 'red'}, 'a'), ({'height': None, 'color': 'blue'}, 'b')]

    """
    from stream_perceptron.data.opening import open_sources

    read_options = ReadOptions(
        label,
        weight,
        tuple(ignore),
        categorical=tuple(categorical),
        missing=tuple(missing),
    )
    sources = list(open_sources([fspath(path) for path in paths], file_format))
    request = ReadRequest(read_options, keeps_zeros=True, keeps_unlabeled=True, is_raw=True)
    return _iter_samples(sources, request)


def iter_parquet(
    *paths: str | PathLike[str],
    label: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
) -> Iterator[tuple[object, ...]]:
    """Iterate over the records of Parquet files, as `iter_source` does.

    Examples
    --------
    >>> from itertools import islice
    >>> from river import evaluate, metrics
    >>> from stream_perceptron import SGDPerceptron, stream
    >>> from stream_perceptron.datasets.mnist import sample_path

    >>> digits = islice(stream.iter_parquet(sample_path()), 500)
    >>> model = SGDPerceptron(classes=range(10), seed=0)
    >>> evaluate.progressive_val_score(digits, model, metrics.Accuracy())
    Accuracy: 63.20%

    """
    return iter_source(*paths, label=label, weight=weight, ignore=ignore, file_format="parquet")


def _iter_samples(sources: Sequence[Source], request: ReadRequest) -> Iterator[tuple[object, ...]]:
    """Yield (x, y) for each sample, or (x, y, {"w": w}) if there is a weight column."""
    for source in sources:
        if request.schema.is_list is None and source.find_layout(request).may_have_list_rows:
            columns, _ = source.peek_first_row(request)
            request = request.with_schema(columns.schema)
        batches = source.batches(request)
        for batch in batches:
            if batch is None:
                continue
            usable = batch.truncate_at_rejected()
            records = iter_records(batches.columns, usable)
            triples = zip(records, usable.list_labels(), usable.weights.tolist(), strict=True)
            for x, y, w in triples:
                yield (x, y) if request.read_options.weight is None else (x, y, {"w": w})
            batch.require_no_rejections()
        source.close_if_many_files()
        columns = batches.columns
        request = replace(
            request.with_schema(columns.schema),
            names=columns.features.names,
            n_records=request.n_records + batches.next_row - 1,
        )
