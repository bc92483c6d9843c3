"""Models of many features, of which each sample has few."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import SGDPerceptron
from stream_perceptron.model.validation import as_row

N_CLASSES = 5


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
