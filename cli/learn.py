"""stream-perceptron learn."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

import click

from .options import ActivationName, Classes, Command, Names, Number, Scale, section
from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron.live import Step

_LISTED = 10  # skipped rows that the summary names

on_input = section("Input")
on_model = section("Model")
on_output = section("Output")


@click.command(cls=Command)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@on_input("--label", metavar="NAME", help="Label column; else label, class, target or y.")
@on_input("--ignore", type=Names(), default=(), help="Columns not to use.")
@on_input("--weight", metavar="NAME", help="Column of sample weights.")
@on_input("--scale", type=Scale(), help="Multiply features by this; else 8-bit ones by 1/255.")
@on_input("--random", "at_random", is_flag=True, help="Draw rows at random, with replacement.")
@on_input(
    "--passes",
    type=click.IntRange(1),
    metavar="N",
    help="Read everything N times; else once, or with --random --stop until it stops.",
)
@on_input("--limit", type=click.IntRange(1), metavar="N", help="Read N rows at most.")
@on_input("--skip-bad", is_flag=True, help="Skip rows that cannot be used, and list them.")
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
    default="sigmoid",
    show_default=True,
    help="Output function.",
)
@on_model("--classes", type=Classes(), help="Labels to know from the start.")
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
    type=click.IntRange(0, 2**64 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of initial weights and random draws.",
)
@on_output(
    "-p",
    "--predictions",
    type=click.File("w", encoding="utf-8", lazy=True),
    metavar="FILE|-",
    help="Write the prediction for every sample, a line of JSON each.",
)
@on_output("--json", "as_json", is_flag=True, help="Progress and summary as JSON.")
@on_output("--quiet", is_flag=True, help="Only warnings and errors, and the summary of --json.")
def learn(
    sources: tuple[str, ...],
    label: str | None,
    ignore: tuple[str, ...],
    weight: str | None,
    scale: float | None,
    at_random: bool,
    passes: int | None,
    limit: int | None,
    skip_bad: bool,
    stop: bool,
    classes: tuple[str, ...] | None,
    seed: int,
    predictions: IO[str] | None,
    as_json: bool,
    quiet: bool,
    **parameters: Any,
) -> None:
    """Predict every sample, then learn it, and report how the predictions did.

    SOURCE is one or more Parquet files, read in order. The label column is found by its name. The
    features are the one column of lists, bytes or images if there is one, else all number and bool
    columns.

    \b
    stream-perceptron learn mnist-train.parquet
    stream-perceptron learn mnist-train.parquet --lr 0.1 --epsilon 0.03
    stream-perceptron learn mnist-train.parquet --random --stop --epsilon 0.01
    stream-perceptron learn mnist-train.parquet -p - --quiet | head -3

    Accuracy is progressive: every sample counts as a test before it is learned. The error of a
    sample, eps, is half its squared error, summed over the outputs.
    """
    if as_json and predictions is not None and predictions.name == "-":
        raise click.UsageError("--json and -p - both want stdout: write predictions to a file")

    from stream_perceptron import SampleError
    from stream_perceptron.kernel import NAME as KERNEL
    from stream_perceptron.live import LiveModel
    from stream_perceptron.schema import Schema
    from stream_perceptron.sources import ParquetSource, RandomDraws

    files = [ParquetSource(source) for source in sources]
    schema = Schema(label, weight, ignore, scale)
    try:
        live = LiveModel.start(files, schema, classes, seed=seed, **parameters)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise click.UsageError(str(error)) from None
    if passes is None and not (at_random and stop):
        passes = 1
    inputs = [RandomDraws(files, seed)] if at_random else files

    line = ProgressLine(live, "quiet" if quiet else "json" if as_json else "text")
    skipped: list[str] = []
    try:
        for step in live.run(inputs, passes, limit, stop, skip_bad, predictions is not None):
            for note in step.notes:
                line.note(note)
            if predictions is not None:
                _write(step, predictions)
            skipped += step.skipped[: _LISTED - len(skipped)]
            line.update()
    except SampleError as error:
        line.finish()
        raise SampleError(f"{error}; --skip-bad leaves such rows out") from None
    except Exception:
        line.finish()
        raise
    line.finish()

    if as_json:
        summary = line.figures() | {
            "stopped": live.stopped,
            "skipped_rows": skipped,
            "classes": live.model.classes_,
            "kernel": KERNEL,
        }
        click.echo(json.dumps(summary))
    elif not quiet:
        for text in skipped:
            click.echo(f"skipped: {text}", err=True)
        if live.progress.skipped > len(skipped):
            click.echo(f"skipped: {live.progress.skipped - len(skipped):,} more rows", err=True)
        if live.stopped:
            click.echo(
                f"stopped at sample {live.progress.samples:,}: its error, "
                f"{live.model.last_epsilon:.3g}, is below epsilon",
                err=True,
            )
        click.echo("the model is not saved", err=True)


def _write(step: Step, file: IO[str]) -> None:
    for row, prediction, probability, label in zip(
        step.rows.tolist(), step.predictions, step.probabilities.tolist(), step.labels, strict=True
    ):
        record = {"row": row, "prediction": prediction, "probability": probability, "label": label}
        if prediction is None:
            record["probability"] = None
        file.write(json.dumps(record) + "\n")
