"""Notices for users about the columns of a source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from stream_perceptron.data.naming import (
    LABEL_NAMES,
    format_names,
    format_option_value,
    join_first,
    looks_like_row_id,
    quote_names,
    suggest_options,
)
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.values import is_formatted_number, looks_numeric
from stream_perceptron.encoders import is_date

# Strings that most likely mean a missing value.
_LIKELY_NULLS = frozenset({"na", "n/a", "nan", "null", "?", "-", "--", ".", "missing"})

# Matches dates, times, addresses, numbers, IDs and strings of many words. The length is checked
# first, because the search for words takes quadratic time.
_NOT_CATEGORICAL = re.compile(
    r"(?s).{41}|[0-9]{4}|[0-9][-/:.,][0-9]|^[+-]?[0-9]+$|(\S+\s+){4}|@|://"
)

_MIN_MEAN_WORDS = 2.5  # the minimum mean number of words per string for which --words is suggested
_MAX_COUNTED_CHARS = 1000  # how many characters at the start of a string are searched for words
_MAX_SHOWN = 50  # the maximum length of a string suggested for --missing
NOT_IN_MODEL = "not in the model"  # why a column is not used


UNKNOWN_COLUMNS = "unknown_columns"  # the code of the warning about columns that the model lacks


class Notice(str):
    """A line of information about a source for the user.

    Attributes
    ----------
    is_warning
        Whether the notice is shown even with --quiet.
    code
        Identifies the notice to programs; None if no program needs to recognize the notice.

    """

    is_warning = False
    code: str | None = None


class ColumnSummary(NamedTuple):
    """The used and ignored columns of a source."""

    features: Sequence[str]
    location: str = ""  # of the features in a row, such as " from 'pixels'"
    scales: Sequence[float] = (1.0,)
    label: str | None = None
    ignored: Mapping[str, str] = {}  # why each of these columns is not used
    # Ignored columns of strings, each with its strings in the first rows.
    texts: Mapping[str, Sequence[object]] = {}
    # Ignored columns of other types, each with the option that would encode it.
    encodable: Mapping[str, str] = {}
    row_ids: Sequence[str] = ()  # columns that most likely identify rows
    hints: Sequence[str] = ()


def describe_columns(
    read_options: ReadOptions, schema: Schema, summary: ColumnSummary
) -> tuple[Notice, ...]:
    """Return notices about the used and ignored columns of a source."""
    features = schema.sort_by_column(summary.features)
    lines = [
        _describe_features(read_options, schema, summary, features),
        *_describe_encodings(read_options),
        *_describe_roles(read_options, schema, summary.label),
        *_describe_ignored_columns(summary),
    ]
    suspects = [name for name in features if looks_like_row_id(name) or name in summary.row_ids]
    if suspects:
        predicate, pronoun = "looks like a row number, which spoils learning", "it"
        if len(suspects) > 1:
            predicate, pronoun = "look like row numbers, which spoil learning", "them"
        options = {f"to drop {pronoun}": f"--ignore {format_option_value(suspects)}"}
        lines.append(
            build_warning(f"{quote_names(suspects)} {predicate}; {suggest_options(options)}")
        )
    return tuple(
        line if isinstance(line, Notice) else Notice(line) for line in (*lines, *summary.hints)
    )


def _describe_features(
    read_options: ReadOptions, schema: Schema, summary: ColumnSummary, features: Sequence[str]
) -> str:
    """Return a line with the number of features, their scales and their names."""
    text = f"{len(features):,} feature{'s' * (len(features) != 1)}{summary.location}"
    if schema.is_open:
        text = f"{text} in the first row" if features else "features as they appear"
    if read_options.standardize:
        text += ", standardized"
    if read_options.has_join and not features and not schema.is_open:
        text = "only labels"
    if features:
        scales = ", ".join(map(format_scale, summary.scales))
        if scales != "1":
            text += f", scaled by {scales}"
        text += f": {format_names(features)}"
    return text


def _describe_encodings(read_options: ReadOptions) -> Iterator[str]:
    """Yield a line for each way in which columns are encoded."""
    if read_options.one_hot:
        yield f"a feature for each value of {', '.join(read_options.one_hot)}"
    if read_options.dates:
        yield f"features for hour, weekday, month and days of {', '.join(read_options.dates)}"
    if read_options.words:
        yield f"a feature for each word of {', '.join(read_options.words)}"


def _describe_roles(read_options: ReadOptions, schema: Schema, label: str | None) -> Iterator[str]:
    """Yield lines about the ID, the label, the weight and the offset of a row."""
    if read_options.join is not None:
        yield f"labels may come later, in rows with the same {read_options.join}"
    if label is not None:
        kind = f" ({schema.label_type})" if schema.label_type else ""
        yield f"label: {label}{kind}"
    elif read_options.join is None:
        yield (
            "no label: rows are only predicted, as no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    if read_options.weight is not None:
        yield f"sample weight: {read_options.weight}"
    if read_options.position:
        yield f"position: {', '.join(read_options.position)}"


def _describe_ignored_columns(summary: ColumnSummary) -> Iterator[str | Notice]:
    """Yield lines about the columns that are not used, with the options that would use them."""
    unknown = [name for name, reason in summary.ignored.items() if reason == NOT_IN_MODEL]
    ignored = [
        f"{name} ({reason})" for name, reason in summary.ignored.items() if reason != NOT_IN_MODEL
    ]
    if ignored:
        columns_text = format_names(list(summary.encodable))
        advice = (
            f"; {suggest_options({f'to use {columns_text}': format_options(summary.encodable)})}"
            if summary.encodable
            else ""
        )
        yield f"ignored: {join_first(ignored)}{advice}"
    if unknown:
        yield build_unknown_columns_warning(unknown)
    if summary.texts:
        suggested = {
            name: option
            for name, texts in summary.texts.items()
            if (option := suggest_encoding(name, texts)) is not None
        }
        columns_text = format_names(list(suggested))
        if len(suggested) == len(summary.texts):
            columns_text = "it" if len(suggested) == 1 else "them"
        options = {f"to use {columns_text}": format_options(suggested)}
        advice = f"; {suggest_options(options)}" if suggested else ""
        yield f"ignored (strings): {format_names(list(summary.texts))}{advice}"


def suggest_encoding(name: str, texts: Sequence[object]) -> str | None:
    """Return the option most suitable for encoding a column of strings as features, or None.

    Examples
    --------
    >>> suggest_encoding("plan", ["basic", "basic", "pro"]), suggest_encoding("at", ["2024-03-05"])
    ('one_hot', 'dates')
    >>> suggest_encoding("note", ["paid late", "asks for a refund"]), suggest_encoding("id", ["u7"])
    ('words', None)

    """
    nonblank_texts = [text for text in map(str, texts) if text.strip()]
    if not nonblank_texts or looks_like_row_id(name) or not is_expressible(name):
        return None
    if all(map(is_formatted_number, nonblank_texts)):
        return None
    if all(map(is_date, nonblank_texts)):
        return "dates"
    n_words, n_distinct = (
        sum(len(text[:_MAX_COUNTED_CHARS].split()) for text in nonblank_texts),
        len(set(nonblank_texts)),
    )
    are_sentences = n_words >= _MIN_MEAN_WORDS * len(nonblank_texts)
    has_few_values = n_distinct <= max(5, len(nonblank_texts) // 4)
    if are_sentences and 2 * n_distinct > len(nonblank_texts):  # most strings are distinct
        has_few_values = False
    if has_few_values and not any(map(_NOT_CATEGORICAL.search, nonblank_texts)):
        return "one_hot"
    return "words" if are_sentences else None


def is_expressible(name: str) -> bool:
    """Whether a message can suggest an option with this name; a comma would split the name."""
    return "," not in name and name.isprintable()


def format_options(encodings: Mapping[str, str]) -> str:
    """Return options for the command line, given the option that encodes each column."""
    columns: dict[str, list[str]] = {}
    for name, option in encodings.items():
        columns.setdefault(option, []).append(name)
    return " ".join(
        f"--{option.replace('_', '-')} {format_option_value(names)}"
        for option, names in columns.items()
    )


def build_warning(text: str, code: str | None = None) -> Notice:
    """Return a warning for the user."""
    notice = Notice(f"warning: {text}")
    notice.is_warning, notice.code = True, code
    return notice


def build_unknown_columns_warning(names: Sequence[str]) -> Notice:
    """Return a warning about columns or keys that are ignored because the model lacks them."""
    predicate = "is not in the model and is ignored"
    if len(names) > 1:
        predicate = "are not in the model and are ignored"
    return build_warning(f"{quote_names(names)} {predicate}", UNKNOWN_COLUMNS)


def advise_on_likely_null(text: str) -> str:
    """Return advice on a string that most likely means a missing value; "" for other strings."""
    return suggest_missing_option(text) if text.strip().lower() in _LIKELY_NULLS else ""


def suggest_missing_option(text: str) -> str:
    """Return advice on treating a string as missing; "" if --missing cannot express the string."""
    value = text.strip()
    if not value or not is_expressible(value) or len(value) > _MAX_SHOWN:
        return ""
    options = {"to treat it as missing": f"--missing {format_option_value([value])}"}
    return f"; {suggest_options(options)}"


def advise_on_text(text: str, advise: Callable[[str], str] = suggest_missing_option) -> str:
    """Return advice on a JSON string: on its quotes if it is a number, else from `advise`."""
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text.strip()):
        return "; numbers in JSON have no quotes"
    return advise(text)


def build_json_hints(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return hints about the strings under each name in JSON."""
    hints = []
    for name, values in texts.items():
        if advice := advise_on_text(values[0], advise_on_likely_null):
            hints.append(f"hint: {name!r} is {values[0]!r}, a string{advice}")
        elif hint := build_number_hint(name, values):
            hints.append(hint)
    return hints


def build_number_hint(name: str, texts: Sequence[str]) -> str | None:
    """Return a hint if a column's strings are numbers with currency signs, separators or units."""
    nonblank = [text for text in texts if text.strip()]
    if not nonblank or not all(map(is_formatted_number, nonblank)):
        return None
    example = next((text for text in nonblank if not looks_numeric(text)), None)
    if example is None:
        return None
    options = {"to leave it out": f"--ignore {format_option_value([name])}"}
    return (
        f"hint: column {name!r} has values like {example!r}, which are not numbers; remove "
        f"currency signs, separators and units; {suggest_options(options)}"
    )


def format_scale(scale: float) -> str:
    """Return a scale as text, such as 1/255."""
    return "1/255" if scale == 1 / 255 else f"{scale:g}"
