"""Models that grow: in CSR, in bytes, beside other threads, and while something goes wrong."""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from stream_perceptron import SGDPerceptron
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers import state_of

Sample = dict[Any, float]


def case(rng: np.random.Generator, folder: Path) -> str:
    """Learn samples with names of their own, one by one, and in another way that says the same."""
    n = int(rng.integers(1, 25))
    names = [f"f{i}" for i in range(int(rng.integers(1, 40)))]
    parameters: dict[str, Any] = {
        "lr": float(10 ** rng.uniform(-3, 0)),
        "dtype": str(rng.choice(["float64", "float32"])),
        "seed": int(rng.integers(2**32)),
    }
    samples = [_sample(rng, names) for _ in range(n)]
    labels = rng.integers(0, 6, n).tolist()
    is_scaled = bool(rng.random() < 0.4)
    expected = _fresh(parameters, is_scaled)
    for x, y in zip(samples, labels, strict=True):
        expected.learn_one(x, y)
    how = str(rng.choice(["sparse", "bytes", "hostile", "interrupts", "threads"]))
    if how == "bytes":
        return _in_bytes(rng, names, labels, parameters, is_scaled)
    model = _fresh(parameters, is_scaled)
    if how == "sparse":
        rows = Rows.from_rows(
            [tuple(x) for x in samples], [np.array(list(x.values())) for x in samples]
        )
        cut = int(rng.integers(0, n + 1))
        for part in (slice(0, cut), slice(cut, n)):
            model.train(Samples(rows[part], labels[part], np.ones(len(labels[part]))))
    else:
        with _others(model) if how == "threads" else contextlib.nullcontext():
            for x, y in zip(samples, labels, strict=True):
                if how == "hostile":
                    _try_hostile(rng, model, x, y)
                if how != "interrupts" or not _interrupted(rng, model, x, y):
                    model.learn_one(x, y)
    assert _state(expected) == _state(model), "another model"
    return f"grown {how}"


def _fresh(parameters: dict[str, Any], is_scaled: bool) -> SGDPerceptron:
    model = SGDPerceptron(**parameters)
    if is_scaled:
        model.network.scaler = Scaler()
    return model


def _state(model: SGDPerceptron) -> tuple[Any, ...]:
    scaler = model.network.snapshot().scaler
    return *state_of(model), None if scaler is None else scaler.table.tobytes()


def _sample(rng: np.random.Generator, names: list[str]) -> Sample:
    some = rng.permutation(len(names))[: rng.integers(0, len(names) + 1)]
    return {names[i]: float(rng.choice([0.0, -1.5, rng.normal()])) for i in some.tolist()}


def _in_bytes(
    rng: np.random.Generator,
    names: list[str],
    labels: list[int],
    parameters: dict[str, Any],
    is_scaled: bool,
) -> str:
    values = rng.integers(0, 256, (len(labels), len(names))).astype(np.uint8)
    rows = Rows.of_table(tuple(names), values, scale=float(rng.choice([1 / 255, 1.0, -3.0])))
    one, many = _fresh(parameters, is_scaled), _fresh(parameters, is_scaled)
    for x, y in zip(rows.dicts(), labels, strict=True):
        one.learn_one(x, y)
    many.train(Samples(rows, labels, np.ones(len(labels))))
    assert _state(one) == _state(many), "bytes are learned otherwise"
    return "grown bytes"


class _Hostile(Mapping[Any, Any]):
    """A mapping that fails, changes or lies while it is read."""

    def __init__(self, x: Sample, how: int, model: SGDPerceptron) -> None:
        self.x, self.how, self.model = dict(x), how, model

    def __getitem__(self, name: Any) -> Any:
        if self.how == 0:
            raise RuntimeError("no value")
        return self.x[name]

    def __len__(self) -> int:
        return 2 * len(self.x) + 1 if self.how == 1 else len(self.x)

    def __iter__(self) -> Iterator[Any]:
        for i, name in enumerate(list(self.x)):
            if self.how == 2 and i == 1:
                raise KeyError("no name")
            if self.how == 3:
                self.model.learn_one({f"inner{i}": 1.0}, "inner")
            yield name
        if self.how == 4:
            yield "absent"
        if self.how == 5:
            yield []  # cannot be hashed


def _try_hostile(rng: np.random.Generator, model: SGDPerceptron, x: Sample, y: Any) -> None:
    """Offer something that must be refused, or be the sample itself, and leave the model alone."""
    before = _state(model)
    bad: Any = [None, "1", np.nan, np.inf, 10**400, object(), 1j, [1.0]][rng.integers(8)]
    other = copy.deepcopy(model)
    odd: Any = {**x, "bad": bad}
    if rng.random() < 0.5:
        odd = _Hostile({**x, "more": 1.0, "and": 2.0}, int(rng.integers(6)), other)
    with contextlib.suppress(Exception):
        model.predict_one(odd)
    assert before == _state(model), "predicting changed the model"
    other = copy.deepcopy(model)
    if isinstance(odd, _Hostile):
        odd.model = other
    try:
        other.learn_one(odd, y)
    except Exception:
        learns_within = isinstance(odd, _Hostile) and odd.how == 3
        assert learns_within or before == _state(other), "a refused sample changed the model"
    assert other.weights.shape == (len(other.classes_), len(other.features_))


def _interrupted(rng: np.random.Generator, model: SGDPerceptron, x: Sample, y: Any) -> bool:
    """Learn a sample while SIGALRM raises KeyboardInterrupt; return whether it was learned."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    seen, before = model.n_seen, _state(model)
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 2e-4))
        model.learn_one(x, y)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGALRM, old)
    if model.n_seen == seen:
        assert before == _state(model), "an interrupted sample changed the model"
    return model.n_seen > seen


@contextlib.contextmanager
def _others(model: SGDPerceptron) -> Iterator[None]:
    """Have two threads predict with a model, and look at it, meanwhile."""
    done = threading.Event()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                model.predict_proba_one({"f0": 1.0, "f1": -2.0})
                model.predict_one({"f2": 1.0})
                assert np.isfinite(model.weights).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
