"""stream-perceptron learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from .files import LocalFile
from .options import (
    ActivationName,
    Classes,
    Command,
    Interval,
    Names,
    Number,
    Scale,
    format_option,
    ignore_option,
    option_in,
    prediction_options,
    sources_argument,
)

F = TypeVar("F", bound=Callable[..., Any])

_COUNT = click.IntRange(1)
_FILE = LocalFile()

on_input = option_in("Input")
on_model = option_in("Model")
on_checkpoint = option_in("Checkpoint")
on_output = option_in("Output")
on_ray = option_in("Many machines")


def in_order(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that does what several do, one below the other."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


# How the sources are read.
input_options = in_order(
    format_option("Input"),
    on_input(
        "--label NAME|N",
        "Label column, by name or place, -1 for the last; else label, class, target or y.",
    ),
    ignore_option("Input"),
    on_input("--weight NAME", "Column of sample weights."),
    on_input(
        "--position [PART,]OFFSET",
        "Columns that say where a row comes from: rows at or below the highest OFFSET learned of a "
        "PART are left out.",
        Names(),
        (),
    ),
    on_input("--scale NUMBER|a/b", "Multiply features by this; else 8-bit ones by 1/255.", Scale()),
    on_input(
        "--standardize", "Learn features less their mean so far, by their standard deviation."
    ),
    on_input("--one-hot NAMES", "Make a feature of each value of these text columns.", Names(), ()),
    on_input(
        "--missing TEXTS", "Texts that mean a missing value, as NA,?; blanks do.", Names(), ()
    ),
    on_input("--random", "Draw rows at random, with replacement.", name="at_random"),
    on_input(
        "--passes N",
        "Read everything N times; else once, or with --random --stop until it stops.",
        _COUNT,
        name="epochs",
    ),
    on_input("--limit N", "Read N rows at most.", _COUNT),
    on_input("--skip-bad", "Skip rows that cannot be used, and list them.", name="skip_rejected"),
)

# How the model is made, beside what can be swept.
model_options = in_order(
    on_model("--classes a,b,c|0-9", "Labels to know from the start.", Classes()),
    on_model(
        "--dtype [float64|float32]",
        "Type of weights and arithmetic.",
        click.Choice(["float64", "float32"]),
        "float64",
    ),
    on_model("--seed N", "Seed of initial weights and random draws.", int, 0),
    on_model(
        "--max-weights N",
        "Refuse to grow beyond N weights; each label and each feature counts as 32.",
        _COUNT,
        2**27,
    ),
)


@click.command(cls=Command, short_help="Predict and then learn every sample of a stream.")
@sources_argument
@input_options
@on_model("--lr NUMBER", "Learning rate.", Number(positive=True), 0.01)
@on_model("--epsilon NUMBER", "Samples with an error below this are not learned.", Number(), 3e-6)
@on_model("--stop", "End with the first sample whose error is below epsilon.")
@on_model(
    "--activation sigmoid|tanh|arctan|identity", "Output function.", ActivationName(), "sigmoid"
)
@on_model("--init-range NUMBER", "Initial weights lie between -this and this.", Number(), 0.03)
@model_options
@on_checkpoint(
    "-m/--model MODEL", "Checkpoint to go on from, made if there is none.", _FILE, name="path"
)
@on_checkpoint(
    "--save-every N|TIME",
    "Save after so many rows, or so much time as 30s or 5m.",
    Interval(),
    "60s",
)
@on_checkpoint("--overwrite", "Begin a new model even if MODEL is there.")
@on_checkpoint("--next", "Begin SOURCE although the one before is not finished.", name="go_next")
@on_ray(
    "--ray [ADDRESS]",
    "Learn in shards on the Ray cluster at ADDRESS, or on one that is started here.",
    flag_value="",
)
@on_ray("--shards N", "Share the rows out in N shards.", _COUNT)
@on_ray("--round-rows N", "Average the shards whenever each has learned N rows.", _COUNT, 1000)
@on_ray(
    "--keep-lr",
    "Learn with --lr as it is; else shards learn with N times --lr, as to average N of them "
    "divides steps by N.",
)
@on_output(
    "-p/--predictions FILE|-",
    "Write the prediction for every sample, a line of JSON each, or of CSV if FILE ends in .csv.",
    name="output",
)
@prediction_options("Output")
@on_output(
    "--trace N", "Show on stderr how the first N samples are worked out.", _COUNT, name="n_traced"
)
@on_output("--json", "Progress and summary as JSON.", name="as_json")
@on_output("--quiet", "Only warnings and errors, and the summary of --json.")
@click.pass_context
def learn(ctx: click.Context, /, **options: Any) -> None:
    """Predict every sample, then learn it, and report how the predictions did.

    SOURCE is one or more files, read in order, or - for stdin, as it is without one: Parquet, Arrow
    streams, CSV with or without a header, JSON Lines or LIBSVM, compressed or not. The label is
    found by its name, in LIBSVM and without a header by its place. The features are the one column
    of lists, bytes or images if there is one, else all number and bool columns. A column that an
    option names may be given by its place, counted from 1.

    \b
    cat digits.csv | stream-perceptron learn --scale 1/255
    stream-perceptron learn mnist-train.parquet
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn mnist-train.parquet --random --stop --epsilon 0.01
    stream-perceptron learn iris.csv --standardize --lr 0.1
    stream-perceptron learn mnist-train.parquet -m mnist.npz -p predictions.jsonl

    Accuracy is progressive: every sample counts as a test before it is learned. The error of a
    sample, eps, is half its squared error, summed over the outputs.

    With -m the model is saved now and then, at the end, and on SIGINT, SIGTERM and SIGHUP. The same
    command goes on from there, and ends with the bits of a run that was never interrupted; only
    --lr, --epsilon and --max-weights may change. A finished SOURCE may be followed by another, a
    text file may have grown, and over stdin the stream goes on with what comes.

    With --ray Parquet files are learned by many processes or machines, each of which has its share
    of the rows. Every round they go on from one model, are averaged, and are saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
    """
    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    _require_fit(SimpleNamespace(**options, given=given))
    if options["keep"]:
        # What is only kept is no feature.
        options["ignore"] = tuple(dict.fromkeys([*options["ignore"], *options["keep"]]))
        given.add("ignore")

    from .session import run

    ctx.exit(run(SimpleNamespace(**options), given))


def _require_fit(options: SimpleNamespace) -> None:
    """Require that the options go together."""
    require_reading(options)
    _require(options, _RULES)
    for needs, names, why in _NEEDS:
        for name in sorted(options.given & names):
            if not needs(options):
                raise click.UsageError(f"{_option(name)} {why}")


def require_reading(options: SimpleNamespace) -> None:
    """Require that the options that say how sources are read go together."""
    _require(options, _READING)


def _require(
    options: SimpleNamespace, rules: Sequence[tuple[Callable[[SimpleNamespace], bool], str]]
) -> None:
    for does_not_fit, why in rules:
        if does_not_fit(options):
            raise click.UsageError(why.format(**vars(options)))


def _option(name: str) -> str:
    names = {"go_next": "next", "at_random": "random", "output": "predictions", "n_traced": "trace"}
    return "--" + names.get(name, name).replace("_", "-")


def _reads_a_stream(options: SimpleNamespace) -> bool:
    from stream_perceptron.data.byte_stream import is_stream

    return any(map(is_stream, options.sources))


# What does not go together in reading, and why.
_READING: tuple[tuple[Callable[[SimpleNamespace], bool], str], ...] = (
    (
        lambda o: "-" in o.sources and len(o.sources) > 1,
        "stdin goes with no other SOURCE: leave - out, or the others",
    ),
    (
        lambda o: (o.at_random or (o.epochs or 1) > 1) and _reads_a_stream(o),
        "stdin and pipes can be read once only: no --random and no --passes",
    ),
    (
        lambda o: o.at_random and bool(o.position),
        "--position is about rows that come again: not with --random",
    ),
)

# The same of what only `learn` has.
_RULES: tuple[tuple[Callable[[SimpleNamespace], bool], str], ...] = (
    (
        lambda o: o.as_json and o.output == "-",
        "--json and -p - both want stdout: write predictions to a file",
    ),
    (
        lambda o: bool(o.ray) and Path(o.ray).is_file(),
        "--ray takes {ray} for its address: put --ray behind the files",
    ),
    (
        lambda o: o.ray is not None and o.shards is None,
        "--ray needs --shards N: as many as the cluster has processors",
    ),
    (
        lambda o: o.at_random and bool(o.keep),
        "--keep takes rows as they come: not with --random",
    ),
    (
        lambda o: o.ray is not None and _reads_a_stream(o),
        "stdin and pipes cannot be shared out in shards: name Parquet files",
    ),
)

# What options need, which ones, and why.
_NEEDS: tuple[tuple[Callable[[SimpleNamespace], bool], set[str], str], ...] = (
    (
        lambda o: o.path is not None,
        {"save_every", "overwrite", "go_next"},
        "is about a checkpoint: name it with -m MODEL",
    ),
    (
        lambda o: o.output is not None,
        {"keep", "probabilities", "output_format"},
        "is about predictions: write them with -p FILE",
    ),
    (lambda o: o.ray is not None, {"shards", "round_rows", "keep_lr"}, "goes with --ray"),
    (
        lambda o: o.ray is None,
        {"at_random", "stop", "limit", "position", "output", "n_traced"},
        "needs rows one after another: not with --ray",
    ),
)
