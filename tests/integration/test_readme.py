"""The README is true: its help texts are those of the program, and its code runs."""

from __future__ import annotations

import doctest
import re
import subprocess

import pytest
from helpers import COMMAND, ROOT

README = (ROOT / "README.md").read_text()
HELP = re.findall(r"```console\n\$ (stream-perceptron [a-z ]*--help)\n(.*?)```", README, re.S)


def test_python_blocks_run_and_print_what_is_shown():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test)

    assert len(test.examples) > 5
    assert 0 == runner.summarize().failed


@pytest.mark.parametrize(("command", "shown"), HELP, ids=[command for command, _ in HELP])
def test_help_blocks_are_fresh(command, shown):
    """To renew them, run scripts/update_readme."""
    result = subprocess.run(
        [COMMAND, *command.split()[1:]], capture_output=True, text=True, check=True
    )

    assert result.stdout == shown


def test_every_command_has_a_help_block():
    from stream_perceptron_cli.main import COMMANDS

    assert {f"stream-perceptron {name} --help" for name in COMMANDS} == {c for c, _ in HELP}
