"""Adding features and labels is atomic, despite exceptions, signals and threads."""

from __future__ import annotations

import copy
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from helpers import capture_state, get_seeds

from stream_perceptron import SGDPerceptron, load, save
from stream_perceptron.model import network


def train_new_model(**parameters):
    model = SGDPerceptron(lr=0.5, seed=0, **parameters)
    model.learn_one({"a": 1.0, "b": 0.5}, "left")
    return model


def test_gradual_growth_rarely_copies_weights():
    """The storage doubles, so 2,000 samples with new features cause few copies."""
    model = SGDPerceptron(classes=range(5), seed=0)
    buffers = set()
    for i in range(2000):
        model.learn_one({f"f{j}": 1.0 for j in range(10 * i, 10 * i + 10)}, i % 5)
        buffers.add(model.network.store.current.memory.shape)

    assert len(buffers) <= 2 + np.log2(20_000)
    assert model.weights.shape == (5, 20_000)


_SYNCHRONIZED = network.Network.train.__code__


class StepInterrupter:
    """Raises an error at a given bytecode instruction of this package."""

    def __init__(self, step, error=KeyboardInterrupt):
        self.steps_left, self.error = step, error

    def __call__(self, frame, event, argument):
        # Python handles signals after calls, and `_synchronized` makes no call after learning.
        if "stream_perceptron" not in frame.f_code.co_filename or frame.f_code is _SYNCHRONIZED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.steps_left -= 1
            if self.steps_left == 0:
                raise self.error
        return self


def run_traced(task, tracer):
    """Run a task with a trace function."""
    previous = sys.gettrace()
    sys.settrace(tracer)
    try:
        task()
    finally:
        sys.settrace(previous)


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_error_while_growing_leaves_a_usable_model(error, report_figure):
    """The sample is either learned and counted, or leaves no trace."""
    rng = random.Random(0)
    x = {"new0": 1.0, "new1": 1.0, "new2": 1.0, "a": 2.0}
    expected, counter = train_new_model(), StepInterrupter(-1)
    before = capture_state(expected)
    run_traced(partial(expected.learn_one, x, "right"), counter)
    n, outcomes = -1 - counter.steps_left, {"as before": 0, "learned": 0}
    for _ in range(200):
        model = train_new_model()
        with suppress(error):
            interrupter = StepInterrupter(rng.randint(1, n), error)
            run_traced(partial(model.learn_one, x, "right"), interrupter)
        if model.n_seen == 1:
            assert capture_state(model) == before
            model.learn_one(x, "right")
            outcomes["as before"] += 1
        else:
            outcomes["learned"] += 1
        assert capture_state(expected) == capture_state(model)

    report_figure(f"{error.__name__} while names are added, over {n:,} steps: {outcomes}")
    assert outcomes["as before"] > 0


def test_scheduler_may_predict():
    class Schedule:
        def get(self, t):
            model.predict_one({"a": 1.0})
            other.predict_one({"z": 1.0})
            return 0.5

    model, twin, other = (train_new_model() for _ in range(3))
    model.mutate({"lr": Schedule()})
    for _ in range(2):
        model.learn_one({"a": 1.0}, "left")
        twin.learn_one({"a": 1.0}, "left")

    assert capture_state(model) == capture_state(twin)


@pytest.mark.parametrize("seed", get_seeds(5))
def test_concurrent_calls_are_each_counted_once(seed, tmp_path):
    """Four threads predict and learn new names, and copies made meanwhile are consistent."""
    model = SGDPerceptron(classes=["left", "right"], lr=0.1, seed=0)

    def learn_samples(thread):
        rng = random.Random(seed * 4 + thread)
        for i in range(300):
            x = {"a": rng.random(), f"t{thread}-{rng.randrange(200)}": 1.0}
            model.predict_one(x)
            model.learn_one(x, rng.choice(["left", "right", f"label {thread}"]))
            if i % 10 == 0:
                X = np.array([[rng.random(), 1.0]] * 5)
                model.test_then_train(X, ["left"] * 5, ["a", f"b{thread}-{i}"])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(learn_samples, number) for number in range(4)]
            while not all(task.done() for task in tasks):
                save(model, tmp_path / "m.npz")
                loaded = load(tmp_path / "m.npz").model
                for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                    assert (len(other.classes_), len(other.features_)) == other.weights.shape
                    assert other.n_seen == other.n_updates
    finally:
        sys.setswitchinterval(interval)

    assert [task.exception() for task in tasks] == [None] * 4
    assert model.n_seen == model.n_updates == 4 * (300 + 30 * 5)
    assert model.weights.shape == (len(model.classes_), len(model.features_))
    assert len(set(model.features_)) == len(model.features_)
    assert np.isfinite(model.weights).all()
