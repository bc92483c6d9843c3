"""Learning one by one, compared with River, scikit-learn, Vowpal Wabbit and CapyMOA."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from common import accuracy, compare, median, ratio_to, section, time_call
from forms import mnist_file
from river import evaluate, linear_model, metrics, multiclass
from river.preprocessing import StandardScaler

from stream_perceptron import SGDPerceptron, Standardizer, stream

Samples = list[tuple[dict[Any, float], Any]]


def evaluate_river(create_model: Callable[[], Any], samples: Samples) -> tuple[float, float]:
    """Return the seconds and the accuracy of a model in River's loop."""
    metric = metrics.Accuracy()
    return time_call(evaluate.progressive_val_score, samples, create_model(), metric)[
        0
    ], metric.get()


def test_then_train(
    step: Callable[[Any, Any], bool], samples: Iterable[Any]
) -> tuple[float, float]:
    """Return the seconds and the accuracy of a step that predicts a sample and then learns it."""
    seconds, hits = time_call(lambda: [step(x, y) for x, y in samples])
    return seconds, float(np.mean(hits))


def evaluate_sklearn(samples: Samples) -> tuple[float, float]:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", random_state=0)
    rows = [(np.array([list(x.values())]), np.array([y])) for x, y in samples]
    model.partial_fit(*rows[0], classes=range(10))

    def step(x: Any, y: Any) -> bool:
        predicted = model.predict(x)[0]
        model.partial_fit(x, y)
        return bool(predicted == y[0])

    return test_then_train(step, rows)


def evaluate_vw(samples: Samples) -> tuple[float, float]:
    from vowpalwabbit import Workspace

    workspace = Workspace("--oaa 10 --quiet")

    def step(line: str, y: int) -> bool:
        example = workspace.example(line)
        predicted = workspace.predict(example)
        workspace.learn(example)
        workspace.finish_example(example)
        return int(predicted) == y + 1

    words = [" ".join(f"{name}:{v}" for name, v in x.items() if v) for x, _ in samples]
    return test_then_train(
        step, [(f"{y + 1} | {text}", y) for text, (_, y) in zip(words, samples, strict=True)]
    )


def evaluate_capymoa(samples: Samples) -> tuple[float, float]:
    from capymoa.base import MOAClassifier
    from capymoa.stream import NumpyStream
    from moa.classifiers.functions import Perceptron

    X, y = np.array([list(x.values()) for x, _ in samples]), np.array([y for _, y in samples])
    stream = NumpyStream(X, y, target_type="categorical")
    model = MOAClassifier(schema=stream.get_schema(), moa_learner=Perceptron())

    def step(instance: Any, label: int) -> bool:
        predicted = model.predict(instance)
        model.train(instance)
        return bool(predicted == label)

    instances = [stream.next_instance() for _ in samples]
    return test_then_train(step, [(instance, instance.y_index) for instance in instances])


def one_vs_rest(model: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: multiclass.OneVsRestClassifier(model())


@section("one_at_a_time")
def one_at_a_time() -> str:
    """Digits and numbers one by one, as in River's progressive_val_score, but not their stream."""
    samples = list(itertools.islice(stream.iter_parquet(mnist_file()), 2000))
    peers: dict[str, tuple[Callable[[Samples], tuple[float, float]], int]] = {
        "ours": (partial(evaluate_river, lambda: SGDPerceptron(classes=range(10), seed=0)), 2000),
        "SoftmaxRegression": (partial(evaluate_river, linear_model.SoftmaxRegression), 100),
    }
    for name in ("LogisticRegression", "Perceptron", "PAClassifier"):
        create_model = one_vs_rest(getattr(linear_model, name))
        peers[f"OneVsRest({name})"] = partial(evaluate_river, create_model), 100
    peers |= {"SGDClassifier": (evaluate_sklearn, 200), "vw, Workspace": (evaluate_vw, 2000)}
    if find_spec("capymoa") and shutil.which("java"):
        peers["CapyMOA, MOA's Perceptron"] = evaluate_capymoa, 500

    def measure_peer(
        score: Callable[[Samples], tuple[float, float]], n: int
    ) -> tuple[float, float]:
        seconds, share = score(samples[:n])
        return 1e6 * seconds / n, share

    rng = np.random.default_rng(0)
    few = [
        (dict(zip("abcde", x.tolist(), strict=True)), bool(x.sum() > 0))
        for x in rng.normal(size=(2000, 5))
    ]
    few_peers: dict[str, Callable[[], Any]] = {
        "ours": lambda: Standardizer() | SGDPerceptron(seed=0),
        "LogisticRegression": lambda: StandardScaler() | linear_model.LogisticRegression(),
        "Perceptron": lambda: StandardScaler() | linear_model.Perceptron(),
    }

    growing = [
        ({f"k{i}": value for i, value in enumerate(x)} | {f"id={row}": 1.0}, sum(x) > 0)
        for row, x in enumerate(rng.normal(size=(2000, 10)).tolist())
    ]
    growing_peers: dict[str, Callable[[], Any]] = {
        "ours": lambda: SGDPerceptron(seed=0), "LogisticRegression": linear_model.LogisticRegression
    }  # fmt: skip

    def measure_few(samples: Samples, create_model: Callable[[], Any]) -> tuple[float, float]:
        seconds, share = evaluate_river(create_model, samples)
        return 1e6 * seconds / len(samples), share

    tables = [
        ("one digit at a time", {name: partial(measure_peer, *p) for name, p in peers.items()}),
        ("5 standardized numbers", {n: partial(measure_few, few, p) for n, p in few_peers.items()}),
        (
            "10 numbers and a new feature",
            {n: partial(measure_few, growing, p) for n, p in growing_peers.items()},
        ),
    ]
    return "\n".join(
        compare(
            [title, "us per sample", "ratio to ours", "accuracy over its samples"],
            5, tasks, median(",.0f"), ratio_to("ours", ",.1f"), accuracy,
        )
        for title, tasks in tables
    )  # fmt: skip
