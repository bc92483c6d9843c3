"""Options as fields of dataclasses: a field makes the Click option, and holds the typed value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import click
from click.core import ParameterSource

from .files import LocalFile, OutputFile
from .values import CLASSES, DELIMITER, NAMES, THRESHOLD, OptionType, several

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from stream_perceptron.live.thresholds import Thresholds

_DEFINITION = "definition"  # the key of a definition in the metadata of a field
COUNT = click.IntRange(1)
FILE = LocalFile()


@dataclass(eq=False, repr=False)
class Definition:
    """The definition of an option.

    `flags` are such as "-m/--model MODEL". Without a MODEL it is a switch; a switch such as
    "--a/--no-a" is None by default.
    """

    flags: str
    help: str
    type: Any
    default: Any
    section: str  # the heading in the help
    is_common: bool  # whether the help has it without --help-all
    click_settings: dict[str, Any]

    @property
    def flag(self) -> str:
        """The last spelling of the option, such as "--model"."""
        spelling = self.flags.partition(" ")[0]
        return spelling.split("/")[0 if "/--no-" in spelling else -1]

    def make_parameter(self, name: str) -> click.Parameter:
        """Return the Click option of this name."""
        spelling, _, metavar = self.flags.partition(" ")
        names = [spelling] if "/--no-" in spelling else spelling.split("/")
        settings: dict[str, Any] = {"help": self.help, **self.click_settings}
        if not metavar:
            settings |= {"is_flag": True, "default": self.default}
            return ShownOption([*names, name], definition=self, **settings)
        settings |= {"type": self.type, "metavar": metavar}
        if "flag_value" in settings:
            settings["is_flag"] = False
        has_default = self.default not in (None, ())
        is_named = isinstance(self.type, LocalFile) or self.type in (NAMES, CLASSES)
        if is_named and "multiple" not in settings:
            settings |= {"multiple": True, "callback": _require_one}
        elif has_default:
            is_typed = isinstance(self.type, OptionType)
            settings["default"] = self.type.format(self.default) if is_typed else self.default
            settings["show_default"] = True
        return ShownOption([*names, name], definition=self, **settings)

    def format_arguments(self, value: Any) -> list[str]:
        """Return the arguments that give the option a value; none if it has none."""
        if value is None or value == () or (value is False and "/--no-" not in self.flags):
            return []
        if " " not in self.flags:
            return [self.flag if value else f"--no-{self.flag[2:]}"]
        format_value = self.type.format if isinstance(self.type, OptionType) else str
        values = list(value.items()) if isinstance(value, dict) else [value]
        return [text for each in values for text in (self.flag, format_value(each))]


def _require_one(ctx: click.Context, parameter: click.Parameter, values: tuple[Any, ...]) -> Any:
    """Return the only value of an option, of which a second one would replace the first."""
    if len(values) > 1:
        raise click.UsageError(f"{parameter.opts[-1]} is given twice")
    return values[0] if values else None


class ShownOption(click.Option):
    """An option with its definition, for the help."""

    def __init__(self, *args: Any, definition: Definition, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.definition = definition


def option(
    flags: str,
    help: str,  # noqa: A002, as click calls it
    type: Any = None,  # noqa: A002
    default: Any = None,
    *,
    section: str = "Other",
    is_common: bool = False,
    **click_settings: Any,
) -> Any:
    """Return a field that is an option; the parameters are those of a `Definition`."""
    if " " not in flags and "/--no-" not in flags:
        default = False
    definition = Definition(flags, help, type, default, section, is_common, click_settings)
    return field(default=default, metadata={_DEFINITION: definition})


def argument(metavar: str, **click_settings: Any) -> Any:
    """Return a field that is an argument."""
    return field(default=None, metadata={_DEFINITION: {"metavar": metavar, **click_settings}})


def several_of(options: type[Options], name: str) -> Any:
    """Return a field that is the option of another command with several values."""
    of_one = options.definition_of(name)
    default = None if of_one.default is None else (of_one.default,)
    return option(
        f"{of_one.flag} A,B,...", of_one.help, several(of_one.type), default,
        section=of_one.section, is_common=True,
    )  # fmt: skip


def merge_pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[tuple[str, float], ...]
) -> dict[str, float] | None:
    """Return the numbers of a repeated option by their labels; None if there are none."""
    merged = dict(values)
    if len(merged) < len(values):
        raise click.UsageError(f"{parameter.opts[-1]} has two numbers for one label")
    return merged or None


class Rule(NamedTuple):
    """Options that exclude or need others.

    `is_broken` returns a true value if the rule is broken; if that is a text, it replaces the {} in
    the message.
    """

    message: str
    is_broken: Callable[[Any], object]


@dataclass(init=False, eq=False, repr=False)
class Options:
    """The options of a command.

    Subclasses are dataclasses without generated methods, which would lengthen the start of each
    command.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    has_short_help: ClassVar[bool] = False  # whether --help shows only common options

    def __init__(self, given: frozenset[str], **values: Any) -> None:
        self.given = given  # the names of the options that the command line sets
        vars(self).update(values)

    @classmethod
    def definition_of(cls, name: str) -> Definition:
        """Return the definition of an option by the name of its field."""
        definition: Definition = cls.__dataclass_fields__[name].metadata[_DEFINITION]
        return definition

    @classmethod
    def make_parameters(cls) -> Iterator[click.Parameter]:
        """Yield the Click parameters that the fields define."""
        for each in fields(cls):
            definition = each.metadata.get(_DEFINITION)
            if isinstance(definition, Definition):
                yield definition.make_parameter(each.name)
            elif definition is not None:
                yield click.Argument([each.name], **definition)

    @classmethod
    def from_context(cls, ctx: click.Context) -> Self:
        """Return the options of a command line.

        Raises
        ------
        click.UsageError
            If they break a rule.

        """
        default = ParameterSource.DEFAULT
        names = [each.name for each in fields(cls)]
        given = {name for name in names if ctx.get_parameter_source(name) is not default}
        # Click has no default for an option that may be given only once.
        values = {
            name: cls.__dataclass_fields__[name].default if value is None else value
            for name, value in ctx.params.items()
        }
        options = cls(given=frozenset(given), **values)
        for rule in options.rules:
            if found := rule.is_broken(options):
                raise click.UsageError(rule.message.format(found))
        return options

    def first_given(self, *names: str) -> str | None:
        """Return the flag of the first of these options that the command line sets."""
        return next((self.definition_of(n).flag for n in names if n in self.given), None)

    def format_arguments(self, name: str, value: Any) -> list[str]:
        """Return the arguments that give an option a value."""
        return self.definition_of(name).format_arguments(value)


def complete_path(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Tell the shell to complete a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _join_names(
    ctx: click.Context, parameter: click.Parameter, value: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Return the distinct names of a repeatable option."""
    return tuple(dict.fromkeys(name for names in value for name in names))


_FORMATS = ("parquet", "arrow", "csv", "jsonl", "libsvm")


@dataclass(init=False, eq=False, repr=False)
class FormatOptions(Options):
    """The option of commands that read sources."""

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
        "Label column: a name, or a position with -1 the last. Default: label, class, target or y; "
        "of a saved model, the one that it learned.",
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
        callback=_join_names,
    )
    missing: tuple[str, ...] = option(
        "--missing TEXTS",
        "Texts that mean a missing value, such as NA,?. Blank always does. Default: as learned.",
        NAMES,
        (),
        section="Input",
        is_common=True,
    )
    delimiter: str | None = option(
        "--delimiter C",
        "Character between the cells of CSV, or tab or space. Default: as learned, or the most "
        "frequent of comma, tab and semicolon.",
        DELIMITER,
        section="Input",
    )
    decimal: str = option(
        "--decimal .|,",
        "Character before the decimals of numbers in CSV. Default: as learned, or a point.",
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
    """The option of commands that predict."""

    threshold: dict[str, float] | None = option(
        "--threshold LABEL=NUMBER",
        "Predict a class if its score reaches this; may be repeated. Other samples have the class "
        "with the largest output among those without a threshold.",
        THRESHOLD,
        section="Output",
        multiple=True,
        callback=merge_pairs,
    )

    @property
    def thresholds(self) -> Thresholds | None:
        """The thresholds of classes; None if there are none."""
        if not self.threshold:
            return None
        from stream_perceptron.live.thresholds import Thresholds

        return Thresholds(self.threshold)


_PREDICTION_FIELDS = ("row", "prediction", "probability", "probabilities", "label", "learned")


@dataclass(init=False, eq=False, repr=False)
class PredictionOptions(ThresholdOption):
    """The options of commands that write predictions."""

    output: str | None = option(
        "-p/--predictions FILE|-",
        "Write a prediction for each sample: JSON lines, or CSV if FILE ends in .csv.",
        OutputFile(),
        section="Output",
        is_common=True,
    )
    keep: tuple[str, ...] = option(
        "--keep NAMES",
        "Columns to copy to the predictions, such as an id.",
        NAMES,
        (),
        section="Output",
    )
    probabilities: bool = option(
        "--probabilities",
        "Write the score of every class: not calibrated, they sum to 1.",
        section="Output",
    )
    with_learned: bool = option(
        "--learned", "Write how many samples the model had learned.", section="Output"
    )
    output_format: str | None = option(
        "--output-format json|csv",
        "Format of predictions. Default: by FILE's suffix.",
        click.Choice(["json", "csv"]),
        section="Output",
    )

    def find_prediction_field(self, *names: str) -> str | None:
        """Return the first of these columns whose name a field of predictions already has."""
        return next((name for name in names if name in _PREDICTION_FIELDS), None)


KEPT_NAMES_ARE_NEW = Rule(
    "--keep {}: predictions already have a field of that name",
    lambda o: o.find_prediction_field(*o.keep),
)


@dataclass(init=False, eq=False, repr=False)
class ModelArgument(Options):
    """The argument of commands about a saved model."""

    path: Path = argument("MODEL", type=FILE, required=True)


@dataclass(init=False, eq=False, repr=False)
class SavedModelOption(Options):
    """The option of commands that use a saved model."""

    path: Path = option(
        "-m/--model MODEL", "Model saved by `learn`.", FILE, is_common=True, required=True
    )


@dataclass(init=False, eq=False, repr=False)
class JsonOption(Options):
    """The option of commands that print figures."""

    as_json: bool = option("--json", "Print JSON.", section="Output", is_common=True)


@dataclass(init=False, eq=False, repr=False)
class OverwriteOption(Options):
    """The option of commands that write a file."""

    overwrite: bool = option("--overwrite", "Replace an existing file, whatever it holds.")
