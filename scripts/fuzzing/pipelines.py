"""Forged River pipelines: refused in one line, or fully usable; nothing is imported."""

from __future__ import annotations

import io
import json
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import changed_json
from running import IS_SANITIZED, require_shown

from stream_perceptron import CheckpointError, LiveModel, SampleError, SGDPerceptron, load, save
from stream_perceptron.diagnostics.report import report

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "checkpoint"))
from helpers import forge, members_of
from test_pipelines import STEPS, go_on, rows

_BYTES = 2**32  # of addresses, of which sanitizers need more
_imported: list[str] = []


def case(rng: np.random.Generator, folder: Path) -> str:
    """Forge the steps of a pipeline, and continue to learn if accepted."""
    members = dict(_learned(list(STEPS)[rng.integers(len(STEPS))]))
    meta = json.loads(members["meta.json"])
    for _ in range(rng.integers(1, 4)):
        meta |= json.loads(changed_json(rng, json.dumps({"steps": meta["steps"]}).encode()))
    steps = json.dumps(meta["steps"])
    is_nested = rng.integers(20) == 0
    if is_nested:
        steps = _nested(rng, int(rng.integers(2000)))
    text = json.dumps(meta | {"steps": "forged"}).replace('"forged"', steps, 1)
    members["meta.json"] = text.encode()
    model, refused = None, ""
    _imported.clear()
    try:
        model = load(io.BytesIO(forge(members.items()))).model
    except CheckpointError as error:
        refused = str(error)
    assert not _imported, _imported
    if model is None:
        assert "\n" not in refused
        return "refused"
    once, again = io.BytesIO(), io.BytesIO()
    save(model, once)
    save(load(io.BytesIO(once.getvalue())).model, again)
    assert once.getvalue() == again.getvalue(), "saved again it has other bytes"
    path = folder / "m.npz"
    path.write_bytes(once.getvalue())
    live = LiveModel.load(path)
    require_shown(live)
    if rng.integers(30) == 0:
        report(live, "m.npz")
    error = _error_of(model)
    if error is None:
        return "accepted"
    # The rows do not fit the steps: the perceptron refuses what they make of them, or a new
    # pipeline of the same steps fails too. River takes exponential time to clone nested unions.
    assert isinstance(error, SampleError) or is_nested or _error_of(model.clone()), repr(error)
    return f"accepted, but {type(error).__name__}"


def _error_of(model: Any) -> Exception | None:
    """Learn on; return the error that River raises, if any."""
    try:
        go_on(model, 3)
    except MemoryError:
        raise
    except Exception as error:
        return error
    return None


def _nested(rng: np.random.Generator, depth: int) -> str:
    """Return steps within steps, or within lists."""
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
def _learned(name: str) -> dict[str, bytes]:
    """Return the members of a checkpoint; imports all of River first."""
    model, file = STEPS[name]() | SGDPerceptron(0.1, seed=0), io.BytesIO()
    for x, y in rows(20):
        model.learn_one(x, y)
    save(model, file)
    load(io.BytesIO(file.getvalue()))
    return members_of(file)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] not in sys.modules:
        _imported.append(arguments[0])


sys.addaudithook(_hear)
if not IS_SANITIZED:
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
