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
from helpers import COMMAND, ROOT, dicts, train_copy

from stream_perceptron import SGDPerceptron
from stream_perceptron.datasets import mnist

FIGURES = pytest.StashKey[list[str]]()
# Tests with processes, servers and signals, which take seconds.
THOROUGH = ("durability", "integration", "properties")
CASES = 3  # of a test that scripts/test --quick runs


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as thorough what scripts/test --quick omits: some files, and most cases of each test."""
    tests = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
        if any(item.path.is_relative_to(ROOT / "tests" / each) for each in THOROUGH):
            item.add_marker("thorough")
    for cases in tests.values():
        kept = {round(i * (len(cases) - 1) / (CASES - 1)) for i in range(CASES)}
        for number, item in enumerate(cases):
            if number not in kept:
                item.add_marker("thorough")


def pytest_configure(config):
    config.stash[FIGURES] = []
    # Under nohup the commands would inherit that SIGHUP is ignored, and tests would wait for ever.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Collect the figures of a worker."""
    node.config.stash[FIGURES] += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash[FIGURES]


def pytest_terminal_summary(terminalreporter, config):
    """Show the figures that tests measured and counted."""
    if config.stash[FIGURES]:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES]:
            terminalreporter.write_line(line)


@pytest.fixture
def tell(pytestconfig):
    """A function that shows a figure at the end of the run."""
    return pytestconfig.stash[FIGURES].append


@pytest.fixture(scope="session")
def run():
    """A function that runs the command; with `env`, the installed program."""

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
def on_terminal():
    """A function that runs the installed command on a pseudo-terminal and returns its output."""

    def run_on_terminal(*args, columns=80, **variables):
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        with subprocess.Popen(
            [COMMAND, *map(str, args)], stdin=slave, stdout=slave, stderr=slave,
            env=os.environ | variables,
        ) as process:  # fmt: skip
            os.close(slave)
            shown = []
            # Linux signals the end by an error.
            with suppress(OSError):
                while data := os.read(master, 1024):
                    shown.append(data)
        os.close(master)
        assert process.returncode == 0
        return b"".join(shown).decode()

    return run_on_terminal


@pytest.fixture(scope="session")
def digits() -> dict[str, Path]:
    """The Parquet files of full MNIST, fetched once for all test runs and the demo."""
    paths = {part: ROOT / "data" / f"mnist-{part}.parquet" for part in ("train", "test")}
    if not all(path.exists() for path in paths.values()):
        mnist.fetch("mnist", ROOT / "data")
    return paths


@pytest.fixture(scope="session")
def sample() -> Path:
    """The 5,000 digits that come with the package."""
    return mnist.sample_path()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(42)


@pytest.fixture
def trained(rng):
    """A perceptron that has learned 20 samples of two classes."""
    model = SGDPerceptron(lr=0.5, seed=0)
    for x in dicts(rng.normal(size=(20, 6))):
        model.learn_one(x, "high" if x["x0"] > 0 else "low")
    return model


@pytest.fixture
def base():
    """A perceptron that two others can be trained from."""
    samples = [({"a": 1.0, "b": 0.5}, "up"), ({"a": -1.0}, "down")]
    return train_copy(SGDPerceptron(lr=0.5, seed=7), samples)


@pytest.fixture
def signal_handlers():
    """Restore the signal handlers, which a command in this process leaves in place."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
