"""Averaging of models that were trained in parallel from one base."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.drift import Drift
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.marks import Mark, Marks
from stream_perceptron.live.metrics import Progress, shared_reach
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.network import Network, Snapshot
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

Array = NDArray[Any]
Floats = NDArray[np.float64]

# Parameters that models must have in common, by their option.
_ALIKE = {
    "activation": "activation", "class-weight": "class_weight", "init-range": "init_range",
    "seed": "seed_",
}  # fmt: skip

# Counts that are added up.
_SUMS = ("samples", "unlabelled", "skipped", "updates", "repeats", "error_sum", "missing")


def average(base: SGDPerceptron, models: Sequence[SGDPerceptron]) -> SGDPerceptron:
    """Return the mean of models that were trained from one base, each on its own samples.

    This is iterative parameter mixing[^1] in equal parts, or local SGD[^2]: train N models with N
    times the learning rate. Labels and features are united by name, in the order of the models.

    A weight is its initial value plus the mean of the models' differences from their own initial
    weights. The mean's initial weights are those of the base or, if the base has learned nothing,
    those of the first model that has.

    Parameters
    ----------
    base
        The model that all others continue. The mean has its parameters.
    models
        The models, whose weights are added up in this order. A scaler's statistics over the samples
        that each model added are computed by subtraction, and merged by Chan's formula.

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
        _require_descent(base, model)
    mean = copy.deepcopy(base)
    networks = [model.network for model in models]
    mean.network.restore(_unite(base.network, networks))
    _average(mean.network, base.network, networks)
    if mean.network.scaler is not None:
        _merge(mean.network, base.network, networks)
    return mean


def _unite(base: Network, networks: Sequence[Network]) -> Snapshot:
    """Return the labels and features of all networks, with the initial weights of the mean."""
    everyone = (base, *networks)
    labels = dict.fromkeys(chain.from_iterable(network.label_names for network in everyone))
    features = dict.fromkeys(chain.from_iterable(network.feature_names for network in everyone))
    shape = len(labels), len(features)
    base.store.require_size(*shape)
    first = next((network for network in everyone if network.n_seen), base)
    n_drawn = first.store.n_drawn
    initial = base.store.initialize(*shape, n_drawn)
    scaler = None
    if base.scaler is not None:
        unscaled: set[Hashable] = set()
        for network in everyone:
            if network.scaler is not None:
                unscaled |= network.scaler.find_unscaled(network.feature_names)
        scaler = Scaler()
        scaler.extend(0, np.array([name in unscaled for name in features], bool))
    return Snapshot(
        [*labels], [*features], initial[:, 1:], initial[:, 0], n_drawn,
        base.n_seen, base.n_updates, base.last_error, scaler, _sum_counts(base, networks, labels),
    )  # fmt: skip


def _sum_counts(
    base: Network, networks: Sequence[Network], labels: Mapping[Hashable, Any]
) -> NDArray[np.int64] | None:
    """Return the counts of classes of the base, with those that each network added."""
    if base.class_counts is None:
        return None
    before = _count_labels(base)
    totals = Counter(before)
    for network in networks:
        totals.update(_count_labels(network) - before)
    return np.array([totals[label] for label in labels], np.int64)


def _count_labels(network: Network) -> Counter[Hashable]:
    """Return how often a network learned each label."""
    assert network.class_counts is not None
    return Counter(dict(zip(network.label_names, network.class_counts.tolist(), strict=True)))


def _average(united: Network, base: Network, networks: Sequence[Network]) -> None:
    """Set the mean weights and the counts of all networks in `united`."""
    total = np.zeros((len(united.label_names), 1 + len(united.feature_names)))
    n_seen, n_updates, last_error = base.n_seen, base.n_updates, base.last_error
    for network in networks:
        total += _weights_of(network, united)
        if network.n_seen > base.n_seen:
            last_error = network.last_error
        n_seen += network.n_seen - base.n_seen
        n_updates += network.n_updates - base.n_updates
    total /= len(networks)
    united.store.biases[:], united.store.weights[:] = total[:, 0], total[:, 1:]
    united.count(n_seen, n_updates, last_error)


def _merge(united: Network, base: Network, networks: Sequence[Network]) -> None:
    """Set the united scaler's statistics to the base's, with those each network added."""
    scaler = united.scaler
    assert scaler is not None
    d = len(united.feature_names)
    before = _statistics(base, united)
    if len(networks) == 1:
        total = _statistics(networks[0], united)
    else:
        total = before
        for network in networks:
            total = scaler.merged(total, scaler.added(before, _statistics(network, united)))
    if not np.isfinite(total).all():
        raise CheckpointError("a feature's variance over all models is too large: scale it")
    scaler.put(slice(d), total)


def _statistics(network: Network, united: Network) -> Floats:
    """Return the statistics of a network's scaler over all features of `united`, shape (3, d)."""
    assert network.scaler is not None
    assert united.scaler is not None
    names = tuple(network.feature_names)
    statistics = united.scaler.at(slice(len(united.feature_names)))
    statistics[:] = np.where(statistics[0] < 0, statistics, 0.0)
    statistics[:, united.features.numbers_of(names)] = network.scaler.at(slice(len(names)))
    return statistics


def _require_descent(base: SGDPerceptron, model: SGDPerceptron) -> None:
    if type(model.network.scaler) is not type(base.network.scaler):
        raise CheckpointError("it scales features in another way than the base")
    for called, name in _ALIKE.items():
        here, there = getattr(model, name), getattr(base, name)
        if here != there:
            raise CheckpointError(f"its {called} is {here!r}, but the base has {there!r}")
    for called, name in (("classes", "classes_"), ("features", "features_")):
        known = getattr(base, name)
        if getattr(model, name)[: len(known)] != known:
            raise CheckpointError(f"its first {called} are not those of the base")
    if base.network.class_counts is not None and not _count_labels(model.network) >= _count_labels(
        base.network
    ):
        raise CheckpointError("it has seen fewer samples of a class than the base")
    if model.n_seen < base.n_seen:
        raise CheckpointError(
            f"it has seen {model.n_seen:,} samples, but the base {base.n_seen:,} already"
        )


def _weights_of(network: Network, united: Network) -> Array:
    """Return biases and weights (k, 1 + d) over all labels and features of `united`.

    They are the united initial weights, with the differences from its own that the network learned.
    """
    own = np.column_stack([network.store.biases, network.store.weights])
    if all(
        one == other
        for one, other in (
            (network.label_names, united.label_names),
            (network.feature_names, united.feature_names),
            (network.store.n_drawn, united.store.n_drawn),
        )
    ):
        return own
    own_initial, weights = _initial_of(network), _initial_of(united)
    label_ids = united.labels.numbers_of(tuple(network.label_names))
    feature_ids = united.features.numbers_of(tuple(network.feature_names))
    common = np.ix_(label_ids, np.concatenate([[0], feature_ids + 1]))
    initial = weights[common]
    # Where the initial weights are the same, the network's own are the exact sum.
    weights[common] = np.where(initial == own_initial, own, initial + (own - own_initial))
    return weights


def _initial_of(network: Network) -> Floats:
    """Return the biases and weights (k, 1 + d) that a network began with."""
    store = network.store
    return store.initialize(*store.shape, store.n_drawn)


def average_live(begin: LiveModel, lives: Sequence[LiveModel]) -> LiveModel:
    """Return the mean of live models that were trained independently from one base.

    Parameters
    ----------
    begin
        The model that all others continue.
    lives
        The models, whose weights are added up in this order.

    Returns
    -------
    The `average`, with the counts and the lineage of `begin` and of each model's additions, and the
    marks of all. Of the cursors it keeps the highest offset of each partition. The additions of
    several models are one bin of the learning curve, and the window of the last 1,000 samples
    follows the models' order.

    Raises
    ------
    CheckpointError
        If a model was not trained from `begin`, or reads its sources in another way.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> begin = LiveModel.start(sources, seed=0)
    >>> lives = [copy.deepcopy(begin), copy.deepcopy(begin)]
    >>> for limit, live in zip((300, 200), lives, strict=True):
    ...     for result in live.run(sources, limit=limit):
    ...         pass
    >>> average_live(begin, lives).progress.samples
    500

    """
    model = average(begin.model, [live.model for live in lives])
    schema, offsets = begin.schema, dict(begin.cursor.offsets)
    for live in (begin, *lives):
        live.require_runnable()
    for live in lives:
        _require_alike(begin.selection, live.selection)
        if live.waiting.samples:
            raise CheckpointError("it has samples that wait for labels, which cannot be averaged")
        schema = _united(schema, live.schema)
        for partition, offset in live.cursor.offsets.items():
            offsets[partition] = max(offset, offsets.get(partition, offset))
    progress = _sum(model, begin.progress, lives)
    lineage = begin.lineage.mean_of([live.lineage for live in lives])
    cursor = Cursor(redeliveries=Redeliveries(offsets))
    ledger = Ledger(progress, cursor, lineage, _unite_marks((begin, *lives)))
    return LiveModel(model, begin.selection, schema, ledger)


def _unite_marks(lives: Iterable[LiveModel]) -> Marks:
    """Return the marks of all models; of each content and name, that with the most rows."""
    united: dict[tuple[str, Identity], Mark] = {}
    for mark in chain.from_iterable(live.marks for live in lives):
        key = mark.source.name, mark.source
        if key not in united or united[key].n_rows < mark.n_rows:
            united[key] = mark
    return Marks(united.values())


def average_files(paths: Sequence[Path], base: Path) -> LiveModel:
    """Return the `average_live` of saved models that continue a saved base.

    Models are added up in the order of their files' SHA-256, whatever the order of `paths`.
    """
    begin = LiveModel.load(base)
    lives: dict[str, LiveModel] = {}
    names: dict[str, Path] = {}
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in names:
            raise CheckpointError(f"{path}: is the same as {names[digest]}, and would count twice")
        names[digest], lives[digest] = path, LiveModel.load(path)
        try:
            average_live(begin, [lives[digest]])
        except CheckpointError as error:
            raise CheckpointError(f"{path}: does not continue {base}: {error}") from None
    try:
        return average_live(begin, [lives[digest] for digest in sorted(lives)])
    except CheckpointError as error:
        raise CheckpointError(f"one of the models does not fit: {error}") from None


def _require_alike(selection: Selection, other: Selection) -> None:
    """Check that two models read their sources alike."""
    for each in fields(selection):
        name = each.name
        here, there = getattr(selection, name), getattr(other, name)
        if here != there:
            raise CheckpointError(f"its {name} is {there!r}, but the others have {here!r}")


def _united(schema: Schema, other: Schema) -> Schema:
    """Return the union of two schemas; check that they are compatible."""
    if None not in (schema.features, other.features) and schema.features != other.features:
        raise CheckpointError("its features are not those of the others")
    types = {schema.label_type, other.label_type} - {None}
    if len(types) > 1:
        raise CheckpointError(
            f"its label type is {other.label_type!r}, but the others have {schema.label_type!r}"
        )
    texts = schema.texts
    if other.texts is not None:
        texts = tuple(dict.fromkeys([*(schema.texts or ()), *other.texts]))
    undecided = [name for name in schema.undecided if name in other.undecided]
    if schema.features is None:
        undecided = list(other.undecided)
    of_columns = schema if schema.columns else other
    of_json = schema if schema.key is not None else other
    return Schema(
        features=other.features if schema.features is None else schema.features,
        label_type=schema.label_type or other.label_type,
        texts=texts,
        undecided=tuple(undecided),
        columns=of_columns.columns,
        label=of_columns.label,
        key=of_json.key,
        is_list=of_json.is_list,
    )


def _sum(model: SGDPerceptron, before: Progress, lives: Sequence[LiveModel]) -> Progress:
    """Return the metrics of `before` and of each model's additions."""
    for live in lives:
        _require_more(before, live.progress)
    if len(lives) == 1:  # a sum of differences would differ by rounding
        return copy.deepcopy(lives[0].progress)
    total = copy.deepcopy(before)
    curve_before = before.curve.sums.sum(axis=0)
    added_to_curve = np.zeros(len(curve_before))
    for live in lives:
        progress = live.progress
        numbers = model.network.labels.numbers_of(tuple(live.model.classes_)).astype(np.intp)
        for name in _SUMS:
            added = getattr(progress, name) - getattr(before, name)
            setattr(total, name, getattr(total, name) + added)
        total.largest = max(total.largest, progress.largest)
        reaches = [each for each in (total.reach, progress.reach) if each is not None]
        total.rising = {}
        # Samples of parallel models have no order.
        total.drift, total.events = Drift(), []
        total.reach = reduce(shared_reach, reaches) if reaches else None
        if progress.samples > before.samples:
            total.last_target = int(numbers[progress.last_target])
        total.progressive.add(progress.progressive, before.progressive, numbers)
        total.training.add(progress.training, before.training, numbers)
        added_to_curve += progress.curve.sums.sum(axis=0) - curve_before
    total.curve.append(np.maximum(added_to_curve, 0.0))
    _sum_untyped_nulls(total, before, lives)
    return total


def _sum_untyped_nulls(total: Progress, before: Progress, lives: Sequence[LiveModel]) -> None:
    """Add the nulls of columns without a value, before or up to now."""
    first = before.untyped_nulls or {}
    nulls = Counter(first)
    for live in lives:
        counts = live.progress.untyped_nulls or {}
        nulls.update({name: n - first.get(name, 0) for name, n in counts.items()})
        settled = (name for name in first if name not in counts)
        # Each of these models has counted the nulls of `before` as missing, and so does `nulls`.
        total.missing -= sum(first[name] for name in settled if live.knowledge.is_feature(name))
    total.settle_nulls(dict(nulls), [live.knowledge for live in lives])


def _require_more(before: Progress, after: Progress) -> None:
    has_all = after.progressive.confusion.contains(
        before.progressive.confusion
    ) and after.training.confusion.contains(before.training.confusion)
    if not has_all or any(getattr(after, name) < getattr(before, name) for name in _SUMS):
        raise CheckpointError("it has counted less than the base")
