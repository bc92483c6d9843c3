"""stream-perceptron learn."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .lesson_table import lesson_table
from .options import (
    ActivationName,
    Classes,
    Command,
    Interval,
    Names,
    Number,
    Scale,
    bad_parameters_are_usage_errors,
    format_option,
    hint_at_terminal,
    section,
    sources_argument,
)
from .predictions import PredictionFile, silence_stdout
from .progress_line import ProgressLine
from .signals import InterruptedWaitError, Signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_perceptron import LiveModel
    from stream_perceptron.sources import Source

_LISTED = 10  # skipped rows that the summary names

on_input = section("Input")
on_model = section("Model")
on_checkpoint = section("Checkpoint")
on_output = section("Output")


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
def learn(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    file_format: str | None,
    label: str | None,
    ignore: tuple[str, ...],
    weight: str | None,
    position: tuple[str, ...],
    scale: float | None,
    at_random: bool,
    passes: int | None,
    limit: int | None,
    skip_bad: bool,
    stop: bool,
    classes: tuple[str, ...] | None,
    path: Path | None,
    save_every: int | float,
    overwrite: bool,
    go_next: bool,
    output: str | None,
    n_traced: int | None,
    as_json: bool,
    quiet: bool,
    **parameters: Any,
) -> None:
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
    """
    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if as_json and output == "-":
        raise click.UsageError("--json and -p - both want stdout: write predictions to a file")
    if "-" in sources and len(sources) > 1:
        raise click.UsageError("stdin goes with no other SOURCE: leave - out, or the others")
    for name in given & {"save_every", "overwrite", "go_next"}:
        if path is None:
            option = {"go_next": "next"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--{option} is about a checkpoint: name it with -m MODEL")

    from stream_perceptron import DivergedError, LiveModel, SampleError
    from stream_perceptron.checkpoint import locked
    from stream_perceptron.formats import open_source
    from stream_perceptron.inputs import is_stream
    from stream_perceptron.kernel import NAME as KERNEL
    from stream_perceptron.schema import Schema
    from stream_perceptron.sources import RandomDraws

    if any(map(is_stream, sources)) and (at_random or (passes or 1) > 1):
        raise click.UsageError("stdin and pipes can be read once only: no --random and no --passes")
    hint_at_terminal(sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        if path is not None:
            stack.enter_context(locked(path))
        saver = _Saver(path, save_every)
        changed: dict[str, Any] = {}
        live = None
        if path is not None and path.exists() and not overwrite:
            live = LiveModel.load(path)
            _require_agreement(live, path, given, ctx.params)
            changed = {name: parameters[name] for name in given & {"lr", "epsilon"}}
            live.model.mutate(changed)
        try:
            files = [open_source(source, file_format, signals.wait) for source in sources]
            if live is None:
                schema = Schema(label, weight, ignore, scale, position)
                with bad_parameters_are_usage_errors():
                    live = LiveModel.start(files, schema, classes, **parameters)
            inputs: list[Source] = files
            if at_random:
                inputs = [RandomDraws(files, live.model.seed_)]
            known = {identity.name for identity in live.position.sources if not identity.is_stream}
            if path is not None:
                live.go_on_with(inputs, go_next)
        except InterruptedWaitError:
            ctx.exit(signals.exit_code)
        predictions = None
        if output is not None:
            folder = None if path is None else path.parent
            predictions = PredictionFile(output, folder, live.position.output)

        n_passes = None if at_random and stop and passes is None else passes or 1
        line = ProgressLine(
            live,
            "quiet" if quiet else "json" if as_json else "text",
            None if stop else _rows_to_read(inputs, n_passes, limit),
        )
        if live.progress.rows:
            line.note(f"going on after row {live.progress.rows:,} of {path}")
        if live.kernel != KERNEL:
            line.note(
                f"warning: saved with the kernel {live.kernel}, goes on with {KERNEL}: the same to "
                "rounding, not to the bit"
            )
        if live.position.read == 0:
            for name in known.intersection(sources):
                line.note(f"warning: {name} has changed where it was read, and is read anew")
        for name, value in changed.items():
            line.note(f"{name} is {value:g} from here on")
        saver.begin(live, predictions)
        # Closed before Python ends, as a thread reads ahead for it.
        run = stack.enter_context(
            closing(
                live.run(
                    inputs,
                    n_passes,
                    limit,
                    stop,
                    skip_bad,
                    predictions is not None,
                    saver.rows,
                    saver.save_if_due,
                    n_traced or 0,
                )
            )
        )
        skipped: list[str] = []
        try:
            for step in run:
                for note in step.notes:
                    line.note(note)
                if step.lesson is not None:
                    model = live.model
                    line.show(
                        lesson_table(
                            int(step.rows[0]), step.lesson, model.activation, model.epsilon
                        )
                    )
                if predictions is not None:
                    predictions.write(step)
                skipped += step.skipped[: _LISTED - len(skipped)]
                line.update()
                # What was read of a pipe already is nowhere else; the waiting ends such a run.
                if signals.caught is not None and not inputs[0].is_stream:
                    break
                saver.save_if_due()
        except InterruptedWaitError:
            pass
        except BrokenPipeError:
            saver.save()
            silence_stdout()
            ctx.exit(141)
        except SampleError as error:
            line.finish()
            saver.save()
            raise SampleError(f"{error}; --skip-bad leaves such rows out") from None
        except ValueError as error:
            line.finish()
            saver.save()
            if isinstance(error, DivergedError):
                _tell_findings(live, line, quiet, diverged=True)
            raise
        saver.save()
        line.finish()
        _summarise(live, line, path, skipped, as_json, quiet)
        if signals.caught is not None:
            ctx.exit(signals.exit_code)


class _Saver:
    """Saves a model with what was written of its predictions, now and then."""

    def __init__(self, path: Path | None, every: int | float) -> None:
        self._path = path
        self.rows = every if path is not None and isinstance(every, int) else None
        self._seconds = None if path is None or isinstance(every, int) else every
        self._live: LiveModel | None = None
        self._predictions: PredictionFile | None = None
        self._saved_at = time.monotonic()
        self._saved_rows = 0

    def begin(self, live: LiveModel, predictions: PredictionFile | None) -> None:
        """Say what is to be saved."""
        self._live, self._predictions = live, predictions
        self._saved_rows = live.position.read

    def seconds_left(self) -> float | None:
        """Return the time until rows that wait for it must be saved, None if there are none."""
        if self._seconds is None or not self._has_news():
            return None
        return max(0.0, self._saved_at + self._seconds - time.monotonic())

    def save_if_due(self) -> float | None:
        """Save after so many rows, or so much time; return the time left."""
        if self._live is None:
            return None
        if self.rows is not None:
            is_due = self._live.position.read % self.rows == 0 and self._has_news()
        else:
            is_due = self.seconds_left() == 0.0
        if is_due:
            self.save()
        return self.seconds_left()

    def save(self) -> None:
        """Save now, if there is a model to be saved."""
        if self._path is None or self._live is None:
            return
        if self._predictions is not None:
            self._live.position.output = self._predictions.sync() or self._live.position.output
        try:
            self._live.save(self._path)
        except OSError as error:
            error.filename = str(self._path)
            raise
        self._saved_at = time.monotonic()
        self._saved_rows = self._live.position.read

    def _has_news(self) -> bool:
        return self._live is not None and self._live.position.read != self._saved_rows


def _require_agreement(
    live: LiveModel, path: Path, given: set[str], options: dict[str, Any]
) -> None:
    """Require that options about the making of a model are those that it was made with."""
    from stream_perceptron import CheckpointError

    model, schema = live.model, live.schema
    made_with = {
        "activation": model.activation,
        "init_range": model.init_range,
        "dtype": model.dtype,
        "seed": model.seed_,
        "classes": model.classes,
        "label": schema.label,
        "weight": schema.weight,
        "ignore": schema.ignore,
        "scale": schema.scale,
        "position": schema.position,
    }
    for name in made_with.keys() & given:
        value = options[name]
        if name == "classes":
            value = schema.classes_of(value)
        if value != made_with[name]:
            option = name.replace("_", "-")
            raise CheckpointError(
                f"{path}: --{option} is {value!r}, but the model was made with "
                f"{made_with[name]!r}; leave the option out, or begin anew with --overwrite"
            )


def _rows_to_read(inputs: Sequence[Source], passes: int | None, limit: int | None) -> int | None:
    """Return how many rows all will be, None if that is not known."""
    counts = [source.n_rows for source in inputs]
    if passes is None or None in counts:
        return limit
    rows = passes * sum(count for count in counts if count is not None)
    return rows if limit is None else min(limit, rows)


def _tell_findings(
    live: LiveModel, line: ProgressLine, quiet: bool, diverged: bool = False
) -> None:
    if quiet:
        return
    from stream_perceptron.diagnosis import diagnose

    for finding in diagnose(live, diverged):
        line.note(f"diagnosis: {finding}")


def _summarise(
    live: LiveModel,
    line: ProgressLine,
    path: Path | None,
    skipped: list[str],
    as_json: bool,
    quiet: bool,
) -> None:
    from stream_perceptron.diagnosis import diagnose
    from stream_perceptron.kernel import NAME as KERNEL

    if as_json:
        summary = line.figures() | {
            "replayed": live.replayed,
            "stopped": live.stopped,
            "skipped_rows": skipped,
            "classes": live.model.classes_,
            "kernel": KERNEL,
            "model": None if path is None else str(path),
            "diagnosis": [vars(finding) for finding in diagnose(live)],
        }
        click.echo(json.dumps(summary, default=str))
    if as_json or quiet:
        return
    for text in skipped:
        click.echo(f"skipped: {text}", err=True)
    if live.progress.skipped > len(skipped):
        click.echo(f"skipped: {live.progress.skipped - len(skipped):,} more rows", err=True)
    if live.replayed:
        click.echo(f"left out: {live.replayed:,} rows that were learned before", err=True)
    if live.stopped:
        click.echo(
            f"stopped at sample {live.progress.samples:,}: its error, "
            f"{live.model.last_epsilon:.3g}, is below epsilon",
            err=True,
        )
    _tell_findings(live, line, quiet)
    if path is None:
        click.echo("the model is not saved: -m MODEL would", err=True)
    else:
        click.echo(f"saved {path}", err=True)
