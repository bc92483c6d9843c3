"""stream-perceptron average."""

from __future__ import annotations

from pathlib import Path

import click

from .files import LocalFile, require_different, require_regular
from .options import Command

_PATH = LocalFile()


@click.command(cls=Command, short_help="Make one model of several that went on from one.")
@click.argument("paths", metavar="MODEL...", nargs=-1, required=True, type=_PATH)
@click.option(
    "--base",
    type=_PATH,
    metavar="MODEL",
    required=True,
    help="Checkpoint that all of them went on from, as it was then.",
)
@click.option(
    "-o", "--output", type=_PATH, metavar="MODEL", required=True, help="Checkpoint to write."
)
def average(paths: tuple[Path, ...], base: Path, output: Path) -> None:
    """Make one model of several that went on, each by itself, from one.

    Weights are averaged; samples and other counts are those of the base and what each model added.
    Labels and features are united by name, and of positions the highest offset of each part is
    kept. The order of the models does not matter. To average N models divides their steps by N:
    let them learn with N times the learning rate.

    \b
    stream-perceptron average a.npz b.npz --base morning.npz -o evening.npz
    """
    from stream_perceptron.checkpoint.archive import locked
    from stream_perceptron.distributed.averaging import average_files

    require_different(a_model=[*map(str, paths), str(base)], the_output=output)
    require_regular(output)
    live = average_files(paths, base)
    with locked(output):
        live.save(output)
    progress = live.progress
    click.echo(
        f"saved {output}: {progress.samples:,} samples, progressive accuracy "
        f"{progress.accuracy:.2%}",
        err=True,
    )
