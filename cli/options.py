"""Option types, and the command class that turns errors into one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import end_at_interrupts
from .files import LocalFile
from .printable import OneLineError, OneLineUsageError
from .values import CLASSES, DELIMITER, NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from stream_perceptron import LiveModel

F = TypeVar("F", bound=Callable[..., Any])


class SectionOption(click.Option):
    """An option that the help lists under its own heading."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def option_in(section: str) -> Callable[..., Callable[[F], F]]:
    """Return `option` for the options under one heading."""
    return partial(option, section=section)


def option(
    flags: str,
    help: str,  # noqa: A002, as click calls it
    type: Any = None,  # noqa: A002
    default: Any = None,
    name: str | None = None,
    section: str = "Other",
    **more: Any,
) -> Callable[[F], F]:
    """Return `click.option` for flags such as "-m/--model MODEL"; without a MODEL, a switch.

    A switch such as "--a/--no-a" is None by default. `name` is the parameter's name if it differs
    from the flag's; `more` goes to click.
    """
    spelled, _, metavar = flags.partition(" ")
    goes_both_ways = "/--no-" in spelled
    names = [spelled] if goes_both_ways else spelled.split("/")
    names += [name] if name else []
    if metavar:
        more |= {"type": type, "metavar": metavar}
        if default is not None:  # click would count None as the value of a required option
            more["default"] = default
        more["show_default"] = default not in (None, (), "-")
        if "flag_value" in more:
            more["is_flag"] = False
    else:
        more |= {"is_flag": True} | ({"default": None} if goes_both_ways else {})
    return click.option(*names, cls=SectionOption, section=section, help=help, **more)


def in_order(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that applies several, as if they stood one below the other."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


class Command(click.Command):
    """A command whose errors are one line on stderr, unless --traceback is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--traceback"], is_flag=True, help="Show the Python traceback of an error."
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with usage_errors_on_one_line(ctx):
            given = list(args)
            try:
                rest = super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                from difflib import get_close_matches

                # Less similar options mean something else.
                close = get_close_matches(error.option_name, error.possibilities or [], 1, 0.8)
                raise click.NoSuchOption(error.option_name, None, close, ctx) from None
            _, _, order = self.make_parser(ctx).parse_args(given)
            for parameter in self.params:
                is_one = isinstance(parameter.type, LocalFile) or parameter.type in (NAMES, CLASSES)
                if is_one and not parameter.multiple and order.count(parameter) > 1:
                    raise click.UsageError(f"{parameter.opts[-1]} is given twice")
            return rest

    def invoke(self, ctx: click.Context) -> Any:
        show_all = ctx.params.pop("traceback")
        end_at_interrupts(at_once=False)
        try:
            with usage_errors_on_one_line(ctx):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(141)
        except Exception as error:
            if show_all or not (_is_for_users(error) or isinstance(error, MemoryError)):
                raise
            is_full = isinstance(error, MemoryError)
            raise OneLineError("out of memory" if is_full else describe_error(error)) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Other"), []).append(record)
        # Rarely needed sections come last.
        for name in ("Advanced", "Other"):
            if name in sections:
                sections[name] = sections.pop(name)
        if len(sections) == 1:
            sections = {"Options": sections.popitem()[1]}
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


@contextmanager
def usage_errors_on_one_line(ctx: click.Context) -> Iterator[None]:
    """Turn usage errors into one line that points to the help."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        raise OneLineUsageError(f"{message}; see {ctx.command_path} --help") from None


@contextmanager
def bad_parameters_are_usage_errors() -> Iterator[None]:
    """Turn the library's plain ValueErrors, which concern parameters, into usage errors."""
    try:
        yield
    except ValueError as error:
        if _is_for_users(error):
            raise
        raise click.UsageError(str(error)) from None


def silence_stdout() -> None:
    """Redirect stdout to /dev/null, so that flushing a closed pipe at exit raises no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require_runnable(live: LiveModel, path: Path) -> None:
    """Check that the model in a file can learn and predict without River."""
    from stream_perceptron import CheckpointError

    try:
        live.require_runnable()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Redirect stderr to /dev/null meanwhile, also for libraries in C."""
    sys.stderr.flush()
    number = sys.stderr.fileno()
    kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)


def _is_for_users(error: Exception) -> bool:
    from stream_perceptron import StreamPerceptronError

    return isinstance(error, StreamPerceptronError | OSError)


def describe_error(error: Exception) -> str:
    """Return the message of an error for users."""
    if isinstance(error, OSError) and error.strerror:
        if error.errno == errno.EBADF and error.filename in (None, "stdout"):
            return "stdout is closed"
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


def sources_argument(command: F) -> F:
    """Add the argument SOURCE; the default is stdin."""
    argument = click.argument(
        "sources",
        metavar="[SOURCE]...",
        nargs=-1,
        callback=lambda ctx, parameter, value: value or ("-",),
        shell_complete=paths,
    )
    return argument(command)


def paths(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tell the shell to complete a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


overwrite_option = option("--overwrite", "Replace an existing file, whatever it holds.")


def format_option(section: str = "Other") -> Callable[[F], F]:
    """Return the option for the format of the sources."""
    formats = ("parquet", "arrow", "csv", "jsonl", "libsvm")
    return option(
        f"--format {'|'.join(formats)}",
        "Format of SOURCE. Default: detected from its first bytes.",
        click.Choice(formats),
        name="file_format",
        section=section,
    )


def reading_options(command: F) -> F:
    """Add the options for a source that differs from what the model learned."""
    return in_order(
        option(
            "--label NAME|N",
            "Label column. Default: the one that the model learned, or label, class, target or y.",
        ),
        option("--missing TEXTS", "Texts that mean a missing value. Default: as learned.", NAMES),
        option(
            "--delimiter C", "Character between the cells of CSV. Default: as learned.",
            DELIMITER,
        ),
        option(
            "--decimal .|,", "Character before the decimals in CSV. Default: as learned.",
            click.Choice([".", ","]),
        ),
    )(command)  # fmt: skip


def skip_option(what: str) -> Callable[[F], F]:
    """Return --skip-bad; `what` is the verb for what happens to skipped rows."""
    return option(
        "--skip-bad", f"Skip rows that cannot be used, and {what} them.", name="skip_rejected"
    )


_FIELDS = ("row", "prediction", "probability", "probabilities", "label", "learned")


def not_a_field(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Check that no column to copy to predictions has the name of a field of theirs."""
    for name in [value] if isinstance(value, str) else value or ():
        if name in _FIELDS:
            option = parameter.opts[0]
            raise click.UsageError(
                f"{option} {name}: predictions already have a field of that name"
            )
    return value


def prediction_options(section: str = "Other") -> Callable[[F], F]:
    """Return the options for the content of predictions."""
    return in_order(
        option(
            "--keep NAMES", "Columns to copy to the predictions, such as an id.", NAMES, (),
            section=section, callback=not_a_field,
        ),
        option(
            "--probabilities", "Write the score of every class: not calibrated, they sum to 1.",
            section=section,
        ),
        option(
            "--learned", "Write how many samples the model had learned.",
            name="with_learned", section=section,
        ),
        option(
            "--output-format json|csv", "Format of predictions. Default: by FILE's suffix.",
            click.Choice(["json", "csv"]), section=section,
        ),
    )  # fmt: skip


def hint_at_terminal(sources: tuple[str, ...]) -> None:
    """Say that samples are read from the terminal, if stdin is one."""
    if "-" in sources and sys.stdin.isatty():
        click.echo("reading samples from the terminal, one per line; Ctrl-D ends", err=True)


model_option = option(
    "-m/--model MODEL", "Model saved by `learn`.", LocalFile(), name="path", required=True
)
model_argument = click.argument("path", metavar="MODEL", type=LocalFile())
json_option = option("--json", "Print JSON.", name="as_json")


def joined(
    ctx: click.Context, parameter: click.Parameter, value: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Return the distinct names of a repeatable option."""
    return tuple(dict.fromkeys(name for names in value for name in names))


def ignore_option(section: str = "Other") -> Callable[[F], F]:
    """Return the option --ignore."""
    return option(
        "--ignore NAMES",
        "Columns to ignore. May be repeated.",
        NAMES,
        multiple=True,
        callback=joined,
        section=section,
    )
