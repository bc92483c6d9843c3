"""Options as dataclass fields, which define the Click options and hold their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import click
from click.core import ParameterSource

from .files import LocalFile, OutputFile
from .values import CLASSES, DELIMITER, NAMES, THRESHOLD, OptionType, make_list_type

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from stream_perceptron.live.thresholds import Thresholds

_DEFINITION = "definition"  # the key of a definition in the metadata of a field
COUNT = click.IntRange(1)
FILE = LocalFile()


@dataclass(eq=False, repr=False)
class OptionDefinition:
    """The definition of an option.

    `flags` has the form "-m/--model MODEL". Without MODEL, the option is a switch; a switch of the
    form "--a/--no-a" is None by default.
    """

    flags: str
    help: str
    type: Any
    default: object
    section: str  # the heading in the help
    is_common: bool  # whether the short --help lists it
    click_settings: dict[str, object]

    @property
    def flag(self) -> str:
        """The last spelling of the option, such as "--model"."""
        spelling = self.flags.partition(" ")[0]
        return spelling.split("/")[0 if "/--no-" in spelling else -1]

    def make_parameter(self, name: str) -> click.Parameter:
        """Return the Click option for the field of this name."""
        spelling, _, metavar = self.flags.partition(" ")
        names = [spelling] if "/--no-" in spelling else spelling.split("/")
        settings: dict[str, object] = {"help": self.help, **self.click_settings}
        if not metavar:
            settings |= {"is_flag": True, "default": self.default}
            return DefinedOption([*names, name], definition=self, **settings)
        settings |= {"type": self.type, "metavar": metavar}
        if "flag_value" in settings:
            settings["is_flag"] = False
        has_default = self.default not in (None, ())
        is_given_once = isinstance(self.type, LocalFile) or self.type in (NAMES, CLASSES)
        if is_given_once and "multiple" not in settings:
            settings |= {"multiple": True, "callback": _require_one}
        elif has_default:
            has_format = isinstance(self.type, OptionType)
            settings["default"] = self.type.format(self.default) if has_format else self.default
            settings["show_default"] = True
        return DefinedOption([*names, name], definition=self, **settings)

    def format_arguments(self, value: object) -> list[str]:
        """Return the arguments that set the option to a value; [] if the value needs none."""
        if value is None or value == () or (value is False and "/--no-" not in self.flags):
            return []
        if " " not in self.flags:
            return [self.flag if value else f"--no-{self.flag[2:]}"]
        format_value = self.type.format if isinstance(self.type, OptionType) else str
        values = list(value.items()) if isinstance(value, dict) else [value]
        return [text for item in values for text in (self.flag, format_value(item))]


def _require_one(
    ctx: click.Context, parameter: click.Parameter, values: tuple[object, ...]
) -> object:
    """Return the value of an option that may be given only once."""
    if len(values) > 1:
        raise click.UsageError(f"{parameter.opts[-1]} is given twice")
    return values[0] if values else None


class DefinedOption(click.Option):
    """A Click option with its definition, which the help needs."""

    def __init__(self, *args: Any, definition: OptionDefinition, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.definition = definition


def option(
    flags: str,
    help: str,  # noqa: A002, the name in Click
    type: object = None,  # noqa: A002
    default: object = None,
    *,
    section: str = "Other",
    is_common: bool = False,
    **click_settings: object,
) -> Any:
    """Return a field that defines an option; the parameters are those of `OptionDefinition`."""
    if " " not in flags and "/--no-" not in flags:
        default = False
    definition = OptionDefinition(flags, help, type, default, section, is_common, click_settings)
    return field(default=default, metadata={_DEFINITION: definition})


def argument(metavar: str, **click_settings: object) -> Any:
    """Return a field that defines an argument."""
    return field(default=None, metadata={_DEFINITION: {"metavar": metavar, **click_settings}})


def make_list_option(options: type[Options], name: str) -> Any:
    """Return a field for a variant of another command's option that takes a list of values."""
    definition = options.definition_of(name)
    default = None if definition.default is None else (definition.default,)
    return option(
        f"{definition.flag} A,B,...", definition.help, make_list_type(definition.type), default,
        section=definition.section, is_common=True,
    )  # fmt: skip


def merge_pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[tuple[str, float], ...]
) -> dict[str, float] | None:
    """Return the numbers given with a repeated option, by label, or None if there are none."""
    merged = dict(values)
    if len(merged) < len(values):
        raise click.UsageError(f"{parameter.opts[-1]} has two numbers for one label")
    return merged or None


class Rule(NamedTuple):
    """A rule about options that exclude or require each other.

    `find_violation` returns a truthy value if the options violate the rule; the value replaces the
    {} in the message.
    """

    message: str
    find_violation: Callable[[Any], object]


@dataclass(init=False, eq=False, repr=False)
class Options:
    """The options of a command.

    Subclasses are dataclasses without generated methods, because generating them would delay the
    start of each command.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    has_short_help: ClassVar[bool] = False  # whether --help shows only common options

    def __init__(self, given: frozenset[str], **values: object) -> None:
        self.given = given  # the names of the options that the command line sets
        vars(self).update(values)

    @classmethod
    def definition_of(cls, name: str) -> OptionDefinition:
        """Return the definition of an option by the name of its field."""
        definition: OptionDefinition = cls.__dataclass_fields__[name].metadata[_DEFINITION]
        return definition

    @classmethod
    def make_parameters(cls) -> Iterator[click.Parameter]:
        """Yield the Click parameters that the fields define."""
        for option_field in fields(cls):
            definition = option_field.metadata.get(_DEFINITION)
            if isinstance(definition, OptionDefinition):
                yield definition.make_parameter(option_field.name)
            elif definition is not None:
                yield click.Argument([option_field.name], **definition)

    @classmethod
    def from_context(cls, ctx: click.Context) -> Self:
        """Return the options from a command line.

        Raises
        ------
        click.UsageError
            If the options violate a rule.

        """
        default = ParameterSource.DEFAULT
        names = [option_field.name for option_field in fields(cls)]
        given = {name for name in names if ctx.get_parameter_source(name) is not default}
        # Click does not know the default of an option that may be given only once.
        values = {
            name: cls.__dataclass_fields__[name].default if value is None else value
            for name, value in ctx.params.items()
        }
        options = cls(given=frozenset(given), **values)
        for rule in options.rules:
            if violation := rule.find_violation(options):
                raise click.UsageError(rule.message.format(violation))
        return options

    def find_given_flag(self, *names: str) -> str | None:
        """Return the flag of the first of these options that is given, or None."""
        return next((self.definition_of(n).flag for n in names if n in self.given), None)

    def format_arguments(self, name: str, value: object) -> list[str]:
        """Return the arguments that set an option to a value."""
        return self.definition_of(name).format_arguments(value)


def complete_path(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _flatten_names(
    ctx: click.Context, parameter: click.Parameter, value: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Return the distinct names given with a repeatable option."""
    return tuple(dict.fromkeys(name for names in value for name in names))


_FORMATS = ("parquet", "arrow", "csv", "jsonl", "libsvm")


@dataclass(init=False, eq=False, repr=False)
class FormatOptions(Options):
    """The option for the format of sources."""

    file_format: str | None = option(
        f"--format {'|'.join(_FORMATS)}",
        "Format of SOURCE. Default: detected from its first bytes.",
        click.Choice(_FORMATS),
        section="Input",
    )


@dataclass(init=False, eq=False, repr=False)
class ReadingOptions(FormatOptions):
    """The options of commands that read samples, from stdin by default."""

    sources: tuple[str, ...] = argument(
        "[SOURCE]...",
        nargs=-1,
        callback=lambda ctx, parameter, value: value or ("-",),
        shell_complete=complete_path,
    )
    label: str | None = option(
        "--label NAME|N",
        "Label column: a name, or a position (-1 is the last). Default: the column named label, "
        "class, target or y, or the label column of a saved model.",
        section="Input",
        is_common=True,
    )
    ignore: tuple[str, ...] = option(
        "--ignore NAMES",
        "Columns to ignore. May be repeated.",
        NAMES,
        (),
        section="Input",
        is_common=True,
        multiple=True,
        callback=_flatten_names,
    )
    missing: tuple[str, ...] = option(
        "--missing TEXTS",
        "Texts that stand for a missing value, such as NA,?. Empty cells are always missing. "
        "Default: those of a saved model.",
        NAMES,
        (),
        section="Input",
        is_common=True,
    )
    delimiter: str | None = option(
        "--delimiter C",
        "CSV delimiter: a character, or the word tab or space. Default: that of a saved model, "
        "or the most frequent of comma, tab and semicolon.",
        DELIMITER,
        section="Input",
    )
    decimal: str = option(
        "--decimal .|,",
        "Decimal separator of numbers in CSV. Default: that of a saved model, or a point.",
        click.Choice([".", ","]),
        section="Input",
    )
    skip_rejected: bool = option(
        "--skip-bad",
        "Skip rows that cannot be used, and report them.",
        section="Input",
        is_common=True,
    )


@dataclass(init=False, eq=False, repr=False)
class ThresholdOption(Options):
    """The option for the thresholds of classes."""

    threshold: dict[str, float] | None = option(
        "--threshold LABEL=NUMBER",
        "Predict class LABEL if its score is at least NUMBER. If no class reaches its threshold, "
        "predict the one with the largest output among those without a threshold. May be repeated.",
        THRESHOLD,
        section="Output",
        multiple=True,
        callback=merge_pairs,
    )

    @property
    def thresholds(self) -> Thresholds | None:
        """The thresholds of classes, or None if there are none."""
        if not self.threshold:
            return None
        from stream_perceptron.live.thresholds import Thresholds

        return Thresholds(self.threshold)


_PREDICTION_FIELDS = ("row", "prediction", "score", "scores", "label", "learned")


@dataclass(init=False, eq=False, repr=False)
class PredictionOptions(ThresholdOption):
    """The options of commands that write predictions."""

    output: str | None = option(
        "-p/--predictions FILE|-",
        "Write a prediction for each sample, as JSON lines, or as CSV if FILE ends in .csv.",
        OutputFile(),
        section="Output",
        is_common=True,
    )
    keep: tuple[str, ...] = option(
        "--keep NAMES",
        "Columns to copy to the predictions, such as an ID.",
        NAMES,
        (),
        section="Output",
    )
    scores: bool = option(
        "--scores",
        "Write the score of every class. The scores sum to 1 and are not calibrated.",
        section="Output",
    )
    with_learned: bool = option(
        "--learned",
        "Write the number of samples that the model had learned before each prediction.",
        section="Output",
    )
    output_format: str | None = option(
        "--output-format json|csv",
        "Format of predictions. Default: inferred from the suffix of FILE.",
        click.Choice(["json", "csv"]),
        section="Output",
    )

    def find_prediction_field(self, *names: str) -> str | None:
        """Return the first of these names that is also a field of predictions, or None."""
        return next((name for name in names if name in _PREDICTION_FIELDS), None)


KEEP_NAMES_RULE = Rule(
    "--keep {}: predictions already have a field of that name",
    lambda o: o.find_prediction_field(*o.keep),
)


@dataclass(init=False, eq=False, repr=False)
class ModelArgument(Options):
    """The argument for the path of a saved model."""

    path: Path = argument("MODEL", type=FILE, required=True)


@dataclass(init=False, eq=False, repr=False)
class SavedModelOption(Options):
    """The option for the path of a saved model."""

    path: Path = option(
        "-m/--model MODEL", "Model saved by `learn`.", FILE, is_common=True, required=True
    )


@dataclass(init=False, eq=False, repr=False)
class JsonOption(Options):
    """The option for JSON output."""

    as_json: bool = option("--json", "Print JSON.", section="Output", is_common=True)


@dataclass(init=False, eq=False, repr=False)
class OverwriteOption(Options):
    """The option for replacing an existing file."""

    overwrite: bool = option("--overwrite", "Replace an existing file, regardless of its content.")
