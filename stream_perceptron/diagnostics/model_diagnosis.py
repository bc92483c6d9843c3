"""`diagnose`: findings from a live model's progress, or from samples that you pass."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from stream_perceptron.diagnostics.diagnosis import collect_findings
from stream_perceptron.errors import DivergedError
from stream_perceptron.live.findings import Finding
from stream_perceptron.live.model import LiveModel
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

Pairs = Iterable[tuple[Mapping[Hashable, object], Hashable]]


def diagnose(model: LiveModel | SGDPerceptron | Pipeline, samples: Pairs = ()) -> list[Finding]:
    """Return the findings that explain why a model does not learn well, most serious first.

    Parameters
    ----------
    model
        A live model with its progress, a perceptron, or a pipeline that ends with a perceptron. A
        copy of the perceptron predicts the samples and learns from them.
    samples
        Recent pairs of features and a label, for a perceptron or a pipeline. At least 50 samples
        are needed to detect unscaled features, and 300 to detect problems with outputs and labels.

    Raises
    ------
    SampleError
        If a sample cannot be used.
    TypeError
        If `model` is of another type.

    Examples
    --------
    >>> from river import datasets
    >>> from stream_perceptron import SGDPerceptron
    >>> model, recent = SGDPerceptron(seed=0), []
    >>> for x, y in datasets.ImageSegments().take(500):
    ...     model.learn_one(x, y)
    ...     recent = [*recent[-99:], (x, y)]
    >>> [finding.name for finding in diagnose(model, recent)]
    ['unscaled features']

    A model trained from the command line or with `live.learn` needs no samples:

    >>> from stream_perceptron import LiveModel
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> from stream_perceptron.live import learn
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, lr=0.05, epsilon=0.1, seed=0)
    >>> for result in learn(live, sources, stop=True):
    ...     pass
    >>> [(finding.name, finding.suggestion) for finding in diagnose(live)]
    [('stopped too early', 'lower epsilon, or leave --stop out')]

    """
    if isinstance(model, LiveModel):
        return collect_findings(model)
    return collect_findings(*_test_and_train(model, samples))


def _test_and_train(model: SGDPerceptron | Pipeline, samples: Pairs) -> tuple[LiveModel, bool]:
    """Train a copy of a perceptron on the samples; return the copy and whether it diverged.

    The other steps of a pipeline transform the samples without learning.
    """
    from stream_perceptron.live.sweep import build_batches  # deferred: it imports thread pools

    *steps, last = getattr(model, "steps", {"": model}).values()
    if not isinstance(last, SGDPerceptron):
        name = type(last).__name__
        raise TypeError(f"{name} is neither an SGDPerceptron nor a pipeline that ends with one")

    def transform_samples() -> Iterator[tuple[Mapping[Hashable, object], Hashable]]:
        for x, y in samples:
            for step in steps:
                x = step.transform_one(x)
            yield x, y

    live = LiveModel(copy.deepcopy(last))
    for batch in build_batches(transform_samples()):
        failure = live.step(batch).failure
        if isinstance(failure, DivergedError):
            return live, True
    return live, False
