"""One model from several that were trained side by side from the same one."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.schema import Schema
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.cursor import Position
from stream_perceptron.live.metrics import WINDOW, Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.network import Network
from stream_perceptron.model.weights import initial_weights
from stream_perceptron.perceptron import SGDPerceptron

__all__ = ["average", "average_files", "average_live"]

Array = NDArray[Any]

# What models must have in common, by what it is called on the command line.
_ALIKE = {"activation": "activation", "init-range": "init_range", "dtype": "dtype", "seed": "seed_"}
_ALIKE_IN_SCHEMA = ("label", "weight", "ignore", "scale", "position")
_KNOWN_LATER = ("features", "label_type")

# What is added up.
_SUMS = ("samples", "unlabelled", "skipped", "updates", "repeats", "epsilon_sum")


def average(base: SGDPerceptron, models: Sequence[SGDPerceptron]) -> SGDPerceptron:
    """Return the mean of models that were trained from one, each on samples of its own.

    This is iterative parameter mixing[^1] in equal parts, also known as local SGD[^2]. The mean of
    N models has made about an N-th of the step that each of them made: train them with N times the
    learning rate.

    Labels and features are united by name: those of `base`, then what is new in each model in turn.
    Where a model does not know a label or a feature its weights are the initial ones.

    Parameters
    ----------
    base
        The model that all were trained from. Learning rate and epsilon of the mean are its.
    models
        The models. Their weights are added up in this order.

    Returns
    -------
    The mean. Its samples and updates are those of `base` and what each model added.

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
    [^1]: Ryan McDonald, Keith Hall and Gideon Mann. 2010. Distributed training strategies for the
    structured perceptron. NAACL HLT 2010. https://aclanthology.org/N10-1069/
    [^2]: Sebastian U. Stich. 2019. Local SGD converges fast and communicates little. ICLR 2019.
    https://arxiv.org/abs/1805.09767

    """
    for model in models:
        _require_descent(base, model)
    mean = copy.deepcopy(base)
    network = mean._network
    for other in (model._network for model in models):
        for united, names in (
            (network.labels, other.labels.names),
            (network.features, other.features.names),
        ):
            united.extend([name for name in names if name not in united.numbers])
    network.store.resize(len(network.labels), len(network.features))
    total = np.zeros((len(network.labels), 1 + len(network.features)))
    for model in models:
        total += _weights_of(model._network, network)
        if model.n_seen > base.n_seen:
            network.last_epsilon = model.last_epsilon
        network.n_seen += model.n_seen - base.n_seen
        network.n_updates += model.n_updates - base.n_updates
    total /= len(models)
    network.store.biases[:], network.store.weights[:] = total[:, 0], total[:, 1:]
    return mean


def _require_descent(base: SGDPerceptron, model: SGDPerceptron) -> None:
    for called, name in _ALIKE.items():
        here, there = getattr(model, name), getattr(base, name)
        if here != there:
            raise CheckpointError(f"its {called} is {here!r}, but that of the base is {there!r}")
    for called, name in (("classes", "classes_"), ("features", "features_")):
        known = getattr(base, name)
        if getattr(model, name)[: len(known)] != known:
            raise CheckpointError(f"its first {called} are not those of the base")
    if model.n_seen < base.n_seen:
        raise CheckpointError(
            f"it has seen {model.n_seen:,} samples, but the base {base.n_seen:,} already"
        )


def _weights_of(network: Network, united: Network) -> Array:
    """Return biases and weights (k, 1 + d) over all labels and features of `united`."""
    own = np.column_stack([network.store.biases, network.store.weights])
    if (network.labels.names, network.features.names) == (
        united.labels.names,
        united.features.names,
    ):
        return own
    rows = united.labels.numbers_of(tuple(network.labels.names))
    columns = united.features.numbers_of(tuple(network.features.names)) + 1
    columns = np.concatenate([[0], columns])
    start = _initial(united, np.arange(len(united.labels)), np.arange(1 + len(united.features)))
    there = start[np.ix_(rows, columns)]
    before = _initial(network, np.arange(len(rows)), np.arange(len(columns)))
    # What gets another number starts with other weights: of that only what was learned counts.
    start[np.ix_(rows, columns)] = np.where(there == before, own, there + (own - before))
    return start


def _initial(network: Network, labels: Array, features: Array) -> Array:
    store = network.store
    return initial_weights(store.seed, labels, features, store.init_range).astype(network.dtype)


def average_live(begin: LiveModel, lives: Sequence[LiveModel]) -> LiveModel:
    """Return the mean of live models that went on from one, each by itself.

    Parameters
    ----------
    begin
        What all went on from.
    lives
        The models, in the order in which their weights are added up.

    Returns
    -------
    The `average` with the counts of `begin` and of what each added. Of positions only the highest
    offset of each part is kept. The last 1,000 samples and the curve are made as if the models'
    samples had come in turns.

    Raises
    ------
    CheckpointError
        If a model did not go on from `begin`, or takes something else from its sources.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> from stream_perceptron.data.parquet import ParquetSource
    >>> sources = [ParquetSource(str(sample_path()))]
    >>> begin = LiveModel.start(sources, Schema(), seed=0)
    >>> lives = [copy.deepcopy(begin), copy.deepcopy(begin)]
    >>> for limit, live in zip((300, 200), lives, strict=True):
    ...     for step in live.run(sources, limit=limit):
    ...         pass
    >>> average_live(begin, lives).progress.samples
    500

    """
    model = average(begin.model, [live.model for live in lives])
    schema, offsets = copy.deepcopy(begin.schema), dict(begin.position.offsets)
    for live in lives:
        _unite(schema, live.schema)
        for part, offset in live.position.offsets.items():
            offsets[part] = max(offset, offsets.get(part, offset))
    return LiveModel(model, schema, _sum(model, begin.progress, lives), Position(offsets=offsets))


def average_files(paths: Sequence[Path], base: Path) -> LiveModel:
    """Return the `average_live` of saved models that went on from one saved before.

    They are added up in the order of the SHA-256 of their files, so that the result does not depend
    on the order of `paths`.

    Parameters
    ----------
    paths
        The models.
    base
        The model that each of them went on from, as it was then.

    Raises
    ------
    CheckpointError
        If a file is damaged, a model did not go on from the base, or two are the same.
    OSError
        If a file cannot be read.

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
            raise CheckpointError(f"{path}: does not go on from {base}: {error}") from None
    try:
        return average_live(begin, [lives[digest] for digest in sorted(lives)])
    except CheckpointError as error:
        raise CheckpointError(f"models that do not fit together: {error}") from None


def _unite(schema: Schema, other: Schema) -> None:
    """Take over what another schema knows, and require that they fit together."""
    for name in (*_ALIKE_IN_SCHEMA, *_KNOWN_LATER):
        here, there = getattr(schema, name), getattr(other, name)
        if here == there or (there is None and name in _KNOWN_LATER):
            continue
        if here is None and name in _KNOWN_LATER:
            setattr(schema, name, there)
        elif name == "features":
            raise CheckpointError("its features are not those of the others")
        else:
            called = name.replace("_", " ")
            raise CheckpointError(f"its {called} is {there!r}, but that of the others {here!r}")
    if other.texts is not None:
        schema.texts = tuple(dict.fromkeys([*(schema.texts or ()), *other.texts]))


def _sum(model: SGDPerceptron, before: Progress, lives: Sequence[LiveModel]) -> Progress:
    """Return what was counted before, and by each model since."""
    for live in lives:
        _require_more(before, live.progress)
    if len(lives) == 1:  # a sum of differences would not be the same to the last digit
        return copy.deepcopy(lives[0].progress)
    total = copy.deepcopy(before)
    total.confusion = _enlarged(before.confusion, len(model.classes_))
    windows, curves = [], []
    for live in lives:
        progress = live.progress
        numbers = model._network.labels.numbers_of(tuple(live.model.classes_))
        for name in _SUMS:
            added = getattr(progress, name) - getattr(before, name)
            setattr(total, name, getattr(total, name) + added)
        total.largest = max(total.largest, progress.largest)
        if progress.samples > before.samples:
            total.last_target = int(numbers[progress.last_target])
        counts = progress.confusion - _enlarged(before.confusion, len(progress.confusion))
        rows = numbers[: len(counts)]
        total.confusion[np.ix_(rows, rows)] += counts
        windows.append(progress.window[::-1][: int(counts.sum())].tolist())
        curves.append(progress.curve.since(before.curve))
    latest = [right for turn in zip_longest(*windows) for right in turn if right is not None]
    total.window = np.array([*before.window, *reversed(latest)], bool)[-WINDOW:]
    most = max(map(len, curves))
    total.curve.extend(
        np.sum([np.pad(sums, ((0, most - len(sums)), (0, 0))) for sums in curves], axis=0)
    )
    return total


def _require_more(before: Progress, after: Progress) -> None:
    k = len(before.confusion)
    has_less = len(after.confusion) < k or (after.confusion[:k, :k] < before.confusion).any()
    if has_less or any(getattr(after, name) < getattr(before, name) for name in _SUMS):
        raise CheckpointError("it has counted less than the base already")


def _enlarged(confusion: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    return np.pad(confusion, (0, k - len(confusion)))
