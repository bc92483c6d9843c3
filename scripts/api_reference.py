"""Write docs/api.md from the docstrings of the public classes and functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
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
_FIRST = (
    "SGDPerceptron", "FallingRate", "RecordEncoder", "Standardizer", "save", "load", "LoadedModel",
    "sweep", "Trial", "LiveModel", "open_source", "diagnose",
)  # fmt: skip
_MODULES: dict[Any, list[str]] = {
    stream_perceptron: [*_FIRST, *(n for n in stream_perceptron.__all__ if n not in _FIRST)],
    stream: ["iter_parquet", "iter_source"],
    diagnostics: [
        "Finding", "FindingCode", "check_update", "work_sample", "render_report"
    ],
    live: ["learn", "predict", "StepResult", "Progress"],
    drift: ["DriftEvent"],
    verify_module: ["verify"],
    distributed: ["average"],
    data: ["ReadOptions"],
    datasets: ["fetch", "sample_path"],
}  # fmt: skip
# The members that users need, for classes that have others, too.
_MEMBERS = {
    "SGDPerceptron": "learn_one predict_one predict_proba_one debug_one learn_many predict_many "
    "predict_proba_many test_then_train",
    "Trial": "model progress accuracy kappa has_ended",
    "LiveModel": "start load save step predict",
    "Progress": "samples unlabeled skipped updates missing events rows accuracy window_accuracy "
    "mean_error updated_share compute_metrics compute_figures",
    "DriftEvent": "kind row sample found before after",
    "ReadOptions": "label weight ignore scale position standardize categorical missing delimiter "
    "decimal join max_pending keep",
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
    fields = dict(_find_fields(thing)) if is_class and is_dataclass(thing) else {}
    members = _MEMBERS.get(name, "").split() or [*fields, *(vars(thing) if is_class else ())]
    yield f"{'#' * level} {name}\n"
    is_called = not (is_class and (fields or issubclass(thing, str | Exception)))
    if is_called:
        signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(thing)))
        signature = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", signature)
        signature = re.sub(r"<function .*? at 0x\w+>", "...", signature)
        yield f"    {name.rpartition('.')[2]}{signature}\n"
    text = inspect.getdoc(thing) or ""
    if is_class and issubclass(thing, Exception):
        text = text.partition("Examples\n")[0]
    yield from _convert_docstring(text)
    if shown := [field for field in fields if field in members]:
        yield "**Attributes**\n"
        yield "".join(_format_entry(field, fields[field]) for field in shown)
    if is_class and issubclass(thing, Enum):
        yield f"**Members**: {', '.join(f'`{member.name}`' for member in thing)}\n"
    public = {
        key: getattr(member, "__func__", member)
        for key, member in (vars(thing).items() if is_class else ())
        if key in members and not key.startswith("_") and inspect.getdoc(member)
    }
    if properties := {key: x for key, x in public.items() if isinstance(x, property)}:
        yield "**Properties**\n"
        yield "".join(_format_entry(key, _join(x.__doc__)) for key, x in properties.items())
    for key, member in public.items():
        if inspect.isfunction(member):
            yield from _describe(member, f"{name}.{key}", level + 1)


def _find_fields(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the name and the comment of each field of a dataclass whose docstring lacks them."""
    if "Attributes\n---" in (inspect.getdoc(cls) or ""):
        return
    comments: list[str] = []
    for line in inspect.getsource(cls).splitlines():
        code, _, comment = line.partition("# ")
        comments.append(comment.strip())
        if match := re.match(r"    (\w+): ", code):
            yield match[1], _capitalize(" ".join(filter(None, comments)))
        if code.strip():
            comments = []


def _capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


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
