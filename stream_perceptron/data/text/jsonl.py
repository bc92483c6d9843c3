"""The JSON Lines format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from stream_perceptron.data.layout import JSON, Layout
from stream_perceptron.data.meaning.columns import UNNAMED_LIST
from stream_perceptron.data.meaning.roles import find_default_label, require_one_role
from stream_perceptron.data.naming import (
    find_column,
    quote_names,
)
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.text.records import iter_paths, parse_json_record
from stream_perceptron.encoders import flatten_list, is_vector, name_vector_elements
from stream_perceptron.errors import SampleError, SourceError


class JsonFormat:
    """JSON Lines: each line is an object or a list.

    The first well-formed line decides where the features are: in the only list of numbers, which
    may be nested, or else in all members; those inside objects are named by their paths, such as
    http.status. A line may also be a bare list.
    """

    has_comments = False
    n_header_lines = 0
    is_incomplete = False

    def find_layout(self, request: ReadRequest, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records, which the first well-formed record decides."""
        options, schema = request.read_options, request.schema
        if request.to_learn:
            require_one_role(options, where)
        layout = Layout(JSON, options, schema.label or options.label, key=schema.key or "",
                        is_list=schema.is_list and schema.key is not None,
                        element_names=schema.features)  # fmt: skip
        for line in lines:
            try:
                value = parse_json_record(line)
            except SampleError:
                continue
            is_bare_list = isinstance(value, list)
            record = {UNNAMED_LIST: value} if isinstance(value, list) else value
            if is_bare_list and schema.columns:
                continue  # a bare list is rejected when it is read
            try:
                first = _infer_layout(layout, request, record)
            except SampleError as error:
                raise SourceError(f"{where}: {error}") from None
            if _has_features(first, record):
                return replace(first, has_features=True)
        return layout


def _infer_layout(layout: Layout, request: ReadRequest, record: dict[str, Any]) -> Layout:
    """Return a layout with the label and the features in a record.

    Raises
    ------
    SampleError
        If several keys could have the same role.

    """
    options, schema = layout.read_options, request.schema
    paths = [path for path, member in iter_paths(record) if not isinstance(member, dict)]
    layout = replace(layout, label=_find_label(request, paths))
    if schema.key is not None:
        is_unnamed = UNNAMED_LIST in record and schema.is_list and schema.key not in record
        return replace(layout, key=UNNAMED_LIST) if is_unnamed else layout
    used = {layout.label, *options.roles, *options.categorical}
    lists = {
        name: flatten_list(member)
        for name, member in ((name.strip(), member) for name, member in record.items())
        if isinstance(member, list) and name not in used and is_vector(member)
    }
    if len(lists) > 1:
        raise SampleError(
            f"lists {quote_names(list(lists))} could each be the features: drop all but one with "
            "--ignore"
        )
    if not lists or schema.columns:
        return layout
    ((key, values),) = lists.items()
    if len(values) > request.max_elements:
        raise SampleError(f"list {key!r} has {len(values):,} values, more than a model may have")
    return replace(
        layout, key=key, is_list=True, element_names=_name_elements(schema, key, len(values))
    )


def _has_features(layout: Layout, record: dict[str, Any]) -> bool:
    """Whether a record has features, that is, values without a role."""
    used = {layout.label, *layout.read_options.roles}
    return any(
        member not in (None, []) and not isinstance(member, dict)
        for path, member in iter_paths(record)
        if path not in used
    )


def _find_label(request: ReadRequest, paths: list[str]) -> str | None:
    """Return the label key: the user's choice, else the first label's key, else a default."""
    options, known = request.read_options, request.schema.label
    if options.is_label_required and options.label is not None:
        return find_column(options.label, paths) or options.label
    if known is not None and (request.to_learn or known in paths):
        return known
    if options.label is not None and (label := find_column(options.label, paths)):
        return label
    if options.label is not None and request.to_learn:
        return options.label
    return find_default_label(options, paths)


def _name_elements(schema: Schema, key: str, n: int) -> tuple[str, ...]:
    """Return the names of the elements of a list of n values.

    Raises
    ------
    SampleError
        If the model has other features.

    """
    known = schema.features or None
    if schema.columns and key == UNNAMED_LIST:
        raise SampleError("it is a list, but the model's columns have names: write an object")
    if known is not None and key == UNNAMED_LIST:
        return known
    names = name_vector_elements(key, len(known) if known is not None else n)
    if known is not None and set(known) != set(names):
        raise SampleError(f"list {key!r} does not hold the model's features")
    return names
