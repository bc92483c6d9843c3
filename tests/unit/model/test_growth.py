"""Growth is all or nothing, whatever is raised meanwhile."""

from __future__ import annotations

import copy
import pickle
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from helpers import state_of

from stream_perceptron import SGDPerceptron, load, save
from stream_perceptron.model import network, weights


def fresh(**parameters):
    model = SGDPerceptron(lr=0.5, seed=0, **parameters)
    model.learn_one({"a": 1.0, "b": 0.5}, "left")
    return model


_SYNCHRONIZED = network.Network.train.__code__


class Interrupter:
    """Raises KeyboardInterrupt at one of Python's steps in this package."""

    def __init__(self, at):
        self.left = at

    def __call__(self, frame, event, argument):
        # Python handles signals after calls, and none follows where `_synchronized` ends learning.
        if "stream_perceptron" not in frame.f_code.co_filename or frame.f_code is _SYNCHRONIZED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def steps_of(task):
    """Return the number of steps of a task."""
    counter = Interrupter(-1)
    sys.settrace(counter)
    try:
        task()
    finally:
        sys.settrace(None)
    return -1 - counter.left


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 1500])
def test_an_interrupt_at_any_moment_of_growing_leaves_a_model_that_works(d, tell):
    """The sample is learned and counted, or it leaves no trace."""
    rng = random.Random(0)
    x = {f"new{i}": 1.0 for i in range(d)} | {"a": 2.0}
    expected = fresh()
    before = state_of(expected)
    n = steps_of(lambda: expected.learn_one(x, "right"))
    outcomes = {"as before": 0, "learned": 0}
    for _ in range(200):
        model = fresh()
        sys.settrace(Interrupter(rng.randint(1, n)))
        try:
            model.learn_one(x, "right")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if model.n_seen == 1:
            assert state_of(model) == before
            model.learn_one(x, "right")
            outcomes["as before"] += 1
        else:
            outcomes["learned"] += 1
        assert state_of(expected) == state_of(model)

    tell(f"interrupts while {d:,} features are added, over {n:,} steps: {outcomes}")
    assert outcomes["as before"] > 0


def test_a_real_signal_while_features_are_added(tell):
    """Ctrl-C during a stream with new names in every row."""
    counts = []

    def beat(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, beat)
    rng = random.Random(0)
    try:
        for _ in range(100):
            model, calls = fresh(), 1
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 4e-3))
                while True:
                    model.learn_one({f"{calls}-{i}": 1.0 for i in range(5)}, f"label {calls % 7}")
                    calls += 1
            except KeyboardInterrupt:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            # The interrupted call may have learned its sample.
            assert calls <= model.n_seen <= calls + 1
            assert (len(model.classes_), len(model.features_)) == model.weights.shape
            model.learn_one({"after": 1.0}, "left")
            assert len(model.features_) in (3 + 5 * (model.n_seen - 2), 3 + 5 * (model.n_seen - 3))
            counts.append(calls)
    finally:
        signal.signal(signal.SIGALRM, before)
    tell(f"100 signals after {min(counts)} to {max(counts)} samples with new features")


@pytest.mark.parametrize("where", ["weights", "names", "kernel"])
def test_memory_that_runs_out_while_growing_changes_nothing(where, monkeypatch):
    model = fresh()
    before = state_of(model)

    def fail(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patch:
        if where == "weights":
            patch.setattr(weights, "_aligned_zeros", fail)
        elif where == "names":
            patch.setattr(model.network.features, "extend", fail)
        else:
            patch.setattr(network.kernel, "learn", fail)
        with pytest.raises(MemoryError):
            model.learn_one({f"new{i}": 1.0 for i in range(100)}, "right")
    assert state_of(model) == before

    model.learn_one({"new5": 1.0}, "right")
    expected = fresh()
    expected.learn_one({"new5": 1.0}, "right")
    assert state_of(expected) == state_of(model)


class Name:
    """A name that collides with every other and runs code when compared."""

    def __init__(self, value, code=lambda: None):
        self.value, self.code = value, code

    def __hash__(self):
        return hash("a")

    def __eq__(self, other):
        self.code()
        return isinstance(other, Name) and self.value == other.value

    def __repr__(self):
        return f"Name({self.value})"


@pytest.mark.parametrize("call", ["predict_one", "learn_one", "predict_proba_one"])
@pytest.mark.parametrize("change", ["clear", "grow", "replace", "shrink"])
def test_a_name_that_changes_the_dict_that_it_is_in(call, change):
    model = fresh()
    x = {"z": 1.0, "a": 1.0}

    def code():
        if change == "clear":
            x.clear()
        elif change == "grow":
            x.update({f"more{i}": 1.0 for i in range(100)})
        elif change == "replace":
            x.update(dict.fromkeys(x, 2.0))
        elif len(x) > 1:
            x.pop("z", None)

    odd = Name("odd")
    x[odd] = 1.0
    odd.code = code
    seen = model.n_seen
    try:
        getattr(model, call)(x, *(["left"] if call == "learn_one" else []))
        learned = call == "learn_one"
    except (RuntimeError, ValueError):
        learned = False

    assert seen + learned == model.n_seen
    assert (len(model.classes_), len(model.features_)) == model.weights.shape
    model.learn_one({"a": 1.0}, "left")
    assert seen + learned + 1 == model.n_seen


@pytest.mark.parametrize("inner", ["learn_one", "test_then_train", "predict_one"])
def test_a_name_that_uses_the_model_that_learns_it(inner):
    """Learning within learning is refused; predicting is allowed."""
    model = fresh()

    def code():
        if inner == "learn_one":
            model.learn_one({f"inner{i}": 1.0 for i in range(5000)}, "other")
        elif inner == "predict_one":
            model.predict_one({"a": 1.0, "b": 2.0})
        else:
            model.test_then_train(np.ones((3, 2)), ["left"] * 3, ["a", "c"])

    before = state_of(model)
    odd = Name("odd")
    x = {odd: 1.0, "b": 1.0, "a": 1.0}
    odd.code = code
    if inner == "predict_one":
        model.learn_one(x, "left")
        assert model.n_seen == 2
    else:
        with pytest.raises(RuntimeError, match="cannot learn a sample while"):
            model.learn_one(x, "left")
        assert state_of(model) == before
    model.learn_one({"b": 1.0}, "right")
    assert (len(model.classes_), len(model.features_)) == model.weights.shape


def test_a_schedule_that_uses_the_model():
    class Schedule:
        def get(self, t):
            model.predict_one({"a": 1.0})
            if t == 3:
                model.learn_one({f"inner{i}": 1.0 for i in range(5000)}, "left")
            return 0.5

    model = fresh()
    model.mutate({"lr": Schedule()})
    for _ in range(2):
        model.learn_one({"a": 1.0}, "left")
    before = state_of(model)
    with pytest.raises(RuntimeError, match="cannot learn a sample while"):
        model.learn_one({"a": 1.0}, "left")

    assert state_of(model) == before
    model.mutate({"lr": 0.5})
    model.learn_one({"a": 1.0}, "left")
    assert model.n_seen == 4


@pytest.mark.parametrize("seed", range(20))
def test_calls_from_several_threads_are_each_counted_once(seed):
    """Four threads predict and learn dicts and blocks with new features."""
    model = SGDPerceptron(classes=["left", "right"], lr=0.1, seed=0)
    errors = []

    def work(thread):
        rng = random.Random(seed * 4 + thread)
        try:
            for i in range(60):
                x = {"a": rng.random(), f"t{thread}-{rng.randrange(200)}": 1.0}
                model.predict_one(x)
                model.learn_one(x, rng.choice(["left", "right"]))
                if i % 10 == 0:
                    X = np.array([[rng.random(), 1.0]] * 5)
                    model.test_then_train(X, ["left"] * 5, ["a", f"b{thread}-{i}"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert errors == []
    assert model.n_seen == model.n_updates == 4 * (60 + 6 * 5)
    assert model.weights.shape == (2, len(model.features_))
    assert len(set(model.features_)) == len(model.features_)
    assert np.isfinite(model.weights).all()


def test_several_threads_leave_what_one_after_the_other_would():
    """Samples have separate features and no rounding, so the order does not matter."""
    model, expected = (
        SGDPerceptron(1.0, 0, "identity", 0.0, classes=["only"], seed=0) for _ in range(2)
    )
    samples = [[{f"{thread}-{i}": 0.0} for i in range(50)] for thread in range(4)]

    def work(part):
        for x in part:
            model.learn_one(x, "only", w=0)
            time.sleep(0)

    threads = [threading.Thread(target=work, args=(part,)) for part in samples]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in samples:
        for x in part:
            expected.learn_one(x, "only", w=0)

    assert sorted(expected.features_) == sorted(model.features_)
    assert expected.n_seen == model.n_seen == 200


def test_copies_beside_a_thread_that_learns_are_whole(tmp_path):
    """The model is saved, pickled and copied while samples add features and labels."""
    model = SGDPerceptron(seed=0)
    done = threading.Event()

    def work():
        for i in range(10**6):
            if done.is_set():
                return
            model.learn_one({f"f{i}": 1.0}, f"label {i % 300 if i % 7 else 0}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(30):
            save(model, tmp_path / "m.npz")
            for other in (
                load(tmp_path / "m.npz").model,
                pickle.loads(pickle.dumps(model)),
                copy.deepcopy(model),
            ):
                assert (len(other.classes_), len(other.features_)) == other.weights.shape
                assert other.n_seen == other.n_updates == len(other.features_)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
