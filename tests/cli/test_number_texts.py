"""Numbers with separators, currency signs or units: the command in the hint converts them."""

from __future__ import annotations

import json
import re
import subprocess

import numpy as np
import pytest
from helpers import capture_state, require_tool

from stream_perceptron import LiveModel


def format_grouped(number, separator, point="."):
    whole, _, decimals = f"{number:.2f}".partition(".")
    whole = re.sub(r"(?<=\d)(?=(\d{3})+$)", separator, whole)
    return f"{whole}{point}{decimals}"


# Functions that write a number, and the options for learning the output of the hint's command.
STYLES = {
    "thousands": (lambda x: format_grouped(x, ","), []),
    "currency sign": (lambda x: f"${x:.2f}", []),
    "currency sign and thousands": (lambda x: "$" + format_grouped(x, ","), []),
    "euro sign at the end": (lambda x: f"{x:.2f} €", []),
    "percent": (lambda x: f"{x:.2f} %", []),
    "percent without a space": (lambda x: f"{x:.2f}%", []),
    "kilograms": (lambda x: f"{x:.2f} kg", []),
    "spaces and a decimal comma": (lambda x: format_grouped(x, " ", ","), ["--decimal", ","]),
    "no-break spaces": (lambda x: format_grouped(x, "\u00a0"), []),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_command_in_the_hint_converts_the_numbers(form, style, tmp_path, run, rng):
    require_tool("jq")
    write_number, options = STYLES[style]
    n = 60
    numbers = np.round(rng.uniform(0, 2_000_000, n), 2)
    numbers[:2] = 1_234.5, 1_234_567.0
    b_values, labels = rng.integers(0, 9, n).tolist(), rng.choice(["x", "y"], n).tolist()
    rows = list(zip(map(write_number, numbers.tolist()), b_values, labels, strict=True))
    source, plain = tmp_path / f"s.{form}", tmp_path / f"plain.{form}"
    if form == "csv":
        cells = [f'"{text}"' if "," in text else text for text, _, _ in rows]
        delimiter = ";" if options else ","
        head = delimiter.join(["price", "b", "label"])
        lines = [
            delimiter.join([cell, str(b), y]) for cell, (_, b, y) in zip(cells, rows, strict=True)
        ]
        source.write_text("\n".join([head, *lines]) + "\n")
    else:
        options = []
        objects = [{"price": text, "b": b, "label": y} for text, b, y in rows]
        source.write_text("".join(f"{json.dumps(row_object)}\n" for row_object in objects))
    plain_rows = zip(numbers.tolist(), b_values, labels, strict=True)
    objects = [{"price": x, "b": b, "label": y} for x, b, y in plain_rows]
    plain_text = "".join(f"{json.dumps(row_object)}\n" for row_object in objects)
    if form == "csv":
        plain_text = "price,b,label\n" + "".join(
            f"{o['price']},{o['b']},{o['label']}\n" for o in objects
        )
    plain.write_text(plain_text)

    shown = run("learn", source, check=0).stderr
    (command,) = re.findall(r"hint: 'price' has numbers with .*; to convert them: (.*)", shown)
    command = command.removesuffix(" (and learn with --decimal ,)")
    with (tmp_path / f"converted.{form}").open("w") as file:
        subprocess.run(["bash", "-c", f"{command} {source}"], stdout=file, check=True)
    models = [tmp_path / "converted.npz", tmp_path / "plain.npz"]
    run("learn", tmp_path / f"converted.{form}", "-m", models[0], *options, check=0)
    run("learn", plain, "-m", models[1], check=0)

    converted_model, plain_model = (LiveModel.load(path).model for path in models)
    assert capture_state(converted_model) == capture_state(plain_model)
    assert "--one-hot price" not in shown


@pytest.mark.parametrize(
    "texts",
    [["red", "12 kg"], ["12 kg", "3 mm"], ["1.2.3", "4.5.6"], ["1,2,3", "4"], ["12", "7.5"]],
)
def test_other_texts_get_no_conversion_hint(texts, tmp_path, run):
    source = tmp_path / "s.csv"
    lines = [f'"{text}",{i},x' for i, text in enumerate(texts)]
    source.write_text("\n".join(["t,b,label", *lines]) + "\n")

    assert "has numbers with" not in run("learn", source, check=0).stderr
