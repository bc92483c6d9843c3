"""Late labels: River's progressive validation, and runs split at random, give the same results."""

from __future__ import annotations

import copy
import json
import pickle
import random

import pytest
from helpers import CASE_FACTOR, get_seeds, read_contents
from late_labels import (
    collect_predictions,
    collect_rejections,
    draw_rows_for_format,
    draw_sparse_samples,
    draw_timing,
    generate_rows_with_new_names,
    learn_new_rows,
    require_same_results_as_river,
    save_to_bytes,
    simulate_with_river,
    snapshot_state,
    start_model,
    write_rows,
)
from river import datasets

from stream_perceptron import LiveModel, SGDPerceptron, Standardizer
from stream_perceptron.data import open_source
from stream_perceptron.verification import verify


def load_samples(seed, n=300):
    """Return a few hundred samples, and the formats that can hold them."""
    if seed % 3 == 2:
        return draw_sparse_samples(seed, n), ("json",)
    dataset = (datasets.ImageSegments, datasets.Phishing)[seed % 3]()
    samples = [({name: float(v) for name, v in x.items()}, y) for x, y in dataset.take(n + seed)]
    return samples[seed:], ("json", "csv", "parquet")


@pytest.mark.slow
@pytest.mark.parametrize("seed", get_seeds(12))
def test_late_labels_match_river_progressive_validation(seed, tmp_path):
    samples, forms = load_samples(seed)
    for standardize in (False, True):
        model = SGDPerceptron(lr=0.1 if standardize else 0.01, seed=0)
        whole = Standardizer() | model if standardize else model
        metric, rows, expected = simulate_with_river(
            samples, draw_timing(seed, len(samples)), whole
        )
        for form in forms:
            path = write_rows(tmp_path / form, form, rows, tuple(samples[0][0]))
            live = start_model(path, model.lr, standardize=standardize)
            results = learn_new_rows(live, path, every=1 + 37 * (seed % 2))
            tolerance = 1e-12 if standardize else 0.0
            require_same_results_as_river(live, results, model, metric, expected, tolerance)


def learn_in_parts(live, path, split_points, folder, rng):
    """Learn a file in runs that each continue with a saved, copied or pickled model."""
    results = []
    for limit in [*sorted(split_points), None]:
        method = rng.choice(["load", "load", "copy", "pickle"])
        if method == "copy":
            live = copy.deepcopy(live)
        elif method == "pickle":
            live = pickle.loads(pickle.dumps(live))
        elif live.progress.rows:
            live.save(folder / "part.npz")
            live = LiveModel.load(folder / "part.npz")
        results += learn_new_rows(live, path, skip_rejected=True, limit=limit)
    return live, results


FORMS = (
    "csv", "json", "json nested", "parquet", "arrow", "json lists", "parquet lists", "arrow lists"
)  # fmt: skip


def require_identical_runs(form, seed, n, folder):
    """Learn a file in several ways; check that the results are identical, and return the model."""
    rows, names = draw_rows_for_format(form, seed, n)
    path, rng = write_rows(folder / "source", form, rows, names), random.Random(seed)
    read_options = {"max_pending": 2 + seed % 4}
    if not form.endswith("lists"):
        read_options |= {"standardize": seed % 6 > 2, "one_hot": ("colour",) * (seed % 3 > 0)}
    random_stops = {*rng.sample(range(1, 12), 4), *rng.sample(range(12, len(rows)), 4)}
    stops_at_every_row = range(1, min(len(rows), 60))
    run_options = {}, {"n_single_rows": 10**9}, {"every": rng.randrange(1, 50)}
    outcomes = []
    for options_or_stops in (*run_options, random_stops, stops_at_every_row):
        live = start_model(path, **read_options)
        if isinstance(options_or_stops, dict):
            results = learn_new_rows(live, path, skip_rejected=True, **options_or_stops)
        else:
            live, results = learn_in_parts(live, path, options_or_stops, folder, rng)
        outcome = collect_predictions(results), collect_rejections(results), snapshot_state(live)
        outcomes.append((*outcome, save_to_bytes(live, folder)))
        verify(live, [open_source(str(path))])
    rejections = outcomes[0][1]
    assert rejections
    for other in outcomes[1:]:
        assert outcomes[0] == other
    return live


@pytest.mark.parametrize("seed", get_seeds(2))
@pytest.mark.parametrize("form", FORMS)
def test_splitting_runs_does_not_change_results(form, seed, tmp_path):
    live = require_identical_runs(form, seed, 400, tmp_path)
    assert live.pending.samples
    assert live.pending.n_evicted
    assert live.progress.samples > 20


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_splitting_short_streams_at_every_row_does_not_change_results(form, tmp_path):
    for seed in get_seeds(3 * CASE_FACTOR, 10):
        require_identical_runs(form, seed, 40, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_splitting_runs_does_not_change_when_names_are_dropped(form, tmp_path, run):
    """A text is accepted under a dropped name, but rejected under the name of a number."""
    rng = random.Random(form)
    rows = list(generate_rows_with_new_names(2500, rng))
    for i in range(200, len(rows), 7):
        names = [name for name in rows[rng.randrange(i)] if name.startswith("w")]
        rows[i] = {"id": f"t{i}", rng.choice(names or ["w0_0"]): "red", "common1": 1.0}
    lines = [json.dumps(row) + "\n" for row in rows]
    options = [
        "--join",
        "id",
        "--max-pending",
        10,
        "--skip-bad",
        "--quiet",
        "--rejected",
        "r.jsonl",
    ]
    outcomes = []
    random_split_points = sorted(rng.sample(range(1, len(lines)), 5))
    for number, split_points in enumerate([[], [999, 1000, 1001, 2000], random_split_points]):
        folder, n_rows_done = tmp_path / str(number), 0
        folder.mkdir()
        (folder / "s.jsonl").write_text("".join(lines))
        for end in [*split_points, len(lines)]:
            extra = {"input": "".join(lines[n_rows_done:end])} if form == "pipe" else {}
            source = [] if form == "pipe" else ["s.jsonl"]
            source += ["--limit", end] if source and end < len(lines) else []
            run("learn", *source, *options, "-m", "m.npz", cwd=folder, check=0, **extra)
            n_rows_done = end
        contents = [read_contents(folder / name) for name in ("m.npz", "r.jsonl")]
        outcomes.append([str(each).replace(str(folder), "FOLDER") for each in contents])

    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert "a string, but was a number before" in outcomes[0][1]
