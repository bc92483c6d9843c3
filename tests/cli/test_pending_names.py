"""Names of evicted samples take no memory."""

from __future__ import annotations

import random

from helpers import (
    write_jsonl,
)
from late_labels import generate_rows_with_new_names

from stream_perceptron import LiveModel


def test_names_of_evicted_samples_are_dropped(tmp_path, run):
    rng, sizes = random.Random(0), []
    source, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = list(generate_rows_with_new_names(12_000, rng))
    for n in (4000, 12_000):
        write_jsonl(source, rows[:n])
        limits = ["--max-pending", 10, "--max-weights", 3000]
        run("learn", source, "--join", "id", *limits, "-m", model, "--skip-bad", "--quiet")
        live = LiveModel.load(model)
        names = {name for sample in live.pending.samples.values() for name in sample.names}
        assert len(live.pending.names) < len(names) + 4 * 1000
        sizes.append(model.stat().st_size)

    assert sizes[1] < 1.5 * sizes[0]
