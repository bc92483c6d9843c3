"""The command class: help grouped by section, errors on one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import cleandoc
from types import SimpleNamespace
from typing import Any

import click
from click.core import ParameterSource

from .terminal import (
    OneLineError,
    OneLineUsageError,
    format_count,
    print_message,
    set_json_messages,
)

SECTIONS = ("Required", "Input", "Model", "Checkpoint", "Cluster", "Output", "Advanced", "Other")
# The names of options in other programs, and ours.
_SYNONYMS = {
    "--epochs": "--passes", "--learning-rate": "--lr", "--learning_rate": "--lr",
    "-o": "--predictions", "--output": "--predictions",
}  # fmt: skip
_SHOWS_ALL = "stream_perceptron_cli.shows_all"


class Option(click.Option):
    """An option with its section in the help; `--help` leaves out rare ones, `--help-all` none."""

    def __init__(
        self, *args: Any, section: str = "Other", is_rare: bool = False, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.section, self.is_rare = section, is_rare


class SuggestionError(click.UsageError):
    """A usage error that suggests another spelling, and therefore needs no help."""


class Options(SimpleNamespace):
    """The values of a command's parameters by name, and the names of those that were given.

    An option that a command lacks has its default.
    """

    given: frozenset[str]
    as_json: bool = False
    # Those of some commands that train models.
    model: Any = None
    overwrite: bool = False
    save_every: float = 0.0
    predictions: Any = None
    rejected: Any = None
    join: Any = None
    file_format: Any = None
    limit: Any = None
    keep: tuple[str, ...] = ()
    threshold: Any = None
    stop: bool = False
    scores: bool = False

    def find_given(self, *names: str) -> str | None:
        """Return the flag of the first of these options that was given, or None."""
        return next((format_flag(name) for name in names if name in self.given), None)


def format_flag(name: str) -> str:
    """Return the flag of an option, given the name of its value."""
    return f"--{name.replace('_', '-')}"


class Command(click.Command):
    """A command that prints an error as one line on stderr, unless --traceback is given.

    It calls a function of `Options`, which returns the exit code; None means 0.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        has_rare = any(isinstance(each, Option) and each.is_rare for each in self.params)
        self.params.append(
            Option(["--traceback"], is_flag=True, help="Show the Python traceback of an error.",
                   is_rare=has_rare)
        )  # fmt: skip
        if has_rare:
            self.params.append(
                Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False,
                       callback=_show_all_options, help="Show all options and exit.")
            )  # fmt: skip

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = list(args)
        set_json_messages(ctx, "--json" in args)
        with shorten_usage_errors(ctx):
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                if ctx.info_name == "sweep" and error.option_name in ("-m", "--model"):
                    text = "sweep saves no model: learn with the best settings that it prints"
                    raise click.UsageError(text, ctx) from None
                from difflib import get_close_matches

                # Suggest only very similar options; less similar ones mean something else.
                close = get_close_matches(error.option_name, error.possibilities or [], 1, 0.8)
                synonym = _SYNONYMS.get(error.option_name)
                if any(synonym in parameter.opts for parameter in self.get_params(ctx)):
                    raise SuggestionError(
                        f"No such option {error.option_name!r}: did you mean {synonym}?"
                    ) from None
                raise click.NoSuchOption(error.option_name, None, close, ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        show_traceback = ctx.params.pop("traceback")
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        default = ParameterSource.DEFAULT
        given = {name for name in ctx.params if ctx.get_parameter_source(name) is not default}
        options = Options(**ctx.params, given=frozenset(given))
        set_json_messages(ctx, options.as_json)
        try:
            with shorten_usage_errors(ctx):
                assert self.callback is not None
                ctx.exit(self.callback(options) or 0)
        except KeyboardInterrupt:
            print_message("interrupted")
            ctx.exit(130)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(141)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            if show_traceback or not (isinstance(error, MemoryError) or _is_user_error(error)):
                raise
            is_memory = isinstance(error, MemoryError)
            message = "out of memory" if is_memory else describe_error(error)
            raise OneLineError(message, getattr(error, "remedies", ())) from None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage, the summary and the options, then details, and examples last.

        The paragraphs of the docstring are the summary, the details and, after \\b, examples. If
        some options are rare, `--help-all` shows the details.
        """
        summary, *others = cleandoc(self.help or "").split("\n\n")
        has_rare = any(isinstance(each, Option) and each.is_rare for each in self.params)
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(summary)
        self.format_options(ctx, formatter)
        examples = [text for text in others if text.startswith("\b")]
        for text in others if ctx.meta.get(_SHOWS_ALL) or not has_rare else []:
            if text not in examples:
                formatter.write_paragraph()
                formatter.write_text(text)
        with formatter.section("Examples"):
            for text in examples:
                formatter.write_text(text)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        n_hidden = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue
            is_rare = isinstance(parameter, Option) and parameter.is_rare
            if is_rare and not ctx.meta.get(_SHOWS_ALL):
                n_hidden += 1
            else:
                section = getattr(parameter, "section", "Other")
                sections.setdefault(section, []).append(record)
        if len(sections) == 1:
            sections = {"Options": sections.popitem()[1]}
        for name in sorted(sections, key=["Options", *SECTIONS].index):
            with formatter.section(name):
                formatter.write_dl(sections[name])
        if n_hidden:
            formatter.write_paragraph()
            more = format_count(n_hidden, "more option")
            formatter.write_text(f"{more}: {ctx.command_path} --help-all")


# Turns a function of `Options` into a command.
command = partial(click.command, cls=Command)


def _show_all_options(ctx: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    """If --help-all is given, print the help with all options, and exit."""
    if is_given and not ctx.resilient_parsing:
        ctx.meta[_SHOWS_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


@contextmanager
def shorten_usage_errors(ctx: click.Context) -> Iterator[None]:
    """Reduce usage errors to one line that points to the help, unless it suggests an option."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        if isinstance(error, SuggestionError) or getattr(error, "possibilities", None):
            raise OneLineUsageError(message) from None
        has_rare = any(parameter.name == "help_all" for parameter in ctx.command.params)
        flag = "--help-all" if has_rare else "--help"
        raise OneLineUsageError(f"{message}; for help", [f"{ctx.command_path} {flag}"]) from None


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
    if isinstance(error, ImportError):  # perhaps of the library itself
        return False
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
