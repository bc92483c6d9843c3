"""What of a model goes into a checkpoint, and `save` and `load` for loops of one's own."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.archive import locked, naming, read_checkpoint, write_checkpoint
from stream_perceptron.checkpoint.codec import (
    Fields,
    decode_lr,
    decode_name,
    decode_names,
    encode_lr,
    encode_name,
    from_json,
)
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.model.network import Snapshot
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

Arrays = dict[str, NDArray[Any]]

_SEED = {"below": 2**64}

ARRAYS = ("weights", "biases")  # of a model; a run has others


class Loaded(NamedTuple):
    """A model, and what was saved with it."""

    model: SGDPerceptron | Pipeline
    extra: dict[str, Any]


def save(
    model: SGDPerceptron | Pipeline,
    path: str | os.PathLike[str],
    extra: dict[str, Any] | None = None,
) -> None:
    """Save a live model, so that it goes on after `load` as if nothing had happened.

    The file is replaced in one step. After a crash at any moment it holds either the old model or
    the new one, whole; the old one is kept beside it as PATH.prev.

    Parameters
    ----------
    model
        A perceptron, or a River pipeline of StandardScaler or MinMaxScaler and a perceptron.
    path
        The file to write.
    extra
        Whatever else must change together with the weights and can be written as JSON, such as the
        offset of the last message or a metric.

    Raises
    ------
    CheckpointError
        If something in the model cannot be saved, or another process is writing the file.
    OSError
        If the file cannot be written; the old one is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from stream_perceptron import SGDPerceptron, load, save

    >>> path = f"{tempfile.mkdtemp()}/model.npz"
    >>> model = SGDPerceptron(seed=0)
    >>> for offset, (x, y) in enumerate([({"a": 1.0}, "left"), ({"a": -1.0}, "right")]):
    ...     model.learn_one(x, y)
    ...     save(model, path, extra={"offset": offset})

    >>> model, extra = load(path)
    >>> model.n_seen, extra
    (2, {'offset': 1})

    """
    meta, arrays = model_state(model)
    try:
        meta["extra"] = json.loads(json.dumps(extra or {}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"extra cannot be written as JSON: {error}") from None
    if not isinstance(meta["extra"], dict):
        raise CheckpointError("extra is not a dict")
    with locked(Path(path)):
        write_checkpoint(Path(path), meta, arrays)


def load(path: str | os.PathLike[str]) -> Loaded:
    """Load what `save` or the command line saved.

    Returns
    -------
    The model, and the dict `extra` that was saved with it.

    Raises
    ------
    CheckpointError
        If the file is damaged, forged or of a newer version.
    OSError
        If it cannot be read.

    """
    with naming(Path(path)):
        meta, arrays = read_checkpoint(Path(path))
        if meta.pop("run", None) is not None:
            arrays = {name: array for name, array in arrays.items() if name in ARRAYS}
        extra = Fields(meta, "checkpoint").take("extra", dict)
        return Loaded(model_from_state(meta, arrays), extra)


def model_state(model: SGDPerceptron | Pipeline) -> tuple[dict[str, Any], Arrays]:
    """Return a model as JSON and arrays."""
    steps, perceptron = _split(model)
    learned, classes = perceptron.network.snapshot(), perceptron.classes
    state = _State(
        lr=encode_lr(perceptron.lr),
        epsilon=float(perceptron.epsilon),
        activation=perceptron.activation,
        init_range=float(perceptron.init_range),
        classes=None if classes is None else [encode_name(label) for label in classes],
        dtype=perceptron.dtype,
        seed=perceptron.seed,
        drawn_seed=perceptron.seed_,
        max_weights=perceptron.max_weights,
        n_seen=learned.n_seen,
        n_updates=learned.n_updates,
        last_epsilon=None if math.isnan(learned.last_epsilon) else learned.last_epsilon,
        labels=[encode_name(label) for label in learned.labels],
        features=[encode_name(name) for name in learned.features],
    )
    meta = {"kernel": KERNEL, "model": vars(state), "steps": steps}
    return meta, {"weights": learned.weights, "biases": learned.biases}


@dataclass
class _State:
    """What is saved of a perceptron beside its arrays; labels and features are encoded names."""

    lr: Any
    epsilon: float
    activation: str
    init_range: float
    classes: list[Any] | None
    dtype: str
    seed: int | None = field(metadata=_SEED)
    drawn_seed: int = field(metadata=_SEED)
    max_weights: int
    n_seen: int
    n_updates: int
    last_epsilon: float | None
    labels: list[Any]
    features: list[Any]


def model_from_state(meta: dict[str, Any], arrays: Arrays) -> SGDPerceptron | Pipeline:
    """Return the model that `model_state` was given."""
    if set(arrays) != set(ARRAYS):
        raise CheckpointError(f"members {sorted(arrays)} are not weights and biases")
    unknown = set(meta) - {"kernel", "model", "steps", "extra"}
    if unknown or type(meta.get("kernel")) is not str:
        raise CheckpointError(f"meta.json has no kernel, or what is unknown: {sorted(unknown)}")
    state = from_json(_State, meta.get("model"), "model")
    lr = decode_lr(state.lr)
    try:
        model = SGDPerceptron(
            lr=lr,
            epsilon=state.epsilon,
            activation=state.activation,
            init_range=state.init_range,
            dtype=state.dtype,
            seed=state.drawn_seed,
            max_weights=state.max_weights,
        )
    except ValueError as error:
        raise CheckpointError(f"model: {error}") from None
    model.seed = state.seed
    model.classes = None if state.classes is None else [decode_name(c) for c in state.classes]
    labels, features = decode_names(state.labels), decode_names(state.features)
    weights, biases = arrays["weights"], arrays["biases"]
    if weights.shape != (len(labels), len(features)) or biases.shape != (len(labels),):
        raise CheckpointError(
            f"weights {weights.shape} and biases {biases.shape} do not fit {len(labels)} labels "
            f"and {len(features)} features"
        )
    network = model.network
    if {weights.dtype, biases.dtype} != {network.dtype}:
        raise CheckpointError(f"weights are of type {weights.dtype}, not {network.dtype}")
    if state.n_updates > state.n_seen:
        raise CheckpointError("model has more updates than samples")
    last = math.nan if state.last_epsilon is None else state.last_epsilon
    counts = state.n_seen, state.n_updates, last
    network.restore(Snapshot(labels, features, weights, biases, *counts))
    return _join(meta.get("steps"), model)


def _split(model: SGDPerceptron | Pipeline) -> tuple[list[Any], SGDPerceptron]:
    """Return the saved scalers before a perceptron, and the perceptron."""
    if isinstance(model, SGDPerceptron) and not hasattr(model, "steps"):
        return [], model
    *before, (_, last) = getattr(model, "steps", {"": model}).items()
    if type(last) is not SGDPerceptron:
        raise CheckpointError(f"{type(last).__name__} cannot be saved: end with an SGDPerceptron")
    return [[encode_name(name), *_scaler_state(step)] for name, step in before], last


def _join(steps: Any, model: SGDPerceptron) -> SGDPerceptron | Pipeline:
    if steps == []:
        return model
    from river.compose import Pipeline

    if not isinstance(steps, list) or not all(isinstance(s, list) and len(s) == 3 for s in steps):
        raise CheckpointError("steps are not those of a pipeline")
    named = [(decode_name(name), _scaler(kind, state)) for name, kind, state in steps]
    return Pipeline(*named, ("SGDPerceptron", model))


def _scaler_state(scaler: Any) -> tuple[str, dict[str, Any]]:
    from river.preprocessing import MinMaxScaler, StandardScaler

    if type(scaler) not in (StandardScaler, MinMaxScaler):
        raise CheckpointError(
            f"{type(scaler).__name__} cannot be saved: use StandardScaler or MinMaxScaler"
        )
    if scaler.window_size is not None:
        raise CheckpointError(f"{type(scaler).__name__} with a window_size cannot be saved")
    if type(scaler) is StandardScaler:
        tables = {"counts": scaler.counts, "means": scaler.means, "vars": scaler.vars}
        state: dict[str, Any] = {"with_std": scaler.with_std}
    else:
        tables = {
            side: {name: stat.get() for name, stat in getattr(scaler, side).items()}
            for side in ("min", "max")
        }
        state = {}
    for side, table in tables.items():
        state[side] = [[encode_name(name), _number_state(value)] for name, value in table.items()]
    return type(scaler).__name__, state


def _scaler(kind: Any, state: Any) -> Any:
    from river.preprocessing import MinMaxScaler, StandardScaler

    fields = Fields(state, "scaler")
    scaler: Any
    if kind == "StandardScaler":
        scaler = StandardScaler(with_std=fields.take("with_std", bool))
        for side in ("counts", "means", "vars"):
            getattr(scaler, side).update(_numbers(fields.take(side, list)))
    elif kind == "MinMaxScaler":
        scaler = MinMaxScaler()
        for side in ("min", "max"):
            for name, value in _numbers(fields.take(side, list)).items():
                # River's statistic of one value, the attribute bearing the side's name.
                setattr(getattr(scaler, side)[name], side, value)
    else:
        raise CheckpointError(f"{str(kind)[:50]!r} is not a scaler that can be saved")
    fields.finish()
    return scaler


def _number_state(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _numbers(pairs: list[Any]) -> dict[Any, Any]:
    table = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise CheckpointError("scaler does not hold pairs of name and number")
        name, value = pair
        if value == "inf" or value == "-inf":
            value = float(value)
        if type(value) not in (int, float, bool):
            raise CheckpointError("scaler does not hold pairs of name and number")
        table[decode_name(name)] = value
    return table
