"""Notes to users about a source."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stream_perceptron.data.naming import (
    LABEL_NAMES,
    as_option,
    listed,
    names_in,
    shortened,
    tells_origin,
)
from stream_perceptron.data.number_texts import NumberFormat, find_number_format
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.encoders import is_date

# Texts that most likely mean a missing value.
_LIKE_MISSING = frozenset(
    {"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing"}
)

# Dates, times, addresses, numbers, ids, and texts of many words. Long texts match first: the search
# for words takes time quadratic in the length.
_NO_CATEGORY = re.compile(r"(?s).{41}|[0-9]{4}|[0-9][-/:.,][0-9]|^[+-]?[0-9]+$|(\S+\s+){4}|@|://")

_MIN_WORDS = 2.5  # on average in the texts of a column, for its words to be features
_MOST_READ = 1000  # characters of a text whose words are counted
_MAX_SHOWN = 50  # characters of a text
UNKNOWN = "not in the model"  # why a column is not used


class Note(str):
    """A line to users about a source.

    Attributes
    ----------
    is_warning
        Whether it is shown even with --quiet.
    names_unknown
        Whether it names columns that the model does not know.

    """

    is_warning = names_unknown = False


class Described(NamedTuple):
    """The used and ignored columns of a source."""

    features: Sequence[str]
    source: str = ""  # the features' place in a row
    scales: Sequence[float] = (1.0,)
    label: str | None = None
    ignored: Mapping[str, str] = {}  # by column: why it is not used
    # Ignored columns of texts, each with the texts of the first rows.
    texts: Mapping[str, Sequence[Any]] = {}
    # Ignored columns of other types, each with the option that would encode it.
    encodable: Mapping[str, str] = {}
    origins: Sequence[str] = ()  # columns that most likely identify rows
    hints: Sequence[str] = ()


def describe(selection: Selection, schema: Schema, found: Described) -> tuple[Note, ...]:
    """Return a few lines on the used and ignored columns of a source."""
    features = schema.in_order(found.features)
    title = f"{len(features):,} feature{'s' * (len(features) != 1)}{found.source}"
    if schema.is_open:
        title += " in the first row, more as they appear"
    if selection.standardize:
        title += ", standardized"
    if selection.joins and not features and not schema.is_open:
        title = "labels alone"
    if features:
        scales = ", ".join(map(fraction, found.scales))
        if scales != "1":
            title += f", scaled by {scales}" + (" (8-bit)" if selection.scale is None else "")
        title += f": {listed(features)}"
    lines: list[str] = [title]
    if selection.one_hot:
        lines.append(f"a feature for each value of {', '.join(selection.one_hot)}")
    if selection.dates:
        lines.append(f"features for hour, weekday, month and days of {', '.join(selection.dates)}")
    if selection.words:
        lines.append(f"a feature for each word of {', '.join(selection.words)}")
    if selection.join is not None:
        lines.append(f"labels may come later, in rows with the same {selection.join}")
    if found.label is None and selection.join is None:
        lines.append(
            "no label: rows are only predicted, as no column is called "
            f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name it with --label"
        )
    elif found.label is not None:
        kind = f" ({schema.label_type})" if schema.label_type else ""
        lines.append(f"label: {found.label}{kind}")
    if selection.weight is not None:
        lines.append(f"sample weight: {selection.weight}")
    if selection.position:
        lines.append(f"position: {', '.join(selection.position)}")
    unknown = [name for name, why in found.ignored.items() if why == UNKNOWN]
    ignored = [f"{name} ({why})" for name, why in found.ignored.items() if why != UNKNOWN]
    if ignored:
        which = listed(list(found.encodable))
        how = f"; to use {which}: {write_options(found.encodable)}" if found.encodable else ""
        lines.append(f"ignored: {shortened(ignored)}{how}")
    if unknown:
        lines.append(warn_of_unknown(unknown))
    if found.texts:
        suggested = {
            name: option
            for name, texts in found.texts.items()
            if (option := suggest_encoding(name, texts)) is not None
        }
        which = listed(list(suggested))
        if len(suggested) == len(found.texts):
            which = "it" if len(suggested) == 1 else "them"
        how = f"; to use {which}: {write_options(suggested)}" if suggested else ""
        lines.append(f"ignored (text): {listed(list(found.texts))}{how}")
    suspects = [name for name in features if tells_origin(name) or name in found.origins]
    if suspects:
        lines.append(
            warning(
                f"{names_in(suspects)} looks like a row number, which spoils learning: drop it "
                f"with --ignore {as_option(suspects)}"
            )
        )
    return tuple(line if isinstance(line, Note) else Note(line) for line in (*lines, *found.hints))


def suggest_encoding(name: str, texts: Sequence[Any]) -> str | None:
    """Return the option that most likely makes features of a column of texts, if any does.

    Examples
    --------
    >>> suggest_encoding("plan", ["basic", "basic", "pro"]), suggest_encoding("at", ["2024-03-05"])
    ('one_hot', 'dates')
    >>> suggest_encoding("note", ["paid late", "asks for a refund"]), suggest_encoding("id", ["u7"])
    ('words', None)

    """
    known = [text for text in map(str, texts) if text.strip()]
    is_expressible = "," not in name  # which separates names in an option
    is_number = find_number_format(known) is not None
    if not known or tells_origin(name) or is_number or not is_expressible:
        return None
    if all(map(is_date, known)):
        return "dates"
    n_words, n_distinct = sum(len(text[:_MOST_READ].split()) for text in known), len(set(known))
    are_sentences = n_words >= _MIN_WORDS * len(known)
    are_few = n_distinct <= max(5, len(known) // 4)
    if are_sentences and 2 * n_distinct > len(known):  # most are different
        are_few = False
    if are_few and not any(map(_NO_CATEGORY.search, known)):
        return "one_hot"
    return "words" if are_sentences else None


def write_options(encodings: Mapping[str, str]) -> str:
    """Return the options that encode columns, given by name, as text for a command line."""
    columns: dict[str, list[str]] = {}
    for name, option in encodings.items():
        columns.setdefault(option, []).append(name)
    return " ".join(
        f"--{option.replace('_', '-')} {as_option(names)}" for option, names in columns.items()
    )


def warning(text: str) -> Note:
    """Return a warning to users."""
    note = Note(f"warning: {text}")
    note.is_warning = True
    return note


def warn_of_unknown(names: Sequence[str]) -> Note:
    """Return a warning of columns or keys that are ignored, as the model does not know them."""
    verb = "is" if len(names) == 1 else "are"
    note = warning(f"{names_in(names)} {verb} not in the model and ignored")
    note.names_unknown = True
    return note


def if_missing(text: str) -> str:
    """Return advice for a text that most likely means a missing value; else empty."""
    if text.strip().lower() not in _LIKE_MISSING:
        return ""
    return f"; if that means a missing value: --missing {as_option([text.strip()])}"


def offer_missing(text: str) -> str:
    """Return advice for a text where a number is expected; empty if --missing cannot have it."""
    value = text.strip()
    if not value or "," in value or len(value) > _MAX_SHOWN:
        return ""
    return f"; to treat it as missing: --missing {as_option([value])}"


def missing_hints(first: Mapping[str, str]) -> list[str]:
    """Return hints at texts that most likely mean missing values, given columns' first texts."""
    return [
        f"hint: column {name!r} begins with {text!r}{hint}"
        for name, text in first.items()
        if (hint := if_missing(text))
    ]


def advise_on_text(
    key: str | None, name: str, text: str, advise: Callable[[str], str] = offer_missing
) -> str:
    """Return advice for a text in JSON that may be a number in quotes, or else by `advise`.

    `key` is that of the object with the features, if any.
    """
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text.strip()):
        return advise(text)
    if "." in name:  # may be a path
        return "; numbers have no quotes"
    path = "".join(f"[{json.dumps(part)}]" for part in (key, name) if part)
    return f"; numbers have no quotes: jq -c {shlex.quote(f'.{path} |= tonumber')} removes them"


def json_hints(key: str | None, texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return hints with advice on the texts under each name."""
    hints = []
    for name, values in texts.items():
        if number_format := find_number_format(values):
            hints.append(number_hint(name, number_format, number_format.jq_command(key, name)))
        elif advice := advise_on_text(key, name, values[0], if_missing):
            hints.append(f"hint: {name!r} is {values[0]!r}, a text{advice}")
    return hints


def number_hint(name: str, number_format: NumberFormat, command: str) -> str:
    """Return a hint at a column of texts that are numbers, with the command that converts them."""
    return f"hint: {name!r} has numbers with {number_format}; to convert them: {command}"


def no_label(where: str, names: Sequence[str], schema: Schema) -> str:
    """Return the message for a table without a label column."""
    how = "name it with --label" if schema.is_new else "rename it"
    return (
        f"{where}: there is no label column: none of {names_in(names)} is called "
        f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; {how}, or ask for predictions with -p"
    )


def fraction(scale: float) -> str:
    """Return a scale as people write it."""
    return "1/255" if scale == 1 / 255 else f"{scale:g}"
