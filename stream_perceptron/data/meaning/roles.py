"""Resolve the roles of columns in the same way for CSV, Arrow and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stream_perceptron.data.naming import (
    LABEL_NAMES,
    find_column,
    quote_names,
    suggest_similar_name,
)
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.vocabulary import find_duplicates

_MAX_COLUMNS = 2**20
_COMBINABLE_ROLES = {"ignore", "join", "position"}  # roles whose columns are not features anyway


def resolve_positions(options: ReadOptions, schema: Schema) -> ReadOptions:
    """Return the read options with positions replaced by the names of columns.

    Positions refer to the first source with named columns; other sources may order their columns
    differently. JSON keys have no positions, except for the label's key.
    """
    label = options.label and (schema.label or options.label)
    if not schema.columns:
        return replace(options, label=label)

    def resolve_name(requested: str) -> str:
        return find_column(requested, schema.columns) or requested

    return replace(
        options,
        label=label,
        weight=options.weight and resolve_name(options.weight),
        join=options.join and resolve_name(options.join),
        ignore=tuple(map(resolve_name, options.ignore)),
        position=tuple(map(resolve_name, options.position)),
        categorical=tuple(map(resolve_name, options.categorical)),
    )


def resolve_columns(
    options: ReadOptions, names: Sequence[str], where: str, to_learn: bool, has_names: bool = True
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
    options = options.join_names(names)
    learns_features = to_learn and not (options.has_join and _has_no_features(options, names))

    def resolve_column(
        role: str, requested: str, is_required: bool = learns_features, purpose: str = ""
    ) -> str | None:
        resolved = find_column(requested, names, not has_names or role == "label ")
        if resolved is None and is_required:
            raise SourceError(
                f"{where}: there is no {role}column {requested!r}{purpose} among "
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
        require_one_role(resolved, where)
    if label is not None:
        return resolved
    try:
        return replace(resolved, label=find_default_label(resolved, names))
    except SampleError as error:
        raise SourceError(f"{where}: columns {error}") from None


def require_one_role(options: ReadOptions, where: str) -> None:
    """Check that no column has two roles.

    Raises
    ------
    SourceError
        If a column has two roles.

    """
    roles: dict[str, Sequence[str | None]] = {
        "label": [options.label], "weight": [options.weight], "join": [options.join],
        "position": options.position, "ignore": options.ignore,
        "categorical": options.categorical,
    }  # fmt: skip
    first_roles: dict[str | None, str] = {}
    for role, columns in roles.items():
        for column in columns:
            first = first_roles.setdefault(column, role)
            is_usable = first == role or {first, role} <= _COMBINABLE_ROLES
            if column is not None and not is_usable:
                raise SourceError(
                    f"{where}: column {column!r} cannot be in both --{role} and --{first}: choose "
                    "one"
                )


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
    used_columns = {*options.roles, *options.categorical}
    lower_names = {name: name.strip().lower() for name in names if name not in used_columns}
    candidates = [name for name, text in lower_names.items() if text in LABEL_NAMES]
    if len(candidates) > 1:
        candidates.sort(key=lambda name: LABEL_NAMES.index(lower_names[name]))
        raise SampleError(
            f"{quote_names(candidates)} could each be the label: choose one with --label, and "
            "--ignore the others"
        )
    return candidates[0] if candidates else None


def require_distinct_names(names: Sequence[str], where: str) -> None:
    """Check that a table does not have too many columns, or two of one name.

    Raises
    ------
    SourceError
        If it does.

    """
    if len(names) > _MAX_COLUMNS:
        raise SourceError(
            f"{where}: more than {_MAX_COLUMNS:,} columns ({len(names):,}): write rows as LIBSVM"
        )
    for duplicate in find_duplicates(list(names))[:1]:
        first, second, *_ = (i for i, name in enumerate(names, 1) if name == duplicate)
        raise SourceError(
            f"{where}: columns {first} and {second} are both called {duplicate!r}: rename one"
        )


def name_columns(
    read_options: ReadOptions, schema: Schema, n: int, label_position: int, where: str
) -> list[str]:
    """Return names for n unnamed columns, based on their roles and the model's features."""
    placeholders = [f"column {i + 1}" for i in range(n)]
    options = resolve_columns(read_options, placeholders, where, False, has_names=False)
    free = [name for name in placeholders if name != options.label and name not in options.roles]
    known = schema.features
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
