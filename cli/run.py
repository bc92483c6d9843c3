"""A run of `learn`, from opening its inputs to printing its summary."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_perceptron import (
    CheckpointError,
    DivergedError,
    LiveModel,
    ModelSizeError,
    SourceError,
)
from stream_perceptron.checkpoint.archive import get_previous_path, lock_checkpoint
from stream_perceptron.checkpoint.codec import to_json
from stream_perceptron.data.naming import find_column
from stream_perceptron.data.source import Source
from stream_perceptron.live.history import History, Shards
from stream_perceptron.live.loop import learn
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.thresholds import Thresholds
from stream_perceptron.model.class_weights import list_spellings

from .command import Options, convert_value_errors, format_flag
from .files import require_distinct_files, require_regular
from .output import (
    MIN_LABELED,
    CommandState,
    LabelsError,
    Output,
    print_summary,
    require_classes,
    warn_of_unknown_classes,
    warn_of_unseen_names,
)
from .predictions import LineFormatter, PredictionFile, make_formatter, open_predictions
from .printable import format_count, print_message
from .reading import (
    announce_terminal_input,
    describe_lost_bytes,
    make_read_options,
    open_sources,
    require_runnable,
    suggest_skip_bad,
)
from .rejections import RejectedRowFormatter, Rejections
from .signals import InterruptedWaitError, Signals
from .watch import run_watched

if TYPE_CHECKING:
    from stream_perceptron.distributed.ray import Round

_PARAMETERS = (
    "lr", "epsilon", "activation", "init_range", "seed", "max_weights", "class_weight"
)  # fmt: skip
_CHANGEABLE = ("epsilon", "lr", "max_weights")


def run(o: Options) -> int:
    """Run `learn`, and return the exit code."""
    if o.ray is None:
        return _run(o)
    return run_watched(
        partial(_run, o),
        "Ray ended the run, because one of its processes on this machine was killed or ran out of "
        "memory: repeat the command to resume after the last round saved",
    )


def _run(o: Options) -> int:
    """Run `learn` in this process, and return the exit code."""
    announce_terminal_input(o.sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=o.model is not None))
        try:
            opened = Run(o, signals, stack)
        except InterruptedWaitError:
            return signals.exit_code
        opened.learn()
        return signals.exit_code if signals.is_set else 0


class Run:
    """A run, which trains a model, saves it and reports progress.

    All inputs and outputs are opened, and `stack` closes them; the checkpoint is not written.
    """

    def __init__(self, o: Options, signals: Signals, stack: ExitStack) -> None:
        self._o, self._signals, self._stack = o, signals, stack
        self._reads_again = o.ray is not None
        self._passes = o.passes or 1
        saved = self._load()
        self._live, self._sources = signals.call_interruptibly(
            partial(self._open, saved), o.sources
        )
        live = self._live
        self._changed = self._change_parameters()
        if o.ray is not None:
            _connect_to_ray(o.ray, signals, stack)
        # Labels that are not classes end the run of a new model that was not told its classes.
        self._must_check_labels = live.is_unused and live.model.classes is None
        self._is_first_pass = self._run.passes == 0
        self._rejections = Rejections()
        self._thresholds = Thresholds(o.threshold)
        self._predictions, self._rejected = self._open_predictions(), None
        if o.rejected is not None:
            self._rejected = self._open_output(str(o.rejected), RejectedRowFormatter())
        self._outputs = [file for file in (self._predictions, self._rejected) if file is not None]
        if o.model is not None and any(file.is_new for file in self._outputs):
            self._save_outputs(o.model)  # if this run is killed, the next one recognizes its files
        # On Ray, save after each round, which contains at least one row.
        self._interval = 1 if o.ray is not None and "save_every" not in o.given else o.save_every
        self._saved_at, self._saved_rows, self._has_saved = time.monotonic(), self._run.read, False
        n_rows = None if o.stop else self._count_rows_to_read()
        owns_terminal = o.predictions != "-" or not sys.stdout.isatty()
        self._line = Output(live, self._state, o.as_json, o.quiet, n_rows, owns_terminal)
        self._print_start()

    def _load(self) -> LiveModel | None:
        """Lock and load the checkpoint, if there is one, and check that the options fit it."""
        o, path = self._o, self._o.model
        outputs = {"the_predictions": o.predictions, "the_rejected_rows": o.rejected}
        require_distinct_files(SOURCE=o.sources, MODEL=path, **outputs)
        require_regular(path, o.rejected)
        if path is None:
            return None
        # If a process was killed during a save, MODEL and MODEL.prev may be the same file.
        previous = get_previous_path(path)
        require_distinct_files(SOURCE=o.sources, the_previous_save=previous, **outputs)
        self._stack.enter_context(lock_checkpoint(path))
        if not path.exists() or o.overwrite:
            return None
        saved = LiveModel.load(path)
        require_runnable(saved, path)
        if not _has_learned_nothing(saved):
            _require_same_settings(saved, o)
        return saved

    def _open(self, saved: LiveModel | None) -> tuple[LiveModel, list[Source]]:
        """Find where each source continues, open it, and create the model if none is saved."""
        o = self._o
        is_resumed = saved is not None and not _has_learned_nothing(saved)
        history = History() if saved is None else saved.history
        if not (is_resumed or any(position.is_stream for position in history.positions)):
            history = History()  # files are read again
        opened, self._state = open_sources(o, self._signals, o.sources), CommandState()
        given = history.identify(opened, is_strict=not self._reads_again)
        reads_learned = self._reads_again or (o.passes or 1) > 1
        by_path = {source.path: source for source in opened}
        sources = [by_path[file.path] for file in given if reads_learned or not file.is_learned]
        if o.ray is not None:
            from stream_perceptron.distributed.rounds import require_parquet

            require_parquet(sources)
        if saved is None or not is_resumed:
            live = self._create_model(sources)
            if saved is not None and history is saved.history:
                live.progress, live.history = saved.progress, history
                live.redeliveries = saved.redeliveries
                self._state = CommandState.load(saved)
            elif saved is not None:
                self._state.outputs = dict.fromkeys(CommandState.load(saved).outputs, 0)
        else:
            live, read_options = saved, saved.read_options
            self._state = CommandState.load(saved)
            live.needs_label = o.predictions is None and not read_options.has_join
            if live.is_trained_in_python:
                read_options = replace(make_read_options(o), standardize=read_options.standardize)
            live.read_options = replace(read_options, keep=o.keep)
            live.require_fitting(sources)
        shards = None if o.shards is None else Shards(o.shards, o.round_rows)
        self._run = live.plan_run(sources, self._passes, shards=shards, given=given)
        return live, sources

    def _create_model(self, sources: list[Source]) -> LiveModel:
        """Create a model for the sources."""
        o = self._o
        read_options = make_read_options(o)
        parameters = {name: getattr(o, name) for name in _PARAMETERS}
        needs_label = o.predictions is None and o.join is None
        with convert_value_errors():
            try:
                return LiveModel.start(
                    sources, read_options, o.classes or None, needs_label, **parameters
                )
            except SourceError:
                for source in sources:
                    if text := describe_lost_bytes(source, has_model=False):
                        print_message(text, err=True)
                raise

    def _change_parameters(self) -> list[str]:
        """Change the parameters that may change; return the names of those that differ."""
        model = self._live.model
        values = {name: getattr(self._o, name) for name in _CHANGEABLE if name in self._o.given}
        changed = {name: value for name, value in values.items() if getattr(model, name) != value}
        with convert_value_errors():
            model.mutate(changed)
        return list(changed)

    def _open_predictions(self) -> PredictionFile | None:
        """Open the prediction output, if given; else return None."""
        o, live = self._o, self._live
        if o.predictions is None:
            return None
        classes = live.model.classes_ if o.scores else None
        formatter = make_formatter(o.predictions, o.output_format, live.read_options, classes)
        if formatter.header and classes == []:
            raise click.UsageError(
                "--scores in CSV needs a column for each class: list the classes with --classes"
            )
        return self._open_output(o.predictions, formatter)

    def _open_output(self, path: str, formatter: LineFormatter) -> PredictionFile:
        """Open an output and truncate it to its size at the last save; close it after the run."""
        o, folder, sizes = self._o, None, None
        if o.model is not None:
            folder, sizes = o.model.parent, None if o.overwrite else self._state.outputs
        opened = open_predictions(path, formatter, self._signals, folder, sizes)
        self._stack.callback(opened.close)
        return opened

    def _count_rows_to_read(self) -> int | None:
        """Return the number of rows to read, or None if it is unknown."""
        limit, counts = self._o.limit, [source.n_rows for source in self._sources]
        if self._passes is None or None in counts:
            return limit  # type: ignore[no-any-return]
        rows = self._passes * sum(count for count in counts if count is not None)
        if not (self._reads_again or self._passes > 1):
            rows += sum(file.position.rows for file in self._run.given if file.is_learned)
        return rows if limit is None else min(limit, rows)

    def _print_start(self) -> None:
        """Print where the run resumes, and what the user should know about files and options."""
        o, live, print_notice = self._o, self._live, self._line.print_notice
        for output in self._outputs:
            if output.notice is not None:
                print_notice(output.notice)
        if live.progress.rows:
            print_notice(f"resuming {o.model} after {format_count(live.progress.rows, 'row')}")
        for name in self._changed:
            value = getattr(live.model, name)
            shown = f"{value:,}" if name == "max_weights" else f"{value:g}"
            print_notice(f"{name.replace('_', '-')} is {shown} from now on")
        for file in () if self._reads_again else self._run.given:
            if file.notice is not None:
                print_notice(file.notice)

    def learn(self) -> None:
        """Learn all rows, save, and print the summary."""
        live = self._live
        # Close the generator before Python exits, to stop its prefetch thread.
        results = self._stack.enter_context(closing(self._iterate_results()))
        try:
            with suggest_skip_bad():
                for result in results:
                    self._handle_result(result)
                    self.save_if_due()
        except MemoryError:
            self._finish_after_error()
            names = live.model.classes_, live.model.features_
            raise ModelSizeError(
                f"out of memory with {len(names[0]):,} labels and {len(names[1]):,} features"
            ) from None
        except LabelsError:
            self._line.finish()
            raise
        except ValueError as error:
            self._finish_after_error(isinstance(error, DivergedError))
            raise
        self._finish()

    def _iterate_results(self) -> Generator[StepResult | Round, None, None]:
        """Return a generator that learns rows, locally or on Ray, and yields results."""
        o, live, run = self._o, self._live, self._run
        skips = o.skip_bad or o.rejected is not None
        if o.ray is not None:
            from stream_perceptron.distributed.ray import run as run_on_ray
            from stream_perceptron.distributed.rounds import require_parquet

            files = require_parquet(self._sources)
            return run_on_ray(live, files, run, self._passes or 1, skips, not o.keep_lr)
        return learn(
            live,
            self._sources,
            run,
            passes=self._passes,
            limit=o.limit,
            stop=o.stop,
            skip_rejected=skips,
            with_scores=o.predictions is not None,
            with_all_scores=o.scores or bool(o.threshold),
            every=self._row_interval,
        )

    def _handle_result(self, result: StepResult | Round) -> None:
        """Print notices and progress, and write the predictions and rejected rows of a result."""
        for notice in result.notices:
            self._line.print_notice(notice)
        if result.notices:
            from stream_perceptron.diagnostics.scaling import warn_of_large_features

            if (warning := warn_of_large_features(self._live)) is not None:
                self._line.print_notice(warning)
        if self._run.passes == 1 and self._is_first_pass:
            self._line.print_notice(
                "second pass: rows already learned do not count toward the accuracy"
            )
        self._is_first_pass = self._run.passes == 0
        if result.rejected:
            self._rejections.add(result.rejected)
        if self._must_check_labels and self._live.model.n_seen >= MIN_LABELED:
            self._require_classes()
        self._line.update(result.is_report_due)
        if isinstance(result, StepResult):
            self._write(result)

    def _write(self, result: StepResult) -> None:
        """Write the rejected rows and the predictions of a result."""
        if self._rejected is not None and self._is_first_pass:
            self._rejected.write(result)
        if self._predictions is None:
            return
        try:
            self._predictions.write(self._thresholds.apply(result, self._o.scores))
        except BrokenPipeError:
            if self._o.model is None:
                raise
            # End as after a signal: rows that were read from a pipe are still learned.
            self._signals.trigger(signal.SIGPIPE)

    def _require_classes(self) -> None:
        """Check that the labels of a new model that has not been saved are classes."""
        self._must_check_labels = False
        if not self._has_saved:
            require_classes(self._live, self._sources[0])

    @property
    def _row_interval(self) -> int | None:
        """The number of rows between two saves; None if saves are timed or nothing is saved."""
        interval = self._interval
        return interval if self._o.model is not None and isinstance(interval, int) else None

    def save_if_due(self) -> None:
        """Save if rows were read and the interval in rows or seconds has passed."""
        read = self._run.read
        self._saved_rows = min(self._saved_rows, read)  # a run may begin anew
        if self._o.model is None or read == self._saved_rows:
            return
        if (interval := self._row_interval) is not None:
            is_due = read // interval > self._saved_rows // interval
        else:
            is_due = time.monotonic() >= self._saved_at + self._interval
        if is_due:
            self._save()

    def _save(self) -> bool:
        """Save the model if a path is set and a further run needs it; return whether it was saved.

        If no row was learned or predicted, a further run needs only the position in a pipe, which
        cannot be read again, and the sizes of the output files.
        """
        path, run, live = self._o.model, self._run, self._live
        if path is None:
            return False
        has_output = any(file.has_lines for file in self._outputs)
        self._saved_at, self._saved_rows = time.monotonic(), run.read
        is_without_rows = live.is_unused or run.has_only_rejected
        if is_without_rows and not (has_output or (run.has_stream and run.read)):
            return False
        self._save_outputs(path)
        self._has_saved = True
        return True

    def _save_outputs(self, path: Path) -> None:
        """Save the model with the sizes of the output files."""
        for file in self._outputs:
            file.sync(self._state.outputs)
        self._live.command_state = to_json(self._state)
        self._live.save(path)

    def _finish(self) -> None:
        """Save the model and print the summary; raise an error if no row could be used."""
        o, live, line, run = self._o, self._live, self._line, self._run
        # Without a signal, leftover bytes were read beyond --limit or --stop.
        for source in self._sources if self._signals.is_set else []:
            if text := describe_lost_bytes(source):
                line.print_notice(text)
        line.finish()
        if self._must_check_labels:
            self._require_classes()
        line.print_findings()  # before saving, because the checkpoint records the printed events
        is_saved = self._save()
        if run.has_only_rejected and not self._signals.is_set:
            if is_saved:
                line.print_notice(f"saved {o.model}")
            raise self._rejections.build_error(run.read)
        is_complete = o.limit is None and not self._signals.is_set
        if line.rows and is_complete and live.needs_label and not live.progress.samples:
            raise SourceError(
                f"{self._sources[0].name}: no row has a label: name the label column with "
                "--label, or ask for predictions with -p"
            )
        if line.rows:
            for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live, o.threshold)):
                line.print_notice(text)
        elif not live.is_unused:
            line.print_notice(self._explain_no_new_rows())
        last_line = "model not saved; use -m MODEL to keep it"
        if o.model is not None:
            last_line = f"saved {o.model}" if is_saved else "nothing to save: no row was learned"
        if self._signals.caught == signal.SIGINT:
            last_line = f"interrupted; {last_line}"
        path = o.model if is_saved else None
        print_summary(line, path, self._rejections, last_line)

    def _explain_no_new_rows(self) -> str:
        """Return the reason why no row was learned."""
        live = self._live
        if live.n_redelivered:
            return "nothing new: every row was already learned"
        if live.stopped:
            return "nothing new: the run has already stopped"
        if live.history.run.is_finished:
            return "nothing new: all requested rows were already learned"
        return "no new rows"

    def _finish_after_error(self, diverged: bool = False) -> None:
        """Report and save the progress made before an error."""
        path, line = self._o.model, self._line
        line.finish()
        with suppress(MemoryError):  # saving matters more than findings
            line.print_findings(diverged)
        if path is None or (not line.rows and self._predictions is None):
            return
        if not self._live.is_consistent:
            line.print_notice(f"{path} still has the last save, because a step did not finish")
        elif self._save():
            line.print_notice(f"saved {path}")


def _has_learned_nothing(live: LiveModel) -> bool:
    """Whether a run has begun but learned no row; the settings of the model may then change."""
    return live.is_unused and (live.progress.rows > 0 or live.command_state is not None)


def _connect_to_ray(address: str, signals: Signals, stack: ExitStack) -> None:
    """Connect to a Ray cluster; closing `stack` ends the connection."""
    from stream_perceptron.distributed.ray import connect_cluster, require_same_version

    # Ray prints a lot while it waits, and its signal handlers exit with the signal's number.
    try:
        with _silence_stderr():
            stack.enter_context(connect_cluster(address or None))
    except SystemExit:
        signals.caught = signals.caught or signal.SIGTERM
        raise InterruptedWaitError from None
    signals.install()
    require_same_version()


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Redirect stderr to /dev/null inside a `with` block, even for C libraries."""
    sys.stderr.flush()
    descriptor = sys.stderr.fileno()
    saved_descriptor, devnull = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    try:
        yield
    finally:
        os.dup2(saved_descriptor, descriptor)
        os.close(saved_descriptor)
        os.close(devnull)


def _require_same_settings(live: LiveModel, o: Options) -> None:
    """Check that options that cannot change have the values with which the model was created."""
    model, columns = live.model, live.schema.columns
    names = "activation", "init_range", "class_weight"
    settings = {name: getattr(model, name) for name in names} | {"seed": model.seed_}
    if isinstance(weights := model.class_weight, Mapping):
        settings["class_weight"] = {list_spellings(label)[0]: w for label, w in weights.items()}
    settings["classes"] = model.classes and [list_spellings(label)[0] for label in model.classes]
    for setting in fields(live.read_options):
        if setting.compare and (not live.is_trained_in_python or setting.name == "standardize"):
            settings[setting.name] = getattr(live.read_options, setting.name)
    if settings.get("label", "") is None:
        settings["label"] = live.schema.label  # as found by its name
    for name in sorted(settings.keys() & o.given):
        value, saved = getattr(o, name), settings[name]
        # A column may be given by its name, in any letter case, or by its position.
        if _resolve_columns(value, columns) != _resolve_columns(saved, columns):
            raise CheckpointError(
                f"{o.model}: {format_flag(name)} cannot change for an existing model (it is "
                f"{_format_setting(saved)}): leave it out, or start over with --overwrite"
            )


def _resolve_columns(value: object, columns: Sequence[str]) -> object:
    """Return a value in which strings that name columns are replaced by the exact names."""
    if isinstance(value, tuple | list):
        return tuple(_resolve_columns(each, columns) for each in value)
    return (isinstance(value, str) and find_column(value, columns)) or value


def _format_setting(value: object) -> str:
    """Return a setting of a model as users would describe it."""
    if isinstance(value, dict):
        return ", ".join(f"{label}={weight:g}" for label, weight in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return {"None": "not set", "\t": "tab", " ": "space"}.get(str(value), str(value))
