"""The tests execute nearly all lines of the compiled code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict

import pytest
from helpers import ROOT, require_tool

MIN_SHARE = 0.95
TESTS = ["stream_perceptron", "tests/unit", "tests/formats", "tests/properties"]
# Lines of Cython that are no statements, or that run only if memory is exhausted.
NO_STATEMENT = re.compile(r'\s*(#|"""|cdef |ctypedef |def |else:|finally:|raise MemoryError|$)')
# A line of a report of gcov, with the number of its executions.
COUNTED = re.compile(r" *(?P<count>#+|\d+)\*?: *(?P<line>[1-9]\d*):(?P<source>.*)")


@pytest.fixture(scope="module")
def measured_folder(tmp_path_factory):
    """A copy of the project whose compiled modules count the executions of each line."""
    require_tool("gcov")
    folder = tmp_path_factory.mktemp("coverage")
    for name in ("stream_perceptron", "cli", "tests", "docs", "scripts"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    setup = (ROOT / "setup.py").read_text()
    setup = setup.replace('"-O3"', '"-O0", "--coverage"')
    setup = setup.replace("build_dir=", "emit_linenums=True, build_dir=")
    (folder / "setup.py").write_text(setup)
    (folder / "stream_perceptron_cli").symlink_to("cli")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder, env=os.environ | {"LDFLAGS": "--coverage"}, check=True, capture_output=True,
    )  # fmt: skip
    path = os.pathsep.join(map(str, [folder, folder / "tests" / "support"]))
    environment = {name: text for name, text in os.environ.items() if name != "NIGHTLY"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *TESTS],
        cwd=folder, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    return folder


def count_lines(folder):
    """Return how often each statement was executed, by file and line number."""
    counts = defaultdict(lambda: defaultdict(int))
    for data in folder.glob("build/**/*.gcda"):
        subprocess.run(["gcov", "-o", data.parent, data], cwd=folder, check=True,
                       capture_output=True)  # fmt: skip
        for report in folder.glob("*.gcov"):
            lines = report.read_text().splitlines()
            # A header is compiled in its own folder, or in that of a module that includes it.
            name = lines[0].rpartition("Source:")[2].removeprefix("build/")
            if "stream_perceptron/" in name and not name.endswith(".c"):
                for match in filter(None, map(COUNTED.match, lines)):
                    if name.endswith(".h") or not NO_STATEMENT.match(match["source"]):
                        counts[name][int(match["line"])] += int(match["count"].strip("#") or 0)
            report.unlink()
    return counts


@pytest.mark.nightly
def test_tests_execute_nearly_all_compiled_lines(measured_folder, report_figure):
    counts = count_lines(measured_folder)
    shares = {}
    for language, suffixes in (("C", (".h",)), ("Cython", (".pyx", ".pxd"))):
        executed = [
            n > 0 for name in counts if name.endswith(suffixes) for n in counts[name].values()
        ]
        shares[language] = sum(executed) / len(executed)
        report_figure(f"{shares[language]:.1%} of {len(executed):,} lines of {language} executed")
    missed = [f"{name}:{number}" for name in counts for number, n in counts[name].items() if not n]

    assert min(shares.values()) >= MIN_SHARE, "\n".join(missed)
