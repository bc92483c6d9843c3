"""Find the layout of a table: the names and roles of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stream_perceptron.data.layout import ColumnType, Format, Kind, Layout
from stream_perceptron.data.meaning.roles import require_one_role
from stream_perceptron.data.naming import (
    LABEL_NAMES,
    find_column,
    quote_names,
    suggest_similar_name,
)
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.encoders import name_vector_elements
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.vocabulary import find_duplicates

_MAX_COLUMNS = 2**20


def find_table_layout(
    request: ReadRequest,
    options: ReadOptions,
    columns: Sequence[str],
    source_name: str,
    *,
    record_format: Format,
    has_column_names: bool,
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
    source_name
        The name of the source, for messages.
    record_format
        How the rows are written.
    has_column_names
        Whether the columns have names of their own, in a header.
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
            f"{source_name}: there is no label column: none of {quote_names(columns)} is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; {advice}, or ask for predictions "
            "with -p"
        )
    used = {options.label, *options.columns_with_role}
    free = [name for name in columns if name not in used]
    ignored = frozenset(name for name in free if types and types[name].kind is Kind.OTHER)
    features = [name for name in free if name not in ignored and name not in options.categorical]
    vectors = [name for name in features if name in types and types[name].kind is Kind.VECTOR]
    if len(free) - len(ignored) == 1 and features and types and schema.is_list is not False:
        # A list in rows that have no other feature holds the features.
        vectors = [name for name in features if types[name].kind in (Kind.LIST, Kind.VECTOR)]
    if len(vectors) > 1:
        raise SourceError(
            f"{source_name}: columns {quote_names(vectors)} could each be the features: drop all "
            "but one with --ignore"
        )
    required: Sequence[str] = schema.columns
    if has_column_names and not request.to_learn:  # only columns that have given features
        given = {*request.names, *request.string_columns}
        required = [name for name in (*required, *schema.later_columns) if name in given]
    absent = set(required).difference(columns, options.columns_with_role, {schema.label})
    missing = [name for name in required if name in absent]
    if missing and not vectors and (free or not options.has_join):
        added = [name for name in free if name not in schema.columns]
        has = f" and has {quote_names(added)} instead" if added else ""
        raise SourceError(
            f"{source_name}: it lacks columns of the model ({quote_names(missing)}){has}"
        )
    if request.to_learn and not free and not options.has_join:
        raise SourceError(f"{source_name}: it has no columns to learn from")
    key = vectors[0] if vectors else None
    element_names: tuple[str, ...] = ()
    if key is not None and schema.element_names:
        element_names = (
            schema.element_names
            if schema.is_list
            else name_vector_elements(key, len(schema.element_names))
        )
    return Layout(
        record_format, options, options.label, tuple(columns), types, ignored, bool(free), key,
        element_names,
    )  # fmt: skip


def resolve_columns(
    request: ReadRequest,
    names: Sequence[str],
    source_name: str,
    to_learn: bool,
    has_names: bool = True,
) -> ReadOptions:
    """Return the read options with the exact names of columns and of the label column.

    Only the label can be given by its position, unless the columns have no names of their own.
    Columns may be missing if rows are only predicted. If labels are joined with samples, the label
    may be in another source, and a source may have only labels and IDs.

    Raises
    ------
    SourceError
        If a column is missing, or several could be the label.

    """
    options = request.read_options.join_names_with_commas(names)
    learns_features = to_learn and not (options.has_join and _has_no_features(options, names))

    def resolve_column(
        role: str, requested: str, is_required: bool = learns_features, purpose: str = ""
    ) -> str | None:
        resolved = find_column(requested, names, not has_names or role == "label ")
        if resolved is None and is_required:
            raise SourceError(
                f"{source_name}: there is no {role}column {requested!r}{purpose} among "
                f"{quote_names(names)}{suggest_similar_name(requested, names)}"
            )
        return resolved

    def resolve_all(role: str, requested: Sequence[str]) -> tuple[str, ...]:
        resolved = [resolve_column(role, name) for name in requested]
        return tuple(name for name in resolved if name is not None)

    resolved = replace(
        options,
        weight=None if options.weight is None else resolve_column("weight ", options.weight),
        join=None if options.join is None else resolve_column("join ", options.join, to_learn),
        position=resolve_all("position ", options.position),
        ignore=resolve_all("", options.ignore),
        categorical=resolve_all("", options.categorical),
        keep=tuple(
            str(resolve_column("", name, is_required=True, purpose=" to keep"))
            for name in options.keep
        ),
    )
    label = options.label
    if label is not None:
        if options.has_join and not options.is_label_required:
            return replace(resolved, label=find_column(label, names))
        label = resolve_column("label ", label, learns_features or options.is_label_required)
        resolved = replace(resolved, label=label or options.label)
    if to_learn:
        require_one_role(resolved, source_name)
    if label is not None:
        return resolved
    # A column that has given the model features is not the label, even if the label is missing.
    schema = request.schema
    known = {*schema.columns, *schema.later_columns, *request.string_columns, *request.names}
    known.discard(schema.label)
    try:
        new = [name for name in names if name not in known]
        return replace(resolved, label=find_default_label(resolved, new))
    except SampleError as error:
        raise SourceError(f"{source_name}: columns {error}") from None


def _has_no_features(options: ReadOptions, names: Sequence[str]) -> bool:
    """Whether a source has only columns with roles, such as the label, and no features."""
    label = options.label and find_column(options.label, names)
    requested = (*options.ignore, *options.position, *filter(None, (options.weight, options.join)))
    used_columns = {find_column(name, names) for name in requested}
    free = [name for name in names if name not in {label, *used_columns}]
    if options.label is None:
        free = [name for name in free if name.strip().lower() not in LABEL_NAMES]
    return not free


def find_default_label(options: ReadOptions, names: Iterable[str]) -> str | None:
    """Return the name of the default label column, such as target, or None.

    Raises
    ------
    SampleError
        If several names could be the label.

    """
    used_columns = {*options.columns_with_role, *options.categorical}
    lower_names = {name: name.strip().lower() for name in names if name not in used_columns}
    candidates = [name for name, text in lower_names.items() if text in LABEL_NAMES]
    if len(candidates) > 1:
        candidates.sort(key=lambda name: LABEL_NAMES.index(lower_names[name]))
        raise SampleError(
            f"{quote_names(candidates)} could each be the label: choose one with --label, and "
            "--ignore the others"
        )
    return candidates[0] if candidates else None


def require_distinct_names(names: Sequence[str], source_name: str) -> None:
    """Check that a table does not have too many columns, or two of one name.

    Raises
    ------
    SourceError
        If it does.

    """
    if len(names) > _MAX_COLUMNS:
        raise SourceError(
            f"{source_name}: more than {_MAX_COLUMNS:,} columns ({len(names):,}): write rows as "
            "LIBSVM"
        )
    for duplicate in find_duplicates(list(names))[:1]:
        first, second, *_ = (i for i, name in enumerate(names, 1) if name == duplicate)
        raise SourceError(
            f"{source_name}: columns {first} and {second} are both called {duplicate!r}: rename one"
        )


def name_columns(
    request: ReadRequest, n_columns: int, label_position: int, source_name: str
) -> list[str]:
    """Return names for n unnamed columns, based on their roles and the model's features."""
    schema, placeholders = request.schema, [f"column {i + 1}" for i in range(n_columns)]
    options = resolve_columns(request, placeholders, source_name, False, has_names=False)
    free = [
        name
        for name in placeholders
        if name != options.label and name not in options.columns_with_role
    ]
    known = schema.element_names
    names = dict(zip(placeholders, placeholders, strict=True))
    if options.label is not None:
        names[options.label] = schema.label or LABEL_NAMES[0]
    elif len(free) != len(known) and free:
        label = placeholders[label_position - 1]
        label = label if label in free else free[0]
        free.remove(label)
        names[label] = schema.label or LABEL_NAMES[0]
    features = known if len(free) == len(known) else [f"x{i}" for i in range(len(free))]
    names |= zip(free, features, strict=True)
    return list(names.values())
