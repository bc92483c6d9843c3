from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from forked import run_forked
from helpers import COMMAND, NIGHTLY, ROOT, to_dicts, train_copy

from stream_perceptron import SGDPerceptron
from stream_perceptron.datasets import mnist

FIGURES_KEY = pytest.StashKey[list[str]]()
# Folders of tests that start processes and servers or send signals, and take seconds.
THOROUGH_FOLDERS = ("durability", "integration", "properties")
N_QUICK_CASES = 2  # cases of each test that scripts/test --quick runs


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the tests that scripts/test --quick omits, and deselect those that run nightly."""
    nightly = [item for item in items if NIGHTLY is None and item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]
    tests = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
        if any(item.path.is_relative_to(ROOT / "tests" / folder) for folder in THOROUGH_FOLDERS):
            item.add_marker("thorough")
    for cases in tests.values():
        quick_numbers = {
            round(i * (len(cases) - 1) / (N_QUICK_CASES - 1)) for i in range(N_QUICK_CASES)
        }
        for number, item in enumerate(cases):
            if number not in quick_numbers:
                item.add_marker("thorough")


def pytest_configure(config):
    config.stash[FIGURES_KEY] = []
    # Under nohup, commands would inherit an ignored SIGHUP, and tests would wait forever.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Collect the figures of a pytest-xdist worker."""
    node.config.stash[FIGURES_KEY] += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash[FIGURES_KEY]


def pytest_terminal_summary(terminalreporter, config):
    """Print the figures that tests have reported."""
    if config.stash[FIGURES_KEY]:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES_KEY]:
            terminalreporter.write_line(line)


@pytest.fixture
def report_figure(pytestconfig):
    """A function that adds a line to the figures at the end of the test run."""
    return pytestconfig.stash[FIGURES_KEY].append


@pytest.fixture(scope="session")
def run():
    """A function that runs the command in a fork or, given `env`, the installed program."""

    def run_command(*args, check=None, env=None, **kwargs):
        arguments = list(map(str, args))
        if env is None:
            result = run_forked(arguments, **kwargs)
        else:
            result = subprocess.run(
                [COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=300
            )
        if check is not None:
            assert result.returncode == check, result.stderr
        return result

    return run_command


@pytest.fixture
def run_on_terminal():
    """A function that runs the installed command on a pseudo-terminal and returns its output."""

    def run_command(*args, columns=80, code=0, stdin=None, **variables):
        controller, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, columns))
        with subprocess.Popen(
            [COMMAND, *map(str, args)], stdin=stdin or terminal, stdout=terminal, stderr=terminal,
            env=os.environ | variables,
        ) as process:  # fmt: skip
            os.close(terminal)
            output_parts = []
            # On Linux, reading fails when the command has closed the terminal.
            with suppress(OSError):
                while data := os.read(controller, 1024):
                    output_parts.append(data)
        os.close(controller)
        assert process.returncode == code
        return b"".join(output_parts).decode()

    return run_command


@pytest.fixture(scope="session")
def mnist_files() -> dict[str, Path]:
    """Paths of the Parquet files of full MNIST, downloaded once for all test runs and the demo."""
    paths = {part: ROOT / "data" / f"mnist-{part}.parquet" for part in ("train", "test")}
    if not all(path.exists() for path in paths.values()):
        mnist.fetch("mnist", ROOT / "data")
    return paths


@pytest.fixture(scope="session")
def mnist_sample() -> Path:
    """The path of the 5,000 digits that come with the package."""
    return mnist.sample_path()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(42)


@pytest.fixture
def trained_model(rng):
    """A perceptron that has learned 20 samples of two classes."""
    model = SGDPerceptron(lr=0.5, seed=0)
    for x in to_dicts(rng.normal(size=(20, 6))):
        model.learn_one(x, "high" if x["x0"] > 0 else "low")
    return model


@pytest.fixture
def base_model():
    """A perceptron from which two others can be trained, to average them."""
    samples = [({"a": 1.0, "b": 0.5}, "up"), ({"a": -1.0}, "down")]
    return train_copy(SGDPerceptron(lr=0.5, seed=7), samples)


@pytest.fixture
def signal_handlers():
    """Restore the signal handlers after commands that run in this process."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
