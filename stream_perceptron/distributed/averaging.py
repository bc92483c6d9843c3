"""Averaging of models that were trained in parallel from the same base."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.schema import Schema
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.learning_curve import MAX_SUM
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.arrays import Array, Floats
from stream_perceptron.model.network import Network, Snapshot
from stream_perceptron.perceptron import SGDPerceptron

# Parameters that must be the same in all models, by command-line option.
_SHARED_PARAMETERS = {
    "activation": "activation", "class-weight": "class_weight", "init-range": "init_range",
    "seed": "seed_",
}  # fmt: skip

# Counts in `Progress` that are added up.
_SUMMED_COUNTS = (
    "samples", "n_untested", "unlabeled", "skipped", "updates", "n_repeated_labels",
    "error_sum",
)  # fmt: skip


def average(base: SGDPerceptron, models: Sequence[SGDPerceptron]) -> SGDPerceptron:
    """Average models that were trained from the same base, each on its own samples.

    This is iterative parameter mixing[^1] in equal parts, or local SGD[^2]: train N models with N
    times the learning rate. Labels and features are merged by name, in the order of the models.

    Each mean weight is its initial value plus the mean change in the models' weights from their own
    initial values. The mean's initial weights are those of the base or, if the base has learned
    nothing, those of the first model that has learned from a sample.

    Parameters
    ----------
    base
        The model that all others were trained from. The mean has the same settings.
    models
        The models. Their weights are added up in the order given. If the models have scalers, the
        statistics of the samples that each model added to the base are computed by subtraction
        and merged with Chan's formula.

    Raises
    ------
    CheckpointError
        If a model was not trained from `base`.

    Examples
    --------
    >>> base = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> models = [copy.deepcopy(base), copy.deepcopy(base)]
    >>> models[0].learn_one({"a": 1.0}, "left")
    >>> models[1].learn_one({"a": -1.0, "b": 2.0}, "right")
    >>> mean = average(base, models)
    >>> mean.n_seen, mean.features_, mean.predict_one({"b": 1.0})
    (2, ['a', 'b'], 'right')

    References
    ----------
    [^1]: McDonald, Hall and Mann. 2010. Distributed training strategies for the structured
    perceptron. https://aclanthology.org/N10-1069/
    [^2]: Stich. 2019. Local SGD converges fast and communicates little. arXiv:1805.09767

    """
    for model in models:
        _require_descendant(base, model)
    mean = copy.deepcopy(base)
    networks = [model.network for model in models]
    mean.network.restore(_merge_networks(base.network, networks))
    _average_weights(mean.network, base.network, networks)
    if mean.network.scaler is not None:
        _merge_statistics(mean.network, base.network, networks)
    return mean


def _merge_networks(base: Network, networks: Sequence[Network]) -> Snapshot:
    """Return the state that the mean starts from: all labels and features, and initial weights."""
    all_networks = (base, *networks)
    labels = dict.fromkeys(chain.from_iterable(network.label_names for network in all_networks))
    features = dict.fromkeys(chain.from_iterable(network.feature_names for network in all_networks))
    shape = len(labels), len(features)
    base.store.require_size(*shape)
    first = next((network for network in all_networks if network.n_seen), base)
    drawn_shape = first.store.current.drawn_shape
    initial = base.store.compute_initial_weights(len(labels), [*features], drawn_shape)
    scaler = None
    if base.scaler is not None:
        scaler = base.scaler.create_empty()
        scaler.extend(0, features)
    return Snapshot(
        [*labels], [*features], initial[:, 1:], initial[:, 0], np.zeros(1 + len(features)),
        drawn_shape, base.n_seen, base.n_updates, base.last_error, scaler,
        _sum_counts(base, networks, labels),
    )  # fmt: skip


def _sum_counts(
    base: Network, networks: Sequence[Network], labels: Mapping[Hashable, object]
) -> NDArray[np.int64] | None:
    """Return the class counts of the base plus those that each network added."""
    if base.class_counts is None:
        return None
    before = _count_labels(base)
    totals = Counter(before)
    for network in networks:
        totals.update(_count_labels(network) - before)
    return np.array([totals[label] for label in labels], np.int64)


def _count_labels(network: Network) -> Counter[Hashable]:
    """Return how many samples of each label a network has learned from."""
    assert network.class_counts is not None
    return Counter(dict(zip(network.label_names, network.class_counts.tolist(), strict=True)))


def _average_weights(merged: Network, base: Network, networks: Sequence[Network]) -> None:
    """Set the weights of `merged` to the mean over all networks, and its counts to the totals."""
    total = np.zeros((len(merged.label_names), 1 + len(merged.feature_names)))
    n_seen, n_updates, last_error = base.n_seen, base.n_updates, base.last_error
    for network in networks:
        total += _align_weights(network, merged)
        if network.n_seen > base.n_seen:
            last_error = network.last_error
        n_seen += network.n_seen - base.n_seen
        n_updates += network.n_updates - base.n_updates
    total /= len(networks)
    merged.store.current.biases[:], merged.store.current.weights[:] = total[:, 0], total[:, 1:]
    before = _align_update_counts(base, merged)
    added = [_align_update_counts(network, merged) - before for network in networks]
    merged.store.current.update_counts[:] = before + sum(added)
    merged.counters.counts[:] = n_seen, n_updates
    merged.counters.last_error[0] = last_error


def _align_update_counts(network: Network, merged: Network) -> Floats:
    """Return a network's update counts for the bias and the features of `merged`, (1 + d,)."""
    counts = np.zeros(1 + len(merged.feature_names))
    names = tuple(network.feature_names)
    ids = np.array([0, *(1 + merged.features.find_ids(names))])
    counts[ids] = network.store.current.update_counts[: 1 + len(names)]
    return counts


def _merge_statistics(merged: Network, base: Network, networks: Sequence[Network]) -> None:
    """Set the merged scaler's statistics: the base's, merged with those of all new samples."""
    scaler = merged.scaler
    assert scaler is not None
    d = len(merged.feature_names)
    before = _align_statistics(base, merged)
    if len(networks) == 1:
        total = _align_statistics(networks[0], merged)
    else:
        total = before
        for network in networks:
            new = scaler.subtract_statistics(before, _align_statistics(network, merged))
            total = scaler.merge_statistics(total, new)
    if not np.isfinite(total).all():
        raise CheckpointError(
            "a feature's variance over all models is too large: scale the feature"
        )
    scaler.statistics[:, :d] = total


def _align_statistics(network: Network, merged: Network) -> Floats:
    """Return the statistics of a network's scaler for all features of `merged`, shape (4, d)."""
    assert network.scaler is not None
    assert merged.scaler is not None
    names = tuple(network.feature_names)
    statistics = merged.scaler.statistics[:, : len(merged.feature_names)].copy()
    feature_ids = merged.features.find_ids(names)
    statistics[:, feature_ids] = network.scaler.statistics[:, : len(names)]
    return statistics


def _require_descendant(base: SGDPerceptron, model: SGDPerceptron) -> None:
    """Check that the parameters, names and counts of `model` can result from training `base`."""
    scaler, base_scaler = model.network.scaler, base.network.scaler
    has_indicators, base_has_indicators = (
        None if s is None else s.has_indicators for s in (scaler, base_scaler)
    )
    if has_indicators != base_has_indicators:
        raise CheckpointError("it scales features differently from the base")
    for option, name in _SHARED_PARAMETERS.items():
        value, base_value = getattr(model, name), getattr(base, name)
        if value != base_value:
            raise CheckpointError(f"its {option} is {value!r}, but the base has {base_value!r}")
    for plural, name in (("classes", "classes_"), ("features", "features_")):
        base_names = getattr(base, name)
        if getattr(model, name)[: len(base_names)] != base_names:
            raise CheckpointError(f"its first {plural} are not those of the base")
    if base.network.class_counts is not None and not _count_labels(model.network) >= _count_labels(
        base.network
    ):
        raise CheckpointError("it has seen fewer samples of a class than the base")
    base_counts = base.network.store.current.update_counts[: 1 + len(base.features_)]
    if (model.network.store.current.update_counts[: len(base_counts)] < base_counts).any():
        raise CheckpointError("it has counted fewer updates of a feature than the base")
    if model.n_seen < base.n_seen:
        raise CheckpointError(
            f"it has seen {model.n_seen:,} samples, but the base had already seen {base.n_seen:,}"
        )


def _align_weights(network: Network, merged: Network) -> Array:
    """Return a network's biases and weights (k, 1 + d) for all labels and features of `merged`.

    Each is the initial weight in `merged` plus the network's change to its own initial weight.
    """
    own = np.column_stack([network.store.current.biases, network.store.current.weights])
    own_initial, weights = _compute_initial_weights(network), _compute_initial_weights(merged)
    label_ids = merged.labels.find_ids(tuple(network.label_names))
    feature_ids = merged.features.find_ids(tuple(network.feature_names))
    common = np.ix_(label_ids, np.concatenate([[0], feature_ids + 1]))
    initial = weights[common]
    # Where the two initial weights are equal, the network's own weights are the exact sum.
    weights[common] = np.where(initial == own_initial, own, initial + (own - own_initial))
    return weights


def _compute_initial_weights(network: Network) -> Floats:
    """Compute the biases and weights (k, 1 + d) that a network began with."""
    store = network.store
    return store.compute_initial_weights(
        store.shape[0], network.feature_names, store.current.drawn_shape
    )


def average_live(base_live: LiveModel, live_models: Sequence[LiveModel]) -> LiveModel:
    """Average live models that were trained independently from the same base.

    Parameters
    ----------
    base_live
        The model that all others were trained from.
    live_models
        The models. Their weights are added up in the order given.

    Returns
    -------
    The `average`, with the counts of `base_live` and those that each model added, and the highest
    offset of each partition, but without a history. If there are several models, it has no metrics
    other than these counts and the window of the last 1,000 samples, in the order of the models.

    Raises
    ------
    CheckpointError
        If a model was not trained from `base_live`.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> from stream_perceptron.live import learn
    >>> sources = [open_source(str(sample_path()))]
    >>> base_live = LiveModel.start(sources, seed=0)
    >>> live_models = [copy.deepcopy(base_live), copy.deepcopy(base_live)]
    >>> for limit, live in zip((300, 200), live_models, strict=True):
    ...     for result in learn(live, sources, limit=limit):
    ...         pass
    >>> average_live(base_live, live_models).progress.samples
    500

    """
    model = average(base_live.model, [live.model for live in live_models])
    schema, offsets = base_live.schema, dict(base_live.state.redeliveries.offsets)
    for live in live_models:
        schema = _unite_schemas(schema, live.schema)
        for partition, offset in live.state.redeliveries.offsets.items():
            offsets[partition] = max(offset, offsets.get(partition, offset))
    state = replace(
        base_live.state,
        schema=schema,
        string_columns=_count_string_features(base_live, live_models, model.features_),
        progress=_sum_progress(base_live.progress, live_models),
        redeliveries=Redeliveries(offsets),
    )
    return LiveModel(model, state)


def _count_string_features(
    base: LiveModel, live_models: Sequence[LiveModel], features: Sequence[Hashable]
) -> dict[str, int]:
    """Return the columns with strings, and how many of the features their strings have added.

    Of the features that are new to the base, only the names tell the column.
    """
    counts = dict(base.state.string_columns)
    for live in live_models:
        counts |= dict.fromkeys(live.state.string_columns.keys() - counts.keys(), 0)
    for name in map(str, features[len(base.model.features_) :]):
        ends = [i for i, character in enumerate(name) if character == "="]
        column = next((name[:end] for end in reversed(ends) if name[:end] in counts), None)
        if column is not None:
            counts[column] += 1
    return counts


def _unite_schemas(schema: Schema, other: Schema) -> Schema:
    """Return the union of two schemas; check that they are compatible."""
    if schema.element_names and other.element_names and schema.element_names != other.element_names:
        raise CheckpointError("its features are not those of the others")
    types = {schema.label_type, other.label_type} - {None}
    if len(types) > 1:
        raise CheckpointError(
            f"its label type is {other.label_type!r}, but the others have {schema.label_type!r}"
        )
    if None not in (schema.is_list, other.is_list) and schema.is_list != other.is_list:
        raise CheckpointError("its rows are lists of numbers, or those of the others are")
    column_schema = schema if schema.columns else other
    return Schema(
        element_names=schema.element_names or other.element_names,
        label_type=schema.label_type or other.label_type,
        columns=column_schema.columns,
        label=column_schema.label or schema.label,
        is_list=other.is_list if schema.is_list is None else schema.is_list,
        list_key=schema.list_key or other.list_key,
        later_columns=tuple(dict.fromkeys((*schema.later_columns, *other.later_columns))),
    )


def _sum_progress(before: Progress, live_models: Sequence[LiveModel]) -> Progress:
    """Return the counts of `before` plus those that each model added, and the last predictions."""
    if len(live_models) == 1:  # a sum of differences would have rounding errors
        return copy.deepcopy(live_models[0].progress)
    # Samples of models that were trained in parallel have no common order.
    total = Progress(
        max_abs_values={},
        row_counters={},
        max_abs_value=before.max_abs_value,
        outcomes=before.outcomes,
    )
    for name in _SUMMED_COUNTS:
        setattr(total, name, getattr(before, name))
    for live in live_models:
        progress = live.progress
        for name in _SUMMED_COUNTS:
            added = getattr(progress, name) - getattr(before, name)
            setattr(total, name, min(getattr(total, name) + added, MAX_SUM))
        total.max_abs_value = max(total.max_abs_value, progress.max_abs_value)
        n_tested = progress.samples - progress.n_untested - before.samples + before.n_untested
        total.add_outcomes(
            progress.recent_outcomes[max(len(progress.recent_outcomes) - n_tested, 0) :]
        )
    return total
