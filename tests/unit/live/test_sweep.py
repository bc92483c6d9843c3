"""The trials of a sweep learn the same as separate runs."""

from __future__ import annotations

import math

import pytest
from river import datasets, metrics

from stream_perceptron import LiveModel, SampleError, SGDPerceptron, sweep
from stream_perceptron.data import open_source
from stream_perceptron.live.sweep import Trial, list_combinations, train_trials_on_sources


def test_trials_on_a_river_stream_equal_separate_models():
    trials = sweep(datasets.Phishing(), lr=[0.01, 0.1, 1.0], activation=["sigmoid", "tanh"], seed=0)

    assert len(trials) == 6
    accuracies = [trial.progress.accuracy for trial in trials]
    assert sorted(accuracies, reverse=True) == accuracies
    for trial in trials:
        model, metric = SGDPerceptron(**trial.settings, seed=0), metrics.Accuracy()
        for x, y in datasets.Phishing():
            predicted = model.predict_one(x)
            if predicted is not None:
                metric.update(y, predicted)
            model.learn_one(x, y)
        assert metric.get() == trial.progress.accuracy
        assert model.weights.tobytes() == trial.model.weights.tobytes()


def test_empty_grid_has_no_trials():
    assert sweep([({"a": 1.0}, "x")], lr=[]) == []


@pytest.mark.parametrize("value", ["red", math.inf])
def test_unusable_sample_ends_a_sweep_with_an_error(value):
    samples = [({"a": 1.0}, "x"), ({"a": value}, "y"), ({"a": 2.0}, "x")]

    with pytest.raises(SampleError, match="a"):
        sweep(samples)


def test_rejected_row_ends_trials_unless_it_is_skipped(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("a,label\n1,left\nbad,left\n2,right\n")
    sources = [open_source(str(path))]
    trials = [Trial({}, LiveModel.start(sources, seed=0))]

    with pytest.raises(SampleError, match="row 2: column 'a' is 'bad'"):
        list(train_trials_on_sources(trials, sources))
    assert trials[0].progress.samples == 1


def test_trials_that_share_one_read_equal_separate_runs(tmp_path, rng):
    path = tmp_path / "points.csv"
    lines = [f"{x:.3f},{'left' if x < 0 else 'right'}" for x in rng.normal(size=2500)]
    lines[1000:1003] = ["bad,left", ",right", "1e9,left"]
    path.write_text("\n".join(["a,label", *lines]) + "\n")
    settings = list_combinations({"lr": [0.1, 2.0], "activation": ["sigmoid", "identity"]})
    for limit, passes in ((None, 2), (2001, 1), (1, 1)):
        options = {"limit": limit, "passes": passes, "skip_rejected": True}
        sources = [open_source(str(path))]
        trials = [
            Trial(combination, LiveModel.start(sources, seed=0, **combination))
            for combination in settings
        ]
        n_processed = [r.n_processed for r in train_trials_on_sources(trials, sources, **options)]

        assert sum(n_processed) == (limit or 5000)
        for trial in trials:
            separate_run = LiveModel.start([open_source(str(path))], seed=0, **trial.settings)
            has_diverged = False
            try:
                for _ in separate_run.run([open_source(str(path))], **options):
                    pass
            except ValueError:
                has_diverged = True
            assert has_diverged == (trial.diverged_at is not None)
            assert separate_run.model.weights.tobytes() == trial.model.weights.tobytes()
            assert separate_run.progress.accuracy == trial.progress.accuracy
