"""Find the layout of a table from its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_perceptron.data.layout import ColumnType, Kind, Layout
from stream_perceptron.data.naming import LABEL_NAMES, quote_names
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.text.records import COMMAS, Dialect
from stream_perceptron.encoders import name_vector_elements
from stream_perceptron.errors import SourceError


def find_table_layout(
    request: ReadRequest,
    options: ReadOptions,
    columns: Sequence[str],
    where: str,
    *,
    record_format: int,
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
    record_format
        CSV or ARROW, as in the compiled reader.
    has_column_names
        Whether the columns have names of their own, in a header.
    dialect
        The delimiter and the decimal separator of CSV.
    types
        The types that the source declares; None if it declares none.

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
    vectors = [name for name in free if name in types and types[name].kind is Kind.VECTOR]
    if categories := [name for name in vectors if name in options.categorical]:
        raise SourceError(
            f"{where}: {quote_names(categories)} cannot be in --categorical: it holds lists of "
            "numbers; leave it out, or ignore it with --ignore"
        )
    if len(vectors) > 1:
        raise SourceError(
            f"{where}: columns {quote_names(vectors)} could each be the features: drop all but "
            "one with --ignore"
        )
    required: Sequence[str] = schema.columns
    if has_column_names and not request.to_learn:  # only columns that have given features
        given = {*request.names, *request.string_columns}
        required = [name for name in (*required, *schema.further_columns) if name in given]
    absent = set(required).difference(columns, options.roles, {schema.label})
    missing = [name for name in required if name in absent]
    if missing and not vectors and (free or not options.has_join):
        added = [name for name in free if name not in schema.columns]
        has = f" and has {quote_names(added)} instead" if added else ""
        raise SourceError(f"{where}: it lacks columns of the model ({quote_names(missing)}){has}")
    if request.to_learn and not free and not options.has_join:
        raise SourceError(f"{where}: it has no columns to learn from")
    key = vectors[0] if vectors else ""
    element_names: tuple[str, ...] = ()
    if vectors and schema.features:
        element_names = (
            schema.features if schema.is_list else name_vector_elements(key, len(schema.features))
        )
    ignored = frozenset(name for name in free if types and types[name].kind is Kind.OTHER)
    return Layout(
        record_format, options, options.label, dialect, tuple(columns), types, ignored,
        key, bool(vectors), element_names, bool(free),
    )  # fmt: skip
