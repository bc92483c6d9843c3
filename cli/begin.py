"""The beginning of a run of `learn`: sources, model and cursor."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

from stream_perceptron import CheckpointError, LiveModel, SourceError
from stream_perceptron.checkpoint.archive import locked, previous_of
from stream_perceptron.data.naming import column_called, is_position
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.marks import may_repeat

from .asked import LearnOptions, usual_lr
from .files import require_different, require_regular
from .options import bad_parameters_are_usage_errors, quiet_stderr, require_runnable
from .printable import tell
from .reading import describe_lost_bytes
from .signals import InterruptedWaitError, Signals

_PARAMETERS = ("lr", "epsilon", "activation", "init_range", "seed", "max_weights")


class AtWork(NamedTuple):
    """A model, its sources, and the cursor to begin at; None for the model's own."""

    live: LiveModel
    sources: list[Source]
    cursor: Cursor | None
    changed: dict[str, float]  # parameters with new values


def begin(options: LearnOptions, signals: Signals, stack: ExitStack) -> AtWork:
    """Lock the checkpoint and open the sources until the stack closes; write nothing."""
    o, saved = options, None
    others = {"the_predictions": o.output, "the_rejected_rows": o.rejected}
    require_different(SOURCE=o.sources, MODEL=o.path, **others)
    if o.path is not None:  # after a killed save, MODEL and MODEL.prev may be one file
        require_different(SOURCE=o.sources, the_previous_save=previous_of(o.path), **others)
    require_regular(o.path, o.rejected)
    if o.path is not None:
        stack.enter_context(locked(o.path))
        if o.path.exists() and not o.overwrite:
            saved = LiveModel.load(o.path)
            require_runnable(saved, o.path)
            _require_agreement(saved, o)
    live, sources, cursor = signals.call(partial(_open, o, signals, saved), o.sources)
    asked = {name: getattr(o, name) for name in sorted(o.given & {"lr", "epsilon", "max_weights"})}
    changed = {name: each for name, each in asked.items() if getattr(live.model, name) != each}
    live.model.mutate(changed)
    if o.ray is not None:
        _connect(o.ray, signals, stack)
    return AtWork(live, sources, cursor, changed)


def _open(
    options: LearnOptions, signals: Signals, saved: LiveModel | None
) -> tuple[LiveModel, list[Source], Cursor | None]:
    """Open the sources, find the cursor, and make the model if none is saved."""
    o, live = options, saved
    seed = o.seed if saved is None else saved.model.seed_
    if saved is None:
        sources = o.open_sources(signals, seed)
    else:
        marks = None if o.reads_whole_files else saved.marks
        sources = o.open_sources(signals, seed, saved.cursor.header, marks)
    if o.ray is not None:
        from stream_perceptron.distributed.shards import require_parquet

        require_parquet(sources)
    if live is not None:
        live.needs_label = o.output is None and not live.selection.joins
        asked = live.selection
        if live.is_of_python:
            asked = replace(o.selection(sources), standardize=asked.standardize)
        live.selection = replace(asked, keep=o.keep)
    else:
        asked = o.selection(sources)
        parameters = {name: getattr(o, name) for name in _PARAMETERS}
        parameters["lr"] = usual_lr(asked) if o.lr is None else o.lr
        with bad_parameters_are_usage_errors():
            needs_label = o.output is None and o.join is None
            try:
                live = LiveModel.start(sources, asked, o.classes, needs_label, **parameters)
            except SourceError:
                for source in sources:
                    if text := describe_lost_bytes(source, has_model=False):
                        tell(text, err=True)
                raise
    cursor = None
    # Without a checkpoint, files need marks only to be told from copies of each other.
    if o.path is not None or o.ray is not None or may_repeat(sources):
        shards = None if o.shards is None else Shards(o.shards, o.round_rows)
        epochs = None if o.is_endless else o.epochs or 1
        cursor = live.resume(sources, again=o.again, epochs=epochs, shards=shards)
    return live, sources, cursor


def _connect(address: str, signals: Signals, stack: ExitStack) -> None:
    """Connect to a Ray cluster until the stack is closed."""
    from stream_perceptron.distributed.ray import cluster, require_alike

    # Ray prints much while it waits, and installs handlers that exit with the signal's number.
    try:
        with quiet_stderr():
            stack.enter_context(cluster(address or None))
    except SystemExit:
        signals.caught = signals.caught or signal.SIGTERM
        raise InterruptedWaitError from None
    signals.install()
    require_alike()


def _require_agreement(live: LiveModel, options: LearnOptions) -> None:
    """Check that options fixed when the model was made have their values from then."""
    model, selection = live.model, live.selection
    made_with: dict[str, Any] = {
        name: getattr(model, name) for name in ("activation", "init_range", "classes")
    }
    made_with["seed"] = model.seed_
    for each in fields(selection):
        if each.compare and (not live.is_of_python or each.name == "standardize"):
            made_with[each.name] = getattr(selection, each.name)
    for name in sorted(made_with.keys() & options.given):
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
        if value != made_with[name]:
            option = name.replace("_", "-")
            raise CheckpointError(
                f"{options.path}: --{option} is {value!r}, but the model was made with "
                f"{made_with[name]!r}; leave out the option, or start over with --overwrite"
            )
