"""The data for the benchmarks, written once in each form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import BENCH, DATA

from stream_perceptron.datasets import mnist

PIXELS = [f"pixel{i}" for i in range(784)]
DECIMALS = [f"{v / 255:.4f}" if v else "0" for v in range(256)]

Line = Callable[[Any, Any], str]  # formats a label and a row
Form = tuple[str, Line] | tuple[str, Line, str]  # the file's suffix, the line format, the header


def mnist_file(part: str = "train") -> Path:
    """Return the path of a Parquet file with MNIST's digits; download it if it is missing."""
    path = DATA / f"mnist-{part}.parquet"
    if not path.exists():
        mnist.fetch("mnist", DATA)
    return path


def load_digits() -> tuple[np.ndarray, list[int]]:
    """Return the 60,000 training digits of MNIST: pixels (60,000, 784) and labels."""
    table = pq.read_table(mnist_file())
    pixels = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    return pixels.reshape(-1, 784), table["label"].to_pylist()


def prepare_file(name: str, write: Callable[[Any], Any]) -> Path:
    """Return the path of a file; write it if it is missing."""
    path = BENCH / name
    if not path.exists():
        BENCH.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".partial")
        with partial_path.open("wb") as file:
            write(file)
        partial_path.rename(path)
    return path


def prepare_files(
    stem: str, rows: Callable[[], Iterable[tuple[Any, Any]]], forms: dict[str, Form]
) -> dict[str, Path]:
    """Return, for each form, the path of a file with these labels and rows."""

    def write(file: Any, line: Line, header: str) -> None:
        file.write(header.encode())
        file.writelines(line(y, x).encode() + b"\n" for y, x in rows())

    return {
        form: prepare_file(stem + end, partial(write, line=line, header="".join(header)))
        for form, (end, line, *header) in forms.items()
    }


def format_csv(y: Any, row: Iterable[Any]) -> str:
    return ",".join([str(y), *map(str, row)])


def format_pairs(row: Iterable[Any]) -> str:
    return " ".join([f"{i}:{v}" for i, v in enumerate(row) if v != "0" and v])


def format_json(y: Any, row: Iterable[Any], label: str = "label") -> str:
    inside = [f'"{name}": {v}' for name, v in zip(PIXELS, row, strict=True)]
    return f'{{"{label}": {y}, ' + ", ".join(inside) + "}"


def format_decimals(row: list[int]) -> list[str]:
    return [DECIMALS[v] for v in row]


def prepare_digits() -> dict[str, Path]:
    """Return files of the training digits in the forms read from pipes, by name."""
    scaled, header = [f"{v / 255:.6g}" for v in range(256)], format_csv("label", PIXELS) + "\n"

    def rows() -> Iterator[tuple[int, list[int]]]:
        pixels, labels = load_digits()
        return zip(labels, pixels.tolist(), strict=True)

    def write_arrow(file: Any) -> None:
        table = pq.read_table(mnist_file())
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, 1000)

    forms: dict[str, Form] = {
        "csv body": ("-body.csv", format_csv),
        "csv": (".csv", format_csv, header),
        "csv, decimals": ("-decimals.csv", lambda y, x: format_csv(y, format_decimals(x)), header),
        "json, list": ("-list.jsonl", lambda y, x: json.dumps({"x": x, "y": y})),
        "json, flat": ("-flat.jsonl", format_json),
        "json, flat, decimals": (
            "-decimals.jsonl",
            lambda y, x: format_json(y, format_decimals(x)),
        ),
        "libsvm": (".libsvm", lambda y, x: f"{y} {format_pairs(x)}"),
        "libsvm, decimals": (
            "-decimals.libsvm",
            lambda y, x: f"{y} {format_pairs(format_decimals(x))}",
        ),
        "vw text": (".vw", lambda y, x: f"{y + 1} | {format_pairs([scaled[v] for v in x])}"),
        "vw json": ("-vw.jsonl", lambda y, x: format_json(y + 1, x, "_label")),
        # VW's parser ends a class only at a space, not at a comma.
        "vw csv": ("-vw.csv", lambda y, x: format_csv(f"{y + 1} ", x), f"_{header}"),
    }
    files = prepare_files("digits", rows, forms)
    return {"arrow": prepare_file("digits.arrows", write_arrow), **files}


def prepare_bags() -> dict[str, Path]:
    """Return files of 200,000 bags of about 20 words out of 50,000, by the name of the form."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        rng = np.random.default_rng(0)
        words = [f"w{i:x}" for i in rng.permutation(50_000).tolist()]
        of_class = rng.permutation(50_000)  # words that are more frequent in one class
        for label in rng.integers(0, 2, 200_000).tolist():
            ids = rng.zipf(1.3, 20) % 50_000
            ids = np.where(rng.random(20) < 0.3, of_class[(ids % 25_000) + 25_000 * label], ids)
            yield label, [words[i] for i in dict.fromkeys(ids.tolist())]

    forms: dict[str, Form] = {
        "libsvm": (".libsvm", lambda y, bag: " ".join([f"{y}", *(f"{word}:1" for word in bag)])),
        "json": (
            ".jsonl", lambda y, bag: json.dumps({"label": y, "features": dict.fromkeys(bag, 1)})
        ),
        "vw text": (".vw", lambda y, bag: f"{2 * y - 1} | {' '.join(bag)}"),
    }  # fmt: skip
    return prepare_files("bags", rows, forms)


def prepare_long_numbers() -> dict[str, Path]:
    """Return files of 200,000 rows with 20 numbers of 17 digits, by the name of the form."""
    values = np.random.default_rng(0).normal(size=(200_000, 20))
    labels = (values[:, :4].sum(axis=1) > 0).astype(int).tolist()
    names = [f"x{i}" for i in range(20)]

    def rows() -> Iterator[tuple[int, list[str]]]:
        for label, row in zip(labels, values.tolist(), strict=True):
            yield label, [f"{value:.17g}" for value in row]

    def format_named(row: list[str]) -> str:
        return " ".join([f"{name}:{value}" for name, value in zip(names, row, strict=True)])

    forms: dict[str, Form] = {
        "csv": (".csv", format_csv, format_csv("label", names) + "\n"),
        "libsvm": (".libsvm", lambda y, x: f"{y} {format_named(x)}"),
        "vw text": (".vw", lambda y, x: f"{2 * y - 1} | {format_named(x)}"),
    }
    return prepare_files("long", rows, forms)
