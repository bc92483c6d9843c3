"""Types and checks of file arguments: distinct regular files on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .printable import OneLineError

# What to do about an existing file that is not an output of this program.
REMEDY = "to replace it: --overwrite"


class LocalFile(click.Path):
    """The path of a local file: only local files can be replaced in one step."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if "://" in str(value):
            from stream_perceptron.data.byte_stream import without_password

            self.fail(
                f"{without_password(str(value))}: models and outputs must be files on this "
                "machine; only sources may be URIs",
                param,
                ctx,
            )
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        return path


class OutputFile(LocalFile):
    """The path of a local file as text, or - for stdout."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # type: ignore[override]
        super().convert(value, param, ctx)
        return str(value)


def require_different(**files: str | Path | Sequence[str] | None) -> None:
    """Check that no two arguments are one file, also through links.

    Keywords are the arguments' names in messages, with _ for a space.
    """
    seen: dict[str, str] = {}
    for name, given in files.items():
        called = name.replace("_", " ")
        for path in [given] if isinstance(given, str | Path) else given or []:
            if str(path) == "-" or "://" in str(path) or _is_device(path):
                continue
            real = os.path.realpath(path)
            if os.path.exists(real):
                status = os.stat(real)
                real = f"{status.st_dev}:{status.st_ino}"
            before = seen.setdefault(real, called)
            if before != called:
                raise click.UsageError(f"{path} is both {before} and {called}: name another file")


def require_regular(*paths: Path | None) -> None:
    """Check that existing files to be replaced or truncated are regular."""
    for path in paths:
        if path is not None and _is_device(path):
            raise click.UsageError(f"{path} is not a regular file: name another one")


def require_own_output(
    path: str | Path, beginnings: Sequence[bytes], content: str, remedy: str
) -> None:
    """Check that a file to be replaced or truncated is empty or begins as this program writes it.

    `content` says what such a file holds, and `remedy` what to do about another one. A file may
    also begin with zeros, as after a power cut.
    """
    if not os.path.exists(path) or _is_device(path):
        return
    with open(path, "rb") as file:
        start = file.read(max(map(len, beginnings)))
    is_own = any(start.startswith(text) or text.startswith(start) for text in beginnings)
    if start.strip(b"\0") and not is_own:
        raise OneLineError(f"{path}: exists and does not hold {content}: {remedy}")


def _is_device(path: str | Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)
