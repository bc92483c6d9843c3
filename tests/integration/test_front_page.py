"""The first commands of README.md, from a fresh clone, and the other Pythons on the PATH."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from helpers import ROOT, load_recipe

PYTHONS = ["python3.12", "python3.13", "python3.14"]


@pytest.fixture
def clone(tmp_path):
    """A clone of the last commit; it has neither an environment nor compiled modules."""
    if not (ROOT / ".git").exists():
        pytest.skip("an sdist cannot be cloned: run this test in a clone of the repository")
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


@pytest.mark.slow
def test_demo_leads_from_a_fresh_clone_to_a_report(clone, report_figure):
    """The second command is scripts/test, which runs this test."""
    demo, test = load_recipe("setup").splitlines()
    result = subprocess.run(demo, shell=True, cwd=clone, capture_output=True, text=True)
    accuracy = next(line for line in result.stdout.splitlines() if line.startswith("10,000 "))

    report_figure(f"scripts/demo: {accuracy}")
    assert test.startswith("scripts/test ")
    assert result.returncode == 0, result.stderr
    assert float(accuracy.split("accuracy ")[1].partition("%")[0]) > 85
    assert (clone / "data" / "report.html").read_text().startswith("<!doctype html")


@pytest.mark.nightly
def test_package_is_installed_as_the_pages_say(clone):
    script = "".join(map(load_recipe, ("install", "begin")))
    result = subprocess.run(
        ["bash", "-euc", f"{script}stream-perceptron fetch mnist-sample; pwd"],
        cwd=clone, capture_output=True, text=True,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    folder = clone.parent / "first-hour"
    assert result.stdout.endswith(f"mnist-sample.parquet\n{folder}\n")
    assert (folder / "mnist-sample.parquet").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("python", PYTHONS)
def test_tests_pass_with_other_pythons(python, clone):
    path = shutil.which(python)
    # Shims of version managers may stand for a Python that is not installed.
    if path is None or subprocess.run([path, "--version"], capture_output=True).returncode:
        pytest.skip(f"install {python} to test with it")
    result = subprocess.run([clone / "scripts" / "versions", path], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
