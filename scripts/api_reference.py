"""Write docs/api.md from the docstrings of the public classes and functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import stream_perceptron
from stream_perceptron import data, datasets, diagnostics, distributed, live, stream
from stream_perceptron import verification as verify_module
from stream_perceptron.live import drift

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

_INTRODUCTION = """# API reference

`scripts/update_docs` creates this page from the docstrings. [Python](python.md) is an introduction.
"""
_ENTRIES = ("Parameters", "Attributes", "Raises")  # sections that list names with descriptions
_FIRST = "SGDPerceptron", "save", "load", "LoadedModel", "Standardizer", "sweep", "Trial"
_MODULES: dict[Any, list[str]] = {
    stream_perceptron: [*_FIRST, *(n for n in stream_perceptron.__all__ if n not in _FIRST)],
    stream: ["iter_parquet", "iter_source"],
    diagnostics: ["diagnose", "Finding", "FindingCode"],
    live: ["learn", "predict", "StepResult", "Progress"],
    drift: ["DriftEvent"],
    verify_module: ["verify"],
    distributed: list(distributed.__all__),
    data: ["open_source", "ReadOptions"],
    datasets: list(datasets.__all__),
}


def render() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for module, names in _MODULES.items():
        parts.append(f"## {module.__name__}\n")
        for name in names:
            if not name.startswith("_"):
                parts += _describe(getattr(module, name), name, 3)
    return "\n".join(parts)


def _describe(thing: Any, name: str, level: int) -> Iterator[str]:
    """Yield the parts of an object's description; those of a class include its public methods."""
    is_class = inspect.isclass(thing)
    yield f"{'#' * level} {name}\n"
    if not (is_class and issubclass(thing, str | Exception)) and not isinstance(thing, property):
        signature = re.sub(r"'([\w.|\[\], ]+)'", r"\1", str(inspect.signature(thing)))
        signature = re.sub(r"<function .*? at 0x\w+>", "...", signature)
        yield f"    {name.rpartition('.')[2]}{signature}\n"
    yield from _convert_docstring(inspect.getdoc(thing) or "")
    if is_class and issubclass(thing, Enum):
        yield f"**Members**: {', '.join(f'`{member.name}`' for member in thing)}\n"
    for key, member in vars(thing).items() if is_class else ():
        function = getattr(member, "__func__", member)
        is_public = inspect.isfunction(function) or isinstance(member, property)
        if is_public and not key.startswith("_") and inspect.getdoc(function):
            yield from _describe(function, f"{name}.{key}", level + 1)


def _convert_docstring(text: str) -> Iterator[str]:
    """Yield the paragraphs of a numpydoc docstring as Markdown."""
    title, *sections = re.split(r"(?m)^(\w+)\n-+\n", text)
    if title.strip():
        yield f"{title.strip()}\n"
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        yield f"**{name}**\n"
        if name in _ENTRIES:
            entries = re.split(r"(?m)^(?=\S)", body)
            pairs = (entry.partition("\n") for entry in entries if entry.strip())
            yield "".join(_format_entry(name, _join(text)) for name, _, text in pairs)
        elif name == "Examples":
            yield "".join(f"    {line}".rstrip() + "\n" for line in body.strip().split("\n"))
        else:
            yield f"{inspect.cleandoc(body).strip()}\n"


def _format_entry(name: str, description: str) -> str:
    """Return a bullet for a parameter, an attribute or an exception."""
    return f"- `{name.strip()}`: {description}\n" if description else f"- {name.strip()}\n"


def _join(text: str) -> str:
    """Join the lines of a description."""
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(render())
