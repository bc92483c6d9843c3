"""The command in its own process, and the properties of every run and every model."""

from __future__ import annotations

import json
import os
import re
import resource
import traceback
from pathlib import Path
from typing import NoReturn

from forked import become

from stream_perceptron import LiveModel
from stream_perceptron.diagnostics.diagnosis import findings_in
from stream_perceptron_cli import inspect

IS_SANITIZED = "LD_PRELOAD" in os.environ  # needs ten times the time, and all addresses
_SECONDS, _BYTES = (600, 2**31) if IS_SANITIZED else (60, 2**30)
_NOT_FINITE = re.compile(r"(?<![\w'])-?(nan|inf|infinity)(?!\w)", re.IGNORECASE)


def call(arguments: list[str], folder: Path, source: int | None = None) -> str:
    """Run a command in its own process, and check the properties of every run."""
    shown = folder / "stdout.txt", folder / "stderr.txt"
    child = os.fork()
    if not child:
        _become(arguments, shown, source)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    out, told = (path.read_text("utf-8", "backslashreplace") for path in shown)
    what = f"{code}, {used.ru_maxrss:,} kB: {arguments}\n{out[:2000]}\n{told[-2000:]}"
    assert code in (0, 1, 2), what
    assert used.ru_maxrss < _BYTES // 2**10, what
    lines = told.splitlines()
    assert not any(word in told for word in ("Traceback", "Warning:", "  File")), what
    errors = [line for line in lines if line.startswith("Error: ")]
    assert code == 0 or errors == lines[-1:], what
    assert code != 2 or len(lines) == 1, what
    for line in out.splitlines():
        if line.startswith(("{", "[")):
            require_finite(line)
        elif not _NOT_FINITE.search(" ".join(arguments)) and not line.startswith("  missing "):
            assert not _NOT_FINITE.search(line), what
    return ("done", "failed", "refused")[code]


def _become(arguments: list[str], shown: tuple[Path, Path], source: int | None) -> NoReturn:
    try:
        if not IS_SANITIZED:
            resource.setrlimit(resource.RLIMIT_AS, (4 * _BYTES, 4 * _BYTES))
        files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in shown]
        given = os.open(os.devnull, os.O_RDONLY) if source is None else source
        become(arguments, [given, *files], shown[0].parent, _SECONDS)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def require_finite(line: str) -> None:
    """Check that a line is JSON without NaN and infinity."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} has left the program")

    json.loads(line, parse_constant=refuse)


def require_line(error: Exception, start: str = "") -> None:
    message = str(error)
    assert "\n" not in message, message
    assert message.startswith(start), message


def require_shown(live: LiveModel) -> None:
    """Check that `inspect` and the report work on a model."""
    json.dumps(inspect._contents(live), default=str, allow_nan=False)
    list(inspect._groups(live, Path("m.npz")))
    list(map(str, findings_in(live)))
