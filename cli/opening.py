"""Open what a run of `learn` needs: its checkpoint, sources and model."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import NamedTuple

from stream_perceptron import CheckpointError, LiveModel, SourceError
from stream_perceptron.checkpoint.archive import get_previous_path, lock_checkpoint
from stream_perceptron.data.naming import find_column
from stream_perceptron.data.source import Source
from stream_perceptron.live.history import History, Run, Shards
from stream_perceptron.model.class_weights import list_spellings

from .command import convert_value_errors
from .files import require_distinct_files, require_regular
from .learn import LearnOptions
from .printable import print_message
from .reading import describe_lost_bytes, require_runnable
from .signals import InterruptedWaitError, Signals
from .training import choose_default_lr

_PARAMETERS = (
    "lr", "epsilon", "activation", "init_range", "seed", "max_weights", "class_weight"
)  # fmt: skip
_CHANGEABLE = {"lr", "epsilon", "max_weights"}


class RunInputs(NamedTuple):
    """A model, its sources, and the run over them."""

    live: LiveModel
    sources: list[Source]
    run: Run
    changed: tuple[str, ...] = ()  # the names of the parameters that have new values


def open_inputs(options: LearnOptions, signals: Signals, stack: ExitStack) -> RunInputs:
    """Lock the checkpoint and open the sources, writing no files; closing `stack` undoes both."""
    o, saved = options, None
    outputs = {"the_predictions": o.output, "the_rejected_rows": o.rejected}
    require_distinct_files(SOURCE=o.sources, MODEL=o.path, **outputs)
    if o.path is not None:
        # If a process was killed during a save, MODEL and MODEL.prev may be the same file.
        require_distinct_files(
            SOURCE=o.sources, the_previous_save=get_previous_path(o.path), **outputs
        )
    require_regular(o.path, o.rejected)
    if o.path is not None:
        stack.enter_context(lock_checkpoint(o.path))
        if o.path.exists() and not o.overwrite:
            saved = LiveModel.load(o.path)
            require_runnable(saved, o.path)
            if not _has_only_rejected(saved):
                _require_same_fixed_settings(saved, o)
            elif not _has_read_stream(saved):  # files are read again, with the new settings
                saved = None
    opened = signals.call_interruptibly(
        partial(_open_sources_and_model, o, signals, saved), o.sources
    )
    model = opened.live.model
    values = {name: getattr(o, name) for name in sorted(o.given & _CHANGEABLE)}
    changed = {name: value for name, value in values.items() if getattr(model, name) != value}
    with convert_value_errors():
        model.mutate(changed)
    if o.ray is not None:
        _connect_to_ray(o.ray, signals, stack)
    return opened._replace(changed=tuple(changed))


def find_log_order(sources: Sequence[str]) -> list[str] | None:
    """Return rotated logs of one name from the oldest to the newest, if `sources` are not so.

    Examples
    --------
    >>> find_log_order(["a.log", "a.log.1", "b", "a.log.10.gz"])
    ['a.log.10.gz', 'a.log.1', 'a.log']
    >>> find_log_order(["a.log.1", "a.log", "b"])

    """
    ages_by_name: dict[str, dict[str, int]] = {}
    for source in sources:
        match = re.fullmatch(r"(.+?)(?:\.([0-9]{1,4}))?(?:\.(?:gz|bz2|xz|zst))?", source)
        if match is not None:
            ages_by_name.setdefault(match[1], {})[source] = int(match[2] or 0)
    for ages in ages_by_name.values():
        oldest_first = sorted(ages, key=lambda source: -ages[source])
        if oldest_first != list(ages):
            return oldest_first
    return None


def _open_sources_and_model(
    options: LearnOptions, signals: Signals, saved: LiveModel | None
) -> RunInputs:
    """Find where each source continues, open it, and create the model if none is saved."""
    o = options
    o.require_files()
    history = History() if saved is None else saved.history
    given = history.identify(o.sources, is_strict=not o.reads_again)
    paths = [file.path for file in given if o.reads_whole_files or not file.is_learned]
    is_resumed = saved is not None and not _has_only_rejected(saved)
    seed = saved.model.seed_ if saved is not None and is_resumed else o.seed
    sources = o.open_sources(signals, seed, paths)
    if o.ray is not None:
        from stream_perceptron.distributed.rounds import require_parquet

        require_parquet(sources)
    if saved is None:
        live = _create_model(o, sources)
    elif _has_only_rejected(saved):
        live = _create_model(o, sources)
        live.progress, live.history = saved.progress, saved.history
        live.outputs, live.redeliveries = saved.outputs, saved.redeliveries
    else:
        live = saved
        live.needs_label = o.output is None and not live.read_options.has_join
        read_options = live.read_options
        if live.is_trained_in_python:
            read_options = replace(
                o.make_read_options(sources, o.standardize), standardize=read_options.standardize
            )
        live.read_options = replace(read_options, keep=o.keep)
        live.require_fitting(sources)
    shards = None if o.shards is None else Shards(o.shards, o.round_rows)
    passes = None if o.is_endless else o.n_passes
    run = live.plan_run(sources, passes, is_again=o.again, shards=shards, given=given)
    return RunInputs(live, sources, run)


def _has_only_rejected(live: LiveModel) -> bool:
    """Return whether a model has read rows but learned none; its settings may then change."""
    return live.is_unused and live.progress.rows > 0


def _has_read_stream(live: LiveModel) -> bool:
    """Return whether a model has read a pipe, which cannot be read again."""
    return any(position.is_stream for position in live.history.positions)


def _create_model(options: LearnOptions, sources: list[Source]) -> LiveModel:
    """Create a model for the sources."""
    o = options
    read_options = o.make_read_options(sources, o.standardize)
    parameters = {name: getattr(o, name) for name in _PARAMETERS}
    if o.lr is None:
        parameters["lr"] = choose_default_lr(read_options, o.class_weight is not None)
    needs_label = o.output is None and o.join is None
    with convert_value_errors():
        try:
            return LiveModel.start(sources, read_options, o.classes, needs_label, **parameters)
        except SourceError:
            for source in sources:
                if text := describe_lost_bytes(source, has_model=False):
                    print_message(text, err=True)
            raise


def _connect_to_ray(address: str, signals: Signals, stack: ExitStack) -> None:
    """Connect to a Ray cluster; closing `stack` ends the connection."""
    from stream_perceptron.distributed.ray import connect_cluster, require_same_version

    # Ray prints a lot while it waits, and its signal handlers exit with the signal number as code.
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


def _require_same_fixed_settings(live: LiveModel, options: LearnOptions) -> None:
    """Check that fixed options have the values with which the model was created.

    Raises
    ------
    CheckpointError
        If an option differs; the message shows the fixed value as arguments.

    """
    settings, columns = _get_fixed_settings(live), live.schema.columns
    for name in sorted(settings.keys() & options.given):
        value, saved = getattr(options, name), settings[name]
        if name == "classes":
            try:
                value, _ = live.schema.parse_classes(value)
            except ValueError as error:
                raise CheckpointError(f"{options.path}: {error}") from None
        # A column may be given by its name, in any letter case, or by its position.
        if _resolve_columns(value, columns) == _resolve_columns(saved, columns):
            continue
        arguments = shlex.join(options.format_arguments(name, saved))
        raise CheckpointError(
            f"{options.path}: {options.definition_of(name).flag} cannot change for an existing "
            f"model (made {f'with {arguments}' if arguments else 'without it'}): leave it out, or "
            "start over with --overwrite"
        )


def _get_fixed_settings(live: LiveModel) -> dict[str, object]:
    """Return the settings that a resumed run may not change, by option name."""
    model, read_options = live.model, live.read_options
    settings: dict[str, object] = {
        "activation": model.activation,
        "init_range": model.init_range,
        "classes": model.classes,
        "class_weight": _key_weights_by_text(model.class_weight),
        "seed": model.seed_,
    }
    for setting in fields(read_options):
        if setting.compare and (not live.is_trained_in_python or setting.name == "standardize"):
            settings[setting.name] = getattr(read_options, setting.name)
    return settings


def _resolve_columns(value: object, columns: Sequence[str]) -> object:
    """Return a value with exact names instead of the texts that name columns."""
    if isinstance(value, tuple):
        return tuple(_resolve_columns(each, columns) for each in value)
    return (isinstance(value, str) and find_column(value, columns)) or value


def _key_weights_by_text(class_weight: object) -> object:
    """Return class weights keyed by label text, as parsed from the command line."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    return {list_spellings(label)[0]: float(weight) for label, weight in class_weight.items()}
