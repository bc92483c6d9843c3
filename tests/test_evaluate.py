"""Killed and resumed evaluations give River's own results, bit-identical."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from river import datasets, evaluate, metrics, preprocessing, utils

from stream_perceptron import CheckpointError, SGDPerceptron, SourceError
from stream_perceptron.evaluate import iter_progressive_val_score, progressive_val_score
from stream_perceptron.stream import iter_parquet

KILLS, SAMPLES, SAVES = 4, 20_000, 300


def scaled():
    return preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)


def late(x, y):
    return len(repr(sorted(map(str, x.values())))) % 37


CASES = {
    "segments": (lambda: itertools.cycle(list(datasets.ImageSegments())), scaled),
    "phishing": (lambda: itertools.cycle(list(datasets.Phishing())), scaled),
    "digits": (
        lambda: iter_parquet(ROOT / "data" / "mnist-train.parquet"),
        lambda: SGDPerceptron(seed=0),
    ),
}


def begun(name):
    """Return a dataset, a model and a metric."""
    dataset, make = CASES[name]
    metric = metrics.Accuracy() + metrics.MacroF1() + metrics.CohenKappa()
    return itertools.islice(dataset(), SAMPLES), make(), metric


def state_of(model):
    last = list(model.steps.values())[-1] if hasattr(model, "steps") else model
    return last.weights.tobytes(), last.biases.tobytes(), last.n_seen, repr(last)


def line_of(step):
    return f"{step['Step']} {step['Prediction']!r} {step['Accuracy']!r} {step['CohenKappa']!r}"


def go_on(name, delay, path):
    """Resume an evaluation, and write each step's report beside its checkpoint."""
    steps = iter_progressive_val_score(
        *begun(name), delay=late if delay else None, yield_predictions=True,
        checkpoint=path, save_every=SAVES,
    )  # fmt: skip
    with open(f"{path}.txt", "a") as file:
        for step in steps:
            file.write(f"\n{line_of(step)}")
            file.flush()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("name", CASES)
def test_killed_evaluations_end_as_others(name, delay, tmp_path, digits, tell):
    rng, path, kills = random.Random(name), tmp_path / "m.npz", 0
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import test_evaluate"
    code += f"; test_evaluate.go_on({name!r}, {delay}, {str(path)!r})"
    while kills < KILLS:
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            assert process.wait(timeout=rng.uniform(1.5, 2.5)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    subprocess.run([sys.executable, "-c", code], check=True)
    tell(f"evaluations, {name}{', late' * delay}: {kills} kills")
    dataset, model, metric = begun(name)
    steps = evaluate.iter_progressive_val_score(
        dataset, model, metric, delay=late if delay else None, yield_predictions=True
    )
    expected = {str(step["Step"]): line_of(step) for step in steps}
    lines = [line for line in Path(f"{path}.txt").read_text().split("\n") if line]

    assert all(expected[line.split()[0]].startswith(line) for line in lines if " " in line)
    assert set(expected.values()) <= set(lines)
    _, again, counted = begun(name)
    assert progressive_val_score([], again, counted, checkpoint=path) is counted
    assert (repr(metric), state_of(model)) == (repr(counted), state_of(again))


def test_without_a_checkpoint_it_is_rivers_own(capsys):
    shown = []
    for score in (evaluate.progressive_val_score, progressive_val_score):
        found = score(datasets.Phishing(), scaled(), metrics.Accuracy(), print_every=300)
        shown.append((repr(found), capsys.readouterr().out))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("step", [1, 7, 300, 625, 1250, 5000])
def test_steps_are_rivers(step, tmp_path):
    for delay in (None, 3, late):
        path = tmp_path / f"{delay}.npz"
        asked = [datasets.Phishing, scaled, lambda: utils.Rolling(metrics.Accuracy, window_size=90)]
        found = [
            [(each["Step"], repr(each["Rolling"]), each["Prediction"]) for each in steps]
            for steps in (
                evaluate.iter_progressive_val_score(
                    *(make() for make in asked), delay=delay, step=step, yield_predictions=True
                ),
                iter_progressive_val_score(
                    *(make() for make in asked), delay=delay, step=step, yield_predictions=True,
                    checkpoint=path, save_every=100,
                ),
            )
        ]  # fmt: skip
        assert found[0] == found[1]


def stopped(path, pairs, metric=None, model=None, n=500):
    """Evaluate n samples with a save every 64, and return model and metric."""
    model, metric = model or scaled(), metric or metrics.Accuracy()
    steps = iter_progressive_val_score(pairs, model, metric, checkpoint=path, save_every=64)
    for _ in itertools.islice(steps, n):
        pass
    return model, metric


def test_windows_and_weights_are_kept(tmp_path):
    def weighted():  # anew, as River takes the weights out
        return [(x, y, {"w": 1 + i % 3}) for i, (x, y) in enumerate(datasets.Phishing())]

    expected = evaluate.progressive_val_score(
        weighted(), scaled(), utils.Rolling(metrics.MacroF1, window_size=200)
    )
    path, same = tmp_path / "m.npz", utils.Rolling(metrics.MacroF1, window_size=200)
    for n in (100, 180, 900, 10_000):
        # A caller may pass the earlier metric, or a new one.
        given = same if n != 180 else utils.Rolling(metrics.MacroF1, window_size=200)
        _, metric = stopped(path, weighted(), given, n=n)
    assert repr(expected) == repr(metric)
    assert expected.obj.cm.data == metric.obj.cm.data
    assert expected.window == metric.window


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:300], "has 300 pairs, but 448 were read"),
        (
            lambda rows: [*rows[:200], (rows[200][0], not rows[200][1]), *rows[201:]],
            "has other labels or features",
        ),
        (
            lambda rows: [(rows[0][0] | {"https": 7}, rows[0][1]), *rows[1:]],
            "has other labels or features",
        ),
    ],
)
def test_another_dataset_is_told(change, told, tmp_path):
    path, rows = tmp_path / "m.npz", list(datasets.Phishing())
    stopped(path, rows)
    before = path.read_bytes()
    with pytest.raises(SourceError, match=told):
        stopped(path, change(rows))
    assert before == path.read_bytes()


def test_what_cannot_be_kept_is_told_before_the_first_sample(tmp_path):
    path = tmp_path / "m.npz"
    for metric in (metrics.ROCAUC(), metrics.Accuracy() + metrics.LogLoss()):
        with pytest.raises(CheckpointError, match="cannot be saved: use a metric of a confusion"):
            stopped(path, datasets.Phishing(), metric)
    with pytest.raises(CheckpointError, match="cannot be saved"):
        stopped(path, datasets.Phishing(), model=preprocessing.LDA() | SGDPerceptron())
    assert not path.exists()
    stopped(path, datasets.Phishing())
    with pytest.raises(CheckpointError, match="belongs to another model or metric"):
        stopped(path, datasets.Phishing(), model=SGDPerceptron(lr=0.1, seed=0))
    with pytest.raises(CheckpointError, match="belongs to another model or metric"):
        stopped(path, datasets.Phishing(), metrics.MacroF1())
    with pytest.raises(CheckpointError, match="belongs to another model or metric"):
        stopped(path, datasets.Phishing(), utils.Rolling(metrics.Accuracy, window_size=9))
