"""Forged River pipelines: rejected with a one-line message, or usable; nothing is imported."""

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
from river_pipelines import STEPS, draw_samples, predict_and_learn
from running import IS_SANITIZED, require_displayable

from stream_perceptron import CheckpointError, LiveModel, SampleError, SGDPerceptron, load, save
from stream_perceptron.diagnostics.report import report

_BYTES = 2**32  # of address space, without sanitizers
_imported: list[str] = []


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Forge the steps of a pipeline, and train it further if they are accepted."""
    members = dict(_build_members(list(STEPS)[rng.integers(len(STEPS))]))
    meta = json.loads(members["meta.json"])
    for _ in range(rng.integers(1, 4)):
        meta |= json.loads(change_json(rng, json.dumps({"steps": meta["steps"]}).encode()))
    steps = json.dumps(meta["steps"])
    is_nested = rng.integers(20) == 0
    if is_nested:
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
    once, again = io.BytesIO(), io.BytesIO()
    save(model, once)
    save(load(io.BytesIO(once.getvalue())).model, again)
    assert once.getvalue() == again.getvalue(), "saving again changed the bytes"
    path = folder / "m.npz"
    path.write_bytes(once.getvalue())
    live = LiveModel.load(path)
    require_displayable(live)
    if rng.integers(30) == 0:
        report(live, "m.npz")
    error = _catch_error(model)
    if error is None:
        return "accepted"
    # The rows do not fit the steps: the perceptron rejects the transformed rows, or a new pipeline
    # with the same steps fails, too. River takes exponential time to clone nested unions.
    assert isinstance(error, SampleError) or is_nested or _catch_error(model.clone()), repr(error)
    return f"accepted, but {type(error).__name__}"


def _catch_error(model: Any) -> Exception | None:
    """Train a model further; return the error that River raises, or None."""
    try:
        predict_and_learn(model, 3)
    except MemoryError:
        raise
    except Exception as error:
        return error
    return None


def _nest_steps(rng: np.random.Generator, depth: int) -> str:
    """Return the JSON of steps nested in steps or in lists."""
    wraps = [
        ('{"class":"compose.TransformerUnion","state":{"transformers":{"dict":[["u",', "]]}}}"),
        ('{"class":"compose.Pipeline","state":{"steps":{"dict":[["u",', "]]}}}"),
        ("[", "]"),
    ][: rng.integers(1, 4)]
    chosen = [wraps[rng.integers(len(wraps))] for _ in range(depth)]
    inner = '{"class":"compose.Select","state":{"keys":{"set":["u"]}}}'
    step = "".join(begin for begin, _ in chosen) + inner
    step += "".join(end for _, end in reversed(chosen))
    return f'{{"dict":[["u",{step}],["SGDPerceptron",null]]}}'


@cache
def _build_members(name: str) -> dict[str, bytes]:
    """Return the members of a trained pipeline's checkpoint, after importing what River needs."""
    model, file = STEPS[name]() | SGDPerceptron(0.1, seed=0), io.BytesIO()
    for x, y in draw_samples(20):
        model.learn_one(x, y)
    save(model, file)
    load(io.BytesIO(file.getvalue()))
    return read_members(file)


def _record_import(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] not in sys.modules:
        _imported.append(arguments[0])


sys.addaudithook(_record_import)
if not IS_SANITIZED:
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
