"""Insert small random faults into modules, and run the tests that execute the changed lines."""

from __future__ import annotations

import argparse
import ast
import copy
import multiprocessing
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import coverage

ROOT = Path(__file__).parent.parent
PACKAGE = Path("stream_perceptron")
DEFAULT_PATHS = [PACKAGE / part for part in ("model", "data/interpreter", "live", "checkpoint")]
TESTS = ["tests/unit", "tests/formats", "tests/cli", *map(str, DEFAULT_PATHS)]
COPIED = ("pyproject.toml", "stream_perceptron", "cli", "tests", "scripts", "docs")
PATIENCE = 3  # a mutant also counts as killed if its tests take this many times as long as usual
MAX_SECONDS = 30.0  # of tests for each mutant, as measured by `index_tests`
N_FIRST_TESTS = 40  # the fastest tests, which kill most mutants, run before all others
START_SECONDS = 20.0  # to import the tests, with time to spare
# Each run of tests is forked from a process that has imported the libraries.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pandas", "polars", "pyarrow.parquet", "river", "sklearn.metrics"])
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


class Mutant(NamedTuple):
    path: Path
    lineno: int
    before: str
    after: str
    source: str
    statement_lines: set[int]  # the first lines of the changed node and of its statement


class TestIndex(NamedTuple):
    """Which tests execute each line, and how many seconds each test takes."""

    tests: dict[Path, dict[int, set[str]]]
    seconds: dict[str, float]

    def get_seconds(self, test: str) -> float:
        """Return how long a test takes; times below a millisecond may be missing."""
        return self.seconds.get(test, 0.0)

    def find_tests(self, mutant: Mutant) -> list[str]:
        """Return the fastest tests that execute the changed lines, up to a total time.

        If only the import of the module executes these lines, return tests of the module.
        """
        lines = self.tests.get(mutant.path, {})
        tests = set().union(*(lines.get(line, set()) for line in mutant.statement_lines))
        ordered = sorted(tests or set().union(*lines.values()), key=self.get_seconds)
        totals = accumulate(map(self.get_seconds, ordered))
        return [test for test, total in zip(ordered, totals, strict=True) if total <= MAX_SECONDS]


def mutate_node(node: ast.AST) -> bool:
    """Change a node, but no other object; return whether it could be changed."""
    match node:
        case ast.Compare(ops=[op, *others]) if type(op) in SWAPS:
            node.ops = [SWAPS[type(op)](), *others]
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS:
            node.op = SWAPS[type(op)]()
        case ast.UnaryOp(op=ast.Not()):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            node.value = value + 1
        case ast.If() | ast.IfExp() | ast.While():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case _:
            return False
    return True


def find_mutable_nodes(tree: ast.Module) -> Iterator[int]:
    """Yield the numbers, in `ast.walk` order, of the nodes whose change matters at run time."""
    skipped: set[ast.AST] = set()  # annotations, and imports for type checkers
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if (part := getattr(node, name, None)) is not None:
                skipped.update(ast.walk(part))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(ast.walk(node))
    for number, node in enumerate(ast.walk(tree)):
        if node not in skipped and mutate_node(copy.copy(node)):
            yield number


def make_mutant(path: Path, number: int) -> Mutant:
    """Change one node of a module, given by its number in the order of `ast.walk`."""
    tree = ast.parse((ROOT / path).read_text())
    nodes = list(ast.walk(tree))
    node = nodes[number]
    lineno = getattr(node, "lineno", 0)
    statements = [
        statement.lineno
        for statement in nodes
        if isinstance(statement, ast.stmt)
        and statement.lineno <= lineno <= (statement.end_lineno or 0)
    ]
    before = ast.unparse(node).splitlines()[0]
    mutate_node(node)
    after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    lines = {lineno, *statements[-1:]}  # a decorator precedes the first line of its function
    return Mutant(path, lineno, before, after, ast.unparse(tree), lines)


def index_tests(folder: Path) -> TestIndex:
    """Run all tests without a fault, and record the lines that each of them executes."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count()), "--durations=0",
         "--durations-min=0", "--cov=stream_perceptron", "--cov-context=test", "--cov-report=",
         "-m", "not slow", *TESTS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COVERAGE_FOLDER": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    output = result.stdout
    if result.returncode:
        sys.exit(f"tests fail without a fault:\n{output[-2000:]}")
    seconds: dict[str, float] = {}
    for time, test in re.findall(r"^([\d.]+)s (?:setup|call|teardown) +(.+)$", output, re.M):
        seconds[test] = seconds.get(test, 0.0) + float(time)
    tests: dict[Path, dict[int, set[str]]] = {}
    for data_path in folder.glob(".coverage*"):  # of the tests, and of each command that they run
        data = coverage.CoverageData(str(data_path))
        data.read()
        for name in data.measured_files():
            tests_by_line = tests.setdefault(Path(name).relative_to(folder), {})
            for line, contexts in data.contexts_by_lineno(name).items():
                tests_by_line.setdefault(line, set()).update(
                    # pytest-cov adds the phase of a test to its name, which may contain a | itself.
                    re.sub(r"\|(setup|run|teardown)$", "", context)
                    for context in contexts
                    if context
                )
    return TestIndex(tests, seconds)


def exit_with_outcome(folder: Path, tests: Sequence[str]) -> None:
    """Run tests in a copy of the project, up to the first failure; exit with pytest's status."""
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))


def do_tests_pass(folder: Path, tests: Sequence[str], seconds: float) -> bool:
    """Return whether tests pass in a copy of the project within a number of seconds."""
    process = CONTEXT.Process(target=exit_with_outcome, args=(folder, tests))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("paths", nargs="*", type=Path, help="modules or packages to change")
    options = parser.parse_args()
    paths = [path.resolve().relative_to(ROOT) for path in options.paths] or DEFAULT_PATHS
    files = {file for path in paths for file in [ROOT / path, *(ROOT / path).rglob("*.py")]}
    candidates = [
        (file.relative_to(ROOT), number)
        for file in sorted(file for file in files if file.suffix == ".py")
        for number in find_mutable_nodes(ast.parse(file.read_text()))
    ]
    drawn = random.Random(options.seed).sample(candidates, min(options.mutants, len(candidates)))
    with tempfile.TemporaryDirectory() as name:
        folders: queue.Queue[Path] = queue.Queue()
        for i in range(os.cpu_count() or 1):
            folders.put(folder := Path(name) / str(i))
            folder.mkdir()
            for part in COPIED:
                copy_part = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
                copy_part(ROOT / part, folder / part)
        index = index_tests(folder)
        fastest = sorted(index.seconds, key=index.get_seconds)[:N_FIRST_TESTS]
        if not do_tests_pass(folder, fastest, START_SECONDS):
            sys.exit("tests fail without a fault in a forked process")

        def is_killed(mutant: Mutant) -> bool:
            """Return whether tests fail with a mutant and pass without it."""
            tests = index.find_tests(mutant)
            folder = folders.get()
            try:
                for batch in (tests[:N_FIRST_TESTS], tests[N_FIRST_TESTS:]):
                    seconds = START_SECONDS + PATIENCE * sum(map(index.get_seconds, batch))
                    (folder / mutant.path).write_text(mutant.source)
                    if not batch or do_tests_pass(folder, batch, seconds):
                        continue
                    shutil.copy(ROOT / mutant.path, folder / mutant.path)
                    if do_tests_pass(folder, batch, seconds):
                        return True
                    print(f"fail without a fault: {batch}", file=sys.stderr, flush=True)
                return False
            finally:
                shutil.copy(ROOT / mutant.path, folder / mutant.path)
                folders.put(folder)

        with ThreadPoolExecutor(folders.qsize()) as pool:
            mutants = [make_mutant(path, number) for path, number in drawn]
            killed = 0
            for i, (mutant, is_noticed) in enumerate(
                zip(mutants, pool.map(is_killed, mutants), strict=True), 1
            ):
                if not is_noticed:
                    change = f"{mutant.before} -> {mutant.after}"
                    print(f"survived: {mutant.path}:{mutant.lineno}: {change}", flush=True)
                killed += is_noticed
                print(f"{i} mutants, {killed} killed", file=sys.stderr, flush=True)
    print(f"{killed} of {len(drawn)} mutants killed: {killed / max(len(drawn), 1):.1%}")


if __name__ == "__main__":
    main()
