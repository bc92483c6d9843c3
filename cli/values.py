"""Types of option values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class OptionType(click.ParamType):
    """A type with functions that parse a value and format it as users type it.

    A ValueError from `parse` becomes a usage error.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], object],
        format_value: Callable[[Any], str] = str,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name, self._parse, self.format, self.choices = name, parse, format_value, choices
        self.is_list = False

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        try:
            # Click also converts defaults, which may already be parsed.
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        if not self.is_list:
            before, comma, last = "", "", incomplete
        matches = [choice for choice in self.choices if choice.startswith(last)]
        return [CompletionItem(f"{before}{comma}{choice}") for choice in matches]


def make_list_type(item_type: OptionType) -> OptionType:
    """Return a type for lists of distinct values, separated by commas."""

    def parse(text: str) -> tuple[object, ...]:
        values = (item_type.convert(item.strip(), None, None) for item in text.split(","))
        return tuple(dict.fromkeys(values))

    def format_values(values: tuple[object, ...]) -> str:
        return ",".join(map(item_type.format, values))

    list_type = OptionType(f"{item_type.name},...", parse, format_values, item_type.choices)
    list_type.is_list = True
    return list_type


def _parse_number(text: str, allows_zero: bool) -> float:
    """Parse a finite number, at least 0 if `allows_zero`, else above 0."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None
    if not (0 < number < math.inf or (number == 0 and allows_zero)):
        requirement = "greater than or equal to 0" if allows_zero else "above 0"
        raise ValueError(f"{text} is not a finite number {requirement}.")
    return number


def _parse_scale(text: str) -> float:
    """Parse a finite factor other than 0: a number, or a fraction such as 1/255."""
    numerator, _, denominator = text.partition("/")
    try:
        scale = float(numerator) / (float(denominator) if denominator else 1.0)
    except (ValueError, ZeroDivisionError):
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(
            f"{text!r} is neither a finite nonzero number nor a fraction such as 1/255."
        )
    return scale


def _format_scale(scale: float) -> str:
    """Return a fraction such as 1/255 as users type it, and any other number in full."""
    if abs(scale) < 2**-53:
        return _format_number(scale)  # 1 / scale may be infinite
    denominator = round(1 / scale)
    is_exact = denominator > 1 and 1 / denominator == scale
    return f"1/{denominator}" if is_exact else _format_number(scale)


def _parse_names(text: str) -> tuple[str, ...]:
    """Parse distinct, non-empty names separated by commas."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{text!r} is not a list of different names such as a,b,c.")
    return names


def _parse_classes(text: str) -> tuple[str, ...]:
    """Parse class names: a list separated by commas, or a range such as 0-9."""
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None:
        return _parse_names(text)
    first, last = map(int, match.groups())
    if not first < last < first + 1_000_000:
        raise ValueError(f"{text!r} is not a range such as 0-9.")
    return tuple(map(str, range(first, last + 1)))


def _parse_class_weight(text: str) -> str | tuple[str, float]:
    """Parse "balanced", or a label with a weight of at least 0, such as yes=50."""
    label, equals, weight = text.rpartition("=")
    if text == "balanced":
        return text
    if not equals:
        raise ValueError(f"{text!r} is neither balanced nor a label with a weight, such as yes=50.")
    return label, _parse_number(weight, allows_zero=True)


def _parse_class_threshold(text: str) -> tuple[str, float]:
    """Parse a label with a threshold from 0 to 1, such as yes=0.2."""
    label, equals, number = text.rpartition("=")
    if not equals:
        raise ValueError(f"{text!r} is not a label with a threshold, such as yes=0.2.")
    threshold = _parse_number(number, allows_zero=True)
    if threshold > 1:
        raise ValueError(f"{number} is not a threshold: choose a number from 0 to 1.")
    return label, threshold


def _format_label_number(value: str | tuple[str, float]) -> str:
    return value if isinstance(value, str) else f"{value[0]}={_format_number(value[1])}"


def _parse_interval(text: str) -> int | float:
    """Parse a number of rows as an int, or a time such as 30s or 5m as a float in seconds."""
    match = re.fullmatch(r"(\d{1,12})(s|m|h)?", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a number of rows or a time such as 30s or 5m.")
    seconds = {"s": 1, "m": 60, "h": 3600}
    return int(match[1]) if match[2] is None else float(int(match[1]) * seconds[match[2]])


def _format_interval(interval: int | float) -> str:
    return f"{interval}" if isinstance(interval, int) else f"{interval:.0f}s"


def _parse_activation(text: str) -> str:
    from stream_perceptron.model.activations import get_activation

    return get_activation(text).name  # the error says why other names are invalid


def _parse_delimiter(text: str) -> str:
    """Return the delimiter that a character, or the word tab or space, stands for."""
    delimiter = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if (
        len(delimiter) != 1
        or not delimiter.isascii()
        or delimiter.isalnum()
        or delimiter in '"\n\r.+-'
    ):
        raise ValueError(
            f"{text!r} is not a delimiter: use a character such as | or ;, "
            "or the word tab or space."
        )
    return delimiter


def _format_delimiter(delimiter: str) -> str:
    return {"\t": "tab", " ": "space"}.get(delimiter, delimiter)


def _parse_switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"{text!r} is neither on nor off.")
    return text == "on"


def _format_number(number: float) -> str:
    return f"{number:g}" if float(f"{number:g}") == number else f"{number!r}"


def _format_names(names: Iterable[object]) -> str:
    return ",".join(map(str, names))


_ACTIVATIONS = ("sigmoid", "tanh", "arctan", "identity")

DELIMITER = OptionType("character", _parse_delimiter, _format_delimiter)
SWITCH = OptionType("switch", _parse_switch, lambda is_on: "on" if is_on else "off", ("on", "off"))
NUMBER = OptionType("number", lambda text: _parse_number(text, allows_zero=True), _format_number)
POSITIVE = OptionType("number", lambda text: _parse_number(text, allows_zero=False), _format_number)
SCALE = OptionType("number|a/b", _parse_scale, _format_scale)
NAMES = OptionType("names", _parse_names, _format_names)
CLASS_WEIGHT = OptionType("label=number|balanced", _parse_class_weight, _format_label_number)
THRESHOLD = OptionType("label=number", _parse_class_threshold, _format_label_number)
CLASSES = OptionType("a,b,c|0-9", _parse_classes, _format_names)
INTERVAL = OptionType("n|time", _parse_interval, _format_interval)  # rows, or seconds
ACTIVATION = OptionType("|".join(_ACTIVATIONS), _parse_activation, choices=_ACTIVATIONS)
