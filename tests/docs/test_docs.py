"""Every block of README.md and docs/ runs as printed, page by page, in one folder.

`scripts/update_docs` renews the output of commands and the tables of the last `scripts/bench`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    ROOT,
    count_samples,
    load_recipe,
    parse_code_blocks,
    wait_for,
    write_jsonl,
)

from stream_perceptron import LiveModel

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
UPDATES_DOCS = "UPDATE_DOCS" in os.environ

# The samples per second at the end of a line of progress.
RATE = re.compile(r"(?m)^( +[\d,]+(?: +[\d.]+%| +untested)+) +[\d,]+$")


def split_console_block(text):
    """Yield each command of a console block with the output that the page shows."""
    for command, output in re.findall(r"(?m)^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", text):
        yield command.replace("\n> ", "\n").rstrip("\n"), output


def run_block(command, folder, *options):
    """Run commands of a page, which may end with an error, and return their output."""
    result = subprocess.run(
        ["bash", "-eu", *options, "-c", command], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    is_error = "\nError: " in f"\n{result.stdout}"
    assert result.returncode == int(is_error), result.stdout
    return result.stdout


def require_same_output(page, command, shown, output):
    """Check a command's output against the page, or update the page."""
    if RATE.sub(r"\1", shown) == RATE.sub(r"\1", output):
        return
    assert UPDATES_DOCS, f"{page.name}: $ {command}\n{output}"
    written = page.read_text()
    old = "$ " + command.replace("\n", "\n> ") + "\n" + shown
    assert written.count(old) == 1
    page.write_text(written.replace(old, old.removesuffix(shown) + output))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run a page in, with the installed command on the PATH."""
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    # Help depends on the width of the terminal.
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def check_pipes(folder):
    models = [LiveModel.load(folder / f"{name}.npz").model.weights.tobytes()
              for name in ("from-csv", "from-gzip", "from-parquet", "digits", "fifo")]  # fmt: skip
    assert len(set(models)) == 1
    lines = (folder / "submission.csv").read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert [str(i + 1) for i in range(5000)] == [line.split(",")[0] for line in lines[1:]]
    labels = pq.read_table(folder / "mnist-sample.parquet")["label"].to_pylist()
    predicted = [int(line.split(",")[1]) for line in lines[1:]]
    assert sum(y == label for y, label in zip(predicted, labels, strict=True)) > 4000
    assert count_samples(folder / "many.npz") == 300
    assert len((folder / "many.jsonl").read_text().splitlines()) == 300
    answers = (folder / "answers.jsonl").read_text().splitlines()
    assert len(answers) == 300
    assert {json.loads(line)["prediction"] for line in answers} == {"up", "down"}
    (alert,) = (folder / "alerts.txt").read_text().splitlines()
    assert alert.startswith("accuracy dropped from ")
    samples, _, drops = (folder / "perceptron.prom").read_text().splitlines()
    assert (samples, drops) == ("perceptron_samples 900", "perceptron_drops 1")


def check_distributed(folder):
    assert count_samples(folder / "eight.npz") == 60_000


def check_services(folder):
    assert (folder / "alert.txt").read_text().startswith("failed: Error: events.jsonl: row 3: ")
    assert count_samples(folder / "events.npz") == 2


def check_checkpoints(folder):
    """Check that the run was killed before its end, so that the next one had rows to learn."""
    assert count_samples(folder / "mnist.npz") == 600_000
    assert count_samples(folder / "mnist.npz.prev") < 600_000


# Checks of the files that the blocks of a page create.
FILE_CHECKS = {
    "checkpoints": check_checkpoints,
    "distributed": check_distributed,
    "pipes": check_pipes,
    "services": check_services,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs_as_printed(page, folder):
    examples = []
    for block in parse_code_blocks(page):
        if block.language == "sh" and not block.name:
            run_block(block.text, folder, "-o", "pipefail")
        elif block.language == "console":
            for command, shown in split_console_block(block.text):
                require_same_output(page, command, shown, run_block(command, folder))
        elif block.language == "python":
            examples.append(block.text)
    if examples:
        (folder / "page.txt").write_text("\n".join(examples))
        script = (
            "import doctest, sys\n"
            "flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE\n"
            "found = doctest.testfile('page.txt', module_relative=False, optionflags=flags)\n"
            "assert found.attempted\n"
            "sys.exit(found.failed > 0)\n"
        )
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", script], cwd=folder, capture_output=True,
            text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
    FILE_CHECKS.get(page.stem, lambda folder: None)(folder)


def find_children(process):
    """Return the IDs of a process's children."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [(int(stat.split()[0]), int(stat.rpartition(")")[2].split()[1])) for stat in stats]
    return [number for number, parent in fields if parent == process.pid]


def test_endless_recipe_follows_a_growing_log(folder):
    events, predictions = folder / "events.jsonl", folder / "predictions.jsonl"
    points = [(i % 7 - 3, i % 5 - 2) for i in range(300)]
    write_jsonl(
        events, [{"a": a, "b": b, "label": "up" if a + b > 0 else "down"} for a, b in points]
    )
    process = subprocess.Popen(
        ["bash", "-c", load_recipe("endless")], cwd=folder, stderr=subprocess.PIPE, text=True
    )

    def read_lines():
        return predictions.read_text().splitlines() if predictions.exists() else []

    wait_for(lambda: len(read_lines()) == 300)
    with events.open("a") as file:
        file.write('{"a": 3, "b": 2}\n')
    wait_for(lambda: len(read_lines()) == 301)
    os.kill(min(find_children(process)), signal.SIGTERM)  # tail, the first process of the pipeline
    process.communicate(timeout=60)

    assert json.loads(read_lines()[-1])["prediction"] == "up"
    assert count_samples(folder / "events.npz") == 300


def test_named_blocks_have_tests_of_their_own():
    """They get a block by its name."""
    names = {block.name for page in PAGES for block in parse_code_blocks(page) if block.name}
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]

    assert len(names) > 20
    assert [name for name in names if not any(f'"{name}"' in text for text in texts)] == []
    assert {"sh", "console", "python", "text"} >= {
        block.language for page in PAGES for block in parse_code_blocks(page) if not block.name
    }


def test_readme_is_short_and_links_lead_to_files():
    assert len(PAGES[0].read_text().splitlines()) <= 150
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"


@pytest.mark.parametrize("name", ["api_reference", "command_reference"])
def test_reference_is_up_to_date(name):
    script = runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))
    page = script["PAGE"]
    if UPDATES_DOCS:
        page.write_text(script["render"]())

    assert page.read_text() == script["render"]()


def test_index_links_to_every_page():
    linked = re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())

    assert set(linked) == {page.name for page in PAGES} - {"README.md"}


def test_troubleshooting_messages_are_in_the_code():
    """NAME, NAMES and N are placeholders."""
    code = [*ROOT.glob("stream_perceptron/**/*.py"), *ROOT.glob("cli/*.py")]
    strings = {
        node.value
        for path in code
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"(?m)^\| `([^`]+)` \|", page)

    assert len(messages) > 20
    for message in messages:
        parts = [part.strip() for part in re.split(r"\b(?:N|NAMES?)\b", message)]
        for part in filter(None, parts):
            assert any(part in string for string in strings), f"{message}: {part}"


def test_files_that_pages_for_contributors_name_exist():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md", ROOT / "tests/README.md"):
        names = re.findall(r"`([a-z0-9_/]+\.(?:py|pyx|h|md|json|html|css))\b", page.read_text())
        assert len(names) > 15
        for name in names:
            assert any(f"/{path}".endswith(f"/{name}") for path in tracked), f"{page.name}: {name}"


def test_every_benchmark_comment_has_a_table():
    """Each table stands between two comments, and scripts/update_docs writes it."""
    report = ROOT / "data" / "bench" / "report.md"
    if UPDATES_DOCS and report.exists():
        sections = dict(
            re.findall(
                r"(?ms)^\*\*([a-z_ ]+)\*\*: [^\n]*\n\n(.*?)(?=\n\*\*|\Z)", report.read_text()
            )
        )
        for page in PAGES:
            page.write_text(
                re.sub(
                    r"(?s)(<!-- bench ([a-z_ ]+?)(?:: ([^>]*?))? -->\n).*?(<!-- end -->)",
                    lambda comment: comment[1] + select_table(sections, comment) + comment[4],
                    page.read_text(),
                )
            )
    assert sum(page.read_text().count("<!-- bench ") for page in PAGES) > 10
    for page in PAGES:
        for table in re.findall(r"(?s)<!-- bench [^>]* -->\n(.*?)<!-- end -->", page.read_text()):
            assert "| --- |" in table


def select_table(sections, comment):
    """Return the report's table for a comment, perhaps limited to rows that begin with a name."""
    if comment[2] not in sections:
        return comment[0].partition("\n")[2].removesuffix("<!-- end -->")
    lines = sections[comment[2]].strip().splitlines()
    selected = lines if comment[3] is None else [
        line for i, line in enumerate(lines) if i < 2 or line.startswith(f"| {comment[3]}")
    ]  # fmt: skip
    return "\n" + "\n".join(selected) + "\n\n"
