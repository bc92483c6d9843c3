"""A full model ignores the same features, however its rows are split."""

from __future__ import annotations

import random

import pytest
from helpers import capture_state, get_seeds, write_jsonl

from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live import LiveModel, learn

SIZES = (70, 100, 130, 200, 300, 500, 700, 1000, 1500, 3000)


def draw_rows(rng):
    """Return samples whose features and labels become more and more."""
    rows = []
    for i in range(300):
        names = [f"f{rng.randrange(2 + i // 8)}" for _ in range(3)]
        x = {name: rng.choice([1.0, -0.5, 2.0]) for name in dict.fromkeys(names)}
        rows.append(x | {"label": f"label{rng.randrange(1 + i // 40)}"})
    return rows


def learn_file(path, parameters, read_options, folder, draw_limit):
    """Learn a file in runs of limited length; return the saved state."""
    saved, n_rows = folder / "m.npz", 0
    live = LiveModel.start([open_source(str(path))], read_options, **parameters)
    while not live.history.files or not live.history.files[-1].passes:
        n_rows += draw_limit()
        sources = [open_source(str(path))]
        for _ in learn(live, sources, limit=n_rows, skip_rejected=True):
            pass
        live.save(saved)
        live = LiveModel.load(saved)
    return capture_state(live.model), live.progress.skipped, live.progress.accuracy


@pytest.mark.parametrize("seed", get_seeds(1))
@pytest.mark.parametrize("max_weights", SIZES)
def test_full_model_is_the_same_in_every_split(max_weights, seed, tmp_path):
    rng = random.Random(f"{seed} {max_weights}")
    path = write_jsonl(tmp_path / "rows.jsonl", draw_rows(rng))
    parameters = {"lr": 0.1, "seed": 0, "max_weights": max_weights}
    for standardize in (False, True):
        options = ReadOptions(label="label", scale=1.0, standardize=standardize)
        whole = learn_file(path, parameters, options, tmp_path, lambda: 10**6)
        split = learn_file(path, parameters, options, tmp_path, lambda: rng.randrange(1, 60))

        assert whole == split
