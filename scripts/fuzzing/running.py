"""Run a command in its own process, and check properties that hold for every run and model."""

from __future__ import annotations

import json
import os
import re
import resource
import traceback
from pathlib import Path
from typing import NoReturn

from forked import become_command

from stream_perceptron import LiveModel
from stream_perceptron_cli import inspect

# Sanitizers need ten times as long, and the whole address space.
IS_SANITIZED = "LD_PRELOAD" in os.environ
_SECONDS, _BYTES = (600, 2**31) if IS_SANITIZED else (60, 2**30)
_WITH_NAMES = "  missing ", "  classes ", "  features "  # lines of `inspect` with users' names
_NOT_FINITE = re.compile(r"(?<![\w'])-?(nan|inf|infinity)(?!\w)", re.IGNORECASE)


def run_command(arguments: list[str], folder: Path) -> str:
    """Run a command in its own process, and check properties that hold for every run."""
    outputs = folder / "stdout.txt", folder / "stderr.txt"
    child = os.fork()
    if not child:
        _exec_command(arguments, outputs)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    stdout, stderr = (path.read_text("utf-8", "backslashreplace") for path in outputs)
    context = f"{code}, {usage.ru_maxrss:,} kB: {arguments}\n{stdout[:2000]}\n{stderr[-2000:]}"
    assert code in (0, 1, 2), context
    assert usage.ru_maxrss < _BYTES // 2**10, context
    lines = stderr.splitlines()
    assert not any(word in stderr for word in ("Traceback", "Warning:", "  File")), context
    errors = [line for line in lines if line.startswith(("Error: ", '{"kind": "error"'))]
    messages = [line for line in lines if not line.startswith("  ")]  # the others are suggestions
    assert code == 0 or errors == messages[-1:], context
    assert code != 2 or len(messages) == 1, context
    for line in stdout.splitlines():
        if line.startswith(("{", "[")):
            require_finite(line)
        elif not (_NOT_FINITE.search(" ".join(arguments)) or line.startswith(_WITH_NAMES)):
            assert not _NOT_FINITE.search(line), context
    return ("done", "failed", "rejected")[code]


def _exec_command(arguments: list[str], outputs: tuple[Path, Path]) -> NoReturn:
    try:
        if not IS_SANITIZED:
            resource.setrlimit(resource.RLIMIT_AS, (4 * _BYTES, 4 * _BYTES))
        files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in outputs]
        stdin = os.open(os.devnull, os.O_RDONLY)
        become_command(arguments, [stdin, *files], outputs[0].parent, _SECONDS)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def require_finite(line: str) -> None:
    """Check that a line is JSON without NaN or infinity."""

    def reject(name: str) -> NoReturn:
        raise AssertionError(f"{name} in the output")

    json.loads(line, parse_constant=reject)


def require_single_line(error: Exception, start: str) -> None:
    message = str(error)
    _, *suggested = message.split("\n")
    assert all(line.startswith("  ") for line in suggested), message
    assert message.startswith(start), message


def require_displayable(live: LiveModel) -> None:
    """Check that `inspect` and the diagnosis work on a model."""
    contents = inspect._describe_model(live, Path("m.npz"))
    json.dumps(contents, default=str, allow_nan=False)
    for _, lines in inspect._format_sections(contents, live.history.format_lines()):
        list(lines)
