"""stream-perceptron learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from .command import command
from .options import COUNT, FILE, KEEP_NAMES_RULE, PredictionOptions, Rule, option
from .training import TrainingOptions
from .values import ACTIVATION, INTERVAL, NUMBER, POSITIVE


@dataclass(init=False, eq=False, repr=False)
class LearnOptions(TrainingOptions, PredictionOptions):
    """The options of `learn`."""

    standardize: bool | None = option(
        "--standardize/--no-standardize",
        "Standardize each feature with its running mean and standard deviation, unless it has "
        "only been 0 or 1. Default: on for tables and JSON objects, unless all features are pixels "
        "or --scale is given.",
        section="Input",
        is_common=True,
    )
    join: str | None = option(
        "--join ID",
        "Column with the ID of each sample; a label may arrive later, in a row with the same ID.",
        section="Input",
    )
    max_pending: int = option(
        "--max-pending N",
        "Maximum number of samples waiting for labels; beyond it, the oldest sample is evicted.",
        click.IntRange(1, 10**12),
        100_000,
        section="Input",
    )
    lr: float | None = option(
        "--lr NUMBER",
        "Learning rate. Default: 0.1 if features are standardized and no class weights are set, "
        "otherwise 0.01.",
        POSITIVE,
        section="Model",
        is_common=True,
    )
    epsilon: float = option(
        "--epsilon NUMBER",
        "Threshold: a sample whose error is below this number changes no weight.",
        NUMBER,
        3e-6,
        section="Model",
        is_common=True,
    )
    stop: bool = option(
        "--stop",
        "Stop at the first sample whose error is below the threshold, epsilon.",
        section="Model",
    )
    activation: str = option(
        "--activation sigmoid|tanh|arctan|identity",
        "Activation function.",
        ACTIVATION,
        "sigmoid",
        section="Model",
    )
    init_range: float = option(
        "--init-range NUMBER",
        "Largest absolute value of the random initial weights.",
        NUMBER,
        0.03,
        section="Advanced",
    )
    path: Path | None = option(
        "-m/--model MODEL",
        "Checkpoint to resume from and save to; it is created if missing.",
        FILE,
        section="Checkpoint",
        is_common=True,
    )
    save_every: int | float = option(  # rows, or seconds
        "--save-every N|TIME",
        "How often to save: a number of rows, or a time such as 30s or 5m.",
        INTERVAL,
        60.0,
        section="Checkpoint",
    )
    overwrite: bool = option(
        "--overwrite",
        "Start a new model even if MODEL exists.",
        section="Checkpoint",
        is_common=True,
    )
    again: bool = option(
        "--again", "Learn all rows of SOURCE again, from the start.", section="Checkpoint"
    )
    ray: str | None = option(
        "--ray [ADDRESS]",
        "Learn in shards on the Ray cluster at ADDRESS, or on a local one.",
        section="Advanced",
        flag_value="",
    )
    shards: int | None = option(
        "--shards N", "Split the rows into N shards.", COUNT, section="Advanced"
    )
    round_rows: int = option(
        "--round-rows N",
        "Average the models of all shards whenever each shard has learned N more rows.",
        COUNT,
        1000,
        section="Advanced",
    )
    keep_lr: bool = option(
        "--keep-lr",
        "Use --lr as given. By default, N shards learn with N times --lr, because averaging "
        "divides steps by N.",
        section="Advanced",
    )
    rejected: Path | None = option(
        "--rejected FILE",
        "Skip rows that cannot be used, and write them to FILE as JSON lines.",
        FILE,
        section="Output",
    )
    n_traced: int | None = option(
        "--trace N",
        "Show the arithmetic of the first N samples on stderr.",
        COUNT,
        section="Output",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        *TrainingOptions.rules,
        KEEP_NAMES_RULE,
        Rule(
            "--join {}: predictions already have a field of that name",
            lambda o: o.join and o.find_prediction_field(o.join),
        ),
        Rule(
            "--json and -p - both write to stdout: write predictions to a file",
            lambda o: o.as_json and o.output == "-",
        ),
        Rule(
            "--ray takes {} as its address: put --ray after the files",
            lambda o: o.ray and Path(o.ray).is_file() and o.ray,
        ),
        Rule(
            "--ray needs --shards N, for example the number of processors in the cluster",
            lambda o: o.ray is not None and o.shards is None,
        ),
        Rule(
            "--join must read each row once and in order: it cannot be combined with --passes",
            lambda o: o.join and o.n_passes > 1,
        ),
        Rule(
            "--join must read each row once and in order: it cannot be combined with {}",
            lambda o: o.join and o.find_given_flag("at_random", "ray", "stop"),
        ),
        Rule(
            "--max-pending needs --join", lambda o: not o.join and o.find_given_flag("max_pending")
        ),
        Rule("--rejected needs a file, not stdout", lambda o: str(o.rejected) == "-"),
        Rule(
            "{} cannot be combined with --random",
            lambda o: o.at_random and o.find_given_flag("keep", "rejected"),
        ),
        Rule(
            "stdin and pipes cannot be split into shards: name Parquet files",
            lambda o: o.ray is not None and o.reads_stream,
        ),
        Rule(
            "{} needs a checkpoint: add -m MODEL",
            lambda o: o.path is None and o.find_given_flag("again", "overwrite", "save_every"),
        ),
        Rule(
            "stdin and pipes can be read only once: --again needs files",
            lambda o: o.again and o.reads_stream,
        ),
        Rule(
            "{} needs predictions: add -p FILE",
            lambda o: (
                o.output is None
                and o.find_given_flag(
                    "keep", "output_format", "scores", "threshold", "with_learned"
                )
            ),
        ),
        Rule(
            "{} needs --ray",
            lambda o: o.ray is None and o.find_given_flag("keep_lr", "round_rows", "shards"),
        ),
        Rule(
            "{} needs rows in order: it cannot be combined with --ray",
            lambda o: (
                o.ray is not None
                and o.find_given_flag(
                    "at_random", "limit", "n_traced", "output", "position", "rejected", "stop"
                )
            ),
        ),
    )

    @property
    def is_endless(self) -> bool:
        """Whether only --stop ends the run."""
        return self.at_random and self.stop and self.epochs is None

    @property
    def reads_again(self) -> bool:
        """Whether files are read from the start, even if they were learned before."""
        return self.again or self.at_random or self.ray is not None

    @property
    def reads_whole_files(self) -> bool:
        """Whether finished files are read again, in the first pass or in a later one."""
        return self.reads_again or self.n_passes > 1

    @property
    def skips_rejected(self) -> bool:
        """Whether rejected rows are skipped."""
        return self.skip_rejected or self.rejected is not None


@command(LearnOptions, "Train a model on a stream, testing each sample first.")
def learn(options: LearnOptions) -> int:
    """Train a model on a stream: predict each sample, then learn it.

    \b
    cat digits.csv | stream-perceptron learn --classes 0-9
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

    Accuracy is progressive: each sample is predicted before it is learned. The error of a sample
    is half its squared error, summed over the outputs; a sample whose error is below the threshold,
    epsilon, changes no weight. "updated" is the share of samples that changed the weights. "largest
    class" is the accuracy of always predicting the most frequent label.

    The scores in predictions are the outputs divided by their sum. They rank samples, but are not
    calibrated.

    With -m, the model is saved regularly, at the end, and on SIGINT, SIGTERM and SIGHUP. The same
    command resumes the run, and the result is bit-identical to that of an uninterrupted run. Only
    --lr, --epsilon and --max-weights may change. Each row of a file is learned once: a run resumes
    each SOURCE where earlier runs ended, even if it was renamed, and skips finished files. Text
    files may grow, and stdin is read as a continuation of the stream.

    With --ray, Parquet files are split into shards that several processes or machines learn. After
    each round, the models are averaged and saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
    """
    from .run import run_learn

    return run_learn(options)
