"""The context of a table's rows, from its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from stream_perceptron.data.cells import Kind
from stream_perceptron.data.describe import no_label
from stream_perceptron.data.interpreter.context import ColumnType, Context
from stream_perceptron.data.naming import column_called, names_in, vector_names
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request
from stream_perceptron.errors import SourceError


def build_table_context(
    request: Request,
    options: Selection,
    columns: Sequence[str],
    where: str,
    *,
    are_named: bool,
    is_text: bool = False,
    types: Mapping[str, ColumnType] | None = None,
) -> Context:
    """Return the context of the rows of a table.

    Parameters
    ----------
    request
        The request for the rows.
    options
        The read options, with the exact names of columns.
    columns
        The names of the columns.
    where
        The name of the source, for messages.
    are_named
        Whether the columns have names of their own, in a header.
    is_text
        Whether numbers are written as texts.
    types
        The types that the source declares; None if values decide.

    Raises
    ------
    SourceError
        If a column that the model uses is missing, or there is no label column to learn from.

    """
    schema, types = request.schema, types or {}
    if options.label is None and request.needs_label and (are_named or schema.columns):
        raise SourceError(no_label(where, columns, schema))
    used = {options.label, *options.roles}
    free = [name for name in columns if name not in used]
    vectors = [name for name in free if name in types and types[name].kind is Kind.LIST]
    if len(vectors) > 1:
        raise SourceError(
            f"{where}: columns {names_in(vectors)} could each be the features: drop all but "
            "one with --ignore"
        )
    unused: set[str] = set()
    if schema.features is not None and not schema.is_open:
        unused = set(free).difference(schema.features, schema.undecided, schema.texts or ())
        unused -= {*vectors}
        if free or not options.joins:
            _require_features(schema.features, free, vectors, types, where)
            _require_encoded(request, columns, where)
    elif not request.to_learn:
        known = [name for name in free if name in request.names.numbers]
        unused = set(free).difference(known or free)
    return Context(
        options, schema, request.to_learn, request.most_features, is_text=is_text,
        columns=tuple(columns), types=types, are_named=are_named, unused=frozenset(unused),
        vocabulary=request.names,
    )  # fmt: skip


def _require_features(
    features: Sequence[str],
    free: Sequence[str],
    vectors: Sequence[str],
    types: Mapping[str, ColumnType],
    where: str,
) -> None:
    """Check that a table has the features of a model."""
    present = {name for name in free if name not in types or types[name].kind is Kind.NUMBER}
    if vectors:
        present = set(vector_names(vectors[0], len(features)))
    lacking = [name for name in features if name not in present]
    if lacking:
        others = [name for name in free if name in present and name not in features]
        has = f" and has {names_in(others)} instead" if others else ""
        raise SourceError(f"{where}: it lacks {names_in(lacking)} of the model's features{has}")


def _require_encoded(request: Request, columns: Sequence[str], where: str) -> None:
    """Check that a table has the columns that a model encodes."""
    for option, name in request.selection.encodings:
        if column_called(name, columns) is None:
            flag = option.replace("_", "-")
            raise SourceError(f"{where}: it lacks the --{flag} column {name!r} of the model")


def refuse_features(columns: Mapping[str, str], where: str, hint: str = "") -> NoReturn:
    """Raise the error for a table without features, given the types of its columns.

    Raises
    ------
    SourceError
        Always.

    """
    shown = ", ".join(f"{name!r} ({kind})" for name, kind in list(columns.items())[:5])
    raise SourceError(
        f"{where}: no usable features{f' among {shown}' if shown else ''}: use number or bool "
        "columns, one column of lists, bytes or images, or texts with --one-hot, --dates or "
        f"--words{hint}"
    )
