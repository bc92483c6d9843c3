"""The roles of columns, label first, found alike for CSV, Arrow and JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from stream_perceptron.data.naming import LABEL_NAMES, column_called, meant, names_in
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.vocabulary import doubled

_MOST_COLUMNS = 2**20


def named(asked: Selection, schema: Schema) -> Selection:
    """Return the selection with positions replaced by the names of columns.

    Positions refer to the first source with named columns; in others they may differ. JSON keys
    have no positions, except the label's.
    """
    label = asked.label and (schema.label or asked.label)
    if not schema.columns or schema.is_open:
        return replace(asked, label=label)

    def name_of(wanted: str) -> str:
        return column_called(wanted, schema.columns) or wanted

    return replace(
        asked,
        label=label,
        weight=asked.weight and name_of(asked.weight),
        join=asked.join and name_of(asked.join),
        ignore=tuple(map(name_of, asked.ignore)),
        position=tuple(map(name_of, asked.position)),
        one_hot=tuple(map(name_of, asked.one_hot)),
        dates=tuple(map(name_of, asked.dates)),
        words=tuple(map(name_of, asked.words)),
    )


def among(asked: Selection, names: Sequence[str], where: str, to_learn: bool) -> Selection:
    """Return the selection with the exact names of columns, and with the label column found.

    To predict, columns may be missing. If labels are joined to samples, the label may be in another
    source, and a source of labels alone has only these and the IDs.

    Raises
    ------
    SourceError
        If a column is missing, or several could be the label.

    """
    has_features = not asked.joins or not _has_labels_alone(asked, names)

    def find(
        role: str, wanted: str, to_keep: bool = False, is_sure: bool = False, is_id: bool = False
    ) -> str | None:
        found = column_called(wanted, names)
        is_required = to_learn and (has_features or is_id)
        if found is None and (is_required or to_keep or is_sure):
            keep = " to keep" if to_keep else ""
            raise SourceError(
                f"{where}: there is no {role}column {wanted!r}{keep} among {names_in(names)}"
                f"{meant(wanted, names)}"
            )
        return found

    def find_all(role: str, wanted: Sequence[str], to_keep: bool = False) -> tuple[str, ...]:
        found = [find(role, name, to_keep) for name in wanted]
        return tuple(name for name in found if name is not None)

    found = replace(
        asked,
        weight=None if asked.weight is None else find("weight ", asked.weight),
        join=None if asked.join is None else find("join ", asked.join, is_id=True),
        position=find_all("position ", asked.position),
        ignore=find_all("", asked.ignore),
        one_hot=find_all("text ", asked.one_hot),
        dates=find_all("date ", asked.dates),
        words=find_all("text ", asked.words),
        keep=find_all("", asked.keep, to_keep=True),
    )
    label = asked.label
    if label is not None:
        if asked.joins and not asked.is_label_sure:
            return replace(found, label=column_called(label, names))
        label = find("label ", label, is_sure=asked.is_label_sure)
        found = replace(found, label=label or asked.label)
    if to_learn:
        require_one_role(found, where)
    if label is not None:
        return found
    try:
        return replace(found, label=label_among(found, names))
    except SampleError as error:
        raise SourceError(f"{where}: columns {error}") from None


def require_one_role(asked: Selection, where: str) -> None:
    """Check that no column is encoded that has another role.

    Raises
    ------
    SourceError
        If one is.

    """
    roles: dict[str, Sequence[str | None]] = {
        "label": [asked.label], "weight": [asked.weight], "join": [asked.join],
        "position": asked.position, "ignore": asked.ignore,
    }  # fmt: skip
    for option, column in asked.encodings:
        for role, columns in roles.items():
            if column in columns:
                flag = option.replace("_", "-")
                raise SourceError(
                    f"{where}: column {column!r} cannot be in --{flag} and --{role}: choose one"
                )


def _has_labels_alone(asked: Selection, names: Sequence[str]) -> bool:
    """Whether a source has no columns of features, but labels."""
    label = asked.label and column_called(asked.label, names)
    wanted = (*asked.ignore, *asked.position, *filter(None, (asked.weight, asked.join)))
    others = {column_called(name, names) for name in wanted}
    free = [name for name in names if name not in {label, *others}]
    if asked.label is None:
        free = [name for name in free if name.strip().lower() not in LABEL_NAMES]
    return not free


def label_among(asked: Selection, names: Iterable[str]) -> str | None:
    """Return the one of these names that is a label's by default, if any.

    Raises
    ------
    SampleError
        If there are several.

    """
    others = asked.roles | asked.encoded
    called = {name: name.strip().lower() for name in names if name not in others}
    found = [name for name, text in called.items() if text in LABEL_NAMES]
    if len(found) > 1:
        found.sort(key=lambda name: LABEL_NAMES.index(called[name]))
        raise SampleError(
            f"{names_in(found)} could each be the label: choose with --label, and --ignore the "
            "others"
        )
    return found[0] if found else None


def distinct(names: Sequence[str], selection: Selection, where: str) -> list[str]:
    """Return the names of columns, with duplicates renamed if they are ignored.

    Examples
    --------
    >>> distinct(["a", "b", "a"], Selection(ignore=("3",)), "f.csv")
    ['a', 'b', 'a (column 3)']

    """
    if len(names) > _MOST_COLUMNS:
        raise SourceError(
            f"{where}: more than {_MOST_COLUMNS:,} columns ({len(names):,}): write rows as LIBSVM"
        )
    found = list(names)
    if len(set(names)) == len(names):
        return found
    for place in selection.ignore:
        name = column_called(place, names)
        if name is not None and name != place and names.count(name) > 1:
            i = int(place) - 1 if int(place) > 0 else int(place) + len(names)
            found[i] = f"{name} (column {i + 1})"
    for twice in doubled(found)[:1]:
        places = [i + 1 for i, other in enumerate(found) if other == twice]
        raise SourceError(
            f"{where}: columns {places[0]} and {places[1]} are both called {twice!r}: drop one "
            f"with --ignore {places[1]}"
        )
    return found


def names_by_place(selection: Selection, schema: Schema, n: int, where: str) -> list[str]:
    """Return names for n columns without names."""
    places = [f"column {i + 1}" for i in range(n)]
    asked = among(selection, places, where, to_learn=False)
    used = {*asked.roles, *asked.encoded}
    free = [name for name in places if name != asked.label and name not in used]
    known = schema.features or ()
    names = dict(zip(places, places, strict=True))
    if asked.label is not None:
        names[asked.label] = LABEL_NAMES[0]
    elif len(free) != len(known) and free:
        names[free.pop(0)] = LABEL_NAMES[0]
    features = known if len(free) == len(known) else [f"x{i}" for i in range(len(free))]
    names |= zip(free, features, strict=True)
    return list(names.values())


def present(value: Any, asked: Selection, is_text: bool) -> Any:
    """Return the value of a label column; None for a text that means a missing value."""
    blanks: Collection[str] = asked.blanks if is_text else asked.missing
    return None if isinstance(value, str) and value.strip() in blanks else value
