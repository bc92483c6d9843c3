"""The command class: options from a dataclass, help grouped by section, one-line errors."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from . import set_interrupt_action
from .options import DefinedOption, Options
from .printable import OneLineError, OneLineUsageError, format_count

O = TypeVar("O", bound=Options)  # noqa: E741

_SECTIONS = ("Input", "Model", "Checkpoint", "Output", "Advanced", "Other")
_SYNONYMS = {"--epochs": "--passes"}  # names of options in other programs, and ours
_SHOWS_ALL = "stream_perceptron_cli.shows_all"


def command(
    options: type[O], short_help: str | None = None
) -> Callable[[Callable[[O], int | None]], Command]:
    """Return a decorator that turns a function into a command with these options.

    The function returns the exit code; None means 0.
    """

    def decorate(function: Callable[[O], int | None]) -> Command:
        return Command(function, options, short_help)

    return decorate


class Command(click.Command):
    """A command that prints an error as one line on stderr, unless --traceback is given."""

    def __init__(
        self, function: Callable[[Any], int | None], options: type[Options], short_help: str | None
    ) -> None:
        super().__init__(function.__name__, help=function.__doc__, short_help=short_help)
        self._function, self._options = function, options
        self.params = list(options.make_parameters())
        self.params.append(
            click.Option(
                ["--traceback"], is_flag=True, help="Show the Python traceback of an error."
            )
        )
        if options.has_short_help:
            self.params.append(
                click.Option(
                    ["--help-all"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=_show_all_options,
                    help="Show all options and exit.",
                )
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with shorten_usage_errors(ctx):
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                from difflib import get_close_matches

                # Suggest only very similar options; less similar ones mean something else.
                close = get_close_matches(error.option_name, error.possibilities or [], 1, 0.8)
                synonym = _SYNONYMS.get(error.option_name)
                if any(synonym in parameter.opts for parameter in self.get_params(ctx)):
                    message = f"No such option {error.option_name!r}: did you mean {synonym}?"
                    raise click.UsageError(message, ctx) from None
                raise click.NoSuchOption(error.option_name, None, close, ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        show_traceback = ctx.params.pop("traceback")
        set_interrupt_action(ends_process=False)
        model = None
        try:
            with shorten_usage_errors(ctx):
                options = self._options.from_context(ctx)
                model = _find_loaded_model(options)
                ctx.exit(self._function(options) or 0)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(141)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            if isinstance(error, MemoryError):
                text = "out of memory"
            elif _is_user_error(error):
                text = describe_error(error)
            elif model is not None:  # it may be forged
                text = f"{model}: this model cannot be used ({error!r}); --traceback shows where"
            else:
                raise
            if show_traceback:
                raise
            raise OneLineError(text) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shows_all = not self._options.has_short_help or ctx.meta.get(_SHOWS_ALL, False)
        sections: dict[str, list[tuple[str, str]]] = {}
        n_hidden = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue
            if shows_all or _is_common(parameter):
                sections.setdefault(_get_section(parameter), []).append(record)
            else:
                n_hidden += 1
        if len(sections) == 1:
            sections = {"Options": sections.popitem()[1]}
        for name in sorted(sections, key=["Options", *_SECTIONS].index):
            with formatter.section(name):
                formatter.write_dl(sections[name])
        if n_hidden:
            formatter.write_paragraph()
            more = format_count(n_hidden, "more option")
            formatter.write_text(f"{more}: {ctx.command_path} --help-all")


def _find_loaded_model(options: Options) -> Path | None:
    """Return the path of the model that a command loads, if there is one."""
    path: Path | None = getattr(options, "path", getattr(options, "base", None))
    is_loaded = path is not None and path.exists() and not getattr(options, "overwrite", False)
    return path if is_loaded else None


def _is_common(parameter: click.Parameter) -> bool:
    """Return whether the short --help lists an option."""
    if isinstance(parameter, DefinedOption):
        return parameter.definition.is_common
    return bool({"--help", "--help-all"}.intersection(parameter.opts))


def _get_section(parameter: click.Parameter) -> str:
    return parameter.definition.section if isinstance(parameter, DefinedOption) else "Other"


def _show_all_options(ctx: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    """If --help-all is given, print the help with all options, and exit."""
    if is_given and not ctx.resilient_parsing:
        ctx.meta[_SHOWS_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


@contextmanager
def shorten_usage_errors(ctx: click.Context) -> Iterator[None]:
    """Reduce usage errors to one line that points to the help."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        if "\n" not in message:  # a message with a suggestion needs no more help
            message = f"{message}; see {ctx.command_path} --help"
        raise OneLineUsageError(message) from None


@contextmanager
def convert_value_errors() -> Iterator[None]:
    """Convert the library's plain ValueErrors, raised for bad parameters, to usage errors."""
    try:
        yield
    except ValueError as error:
        if _is_user_error(error):
            raise
        raise click.UsageError(str(error)) from None


def silence_stdout() -> None:
    """Redirect stdout to /dev/null, so that flushing a closed pipe at exit raises no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_user_error(error: Exception) -> bool:
    from stream_perceptron import StreamPerceptronError

    return isinstance(error, StreamPerceptronError | OSError)


def describe_error(error: Exception) -> str:
    """Return the message that users see for an error."""
    if isinstance(error, OSError) and error.strerror:
        if error.errno == errno.EBADF and error.filename in (None, "stdout"):
            return "stdout is closed"
        prefix = f"{error.filename}: " if error.filename else ""
        return f"{prefix}{error.strerror}"
    return str(error)
