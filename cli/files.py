"""Types for file arguments, and checks that the files are distinct, regular and local."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .terminal import OneLineError

# What to do about an existing file that this program did not write, and an option that does so.
OVERWRITE_ADVICE = ("to replace it", "--overwrite")


class LocalFile(click.Path):
    """The path of a file that must be local: only local files can be replaced atomically.

    With `allow_dash`, it may also be - for stdout.
    """

    def __init__(self, path_type: type = Path, allow_dash: bool = False) -> None:
        super().__init__(dir_okay=False, allow_dash=allow_dash, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "-" and not self.allow_dash:
            self.fail("a file is needed here, not stdout.", param, ctx)
        if "://" in str(value):
            from stream_perceptron.data.input.bytes import strip_credentials

            self.fail(
                f"{strip_credentials(str(value))}: models and outputs must be files on this "
                "machine; only sources may be URIs",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


def require_distinct_files(**files: str | Path | Sequence[str] | None) -> None:
    """Check that no file is given for two arguments, directly or through a link.

    The keywords name the arguments in messages; an underscore stands for a space.
    """
    names_by_file: dict[str, str] = {}
    for name, paths in files.items():
        argument_name = name.replace("_", " ")
        for path in [paths] if isinstance(paths, str | Path) else paths or []:
            if str(path) == "-" or "://" in str(path) or _is_device(path):
                continue
            file_id = os.path.realpath(path)
            if os.path.exists(file_id):
                status = os.stat(file_id)
                file_id = f"{status.st_dev}:{status.st_ino}"
            other_name = names_by_file.setdefault(file_id, argument_name)
            if other_name != argument_name:
                raise click.UsageError(
                    f"{path} is both {other_name} and {argument_name}: name another file"
                )


def require_regular_files(*paths: Path | None) -> None:
    """Check that files to be replaced or truncated are regular, if they exist."""
    for path in paths:
        if path is not None and _is_device(path):
            raise click.UsageError(f"{path} is not a regular file: name another file")


def require_expected_content(
    path: str | Path, prefixes: Sequence[bytes], content: str, advice: str, *remedies: str
) -> None:
    """Check that a file to be replaced or truncated is empty or was written by this program.

    A file written by this program begins with one of `prefixes` or, after a power failure, with
    zeros. The error message describes the expected content as `content` and ends with `advice`.
    """
    if not os.path.exists(path) or _is_device(path):
        return
    with open(path, "rb") as file:
        start = file.read(max(map(len, prefixes)))
    is_own = any(start.startswith(text) or text.startswith(start) for text in prefixes)
    if start.strip(b"\0") and not is_own:
        raise OneLineError(f"{path}: it exists but does not contain {content}; {advice}", remedies)


def _is_device(path: str | Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)
