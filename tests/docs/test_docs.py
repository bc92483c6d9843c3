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
from helpers import COMMAND, ROOT, blocks_of, recipe, samples_in, wait_for, write_lines

from stream_perceptron import LiveModel
from stream_perceptron_cli.main import COMMANDS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RENEW = "UPDATE_DOCS" in os.environ

# Named blocks, which have their own tests.
TESTED_ELSEWHERE = {
    "setup": "scripts/demo and scripts/test themselves",
    "install": "test_packaging",
    "wheel": "test_packaging",
    "socket": "test_services",
    "service": "test_services",
    "cron": "test_services",
    "daily": "test_services",
    "retention": "test_services",
    "logrotate": "test_services",
    "logrotate-predictions": "test_services",
    "image": "test_services",
    "container": "test_services",
    "endless": "test_a_growing_log",
    "socat": "test_many_writers",
    "kafka": "test_brokers",
    "kafka-topics": "test_topics",
    "kafka-file": "test_topics",
    "kafka-once": "test_topics",
    "kafka-database": "test_topics",
    "kafka-many": "test_brokers",
    "redis": "test_brokers",
    "mqtt": "test_brokers",
    "s3": "test_remote",
}

# The samples per second of a row of progress.
RATE = re.compile(r"(?m)^( +[\d,]+(?: +[\d.]+%| +untested| +[\d.]+)* +[\d.]+%) +[\d,]+$")


def steps_of(text):
    """Yield the commands of a console block with their output."""
    for command, output in re.findall(r"(?m)^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", text):
        yield command.replace("\n> ", "\n").rstrip("\n"), output


def said_by(command, folder, *options):
    """Run a command of a page, which may end with an error, and return its output."""
    result = subprocess.run(
        ["bash", "-eu", *options, "-c", command], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    is_error = result.stdout.rpartition("\n")[0].rpartition("\n")[2].startswith("Error: ")
    assert result.returncode == int(is_error), result.stdout
    return result.stdout


def require_same(page, command, shown, said):
    """Check a command's output against the page, or update the page."""
    if RATE.sub(r"\1", shown) == RATE.sub(r"\1", said):
        return
    assert RENEW, f"{page.name}: $ {command}\n{said}"
    written = page.read_text()
    old = "$ " + command.replace("\n", "\n> ") + "\n" + shown
    assert written.count(old) == 1
    page.write_text(written.replace(old, old.removesuffix(shown) + said))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for running pages, with the installed command on the PATH."""
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    # Help depends on the width of the terminal.
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def after_pipes(folder):
    models = [LiveModel.load(folder / f"{name}.npz").model.weights.tobytes()
              for name in ("from-csv", "from-gzip", "from-parquet", "digits", "fifo")]  # fmt: skip
    assert len(set(models)) == 1
    lines = (folder / "submission.csv").read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert [str(i + 1) for i in range(5000)] == [line.split(",")[0] for line in lines[1:]]
    labels = pq.read_table(folder / "mnist-sample.parquet")["label"].to_pylist()
    found = [int(line.split(",")[1]) for line in lines[1:]]
    assert sum(one == other for one, other in zip(found, labels, strict=True)) > 4000
    assert samples_in(folder / "many.npz") == 300
    assert len((folder / "many.jsonl").read_text().splitlines()) == 300
    answers = (folder / "answers.jsonl").read_text().splitlines()
    assert len(answers) == 300
    assert {json.loads(line)["prediction"] for line in answers} == {"up", "down"}
    (alert,) = (folder / "alerts.txt").read_text().splitlines()
    assert alert.startswith("warning: accuracy dropped from ")
    samples, _, drops = (folder / "perceptron.prom").read_text().splitlines()
    assert (samples, drops) == ("perceptron_samples 900", "perceptron_drops 1")


def after_distributed(folder):
    assert samples_in(folder / "eight.npz") == 60_000


def after_services(folder):
    assert (folder / "alert.txt").read_text().startswith("look: Error: events.jsonl: row 3: ")
    assert samples_in(folder / "events.npz") == 2


def after_checkpoints(folder):
    """Check that the run was killed at work, so that the next one had rows to learn."""
    assert samples_in(folder / "mnist.npz") == 600_000
    assert samples_in(folder / "mnist.npz.prev") < 600_000


# Checks of the files that a page leaves.
AFTER = {
    "checkpoints": after_checkpoints,
    "distributed": after_distributed,
    "pipes": after_pipes,
    "services": after_services,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs_as_printed(page, folder):
    examples = []
    for block in blocks_of(page):
        if block.language == "sh" and not block.name:
            said_by(block.text, folder, "-o", "pipefail")
        elif block.language == "console":
            for command, shown in steps_of(block.text):
                require_same(page, command, shown, said_by(command, folder))
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
    AFTER.get(page.stem, lambda folder: None)(folder)


def children_of(process):
    """Return the ids of a process's children."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [(int(stat.split()[0]), int(stat.rpartition(")")[2].split()[1])) for stat in stats]
    return [number for number, parent in fields if parent == process.pid]


def test_a_growing_log(folder):
    events, predictions = folder / "events.jsonl", folder / "predictions.jsonl"
    points = [(i % 7 - 3, i % 5 - 2) for i in range(300)]
    write_lines(
        events, [{"a": a, "b": b, "label": "up" if a + b > 0 else "down"} for a, b in points]
    )
    process = subprocess.Popen(
        ["bash", "-c", recipe("endless")], cwd=folder, stderr=subprocess.PIPE, text=True
    )

    def lines():
        return predictions.read_text().splitlines() if predictions.exists() else []

    wait_for(lambda: len(lines()) == 300)
    with events.open("a") as file:
        file.write('{"a": 3, "b": 2}\n')
    wait_for(lambda: len(lines()) == 301)
    os.kill(min(children_of(process)), signal.SIGTERM)  # the first of the pipeline, tail
    process.communicate(timeout=60)

    assert json.loads(lines()[-1])["prediction"] == "up"
    assert samples_in(folder / "events.npz") == 300


def test_blocks_that_are_not_run_here_are_tested_elsewhere():
    found = {block.name for page in PAGES for block in blocks_of(page) if block.name}

    assert found == set(TESTED_ELSEWHERE)
    assert {"sh", "console", "python", "text"} >= {
        block.language for page in PAGES for block in blocks_of(page) if not block.name
    }


def test_every_command_has_its_help_in_the_docs():
    shown = re.findall(r"\$ stream-perceptron ([a-z]+) --help", (ROOT / PAGES[0]).read_text())
    shown += re.findall(
        r"\$ stream-perceptron ([a-z]+) --help", (ROOT / "docs" / "command-line.md").read_text()
    )

    assert sorted(shown) == sorted(COMMANDS)


def test_the_front_page_is_short_and_its_links_lead_somewhere():
    assert len(PAGES[0].read_text().splitlines()) <= 150
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"


def test_the_api_reference_has_the_docstrings_as_they_are():
    page = ROOT / "docs" / "api.md"
    script = runpy.run_path(str(ROOT / "scripts" / "api_reference.py"))
    if RENEW:
        page.write_text(script["render"]())

    assert page.read_text() == script["render"]()


def test_the_index_names_every_page():
    linked = re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())

    assert set(linked) == {page.name for page in PAGES} - {"README.md"}


def test_messages_of_the_troubleshooting_page_are_in_the_code():
    """NAME, NAMES and N stand for what varies."""
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


def test_the_tests_of_each_promise_exist():
    page = ROOT / "tests" / "README.md"
    named = re.findall(r"`([a-z/_]+\.py)`", page.read_text())

    assert len(named) > 40
    assert [name for name in named if not (page.parent / name).is_file()] == []


def test_tables_of_the_last_benchmark():
    """Each table stands between two comments; scripts/update_docs fills it in."""
    report = ROOT / "data" / "bench" / "report.md"
    if RENEW and report.exists():
        sections = dict(
            re.findall(
                r"(?ms)^\*\*([a-z_ ]+)\*\*: [^\n]*\n\n(.*?)(?=\n\*\*|\Z)", report.read_text()
            )
        )
        for page in PAGES:
            page.write_text(
                re.sub(
                    r"(?s)(<!-- bench ([a-z_ ]+?)(?:: ([^>]*?))? -->\n).*?(<!-- end -->)",
                    lambda found: found[1] + table_of(sections, found) + found[4],
                    page.read_text(),
                )
            )
    assert sum(page.read_text().count("<!-- bench ") for page in PAGES) > 15
    for page in PAGES:
        for table in re.findall(r"(?s)<!-- bench [^>]* -->\n(.*?)<!-- end -->", page.read_text()):
            assert "| --- |" in table


def table_of(sections, found):
    """Return a section's table, or its rows that begin with a part's name."""
    if found[2] not in sections:
        return found[0].partition("\n")[2].removesuffix("<!-- end -->")
    lines = sections[found[2]].strip().splitlines()
    kept = lines if found[3] is None else [
        line for i, line in enumerate(lines) if i < 2 or line.startswith(f"| {found[3]}")
    ]  # fmt: skip
    return "\n" + "\n".join(kept) + "\n\n"
