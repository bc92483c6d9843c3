"""stream-perceptron convert."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from .command import command
from .options import FILE, Options, argument, option


@dataclass(init=False, eq=False, repr=False)
class ConvertOptions(Options):
    """The options of `convert`."""

    inputs: tuple[Path, ...] = argument(
        "IMAGES LABELS | FILE.npz", nargs=-1, type=click.Path(path_type=Path)
    )
    output: Path = option("-o/--output FILE", "Parquet file to write.", FILE, required=True)
    part: str = option(
        "--part [train|test]",
        "Which part of FILE.npz to convert.",
        click.Choice(["train", "test"]),
        "train",
    )


@command(ConvertOptions, "Convert IDX files or Keras's mnist.npz to Parquet.")
def convert(options: ConvertOptions) -> None:
    """Convert labeled images to a Parquet file that `learn` reads.

    The input is a pair of IDX files, gzipped or not, or the mnist.npz file distributed with Keras.

    \b
    stream-perceptron convert train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz -o train.parquet
    stream-perceptron convert mnist.npz --part test -o test.parquet
    """
    from stream_perceptron.datasets.idx import read_idx, read_npz, write_parquet

    inputs = options.inputs
    if len(inputs) == 2:
        images, labels = map(read_idx, inputs)
    elif len(inputs) == 1 and inputs[0].suffix == ".npz":
        images, labels = read_npz(inputs[0], options.part)
    else:
        raise click.UsageError("give two IDX files (images, labels) or one .npz file")
    write_parquet(images, labels, options.output, " ".join(path.name for path in inputs))
    click.echo(
        f"{len(labels):,} images of {' x '.join(map(str, images.shape[1:]))} pixels", err=True
    )
