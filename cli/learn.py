"""stream-perceptron learn."""

from __future__ import annotations

from pathlib import Path

import click

from .command import Options, command
from .options import (
    ACTIVATION,
    COUNT,
    FILE,
    INTERVAL,
    NUMBER,
    POSITIVE,
    advanced_option,
    check_copied_columns,
    check_training_options,
    input_option,
    make_prediction_options,
    model_option,
    option,
    output_option,
    training_options,
)


@command(short_help="Train a model on a stream, testing each sample first.")
@training_options
@input_option(
    "--standardize/--no-standardize", default=None, is_rare=True,
    help="Standardize each feature with its running mean and standard deviation, unless it has "
    "only been 0 or 1. Default: on for tables and JSON objects, unless all features are pixels or "
    "--scale is given.",
)  # fmt: skip
@input_option(
    "--join", metavar="ID", is_rare=True,
    help="Column with the ID of each sample; a label may arrive later, in a row with the same ID.",
)  # fmt: skip
@input_option(
    "--max-pending", metavar="N", type=click.IntRange(1, 10**12), default=100_000,
    show_default=True, is_rare=True,
    help="Maximum number of samples waiting for labels; beyond it, the oldest sample is evicted.",
)  # fmt: skip
@model_option(
    "--lr", metavar="NUMBER", type=POSITIVE,
    help="Learning rate. Default: 0.1 for sigmoid, 0.01 for other activations.",
)  # fmt: skip
@model_option(
    "--epsilon", metavar="NUMBER", type=NUMBER, default=3e-6, show_default=True,
    help="Error threshold: a sample whose error is smaller leaves the weights unchanged.",
)  # fmt: skip
@model_option(
    "--stop", is_flag=True, is_rare=True,
    help="Stop at the first sample whose error is below epsilon.",
)  # fmt: skip
@model_option(
    "--activation", metavar="sigmoid|tanh|arctan|identity", type=ACTIVATION, default="sigmoid",
    show_default=True, is_rare=True, help="Activation function.",
)  # fmt: skip
@advanced_option(
    "--init-range", metavar="NUMBER", type=NUMBER, default=0.03, show_default=True,
    help="Largest absolute value of the random initial weights.",
)  # fmt: skip
@option(
    "-m", "--model", metavar="MODEL", type=FILE, section="Checkpoint",
    help="Checkpoint to resume from and save to; it is created if missing.",
)  # fmt: skip
@option(
    "--save-every", metavar="N|TIME", type=INTERVAL, default="60s", show_default=True,
    section="Checkpoint", is_rare=True,
    help="How often to save: a number of rows, or a time such as 30s or 5m.",
)  # fmt: skip
@option(
    "--overwrite", is_flag=True, section="Checkpoint",
    help="Start a new model even if MODEL exists, and replace the output files.",
)  # fmt: skip
@make_prediction_options(hides_rare=True)
@output_option(
    "--rejected", metavar="FILE", type=FILE, is_rare=True,
    help="Skip rows that cannot be used, and write them to FILE as JSON lines.",
)  # fmt: skip
@advanced_option(
    "--ray", metavar="[ADDRESS]", is_flag=False, flag_value="",
    help="Learn in shards on the Ray cluster at ADDRESS, or on a local one.",
)  # fmt: skip
@advanced_option("--shards", metavar="N", type=COUNT, help="Split the rows into N shards.")
@advanced_option(
    "--round-rows", metavar="N", type=COUNT, default=1000, show_default=True,
    help="Average the models of all shards whenever each shard has learned N more rows.",
)  # fmt: skip
@advanced_option(
    "--keep-lr", is_flag=True,
    help="Use --lr as given. By default, N shards learn with N times --lr, because averaging "
    "divides steps by N.",
)  # fmt: skip
def learn(o: Options) -> int:
    """Train a model on a stream: predict each sample, then learn from it.

    \b
    cat digits.csv | stream-perceptron learn --classes 0-9
    stream-perceptron learn mnist-train.parquet
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn iris.csv
    stream-perceptron learn mnist-train.parquet -m mnist.npz -p predictions.jsonl

    SOURCE is one or more files, read in order, or - for stdin (the default): Parquet, Arrow, CSV
    with or without a header, JSON Lines or LIBSVM, compressed or not. The label column is found by
    name, or by position in LIBSVM and headerless CSV. The features are the single column of lists
    of numbers, bytes or images if there is one. Otherwise each cell of the other columns says what
    it is: a number, a date, a category, a text of several words, or a missing value.

    Accuracy is progressive: each sample is predicted before the model learns from it. The error of
    a sample is half the sum of its squared output errors; a sample whose error is below epsilon
    leaves the weights unchanged. "updated" is the share of samples that changed the weights.
    "majority class" is the accuracy of always predicting the most frequent label.

    The scores in predictions are the outputs, minus the activation's low value, divided by their
    sum. They rank samples, but are not calibrated.

    With -m, the model is saved regularly, at the end, and on SIGINT, SIGTERM and SIGHUP. The same
    command resumes the run, and the result is bit-identical to that of an uninterrupted run. Of the
    settings that determine the model, only --lr, --epsilon and --max-weights may change. Each row
    of a file is learned once: a run resumes each SOURCE where earlier runs ended, even if it was
    renamed, and skips finished files. Text files may grow, and stdin is read as a continuation of
    the stream.

    With --ray, Parquet files are split into shards that several processes or machines learn. After
    each round, the models are averaged and saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
    """
    _check_options(o)
    from .run import run

    return run(o)


def _check_options(o: Options) -> None:
    """Check that the options fit together."""
    from stream_perceptron.data.byte_input import is_stream

    check_training_options(o)
    check_copied_columns("--keep", *o.keep)
    reads_stream = any(map(is_stream, o.sources))
    if o.join:
        check_copied_columns("--join", o.join)
        flag = "--passes" if (o.passes or 1) > 1 else o.find_given("ray", "stop")
        if flag:
            raise click.UsageError(
                f"--join must read each row once and in order: it cannot be combined with {flag}"
            )
    elif "max_pending" in o.given:
        raise click.UsageError("--max-pending needs --join")
    if o.as_json and o.predictions == "-":
        raise click.UsageError("--json and -p - both write to stdout: write predictions to a file")
    if o.model is None and (flag := o.find_given("overwrite", "save_every")):
        raise click.UsageError(f"{flag} needs a checkpoint: add -m MODEL")
    if o.predictions is None and (
        flag := o.find_given("keep", "output_format", "scores", "threshold")
    ):
        raise click.UsageError(f"{flag} needs predictions: add -p FILE")
    if o.ray is None:
        if flag := o.find_given("keep_lr", "round_rows", "shards"):
            raise click.UsageError(f"{flag} needs --ray")
        return
    if Path(o.ray).is_file():
        raise click.UsageError(f"--ray takes {o.ray} as its address: put --ray after the files")
    if o.shards is None:
        raise click.UsageError(
            "--ray needs --shards N, for example the number of processors in the cluster"
        )
    if reads_stream:
        raise click.UsageError("stdin and pipes cannot be split into shards: name Parquet files")
    if flag := o.find_given("limit", "predictions", "position", "rejected", "stop"):
        raise click.UsageError(f"{flag} needs rows in order: it cannot be combined with --ray")
