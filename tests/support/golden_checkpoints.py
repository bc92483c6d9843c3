"""The golden checkpoints, which every later version of the program reads.

Run this file after a change of FORMAT_VERSION: it writes a folder with those of the new version.
Existing folders never change.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from helpers import COMMAND, write_csv, write_jsonl

from stream_perceptron import RecordEncoder, SGDPerceptron, Standardizer, save, stream
from stream_perceptron.checkpoint.migrations import FORMAT_VERSION

FOLDER = Path(__file__).parents[1] / "golden" / "checkpoints"
N_ROWS, N_LEARNED = 60, 35
# All settings are given, since a later version may have other defaults.
_SETTINGS = ["--seed", "7", "--epsilon", "3e-6", "--init-range", "0.03"]
# The source of each checkpoint and the options with which it was learned, up to N_LEARNED rows.
CASES = {
    "table": ("table.csv", [*_SETTINGS, "--lr", "0.5:0.1", "--class-weight", "balanced"]),
    "digits": ("digits.parquet", [*_SETTINGS, "--lr", "0.01"]),
    "late labels": ("late.jsonl", [*_SETTINGS, "--lr", "0.1", "--join", "id"]),
    "offsets": ("offsets.jsonl", [*_SETTINGS, "--lr", "0.5:0.4", "--position", "part,offset"]),
}
PYTHON_MODEL, PYTHON_SOURCE = "python.npz", "table.csv"


def build_pipeline() -> object:
    """Return the pipeline that is saved in Python, before it learns."""
    model = SGDPerceptron(0.1, 3e-6, init_range=0.03, seed=7)
    return RecordEncoder(categorical=["code"], missing=["NA"]) | Standardizer() | model


def read_samples(folder: Path) -> list[tuple[object, ...]]:
    """Return the samples that the pipeline learns."""
    return list(stream.iter_source(folder / PYTHON_SOURCE, categorical=["code"]))


def _write_sources(folder: Path) -> None:
    rng = random.Random(7)
    colors, notes = ["red", "blue", ""], ["a long note about it", "NA", "short"]
    rows = [
        [
            rng.choice(colors), rng.randrange(9), f"2024-03-{1 + i % 28:02}", rng.choice(notes),
            round(rng.random(), 3), "uvw"[i % 3 if i % 4 else 0],
        ]
        for i in range(N_ROWS)
    ]  # fmt: skip
    write_csv(folder / "table.csv", ["color", "code", "on", "note", "x", "label"], rows)
    images = [[rng.randrange(256) for _ in range(9)] for _ in range(N_ROWS)]
    columns = {
        "pixels": pa.array(images, pa.list_(pa.uint8())),
        "label": [i % 4 for i in range(60)],
    }
    pq.write_table(pa.table(columns), folder / "digits.parquet")
    late: list[dict[str, object]] = []
    for i in range(N_ROWS // 2):
        late.append({"id": i, "a": i % 5, "b": "q"})
        late += [{"id": i - 6, "label": "xy"[i % 2]}] if i >= 6 else []
    write_jsonl(folder / "late.jsonl", late)
    offsets = [
        {
            "part": i % 2,
            "offset": i // 2,
            "tags": ["a", "bc"[i % 2]],
            "z": i % 7,
            "label": i % 3 == 0,
        }
        for i in range(N_ROWS)
    ]
    write_jsonl(folder / "offsets.jsonl", offsets)


def write_checkpoints(folder: Path) -> None:
    """Write the sources, and the checkpoints of models that have learned a part of them."""
    _write_sources(folder)
    for name, (source, options) in CASES.items():
        path = folder / f"{name}.npz"
        command = [COMMAND, "learn", folder / source, "-m", path, "--limit", str(N_LEARNED), "-q"]
        subprocess.run([*command, *options], check=True)
        for suffix in (".lock", ".prev"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    pipeline = build_pipeline()
    for x, y in read_samples(folder)[:N_LEARNED]:
        pipeline.learn_one(x, y)
    save(pipeline, folder / PYTHON_MODEL, {"offset": N_LEARNED})


if __name__ == "__main__":
    target = FOLDER / str(FORMAT_VERSION)
    if target.exists():
        sys.exit(f"{target} exists: golden checkpoints never change")
    # The models store the paths of their sources.
    written = Path("/tmp/golden-checkpoints")
    written.mkdir()
    write_checkpoints(written)
    shutil.move(written, target)
