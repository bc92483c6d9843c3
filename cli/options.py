"""Options that several commands share, and types of values."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .command import Option, Options
from .files import LocalFile

if TYPE_CHECKING:
    from stream_perceptron import FallingRate

F = TypeVar("F", bound=Callable[..., Any])

_AS_TRAINED = "as in training"
_PREDICTION_FIELDS = ("row", "prediction", "score", "scores", "label")

option = partial(click.option, cls=Option)
input_option = partial(option, section="Input")
output_option = partial(option, section="Output")
model_option = partial(option, section="Model")
advanced_option = partial(option, section="Advanced", is_rare=True)


def combine_options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator in place of several, the first of which is listed first in the help."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class ParsedType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A type whose function parses a string; its ValueError says what is wrong with the string."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        try:
            # Click also converts defaults, which are parsed already.
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def make_list_type(item_type: Any) -> ParsedType:
    """Return a type for lists of distinct values, separated by commas."""

    def parse(text: str) -> tuple[object, ...]:
        values = (item_type.convert(part.strip(), None, None) for part in text.split(","))
        return tuple(dict.fromkeys(values))

    return ParsedType(f"{item_type.name},...", parse)


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


def _parse_names(text: str) -> tuple[str, ...]:
    """Parse distinct names separated by commas, quoted as in CSV; an empty name must be quoted."""
    try:
        names = tuple(map(str.strip, next(csv.reader([text], skipinitialspace=True), ())))
    except csv.Error:  # a newline that is not in quotes
        names = ()
    if not names or not (all(names) or '""' in text) or len(set(names)) < len(names):
        raise ValueError(
            f"{text!r} is not a list of different names such as a,b,c, without spaces."
        )
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


def _parse_class_and_number(text: str, largest: float, example: str) -> tuple[str, float]:
    """Parse a label with a number from 0 to `largest`, such as yes=50."""
    label, equals, number = text.rpartition("=")
    if not equals:
        raise ValueError(f"{text!r} is not a label with a number, such as {example}.")
    with suppress(ValueError):
        if 0 <= float(number) <= largest and math.isfinite(float(number)):
            return label, float(number)
    expected = (
        "finite number of at least 0" if largest == math.inf else f"number from 0 to {largest:g}"
    )
    raise ValueError(f"{number!r} is not a {expected}, as in {example}.")


def _parse_class_weight(text: str) -> str | tuple[str, float]:
    """Parse "balanced", or a label with a weight of at least 0, such as yes=50."""
    return (
        text
        if text == "balanced"
        else _parse_class_and_number(text, math.inf, "yes=50, or balanced")
    )


def _parse_interval(text: str) -> int | float:
    """Parse a number of rows as an int, or a time such as 30s or 5m as a float in seconds."""
    match = re.fullmatch(r"(\d{1,12})(s|m|h)?", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a number of rows or a time such as 30s or 5m.")
    seconds = {"s": 1, "m": 60, "h": 3600}
    return int(match[1]) if match[2] is None else float(int(match[1]) * seconds[match[2]])


def _parse_activation(text: str) -> str:
    from stream_perceptron.model.activations import get_activation

    return get_activation(text).name  # the error says why other names are invalid


def _parse_delimiter(text: str) -> str:
    """Return the delimiter that a character, or the word tab or space, stands for."""
    delimiter = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    is_usual = len(delimiter) == 1 and delimiter.isascii() and not delimiter.isalnum()
    if not is_usual or delimiter in '"\n\r.+-':
        raise ValueError(
            f"{text!r} is not a delimiter: use a character such as | or ;, "
            "or the word tab or space."
        )
    return delimiter


def _parse_count(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise ValueError(f"{text!r} is not a whole number of at least 1.")


def _parse_number(text: str, must_be_positive: bool = False) -> float:
    with suppress(ValueError):
        number = float(text)
        if math.isfinite(number) and (number > 0 or (number == 0 and not must_be_positive)):
            return number
    raise ValueError(
        f"{text!r} is not a finite number {'above' if must_be_positive else 'of at least'} 0."
    )


def _parse_rate(text: str) -> float | FallingRate:
    """Parse a constant learning rate, or a falling one such as 0.5:0.1."""
    from stream_perceptron.model.rates import FallingRate

    rates = [_parse_number(part, must_be_positive=True) for part in text.split(":", 1)]
    return FallingRate(*rates) if len(rates) > 1 else rates[0]


COUNT = ParsedType("whole number", _parse_count)
NUMBER = ParsedType("number", _parse_number)
RATE = ParsedType("number|a:b", _parse_rate)
FILE = LocalFile()
SOURCE = click.Path(readable=False)  # any string; the shell completes paths
NAMES = ParsedType("names", _parse_names)
SCALE = ParsedType("number|a/b", _parse_scale)
ACTIVATION = ParsedType("activation", _parse_activation)
INTERVAL = ParsedType("n|time", _parse_interval)  # rows, or seconds


def _flatten_names(
    ctx: click.Context, parameter: click.Parameter, value: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Return the distinct names given with a repeatable option."""
    return tuple(dict.fromkeys(name for names in value for name in names))


def _merge_class_numbers(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str | tuple[str, float], ...]
) -> dict[str, float] | str | None:
    """Return the numbers given with a repeated option, by label, or "balanced", or None."""
    pairs = [value for value in values if not isinstance(value, str)]
    merged = dict(pairs)
    if len(merged) < len(pairs) or len(pairs) < len(values) > 1:
        problem = "has two numbers for one label" if len(merged) < len(pairs) else "is given twice"
        raise click.UsageError(f"{parameter.opts[-1]} {problem}")
    return "balanced" if len(pairs) < len(values) else merged or None


def make_names_option(flag: str, help: str, metavar: str = "NAMES", **settings: Any) -> Any:  # noqa: A002
    """Return an option of the section Input for names of columns; it may be repeated."""
    return input_option(
        flag, metavar=metavar, type=NAMES, multiple=True, callback=_flatten_names, help=help,
        **settings,
    )  # fmt: skip


def make_format_option(is_rare: bool = False) -> Callable[[F], F]:
    """Return the option for the format of sources."""
    formats = ["parquet", "arrow", "csv", "jsonl", "libsvm"]
    return input_option(
        "--format", "file_format", metavar="|".join(formats), type=click.Choice(formats),
        is_rare=is_rare, help="Format of SOURCE. Default: detected from its first bytes.",
    )  # fmt: skip


def make_column_options(
    hides_rare: bool = True, has_trained_model: bool = False
) -> Callable[[F], F]:
    """Return the options that say what the columns of sources mean, to learn or to predict them."""
    label = "the column named label, class, target or y"
    return combine_options(
        input_option(
            "--label", metavar="NAME|N",
            help="Label column: a name, or a position (-1 is the last). Default: "
            f"{_AS_TRAINED if has_trained_model else label}.",
        ),
        make_names_option("--ignore", "Columns to ignore."),
        input_option(
            "--skip-bad", is_flag=True, help="Skip rows that cannot be used, and report them."
        ),
        make_names_option(
            "--missing", metavar="STRINGS", is_rare=hides_rare,
            help="Strings that stand for a missing value, such as NA,?. Empty cells are always "
            f"missing.{f' Default: {_AS_TRAINED}.' if has_trained_model else ''}",
        ),
    )  # fmt: skip


def make_reading_options(
    hides_rare: bool = True, has_trained_model: bool = False
) -> Callable[[F], F]:
    """Return the options of commands that read samples, from stdin by default."""
    delimiter = "the most frequent of comma, tab, semicolon and |"
    decimal = "a comma where semicolons delimit the cells, otherwise a point"
    return combine_options(
        click.argument(
            "sources", metavar="[SOURCE]...", nargs=-1, type=SOURCE,
            callback=lambda ctx, parameter, value: value or ("-",),
        ),
        make_column_options(hides_rare, has_trained_model),
        input_option(
            "--delimiter", metavar="C", type=ParsedType("character", _parse_delimiter),
            is_rare=hides_rare,
            help="CSV delimiter: a character, or the word tab or space. Default: "
            f"{_AS_TRAINED if has_trained_model else delimiter}.",
        ),
        input_option(
            "--decimal", metavar=".|,", type=click.Choice([".", ","]), is_rare=hides_rare,
            help="Decimal separator of numbers in CSV. Default: "
            f"{_AS_TRAINED if has_trained_model else decimal}.",
        ),
        make_format_option(hides_rare),
    )  # fmt: skip


# Options for reading samples for a saved model.
reading_options = make_reading_options(hides_rare=False, has_trained_model=True)

# The options for models that learn from whole files.
common_training_options = combine_options(
    input_option(
        "--weight", metavar="NAME", is_rare=True,
        help="Column with sample weights; an empty one counts as 1.",
    ),
    input_option(
        "--scale", metavar="NUMBER|a/b", type=SCALE, is_rare=True,
        help="Multiply features by this number. Default: 1/255 for pixels, otherwise 1.",
    ),
    make_names_option(
        "--categorical", "Columns whose cells are all categories, such as ZIP codes."
    ),
    input_option(
        "--passes", metavar="N", type=COUNT, default=1, show_default=True,
        help="Read the sources N times.",
    ),
    model_option(
        "--classes", metavar="a,b,c|0-9", type=ParsedType("a,b,c|0-9", _parse_classes),
        multiple=True, callback=_flatten_names, is_rare=True, help="Labels known from the start.",
    ),
    model_option(
        "--class-weight", metavar="LABEL=NUMBER|balanced", multiple=True,
        callback=_merge_class_numbers, is_rare=True,
        type=ParsedType("label=number|balanced", _parse_class_weight),
        help="Multiply the sample weights of class LABEL by NUMBER; may be repeated. With "
        "balanced, rare classes have larger weights.",
    ),
    advanced_option(
        "--seed", metavar="N", type=int, default=0, show_default=True,
        help="Seed for the initial weights.",
    ),
    advanced_option(
        "--max-weights", metavar="N", type=COUNT, default=2**27, show_default=True,
        help="Maximum number of weights. Each label and each feature name counts as 32 weights. "
        "Features that do not fit are ignored; rows whose labels do not fit are rejected.",
    ),
    output_option(
        "-q", "--quiet", is_flag=True, help="Print no progress and no notices."
    ),
    output_option("--json", "as_json", is_flag=True, is_rare=True, help="Print JSON."),
)  # fmt: skip

training_options = combine_options(
    make_reading_options(),
    make_names_option(
        "--position", metavar="[PART,]OFFSET", is_rare=True,
        help="Columns with the partition and the offset of each row. Rows at or below the highest "
        "offset learned from their partition are skipped.",
    ),
    input_option("--limit", metavar="N", type=COUNT, help="Read at most N rows, labeled or not."),
    common_training_options,
)  # fmt: skip

standardize_option = input_option(
    "--standardize/--no-standardize", default=None, is_rare=True,
    help="Standardize each feature with its running mean and standard deviation, unless it has "
    "only been 0 or 1. Default: on for tables and JSON objects, unless all features are pixels or "
    "--scale is given.",
)  # fmt: skip
# The hyperparameters of a model.
hyperparameter_options = combine_options(
    standardize_option,
    model_option(
        "--lr", metavar="NUMBER|A:B", type=RATE,
        help="Learning rate: a number, or A:B for one that falls from A to B with the updates of "
        "each feature. Default: 0.5:0.1 for sigmoid, 0.01 for other activations.",
    ),
    model_option(
        "--epsilon", metavar="NUMBER", type=NUMBER, default=3e-6,
        help="Error threshold: a sample whose error is smaller leaves the weights unchanged. "
        "Default: 3e-6.",
    ),
    model_option(
        "--activation", metavar="sigmoid|tanh|arctan|identity", type=ACTIVATION, default="sigmoid",
        show_default=True, is_rare=True, help="Activation function.",
    ),
    advanced_option(
        "--init-range", metavar="NUMBER", type=NUMBER, default=0.03, show_default=True,
        help="Largest absolute value of the random initial weights.",
    ),
)  # fmt: skip


def check_training_options(options: Options) -> None:
    """Check that the options that `learn` and `sweep` have in common fit together."""
    from stream_perceptron.data.input.bytes import is_stream

    if "-" in options.sources and len(options.sources) > 1:
        raise click.UsageError("- (stdin) cannot be combined with other sources")
    if options.passes > 1 and any(map(is_stream, options.sources)):
        raise click.UsageError("stdin and pipes can be read only once: --passes needs files")


_parse_threshold = partial(_parse_class_and_number, largest=1.0, example="yes=0.2")


def make_threshold_option(is_rare: bool = False) -> Callable[[F], F]:
    """Return the option for the decision thresholds of classes."""
    return output_option(
        "--threshold", metavar="LABEL=NUMBER", multiple=True, callback=_merge_class_numbers,
        type=ParsedType("label=number", _parse_threshold), is_rare=is_rare,
        help="Predict class LABEL if its score is at least NUMBER. If no class reaches its "
        "decision threshold, predict the class with the largest output among those without a "
        "threshold. May be repeated.",
    )  # fmt: skip


def make_prediction_options(hides_rare: bool) -> Callable[[F], F]:
    """Return the options of commands that write predictions."""
    return combine_options(
        output_option(
            "-p", "--predictions", metavar="FILE|-", type=LocalFile(str, allow_dash=True),
            help="Write a prediction for each sample, as JSON lines, or as CSV if FILE ends in "
            ".csv.",
        ),
        output_option(
            "--keep", metavar="NAMES", type=NAMES, multiple=True, callback=_flatten_names,
            is_rare=hides_rare, help="Columns to copy to the predictions, such as an ID.",
        ),
        output_option(
            "--scores", is_flag=True, is_rare=hides_rare,
            help="Write the score of every class, in JSON. The scores sum to 1 and are not "
            "calibrated.",
        ),
        output_option(
            "--output-format", metavar="json|csv", type=click.Choice(["json", "csv"]),
            is_rare=hides_rare, help="Format of predictions. Default: inferred from the suffix of "
            "FILE.",
        ),
        make_threshold_option(hides_rare),
    )  # fmt: skip


def require_no_output_column(flag: str, *names: str) -> None:
    """Check that no column copied to the predictions has the name of one of their fields."""
    for name in names:
        if name in _PREDICTION_FIELDS:
            raise click.UsageError(f"{flag} {name}: predictions already have a field of that name")


model_argument = click.argument("model", metavar="MODEL", type=FILE)
saved_model_option = option(
    "-m", "--model", metavar="MODEL", type=FILE, required=True, section="Required",
    help="Model saved by `learn`.",
)  # fmt: skip
json_option = output_option("--json", "as_json", is_flag=True, help="Print JSON.")
overwrite_model_option = option(
    "--overwrite", is_flag=True, section="Checkpoint",
    help="Start over: replace MODEL and the output files, if they exist.",
)  # fmt: skip
overwrite_option = option(
    "--overwrite", is_flag=True, help="Replace the output file, whatever it contains."
)
