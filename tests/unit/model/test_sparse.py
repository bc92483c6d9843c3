"""The cost of a sample depends on its own features, not on the number of known features."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import SGDPerceptron
from stream_perceptron.model import kernel
from stream_perceptron.model.kernel import numpy_kernel as _numpy_kernel
from stream_perceptron.model.validation import as_row

N_CLASSES, N_NONZERO = 5, 100


class CountingArray(np.ndarray):
    """An array that counts the elements read or written."""

    touched = 0

    def __getitem__(self, key):
        elements = np.asarray(self)[key]
        CountingArray.touched += elements.size
        return elements

    def __setitem__(self, key, value):
        plain = np.asarray(self)
        CountingArray.touched += plain[key].size
        plain[key] = value

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        CountingArray.touched += sum(a.size for a in inputs if isinstance(a, CountingArray))
        inputs = [np.asarray(a) if isinstance(a, CountingArray) else a for a in inputs]
        return getattr(ufunc, method)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        raise AssertionError(f"{function.__name__} would touch all weights")

    def dot(self, other, out=None):
        raise AssertionError("dot would touch all weights")


def make_wide_model(n_features):
    model = SGDPerceptron(classes=range(N_CLASSES), lr=0.1, seed=0)
    model.learn_one(dict.fromkeys(range(n_features), 0.0), 0)
    return model


@pytest.fixture
def numpy_kernel(monkeypatch):
    """Replace the compiled kernel by the NumPy kernel, whose array accesses can be counted."""
    monkeypatch.setattr(kernel, "learn", _numpy_kernel.learn)
    for name, refusal in (("learn_one", -1), ("compute_net_one", None), ("predict_one", -1)):
        monkeypatch.setattr(kernel, name, lambda *_, refusal=refusal: refusal)


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [0, 500])
def test_touched_elements_do_not_depend_on_the_vocabulary_size(
    zeros, rng, report_figure, numpy_kernel
):
    touched = {}
    for n_features in (10_000, 100_000, 1_000_000):
        model = make_wide_model(n_features)
        store = model.network.store
        store.current = store.current._replace(weights=store.weights.view(CountingArray))
        columns = rng.choice(n_features, N_NONZERO + zeros, replace=False).tolist()
        x = dict(zip(columns, [1.0] * N_NONZERO + [0.0] * zeros, strict=True))
        CountingArray.touched = 0
        for label in range(N_CLASSES):
            model.learn_one(x, label)
        learning, CountingArray.touched = CountingArray.touched, 0
        model.predict_one(x)
        touched[n_features] = (learning, CountingArray.touched)

    # Learning takes two gathers and one scatter, predicting takes one gather.
    n_elements = N_CLASSES * N_NONZERO
    report_figure(f"elements touched to learn {N_CLASSES} samples and to predict one: {touched}")
    assert len(set(touched.values())) == 1
    assert touched[10_000][1] > 0
    assert touched[10_000] == (3 * N_CLASSES * n_elements, n_elements)


@pytest.mark.skipif(kernel.NAME != "compiled", reason="there is no compiler: install gcc")
@pytest.mark.parametrize("n_features", [40, 5000])
def test_unknown_features_are_ignored_in_predictions(n_features, rng):
    """The fast path for dicts gives the same bits as the general path."""
    names = [f"x{i}" for i in range(n_features)]
    model = SGDPerceptron(classes=range(N_CLASSES), seed=0)
    model.learn_one(dict(zip(names, rng.normal(size=n_features).tolist(), strict=True)), 0)
    for n_known in (0, 1, 20, 40):
        sample_names = [*rng.choice(names, n_known, replace=False).tolist(), "new", 7, "newer"]
        x = {sample_names[i]: float(rng.normal()) for i in rng.permutation(len(sample_names))[:40]}
        model.predict_one(dict.fromkeys(names, 3.0))  # fills the buffer that is reused
        net = model.network.compute_net_one(x)

        assert net.tobytes() == model.network.compute_nets(as_row(x))[0].tobytes()
        assert model.network.predict_one(x) == net.argmax() == model.predict_one(x)
        for invalid_value in (np.nan, "text", None):
            assert model.network.compute_net_one(x | {"new": invalid_value}) is None


def test_gradual_growth_rarely_copies_weights(rng):
    """The storage doubles, so 2,000 samples with new features cause few copies."""
    model = SGDPerceptron(classes=range(N_CLASSES), seed=0)
    store = model.network.store
    buffers = set()
    for i in range(2000):
        names = [f"f{j}" for j in range(10 * i, 10 * i + 10)]
        model.learn_one(dict.fromkeys(names, 1.0), i % N_CLASSES)
        buffers.add(store.current.memory.shape)

    assert len(buffers) <= 2 + np.log2(20_000)
    assert model.weights.shape == (N_CLASSES, 20_000)


def test_wide_and_narrow_models_agree(rng):
    """Features that a sample lacks have no effect."""
    narrow = SGDPerceptron(0.5, classes=range(3), seed=0)
    wide = SGDPerceptron(0.5, classes=range(3), seed=0)
    names = [f"a{i}" for i in range(20)]
    for model, n_extra in ((narrow, 0), (wide, 5000)):
        model.learn_one(dict.fromkeys(names, 0.0), 0)
        model.learn_one({f"b{i}": 0.0 for i in range(n_extra)}, 0)
    for _ in range(300):
        x = dict(zip(names, rng.normal(size=20).tolist(), strict=True))
        y = int(rng.integers(3))
        narrow.learn_one(x, y)
        wide.learn_one(x, y)

    assert narrow.weights.tobytes() == wide.weights[:, :20].tobytes()
