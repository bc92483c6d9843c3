"""stream-perceptron learn."""

from __future__ import annotations

import signal
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
    quiet_stderr,
    section,
    sources_argument,
)
from .predictions import PredictionFile
from .progress_line import ProgressLine
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .summary import summarise, tell_findings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from stream_perceptron import LiveModel
    from stream_perceptron.data.parquet import ParquetSource
    from stream_perceptron.data.source import Source
    from stream_perceptron.distributed.ray import Round

_LISTED = 10  # skipped rows that the summary names
_EVERY_ROUND = 1  # row, and no round has fewer

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
    ray: str | None,
    shards: int | None,
    round_rows: int,
    keep_lr: bool,
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

    With --ray Parquet files are learned by many processes or machines, each of which has its share
    of the rows. Every round they go on from one model, are averaged, and are saved.

    \b
    stream-perceptron learn mnist-train.parquet -m mnist.npz --ray --shards 8
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
            option = _option(name)
            raise click.UsageError(f"{option} is about a checkpoint: name it with -m MODEL")
    if ray is None:
        for name in given & {"shards", "round_rows", "keep_lr"}:
            raise click.UsageError(f"{_option(name)} goes with --ray")
    else:
        _require_fit_for_ray(ray, shards, given)

    from stream_perceptron import DivergedError, LiveModel, SampleError
    from stream_perceptron.checkpoint.archive import locked
    from stream_perceptron.data.byte_stream import is_stream
    from stream_perceptron.data.opening import open_source
    from stream_perceptron.data.sampling import RandomDraws
    from stream_perceptron.data.schema import Schema
    from stream_perceptron.diagnostics.worked_sample import Lesson
    from stream_perceptron.live.cursor import Shards
    from stream_perceptron.live.model import Step
    from stream_perceptron.model.kernel import NAME as KERNEL

    if ray is not None:
        from stream_perceptron.distributed.ray import cluster, require_alike
        from stream_perceptron.distributed.ray import run as run_on_ray

    if any(map(is_stream, sources)) and (at_random or (passes or 1) > 1):
        raise click.UsageError("stdin and pipes can be read once only: no --random and no --passes")
    if any(map(is_stream, sources)) and ray is not None:
        raise click.UsageError("stdin and pipes cannot be shared out in shards: name Parquet files")
    hint_at_terminal(sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        if path is not None:
            stack.enter_context(locked(path))
        saver = Saver(path, save_every if ray is None or "save_every" in given else _EVERY_ROUND)
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
            parquet = [] if ray is None else _parquet_files(files)
            plan = None if shards is None else Shards(shards, round_rows)
            known = {identity.name for identity in live.position.sources if not identity.is_stream}
            if path is not None or plan is not None:
                live.go_on_with(inputs, go_next, plan)
        except InterruptedWaitError:
            ctx.exit(signals.exit_code)
        if ray is not None:
            # Ray tells at length that it waits, and puts handlers of its own in place, which exit
            # with the number of the signal.
            try:
                with quiet_stderr():
                    stack.enter_context(cluster(ray or None))
            except SystemExit:
                ctx.exit(128 + signal.SIGTERM)
            signals.install()
            require_alike()
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
        steps: Generator[Step | Round, None, None]
        if ray is None:
            steps = live.run(
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
        else:
            steps = run_on_ray(
                live,
                parquet,
                n_passes or 1,
                skip_bad,
                not keep_lr,
                lambda: signals.caught is not None,
            )
        # Closed before Python ends, as a thread reads ahead for it.
        run = stack.enter_context(closing(steps))
        skipped: list[str] = []
        try:
            for step in run:
                for note in step.notes:
                    line.note(note)
                if isinstance(step, Step) and step.before is not None and step.sample is not None:
                    model = live.model
                    lesson = Lesson.of(step.before, model, step.sample)
                    if lesson is not None:
                        number = int(step.rows[0])
                        line.show(lesson_table(number, lesson, model.activation, model.epsilon))
                if isinstance(step, Step) and predictions is not None:
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
            raise
        except SampleError as error:
            line.finish()
            saver.save()
            raise SampleError(f"{error}; --skip-bad leaves such rows out") from None
        except ValueError as error:
            line.finish()
            saver.save()
            if isinstance(error, DivergedError):
                tell_findings(live, line, quiet, diverged=True)
            raise
        saver.save()
        line.finish()
        summarise(live, line, path, skipped, as_json, quiet)
        if signals.caught is not None:
            ctx.exit(signals.exit_code)


def _option(name: str) -> str:
    names = {"go_next": "next", "at_random": "random", "output": "predictions", "n_traced": "trace"}
    return "--" + names.get(name, name).replace("_", "-")


def _require_fit_for_ray(address: str, shards: int | None, given: set[str]) -> None:
    """Require that nothing was asked for that needs rows one after another."""
    for name in ("at_random", "stop", "limit", "position", "output", "n_traced"):
        if name in given:
            raise click.UsageError(f"{_option(name)} needs rows one after another: not with --ray")
    if Path(address).is_file():
        raise click.UsageError(f"--ray takes {address} for its address: put --ray behind the files")
    if shards is None:
        raise click.UsageError("--ray needs --shards N: as many as the cluster has processors")


def _parquet_files(sources: Sequence[Source]) -> list[ParquetSource]:
    from stream_perceptron import SourceError
    from stream_perceptron.data.parquet import ParquetSource

    files = []
    for source in sources:
        if not isinstance(source, ParquetSource) or source.is_stream:
            raise SourceError(f"{source.name}: only Parquet files can be shared out in shards")
        files.append(source)
    return files


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
