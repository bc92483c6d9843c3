"""Feature numbers, and initial weights."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from helpers import get_seeds
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron.model.vocabulary import NamesPrefix, Vocabulary
from stream_perceptron.model.weights import WeightStore, draw_initial_weights, hash_names

NAMES = st.one_of(
    st.text(),
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(),
    st.tuples(st.text(), st.integers()),
)


@given(st.lists(NAMES, unique=True), st.data())
def test_cached_ids_equal_computed_ids(names, data):
    vocabulary = Vocabulary(names[::2])
    shuffled_names = tuple(data.draw(st.permutations(names)))
    n_cached = data.draw(st.integers(0, len(shuffled_names)))
    expected = [vocabulary.ids_by_name.get(name, -1) for name in shuffled_names]

    vocabulary.cache_ids(shuffled_names[:n_cached], np.array(expected[:n_cached], np.int32))

    assert vocabulary.find_ids(shuffled_names).tolist() == expected


@pytest.mark.parametrize("seed", get_seeds(50))
def test_ids_equal_those_of_a_dict_while_names_are_added_and_removed(seed):
    rng = random.Random(seed)
    vocabulary, listed = Vocabulary(), []
    for _ in range(60):
        action = rng.choice(["list", "learn", "learn other", "remove", "look up", "look up prefix"])
        known = {name: i for i, name in enumerate(vocabulary.names)}
        prefix = NamesPrefix(listed)
        if action == "list":
            listed += [f"n{len(listed) + i}" for i in range(rng.randrange(4))]
        elif action == "learn":
            new = [name for name in listed if name not in known]
            vocabulary.extend(new[: rng.randrange(len(new) + 1)])
            vocabulary.cache_ids(prefix, vocabulary.find_ids(prefix))
        elif action == "learn other":
            vocabulary.extend({f"n{rng.randrange(100)}", ("odd", rng.random())} - known.keys())
        elif action == "remove":
            vocabulary.truncate(rng.randrange(len(known) + 1))
        elif action == "look up":
            names = tuple(rng.sample(listed, rng.randrange(len(listed) + 1)))
            assert vocabulary.find_ids(names).tolist() == [known.get(n, -1) for n in names]
        else:
            ids = [known.get(name, -1) for name in listed]
            assert vocabulary.find_ids(prefix).tolist() == ids
            known_ids = vocabulary.get_known_ids(prefix)
            assert known_ids is None or (known_ids.tolist() == ids and -1 not in ids)

    assert vocabulary.ids_by_name == {name: i for i, name in enumerate(vocabulary.names)}


def test_names_can_be_looked_up_while_a_thread_adds_and_removes_some():
    vocabulary, is_done, rng = Vocabulary(["first"]), Event(), random.Random(0)

    def look_up():
        while not is_done.is_set():
            assert vocabulary.ids_by_name["first"] == 0

    interval = sys.getswitchinterval()
    with ThreadPoolExecutor(2) as pool:
        try:
            sys.setswitchinterval(1e-6)
            readers = [pool.submit(look_up) for _ in range(2)]
            for i in range(3000):
                vocabulary.extend([f"{i}-{j}" for j in range(20)])
                if rng.random() < 0.3:
                    vocabulary.truncate(rng.randrange(1, len(vocabulary.names)))
        finally:
            sys.setswitchinterval(interval)
            is_done.set()
        for reader in readers:
            reader.result()

    assert vocabulary.ids_by_name == {name: i for i, name in enumerate(vocabulary.names)}


@given(st.lists(NAMES, unique=True, max_size=20), st.data())
def test_truncate_removes_the_last_names(names, data):
    length = data.draw(st.integers(0, len(names)))
    vocabulary = Vocabulary(names)
    vocabulary.find_ids(tuple(names))
    vocabulary.truncate(length)

    expected = [*range(length)] + [-1] * (len(names) - length)
    assert vocabulary.find_ids(tuple(names)).tolist() == expected
    assert names[:length] == vocabulary.names


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=8),
)
def test_initial_weights_do_not_depend_on_how_the_store_grew(seed, growth):
    store = WeightStore(seed, 0.03)
    k = d = 0
    for more_k, more_d in growth:
        k, d = k + more_k, d + more_d
        store.current = store.grow(k, d, drawn=range(d))

    biases, weights = (
        draw_initial_weights(seed, np.arange(k), hashes, 0.03)
        for hashes in (np.zeros(1, np.uint64), hash_names(range(d)))
    )
    np.testing.assert_array_equal(store.biases, biases[:, 0])
    np.testing.assert_array_equal(store.weights, weights)
    if k > 4 and d:
        assert store.weights.T.flags.aligned
        assert store.weights.strides[1] % (8 * store.weights.itemsize) == 0


def test_initial_weights_are_uniform_and_differ_with_the_seed():
    hashes = hash_names(range(1000))
    first = draw_initial_weights(0, np.arange(100), hashes, 0.03)
    second = draw_initial_weights(1, np.arange(100), hashes, 0.03)
    bin_counts, _ = np.histogram(first, bins=10, range=(-0.03, 0.03))

    assert bin_counts.sum() == first.size
    # Five standard deviations of a binomial count.
    np.testing.assert_allclose(bin_counts, first.size / 10, atol=5 * np.sqrt(first.size * 0.09))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    assert len(np.unique(first)) == first.size


def test_initial_weights_come_from_splitmix64():
    """Compare with the first output of the published generator for seed 0."""
    from stream_perceptron.model.weights import _mix

    assert int(_mix(np.array([0], np.uint64))[0]) == 0xE220A8397B1DCDAF
