"""The opening of a run of `learn`: its checkpoint, sources, model and cursor."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

from stream_perceptron import CheckpointError, LiveModel, SourceError
from stream_perceptron.checkpoint.archive import locked, previous_of
from stream_perceptron.data.naming import column_called, is_position
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.marks import may_repeat
from stream_perceptron.model.class_weights import list_spellings

from .command import bad_parameters_are_usage_errors
from .files import require_different, require_regular
from .learn import LearnOptions
from .printable import tell
from .reading import describe_lost_bytes, require_runnable
from .signals import InterruptedWaitError, Signals
from .training import usual_lr

_PARAMETERS = (
    "lr", "epsilon", "activation", "init_range", "seed", "max_weights", "class_weight"
)  # fmt: skip
_NAMES = {"label", "weight", "ignore", "position", "one_hot", "dates", "words"}  # of columns
_CHANGEABLE = {"lr", "epsilon", "max_weights"}


class Opened(NamedTuple):
    """A model, its sources, and the cursor to begin at; None for the model's own."""

    live: LiveModel
    sources: list[Source]
    cursor: Cursor | None
    changed: tuple[str, ...]  # the parameters that have new values


def open_model(options: LearnOptions, signals: Signals, stack: ExitStack) -> Opened:
    """Lock the checkpoint and open the sources until the stack closes; write nothing."""
    o, saved = options, None
    outputs = {"the_predictions": o.output, "the_rejected_rows": o.rejected}
    require_different(SOURCE=o.sources, MODEL=o.path, **outputs)
    if o.path is not None:  # after a killed save, MODEL and MODEL.prev may be one file
        require_different(SOURCE=o.sources, the_previous_save=previous_of(o.path), **outputs)
    require_regular(o.path, o.rejected)
    if o.path is not None:
        stack.enter_context(locked(o.path))
        if o.path.exists() and not o.overwrite:
            saved = LiveModel.load(o.path)
            require_runnable(saved, o.path)
            if not _has_only_rejected(saved):
                _require_same_settings(saved, o)
            elif not saved.cursor.is_of_stream:  # files are read again, with the new settings
                saved = None
    live, sources, cursor = signals.call(partial(_open, o, signals, saved), o.sources)
    values = {name: getattr(o, name) for name in sorted(o.given & _CHANGEABLE)}
    changed = {name: value for name, value in values.items() if getattr(live.model, name) != value}
    live.model.mutate(changed)
    if o.ray is not None:
        _connect(o.ray, signals, stack)
    return Opened(live, sources, cursor, tuple(changed))


def _open(
    options: LearnOptions, signals: Signals, saved: LiveModel | None
) -> tuple[LiveModel, list[Source], Cursor | None]:
    """Open the sources, find the cursor, and make the model if none is saved."""
    o = options
    if saved is None:
        sources = o.open_sources(signals, o.seed)
    else:
        marks = None if o.reads_whole_files else saved.marks
        seed = o.seed if _has_only_rejected(saved) else saved.model.seed_
        sources = o.open_sources(signals, seed, saved.cursor.header, marks)
    if o.ray is not None:
        from stream_perceptron.distributed.shards import require_parquet

        require_parquet(sources)
    if saved is None:
        live = _start(o, sources)
    elif _has_only_rejected(saved):
        live = _start(o, sources)
        live.ledger = saved.ledger  # with the place in the pipe, and in the files of output
    else:
        live = saved
        live.needs_label = o.output is None and not live.selection.joins
        selection = live.selection
        if live.is_of_python:
            selection = replace(o.select(sources, o.standardize), standardize=selection.standardize)
        live.selection = replace(selection, keep=o.keep)
    cursor = None
    # Without a checkpoint, files need marks only to be told from copies of each other.
    if o.path is not None or o.ray is not None or may_repeat(sources):
        shards = None if o.shards is None else Shards(o.shards, o.round_rows)
        epochs = None if o.is_endless else o.n_passes
        cursor = live.resume(sources, again=o.again, epochs=epochs, shards=shards)
    return live, sources, cursor


def _has_only_rejected(live: LiveModel) -> bool:
    """Return whether a model has read rows, but learned none, so that its settings may change."""
    return live.is_blank and live.progress.rows > 0


def _start(options: LearnOptions, sources: list[Source]) -> LiveModel:
    """Make a new model for some sources."""
    o = options
    selection = o.select(sources, o.standardize)
    parameters = {name: getattr(o, name) for name in _PARAMETERS}
    if o.lr is None:
        parameters["lr"] = usual_lr(selection, o.class_weight is not None)
    needs_label = o.output is None and o.join is None
    with bad_parameters_are_usage_errors():
        try:
            return LiveModel.start(sources, selection, o.classes, needs_label, **parameters)
        except SourceError:
            for source in sources:
                if text := describe_lost_bytes(source, has_model=False):
                    tell(text, err=True)
            raise


def _connect(address: str, signals: Signals, stack: ExitStack) -> None:
    """Connect to a Ray cluster until the stack is closed."""
    from stream_perceptron.distributed.ray import cluster, require_alike

    # Ray prints much while it waits, and installs handlers that exit with the signal's number.
    try:
        with _quiet_stderr():
            stack.enter_context(cluster(address or None))
    except SystemExit:
        signals.caught = signals.caught or signal.SIGTERM
        raise InterruptedWaitError from None
    signals.install()
    require_alike()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Redirect stderr to /dev/null meanwhile, also for libraries in C."""
    sys.stderr.flush()
    number = sys.stderr.fileno()
    kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)


def _require_same_settings(live: LiveModel, options: LearnOptions) -> None:
    """Check that options fixed when the model was made have their values from then.

    Raises
    ------
    CheckpointError
        If one differs; the message has both values as typed.

    """
    settings = _saved_settings(live)
    for name in sorted(settings.keys() & options.given):
        value = getattr(options, name)
        if name == "classes":
            try:
                value, _ = live.schema.with_classes(value)
            except ValueError as error:
                raise CheckpointError(f"{options.path}: {error}") from None
        if name == "join" and value is not None:
            columns = live.schema.columns
            if not columns and is_position(value):
                continue  # which column that is shows when the source is opened
            value = column_called(value, columns) or value
        elif name in _NAMES and live.schema.columns:
            # A column may be given by its name in any case, or by its position.
            value, settings[name] = (
                _resolve(names, live.schema.columns) for names in (value, settings[name])
            )
        if value != settings[name]:
            given = shlex.join(options.format_arguments(name, value))
            saved = shlex.join(options.format_arguments(name, settings[name]))
            made = f"with {saved}" if saved else f"without {options.definition_of(name).flag}"
            raise CheckpointError(
                f"{options.path}: the model was made {made}, not with {given}: leave out the "
                "option, or start over with --overwrite"
            )


def _saved_settings(live: LiveModel) -> dict[str, Any]:
    """Return the settings that a resumed run may not change, by the names of their options."""
    model, selection = live.model, live.selection
    settings: dict[str, Any] = {
        "activation": model.activation,
        "init_range": model.init_range,
        "classes": model.classes,
        "class_weight": _key_by_text(model.class_weight),
        "seed": model.seed_,
    }
    for each in fields(selection):
        if each.compare and (not live.is_of_python or each.name == "standardize"):
            settings[each.name] = getattr(selection, each.name)
    return settings


def _resolve(names: Any, columns: Sequence[str]) -> Any:
    """Return the exact names of columns that an option gives."""
    if names is None:
        return None
    if isinstance(names, str):
        return column_called(names, columns) or names
    return tuple(column_called(name, columns) or name for name in names)


def _key_by_text(class_weight: Any) -> Any:
    """Return the weights of classes by the texts of labels, as the command line has them."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    return {list_spellings(label)[0]: float(weight) for label, weight in class_weight.items()}
