"""The command `stream-perceptron`."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = ("learn", "predict", "evaluate", "inspect", "fetch", "convert")


class CommandGroup(click.Group):
    """Commands in a file each, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        return command


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stream-perceptron", prog_name="stream-perceptron")
def main() -> None:
    """A perceptron that learns from a stream, one sample at a time.

    \b
    stream-perceptron fetch mnist
    stream-perceptron learn mnist-train.parquet -m mnist.npz
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
