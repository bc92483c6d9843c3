"""Each kind of fuzzing runs for a few seconds; scripts/fuzz runs longer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import ROOT


@pytest.mark.parametrize(
    ("kind", "seed", "cases"), [("checkpoints", 0, 100), ("commands", 0, 50), ("records", 0, 200)]
)
def test_short_fuzzing_run_finds_no_failure(kind, seed, cases, report_figure):
    command = [sys.executable, ROOT / "scripts" / "fuzzing", kind]
    result = subprocess.run(
        [*command, "--seed", str(seed), "--cases", str(cases)], capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr
    report_figure(result.stdout.strip())
