"""River pipelines as live models, and `save` and `load` for your own loops."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream_perceptron.checkpoint import archive
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.encoders import RecordEncoder, to_names
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.starting import infer_state
from stream_perceptron.live.state import LiveState
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

# The scalers that a `Scaler` can replace, and whether they have indicators.
_SCALERS = {"Standardizer": True, "StandardScaler": False}


class LoadedModel(NamedTuple):
    """A model, and the extra data saved with it.

    Examples
    --------
    >>> LoadedModel(SGDPerceptron(seed=0), {"offset": 3}).extra
    {'offset': 3}

    """

    model: SGDPerceptron | Pipeline
    extra: dict[str, Any]


def save(
    model: SGDPerceptron | Pipeline,
    path: str | os.PathLike[str] | IO[bytes],
    extra: dict[str, Any] | None = None,
) -> None:
    """Save a model so that training can continue after `load` with bit-identical results.

    The file is the one that the command line writes, without a history: commands predict with it,
    and `learn` continues it. It is replaced atomically: after a crash, it is either the old
    checkpoint or the new one. The old checkpoint is kept as PATH.prev.

    Parameters
    ----------
    model
        A perceptron, or a pipeline of a `RecordEncoder`, then a scaler (`Standardizer`, or River's
        `StandardScaler` with its default settings), then a perceptron; the encoder and the scaler
        may be missing. Save other pipelines with pickle, as in River.
    path
        The path to write to, or a file open for writing in binary mode. `save` writes to an open
        file at its current position, neither atomically nor with fsync.
    extra
        Data that must change together with the weights, such as an offset or a metric. It must be
        serializable as JSON.

    Raises
    ------
    CheckpointError
        If part of the model cannot be saved, or another process is writing the file.
    OSError
        If the file cannot be written; the old file is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/model.npz"
    >>> model = SGDPerceptron(seed=0)
    >>> for offset, (x, y) in enumerate([({"a": 1.0}, "left"), ({"a": -1.0}, "right")]):
    ...     model.learn_one(x, y)
    ...     save(model, path, extra={"offset": offset})
    >>> load(path).model.n_seen, load(path).extra
    (2, {'offset': 1})

    """
    live = convert_pipeline(model)
    live.extra = _convert_extra_to_json(extra)
    if isinstance(path, str | os.PathLike):
        with archive.lock_checkpoint(Path(path)):
            live.save(Path(path))
        return
    try:
        path.write(archive.to_bytes(*live.encode()))
    except TypeError:
        name = getattr(path, "name", "the file")
        raise CheckpointError(f"{name}: not open in binary mode") from None


def _convert_extra_to_json(extra: object) -> dict[str, object]:
    """Return `extra` as it will be loaded from JSON: a dict, which is empty for None."""
    try:
        converted = json.loads(json.dumps(extra or {}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"extra cannot be written as JSON: {error}") from None
    if not isinstance(converted, dict):
        raise CheckpointError("extra is not a dict")
    return converted


def load(path: str | os.PathLike[str] | IO[bytes]) -> LoadedModel:
    """Load a model saved by `save` or the command line.

    Parameters
    ----------
    path
        The path to read from, or a file open in binary mode, which `load` reads to its end.

    Returns
    -------
    The model, and the dict `extra` saved with it. A model that the command line has trained is a
    pipeline that begins with a `RecordEncoder`, so that it takes raw records, such as those of
    `iter_source`.

    Raises
    ------
    CheckpointError
        If the file is damaged, forged, or in a format that this version does not read.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> save(SGDPerceptron(lr=0.5, seed=0), file)
    >>> load(io.BytesIO(file.getvalue())).model.lr
    0.5

    """
    if isinstance(path, str | os.PathLike):
        with archive.add_path_to_errors(Path(path)):
            live = LiveModel.decode(*archive.read_checkpoint(Path(path)))
            return LoadedModel(build_pipeline(live), live.extra)
    data = path.read()
    with archive.convert_to_checkpoint_error(getattr(path, "name", "the file")):
        if not isinstance(data, bytes):
            raise CheckpointError("not open in binary mode")
        live = LiveModel.decode(*archive.from_bytes(data))
        return LoadedModel(build_pipeline(live), live.extra)


def unpack_pipeline(
    model: SGDPerceptron | Pipeline,
) -> tuple[RecordEncoder | None, Any, SGDPerceptron]:
    """Return the encoder, the scaler and the perceptron of a pipeline; the first two may be None.

    Raises
    ------
    CheckpointError
        If the pipeline is anything other than a perceptron after a `RecordEncoder` and a scaler.

    """
    steps = [*getattr(model, "steps", {"": model}).values()]
    *kinds, last = [type(step).__name__ for step in steps] or [type(model).__name__]
    scalers = kinds[1:] if kinds[:1] == ["RecordEncoder"] else kinds
    is_known = len(scalers) <= 1 and _SCALERS.keys() >= {*scalers}
    scaler = steps[-2] if is_known and scalers else None
    is_usual = getattr(scaler, "with_std", True) and not getattr(scaler, "window_size", None)
    if not (is_known and is_usual and steps and type(steps[-1]) is SGDPerceptron):
        raise CheckpointError(
            f"{' | '.join([*kinds, last])} cannot be saved: a checkpoint holds an SGDPerceptron, "
            "alone or after a RecordEncoder and a Standardizer or StandardScaler with default "
            "settings; save other models with pickle, as in River"
        )
    return steps[0] if len(scalers) < len(kinds) else None, scaler, steps[-1]


def convert_pipeline(model: SGDPerceptron | Pipeline) -> LiveModel:
    """Return a live model without a history that has learned what a pipeline has learned.

    The options of the `RecordEncoder` become read options. The live model has a copy of the
    perceptron if there is a scaler.

    Raises
    ------
    CheckpointError
        If the pipeline cannot be saved; see `unpack_pipeline`.

    """
    encoder, river_scaler, perceptron = unpack_pipeline(model)
    if river_scaler is not None:
        perceptron = copy.copy(perceptron)
        perceptron.network = copy.copy(perceptron.network)
        perceptron.network.scaler = _convert_scaler(river_scaler, perceptron)
    state = infer_state(perceptron)
    state.steps = [*getattr(model, "steps", ())]
    if encoder is not None:
        _adopt_encoder_options(encoder, state)
    return LiveModel(perceptron, state)


def _convert_scaler(river_scaler: Any, perceptron: SGDPerceptron) -> Scaler:
    """Return a scaler with the statistics of a River transformer."""
    has_indicators = _SCALERS[type(river_scaler).__name__]

    def collect_statistics(name: object) -> list[float]:
        is_indicator = has_indicators and name not in river_scaler.standardized
        if not (count := river_scaler.counts.get(name, 0)):
            return [0.0, 0.0, 0.0, is_indicator]
        return [count, river_scaler.means[name], river_scaler.vars[name], is_indicator]

    features = perceptron.features_
    statistics = np.array([*map(collect_statistics, features)]).reshape(-1, 4)
    known = perceptron.network.features.ids_by_name
    later = [name for name in river_scaler.counts if name not in known]
    later_statistics = {name: np.array(collect_statistics(name)) for name in later}
    return Scaler(statistics.T, has_indicators, later_statistics)


def _adopt_encoder_options(encoder: RecordEncoder, state: LiveState) -> None:
    """Set the read options and the schema by which `learn` reads records as an encoder does."""
    ignored = to_names(encoder.ignore)
    # In records, the label is a column; an encoder ignores it.
    labels = [name for name in ignored if name.strip().lower() in LABEL_NAMES]
    label = labels[0] if len(labels) == 1 else None
    state.read_options = replace(
        state.read_options,
        label=label,
        ignore=tuple(name for name in ignored if name != label),
        categorical=to_names(encoder.categorical),
        missing=to_names(encoder.missing),
        scale=encoder.scale,
    )
    names = state.schema.element_names if encoder.vectors else ()
    state.schema = replace(state.schema, element_names=names, is_list=encoder.vectors)


def build_pipeline(live: LiveModel) -> SGDPerceptron | Pipeline:
    """Return the perceptron of a live model after a scaler and an encoder, if it has these.

    The live model cannot be used any more, because its scaler becomes a step.
    """
    from river.compose import Pipeline

    perceptron, names = live.model, live.state.steps
    steps: list[Any] = [perceptron]
    if (scaler := perceptron.network.scaler) is not None:
        steps.insert(0, _build_river_scaler(scaler, perceptron.features_))
        perceptron.network.scaler = None
    if names is None or len(names) > len(steps):
        steps.insert(0, _build_encoder(live))
    elif not names:
        return perceptron
    names = names or [type(step).__name__ for step in steps]
    return Pipeline(*zip(names, steps, strict=True))


def _build_encoder(live: LiveModel) -> RecordEncoder:
    """Return the encoder for the records that a live model reads."""
    options, schema = live.read_options, live.schema
    used = (options.label, schema.label, options.weight, options.join)
    ignored = dict.fromkeys([*filter(None, used), *options.position, *options.ignore])
    return RecordEncoder(
        options.categorical or None, tuple(ignored) or None, options.missing or None,
        options.scale, vectors=schema.is_list,
    )  # fmt: skip


def _build_river_scaler(scaler: Scaler, features: Sequence[Hashable]) -> object:
    """Return a River transformer with the statistics of a scaler."""
    from river.preprocessing import StandardScaler

    from stream_perceptron.standardizer import Standardizer

    river_scaler: Any = Standardizer() if scaler.has_indicators else StandardScaler()
    statistics = dict(zip(features, scaler.statistics.T, strict=False))
    for name, numbers in {**scaler.later_statistics, **statistics}.items():
        count, mean, variance, is_indicator = numbers.tolist()
        if count > 0:
            river_scaler.counts[name] = int(count)
            river_scaler.means[name], river_scaler.vars[name] = mean, variance
            if scaler.has_indicators and not is_indicator:
                river_scaler.standardized.add(name)
    return river_scaler
