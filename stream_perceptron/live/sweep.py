"""Training with several settings in one pass over a stream."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stream_perceptron.data.batch import BATCH_ROWS, Batch, Inferred
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import (
    Interpreter,
    Knowledge,
    RawRows,
    Source,
)
from stream_perceptron.errors import DivergedError
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.driver import StepOptions, cut, drive, read
from stream_perceptron.live.metrics import Progress, Scores
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.rows import Rows, concatenate_rows
from stream_perceptron.model.validation import as_label, as_row
from stream_perceptron.perceptron import SGDPerceptron

SWEPT = ("lr", "epsilon", "init_range", "activation")
MEASURES = ("accuracy", "kappa", "macro_f1")


@dataclass(eq=False, repr=False)
class Trial:
    """One combination of settings, with its model and results.

    Attributes
    ----------
    settings : dict
        The parameters that were swept, by name.
    live : LiveModel
        The model that learned with these settings, with its progress.
    first_below : int or None
        The number of the first labelled sample with an error below epsilon.
    diverged_at : int or None
        The number of the labelled sample at which the trial ended because it would diverge.
    refused : str or None
        Why the trial ended because the model cannot hold another sample.

    Examples
    --------
    >>> trial = Trial({"lr": 0.1}, LiveModel(SGDPerceptron(lr=0.1, seed=0)))
    >>> trial
    Trial(lr=0.1: 0.00%)
    >>> trial.accuracy, trial.kappa
    (0.0, 0.0)

    """

    settings: dict[str, Any]
    live: LiveModel
    first_below: int | None = None
    diverged_at: int | None = None
    refused: str | None = None

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"Trial({settings}: {self.accuracy:.2%})"

    @property
    def model(self) -> SGDPerceptron:
        """The model that learned with these settings."""
        return self.live.model

    @property
    def progress(self) -> Progress:
        """The metrics of the trial."""
        return self.live.progress

    @property
    def has_ended(self) -> bool:
        """Whether the trial learns no more samples, because it diverged or grew too large."""
        return self.diverged_at is not None or self.refused is not None

    @property
    def accuracy(self) -> float:
        """The progressive accuracy; the training accuracy if all rows were drawn at random."""
        return self.progress.tally.accuracy

    @property
    def scores(self) -> Scores:
        """The scores of the classes, from the samples that `accuracy` counts."""
        return self.progress.scores(len(self.model.classes_))

    @property
    def kappa(self) -> float:
        """Cohen's kappa: 0 for the accuracy expected by chance, 1 if all samples are right."""
        return self.scores.cohen_kappa

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occurred."""
        return self.scores.macro_f1

    def rank(self, by: str = "accuracy") -> tuple[bool, float, float]:
        """Return the key that sorts trials by one of `MEASURES`, the best first."""
        return self.has_ended, -getattr(self, by), self.progress.mean_error

    def step(self, batch: Batch, options: StepOptions) -> StepResult | None:
        """Test and train on a batch, unless the trial has ended."""
        if self.has_ended:
            return None
        before = self.progress.samples
        result = self.live.step(batch, options)
        if self.first_below is None and self.progress.updates < self.progress.samples:
            labelled = [label is not None for label in result.labels]
            self.first_below = before + 1 + int(np.argmin(result.updated[labelled]))
        if isinstance(result.refused, DivergedError):
            self.diverged_at = self.progress.samples + 1
        elif result.refused is not None:
            self.refused = str(result.refused) or "memory ran out"
        return result


def combinations(swept: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of values.

    Examples
    --------
    >>> combinations({"lr": [0.1, 1.0], "activation": ["tanh"]})
    [{'lr': 0.1, 'activation': 'tanh'}, {'lr': 1.0, 'activation': 'tanh'}]

    """
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def learn_all(
    trials: Sequence[Trial],
    batches: Iterable[Batch],
    skip_rejected: bool = False,
    n_threads: int | None = None,
    cursor: Cursor | None = None,
) -> Iterator[StepResult]:
    """Let every trial learn every batch; yield the result of the first trial for each.

    Trials learn in parallel in `n_threads` threads, by default one for each processor; the compiled
    kernel releases the GIL. The cursor shows which rows were learned before.
    """
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool:

        def step(batch: Batch) -> StepResult:
            is_repeated = cursor is not None and cursor.count_repeated(1) > 0
            options = itertools.repeat(StepOptions(is_repeated=is_repeated))
            results = list(pool.map(Trial.step, trials, itertools.repeat(batch), options))
            found = next(result for result in results if result is not None)
            is_over = all(trial.has_ended for trial in trials)
            return replace(found, taken=len(batch), stopped=is_over, refused=None)

        if not all(trial.has_ended for trial in trials):
            yield from drive(batches, step, skip_rejected)


def learn_sources(
    trials: Sequence[Trial],
    sources: Sequence[Source],
    epochs: int | None = 1,
    limit: int | None = None,
    skip_rejected: bool = False,
    n_threads: int | None = None,
) -> Generator[StepResult, None, None]:
    """Let every trial learn the rows of some sources; parameters are as for `LiveModel.run`."""
    at_random = any(source.is_random for source in sources)
    first = trials[0].live
    here = Cursor(at_random=at_random)
    knowledge = Knowledge(first.schema, unseen=first.knowledge.unseen)

    def interpret(parts: Iterable[tuple[Interpreter, RawRows]]) -> Iterator[Batch]:
        for interpreter, rows in parts:
            is_stream = sources[rows.index].is_stream
            redeliveries = None if here.is_repeating else here.redeliveries
            batch = interpreter.interpret(rows, knowledge, 1 + here.row, redeliveries)
            yield batch
            knowledge.adopt(batch.inferred)
            here.move(batch, is_stream)

    request = trials[0].live.request()
    with closing(read(sources, request, here, epochs, knowledge)) as rows:
        batches = interpret(cut(rows, sources, here, limit))
        yield from learn_all(trials, batches, skip_rejected, n_threads, here)


def sweep(
    stream: Iterable[tuple[Mapping[Hashable, Any], Hashable]],
    lr: float | Sequence[float] = 0.01,
    epsilon: float | Sequence[float] = 3e-6,
    init_range: float | Sequence[float] = 0.03,
    activation: str | Sequence[str] = "sigmoid",
    n_threads: int | None = None,
    **parameters: Any,
) -> list[Trial]:
    """Train a model with every combination of some settings, in one pass over a stream.

    Return the trials by progressive accuracy, the best first; trials that ended before the stream
    come last. Each trial has the same results as a separate run.

    Parameters
    ----------
    stream
        Pairs of features and a label, such as one of River's datasets. A sample with the label None
        is only predicted.
    lr, epsilon, init_range, activation
        Parameters of `SGDPerceptron`: a value, or several.
    n_threads
        The number of trials that learn in parallel; None for one for each processor.
    parameters
        Other parameters of `SGDPerceptron`, for all.

    Raises
    ------
    SampleError
        If a sample cannot be used.

    Examples
    --------
    >>> from river import datasets
    >>> trials = sweep(datasets.Phishing(), lr=[0.01, 0.1, 1.0], seed=0)
    >>> trials[0].settings["lr"], len(trials)
    (1.0, 3)
    >>> sweep(datasets.Phishing(), lr=1.0, seed=0)
    [Trial(lr=1.0, epsilon=3e-06, init_range=0.03, activation='sigmoid': 87.19%)]

    """
    given = {"lr": lr, "epsilon": epsilon, "init_range": init_range, "activation": activation}
    swept = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for name, value in given.items()
    }
    models = [(each, SGDPerceptron(**each, **parameters)) for each in combinations(swept)]
    trials = [Trial(settings, LiveModel(model)) for settings, model in models]
    for _ in learn_all(trials, batches_of(stream), n_threads=n_threads):
        pass
    return sorted(trials, key=Trial.rank)


def batches_of(stream: Iterable[tuple[Mapping[Hashable, Any], Hashable]]) -> Iterator[Batch]:
    """Yield pairs of features and a label as batches."""
    pairs = iter(stream)
    first_row = 1
    while some := list(itertools.islice(pairs, BATCH_ROWS)):
        yield _batch_of(some, first_row)
        first_row += len(some)


def _batch_of(pairs: Sequence[tuple[Mapping[Hashable, Any], Hashable]], first_row: int) -> Batch:
    rows = concatenate_rows([as_row(x) for x, _ in pairs]) if pairs else Rows.from_rows([], [])
    n = len(pairs)
    return Batch(
        "stream", first_row, n, np.arange(n), rows, [as_label(label) for _, label in pairs],
        np.ones(n), Inferred(Schema()),
        interpret_first=lambda end: _batch_of(pairs[:end], first_row),
    )  # fmt: skip
