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
    """A type with a function that parses a value, and one that formats it as it is typed.

    ValueErrors of `parse` become usage errors.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], Any],
        format_value: Callable[[Any], str] = str,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name, self._parse, self.format, self.choices = name, parse, format_value, choices
        self.are_several = False

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            # Click also converts defaults, which may be values already.
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        if not self.are_several:
            before, comma, last = "", "", incomplete
        fitting = [choice for choice in self.choices if choice.startswith(last)]
        return [CompletionItem(f"{before}{comma}{choice}") for choice in fitting]


def several(kind: OptionType) -> OptionType:
    """Return the type of distinct values separated by commas."""

    def parse(text: str) -> tuple[Any, ...]:
        values = (kind.convert(part.strip(), None, None) for part in text.split(","))
        return tuple(dict.fromkeys(values))

    def format_values(values: tuple[Any, ...]) -> str:
        return ",".join(map(kind.format, values))

    made = OptionType(f"{kind.name},...", parse, format_values, kind.choices)
    made.are_several = True
    return made


def _number(text: str, positive: bool) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None
    if not (0 < number < math.inf or (number == 0 and not positive)):
        range_ = "above 0" if positive else "of at least 0"
        raise ValueError(f"{text} is not a finite number {range_}.")
    return number


def _scale(text: str) -> float:
    over, _, under = text.partition("/")
    try:
        scale = float(over) / (float(under) if under else 1.0)
    except (ValueError, ZeroDivisionError):
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"{text!r} is not a number or a fraction such as 1/255.")
    return scale


def _format_scale(scale: float) -> str:
    """Return 1/255 as it is typed, and other numbers in full."""
    inverse = round(1 / scale)
    return f"1/{inverse}" if inverse > 1 and 1 / inverse == scale else _format_number(scale)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{text!r} is not a list of different names, as a,b,c.")
    return names


def _classes(text: str) -> tuple[str, ...]:
    ends = re.fullmatch(r"(\d+)-(\d+)", text)
    if ends is None:
        return _names(text)
    first, last = map(int, ends.groups())
    if not first < last < first + 1_000_000:
        raise ValueError(f"{text!r} is not a range such as 0-9.")
    return tuple(map(str, range(first, last + 1)))


def _class_weight(text: str) -> str | tuple[str, float]:
    label, equals, weight = text.rpartition("=")
    if text == "balanced":
        return text
    if not equals:
        raise ValueError(f"{text!r} is not a label and its weight such as yes=50, or balanced.")
    return label, _number(weight, positive=False)


def _threshold(text: str) -> tuple[str, float]:
    label, equals, number = text.rpartition("=")
    if not equals:
        raise ValueError(f"{text!r} is not a label and its threshold such as yes=0.2.")
    threshold = _number(number, positive=False)
    if threshold > 1:
        raise ValueError(f"{number} is not a threshold: choose a number from 0 to 1.")
    return label, threshold


def _format_class_weight(value: str | tuple[str, float]) -> str:
    return value if isinstance(value, str) else f"{value[0]}={_format_number(value[1])}"


def _interval(text: str) -> int | float:
    match = re.fullmatch(r"(\d{1,12})(s|m|h)?", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a number of rows or a time such as 30s or 5m.")
    seconds = {"s": 1, "m": 60, "h": 3600}
    return int(match[1]) if match[2] is None else float(int(match[1]) * seconds[match[2]])


def _format_interval(interval: int | float) -> str:
    return f"{interval}" if isinstance(interval, int) else f"{interval:.0f}s"


def _activation(text: str) -> str:
    from stream_perceptron.model.activations import get_activation

    return get_activation(text).name  # its error says why others are refused


def _delimiter(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(found) != 1 or not found.isascii() or found.isalnum() or found in '"\n\r.+-':
        raise ValueError(f"{text!r} is no delimiter: use a character such as | or ;, tab or space.")
    return found


def _format_delimiter(delimiter: str) -> str:
    return {"\t": "tab", " ": "space"}.get(delimiter, delimiter)


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"{text!r} is neither on nor off.")
    return text == "on"


def _format_number(number: float) -> str:
    return f"{number:g}" if float(f"{number:g}") == number else f"{number!r}"


def _format_names(names: Iterable[object]) -> str:
    return ",".join(map(str, names))


_ACTIVATIONS = ("sigmoid", "tanh", "arctan", "identity")

DELIMITER = OptionType("character", _delimiter, _format_delimiter)
SWITCH = OptionType("switch", _switch, lambda is_on: "on" if is_on else "off", ("on", "off"))
NUMBER = OptionType("number", lambda text: _number(text, positive=False), _format_number)
POSITIVE = OptionType("number", lambda text: _number(text, positive=True), _format_number)
SCALE = OptionType("number|a/b", _scale, _format_scale)
NAMES = OptionType("names", _names, _format_names)
CLASS_WEIGHT = OptionType("label=number|balanced", _class_weight, _format_class_weight)
THRESHOLD = OptionType("label=number", _threshold, _format_class_weight)
CLASSES = OptionType("a,b,c|0-9", _classes, _format_names)
INTERVAL = OptionType("n|time", _interval, _format_interval)  # rows, or seconds
ACTIVATION = OptionType("|".join(_ACTIVATIONS), _activation, choices=_ACTIVATIONS)
