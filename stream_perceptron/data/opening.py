"""Open sources, and detect their formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stream_perceptron.data.input.bytes import Interrupt, is_stream, open_bytes
from stream_perceptron.data.input.detection import (
    reject_unsupported_content,
    reject_unsupported_path,
)
from stream_perceptron.data.input.positions import BINARY_FORMATS
from stream_perceptron.data.layout import BYTE_SCALE, Layout
from stream_perceptron.data.naming import is_pixel
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source
from stream_perceptron.encoders import name_vector_elements
from stream_perceptron.model.arrays import Array

_MAX_OPEN_FILES = 16  # of those that have not been read yet


def open_source(
    path: str,
    file_format: str | None = None,
    interrupt: Interrupt | None = None,
) -> Source:
    """Open a source of any format.

    Parameters
    ----------
    path
        A path, a URI that `pyarrow.fs` supports, or - for stdin. Compression is detected from the
        first bytes.
    file_format
        parquet, arrow, csv, jsonl or libsvm; None to detect it from the first bytes, or from the
        first line of text.
    interrupt
        Ends the input early, as a signal does.

    Raises
    ------
    SourceError
        If the source cannot be read, or is not in the expected format.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> open_source(str(sample_path())).n_rows
    5000

    """
    source: Source
    reject_unsupported_path(path)
    if file_format is None and path.endswith(".parquet") and not is_stream(path):
        file_format = "parquet"
    stream = open_bytes(path, interrupt)
    magic = stream.peek(4)
    reject_unsupported_content(stream.name, stream.peek(16) if magic == b"SQLi" else magic)
    file_format = file_format or BINARY_FORMATS.get(magic)
    # Lazy imports: each format imports libraries that the others do not need.
    if file_format == "parquet":
        from stream_perceptron.data.arrow.parquet import ParquetSource

        source = ParquetSource(stream)
    elif file_format == "arrow":
        from stream_perceptron.data.arrow.ipc import ArrowSource

        source = ArrowSource(stream)
    else:
        from stream_perceptron.data.text.source import TextSource

        source = TextSource(stream, file_format)
    source.interrupt = interrupt or source.interrupt
    return source


def open_sources(
    paths: Sequence[str],
    file_format: str | None = None,
    interrupt: Interrupt | None = None,
) -> Iterator[Source]:
    """Yield a source for each path; see `open_source`. A repeated path yields the same source.

    At most 16 files stay open until their rows are read; others are closed when the next source is
    requested.
    """
    opened: dict[str, Source] = {}
    for path in paths:
        if path not in opened:
            source = opened[path] = open_source(path, file_format, interrupt)
            source.keeps_open = len(opened) <= _MAX_OPEN_FILES
        yield opened[path]
        opened[path].close_if_many_files()


class InferredOptions(NamedTuple):
    """What was inferred from the first records of sources."""

    first: Source | None  # the first source that has rows
    layout: Layout | None  # of its rows
    read_options: ReadOptions  # with the scale, the standardization and the join column
    schema: Schema  # as if the first row of each source had been learned


def infer_from_sources(
    sources: Iterable[Source], request: ReadRequest, is_new: bool = False
) -> InferredOptions:
    """Infer options from the first records of sources, and check that the sources fit the model.

    For a new model, the scale and the standardization are inferred from the first source that has
    rows, unless they are given.

    Raises
    ------
    SourceError
        If a source does not fit the model or lacks a column named in the read options.

    """
    inferred = InferredOptions(None, None, request.read_options, request.schema)
    for source in sources:
        layout = source.find_layout(request)
        if inferred.first is None and not layout.is_empty:
            options = _choose_scaling(source, layout, request) if is_new else request.read_options
            # Keep the name of the join column: the column order may differ in the next source.
            options = replace(options, join=layout.read_options.join or options.join)
            options = options.join_names_with_commas(layout.columns)
            inferred = inferred._replace(first=source, layout=layout, read_options=options)
            request = replace(request, read_options=options)
        if not layout.is_empty:
            schema = layout.extend_schema(request.schema)
            schema = replace(schema, label_type=layout.label_type or schema.label_type)
            request, inferred = request.with_schema(schema), inferred._replace(schema=schema)
        source.close_if_many_files()
    return inferred


def _choose_scaling(source: Source, layout: Layout, request: ReadRequest) -> ReadOptions:
    """Return the read options with a scale and a standardization, unless these are given.

    Tables and JSON objects are standardized; pixels are scaled by 1/255. The first usable row
    shows whether numbers are pixels, unless a source declares their types.
    """
    options = request.read_options
    if options.scale is not None:
        return replace(options, standardize=bool(options.standardize))
    names = (
        layout.declared_number_columns
        if layout.key is None
        else name_vector_elements(layout.key, 1)
    )
    numbers, is_list = dict.fromkeys(names, 0.0), layout.is_list
    if all(map(is_pixel, numbers)) and not layout.has_8_bit_features:
        columns, numbers = source.peek_first_row(request)
        is_list = columns.layout.is_list
    has_pixels = bool(numbers) and all(map(is_pixel, numbers))
    is_table = not (is_list or layout.is_encoded or has_pixels)
    scale = 1.0 if is_table else None
    if layout.has_8_bit_features or (has_pixels and _are_8_bit(np.array([*numbers.values()]))):
        scale = scale or BYTE_SCALE
    standardize = is_table if options.standardize is None else options.standardize
    return replace(options, scale=scale, standardize=standardize)


def _are_8_bit(values: Array) -> bool:
    """Whether all values are whole numbers from 0 to 255, at least one of them above 1."""
    are_whole = (values >= 0) & (values <= 255) & (values == np.floor(values))
    return bool(are_whole.all()) and bool((values > 1).any())
