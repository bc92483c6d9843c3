"""stream-perceptron learn."""

from __future__ import annotations

import click

from .command import Options, command
from .options import (
    COUNT,
    FILE,
    INTERVAL,
    check_training_options,
    hyperparameter_options,
    input_option,
    make_prediction_options,
    model_option,
    option,
    output_option,
    overwrite_model_option,
    require_no_output_column,
    training_options,
)


@command(short_help="Train a model on a stream, testing each sample first.")
@training_options
@hyperparameter_options
@input_option(
    "--join", metavar="ID", is_rare=True,
    help="Column with the ID of each sample; a label may arrive later, in a row with the same ID.",
)  # fmt: skip
@input_option(
    "--max-pending", metavar="N", type=COUNT, default=100_000,
    show_default=True, is_rare=True,
    help="Maximum number of samples waiting for labels; beyond it, the oldest sample is evicted.",
)  # fmt: skip
@model_option(
    "--stop", is_flag=True, is_rare=True,
    help="Stop at the first sample whose error is below epsilon.",
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
@overwrite_model_option
@make_prediction_options(hides_rare=True)
@output_option(
    "--rejected", metavar="FILE", type=FILE, is_rare=True,
    help="Skip rows that cannot be used, and write them to FILE as JSON lines.",
)  # fmt: skip
def learn(options: Options) -> None:
    """Train a model on a stream: predict each sample, then learn from it. SOURCE is one or more
    files, read in order, or - for stdin (the default): Parquet, Arrow, CSV, JSON Lines or LIBSVM,
    compressed or not. Any table will do.

    The label column is found by name, or by position in LIBSVM and headerless CSV. Each cell of the
    other columns says what it is: a number, a date, a category, a text of several words, a list, or
    a missing value. An image, or a list of numbers without other features, has the features of a
    row.

    Accuracy is progressive: each sample is predicted before the model learns from it. The error of
    a sample is half the sum of its squared output errors; a sample whose error is below epsilon
    leaves the weights unchanged. If fewer than 99% changed them, their share is shown at the end.
    "majority class" is the accuracy of always predicting the most
    frequent label. Kappa is 0 for the accuracy expected by chance, and 1 if all predictions are
    right.

    The scores in predictions are the outputs minus the low target, scaled to a sum of
    1. They rank samples, but are not calibrated.

    With -m, the model is saved regularly, at the end, and on SIGINT, SIGTERM and SIGHUP. The same
    command resumes the run, and the result is bit-identical to that of an uninterrupted run. Of the
    settings that determine the model, only --lr, --epsilon and --max-weights may change. Each row
    of a file is learned once: a run resumes each SOURCE where earlier runs ended, even if it was
    renamed, and skips finished files. Text files may grow, and stdin is read as a continuation of
    the stream.

    \b
    cat digits.csv | stream-perceptron learn --classes 0-9
    stream-perceptron learn iris.csv
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn mnist-train.parquet -m mnist.npz -p predictions.jsonl
    """
    _check_options(options)
    from .training import TrainingRun

    TrainingRun(options).run()


def _check_options(options: Options) -> None:
    """Check that the options fit together."""
    check_training_options(options)
    require_no_output_column("--keep", *options.keep)
    if options.join:
        require_no_output_column("--join", options.join)
        flag = "--passes" if options.passes > 1 else options.find_given("stop")
        if flag:
            raise click.UsageError(
                f"--join must read each row once and in order: it cannot be combined with {flag}"
            )
    elif "max_pending" in options.given:
        raise click.UsageError("--max-pending needs --join")
    if options.model is None and (flag := options.find_given("overwrite", "save_every")):
        raise click.UsageError(f"{flag} needs a checkpoint: add -m MODEL")
    if options.predictions is None and (
        flag := options.find_given("keep", "output_format", "scores", "threshold")
    ):
        raise click.UsageError(f"{flag} needs predictions: add -p FILE")
