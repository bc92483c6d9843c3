"""stream-perceptron verify."""

from __future__ import annotations

from pathlib import Path

import click

from .bar import LiveBar
from .files import LocalFile
from .options import Command, format_option, paths
from .printable import printable
from .signals import ending_in_order


@click.command(cls=Command, short_help="Prove that a model follows from its sources.")
@click.argument("path", metavar="MODEL", type=LocalFile())
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=paths)
@format_option()
def verify(path: Path, sources: tuple[str, ...], file_format: str | None) -> None:
    """Learn a model anew from the sources that it says it was learned from, and compare every bit.

    Files are found by their digest, whatever their names; a text file may have grown. Others stand
    for the pipes that were read, in order. What does not follow is named, and the exit code is 1.

    \b
    stream-perceptron verify mnist.npz mnist-train.parquet
    """
    from stream_perceptron import LiveModel, VerificationError
    from stream_perceptron.data.opening import open_source
    from stream_perceptron.verification import verify as verify_live

    live = LiveModel.load(path)
    bar = LiveBar()
    with ending_in_order() as signals:

        def advance(done: int, total: int) -> None:
            signals.check()
            bar.show(done, total)

        try:
            opened = signals.call(
                lambda: [open_source(source, file_format) for source in sources], sources
            )
            verify_live(live, opened, advance)
        except VerificationError as error:
            raise VerificationError(printable(f"{path}: {error}")) from None
        finally:
            bar.clear()
    k, d = len(live.model.classes_), len(live.model.features_)
    click.echo(f"{path}: every bit of {k:,} x {d:,} weights follows from these sources")
