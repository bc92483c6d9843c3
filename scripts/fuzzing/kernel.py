"""Learn samples of every form in equivalent ways, and compare the models with the oracle."""

from __future__ import annotations

import contextlib
import copy
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from helpers import capture_state
from oracle import update_weights

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler

Sample = dict[Any, float]
Array = np.ndarray[Any, Any]


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Learn random samples one by one and in an equivalent way, and compare the models."""
    way = str(rng.choice(["block"] * 6 + ["sparse", "bytes", "hostile", "interrupts", "threads"]))
    k, n = int(rng.integers(2, 6)), int(rng.integers(1, 25))
    names = [f"f{i}" for i in range(int(rng.integers(way != "block", 12 if k % 2 else 40)))]
    parameters: dict[str, Any] = {
        "lr": float(10 ** rng.uniform(-3, 0)),
        "epsilon": float(rng.choice([0.0, 3e-6, 0.1])),
        "activation": str(rng.choice(list(ACTIVATIONS))),
        "seed": int(rng.integers(2**32)),
        "classes": list(range(k)) if rng.random() < 0.5 else None,
    }
    is_scaled = bool(rng.random() < 0.3)
    labels = rng.integers(0, k, n).tolist()
    X, scale = _draw_values(rng, n, len(names)), float(rng.choice([1 / 255, 1.0, -3.0]))
    if way == "bytes":
        X = rng.integers(0, 256, X.shape).astype(np.uint8)
    rows = Rows.from_table(tuple(names), X, scale=scale) if way == "bytes" else None
    if way == "block":
        samples = [_draw_mapping(rng, names, row) for row in X]
    elif rows is not None:
        samples = list(rows.dicts())
    else:
        samples = [_draw_sample(rng, names) for _ in range(n)]
    expected, model = _create_model(parameters, is_scaled), _create_model(parameters, is_scaled)
    error = _catch_error(lambda: _learn_one_by_one(expected, samples, labels))

    def learn() -> None:
        if way == "block":
            model.test_then_train(_change_layout(rng, X), labels, names)
        elif way in ("bytes", "sparse"):
            _train_in_two_parts(
                model, rows or _build_sparse_rows(samples), labels, int(rng.integers(0, n + 1))
            )
        else:
            with _read_in_threads(model) if way == "threads" else contextlib.nullcontext():
                _learn_one_by_one(model, samples, labels, rng, way)

    other = _catch_error(learn)
    assert error is other, f"one by one: {error}, {way}: {other}"
    if error is SampleError:  # a block is rejected as a whole
        return f"{way} rejected"
    assert _get_state(expected) == _get_state(model), f"{way} resulted in a different model"
    if error is None and way == "block" and not is_scaled and parameters["classes"]:
        _compare_with_paper(expected, parameters, X, labels)
    return f"{way} diverged" if error else f"{way} learned"


def _create_model(parameters: dict[str, Any], is_scaled: bool) -> SGDPerceptron:
    model = SGDPerceptron(**parameters)
    if is_scaled:
        model.network.scaler = Scaler()
    return model


def _catch_error(learn: Any) -> type[Exception] | None:
    try:
        learn()
    except (DivergedError, SampleError) as error:
        return type(error)
    return None


def _learn_one_by_one(
    model: SGDPerceptron,
    samples: list[Sample],
    labels: list[int],
    rng: np.random.Generator | None = None,
    way: str = "",
) -> None:
    for x, y in zip(samples, labels, strict=True):
        if rng is not None and way == "hostile":
            _try_hostile(rng, model, x, y)
        if rng is None or way != "interrupts" or not _learn_interrupted(rng, model, x, y):
            model.learn_one(x, y)


def _train_in_two_parts(model: SGDPerceptron, rows: Rows, labels: list[int], n_first: int) -> None:
    for part in (slice(0, n_first), slice(n_first, len(labels))):
        result = model.train(Samples(rows[part], labels[part], np.ones(len(labels[part]))))
        if result.diverged:
            raise DivergedError(model.n_seen + 1, "")


def _build_sparse_rows(samples: list[Sample]) -> Rows:
    return Rows.from_rows(
        [tuple(x) for x in samples], [np.array(list(x.values())) for x in samples]
    )


def _get_state(model: SGDPerceptron) -> tuple[Any, ...]:
    """Return the learned state with features sorted by name, because their order may differ."""
    order = np.argsort([str(name) for name in model.features_])
    scaler = model.network.snapshot().scaler
    table = b"" if scaler is None else scaler.statistics[:, order].tobytes()
    others = model.classes_, model.biases.tobytes(), model.n_seen, model.n_updates
    return *others, repr(model.last_error), len(order), model.weights[:, order].tobytes(), table


def _draw_sample(rng: np.random.Generator, names: list[str]) -> Sample:
    chosen = rng.permutation(len(names))[: rng.integers(0, len(names) + 1)]
    return {names[i]: float(rng.choice([0.0, -1.5, rng.normal()])) for i in chosen.tolist()}


def _draw_values(rng: np.random.Generator, n: int, d: int) -> Array:
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (n, d)).astype(np.uint8)
    X = rng.normal(size=(n, d)) * 10 ** rng.uniform(-3, 1)
    X[rng.random((n, d)) < rng.random()] = 0.0
    if kind == 1:
        X = X.astype(np.float32)
    elif kind == 2 and X.size and rng.random() < 0.3:
        X.flat[rng.integers(X.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, 5e-324, -0.0])
    return X


def _change_layout(rng: np.random.Generator, X: Array) -> Array:
    """Return the values in another memory layout: column-major, strided, unaligned or read-only."""
    kind = rng.integers(5)
    if kind == 0:
        return np.asfortranarray(X)
    if kind == 1:
        wide = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
        wide[::2, ::3] = X
        return wide[::2, ::3]
    if kind == 2:
        memory = np.zeros(X.nbytes + 1, np.uint8)
        unaligned = memory[1:].view(X.dtype).reshape(X.shape)
        unaligned[:] = X
        return unaligned
    if kind == 3:
        X = X.copy()
        X.flags.writeable = False
        return X
    return X[::-1].copy()[::-1]


def _draw_mapping(rng: np.random.Generator, names: list[str], row: Array) -> Sample:
    """Return a sample as a dict in random order, with numbers of a random type."""
    order = rng.permutation(len(names)) if rng.random() < 0.2 else range(len(names))
    values = row.tolist() if rng.random() < 0.7 else list(row)
    return {names[i]: values[i] for i in order}


class _Hostile(Mapping[Any, Any]):
    """A mapping that fails, trains the model or reports false contents while it is being read."""

    def __init__(self, x: Sample, behavior: int, model: SGDPerceptron) -> None:
        self.x, self.behavior, self.model = dict(x), behavior, model

    def __getitem__(self, name: Any) -> Any:
        if self.behavior == 0:
            raise RuntimeError("no value")
        return self.x[name]

    def __len__(self) -> int:
        return 2 * len(self.x) + 1 if self.behavior == 1 else len(self.x)

    def __iter__(self) -> Iterator[Any]:
        for i, name in enumerate(list(self.x)):
            if self.behavior == 2 and i == 1:
                raise KeyError("no name")
            if self.behavior == 3:
                self.model.learn_one({f"inner{i}": 1.0}, "inner")
            yield name
        if self.behavior == 4:
            yield "absent"
        if self.behavior == 5:
            yield []  # not hashable


def _try_hostile(rng: np.random.Generator, model: SGDPerceptron, x: Sample, y: Any) -> None:
    """Learn a hostile sample; check that a rejected sample leaves the model unchanged."""
    before, other = capture_state(model), copy.deepcopy(model)
    bad_value: Any = [None, "1", np.nan, np.inf, 10**400, object(), 1j, [1.0]][rng.integers(8)]
    hostile: Any = {**x, "bad": bad_value}
    if rng.random() < 0.5:
        hostile = _Hostile({**x, "more": 1.0, "and": 2.0}, int(rng.integers(6)), other)
    with contextlib.suppress(Exception):
        model.predict_one(hostile)
    assert before == capture_state(model), "predicting changed the model"
    learns_within = isinstance(hostile, _Hostile) and hostile.behavior == 3
    if learns_within:
        hostile.model = other = copy.deepcopy(model)
    try:
        other.learn_one(hostile, y)
    except Exception:
        assert learns_within or before == capture_state(other), (
            "a rejected sample changed the model"
        )
    assert other.weights.shape == (len(other.classes_), len(other.features_))


def _learn_interrupted(rng: np.random.Generator, model: SGDPerceptron, x: Sample, y: Any) -> bool:
    """Learn a sample while SIGALRM raises KeyboardInterrupt; return whether it was learned."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    seen, before = model.n_seen, capture_state(model)
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 2e-4))
        model.learn_one(x, y)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGALRM, old)
    assert model.n_seen > seen or before == capture_state(model), "an interrupt changed the model"
    return model.n_seen > seen


@contextlib.contextmanager
def _read_in_threads(model: SGDPerceptron) -> Iterator[None]:
    """Let two threads predict with a model and read its weights while the context is active."""
    done = threading.Event()
    errors: list[BaseException] = []

    def read_model() -> None:
        try:
            while not done.is_set():
                model.predict_proba_one({"f0": 1.0, "f1": -2.0})
                model.predict_one({"f2": 1.0})
                assert np.isfinite(model.weights).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read_model) for _ in range(2)]
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


def _compare_with_paper(
    model: SGDPerceptron, parameters: dict[str, Any], X: Array, labels: list[int]
) -> None:
    start = SGDPerceptron(**parameters)
    start.network.add_names(model.features_, [])
    order = [int(str(name)[1:]) for name in model.features_]
    w, b = start.weights.astype(float).tolist(), start.biases.astype(float).tolist()
    lr, epsilon, activation = (parameters[name] for name in ("lr", "epsilon", "activation"))
    updates = 0
    for x, label in zip(X.astype(float)[:, order].tolist(), labels, strict=True):
        try:
            before = [row[:] for row in w], b[:]
            _, error = update_weights(w, b, x, label, lr, epsilon, activation)
        except OverflowError:  # the oracle cannot compute with infinity
            return
        if abs(error - epsilon) < 1e-3 * epsilon:
            return  # the result depends on rounding
        updates += before != (w, b) or error >= epsilon
    largest = max(map(abs, np.ravel(w).tolist() + b))
    # Rounding errors grow with the errors of samples.
    if not largest < 100:
        return
    assert updates == model.n_updates
    np.testing.assert_allclose(model.weights, w, rtol=1e-9, atol=1e-9 * max(largest, 1.0))
    np.testing.assert_allclose(model.biases, b, rtol=1e-9, atol=1e-9 * max(largest, 1.0))
