"""Training with several settings in one pass over a stream."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.data.batch import BATCH_ROWS, Batch
from stream_perceptron.data.schema import Schema
from stream_perceptron.errors import DivergedError
from stream_perceptron.live.files import GivenFile, SourceSegment
from stream_perceptron.live.loop import learn_files
from stream_perceptron.live.metrics import ClassMetrics, Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.pipelines import unpack_pipeline
from stream_perceptron.live.segments import Learner
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model import defaults
from stream_perceptron.model.activations import get_activation
from stream_perceptron.model.rates import LearningRate
from stream_perceptron.model.rows import as_samples, concatenate_rows
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.validation import as_label, as_row
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

SWEPT_PARAMETERS = ("lr", "epsilon", "init_range", "activation")
DEFAULT_RATES = (None, 0.01, 0.03, 0.1, 0.3)  # None: the default of the activation


@dataclass(eq=False, repr=False)
class Trial:
    """One combination of settings, with its model and results.

    Attributes
    ----------
    settings : dict
        The values of the swept parameters, by name.
    live : LiveModel
        The model that learned with these settings, with its progress.
    first_below : int or None
        The number of the first labeled sample with an error below epsilon.
    diverged_at : int or None
        The number of the labeled sample at which the trial ended because it would have diverged.
    failure : str or None
        Why the trial ended, if the next sample would have made the model too large.

    Examples
    --------
    >>> trial = Trial({"lr": 0.1}, LiveModel(SGDPerceptron(lr=0.1, seed=0)))
    >>> trial
    Trial(lr=0.1: -)

    """

    settings: dict[str, Any]
    live: LiveModel
    first_below: int | None = None
    diverged_at: int | None = None
    failure: str | None = None

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        accuracy = "-" if self.accuracy is None else f"{self.accuracy:.2%}"
        return f"Trial({settings}: {accuracy})"

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
        """Whether the trial has ended because its model would have diverged or become too large."""
        return self.diverged_at is not None or self.failure is not None

    @property
    def accuracy(self) -> float | None:
        """The progressive accuracy; None if no row was tested."""
        return self.progress.accuracy

    @property
    def metrics(self) -> ClassMetrics:
        """The metrics of the classes, from the samples that `accuracy` counts."""
        return self.progress.compute_metrics(len(self.model.classes_))

    @property
    def kappa(self) -> float:
        """Cohen's kappa: 0 for the accuracy expected by chance, 1 if all predictions are right."""
        return self.metrics.cohen_kappa

    def step(self, batch: Batch, is_repeated: bool) -> StepResult | None:
        """Test and train on a batch, unless the trial has ended."""
        if self.has_ended:
            return None
        before = self.progress.samples
        result = self.live.step(batch, is_repeated=is_repeated)
        if self.first_below is None and self.progress.updates < self.progress.samples:
            is_labeled = [label is not None for label in result.labels]
            self.first_below = before + 1 + int(np.argmin(result.updated[is_labeled]))
        if isinstance(result.failure, DivergedError):
            self.diverged_at = self.progress.samples + 1
        elif result.failure is not None:
            self.failure = str(result.failure) or "memory ran out"
        return result


def list_combinations(swept: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of values, without a rate that an lr of None stands for, too.

    Examples
    --------
    >>> list_combinations({"lr": [0.1, 1.0], "activation": ["tanh"]})
    [{'lr': 0.1, 'activation': 'tanh'}, {'lr': 1.0, 'activation': 'tanh'}]
    >>> list_combinations({"lr": [None, 0.01], "activation": ["tanh"]})
    [{'lr': None, 'activation': 'tanh'}]

    """
    product = itertools.product(*swept.values())
    combinations = [dict(zip(swept, values, strict=True)) for values in product]
    if None not in swept["lr"]:
        return combinations
    return [
        settings for settings in combinations
        if settings["lr"] != get_activation(settings["activation"]).default_lr
    ]  # fmt: skip


def build_trials(live: LiveModel, swept: Mapping[str, Sequence[Any]]) -> list[Trial]:
    """Return a trial for each combination of settings, all of which begin as a new model."""
    trials = []
    for settings in list_combinations(swept):
        trial = Trial(settings, copy.deepcopy(live))
        trial.live.replace_with(
            LiveModel(_clone_perceptron(live.model, settings), trial.live.state)
        )
        trials.append(trial)
    return trials


def _clone_perceptron(model: SGDPerceptron, settings: dict[str, Any]) -> SGDPerceptron:
    """Return an untrained model with other settings and the same kind of scaler."""
    cloned: SGDPerceptron = model.clone(settings)
    if (scaler := model.network.scaler) is not None:
        cloned.network.scaler = scaler.create_empty()
    return cloned


def get_first_unfinished_model(trials: Sequence[Trial]) -> LiveModel:
    """Return the model of the first trial that has not ended, or else of the first trial."""
    return next((trial.live for trial in trials if not trial.has_ended), trials[0].live)


class Trials(Learner):
    """The trials of a sweep, which learn the same rows.

    They learn in parallel in the threads of `pool`; the compiled kernel releases the GIL.
    """

    def __init__(self, trials: Sequence[Trial], pool: Executor) -> None:
        super().__init__(trials[0].live)
        self.trials, self._pool = trials, pool

    @property
    def live(self) -> LiveModel:
        """The model of the first trial that has not ended."""
        return get_first_unfinished_model(self.trials)

    def step(self, batch: Batch, segment: SourceSegment | None = None) -> StepResult:
        """Train every trial on a batch; return a result that has stopped if all have ended."""
        is_repeated = segment is not None and segment.is_repeated
        learn = partial(Trial.step, batch=batch, is_repeated=is_repeated)
        results = [result for result in self._pool.map(learn, self.trials) if result is not None]
        stopped = all(trial.has_ended for trial in self.trials)
        rejected = batch.rejections()
        if segment is not None and len(batch):
            segment.advance(batch)
            for offset, trial in itertools.product(batch.offsets, self.trials):
                trial.live.state.redeliveries.update(offset)
        return replace(results[0], batch=batch, rejected=rejected, stopped=stopped, failure=None)


def rank_trials(trials: Sequence[Trial]) -> tuple[str, list[Trial]]:
    """Sort trials, best first; those that ended early come last.

    Returns
    -------
    The measure by which they are ranked, and the trials. The measure is accuracy or, if one of k
    classes has more than 1.5/k of the samples, kappa.

    """
    metrics = trials[0].metrics
    measure = "kappa" if metrics.baseline > 1.5 / max(len(metrics.label_counts), 1) else "accuracy"

    def sort_key(trial: Trial) -> tuple[bool, float, float]:
        value = 0.0 if trial.accuracy is None else getattr(trial, measure)
        return trial.has_ended, -value, trial.progress.mean_error

    return measure, sorted(trials, key=sort_key)


def learn_trials(
    trials: Sequence[Trial],
    files: Sequence[GivenFile],
    passes: int | None = 1,
    limit: int | None = None,
    skip_rejected: bool = False,
) -> Generator[StepResult, None, None]:
    """Test and train every trial on the rows of files; the parameters are those of `learn`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learner = Trials(trials, pool)
        yield from learn_files(learner, files, passes, limit, skip_rejected)


def sweep(
    stream: Iterable[tuple[Mapping[Hashable, object], Hashable]],
    pipeline: SGDPerceptron | Pipeline | None = None,
    *,
    lr: LearningRate | Sequence[LearningRate | None] | None = DEFAULT_RATES,
    epsilon: float | Sequence[float] = defaults.EPSILON,
    init_range: float | Sequence[float] = defaults.INIT_RANGE,
    activation: str | Sequence[str] = defaults.ACTIVATION,
    **parameters: Any,
) -> list[Trial]:
    """Train a model with every combination of some settings, in one pass over a stream.

    Each trial has the same results as a separate run.

    Parameters
    ----------
    stream
        Pairs of features and a label, such as those of River's datasets. A sample with the label
        None is only predicted.
    pipeline
        An untrained model, or a pipeline that `save` takes; None for a perceptron. Its perceptron
        has the parameters that are not given.
    lr, epsilon, init_range, activation
        Parameters of `SGDPerceptron`; each is a value or a sequence of values. An lr of None is the
        default of the activation, which is compared with four constant rates if lr is not given.
    parameters
        Other parameters of `SGDPerceptron`, for all trials.

    Returns
    -------
    The trials as sorted by `rank_trials`.

    Raises
    ------
    SampleError
        If a sample cannot be used.
    CheckpointError
        If the pipeline has other steps than a `RecordEncoder` and a scaler before the perceptron.

    Examples
    --------
    >>> from river import datasets
    >>> from river.preprocessing import StandardScaler
    >>> trials = sweep(datasets.Phishing(), lr=[0.01, 0.1, 1.0], seed=0)
    >>> trials[0].settings["lr"], len(trials)
    (1.0, 3)
    >>> sweep(datasets.Phishing(), StandardScaler() | SGDPerceptron(seed=0), lr=1.0)
    [Trial(lr=1.0, epsilon=3e-06, init_range=0.03, activation='sigmoid': 89.59%)]

    """
    given = {"lr": lr, "epsilon": epsilon, "init_range": init_range, "activation": activation}
    swept = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for name, value in given.items()
    }
    encoder, scaler, perceptron = unpack_pipeline(pipeline or SGDPerceptron())
    trials = []
    for settings in list_combinations(swept):
        model = perceptron.clone(settings | parameters)
        if scaler is not None:
            model.network.scaler = Scaler(has_indicators=hasattr(scaler, "standardized"))
        trials.append(Trial(settings, LiveModel(model)))
    if encoder is not None:
        stream = ((encoder.transform_one(x), y) for x, y in stream)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learner = Trials(trials, pool)
        for batch in build_batches(stream):
            if learner.step(batch).stopped:
                break
    return rank_trials(trials)[1]


def build_batches(stream: Iterable[tuple[Mapping[Hashable, object], Hashable]]) -> Iterator[Batch]:
    """Yield batches made from pairs of features and a label."""
    pairs = iter(stream)
    first_row = 1
    while next_pairs := list(itertools.islice(pairs, BATCH_ROWS)):
        rows = concatenate_rows([as_row(x) for x, _ in next_pairs])
        samples = as_samples(rows, [as_label(y) for _, y in next_pairs], np.ones(len(rows)))
        yield Batch(**vars(samples), source="stream", first_row=first_row, schema=Schema())
        first_row += len(rows)
