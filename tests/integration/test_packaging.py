"""The built and installed packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel and the sdist that it is built from, once per test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = tmp_path_factory.getbasetemp().parent / f"dist-{run}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            subprocess.run(
                [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
                check=True,
                capture_output=True,
            )
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def list_tracked_files(folder, package):
    """Return the tracked files of a package by their installed names."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder or "."],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {name.replace(folder, package, 1) for name in listed.split("\0") if name}


@pytest.mark.slow
def test_wheel_contains_only_the_two_packages(distributions):
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    tracked = list_tracked_files("stream_perceptron", "stream_perceptron")
    tracked |= list_tracked_files("cli", "stream_perceptron_cli")
    sources = {name for name in tracked if name.endswith((".pyx", ".pxd", ".h"))}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiled = {name.replace(".pyx", suffix) for name in sources if name.endswith(".pyx")}
    assert len(compiled) == 5
    assert names == tracked - sources | compiled
    assert {"stream_perceptron/py.typed", "stream_perceptron_cli/py.typed"} <= names


@pytest.mark.slow
def test_sdist_contains_all_files_and_its_tests_pass(distributions, tmp_path):
    tracked_files = list_tracked_files("", "") - {".gitignore"}
    with tarfile.open(distributions[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        sdist.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    tests = [
        "tests/unit/checkpoint/test_state.py",
        "tests/docs/test_docs.py::test_every_block_runs_as_printed[command-line]",
        "tests/docs/test_docs.py::test_readme_is_short_and_links_lead_to_files",
    ]
    result = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-q", "-p", "no:cacheprovider", *tests],
        # Only the installed package has a compiled kernel, not the folder.
        cwd=folder, env=os.environ | {"PYTHONSAFEPATH": "1"}, capture_output=True, text=True,
    )  # fmt: skip

    assert tracked_files <= names
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_installed_wheel_works_outside_the_checkout(distributions, mnist_sample, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path,
         distributions[0]],
        check=True, capture_output=True,
    )  # fmt: skip
    script = "import stream_perceptron, stream_perceptron_cli as c; print(stream_perceptron, c)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    imported_modules = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    run = subprocess.run(
        [tmp_path / "bin" / "stream-perceptron", "fetch", "mnist-sample"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip

    assert imported_modules.count(f"{tmp_path}/") == 2
    assert (run.returncode, run.stdout) == (0, "mnist-sample.parquet\n")
    assert mnist_sample.read_bytes() == (tmp_path / "mnist-sample.parquet").read_bytes()


@pytest.mark.slow
def test_installation_without_a_compiler_says_what_is_needed(tmp_path):
    # Otherwise the modules that another build left in the checkout would be found.
    (tmp_path / "build.cfg").write_text(f"[build]\nbuild_base = {tmp_path / 'build'}\n")
    environment = {"CC": "/bin/false", "DIST_EXTRA_CONFIG": str(tmp_path / "build.cfg")}
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target",
         tmp_path, ROOT],
        env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip

    assert result.returncode == 1
    assert "install them (Debian: apt install gcc python3-dev), or install a wheel" in result.stderr


@pytest.mark.slow
def test_package_without_its_compiled_modules_says_what_to_do(tmp_path):
    for name in ("stream_perceptron", "cli"):
        target = tmp_path / name.replace("cli", "stream_perceptron_cli")
        shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("*.so"))
    script = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'ditable' not in str(f)]\n"
        "from stream_perceptron_cli.main import run; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "inspect", "m.npz"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip

    assert (result.returncode, result.stderr) == (
        1,
        "Error: stream_perceptron lacks its compiled modules: leave the folder of its source, or "
        "install it again with a C compiler (pip install --editable .)\n",
    )


def test_library_works_without_extras_and_command_line():
    script = (
        "import sys\n"
        "for name in ('pandas', 'polars', 'PIL', 'matplotlib', 'sklearn', 'click'):\n"
        "    sys.modules[name] = None\n"
        "from stream_perceptron import SGDPerceptron, stream\n"
        "from stream_perceptron.datasets.mnist import sample_path\n"
        "model = SGDPerceptron()\n"
        "for x, y in stream.iter_parquet(sample_path()):\n"
        "    model.learn_one(x, y)\n"
        "print(model.n_seen)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (result.stdout, result.stderr) == ("5000\n", "")
