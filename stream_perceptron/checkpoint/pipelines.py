"""Pipelines of a `RecordEncoder`, a scaler and a perceptron as a perceptron with its own scaler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.checkpoint.encoding import decode, encode
from stream_perceptron.encoders import RecordEncoder
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

# The scalers that a `Scaler` can replace, and whether they have indicators.
_SCALERS = {"Standardizer": True, "StandardScaler": False}


@dataclass
class Steps:
    """What a checkpoint holds of the steps of a pipeline, besides the statistics of its scaler."""

    names: list[str] = field(default_factory=list)  # of all steps; none for a perceptron alone
    # The arguments of the `RecordEncoder`, encoded; None if there is none.
    encoder: Any = field(default=None, metadata={"is_json": True})
    # Encoded features that the scaler knows and the model lacks; they follow the model's.
    scaled: Any = field(default_factory=list, metadata={"is_json": True})

    @property
    def python_only_step(self) -> str | None:
        """The step that runs only in Python, or None."""
        if self.encoder is not None:
            return "RecordEncoder"
        if self.scaled:
            return f"that scales feature {str(decode(self.scaled[0]))[:50]!r}, unknown to the model"
        return None


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


def split_pipeline(
    model: SGDPerceptron | Pipeline,
) -> tuple[Steps, Scaler | None, SGDPerceptron]:
    """Return the steps of a pipeline, the statistics of its scaler, and the perceptron.

    Raises
    ------
    CheckpointError
        If the pipeline cannot be saved; see `unpack_pipeline`.

    """
    encoder, river_scaler, perceptron = unpack_pipeline(model)
    steps, scaler = Steps([*getattr(model, "steps", ())]), None
    if encoder is not None:
        steps.encoder = encode([
            encoder.categorical, encoder.ignore, encoder.missing, encoder.scale, encoder.vectors
        ])  # fmt: skip
    if river_scaler is not None:
        names = dict.fromkeys([*perceptron.network.feature_names, *river_scaler.counts])
        steps.scaled = [encode(name) for name in [*names][len(perceptron.features_) :]]
        has_indicators = _SCALERS[type(river_scaler).__name__]
        statistics = np.zeros((4, len(names)))
        for i, name in enumerate(names):
            if count := river_scaler.counts.get(name, 0):
                statistics[:3, i] = count, river_scaler.means[name], river_scaler.vars[name]
            statistics[3, i] = has_indicators and name not in river_scaler.standardized
        scaler = Scaler(statistics, has_indicators)
    return steps, scaler, perceptron


def build_pipeline(
    steps: Steps, model: SGDPerceptron, encoder: RecordEncoder | None = None
) -> SGDPerceptron | Pipeline:
    """Build a River pipeline from a perceptron, moving its scaler to a step.

    `encoder` is the first step of a model that was trained on the command line.
    """
    from river.compose import Pipeline

    built: list[Any] = [encoder] if encoder is not None else []
    if steps.encoder is not None:
        built.append(RecordEncoder(*decode(steps.encoder)))
    if (scaler := model.network.scaler) is not None:
        names = [*model.features_, *map(decode, steps.scaled)]
        built.append(_build_river_scaler(scaler, names))
        model.network.scaler = None
    built.append(model)
    if len(built) == 1 and not steps.names:
        return model
    names = steps.names or [type(step).__name__ for step in built]
    return Pipeline(*zip(names, built, strict=True))


def _build_river_scaler(scaler: Scaler, names: Sequence[object]) -> object:
    """Build a River transformer with the statistics of a model's own scaler."""
    from river.preprocessing import StandardScaler

    from stream_perceptron.standardizer import Standardizer

    river_scaler: Any = Standardizer() if scaler.has_indicators else StandardScaler()
    for name, (count, mean, variance, is_indicator) in zip(
        names, scaler.statistics.T.tolist(), strict=False
    ):
        if count > 0:
            river_scaler.counts[name] = int(count)
            river_scaler.means[name], river_scaler.vars[name] = mean, variance
            if scaler.has_indicators and not is_indicator:
                river_scaler.standardized.add(name)
    return river_scaler
