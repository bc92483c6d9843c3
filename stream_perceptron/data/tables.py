"""Find the layout of a table from its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from stream_perceptron.data.layout import ColumnType, Kind, Layout
from stream_perceptron.data.naming import (
    LABEL_NAMES,
    find_column,
    name_vector_elements,
    quote_names,
)
from stream_perceptron.data.records import COMMAS, Dialect
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.errors import SourceError


def find_table_layout(
    request: Request,
    options: ReadOptions,
    columns: Sequence[str],
    where: str,
    *,
    form: int,
    has_column_names: bool,
    dialect: Dialect = COMMAS,
    types: Mapping[str, ColumnType] | None = None,
) -> Layout:
    """Return the layout of a table.

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
    form
        CSV or ARROW, as in the compiled reader.
    has_column_names
        Whether the columns have names of their own, in a header.
    dialect
        The delimiter and the decimal separator of CSV.
    types
        The types that the source declares; None if types are inferred from values.

    Raises
    ------
    SourceError
        If a column that the model uses is missing, or there is no label column to learn from.

    """
    schema, types = request.schema, types or {}
    if options.label is None and request.needs_label and (has_column_names or schema.columns):
        advice = "name it with --label" if schema.is_new else "rename it"
        raise SourceError(
            f"{where}: there is no label column: none of {quote_names(columns)} is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; {advice}, or ask for predictions "
            "with -p"
        )
    used = {options.label, *options.roles}
    free = [name for name in columns if name not in used]
    vectors = [name for name in free if name in types and types[name].kind is Kind.LIST]
    if len(vectors) > 1:
        raise SourceError(
            f"{where}: columns {quote_names(vectors)} could each be the features: drop all but "
            "one with --ignore"
        )
    unknown_columns: set[str] = set()
    if schema.features is not None and not schema.is_open:
        unknown_columns = set(free).difference(schema.features, schema.untyped, schema.texts or ())
        unknown_columns -= {*vectors, *options.encoded}
        if free or not options.has_join:
            _require_features(schema.features, free, vectors, types, where)
            _require_encoded(request, columns, where)
    elif not request.to_learn:
        names = set(request.names)
        unknown_columns = set(free) - names if names.intersection(free) else set()
    key = vectors[0] if vectors else ""
    members: tuple[str, ...] = ()
    if vectors and schema.features is not None:
        members = (
            schema.features if schema.is_list else name_vector_elements(key, len(schema.features))
        )
    return Layout(
        form, options, options.label, dialect, tuple(columns), types, has_column_names,
        frozenset(unknown_columns), key, bool(vectors), members,
    )  # fmt: skip


def _require_features(
    features: Sequence[str],
    free: Sequence[str],
    vectors: Sequence[str],
    types: Mapping[str, ColumnType],
    where: str,
) -> None:
    """Check that a table has the features of a model."""
    available = {name for name in free if name not in types or types[name].kind is Kind.NUMBER}
    if vectors:
        available = set(name_vector_elements(vectors[0], len(features)))
    missing_features = [name for name in features if name not in available]
    if missing_features:
        additional_features = [name for name in free if name in available and name not in features]
        has = f" and has {quote_names(additional_features)} instead" if additional_features else ""
        raise SourceError(
            f"{where}: it lacks some of the model's features ({quote_names(missing_features)}){has}"
        )


def _require_encoded(request: Request, columns: Sequence[str], where: str) -> None:
    """Check that a table has the columns that the model encodes."""
    for option, name in request.read_options.encodings:
        if find_column(name, columns) is None:
            flag = option.replace("_", "-")
            raise SourceError(f"{where}: it lacks the --{flag} column {name!r} that the model uses")


def raise_no_features(columns: Mapping[str, str], where: str, hint: str = "") -> NoReturn:
    """Raise the error for a table without features, given the types of its columns.

    Raises
    ------
    SourceError
        Always.

    """
    shown = ", ".join(f"{name!r} ({kind})" for name, kind in list(columns.items())[:5])
    raise SourceError(
        f"{where}: no usable features{f' among {shown}' if shown else ''}: use number or bool "
        "columns, one column of lists, bytes or images, or strings with --one-hot, --dates or "
        f"--words{hint}"
    )
