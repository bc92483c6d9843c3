"""Extreme numbers as features and options: rejected with one-line messages, or learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from running import require_displayable, require_finite, require_single_line

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron_cli.predictions import JsonFormatter

NUMBERS = (
    "0", "-0", "1", "-1", "0.1", "1e308", "-1e308", "1.7976931348623157e308", "5e-324", "1e-308",
    "1e400", "9" * 30, "9" * 400, "1e-400", "3.5e38", "-3.5e38", "1e38", "65504", "4294967296",
)  # fmt: skip
_OPTIONS = (0.0, 1.0, 1e-300, 5e-324, 1e300, 1.7e308, 0.01, 3.4e38, 1e39, -1.0, math.inf, math.nan)


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Learn a few rows of extreme numbers, save the model, and predict the rows."""
    form = str(rng.choice(["csv", "jsonl", "libsvm"]))
    source, path = folder / f"s.{form}", folder / "m.npz"
    source.write_text(draw_rows(rng, form))
    names = rng.choice(["lr", "epsilon", "init_range"], rng.integers(3), replace=False)
    parameters: dict[str, Any] = {str(name): float(rng.choice(_OPTIONS)) for name in names}
    parameters["activation"] = str(rng.choice(["sigmoid", "tanh", "arctan", "identity"]))
    scale = float(rng.choice(_OPTIONS[:9])) or None
    read_options = ReadOptions(standardize=bool(rng.integers(2)), scale=scale)
    sources = [open_source(str(source), form)]
    try:
        live = LiveModel.start(sources, read_options, seed=0, **parameters)
    except ValueError as error:
        require_single_line(error)
        return "rejected"
    outcome, lines, skips = "learned", JsonFormatter(), bool(rng.integers(2))
    try:
        for result in live.run(sources, skip_rejected=skips, with_scores=True):
            list(map(require_finite, lines(result)))
    except StreamPerceptronError as error:
        require_single_line(error)
        outcome = "ended by a row"
    live.save(path)
    live = LiveModel.load(path)
    require_displayable(live)
    try:
        for batch in live.batches(sources[0]):
            result = live.predict(batch if skips else batch.truncate_at_rejected())
            list(map(require_finite, lines(result)))
    except StreamPerceptronError as error:
        require_single_line(error)
    return outcome


def draw_rows(rng: np.random.Generator, form: str) -> str:
    """Return a few rows as text."""
    lines = ["label,a,b"] if form == "csv" else []
    for _ in range(rng.integers(1, 30)):
        label, (a, b) = rng.choice(["x", "y", "1"]), rng.choice(NUMBERS, 2)
        if form == "csv":
            lines.append(f"{label if rng.integers(5) else ''},{a},{b}")
        elif form == "libsvm":
            lines.append(f"{rng.integers(3)} 1:{a} 2:{b}")
        else:
            label_member = f'"label": "{label}", ' if rng.integers(5) else ""
            lines.append(f'{{{label_member}"a": {a}, "b": {b}}}')
    return "\n".join(lines) + "\n"
