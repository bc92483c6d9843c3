"""Notices for users about the columns of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from stream_perceptron.data.naming import (
    LABEL_NAMES,
    format_names,
    format_option_value,
    quote_names,
)
from stream_perceptron.data.values import has_currency_or_separators, spells_number

if TYPE_CHECKING:
    from stream_perceptron.data.layout import Layout
    from stream_perceptron.data.schema import Schema

UNKNOWN_COLUMNS = "unknown_columns"  # the code of the warning about columns that the model lacks
UNSEEN_LABEL = "unseen_label"  # the code of the warning about a label that no row has
FULL_MODEL = "full_model"  # the code of the warning about a full model
_MAX_SHOWN = 50  # characters of a string


class Notice(str):
    """A line of information about a source for the user.

    Attributes
    ----------
    is_warning
        Whether the notice is shown even with --quiet.
    code
        Identifies the notice to programs; None if no program needs to recognize the notice.
    remedies
        Options that do what the notice says, each to be copied to a shell.

    """

    is_warning = False
    code: str | None = None
    remedies: tuple[str, ...] = ()


def describe_columns(
    layout: Layout,
    schema: Schema,
    number_columns: Sequence[str],
    string_columns: Sequence[str],
    row_id_columns: Sequence[str],
) -> Iterator[Notice]:
    """Yield notices about the columns of a source.

    Parameters
    ----------
    layout, schema
        The layout of the rows, and the schema from the learned rows.
    numbers, strings
        The columns that have had numbers, and those that have had strings.
    row_id_columns
        The columns that seem to number the rows, and are new to the model.

    """
    options = layout.read_options
    scales = {
        layout.find_scale(name) for name in (number_columns if layout.key is None else [layout.key])
    }
    notes = ", standardized" if options.standardize else ""
    if scales - {1.0}:
        notes += f", scaled by {', '.join(map(format_scale, sorted(scales)))}"
    if number_columns:
        subject = f"{len(number_columns):,} column{'s' * (len(number_columns) != 1)} with numbers"
        if layout.is_list:
            subject = f"{len(number_columns):,} numbers from {layout.key!r}"
        yield Notice(f"{subject}{notes}: {format_names(number_columns)}")
    if string_columns:
        subject = f"{len(string_columns):,} column{'s' * (len(string_columns) != 1)} with strings"
        yield Notice(f"{subject}: {format_names(string_columns)}")
    if options.join is not None:
        yield Notice(f"labels may come later, in rows with the same {options.join}")
    if label := options.label or schema.label or layout.label:
        yield Notice(f"label: {label}{f' ({schema.label_type})' if schema.label_type else ''}")
    elif options.join is None and layout.columns:
        yield Notice(
            "no label: rows are only predicted, as no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    if options.weight is not None:
        yield Notice(f"sample weight: {options.weight}")
    if options.position:
        yield Notice(f"position: {', '.join(options.position)}")
    if ignored := [*options.ignore, *(f"{n} ({layout.types[n].name})" for n in layout.ignored)]:
        yield Notice(f"ignored: {format_names(ignored)}")
    if row_id_columns:
        predicate, pronoun = "looks like a row number, which spoils learning", "it"
        if len(row_id_columns) > 1:
            predicate, pronoun = "look like row numbers, which spoil learning", "them"
        text = f"{quote_names(row_id_columns)} {predicate}; to drop {pronoun}"
        yield build_warning(text, remedies=[f"--ignore {format_option_value(row_id_columns)}"])


def describe_first_string(column: str, text: str, had_number: bool, has_typed_columns: bool) -> str:
    """Return a notice on the first string of a column that may have been meant as a number.

    `has_typed_columns` says whether the format distinguishes numbers from strings. The notice is
    empty if there is nothing to report.
    """
    subject = f"{column!r} is {text[:_MAX_SHOWN]!r}: a category"
    if has_typed_columns and spells_number(text):
        return f"{subject}, because it is a string; convert it to learn it as a number"
    if has_currency_or_separators(text):
        return f"{subject}; remove signs and separators to learn it as a number"
    return f"{subject}, because it is not a number" if had_number else ""


def describe_ignored_list(column: str) -> str:
    """Return a notice on a list that has no features."""
    return f"{column!r} is a list that has no features: it is ignored"


def describe_full_column(column: str, max_features: int) -> str:
    """Return a notice on a column whose strings have added as many features as they may."""
    return (
        f"{column!r} has more than {max_features:,} different strings or words: "
        "new ones are ignored"
    )


def build_unused_columns_warning(names: Sequence[str], key: str) -> Notice:
    """Return a warning about columns or keys that are ignored because the features are a list."""
    verb = "are" if len(names) > 1 else "is"
    return build_warning(f"{quote_names(names)} {verb} ignored: the features are the list {key!r}")


def build_warning(text: str, code: str | None = None, remedies: Sequence[str] = ()) -> Notice:
    """Return a warning for the user."""
    notice = Notice(text)
    notice.is_warning, notice.code, notice.remedies = True, code, tuple(remedies)
    return notice


def build_max_weights_warning() -> Notice:
    """Return a warning about a model that has no room for new features."""
    text = "the model is full: new features are ignored; raise --max-weights to learn them"
    return build_warning(text, FULL_MODEL)


def build_unknown_columns_warning(names: Sequence[str]) -> Notice:
    """Return a warning about columns or keys that are ignored because the model lacks them."""
    predicate = "is not in the model and is ignored"
    if len(names) > 1:
        predicate = "are not in the model and are ignored"
    return build_warning(f"{quote_names(names)} {predicate}", UNKNOWN_COLUMNS)


def format_scale(scale: float) -> str:
    """Return a scale as text, such as 1/255."""
    return "1/255" if scale == 1 / 255 else f"{scale:g}"
