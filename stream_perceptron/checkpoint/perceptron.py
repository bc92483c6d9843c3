"""A perceptron as JSON and arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream_perceptron.checkpoint.encoding import (
    convert_from_json_value,
    convert_to_json_value,
    decode,
    encode,
    encode_lr,
)
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import Floats, NamedArrays
from stream_perceptron.model.network import Snapshot
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

_JSON = {"is_json": True}  # the metadata of fields that `encode` has returned


@dataclass(eq=False, repr=False)
class _SavedPerceptron:
    """The part of a perceptron that is saved as JSON."""

    lr: Any = field(metadata=_JSON)  # as it was given
    lr_in_use: Any = field(metadata=_JSON)
    epsilon: float
    activation: str
    init_range: float
    classes: Any = field(metadata=_JSON)  # as they were given
    class_weight: Any = field(metadata=_JSON)
    seed: int | None  # as it was given
    seed_in_use: int
    max_weights: int
    n_drawn_labels: int
    n_drawn_features: int
    n_seen: int
    n_updates: int
    last_error: float | None  # None before the first sample
    labels: list[object] = field(metadata=_JSON)
    features: list[object] = field(metadata=_JSON)
    # Features that the scaler knows and the model lacks; they follow the others in `statistics`.
    scaled_features: list[object] = field(default_factory=list, metadata=_JSON)
    has_indicators: bool | None = None  # of the scaler; None without one


def encode_perceptron(model: SGDPerceptron) -> tuple[object, NamedArrays]:
    """Encode a perceptron as JSON and arrays.

    Raises
    ------
    CheckpointError
        If a parameter or a name cannot be saved.

    """
    snapshot, classes = model.network.snapshot(), model.classes
    arrays = {
        "weights": snapshot.weights, "biases": snapshot.biases,
        "update_counts": snapshot.update_counts,
    }  # fmt: skip
    if snapshot.class_counts is not None:
        arrays["class_counts"] = snapshot.class_counts
    later: dict[Hashable, Floats] = {}
    if (scaler := snapshot.scaler) is not None:
        known = model.network.features.ids_by_name
        later = {n: s for n, s in scaler.later_statistics.items() if n not in known}
        arrays["statistics"] = np.column_stack([scaler.statistics, *later.values()])
    saved = _SavedPerceptron(
        lr=None if model.lr is None else encode_lr(model.lr),
        lr_in_use=encode_lr(model.lr_),
        epsilon=float(model.epsilon),
        activation=model.activation,
        init_range=float(model.init_range),
        classes=None if classes is None else encode(list(classes)),
        class_weight=encode(model.class_weight),
        seed=None if model.seed is None else int(model.seed),
        seed_in_use=model.seed_,
        max_weights=model.max_weights,
        n_drawn_labels=snapshot.drawn_shape[0],
        n_drawn_features=snapshot.drawn_shape[1],
        n_seen=snapshot.n_seen,
        n_updates=snapshot.n_updates,
        last_error=None if math.isnan(snapshot.last_error) else snapshot.last_error,
        labels=[encode(label) for label in snapshot.labels],
        features=[encode(name) for name in snapshot.features],
        scaled_features=[encode(name) for name in later],
        has_indicators=None if scaler is None else scaler.has_indicators,
    )
    return convert_to_json_value(saved), arrays


def decode_perceptron(json: object, arrays: NamedArrays) -> SGDPerceptron:
    """Build the perceptron from the JSON and the arrays that `encode_perceptron` returned.

    Raises
    ------
    CheckpointError
        If they are inconsistent.

    """
    saved = convert_from_json_value(_SavedPerceptron, json, "model")
    rate = decode(saved.lr_in_use)
    model = SGDPerceptron(
        rate, saved.epsilon, saved.activation, saved.init_range, seed=saved.seed_in_use,
        max_weights=saved.max_weights, class_weight=decode(saved.class_weight),
    )  # fmt: skip
    # A later version may have other defaults; the rate in use does not change.
    model.lr = decode(saved.lr)
    model.lr_ = rate
    model.seed, model.classes = saved.seed, decode(saved.classes)
    labels, features = decode(saved.labels), decode(saved.features)
    weights, biases = arrays["weights"], arrays["biases"]
    if weights.shape != (len(labels), len(features)):
        raise CheckpointError(
            f"weights {weights.shape} do not fit {len(labels)} labels and {len(features)} features"
        )
    update_counts = arrays["update_counts"]
    if len(update_counts) != 1 + len(features) or update_counts.min() < 0:
        raise CheckpointError("update counts are negative, or do not fit the features")
    if saved.n_drawn_labels > len(labels) or saved.n_drawn_features > len(features):
        raise CheckpointError("model has drawn weights for more names than it has")
    scaler = None
    if saved.has_indicators is not None:
        statistics, later = arrays["statistics"], decode(saved.scaled_features)
        if statistics.shape[1] != len(features) + len(later):
            raise CheckpointError("statistics do not fit the features")
        known, new = np.hsplit(statistics, [len(features)])
        scaler = Scaler(known, saved.has_indicators, dict(zip(later, new.T, strict=True)))
    snapshot = Snapshot(
        labels=labels,
        features=features,
        weights=weights,
        biases=biases,
        update_counts=update_counts,
        drawn_shape=(saved.n_drawn_labels, saved.n_drawn_features),
        n_seen=saved.n_seen,
        n_updates=saved.n_updates,
        last_error=math.nan if saved.last_error is None else saved.last_error,
        scaler=scaler,
        class_counts=arrays.get("class_counts"),
    )
    model.network.restore(snapshot)
    return model
