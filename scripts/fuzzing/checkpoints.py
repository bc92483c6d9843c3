"""Forged checkpoints with a valid digest: rejected in one line by `load` or by a command."""

from __future__ import annotations

import copy
import io
import json
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from helpers import encode_npy, forge_archive, read_members
from running import require_displayable, require_single_line, run_command

from stream_perceptron import (
    CheckpointError,
    LiveModel,
    RecordEncoder,
    SGDPerceptron,
    Standardizer,
    StreamPerceptronError,
    save,
)
from stream_perceptron.checkpoint import encoding
from stream_perceptron.checkpoint.archive import _COMMENT_LENGTH, _build_comment
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.diagnostics.report import render_report
from stream_perceptron.live.loop import learn, predict
from stream_perceptron.verification import verify

warnings.simplefilter("ignore")  # NumPy warns about the nonsense in forged arrays

_COMMANDS = {
    "inspect": ["m.npz"], "report": ["m.npz", "-o", "r.html"], "verify": ["m.npz", "s.jsonl"],
    "predict": ["s.jsonl", "-m", "m.npz"], "evaluate": ["s.jsonl", "-m", "m.npz"],
    "learn": ["s.jsonl", "-m", "m.npz", "-p", "-", "--skip-bad"],
}  # fmt: skip

_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 2**31, 2**63, 2**200, 0.5, -0.0, 1e308, 5e-324, "", "a", "\0", "int",
    "sigmoid", "float64", [], [0], [[]], [["a"]], {}, {"a": 1}, {"date": "2026-01-01"}, 10**400,
    "1e999", "os.system", "FuncTransformer", "get", "__class__",
    {"object": ["Optimal", {"loss": 1, "alpha": 1e-300}]}, {"object": ["os.system", {}]},
    {"dict": [[1], [2]]},
)  # fmt: skip


_imported: list[str] = []


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Forge a checkpoint, and use it if it is accepted."""
    path = folder / "m.npz"
    name, members = _load_golden()[rng.integers(len(_load_golden()))]
    members = dict(members)
    for _ in range(rng.integers(1, 3)):
        _change_member(rng, members)
    path.write_bytes(_damage_directory(rng, forge_archive(members.items())))
    _imported.clear()
    try:
        live = LiveModel.load(path)
    except CheckpointError as error:
        require_single_line(error, f"{path}: ")
        return "rejected"
    finally:
        assert not _imported, _imported
    model = live.model
    assert model.weights.shape == (len(model.classes_), len(model.features_))
    assert np.isfinite(model.weights).all()
    data = folder / "s.jsonl"
    row = {"label": "left", **{str(name): 1.0 for name in model.features_[:3]}}
    data.write_text(f"{json.dumps(row)}\n" * 3)
    if rng.integers(10) == 0:
        command = list(_COMMANDS)[rng.integers(len(_COMMANDS))]
        return f"{command} {run_command([command, *_COMMANDS[command]], folder)}"
    try:
        _use_model(live, path, data)
    except MemoryError:
        raise
    except Exception as error:  # commands report it in one line
        return f"{name} accepted, but {type(error).__name__}"
    return f"{name} accepted"


def _use_model(live: LiveModel, path: Path, data: Path) -> None:
    """Inspect a forged model, and predict and learn with it."""
    require_displayable(live)
    render_report({"m.npz": live})
    if live.part_not_in_sources is not None:
        return
    with suppress(StreamPerceptronError):  # large weights may make net inputs infinite
        live.model.predict_one(dict.fromkeys(live.model.features_, 1.0))
    sources = [open_source(str(data), "jsonl")]
    try:
        for _ in predict(live, sources[0]):
            pass
        for _ in learn(live, sources, passes=2, skip_rejected=True):
            pass
    except StreamPerceptronError:
        pass  # the checkpoint belongs to other data
    live.save(path)
    LiveModel.load(path)
    with suppress(StreamPerceptronError):  # the model's sources are missing
        verify(live, sources)


def _damage_directory(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a checkpoint; one in ten has damaged bytes in its directory, but a valid digest."""
    if rng.integers(10):
        return data
    body = bytearray(data[:-_COMMENT_LENGTH])
    for _ in range(rng.integers(1, 4)):
        body[-int(rng.integers(1, 300))] = rng.integers(256)
    return bytes(body) + _build_comment(body)


@cache
def _load_golden() -> list[tuple[str, dict[str, bytes]]]:
    with tempfile.TemporaryDirectory() as folder:
        data, path = Path(folder, "s.jsonl"), Path(folder, "m.npz")
        rows = [{"id": i, "a": i / 2, "c": "red", "d": "2024-03-05", "e": "new"} for i in range(9)]
        rows += [{"id": i, "label": "left"} for i in range(4)]
        data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        read_options = ReadOptions(join="id", categorical=("c",))
        live = LiveModel.start([open_source(str(data))], read_options, class_weight="balanced")
        for _ in learn(live, [open_source(str(data))]):
            pass
        live.save(path)
        pending = read_members(path)
        save(SGDPerceptron(seed=0, classes=["left", 2]), path)
        forged = [("run", pending), ("model", read_members(path))]
        pipeline = RecordEncoder() | Standardizer() | SGDPerceptron(seed=0)
        for i in range(20):
            pipeline.learn_one({"a": i, "c": "red"}, i % 2)
        save(pipeline, path)
        forged.append(("pipeline", read_members(path)))
        for module in encoding._CLASSES:
            import_module(module)
        return forged


def _record_import(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] not in sys.modules:
        _imported.append(arguments[0])


sys.addaudithook(_record_import)


def _change_member(rng: np.random.Generator, members: dict[str, bytes]) -> None:
    name = str(rng.choice(sorted(members)))
    action = rng.integers(10)
    if action == 0:
        del members[name]
        members.setdefault("meta.json", b"{}")
    elif action == 1:
        data = bytearray(members[name])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        members[name] = bytes(data)
    elif action < 8 or name == "meta.json":
        members["meta.json"] = change_json(rng, members["meta.json"])
    else:
        members[name] = encode_npy(_change_array(rng, members[name]))


def change_json(rng: np.random.Generator, data: bytes) -> bytes:
    """Change or delete a part of the JSON, or replace it with another value or part."""
    try:
        meta = json.loads(data)
    except ValueError:
        return data
    positions: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        keys = part.keys() if isinstance(part, dict) else range(len(part))
        for key in keys:
            positions.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    if not isinstance(meta, dict | list) or not meta:
        return data
    walk(meta)
    part, key = positions[rng.integers(len(positions))]
    action = rng.integers(4)
    if action == 0:
        del part[key]
    elif action == 1:
        other, other_key = positions[rng.integers(len(positions))]
        part[key] = copy.deepcopy(other[other_key])
    elif action == 2 and type(part[key]) in (int, float):
        part[key] += int(rng.integers(-2, 3))
    else:
        part[key] = _VALUES[rng.integers(len(_VALUES))]
    if rng.integers(5) == 0:
        with suppress(AttributeError, LookupError, TypeError, ValueError):  # if there is no history
            entries = meta["state"]["history"]["entries"]
            for _ in range(rng.integers(100)):
                entries[:] = [dict(entries[0]) | {"models": [entries[:1]]}]
    return json.dumps(meta).replace('"1e999"', "1e999").encode()


def _change_array(rng: np.random.Generator, data: bytes) -> np.ndarray[Any, Any]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # NumPy raises many types of errors for a damaged header
        return np.zeros(1)
    action = rng.integers(4)
    if action == 0:
        return np.zeros(tuple(rng.integers(0, 4, rng.integers(0, 4)).tolist()), array.dtype)
    if action == 1:
        return np.asarray(array.astype(str(rng.choice(["f4", "f8", "i8", "i1", "u8", "?"]))))
    if action == 2:
        return np.asarray(array.T)
    array = array.copy()
    if array.size:
        array.flat[rng.integers(array.size)] = rng.choice(
            [0, 1, -1, 7, 127, 1e308] if array.dtype == np.float64 else [0, 1, -1, 7, 127]
        )
    return np.asarray(array)
