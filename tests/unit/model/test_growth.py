"""Adding features and labels is atomic, despite exceptions, signals and threads."""

from __future__ import annotations

import copy
import pickle
import random
import signal
import sys
import threading
import time
from itertools import count

import numpy as np
import pytest
from helpers import capture_state, get_seeds

from stream_perceptron import SampleError, SGDPerceptron, load, save
from stream_perceptron.model import network, weights
from stream_perceptron.model.growth import Growth
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.vocabulary import Vocabulary


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


def test_each_label_and_feature_counts_toward_the_maximum_size():
    for k, d in ((1, 1), (3, 1000), (8, 10), (1000, 3)):
        size = weights.count_weights(k, d)
        assert size >= k * d
        assert weights.count_weights(k + 1, d) > size
        assert weights.count_weights(k, d + 1) >= size + k


class StepInterrupter:
    """Raises KeyboardInterrupt at a given bytecode instruction of this package."""

    def __init__(self, step):
        self.steps_left = step

    def __call__(self, frame, event, argument):
        # Python handles signals after calls, and `_synchronized` makes no call after learning.
        if "stream_perceptron" not in frame.f_code.co_filename or frame.f_code is _SYNCHRONIZED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.steps_left -= 1
            if self.steps_left == 0:
                raise KeyboardInterrupt
        return self


def count_steps(task):
    """Return the number of bytecode instructions that a task runs in this package."""
    counter, tracer = StepInterrupter(-1), sys.gettrace()
    sys.settrace(counter)
    try:
        task()
    finally:
        sys.settrace(tracer)
    return -1 - counter.steps_left


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [3, 1500])
def test_interrupt_while_growing_leaves_a_usable_model(n_features, report_figure):
    """The sample is either learned and counted, or leaves no trace."""
    rng = random.Random(0)
    x = {f"new{i}": 1.0 for i in range(n_features)} | {"a": 2.0}
    expected = train_new_model()
    before = capture_state(expected)
    n = count_steps(lambda: expected.learn_one(x, "right"))
    outcomes, tracer = {"as before": 0, "learned": 0}, sys.gettrace()
    for _ in range(200):
        model = train_new_model()
        sys.settrace(StepInterrupter(rng.randint(1, n)))
        try:
            model.learn_one(x, "right")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracer)
        if model.n_seen == 1:
            assert capture_state(model) == before
            model.learn_one(x, "right")
            outcomes["as before"] += 1
        else:
            outcomes["learned"] += 1
        assert capture_state(expected) == capture_state(model)

    report_figure(
        f"interrupts while {n_features:,} features are added, over {n:,} steps: {outcomes}"
    )
    assert outcomes["as before"] > 0


def test_signal_while_adding_features_leaves_a_usable_model(report_figure):
    """Simulate Ctrl-C during a stream with new names in every row."""
    counts = []

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(0)
    try:
        for _ in range(100):
            model, calls = train_new_model(), 1
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
    report_figure(f"100 signals after {min(counts)} to {max(counts)} samples with new features")


@pytest.mark.parametrize("failing_part", ["weights", "names", "kernel"])
def test_memory_error_while_growing_leaves_the_model_unchanged(failing_part, monkeypatch):
    model = train_new_model()
    before = capture_state(model)

    def fail(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patch:
        if failing_part == "weights":
            patch.setattr(weights, "_aligned_zeros", fail)
        elif failing_part == "names":
            patch.setattr(model.network.features, "extend", fail)
        else:
            patch.setattr(network.kernel, "learn", fail)
        with pytest.raises(MemoryError):
            model.learn_one({f"new{i}": 1.0 for i in range(100)}, "right")
    assert capture_state(model) == before

    model.learn_one({"new5": 1.0}, "right")
    expected = train_new_model()
    expected.learn_one({"new5": 1.0}, "right")
    assert capture_state(expected) == capture_state(model)


def test_memory_error_after_the_first_sample_keeps_that_sample(monkeypatch):
    """The first sample of a new model is learned by itself, after its prediction."""
    model, calls = SGDPerceptron(seed=0), count()
    learn = network.kernel.learn

    def learn_once(*args):
        if next(calls) == 2:
            raise MemoryError
        return learn(*args)

    rows = Rows.from_table(("a",), np.array([[1.0], [2.0], [3.0]]))
    with monkeypatch.context() as patch:
        patch.setattr(network.kernel, "learn", learn_once)
        result = model.train(Samples(rows, ["left", "right", "left"], np.ones(3)))

    assert (len(result), model.n_seen, model.classes_) == (1, 1, ["left"])
    assert isinstance(result.memory_error, MemoryError)


class Name:
    """A feature name that has the hash of "a" and runs code when it is compared."""

    def __init__(self, value, callback=lambda: None):
        self.value, self.callback = value, callback

    def __hash__(self):
        return hash("a")

    def __eq__(self, other):
        self.callback()
        return isinstance(other, Name) and self.value == other.value

    def __repr__(self):
        return f"Name({self.value})"


@pytest.mark.parametrize("method", ["predict_one", "learn_one", "predict_proba_one"])
@pytest.mark.parametrize("change", ["clear", "grow", "replace", "shrink"])
def test_dict_changed_by_its_own_key_is_learned_or_rejected(method, change):
    model = train_new_model()
    x = {"z": 1.0, "a": 1.0}

    def callback():
        if change == "clear":
            x.clear()
        elif change == "grow":
            x.update({f"more{i}": 1.0 for i in range(100)})
        elif change == "replace":
            x.update(dict.fromkeys(x, 2.0))
        elif len(x) > 1:
            x.pop("z", None)

    active_name = Name("odd")
    x[active_name] = 1.0
    active_name.callback = callback
    n_seen_before = model.n_seen
    try:
        getattr(model, method)(x, *(["left"] if method == "learn_one" else []))
        learned = method == "learn_one"
    except (RuntimeError, ValueError):
        learned = False

    assert n_seen_before + learned == model.n_seen
    assert (len(model.classes_), len(model.features_)) == model.weights.shape
    model.learn_one({"a": 1.0}, "left")
    assert n_seen_before + learned + 1 == model.n_seen


@pytest.mark.parametrize("inner", ["learn_one", "test_then_train", "predict_one"])
def test_reentrant_learning_is_rejected_and_predicting_allowed(inner):
    """The comparison of a feature name calls the model that is learning it."""
    model = train_new_model()

    def callback():
        if inner == "learn_one":
            model.learn_one({f"inner{i}": 1.0 for i in range(5000)}, "other")
        elif inner == "predict_one":
            model.predict_one({"a": 1.0, "b": 2.0})
        else:
            model.test_then_train(np.ones((3, 2)), ["left"] * 3, ["a", "c"])

    before = capture_state(model)
    active_name = Name("odd")
    x = {active_name: 1.0, "b": 1.0, "a": 1.0}
    active_name.callback = callback
    if inner == "predict_one":
        model.learn_one(x, "left")
        assert model.n_seen == 2
    else:
        with pytest.raises(RuntimeError, match="cannot learn a sample while"):
            model.learn_one(x, "left")
        assert capture_state(model) == before
    model.learn_one({"b": 1.0}, "right")
    assert (len(model.classes_), len(model.features_)) == model.weights.shape


def test_scheduler_may_predict_but_not_learn():
    class Schedule:
        def get(self, t):
            model.predict_one({"a": 1.0})
            if t == 3:
                model.learn_one({f"inner{i}": 1.0 for i in range(5000)}, "left")
            return 0.5

    model = train_new_model()
    model.mutate({"lr": Schedule()})
    for _ in range(2):
        model.learn_one({"a": 1.0}, "left")
    before = capture_state(model)
    with pytest.raises(RuntimeError, match="cannot learn a sample while"):
        model.learn_one({"a": 1.0}, "left")

    assert capture_state(model) == before
    model.mutate({"lr": 0.5})
    model.learn_one({"a": 1.0}, "left")
    assert model.n_seen == 4


@pytest.mark.parametrize("seed", get_seeds(20))
def test_concurrent_calls_are_each_counted_once(seed):
    """Four threads predict and learn dicts and blocks with new features."""
    model = SGDPerceptron(classes=["left", "right"], lr=0.1, seed=0)
    errors = []

    def learn_samples(thread):
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

    threads = [threading.Thread(target=learn_samples, args=(number,)) for number in range(4)]
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


def test_concurrent_learning_matches_sequential_learning():
    """Samples have separate features and no rounding, so the order does not matter."""
    model, expected = (
        SGDPerceptron(1.0, 0, "identity", 0.0, classes=["only"], seed=0) for _ in range(2)
    )
    samples = [[{f"{thread}-{i}": 0.0} for i in range(50)] for thread in range(4)]

    def learn_samples(batch):
        for x in batch:
            model.learn_one(x, "only", w=0)
            time.sleep(0)

    threads = [threading.Thread(target=learn_samples, args=(batch,)) for batch in samples]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for batch in samples:
        for x in batch:
            expected.learn_one(x, "only", w=0)

    assert sorted(expected.features_) == sorted(model.features_)
    assert expected.n_seen == model.n_seen == 200


@pytest.mark.slow
def test_copies_made_while_a_thread_learns_are_consistent(tmp_path):
    """The model is saved, pickled and copied while samples add features and labels."""
    model = SGDPerceptron(seed=0)
    done = threading.Event()

    def learn_samples():
        for i in range(10**6):
            if done.is_set():
                return
            model.learn_one({f"f{i}": 1.0}, f"label {i % 300 if i % 7 else 0}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=learn_samples)
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


class BrokenSchedule:
    """Has learning rates for the first two updates only."""

    def get(self, t):
        return 0.5 / (t < 2)


@pytest.mark.filterwarnings("error")  # of labels that are spelled alike
def test_schedule_is_asked_before_names_are_added():
    model = SGDPerceptron(lr=BrokenSchedule(), seed=0)
    model.learn_one({"a": 1.0}, "1")
    model.learn_one({"a": 0.5}, "2")
    before, label_types = capture_state(model), set(model.network._label_types)

    with pytest.raises(SampleError, match="gives no learning rate after 2 updates"):
        model.test_then_train(np.ones((2, 2)), [1, "2"], features=["a", "b"])

    assert capture_state(model) == before
    assert model.network._label_types == label_types


@pytest.mark.parametrize("seed", get_seeds(20))
def test_labels_are_numbered_as_in_a_plain_search(seed):
    rng = random.Random(seed)
    # Equal labels may be different objects.
    spellings = [None, 1, 1.0, True, 0, -0.0, ("a", 1), "é", *map(str, range(rng.choice([3, 300])))]
    labels = [copy.deepcopy(rng.choice(spellings)) for _ in range(rng.choice([1, 5, 2000]))]
    known = [label for label in dict.fromkeys(spellings) if label is not None]
    known = rng.sample(known, rng.randrange(len(known)))

    numbers, new_rows = {label: i for i, label in enumerate(known)}, {}
    for row, label in enumerate(labels):
        if label is not None and label not in numbers:
            numbers[label], new_rows[label] = len(numbers), row
    samples = Samples(Rows.from_rows([()] * len(labels), []), labels, np.ones(len(labels)))
    growth = Growth.plan(samples, Vocabulary(known), Vocabulary())
    assert growth.targets.tolist() == [-1 if y is None else numbers[y] for y in labels]
    assert list(growth.labels) == list(new_rows)
    assert growth.label_rows.tolist() == list(new_rows.values())
