"""Models and sources of commands."""

from __future__ import annotations

import sys
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import click

from .command import SuggestionError
from .signals import Signals
from .terminal import format_count, print_message

if TYPE_CHECKING:
    from pathlib import Path

    from stream_perceptron import LiveModel
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.reload import Reload
    from stream_perceptron.live.step_result import StepResult

    from .command import Options


def predict_source(
    source: Source,
    live: LiveModel,
    reload: Reload | None = None,
    is_test: bool = False,
    **settings: Any,
) -> Iterator[StepResult]:
    """Yield predictions until a source ends or a signal arrives.

    Columns that the model does not know are reported on stderr and, in a test, rows that it has
    learned. The other parameters are those of `live.predict`.
    """
    from stream_perceptron.live.loop import predict

    if is_test and not source.is_stream:
        _warn_of_learned_rows(source, live)
    return _report_problems(source, live, predict(live, source, reload, **settings))


def _warn_of_learned_rows(source: Source, live: LiveModel) -> None:
    """Warn if a model has learned rows of a file that tests it."""
    from stream_perceptron.data.notices import build_warning
    from stream_perceptron.live.files import identify_files

    (file,) = identify_files(live.history.files, [source], is_strict=False)
    if n_rows := file.progress.position.rows:
        rows = format_count(n_rows, "row")
        text = f"{source.name}: the model has learned {rows} of this file, so its accuracy on new "
        print_message(build_warning(f"{text}rows may be lower"))


def _report_problems(
    source: Source, live: LiveModel, results: Generator[StepResult, None, None]
) -> Iterator[StepResult]:
    """Yield the results for a source; report names that do not fit and lost bytes on stderr."""
    from stream_perceptron.data.notices import UNKNOWN_COLUMNS, build_warning

    n_rows = n_values = 0
    # Close the generator before Python exits, to stop its prefetch thread.
    with suggest_skipping_rejected_rows(), closing(results):
        for result in results:
            for notice in result.batch.notices:
                if notice.code == UNKNOWN_COLUMNS:
                    print_message(notice, notice.remedies)
            n_rows, n_values = n_rows + len(result.rows), n_values + len(result.batch.values)
            yield result
    if n_rows and not n_values and live.model.features_:
        problem = "no row had a feature of the model, so all predictions are alike"
        print_message(build_warning(f"{source.name}: {problem}"))
    if text := describe_lost_bytes(source):
        print_message(text)


def describe_lost_bytes(source: Source, is_model_saved: bool = True) -> str | None:
    """Return a warning if bytes from a pipe were lost because a signal ended the run, else None.

    If no model exists yet, complete rows are lost, too.
    """
    from stream_perceptron.data.notices import build_warning

    n = source.n_lost_bytes
    if not n:
        return None
    reason = "because no model existed yet"
    if is_model_saved:
        reason = (
            "because the run ended within a row; its rest is the first line of the next run on the "
            "pipe"
        )
    return build_warning(
        f"{source.name}: {format_count(n, 'byte')} {'was' if n == 1 else 'were'} lost, {reason}"
    )


@contextmanager
def suggest_skipping_rejected_rows() -> Iterator[None]:
    """Add a hint about --skip-bad to an error about a rejected row."""
    from stream_perceptron import ModelSizeError, SampleError

    try:
        yield
    except ModelSizeError:
        raise
    except SampleError as error:
        raise SampleError(f"{error}; to skip such rows", ["--skip-bad"]) from None


def load_for_prediction(options: Options) -> tuple[LiveModel, ReadOptions]:
    """Load a model, and return it with the read options for prediction.

    Sources are read as in training unless options say otherwise.
    """
    from stream_perceptron import LiveModel

    live = LiveModel.load(options.model)
    require_runnable(live, options.model)
    names = {"label", "missing", "delimiter", "decimal"} & options.given
    settings = {name: getattr(options, name) for name in names}
    return live, change_read_options(live, options.ignore, **settings)


def change_read_options(
    live: LiveModel, ignore: tuple[str, ...] = (), **settings: Any
) -> ReadOptions:
    """Return a model's read options for prediction, with more ignored columns and other changes."""
    # Saved column positions refer to the training sources, so resolve them to names first.
    named = live.read_options.resolve_positions(live.schema)
    ignore = tuple(dict.fromkeys([*named.ignore, *ignore]))
    is_label_required = "label" in settings
    return replace(named, ignore=ignore, is_label_required=is_label_required, **settings)


def require_runnable(live: LiveModel, path: Path) -> None:
    """Check that the model loaded from a file can learn and predict the rows of sources."""
    from stream_perceptron import CheckpointError

    try:
        live.require_runnable()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def require_known_classes(labels: Collection[str], live: LiveModel) -> None:
    """Check that a model with classes knows the labels given with --threshold."""
    from stream_perceptron.data.naming import suggest_similar_name
    from stream_perceptron.model.class_weights import list_spellings

    known = [text for label in live.model.classes_ for text in list_spellings(label)]
    for label in labels:
        if known and label not in known:
            hint = suggest_similar_name(label, known)
            error = SuggestionError if hint else click.UsageError
            raise error(f"--threshold: the model has no class {label!r}{hint}")


def announce_terminal_input(sources: tuple[str, ...]) -> None:
    """Print a notice if samples are read from a terminal."""
    if "-" in sources and sys.stdin.isatty():
        print_message("reading samples from the terminal, one per line; press Ctrl-D to end")


def make_read_options(options: Options) -> ReadOptions:
    """Return the read options given on the command line."""
    from stream_perceptron.data.schema import ReadOptions

    settings = {name: value for name, value in vars(options).items() if value is not None}
    names = {setting.name for setting in fields(ReadOptions)}.intersection(settings)
    return ReadOptions(**{name: settings[name] for name in names})


def iter_sources(
    paths: Sequence[str], file_format: str | None, signals: Signals
) -> Iterator[Source]:
    """Yield opened sources; raise InterruptedWaitError if a signal arrives before all are open."""
    from stream_perceptron.data.opening import open_sources

    for i, source in enumerate(open_sources(paths, file_format, signals)):
        if i:
            signals.raise_if_caught()
        yield source


def open_sources(paths: Sequence[str], file_format: str | None, signals: Signals) -> list[Source]:
    """Return opened sources; raise InterruptedWaitError if a signal arrives before all are open."""
    return signals.call_interruptibly(
        lambda: list(iter_sources(paths, file_format, signals)), paths
    )
