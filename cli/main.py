"""The command `stream-perceptron`."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from .terminal import OneLineUsageError

COMMANDS = (
    "learn",
    "sweep",
    "predict",
    "evaluate",
    "inspect",
    "report",
    "verify",
    "distribute",
    "fetch",
)


class CommandGroup(click.Group):
    """A group that imports the module of a command only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from .command import shorten_usage_errors

        if not args:
            return super().parse_args(ctx, args)  # shows the help
        with shorten_usage_errors(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; suggest one if the name is mistyped."""
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(COMMANDS)}"
        raise OneLineUsageError(f"No such command {name!r}: {hint}")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        return command


def _print_version(ctx: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    """If --version is given, print the version, and exit."""
    if not is_given:
        return
    from stream_perceptron import __version__

    click.echo(f"stream-perceptron {__version__}")
    ctx.exit()


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """A perceptron that learns from a stream, one sample at a time.

    \b
    stream-perceptron fetch mnist
    stream-perceptron learn mnist-train.parquet -m mnist.npz
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """


class _BestEffortWriter(io.TextIOWrapper):
    """A stream that ignores write errors, such as those caused by a full disk or a closed pipe."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _open_closed_standard_streams() -> None:
    """Open /dev/null, for reading only, in place of each standard stream that is closed.

    Otherwise, another file could get the descriptor of a standard stream. Because /dev/null is
    opened for reading only, writing to a closed stdout still fails.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free descriptor
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115


def run() -> NoReturn:
    """Run the command and end the process at once.

    On a normal exit, Python would free the objects of every library, which takes as long as
    learning 20,000 digits and may happen while a prefetch thread is still reading.
    """
    # No matrix product is large enough to benefit from the threads that NumPy would start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _open_closed_standard_streams()
    # A run continues even if its messages cannot be written.
    raw = open(2, "wb", buffering=0, closefd=False)  # noqa: SIM115
    sys.stderr = _BestEffortWriter(raw, "utf-8", "backslashreplace", write_through=True)
    stdout = sys.stdout
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
        # Click replaces stdout if the pipe breaks while help is being printed.
        if sys.stdout is not stdout:
            code = 141
    # Compiled modules are missing, or Click could not write its own output, such as help.
    except (ImportError, OSError) as error:
        if "--traceback" in sys.argv:
            raise
        from .command import describe_error

        code = 1
        sys.stderr.write(f"Error: {describe_error(error)}\n")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = 141
        except OSError:
            code = code or 1
    os._exit(code if isinstance(code, int) else int(code is not None))
