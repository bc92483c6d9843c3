"""stream-perceptron convert."""

from __future__ import annotations

from pathlib import Path

import click

from .command import Options, command
from .files import require_distinct_files
from .options import FILE, option


@command(short_help="Convert IDX files or Keras's mnist.npz to Parquet.")
@click.argument(
    "inputs", metavar="IMAGES LABELS | FILE.npz", nargs=-1, type=click.Path(path_type=Path)
)  # fmt: skip
@option(
    "-o", "--output", metavar="FILE", type=FILE, required=True, help="Parquet file to write."
)  # fmt: skip
@option(
    "--part", metavar="[train|test]", type=click.Choice(["train", "test"]), default="train",
    show_default=True, help="Which part of FILE.npz to convert.",
)  # fmt: skip
def convert(o: Options) -> None:
    """Convert labeled images to a Parquet file that `learn` reads.

    The input is a pair of IDX files, gzipped or not, or the mnist.npz file distributed with Keras.

    \b
    stream-perceptron convert images-idx3.gz labels-idx1.gz -o train.parquet
    stream-perceptron convert mnist.npz --part test -o test.parquet
    """
    from stream_perceptron.datasets.idx import read_idx, read_npz, write_parquet

    inputs = o.inputs
    require_distinct_files(an_input=list(map(str, inputs)), the_output=o.output)
    if len(inputs) == 2:
        images, labels = map(read_idx, inputs)
    elif len(inputs) == 1 and inputs[0].suffix == ".npz":
        images, labels = read_npz(inputs[0], o.part)
    else:
        raise click.UsageError("give two IDX files (images, labels) or one .npz file")
    write_parquet(images, labels, o.output, " ".join(path.name for path in inputs))
    click.echo(
        f"{len(labels):,} images of {' x '.join(map(str, images.shape[1:]))} pixels", err=True
    )
