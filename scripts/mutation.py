"""Insert small random faults into modules, and run the tests of their packages against each."""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stream_perceptron"
# The tests of each package or module; for a module, the longest matching path applies.
TESTS = {
    "model": ["tests/unit/model", "tests/unit/test_perceptron.py"],
    "data/interpreter": ["tests/unit/data/interpreter", "tests/unit/data/text", "tests/formats"],
    "live": ["tests/unit/live", "tests/cli/test_schema.py"],
    "live/drift": ["tests/unit/live/test_drift.py"],
    "checkpoint": ["tests/unit/checkpoint", "tests/durability/test_replacement.py"],
}
PATIENCE = 3  # a mutant counts as killed if its tests take more than this many times as long
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def mutate_node(node: ast.AST) -> bool:
    """Change a node in place; return whether it could be changed."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            node.ops[0] = SWAPS[type(op)]()
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
    """Yield the numbers, in the order of `ast.walk`, of nodes whose change matters at run time."""
    skipped: set[ast.AST] = set()  # annotations, and imports for type checkers
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if (part := getattr(node, name, None)) is not None:
                skipped.update(ast.walk(part))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(ast.walk(node))
    for number, node in enumerate(ast.walk(tree)):
        if node not in skipped and mutate_node(copy.deepcopy(node)):
            yield number


def find_tests(path: Path) -> tuple[str, ...]:
    """Return the tests of a module, including its own examples."""
    inner_path = path.relative_to(PACKAGE).as_posix()
    packages = [each for each in TESTS if inner_path.startswith(f"{each}/")]
    return *TESTS[max(packages, key=len)], str(path.relative_to(ROOT))


def do_tests_pass(tests: Sequence[str], folder: Path, seconds: float | None = None) -> bool:
    """Return whether tests pass in a copy of the project within a number of seconds."""
    with suppress(subprocess.TimeoutExpired):
        return not subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *tests],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, timeout=seconds,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip
    return False


@cache
def measure_tests(tests: tuple[str, ...], folder: Path) -> float:
    """Return the seconds that tests take without a fault; end the process if they fail."""
    before = time.monotonic()
    if not do_tests_pass(tests, folder):
        sys.exit(f"tests fail without a fault: {' '.join(tests)}")
    return time.monotonic() - before


def is_killed(path: Path, source: str, folder: Path) -> bool:
    """Return whether the tests of a module fail if its source is replaced."""
    tests = find_tests(path)
    max_seconds = PATIENCE * measure_tests(tests, folder)
    copied = folder / path.relative_to(ROOT)
    original = copied.read_text()
    copied.write_text(source)
    try:
        return not do_tests_pass(tests, folder, max_seconds)
    finally:
        copied.write_text(original)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("paths", nargs="*", type=Path, help="modules or packages to change")
    options = parser.parse_args()
    paths = [path.resolve() for path in options.paths] or [PACKAGE / name for name in TESTS]
    files = {file for path in paths for file in [path, *path.rglob("*.py")]}
    modules = sorted(file for file in files if file.suffix == ".py")
    sources = {module: module.read_text() for module in modules}
    candidates = [
        (module, number)
        for module, source in sources.items()
        for number in find_mutable_nodes(ast.parse(source))
    ]
    drawn = random.Random(options.seed).sample(candidates, min(options.mutants, len(candidates)))
    killed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("pyproject.toml", "stream_perceptron", "cli", "tests", "docs"):
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
        for i, (module, number) in enumerate(drawn, 1):
            tree = ast.parse(sources[module])
            node = list(ast.walk(tree))[number]
            before = ast.unparse(node).splitlines()[0]
            mutate_node(node)
            after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
            location = f"{module.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if not (is_noticed := is_killed(module, ast.unparse(tree), folder)):
                print(f"survived: {location}: {before} -> {after}", flush=True)
            killed += is_noticed
            print(f"{i} mutants, {killed} killed", file=sys.stderr, flush=True)
    print(f"{killed} of {len(drawn)} mutants killed: {killed / max(len(drawn), 1):.1%}")


if __name__ == "__main__":
    main()
