"""The state of a model in a checkpoint, and `save` and `load` for your own loops."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from stream_perceptron.checkpoint import archive, pipelines
from stream_perceptron.checkpoint.encoding import decode, encode, encode_lr, from_json, to_json
from stream_perceptron.encoders import RecordEncoder
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import NamedArrays
from stream_perceptron.model.network import Snapshot
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline


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

    The file is replaced atomically: after a crash, it is either the old checkpoint or the new one.
    The old checkpoint is kept as PATH.prev.

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
    meta, arrays = encode_model(model)
    meta["extra"] = _convert_extra_to_json(extra)
    if not isinstance(path, str | os.PathLike):
        try:
            path.write(archive.to_bytes(meta, arrays))
        except TypeError:
            name = getattr(path, "name", "the file")
            raise CheckpointError(f"{name}: not open in binary mode") from None
        return
    with archive.lock_checkpoint(Path(path)):
        archive.write_checkpoint(Path(path), meta, arrays)


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
    The model, and the dict `extra` saved with it. A model trained by the command line is preceded
    by a `RecordEncoder`, so that it takes raw records, such as those of `iter_source`.

    Raises
    ------
    CheckpointError
        If the file is damaged, forged or in another version of the format.
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
    if not isinstance(path, str | os.PathLike):
        data = path.read()
        with archive.convert_to_checkpoint_error(getattr(path, "name", "the file")):
            if not isinstance(data, bytes):
                raise CheckpointError("not open in binary mode")
            return _decode_checkpoint(*archive.from_bytes(data))
    with archive.add_path_to_errors(Path(path)):
        return _decode_checkpoint(*archive.read_checkpoint(Path(path)))


def _decode_checkpoint(meta: dict[str, Any], members: NamedArrays) -> LoadedModel:
    """Return the model in a checkpoint, with the steps before it, and the extra data."""
    model, steps = decode_model(meta, members), decode_steps(meta)
    encoder = _build_encoder(meta["live"]) if "live" in meta else None
    return LoadedModel(pipelines.build_pipeline(steps, model, encoder), decode_extra(meta))


def decode_steps(meta: dict[str, Any]) -> pipelines.Steps:
    """Return the steps of the pipeline in a checkpoint."""
    return from_json(pipelines.Steps, meta["steps"], "steps")


def decode_extra(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the extra data in a checkpoint."""
    if not isinstance(meta["extra"], dict):
        raise CheckpointError("extra is not a dict")
    return meta["extra"]


def _build_encoder(live: dict[str, Any]) -> RecordEncoder:
    """Return the encoder for the records that a live model reads, given its saved state."""
    options, schema = live["read_options"], live["schema"]
    used = (options["label"], schema["label"], options["weight"], options["join"])
    ignored = dict.fromkeys([*filter(None, used), *options["position"], *options["ignore"]])
    scale = 1.0 if options["scale"] is None else options["scale"]
    return RecordEncoder(
        tuple(options["categorical"]) or None, tuple(ignored) or None,
        tuple(options["missing"]) or None, scale, vectors=schema["is_list"],
    )  # fmt: skip


def encode_model(model: SGDPerceptron | Pipeline) -> tuple[dict[str, object], NamedArrays]:
    """Encode a model as JSON and arrays."""
    steps, scaler, perceptron = pipelines.split_pipeline(model)
    snapshot, classes = perceptron.network.snapshot(), perceptron.classes
    scaler = scaler if snapshot.scaler is None else snapshot.scaler
    saved = {
        "lr": None if perceptron.lr is None else encode_lr(perceptron.lr),
        "lr_": encode_lr(perceptron.lr_),
        "epsilon": float(perceptron.epsilon),
        "activation": perceptron.activation,
        "init_range": float(perceptron.init_range),
        "classes": None if classes is None else encode(list(classes)),
        "seed": None if perceptron.seed is None else int(perceptron.seed),
        "drawn_seed": perceptron.seed_,
        "max_weights": perceptron.max_weights,
        "drawn_labels": snapshot.drawn_shape[0],
        "drawn_features": snapshot.drawn_shape[1],
        "n_seen": snapshot.n_seen,
        "n_updates": snapshot.n_updates,
        "last_error": None if math.isnan(snapshot.last_error) else snapshot.last_error,
        "labels": encode(snapshot.labels),
        "features": encode(snapshot.features),
        "class_weight": encode(perceptron.class_weight),
        "has_indicators": None if scaler is None else scaler.has_indicators,
    }
    arrays = {
        "weights": snapshot.weights, "biases": snapshot.biases,
        "update_counts": snapshot.update_counts,
    }  # fmt: skip
    if snapshot.class_counts is not None:
        arrays["class_counts"] = snapshot.class_counts
    if scaler is not None:
        arrays["statistics"] = scaler.statistics
    return {"model": saved, "steps": to_json(steps)}, arrays


@dataclass(eq=False, repr=False)
class _State:
    """The state of a perceptron in JSON; labels and features are encoded names."""

    lr: object  # as it was given, encoded
    lr_: object  # as it is used, encoded
    epsilon: float
    activation: str
    init_range: float
    classes: list[object] | None
    seed: int | None
    drawn_seed: int
    max_weights: int
    drawn_labels: int
    drawn_features: int
    n_seen: int
    n_updates: int
    last_error: float | None
    labels: list[object]
    features: list[object]
    class_weight: object = None  # encoded
    has_indicators: bool | None = None  # of the model's scaler; None without a scaler


def decode_model(meta: dict[str, object], members: NamedArrays) -> SGDPerceptron:
    """Build the perceptron from the JSON and arrays that `encode_model` returned."""
    state = from_json(_State, meta["model"], "model")
    names = ("epsilon", "activation", "init_range", "max_weights")
    parameters: dict[str, Any] = {name: getattr(state, name) for name in names}
    rate, class_weight = decode(state.lr_), decode(state.class_weight)
    model = SGDPerceptron(rate, seed=state.drawn_seed, class_weight=class_weight, **parameters)
    # A later version may have other defaults; the rate in use does not change.
    model.lr = decode(state.lr)
    model.lr_ = rate
    model.seed = state.seed
    model.classes = decode(state.classes)
    labels, features = decode(state.labels), decode(state.features)
    weights, biases = members["weights"], members["biases"]
    if weights.shape != (len(labels), len(features)):
        raise CheckpointError(
            f"weights {weights.shape} do not fit {len(labels)} labels and {len(features)} features"
        )
    update_counts = members["update_counts"]
    if len(update_counts) != 1 + len(features) or update_counts.min() < 0:
        raise CheckpointError("update counts are negative, or do not fit the features")
    if state.drawn_labels > len(labels) or state.drawn_features > len(features):
        raise CheckpointError("model has drawn weights for more names than it has")
    scaler = None
    if state.has_indicators is not None:
        scaler = Scaler(members["statistics"], state.has_indicators)
        if len(scaler) != len(features) + len(decode_steps(meta).scaled):
            raise CheckpointError("statistics do not fit the features")
    snapshot = Snapshot(
        labels=labels,
        features=features,
        weights=weights,
        biases=biases,
        update_counts=update_counts,
        drawn_shape=(state.drawn_labels, state.drawn_features),
        n_seen=state.n_seen,
        n_updates=state.n_updates,
        last_error=math.nan if state.last_error is None else state.last_error,
        scaler=scaler,
        class_counts=members.get("class_counts"),
    )
    model.network.restore(snapshot)
    return model
