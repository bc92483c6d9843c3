"""Extreme numbers as features and options: refused in one line, or learned, saved and answered."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import Selection, open_source
from stream_perceptron.diagnostics.diagnosis import findings_in
from stream_perceptron_cli import inspect
from stream_perceptron_cli.predictions import JsonLines

_NUMBERS = (
    "0", "-0", "1", "-1", "0.1", "1e308", "-1e308", "1.7976931348623157e308", "5e-324", "1e-308",
    "1e400", "9" * 30, "9" * 400, "1e-400", "3.5e38", "-3.5e38", "1e38", "65504", "4294967296",
)  # fmt: skip
_OPTIONS = (0.0, 1.0, 1e-300, 5e-324, 1e300, 1.7e308, 0.01, 3.4e38, 1e39, -1.0, math.inf, math.nan)


def case(rng: np.random.Generator, folder: Path) -> str:
    """Learn from a few rows of extreme numbers, and predict them."""
    form = str(rng.choice(["csv", "jsonl", "libsvm"]))
    source, path = folder / f"s.{form}", folder / "m.npz"
    source.write_text(_rows(rng, form))
    parameters: dict[str, Any] = {
        str(name): float(rng.choice(_OPTIONS))
        for name in rng.choice(["lr", "epsilon", "init_range"], rng.integers(3), replace=False)
    }
    parameters["activation"] = str(rng.choice(["sigmoid", "tanh", "arctan", "identity"]))
    parameters["dtype"] = str(rng.choice(["float64", "float32"]))
    scale = float(rng.choice(_OPTIONS[:9])) or None
    selection = Selection(standardize=bool(rng.integers(2)), scale=scale)
    sources = [open_source(str(source), form)]
    try:
        live = LiveModel.start(sources, selection, seed=0, **parameters)
    except ValueError as error:
        _require_line(error)
        return "refused"
    outcome, lines = "learned", JsonLines()
    skips, said = bool(rng.integers(2)), []
    try:
        for result in live.run(sources, skip_rejected=skips, with_probabilities=True):
            said += lines(result)
    except StreamPerceptronError as error:
        _require_line(error)
        outcome = "ended by a row"
    live.save(path)
    live = LiveModel.load(path)
    json.dumps(inspect._contents(live), default=str, allow_nan=False)
    list(map(str, findings_in(live)))
    try:
        for batch in live.batches(sources[0]):
            result = live.predict(batch if skips else batch.before_rejected())
            said += lines(result)
    except StreamPerceptronError as error:
        _require_line(error)
    for line in said:
        json.loads(line, parse_constant=_refuse)
    return outcome


def _require_line(error: ValueError) -> None:
    assert "\n" not in str(error), error


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} has left the program")


def _rows(rng: np.random.Generator, form: str) -> str:
    lines = ["label,a,b"] if form == "csv" else []
    for _ in range(rng.integers(1, 30)):
        label, (a, b) = rng.choice(["x", "y", "1"]), rng.choice(_NUMBERS, 2)
        if form == "csv":
            lines.append(f"{label if rng.integers(5) else ''},{a},{b}")
        elif form == "libsvm":
            lines.append(f"{rng.integers(3)} 1:{a} 2:{b}")
        else:
            labelled = f'"label": "{label}", ' if rng.integers(5) else ""
            lines.append(f'{{{labelled}"a": {a}, "b": {b}}}')
    return "\n".join(lines) + "\n"
