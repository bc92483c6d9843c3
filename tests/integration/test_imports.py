"""The packages follow the import contract, and violations are detected."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

LINT_COMMAND = Path(sys.executable).with_name("lint-imports")


def lint_imports(folder):
    return subprocess.run(
        [LINT_COMMAND, "--no-logo", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path):
    """A copy of the packages and the contract."""
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "stream_perceptron", tmp_path / "stream_perceptron", ignore=ignore)
    shutil.copytree(ROOT / "cli", tmp_path / "stream_perceptron_cli", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_follow_the_contract(copy):
    result = lint_imports(copy)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("model/weights.py", "from stream_perceptron.data import batch"),
        ("data/batch.py", "from stream_perceptron.live import history"),
        ("live/metrics.py", "from stream_perceptron import stream"),
        ("diagnostics/diagnosis.py", "from stream_perceptron.distributed import averaging"),
        ("perceptron.py", "import click"),
        ("model/rows.py", "import pyarrow"),
    ],
)
def test_forbidden_import_is_detected(module, line, copy):
    path = copy / "stream_perceptron" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint_imports(copy)

    assert result.returncode == 1
    assert "BROKEN" in result.stdout
