"""Sources of commands that do not learn."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .printable import counted, tell
from .signals import Signals

if TYPE_CHECKING:
    from pathlib import Path

    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import Reload

    from .options import ReadingOptions


def batches_of(
    source: str,
    file_format: str | None,
    live: LiveModel,
    signals: Signals,
    reload: Reload | None = None,
    joins_labels: bool = False,
) -> Iterator[Batch]:
    """Open a source to predict and yield its batches; a signal ends them.

    Columns unknown to the model are named on stderr. Other parameters are as for
    `LiveModel.batches`.
    """
    from stream_perceptron.data.opening import open_source

    opened = signals.call(partial(open_source, source, file_format, signals), [source])
    return _batches(opened, live, reload, joins_labels)


def _batches(
    opened: Source, live: LiveModel, reload: Reload | None, joins_labels: bool
) -> Iterator[Batch]:
    # Close it before Python ends, to stop its prefetch thread.
    with closing(live.batches(opened, reload, joins_labels)) as batches:
        for batch in batches:
            for note in batch.notes:
                if note.names_unknown:
                    tell(note, err=True)
            yield batch
    if text := describe_lost_bytes(opened):
        tell(text, err=True)


def describe_lost_bytes(source: Source, has_model: bool = True) -> str | None:
    """Return a warning of the bytes of a pipe that are lost after a signal, if there are any.

    Without a model, complete rows are lost, too.
    """
    from stream_perceptron.data.describe import warning

    n = source.n_lost_bytes
    if not n:
        return None
    reason = "as no model had begun yet"
    if has_model:
        reason = (
            "as the writer paused within a row for more than a second; the rest of that row will "
            "be the first line of the next run"
        )
    return warning(
        f"{source.name}: {counted(n, 'byte')} {'was' if n == 1 else 'were'} lost, {reason}"
    )


@contextmanager
def hinting_at_skips() -> Iterator[None]:
    """Add to the error of a rejected row how to skip such rows."""
    from stream_perceptron import FullError, SampleError

    try:
        yield
    except FullError:
        raise
    except SampleError as error:
        raise SampleError(f"{error}; --skip-bad skips such rows") from None


def load_to_read(path: Path, options: ReadingOptions) -> LiveModel:
    """Load a model to predict sources, read as it learned or as the options say."""
    from stream_perceptron import LiveModel

    live = LiveModel.load(path)
    require_runnable(live, path)
    names = {"label", "missing", "delimiter", "decimal"} & options.given
    select_columns(live, options.ignore, **{name: getattr(options, name) for name in names})
    return live


def select_columns(live: LiveModel, ignore: tuple[str, ...] = (), **settings: Any) -> None:
    """Change how a model reads what it predicts: ignore more columns, set fields of a Selection."""
    from stream_perceptron.data.roles import named

    # Saved positions refer to the learned source, so turn them into names first.
    learned = named(live.selection, live.schema)
    ignore = tuple(dict.fromkeys([*learned.ignore, *ignore]))
    is_label_sure = "label" in settings
    live.selection = replace(learned, ignore=ignore, is_label_sure=is_label_sure, **settings)


def require_runnable(live: LiveModel, path: Path) -> None:
    """Check that the model in a file can learn and predict without River."""
    from stream_perceptron import CheckpointError

    try:
        live.require_runnable()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def require_known_classes(labels: Collection[str], live: LiveModel) -> None:
    """Check that a model with classes knows the labels of --threshold."""
    from stream_perceptron.data.naming import meant
    from stream_perceptron.model.class_weights import list_spellings

    known = [text for label in live.model.classes_ for text in list_spellings(label)]
    for label in labels:
        if known and label not in known:
            raise click.UsageError(
                f"--threshold: the model has no class {label!r}{meant(label, known)}"
            )


def hint_at_terminal(sources: tuple[str, ...]) -> None:
    """Say that samples are read from the terminal, if stdin is one."""
    if "-" in sources and sys.stdin.isatty():
        click.echo("reading samples from the terminal, one per line; Ctrl-D ends", err=True)
