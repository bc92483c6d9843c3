"""stream-perceptron convert."""

from __future__ import annotations

from pathlib import Path

import click

from .command import Options, command
from .files import require_distinct_files
from .options import FILE, option


@command(short_help="Convert IDX files to Parquet.")
@click.argument(
    "inputs", metavar="IMAGES LABELS", nargs=2, type=click.Path(path_type=Path)
)  # fmt: skip
@option(
    "-o", "--output", metavar="FILE", type=FILE, required=True, help="Parquet file to write."
)  # fmt: skip
def convert(options: Options) -> None:
    """Convert labeled images in IDX files, gzipped or not, to a Parquet file that `learn` reads.

    \b
    stream-perceptron convert images-idx3.gz labels-idx1.gz -o train.parquet
    """
    from stream_perceptron.datasets.idx import read_idx, write_parquet

    inputs = options.inputs
    require_distinct_files(an_input=list(map(str, inputs)), the_output=options.output)
    images, labels = map(read_idx, inputs)
    write_parquet(images, labels, options.output, " ".join(path.name for path in inputs))
    click.echo(
        f"{len(labels):,} images of {' x '.join(map(str, images.shape[1:]))} pixels", err=True
    )
