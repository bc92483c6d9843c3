"""However a model is used in Python, it equals one that learned the same samples one by one."""

from __future__ import annotations

import copy
import io
import math
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from helpers import CASE_FACTOR, NIGHTLY
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream_perceptron import (
    FallingRate,
    RecordEncoder,
    SampleError,
    SGDPerceptron,
    Standardizer,
    load,
    save,
)

NAMES, LABELS = "abcdef", ["up", "down", "left", "right"]
# The second falling rate ends after 17 updates.
rates = st.sampled_from([None, 0.1, 1.0, FallingRate(2.0, 1.0), FallingRate(0.5, 0.4)])
values = st.sampled_from([0.0, 1.0, -2.5, 1e-3, 7.0])
samples = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), values, max_size=5), st.sampled_from(LABELS)
)


class Models(RuleBasedStateMachine):
    """A model, or a pipeline, and one that only learns samples one by one."""

    @initialize(
        build=st.sampled_from(
            [
                lambda model: model,
                lambda model: Standardizer() | model,
                lambda model: RecordEncoder() | Standardizer() | model,
            ]
        ),
        lr=rates,
        epsilon=st.sampled_from([0.0, 0.2]),
        classes=st.sampled_from([None, LABELS[:2]]),
        class_weight=st.sampled_from([None, "balanced", {"up": 3.0}]),
        activation=st.sampled_from(["sigmoid", "tanh"]),
    )
    def create(self, build, **parameters):
        self.model, self.plain = (build(SGDPerceptron(seed=7, **parameters)) for _ in range(2))

    @rule(sample=samples)
    def learn_one(self, sample):
        self.model.learn_one(*sample)
        self.plain.learn_one(*sample)

    @rule(sample=samples, value=st.sampled_from([-math.inf, 10**400]))
    def learn_rejected(self, sample, value):
        """A sample that cannot be learned changes nothing."""
        x, y = sample
        with pytest.raises(SampleError):
            self.model.learn_one(x | {"a": value}, y)

    @property
    def perceptrons(self):
        models = self.model, self.plain
        return [getattr(m, "steps", {"SGDPerceptron": m})["SGDPerceptron"] for m in models]

    @rule(lr=rates)
    def change_rate(self, lr):
        for perceptron in self.perceptrons:
            perceptron.lr = lr

    @rule(rows=st.lists(samples, min_size=1, max_size=6))
    def learn_many(self, rows):
        """Learn a frame, in which a missing cell is an absent feature."""
        perceptron, plain = self.perceptrons
        frame = pd.DataFrame([x for x, _ in rows], columns=list(NAMES), dtype=np.float64)
        perceptron.learn_many(frame, pd.Series([y for _, y in rows]))
        for i, (_, y) in enumerate(rows):
            plain.learn_one(frame.iloc[i].dropna().to_dict(), y)

    @rule(sample=samples)
    def predict(self, sample):
        x, _ = sample
        assert self.model.predict_one(x) == self.plain.predict_one(x)
        assert self.model.predict_proba_one(x) == self.plain.predict_proba_one(x)

    @rule(how=st.sampled_from(["copy", "pickle", "save"]))
    def replace(self, how):
        if how == "copy":
            self.model = copy.deepcopy(self.model)
        elif how == "pickle":
            self.model = pickle.loads(pickle.dumps(self.model))
        else:
            file = io.BytesIO()
            save(self.model, file)
            self.model = load(io.BytesIO(file.getvalue())).model

    @rule(sample=samples)
    def abandon_a_copy(self, sample):
        copy.deepcopy(self.model).learn_one(*sample)

    @rule(sample=samples, n=st.integers(2, 4))
    def learn_in_threads(self, sample, n):
        if not hasattr(self.model, "steps"):  # River does not lock the steps of a pipeline
            threads = [threading.Thread(target=self.model.learn_one, args=sample) for _ in range(n)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for _ in range(n):
                self.plain.learn_one(*sample)

    @invariant()
    def models_are_saved_as_the_same_bytes(self):
        if hasattr(self, "model"):
            files = [io.BytesIO(), io.BytesIO()]
            for model, file in zip((self.model, self.plain), files, strict=True):
                save(model, file)
            assert files[0].getvalue() == files[1].getvalue()


TestModels = Models.TestCase
TestModels.settings = settings(
    max_examples=40 * CASE_FACTOR, stateful_step_count=30, deadline=None,
    derandomize=NIGHTLY is None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
