"""River's progressive validation, with a checkpoint to resume it from."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from struct import error, pack
from typing import TYPE_CHECKING, Any, TypeAlias

from stream_perceptron.checkpoint.codec import Fields, decode_name, encode_name
from stream_perceptron.checkpoint.pipelines import split
from stream_perceptron.checkpoint.state import Loaded, load, save
from stream_perceptron.errors import CheckpointError, SourceError

if TYPE_CHECKING:
    from river.compose import Pipeline
    from river.metrics.base import Metric

    from stream_perceptron.perceptron import SGDPerceptron

Moment: TypeAlias = "str | Callable[[dict[Any, Any]], Any] | None"
Delay: TypeAlias = "str | int | dt.timedelta | Callable[..., Any] | None"
Pairs: TypeAlias = Iterable[tuple[Any, ...]]

_ONE_IN = 64  # the digest covers every label, and the features of one pair in 64


def progressive_val_score(
    dataset: Pairs,
    model: SGDPerceptron | Pipeline,
    metric: Metric,
    moment: Moment = None,
    delay: Delay = None,
    print_every: int = 0,
    show_time: bool = False,
    show_memory: bool = False,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 10_000,
    **print_kwargs: Any,
) -> Metric:
    """Evaluate a model as `river.evaluate.progressive_val_score` does, and save its state.

    If the call is killed at any moment, the next one resumes from the checkpoint and ends with the
    same metric, predictions and weights. Once it has ended, further calls return the metric.

    Parameters
    ----------
    dataset
        Pairs of features and a label, or triples that end with a dict of arguments for `learn_one`,
        such as a weight w. Give the same dataset each time; a resumed call reads it from the start.
    model
        A perceptron, or a pipeline that `save` accepts. A resumed call restores its state.
    metric
        A metric that River computes from a confusion matrix, several joined by +, or `Rolling` of
        one. A resumed call restores its counts.
    moment, delay, print_every, show_time, show_memory, print_kwargs
        As River's; time counts from this call.
    checkpoint
        The file to save to, and to resume from if it exists. None calls River's function.
    save_every
        The number of samples between saves.

    Raises
    ------
    CheckpointError
        If the model or the metric cannot be saved, or the file belongs to another evaluation.
    SourceError
        If the dataset has become shorter, or its first pairs differ from those read before.

    Examples
    --------
    >>> import tempfile
    >>> from river import datasets, metrics, preprocessing
    >>> from stream_perceptron import SGDPerceptron
    >>> path = f"{tempfile.mkdtemp()}/phishing.npz"
    >>> def score():
    ...     model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    ...     dataset, metric = datasets.Phishing(), metrics.Accuracy()
    ...     return progressive_val_score(dataset, model, metric, checkpoint=path, save_every=500)
    >>> score()
    Accuracy: 89.59%
    >>> score()  # it has ended
    Accuracy: 89.59%

    """
    from river import utils

    steps = iter_progressive_val_score(
        dataset, model, metric, moment, delay, print_every, show_time, show_memory,
        checkpoint=checkpoint, save_every=save_every,
    )  # fmt: skip
    for step in steps:
        text = f"[{step['Step']:,d}] {metric}"
        if show_time:
            minutes, seconds = divmod(step["Time"].seconds, 60)
            text += f" \u2013 {minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
        if show_memory:
            text += f" \u2013 {utils.pretty.humanize_bytes(step['Memory'])}"
        print(text, **print_kwargs)
    return metric


def iter_progressive_val_score(
    dataset: Pairs,
    model: SGDPerceptron | Pipeline,
    metric: Metric,
    moment: Moment = None,
    delay: Delay = None,
    step: int = 1,
    measure_time: bool = False,
    measure_memory: bool = False,
    yield_predictions: bool = False,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 10_000,
) -> Generator[dict[str, Any], None, None]:
    """Evaluate likewise, and yield as River's function of this name does, from the resumed place.

    Parameters
    ----------
    step
        The number of samples between yields, as River's.
    measure_time, measure_memory, yield_predictions
        As River's.

    Examples
    --------
    >>> from river import datasets, metrics
    >>> from stream_perceptron import SGDPerceptron
    >>> model, metric = SGDPerceptron(lr=0.1, seed=0), metrics.Accuracy()
    >>> for each in iter_progressive_val_score(datasets.Phishing(), model, metric, step=500):
    ...     print(each["Step"], each["Accuracy"])
    500 Accuracy: 74.75%
    1000 Accuracy: 80.78%
    1250 Accuracy: 82.23%

    """
    if checkpoint is None:
        from river import evaluate

        yield from evaluate.iter_progressive_val_score(
            dataset, model, metric, moment, delay, step, measure_time, measure_memory,
            yield_predictions,
        )  # fmt: skip
        return
    if not metric.works_with(model):
        raise ValueError(f"{type(metric).__name__} metric is not compatible with {model}")
    begin = time.perf_counter()
    run = _Evaluation(Path(checkpoint), model, metric)
    for prediction in run.go_on(dataset, moment, delay, save_every, step):
        is_last = prediction is _END
        if is_last and (not step or run.answers < step or run.answers % step == 0):
            return
        from river import metrics

        each = metric if isinstance(metric, metrics.base.Metrics) else [metric]
        report = {type(one).__name__: one for one in each} | {"Step": run.answers}
        if measure_time:
            report["Time"] = dt.timedelta(seconds=time.perf_counter() - begin)
        if measure_memory:
            report["Memory"] = model._raw_memory_usage
        if yield_predictions:
            report["Prediction"] = None if is_last else prediction
        yield report


_END = object()


class _Pairs:
    """A dataset, with a digest of the pairs read so far."""

    def __init__(self, dataset: Pairs, before: tuple[int, str] | None) -> None:
        self._dataset, self._before = dataset, before
        self.n, self._digest = 0, hashlib.blake2b(digest_size=32)
        self._last: list[Any] = []  # labels
        self._names: tuple[Hashable, ...] = ()

    @property
    def digest(self) -> str:
        digest = self._digest.copy()
        digest.update(repr(self._last).encode())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        before, digest = self._before or (0, "")
        n, last = 0, self._last
        for pair in self._dataset:
            if n % _ONE_IN == 0:
                self._take(pair[0])
            last.append(pair[1])
            self.n = n = n + 1
            if n == before and self.digest != digest:
                raise SourceError(
                    f"the dataset has other labels or features in its first {n:,} pairs"
                )
            yield pair
        if n < before:
            raise SourceError(f"the dataset has {n:,} pairs, but {before:,} were read before")

    def _take(self, x: Mapping[Hashable, Any]) -> None:
        """Add the last labels and the features of one pair to the digest."""
        if (names := tuple(x)) != self._names:
            self._names = names
            self._digest.update(repr(names).encode())
        try:
            values = pack(f"{len(x)}d", *x.values())
        except error:  # some are texts
            values = repr(list(x.values())).encode()
        self._digest.update(repr(self._last).encode() + values)
        self._last.clear()


class _Evaluation:
    """An evaluation that is saved to a checkpoint and resumed from it."""

    def __init__(self, path: Path, model: Any, metric: Any) -> None:
        self._path, self._model, self._metric = path, model, metric
        self._counted = list(_counted(metric))
        kinds = [
            f"{type(getattr(one, 'obj', one)).__name__} {getattr(one, 'window_size', '')}"
            for one in self._counted
        ]
        self._what = [repr(model), kinds]
        self._events, self._is_over = 0, False
        self._before: tuple[int, str] | None = None
        self._waiting: dict[int, Any] = {}  # predictions by the pair's number
        self.answers = 0
        split(model)  # refuses a model that cannot be saved, before the first sample
        if path.exists():
            try:
                self._restore(load(path))
            except CheckpointError:
                raise
            except (LookupError, TypeError, ValueError):
                raise CheckpointError(f"{path}: not a checkpoint of an evaluation") from None

    def _restore(self, loaded: Loaded) -> None:
        state = Fields(loaded.extra.get("evaluation"), f"{self._path}: the evaluation")
        if state.take("what", list) != self._what:
            raise CheckpointError(
                f"{self._path}: belongs to another model or metric: give another checkpoint"
            )
        self.answers, self._events = state.take("answers", int), state.take("events", int)
        self._is_over = state.take("is_over", bool)
        self._before = state.take("n", int), state.take("digest", str)
        self._waiting = {i: decode_name(name) for i, name in state.take("waiting", list)}
        for one, counts in zip(self._counted, state.take("metrics", list), strict=True):
            _restore_counts(one, counts)
        vars(self._model).update(vars(loaded.model))

    def _save(self, pairs: _Pairs, waiting: Mapping[int, tuple[Any, Any]], events: int) -> None:
        state = {
            "what": self._what,
            "answers": self.answers,
            "events": events,
            "is_over": self._is_over,
            "n": pairs.n,
            "digest": pairs.digest,
            "waiting": [[i, encode_name(y)] for i, (y, _) in waiting.items()],
            "metrics": [_counts_of(one) for one in self._counted],
        }
        save(self._model, self._path, {"evaluation": state})

    def go_on(
        self, dataset: Pairs, moment: Moment, delay: Delay, save_every: int, step: int
    ) -> Iterator[Any]:
        """Test and train; yield the prediction after each `step` samples, and _END at the end."""
        from river import stream

        if self._is_over:
            return
        pairs, waiting = _Pairs(dataset, self._before), {}
        events: Iterator[tuple[Any, ...]] = stream.simulate_qa(pairs, moment, delay, copy=True)
        if moment is None and delay is None:
            events = ((i, *pair) for i, pair in enumerate(pairs))  # question and answer at once
        predict, learn, update = self._model.predict_one, self._model.learn_one, self._metric.update
        number, done, answers = 0, self._events, self.answers
        for number, (i, x, y, *extra) in enumerate(events, 1):
            arguments = dict(extra[0]) if extra else {}
            weight = arguments.pop("w", None) if extra else None
            if number <= done:
                if y is None and i in self._waiting:
                    waiting[i] = self._waiting[i], weight
                continue
            if y is None:
                waiting[i] = predict(x, **arguments), weight
                continue
            if i in waiting:
                predicted, weight = waiting.pop(i)
            else:
                predicted = predict(x, **arguments)
            if predicted is not None:
                update(y_true=y, y_pred=predicted)
            if weight is not None:
                arguments["w"] = weight
            learn(x, y, **arguments)
            answers += 1
            if answers % save_every == 0:
                self.answers = answers
                self._save(pairs, waiting, number)
            if step and answers % step == 0:
                self.answers = answers
                yield predicted
        self.answers = answers
        self._is_over = True
        self._save(pairs, waiting, number)
        yield _END


def _counted(metric: Any) -> Iterator[Any]:
    """Yield the metrics of a confusion matrix that a metric consists of.

    Raises
    ------
    CheckpointError
        If it has another part, which cannot be saved.

    """
    from river import metrics, utils

    if isinstance(metric, metrics.base.Metrics):
        for one in metric:
            yield from _counted(one)
        return
    inner = metric.obj if isinstance(metric, utils.Rolling) else metric
    kept = vars(inner) if isinstance(inner, metrics.base.ClassificationMetric) else {}
    parts = (value for name, value in kept.items() if name != "cm")
    if "cm" not in kept or not inner.requires_labels or not all(map(_is_fixed, parts)):
        raise CheckpointError(
            f"{type(inner).__name__} cannot be saved: use a metric of a confusion matrix, such as "
            "Accuracy, MacroF1 or CohenKappa, several joined by +, or utils.Rolling of one"
        )
    yield metric


def _is_fixed(part: Any) -> bool:
    """Whether a metric's attribute is a parameter, or a metric of the same matrix."""
    from river import metrics

    return isinstance(part, metrics.base.Metric) or part is None or isinstance(part, Hashable)


def _counts_of(metric: Any) -> dict[str, Any]:
    """Return a metric's counts as JSON."""
    matrix = getattr(metric, "obj", metric).cm
    window = [
        [encode_name(arguments["y_true"]), encode_name(arguments["y_pred"])]
        for _, arguments in getattr(metric, "window", ())
    ]
    return {
        "n": matrix.n_samples,
        "weight": matrix.total_weight,
        "right": matrix._total_true_positives,
        "rows": _named(matrix.sum_row),
        "columns": _named(matrix.sum_col),
        "cells": [[encode_name(label), _named(row)] for label, row in matrix.data.items()],
        "window": window,
    }


def _named(counts: Mapping[Hashable, float]) -> list[list[Any]]:
    return [[encode_name(name), float(count)] for name, count in counts.items()]


def _restore_counts(metric: Any, counts: Any) -> None:
    """Put saved counts into a metric."""
    state = Fields(counts, "the evaluation's metric")
    matrix = getattr(metric, "obj", metric).cm
    matrix.n_samples, matrix.total_weight = state.take("n", int), state.take("weight", int, float)
    matrix._total_true_positives = state.take("right", float)
    for counted, name in ((matrix.sum_row, "rows"), (matrix.sum_col, "columns")):
        counted.clear()
        counted.update((decode_name(label), count) for label, count in state.take(name, list))
    matrix.data.clear()
    for label, row in state.take("cells", list):
        matrix.data[decode_name(label)].update((decode_name(each), count) for each, count in row)
    if hasattr(metric, "window"):
        metric.window.clear()
    for y_true, y_pred in state.take("window", list):
        pair = {"y_true": decode_name(y_true), "y_pred": decode_name(y_pred)}
        metric.window.append(((), pair))
    state.finish()
