"""What the values of options are."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Number(click.ParamType):
    """A finite number, at least 0 or above it."""

    name = "number"

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not (0 < number < math.inf or (number == 0 and not self.positive)):
            range_ = "above 0" if self.positive else "of at least 0"
            self.fail(f"{value} is not a finite number {range_}.", param, ctx)
        return number


class Several(click.ParamType):
    """Values of one type with commas between them."""

    def __init__(self, kind: click.ParamType) -> None:
        self.kind = kind
        self.name = f"{kind.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        values = tuple(self.kind.convert(part.strip(), param, ctx) for part in value.split(","))
        return tuple(dict.fromkeys(values))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        items = self.kind.shell_complete(ctx, param, last)
        return [CompletionItem(f"{before}{comma}{item.value}") for item in items]


class Scale(click.ParamType):
    """A number, or a fraction such as 1/255."""

    name = "number|a/b"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            over, _, under = value.partition("/")
            scale = float(over) / (float(under) if under else 1.0)
        except (ValueError, ZeroDivisionError):
            scale = math.nan
        if not math.isfinite(scale) or scale == 0:
            self.fail(f"{value!r} is not a number or a fraction such as 1/255.", param, ctx)
        return scale


class Names(click.ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if not all(names) or len(set(names)) < len(names):
            self.fail(f"{value!r} is not a list of different names, as a,b,c.", param, ctx)
        return names


class Classes(Names):
    """Labels with commas between them, or a range such as 0-9."""

    name = "a,b,c|0-9"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, str) and (ends := re.fullmatch(r"(\d+)-(\d+)", value)):
            first, last = map(int, ends.groups())
            if not first < last < first + 1_000_000:
                self.fail(f"{value!r} is not a range such as 0-9.", param, ctx)
            return tuple(map(str, range(first, last + 1)))
        return super().convert(value, param, ctx)


class Interval(click.ParamType):
    """A number of rows, or a time such as 30s, 5m or 1h in seconds."""

    name = "n|time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        if isinstance(value, int | float):
            return value
        match = re.fullmatch(r"(\d{1,12})(s|m|h)?", value)
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is not a number of rows or a time such as 30s or 5m.", param, ctx)
        if match[2] is None:
            return int(match[1])
        return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]])


class ActivationName(click.ParamType):
    """The name of an activation; the library says why it refuses others."""

    name = "sigmoid|tanh|arctan|identity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from stream_perceptron.model.activations import get_activation

        try:
            return get_activation(value).name
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name) for name in self.name.split("|") if name.startswith(incomplete)
        ]
