"""Random command lines with extreme values: success or a one-line message, and never NaN."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from running import run_command

from stream_perceptron import LiveModel
from stream_perceptron_cli.main import main

_CELLS = (
    "0", "-0", "1", "-1", "0.1", "1e308", "-1e308", "1.7976931348623157e308", "5e-324", "1e-308",
    "1e400", "9" * 30, "9" * 400, "1e-400", "3.5e38", "-3.5e38", "1e38", "65504", "4294967296",
)  # fmt: skip
_NUMBERS = (
    "0", "-1", "1", "2", "3", "-0", "1e308", "-1e308", "1e-320", "1e400", "nan", "-nan", "inf",
    "-inf", "Infinity", f"{2**31}", f"{2**63 - 1}", f"{2**63}", f"{2**64}", f"{10**30}",
    f"{10**400}", "7" * 5000, "0." + "7" * 5000, "1_0", "0x1", "", " ", " 1 ", "+1", "1e0", "1.5",
    ".", "1/0", "1/3", "1e308/1e-308", "\u0663", "\uff11", "\u00b2", "\u00bd", "1e", "--", "1\n2",
    "1s", "1e9s", "0.1", "0.01",
)  # fmt: skip
_NAMES = ("a", "b", "label", "1", "-1", "0", "99", "a,b", "a,a", "no", "x,y", "0-9", "0-9999999999")
# Options that run forever, belong to Click, name a file, or show a traceback.
_EXCLUDED_OPTIONS = {
    "--follow", "--traceback", "--help", "-m", "-o", "-p", "--rejected", "--base"
}  # fmt: skip
_COMMANDS = ("predict", "evaluate", "inspect", "sweep", "report", "verify", "learn")


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Run `learn` with random options, and run another command with the model."""
    form = str(rng.choice(["csv", "jsonl", "libsvm", "parquet"]))
    source, other = folder / f"s.{form}", folder / f"t.{form}"
    model = folder / "m.npz"
    for path in (source, other):
        _write_source(rng, path, form)
    options = _draw_options(rng, "learn") if rng.random() < 0.3 else ["--skip-bad"]
    run_command(["learn", str(source), *options, "-m", str(model)], folder)
    name = str(rng.choice(_COMMANDS))
    arguments = {
        "predict": [other, "-m", model], "evaluate": [other, "-m", model], "inspect": [model],
        "sweep": [source], "report": [model], "verify": [model, source], "learn": [source],
    }[name]  # fmt: skip
    outcome = run_command([name, *map(str, arguments), *_draw_options(rng, name)], folder)
    for path in folder.glob("*.npz"):
        assert np.isfinite(LiveModel.load(path).model.weights).all()
    return f"{name} {outcome}"


def _write_source(rng: np.random.Generator, path: Path, form: str) -> None:
    text = _draw_rows(rng, "csv" if form == "parquet" else form)
    for number in _CELLS[5:] if rng.integers(2) else ():
        text = re.sub(rf"(?<=[,: ]){re.escape(number)}(?=[,}}\s])", str(rng.integers(9)), text)
    if form != "parquet":
        path.write_text(text)
        return
    label, *cells = zip(*(line.split(",") for line in text.splitlines()[1:]), strict=True)
    table = {"label": label} | {n: np.array(c, float) for n, c in zip("ab", cells, strict=True)}
    pq.write_table(pa.table(table), path)


def _draw_rows(rng: np.random.Generator, form: str) -> str:
    """Return a few rows as text."""
    lines = ["label,a,b"] if form == "csv" else []
    for _ in range(rng.integers(1, 30)):
        label, (a, b) = rng.choice(["x", "y", "1"]), rng.choice(_CELLS, 2)
        if form == "csv":
            lines.append(f"{label if rng.integers(5) else ''},{a},{b}")
        elif form == "libsvm":
            lines.append(f"{rng.integers(3)} 1:{a} 2:{b}")
        else:
            label_member = f'"label": "{label}", ' if rng.integers(5) else ""
            lines.append(f'{{{label_member}"a": {a}, "b": {b}}}')
    return "\n".join(lines) + "\n"


def _draw_options(rng: np.random.Generator, name: str) -> list[str]:
    """Return random options of a command, with random values."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    candidates = [p for p in command.params if isinstance(p, click.Option)]
    candidates = [p for p in candidates if not _EXCLUDED_OPTIONS.intersection(p.opts)]
    options = []
    for index in rng.choice(len(candidates), min(len(candidates), rng.integers(4)), replace=False):
        option = candidates[index]
        flag = str(rng.choice([o for o in [*option.opts, *option.secondary_opts] if o[1] == "-"]))
        options.append(flag if option.is_flag else f"{flag}={_draw_value(rng, option)}")
    return options


def _draw_value(rng: np.random.Generator, option: click.Option) -> str:
    choices = [text for text in getattr(option.type, "choices", ()) if text]
    values = [_NUMBERS, _NUMBERS, _NAMES, choices or _NAMES][rng.integers(4)]
    if "--passes" in option.opts:
        values = [text for text in _NUMBERS if len(text) < 5]
    return ",".join(map(str, rng.choice(values, 1 + (rng.random() < 0.25))))
