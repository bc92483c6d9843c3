"""stream-perceptron distribute."""

from __future__ import annotations

from pathlib import Path

import click

from .command import Options, command
from .options import (
    COUNT,
    FILE,
    SOURCE,
    common_training_options,
    hyperparameter_options,
    make_column_options,
    option,
    overwrite_model_option,
)
from .watch import run_in_child_process


@command(short_help="Train a model on the processors of many machines.")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=SOURCE)
@option(
    "-m", "--model", metavar="MODEL", type=FILE, required=True, section="Required",
    help="Checkpoint to resume from and save to; it is created if missing.",
)  # fmt: skip
@overwrite_model_option
@option(
    "--shards", metavar="N", type=COUNT, section="Cluster",
    help="Number of models that learn at the same time. Default: one for each processor of the "
    "cluster, at most 8.",
)  # fmt: skip
@option(
    "--round-rows", metavar="N", type=COUNT, default=1000, show_default=True, section="Cluster",
    help="Average the models whenever each has learned N more rows.",
)  # fmt: skip
@option(
    "--address", metavar="RAY", section="Cluster",
    help="Address of a Ray cluster. Default: the processors of this machine.",
)  # fmt: skip
@make_column_options()
@common_training_options
@hyperparameter_options
def distribute(options: Options) -> int:
    """Train a model on shards of Parquet files, which the processors of a Ray cluster learn at the
    same time. It pays off only if `learn` takes many minutes: one process learns MNIST in less than
    a second.

    In each round, every shard starts from the same model, tests each of its rows and learns it;
    then the models are averaged and saved. Averaging N models divides their steps by N, so shards
    learn with N times --lr, or N times the end of a rate that falls. The same command resumes after
    the last round, and the result does not depend on which machine or process was lost in between.

    \b
    stream-perceptron distribute train.parquet -m model.npz --shards 8
    stream-perceptron distribute s3://bucket/train.parquet -m model.npz --address 10.0.0.1:6379
    """
    from stream_perceptron.data.input.bytes import is_stream

    if any(map(is_stream, options.sources)):
        raise click.UsageError("stdin and pipes cannot be split into shards: name Parquet files")
    if options.address is not None and Path(options.address).is_file():
        raise click.UsageError(f"--address takes {options.address} as the address of a cluster")
    from .rounds import DistributedRun

    return run_in_child_process(
        DistributedRun(options).run,
        "Ray ended the run, because one of its processes on this machine was killed or ran out of "
        "memory: repeat the command to resume after the last round saved",
    )
