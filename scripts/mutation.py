"""Insert small random faults into modules, and run the tests that execute the changed lines.

The kinds of faults are like those of mutmut: another operator, another constant, a negated
condition, None instead of a value that is assigned, and None instead of a call's first argument.
"""

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
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

import coverage

ROOT = Path(__file__).parent.parent
PACKAGE = Path("stream_perceptron")
DEFAULT_PATHS = [PACKAGE / part for part in ("model", "data/interpreter", "live", "checkpoint")]
RANDOM_PLANS = "tests/properties"
FOLDERS = ("unit", "formats", "cli", "durability", "properties")
TESTS = [*(f"tests/{folder}" for folder in FOLDERS), *map(str, DEFAULT_PATHS)]
COPIED = ("pyproject.toml", "stream_perceptron", "cli", "tests", "scripts", "docs")
PATIENCE = 3  # a mutant also counts as killed if its tests take this many times as long as usual
MAX_SECONDS = 30.0  # of each kind of tests for a mutant, as measured by `index_tests`
N_FIRST_TESTS = 40  # these tests, which kill most mutants, run before all others
FAILED_TEST = "failed_test"  # a file in each copy
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
    kind: str  # of the changed node
    before: str
    after: str
    source: str
    statement_lines: set[int]  # the first lines of the changed node and of its statement


class TestIndex(NamedTuple):
    """Which tests execute each line, and how many seconds each test takes."""

    tests: dict[Path, dict[int, set[str]]]
    n_lines: Counter[str]  # the number of lines that each test executes
    seconds: dict[str, float]

    def get_seconds(self, test: str) -> float:
        """Return how long a test takes; times below a millisecond may be missing."""
        return self.seconds.get(test, 0.0)

    def find_tests(self, mutant: Mutant) -> list[list[str]]:
        """Return batches of tests that execute the changed lines, in the order to run them.

        The tests that execute the fewest lines come first, as they examine these lines most
        closely; tests of random plans follow all others. If only the import of the module executes
        the changed lines, the tests are those of the module, or any if it has none.
        """
        lines, folders = self.tests.get(mutant.path, {}), mutant.path.parts[1:-1]
        tests = set().union(*(lines.get(line, set()) for line in mutant.statement_lines))
        if not tests:
            unit_tests = str(Path("tests/unit", *folders, f"test_{mutant.path.stem}.py"))
            tests = {test for test in self.seconds if test.startswith(unit_tests)}
            tests = tests.union(*lines.values()) or set(self.seconds)
        random_plans = {test for test in tests if test.startswith(RANDOM_PLANS)}
        others = self.take_narrowest(tests - random_plans)
        return [others[:N_FIRST_TESTS], others[N_FIRST_TESTS:], self.take_narrowest(random_plans)]

    def take_narrowest(self, tests: set[str]) -> list[str]:
        """Return the tests that execute the fewest lines, in order, up to a total time."""
        ordered = sorted(tests, key=lambda test: (self.n_lines[test], test))
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
        case ast.Constant(value=str(value)):
            node.value = f"XX{value}XX"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            node.value = ast.Constant(None)
            return ast.unparse(value) != "None"
        case ast.Call(args=[first, *others]) if not isinstance(first, ast.Starred):
            node.args = [ast.Constant(None), *others]
            return ast.unparse(first) != "None"
        case ast.If() | ast.IfExp() | ast.While():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case _:
            return False
    return True


def find_mutable_nodes(tree: ast.Module) -> Iterator[int]:
    """Yield the numbers, in `ast.walk` order, of the nodes whose change matters at run time."""
    # Annotations, imports for type checkers, assertions, docstrings, and the literal parts of
    # formatted strings, which are not expressions themselves.
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if (part := getattr(node, name, None)) is not None:
                skipped.update(ast.walk(part))
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")) | ast.Assert() | ast.keyword("strict"):
                skipped.update(ast.walk(node))
            case ast.Expr(value=ast.Constant() as docstring):
                skipped.add(docstring)
            case ast.JoinedStr(values=parts):
                skipped.update(part for part in parts if isinstance(part, ast.Constant))
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
    before, kind = ast.unparse(node).splitlines()[0], type(node).__name__
    if isinstance(node, ast.Constant):
        kind = type(node.value).__name__
    mutate_node(node)
    after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    lines = {lineno, *statements[-1:]}  # a decorator precedes the first line of its function
    return Mutant(path, lineno, kind, before, after, ast.unparse(tree), lines)


def index_tests(folder: Path) -> TestIndex:
    """Run all tests without a fault, and record the lines that each of them executes."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(1 + (os.cpu_count() or 1)), "--dist",
         "worksteal", "--durations=0", "--durations-min=0", "--cov=stream_perceptron",
         "--cov-context=test", "--cov-report=", *TESTS],
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
    by_line = chain.from_iterable(lines.values() for lines in tests.values())
    return TestIndex(tests, Counter(chain.from_iterable(by_line)), seconds)


def exit_with_outcome(folder: Path, tests: Sequence[str]) -> None:
    """Run tests in a copy of the project, up to the first failure; exit with pytest's status.

    The name of the test that fails is written to a file.
    """
    import pytest

    class FailureWriter:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                (folder / FAILED_TEST).write_text(report.nodeid)

    os.setsid()
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests], [FailureWriter()]))


def find_failed_tests(folder: Path, tests: Sequence[str], seconds: float) -> list[str]:
    """Run tests in a copy of the project within a number of seconds; return the first that fails.

    If it is unknown, for example because a module cannot be imported, all tests are returned.
    """
    (folder / FAILED_TEST).unlink(missing_ok=True)
    process = CONTEXT.Process(target=exit_with_outcome, args=(folder, tests))
    process.start()
    assert process.pid is not None
    process.join(seconds)
    process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # commands that a mutant keeps from ending
    process.join()
    if process.exitcode == 0:
        return []
    if (folder / FAILED_TEST).exists():
        return [(folder / FAILED_TEST).read_text()]
    return [*tests]


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
    (ROOT / "data").mkdir(exist_ok=True)  # for the digits that tests download
    with tempfile.TemporaryDirectory() as name:
        folders: queue.Queue[Path] = queue.Queue()
        for i in range(os.cpu_count() or 1):
            folders.put(folder := Path(name) / str(i))
            folder.mkdir()
            for part in COPIED:
                copy_part = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
                copy_part(ROOT / part, folder / part)
            (folder / "data").symlink_to(ROOT / "data")
        index = index_tests(folder)
        fastest = sorted(index.seconds, key=index.get_seconds)[:N_FIRST_TESTS]
        if failed := find_failed_tests(folder, fastest, START_SECONDS):
            sys.exit(f"tests fail without a fault in a forked process: {failed}")

        def is_killed(mutant: Mutant) -> bool:
            """Return whether tests fail with a mutant and pass without it."""
            folder = folders.get()
            try:
                for batch in index.find_tests(mutant):
                    seconds = START_SECONDS + PATIENCE * sum(map(index.get_seconds, batch))
                    (folder / mutant.path).write_text(mutant.source)
                    failed = find_failed_tests(folder, batch, seconds) if batch else []
                    if not failed:
                        continue
                    shutil.copy(ROOT / mutant.path, folder / mutant.path)
                    if not find_failed_tests(folder, failed, seconds):
                        return True
                    print(f"fail without a fault: {failed}", file=sys.stderr, flush=True)
                return False
            finally:
                shutil.copy(ROOT / mutant.path, folder / mutant.path)
                folders.put(folder)

        with ThreadPoolExecutor(folders.qsize()) as pool:
            mutants = [make_mutant(path, number) for path, number in drawn]
            killed: Counter[str] = Counter()
            for i, (mutant, is_noticed) in enumerate(
                zip(mutants, pool.map(is_killed, mutants), strict=True), 1
            ):
                if not is_noticed:
                    change = f"{mutant.before} -> {mutant.after}"
                    print(f"survived: {mutant.path}:{mutant.lineno}: {change}", flush=True)
                killed[mutant.kind] += is_noticed
                print(f"{i} mutants, {killed.total()} killed", file=sys.stderr, flush=True)
    for kind, n in Counter(mutant.kind for mutant in mutants).most_common():
        print(f"{killed[kind]} of {n} mutants of {kind} killed")
    n = len(mutants)
    print(f"{killed.total()} of {n} mutants killed: {killed.total() / max(n, 1):.1%}")


if __name__ == "__main__":
    main()
