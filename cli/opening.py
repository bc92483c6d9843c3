"""What a run begins with: its model, its sources, and where each of them continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

from stream_perceptron import CheckpointError, LiveModel, SourceError
from stream_perceptron.checkpoint.archive import get_previous_path, lock_checkpoint
from stream_perceptron.data.naming import find_column, join_names
from stream_perceptron.data.source import Source
from stream_perceptron.live.files import GivenFile, identify_files
from stream_perceptron.live.history import History
from stream_perceptron.model.class_weights import list_spellings
from stream_perceptron.model.rates import format_lr

from .command import Options, convert_value_errors, format_flag
from .files import require_distinct_files, require_regular_files
from .output import CommandState, ProgressPrinter
from .printable import format_count, print_message
from .reading import describe_lost_bytes, iter_sources, make_read_options, require_runnable
from .signals import Signals

_PARAMETERS = (
    "lr", "epsilon", "activation", "init_range", "seed", "max_weights", "class_weight"
)  # fmt: skip
_CHANGEABLE = ("epsilon", "lr", "max_weights")
_COLUMN_OPTIONS = {"label", "weight", "position", "join", "categorical", "ignore"}


@dataclass
class OpenedRun:
    """A model, new or saved, and the sources of a run."""

    live: LiveModel
    files: list[GivenFile]
    state: CommandState
    changed_parameters: list[str]  # those that differ from the saved model's

    @property
    def n_read(self) -> int:
        """The number of rows of the files that were read, in earlier runs, too."""
        return sum(file.progress.n_read for file in self.files)

    @property
    def has_only_rejected(self) -> bool:
        """Whether rows of the files were read, and all of them were rejected."""
        if self.live.is_unused:
            return self.live.progress.rows > 0
        files = [file.progress for file in self.files]
        return self.n_read > 0 and all(each.rejected == each.position.rows for each in files)


def open_run(
    options: Options,
    signals: Signals,
    stack: ExitStack,
    *,
    file_format: str | None = None,
    keep: tuple[str, ...] = (),
    needs_label: bool = True,
    is_strict: bool = True,
    **outputs: str | Path | None,
) -> OpenedRun:
    """Lock and load the checkpoint, find where each source continues, and create a new model.

    Nothing is written. `outputs` are the paths of the output files by their names in messages,
    and `is_strict` says whether a file that has changed is an error.
    """
    saved = _load_checkpoint(options, stack, outputs)

    def open_sources_and_model() -> OpenedRun:
        opened = iter_sources(options.sources, file_format, signals)
        history = History()
        if saved is not None and (
            not _has_learned_nothing(saved) or any(file.is_stream for file in saved.history.files)
        ):
            history = saved.history  # otherwise, files are read again
        files = identify_files(history.files, opened, options.passes, is_strict)
        sources = [file.source for file in files if file.progress.passes < options.passes]
        if saved is None or _has_learned_nothing(saved):
            live, state = _create_model(options, sources, needs_label), CommandState()
            if saved is not None and history is saved.history:
                live.take_over(saved)
                state = CommandState.load(saved)
            elif saved is not None:
                state.outputs = dict.fromkeys(CommandState.load(saved).outputs, 0)
            return OpenedRun(live, files, state, [])
        live, read_options = saved, saved.read_options
        if live.is_trained_in_python:
            read_options = replace(make_read_options(options), standardize=read_options.standardize)
        read_options = replace(read_options, keep=keep).join_names(live.schema.columns)
        live.resume(sources, read_options, needs_label)
        return OpenedRun(live, files, CommandState.load(saved), _change_parameters(live, options))

    return signals.call_interruptibly(open_sources_and_model, options.sources)


def print_start(printer: ProgressPrinter, path: Path | None, opened: OpenedRun) -> None:
    """Print where a run resumes, and what the user should know about files and options."""
    live = opened.live
    if live.progress.rows:
        printer.print_notice(f"resuming {path} after {format_count(live.progress.rows, 'row')}")
    for name in opened.changed_parameters:
        value = getattr(live.model, name)
        shown = f"{value:,}" if name == "max_weights" else format_lr(value)
        printer.print_notice(f"{name.replace('_', '-')} is {shown} from now on")
    for file in opened.files:
        if file.notice is not None:
            printer.print_notice(file.notice)


def _load_checkpoint(
    options: Options, stack: ExitStack, outputs: Mapping[str, str | Path | None]
) -> LiveModel | None:
    """Lock and load the checkpoint, if there is one, and check that the options fit it."""
    path = options.model
    require_distinct_files(SOURCE=options.sources, MODEL=path, **outputs)
    if path is None:
        return None
    require_regular_files(path)
    # If a process was killed during a save, MODEL and MODEL.prev may be the same file.
    previous = get_previous_path(path)
    require_distinct_files(
        SOURCE=options.sources, the_previous_save=previous, the_lock_of_MODEL=f"{path}.lock",
        **outputs,
    )  # fmt: skip
    stack.enter_context(lock_checkpoint(path))
    if not path.exists() or options.overwrite:
        return None
    saved = LiveModel.load(path)
    require_runnable(saved, path)
    if not _has_learned_nothing(saved):
        _require_same_settings(saved, options)
    return saved


def _create_model(options: Options, sources: list[Source], needs_label: bool) -> LiveModel:
    """Create a model for the sources."""
    parameters = {name: getattr(options, name) for name in _PARAMETERS}
    with convert_value_errors():
        try:
            return LiveModel.start(
                sources,
                make_read_options(options),
                options.classes or None,
                needs_label,
                **parameters,
            )
        except SourceError:
            for source in sources:
                if text := describe_lost_bytes(source, has_model=False):
                    print_message(text, err=True)
            raise


def _change_parameters(live: LiveModel, options: Options) -> list[str]:
    """Change the parameters that may change; return the names of those that differ."""
    model = live.model
    values = {name: getattr(options, name) for name in _CHANGEABLE if name in options.given}
    current = {"epsilon": model.epsilon, "lr": model.lr_, "max_weights": model.max_weights}
    changed = {name: value for name, value in values.items() if current[name] != value}
    with convert_value_errors():
        model.mutate(changed)
    return list(changed)


def _has_learned_nothing(live: LiveModel) -> bool:
    """Whether a run has begun but learned no row; the settings of the model may then change."""
    is_new = live.model.n_seen == 0 and not live.state.pending.samples
    return is_new and (live.progress.rows > 0 or live.state.command_state is not None)


def _require_same_settings(live: LiveModel, options: Options) -> None:
    """Check that options that cannot change have the values with which the model was created."""
    model, columns = live.model, live.schema.columns
    fixed = set(_PARAMETERS).difference(_CHANGEABLE)
    settings = {name: getattr(model, name) for name in fixed} | {"seed": model.seed_}
    if isinstance(weights := model.class_weight, Mapping):
        settings["class_weight"] = {list_spellings(label)[0]: w for label, w in weights.items()}
    spellings = (list_spellings(label)[0] for label in model.classes or ())
    settings["classes"] = tuple(spellings) or None
    for setting in fields(live.read_options):
        if setting.compare and (not live.is_trained_in_python or setting.name == "standardize"):
            settings[setting.name] = getattr(live.read_options, setting.name)
    if settings.get("label", "") is None:
        settings["label"] = live.schema.label  # as found by its name
    for name in sorted(settings.keys() & options.given):
        value, saved = getattr(options, name), settings[name]
        if name in _COLUMN_OPTIONS:  # given by names, in any letter case, or by positions
            value, saved = (_resolve_column_names(each, columns) for each in (value, saved))
        if value != saved:
            raise CheckpointError(
                f"{options.model}: {format_flag(name)} cannot change for an existing model (it is "
                f"{_format_setting(saved)}): leave it out, or start over with --overwrite"
            )


def _resolve_column_names(value: object, columns: Sequence[str]) -> object:
    """Return a value in which strings that name columns are replaced by the exact names."""
    if isinstance(value, tuple):
        names = join_names(value, columns)
        return tuple(find_column(name, columns) or name for name in names)
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
