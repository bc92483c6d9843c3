"""The checkpoint of a run: loading it, the state for the next run, and the save interval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace

from stream_perceptron import CheckpointError, LiveModel
from stream_perceptron.checkpoint.archive import (
    convert_to_checkpoint_error,
    get_previous_path,
    lock_checkpoint,
)
from stream_perceptron.checkpoint.encoding import convert_from_json_value
from stream_perceptron.data.naming import find_column, join_names_with_commas
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.model.class_weights import list_spellings

from .command import Options, convert_value_errors, format_flag
from .files import require_distinct_files, require_regular_files
from .reading import require_runnable

MODEL_PARAMETERS = (
    "lr", "epsilon", "activation", "init_range", "seed", "max_weights", "class_weight"
)  # fmt: skip
_CHANGEABLE = ("epsilon", "lr", "max_weights")
# The read options that a model trained in Python lacks; its first run of `learn` may set them.
_SOURCE_OPTIONS = frozenset(
    {"label", "weight", "position", "join", "max_pending", "delimiter", "decimal"}
)
_COLUMN_OPTIONS = {"label", "weight", "position", "join", "categorical", "ignore"}


@dataclass
class CommandState:
    """What a run saves in a model for the next one."""

    # The size in bytes of each output file up to the last learned row, keyed by the file's path
    # relative to the checkpoint.
    outputs: dict[str, int] = field(default_factory=dict)
    reported_row: int = 0  # the row where the last printed drift event was found

    @classmethod
    def load(cls, live: LiveModel) -> CommandState:
        """Return the state saved in a model; without one, its drift events are old.

        Raises
        ------
        CheckpointError
            If the state is forged.

        """
        if live.state.command_state is None:
            return cls(reported_row=max((e.found for e in live.progress.events), default=0))
        with convert_to_checkpoint_error("the state of the last run"):
            return convert_from_json_value(cls, live.state.command_state, "state")


class SaveInterval:
    """The interval between two saves: a number of rows, as an int, or of seconds, as a float."""

    def __init__(self, seconds: float, n_rows: int) -> None:
        self._interval = seconds
        self.restart(n_rows)

    @property
    def rows(self) -> int | None:
        """The number of rows between two saves; None if they are timed."""
        return self._interval if isinstance(self._interval, int) else None

    def restart(self, n_rows: int) -> None:
        """Begin a new interval, after a save or an attempt, at this number of rows."""
        self._saved_at, self._saved_rows = time.monotonic(), n_rows

    def is_due(self, n_rows: int) -> bool:
        """Whether rows were read and the interval has passed."""
        if n_rows == self._saved_rows:
            return False
        if (interval := self.rows) is not None:
            return n_rows // interval > self._saved_rows // interval
        return time.monotonic() >= self._saved_at + self._interval


def load_checkpoint(options: Options, stack: ExitStack) -> LiveModel | None:
    """Lock and load the checkpoint, if there is one, and check that the options fit it."""
    path, sources = options.model, options.sources
    outputs = {"the_predictions": options.predictions, "the_rejected_rows": options.rejected}
    require_distinct_files(SOURCE=sources, MODEL=path, **outputs)
    require_regular_files(path, options.rejected)
    if path is None:
        return None
    # If a process was killed during a save, MODEL and MODEL.prev may be the same file.
    previous, lock = get_previous_path(path), f"{path}.lock"
    require_distinct_files(
        SOURCE=sources, the_previous_save=previous, the_lock_of_MODEL=lock, **outputs
    )
    stack.enter_context(lock_checkpoint(path))
    if not path.exists() or options.overwrite:
        return None
    saved = LiveModel.load(path)
    require_runnable(saved, path)
    if not has_learned_nothing(saved):
        _require_same_settings(saved, options)
    return saved


def has_learned_nothing(live: LiveModel) -> bool:
    """Whether runs have learned no row of the model that they began; its settings may change.

    A model from Python keeps its settings.
    """
    is_new = live.model.n_seen == 0 and not live.state.pending.samples
    is_begun = live.progress.rows > 0 or live.state.command_state is not None
    return is_new and is_begun and live.state.steps is None


def change_parameters(live: LiveModel, options: Options) -> list[str]:
    """Change the parameters that may change; return the names of those that differ."""
    model = live.model
    values = {name: getattr(options, name) for name in _CHANGEABLE if name in options.given}
    current = {"epsilon": model.epsilon, "lr": model.lr_, "max_weights": model.max_weights}
    changed = {name: value for name, value in values.items() if current[name] != value}
    with convert_value_errors():
        model.mutate(changed)
    return list(changed)


def set_source_options(read_options: ReadOptions, options: Options) -> ReadOptions:
    """Return the read options of a model trained in Python with those that it lacks, if given.

    Its `RecordEncoder` may ignore the columns that these options name.
    """
    given = {name: getattr(options, name) for name in _SOURCE_OPTIONS & options.given}
    replaced = replace(read_options, ignore=(), **given)
    ignored = [*read_options.ignore, *filter(None, [read_options.label])]
    used = {*replaced.columns_with_role, replaced.label}
    return replace(replaced, ignore=tuple(name for name in ignored if name not in used))


def _require_same_settings(live: LiveModel, options: Options) -> None:
    """Check that options that cannot change have the values with which the model was created."""
    columns, settings = live.schema.columns, _list_settings(live)
    for name in sorted(settings.keys() & options.given):
        value, saved = getattr(options, name), settings[name]
        if name in _COLUMN_OPTIONS:  # given by names, in any letter case, or by positions
            value, saved = (_resolve_column_names(each, columns) for each in (value, saved))
        if value != saved:
            raise CheckpointError(
                f"{options.model}: {format_flag(name)} cannot change for an existing model (it is "
                f"{_format_setting(saved)}): leave it out, or start over with --overwrite"
            )


def _list_settings(live: LiveModel) -> dict[str, object]:
    """Return the settings of a model that cannot change, by the names of their options."""
    model, fixed = live.model, set(MODEL_PARAMETERS).difference(_CHANGEABLE)
    settings = {name: getattr(model, name) for name in fixed} | {"seed": model.seed_}
    if isinstance(weights := model.class_weight, Mapping):
        settings["class_weight"] = {list_spellings(label)[0]: w for label, w in weights.items()}
    spellings = (list_spellings(label)[0] for label in model.classes or ())
    settings["classes"] = tuple(spellings) or None
    open_options = _SOURCE_OPTIONS if live.history.is_empty else frozenset()
    for setting in fields(live.read_options):
        if setting.compare and setting.name not in open_options:
            settings[setting.name] = getattr(live.read_options, setting.name)
    if settings.get("label", "") is None:
        settings["label"] = live.schema.label  # as found by its name
    return settings


def _resolve_column_names(value: object, columns: Sequence[str]) -> object:
    """Return a value in which strings that name columns are replaced by the exact names."""
    if isinstance(value, tuple):
        names = join_names_with_commas(value, columns)
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
