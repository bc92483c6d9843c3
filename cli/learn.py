"""stream-perceptron learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .files import LocalFile, OutputFile
from .options import (
    Command,
    format_option,
    ignore_option,
    in_order,
    not_a_field,
    option_in,
    prediction_options,
    sources_argument,
)
from .values import ACTIVATION, CLASSES, DELIMITER, INTERVAL, NAMES, NUMBER, POSITIVE, SCALE

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_COUNT = click.IntRange(1)
_FILE = LocalFile()

on_input = option_in("Input")
on_model = option_in("Model")
on_checkpoint = option_in("Checkpoint")
on_output = option_in("Output")
on_advanced = option_in("Advanced")


LR_DEFAULT = "Default: 0.1 where features are standardized, else 0.01."

_STANDARDIZE = on_input(
    "--standardize/--no-standardize",
    "Standardize each feature with its running mean and standard deviation. Default: for the "
    "columns of a table, unless they are called pixel0, pixel1, ... or --scale is given.",
)


_TABLE_OPTIONS: Decorator = in_order(
    on_input("--one-hot NAMES", "Text columns to encode: one feature for each value.", NAMES, ()),
    on_input(
        "--missing TEXTS",
        "Texts that mean a missing value, such as NA,?. Blank always does.",
        NAMES,
        (),
    ),
    on_input(
        "--delimiter C",
        "Character between the cells of CSV, or tab or space. Default: the most frequent of "
        "comma, tab and semicolon.",
        DELIMITER,
    ),
    on_input(
        "--decimal .|,",
        "Character before the decimals of numbers in CSV.",
        click.Choice([".", ","]),
        ".",
    ),
)


def input_options(standardize: Decorator = _STANDARDIZE) -> Decorator:
    """Return the options for how the sources are read."""
    return in_order(
        format_option("Input"),
        on_input(
            "--label NAME|N",
            "Label column: a name, or a position with -1 the last. Default: label, class, target "
            "or y.",
        ),
        ignore_option("Input"),
        on_input("--weight NAME", "Column with sample weights."),
        on_input(
            "--position [PART,]OFFSET",
            "Columns with each row's offset in its partition. Rows at or below the highest offset "
            "already learned are skipped.",
            NAMES,
            (),
        ),
        on_input(
            "--scale NUMBER|a/b",
            "Multiply features by this. Default: 1/255 for 8-bit columns, else 1.",
            SCALE,
        ),
        standardize,
        _TABLE_OPTIONS,
        on_input("--random", "Draw rows at random, with replacement.", name="at_random"),
        on_input(
            "--passes N",
            "Read the sources N times. Default: once; with --random --stop, until it stops.",
            _COUNT,
            name="epochs",
        ),
        on_input("--limit N", "Read at most N rows.", _COUNT),
        on_input(
            "--skip-bad",
            "Skip rows that cannot be used, and list them at the end.",
            name="skip_rejected",
        ),
    )


# Options of the model that cannot be swept.
model_options = in_order(
    on_model("--classes a,b,c|0-9", "Labels known from the start.", CLASSES),
    on_advanced("--seed N", "Seed for the initial weights and random draws.", int, 0),
    on_advanced(
        "--max-weights N",
        "Do not grow beyond N weights. Each label and each feature name counts as 32.",
        _COUNT,
        2**27,
    ),
)


@click.command(cls=Command, short_help="Train a model on a stream, testing each sample first.")
@sources_argument
@input_options()
@on_model("--lr NUMBER", f"Learning rate. {LR_DEFAULT}", POSITIVE)
@on_model(
    "--epsilon NUMBER",
    "Threshold: skip the update when the error, eps, is below this.",
    NUMBER,
    3e-6,
)
@on_input(
    "--join ID",
    "Column that identifies a sample, where labels come later, in rows with the same ID.",
    callback=not_a_field,
)
@on_input(
    "--waiting N",
    "How many samples may wait for their labels.",
    click.IntRange(1, 10**12),
    100_000,
)
@on_model("--stop", "Stop at the first sample whose error is below the threshold, epsilon.")
@on_model(
    "--activation sigmoid|tanh|arctan|identity", "Activation function.", ACTIVATION, "sigmoid"
)
@on_advanced("--init-range NUMBER", "Draw initial weights from [-this, this].", NUMBER, 0.03)
@model_options
@on_checkpoint(
    "-m/--model MODEL",
    "Checkpoint to resume from and save to. Created if missing.",
    _FILE,
    name="path",
)
@on_checkpoint(
    "--save-every N|TIME",
    "How often to save: a number of rows, or a time such as 30s or 5m.",
    INTERVAL,
    "60s",
)
@on_checkpoint("--overwrite", "Start a new model even if MODEL exists.")
@on_checkpoint("--again", "Learn all rows of SOURCE once more, from its start.")
@on_advanced(
    "--ray [ADDRESS]",
    "Learn in shards on the Ray cluster at ADDRESS, or on a local one.",
    flag_value="",
)
@on_advanced("--shards N", "Split the rows into N shards.", _COUNT)
@on_advanced(
    "--round-rows N", "Average the shards each time every shard has learned N rows.", _COUNT, 1000
)
@on_advanced(
    "--keep-lr",
    "Keep --lr. By default shards learn with N times --lr, because averaging divides steps by N.",
)
@on_output(
    "-p/--predictions FILE|-",
    "Write a prediction for each sample: JSON lines, or CSV if FILE ends in .csv.",
    OutputFile(),
    name="output",
)
@prediction_options("Output")
@on_output(
    "--rejected FILE",
    "Write the rows that cannot be used as JSON lines, and skip them.",
    _FILE,
)
@on_output(
    "--trace N", "Show the arithmetic of the first N samples on stderr.", _COUNT, name="n_traced"
)
@on_output("--json", "Print progress and summary as JSON.", name="as_json")
@on_output("-q/--quiet", "Print only warnings and errors (and the --json summary).")
@click.pass_context
def learn(ctx: click.Context, /, **_: Any) -> None:
    """Train a model on a stream: predict each sample, then learn it.

    \b
    cat digits.csv | stream-perceptron learn --scale 1/255
    stream-perceptron learn mnist-train.parquet
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn mnist-train.parquet --random --stop --epsilon 0.01
    stream-perceptron learn iris.csv
    stream-perceptron learn mnist-train.parquet -m mnist.npz -p predictions.jsonl

    SOURCE is one or more files, read in order, or - for stdin (the default): Parquet, Arrow, CSV
    with or without a header, JSON Lines or LIBSVM, compressed or not. The label column is found by
    name, or by position in LIBSVM and headerless CSV. The features are the single column of lists,
    bytes or images if there is one, otherwise all number and bool columns. Options that take column
    names also take positions, counted from 1.

    Accuracy is progressive: each sample is a test before it is learned. The error of a sample, eps,
    is half its squared error, summed over the outputs; a sample whose error is below the threshold,
    epsilon, changes nothing. "updated" is the share of samples that changed the weights. "largest
    class" is what always answering the same would reach.

    Probabilities are the outputs, divided by their sum: scores that rank, and are not calibrated.

    With -m the model is saved regularly, at the end, and on SIGINT, SIGTERM and SIGHUP. The same
    command resumes, and the result is bit-identical to an uninterrupted run. Only --lr, --epsilon
    and --max-weights may change. Each row of a file is learned once: a run reads each SOURCE from
    where earlier runs ended in it, whatever its name is now, and skips those that are finished.
    Text files may grow, and stdin continues the stream.

    With --ray, Parquet files are split into shards that several processes or machines learn. After
    each round the models are averaged and saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
    """
    from .asked import LearnOptions, asked_of

    asked = asked_of(LearnOptions, ctx)

    from .run import run

    ctx.exit(run(asked))
