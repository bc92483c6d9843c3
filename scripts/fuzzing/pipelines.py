"""Forged River pipelines: rejected with a one-line message, or loaded; nothing is imported."""

from __future__ import annotations

import io
import json
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import change_json
from helpers import forge_archive, read_members
from river_pipelines import STEPS, draw_samples
from running import IS_SANITIZED, require_displayable

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint import objects
from stream_perceptron.diagnostics.report import report

_BYTES = 2**32  # of address space, without sanitizers
_imported: list[str] = []


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Forge the steps of a pipeline, and use them as commands do if they are accepted."""
    members = dict(_build_members(list(STEPS)[rng.integers(len(STEPS))]))
    meta = json.loads(members["meta.json"])
    for _ in range(rng.integers(1, 4)):
        meta |= json.loads(change_json(rng, json.dumps({"steps": meta["steps"]}).encode()))
    steps = json.dumps(meta["steps"])
    if rng.integers(20) == 0:
        steps = _nest_steps(rng, int(rng.integers(2000)))
    text = json.dumps(meta | {"steps": "forged"}).replace('"forged"', steps, 1)
    members["meta.json"] = text.encode()
    model, message = None, ""
    _imported.clear()
    try:
        model = load(io.BytesIO(forge_archive(members.items()))).model
    except CheckpointError as error:
        message = str(error)
    assert not _imported, _imported
    if model is None:
        assert "\n" not in message
        return "rejected"
    try:
        _use_model(model, rng.integers(30) == 0, folder / "m.npz")
    except MemoryError:
        raise
    except Exception as error:  # the attributes do not fit the steps; commands report it
        return f"accepted, but {type(error).__name__}"
    return "accepted"


def _use_model(model: Any, writes_report: bool, path: Path) -> None:
    """Save, load and inspect a model."""
    save(model, path)
    live = LiveModel.load(path)
    require_displayable(live)
    if writes_report:
        report(live, "m.npz")


def _nest_steps(rng: np.random.Generator, depth: int) -> str:
    """Return the JSON of steps nested in steps or in lists."""
    start = '{"object":{"objects":["compose.'
    wraps = [
        (f'{start}TransformerUnion",["transformers"],[[{{"dict":[["u"],[', "]]}]]]}}"),
        (f'{start}Pipeline",["steps"],[[{{"dict":[["u"],[', "]]}]]]}}"),
        ("[", "]"),
    ][: rng.integers(1, 4)]
    chosen = [wraps[rng.integers(len(wraps))] for _ in range(depth)]
    inner = f'{start}Select",["keys"],[[{{"set":["u"]}}]]]}}}}'
    step = "".join(begin for begin, _ in chosen) + inner
    step += "".join(end for _, end in reversed(chosen))
    return f'{{"dict":[["u","SGDPerceptron"],[{step},null]]}}'


@cache
def _build_members(name: str) -> dict[str, bytes]:
    """Return the members of a trained pipeline's checkpoint, after importing what River needs."""
    model, file = STEPS[name]() | SGDPerceptron(0.1, seed=0), io.BytesIO()
    for x, y in draw_samples(20):
        model.learn_one(x, y)
    save(model, file)
    load(io.BytesIO(file.getvalue()))
    for module in objects._CLASSES:
        objects._import(module)
    return read_members(file)


def _record_import(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] not in sys.modules:
        _imported.append(arguments[0])


sys.addaudithook(_record_import)
if not IS_SANITIZED:
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
