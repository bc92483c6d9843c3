"""stream-perceptron learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from click.core import ParameterSource

from .options import (
    ActivationName,
    Classes,
    Command,
    Interval,
    Names,
    Number,
    Scale,
    format_option,
    section,
    sources_argument,
)

on_input = section("Input")
on_model = section("Model")
on_checkpoint = section("Checkpoint")
on_output = section("Output")
on_ray = section("Many machines")


@click.command(cls=Command, short_help="Predict and then learn every sample of a stream.")
@sources_argument
@format_option(on_input)
@on_input("--label", metavar="NAME", help="Label column; else label, class, target or y.")
@on_input("--ignore", type=Names(), default=(), help="Columns not to use.")
@on_input("--weight", metavar="NAME", help="Column of sample weights.")
@on_input(
    "--position",
    type=Names(),
    metavar="[PART,]OFFSET",
    default=(),
    help="Columns that say where a row comes from: rows at or below the highest OFFSET learned "
    "of a PART are left out.",
)
@on_input(
    "--scale",
    type=Scale(),
    metavar="NUMBER|a/b",
    help="Multiply features by this; else 8-bit ones by 1/255.",
)
@on_input("--random", "at_random", is_flag=True, help="Draw rows at random, with replacement.")
@on_input(
    "--passes",
    "epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Read everything N times; else once, or with --random --stop until it stops.",
)
@on_input("--limit", type=click.IntRange(1), metavar="N", help="Read N rows at most.")
@on_input(
    "--skip-bad",
    "skip_rejected",
    is_flag=True,
    help="Skip rows that cannot be used, and list them.",
)
@on_model(
    "--lr", type=Number(positive=True), default=0.01, show_default=True, help="Learning rate."
)
@on_model(
    "--epsilon",
    type=Number(),
    default=3e-6,
    show_default=True,
    help="Samples with an error below this are not learned.",
)
@on_model("--stop", is_flag=True, help="End with the first sample whose error is below epsilon.")
@on_model(
    "--activation",
    type=ActivationName(),
    metavar="sigmoid|tanh|arctan|identity",
    default="sigmoid",
    show_default=True,
    help="Output function.",
)
@on_model("--classes", type=Classes(), metavar="a,b,c|0-9", help="Labels to know from the start.")
@on_model(
    "--init-range",
    type=Number(),
    default=0.03,
    show_default=True,
    help="Initial weights lie between -this and this.",
)
@on_model(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Type of weights and arithmetic.",
)
@on_model(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of initial weights and random draws.",
)
@on_checkpoint(
    "-m",
    "--model",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="MODEL",
    help="Checkpoint to go on from, made if there is none.",
)
@on_checkpoint(
    "--save-every",
    type=Interval(),
    default="60s",
    show_default=True,
    help="Save after so many rows, or so much time as 30s or 5m.",
)
@on_checkpoint("--overwrite", is_flag=True, help="Begin a new model even if MODEL is there.")
@on_checkpoint(
    "--next", "go_next", is_flag=True, help="Begin SOURCE although the one before is not finished."
)
@on_ray(
    "--ray",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Learn in shards on the Ray cluster at ADDRESS, or on one that is started here.",
)
@on_ray("--shards", type=click.IntRange(1), metavar="N", help="Share the rows out in N shards.")
@on_ray(
    "--round-rows",
    type=click.IntRange(1),
    metavar="N",
    default=1000,
    show_default=True,
    help="Average the shards whenever each has learned N rows.",
)
@on_ray(
    "--keep-lr",
    is_flag=True,
    help="Learn with --lr as it is; else shards learn with N times --lr, as to average N of them "
    "divides steps by N.",
)
@on_output(
    "-p",
    "--predictions",
    "output",
    metavar="FILE|-",
    help="Write the prediction for every sample, a line of JSON each.",
)
@on_output(
    "--trace",
    "n_traced",
    type=click.IntRange(1),
    metavar="N",
    help="Show on stderr how the first N samples are worked out.",
)
@on_output("--json", "as_json", is_flag=True, help="Progress and summary as JSON.")
@on_output("--quiet", is_flag=True, help="Only warnings and errors, and the summary of --json.")
@click.pass_context
def learn(ctx: click.Context, /, **options: Any) -> None:
    """Predict every sample, then learn it, and report how the predictions did.

    SOURCE is one or more files, read in order, or - for stdin, as it is without one: Parquet, Arrow
    streams, CSV with or without a header, JSON Lines or LIBSVM, gzipped or not. The label is found
    by its name, in LIBSVM and without a header by its place. The features are the one column of
    lists, bytes or images if there is one, else all number and bool columns.

    \b
    cat digits.csv | stream-perceptron learn --scale 1/255
    stream-perceptron learn mnist-train.parquet
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn mnist-train.parquet --random --stop --epsilon 0.01
    stream-perceptron learn mnist-train.parquet -m mnist.npz -p predictions.jsonl

    Accuracy is progressive: every sample counts as a test before it is learned. The error of a
    sample, eps, is half its squared error, summed over the outputs.

    With -m the model is saved now and then, at the end, and on SIGINT and SIGTERM. The same command
    goes on from there, and ends with the bits of a run that was never interrupted; only --lr and
    --epsilon may change. A finished SOURCE may be followed by another, a text file may have grown,
    and over stdin the stream goes on with what comes.

    With --ray Parquet files are learned by many processes or machines, each of which has its share
    of the rows. Every round they go on from one model, are averaged, and are saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
    """
    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    _require_fit(SimpleNamespace(**options, given=given))

    from .session import run

    ctx.exit(run(SimpleNamespace(**options), given))


def _require_fit(options: SimpleNamespace) -> None:
    """Require that the options go together."""
    for does_not_fit, why in _RULES:
        if does_not_fit(options):
            raise click.UsageError(why)
    for needs, names, why in _NEEDS:
        for name in sorted(options.given & names):
            if not needs(options):
                raise click.UsageError(f"{_option(name)} {why}")


def _option(name: str) -> str:
    names = {"go_next": "next", "at_random": "random", "output": "predictions", "n_traced": "trace"}
    return "--" + names.get(name, name).replace("_", "-")


def _reads_a_stream(options: SimpleNamespace) -> bool:
    from stream_perceptron.data.byte_stream import is_stream

    return any(map(is_stream, options.sources))


# What does not go together, and why.
_RULES: tuple[tuple[Callable[[SimpleNamespace], bool], str], ...] = (
    (
        lambda o: o.as_json and o.output == "-",
        "--json and -p - both want stdout: write predictions to a file",
    ),
    (
        lambda o: "-" in o.sources and len(o.sources) > 1,
        "stdin goes with no other SOURCE: leave - out, or the others",
    ),
    (
        lambda o: bool(o.ray) and Path(o.ray).is_file(),
        "--ray takes the file behind it for its address: put --ray behind the files",
    ),
    (
        lambda o: o.ray is not None and o.shards is None,
        "--ray needs --shards N: as many as the cluster has processors",
    ),
    (
        lambda o: (o.at_random or (o.epochs or 1) > 1) and _reads_a_stream(o),
        "stdin and pipes can be read once only: no --random and no --passes",
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
    (lambda o: o.ray is not None, {"shards", "round_rows", "keep_lr"}, "goes with --ray"),
    (
        lambda o: o.ray is None,
        {"at_random", "stop", "limit", "position", "output", "n_traced"},
        "needs rows one after another: not with --ray",
    ),
)
