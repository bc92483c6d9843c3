"""Write the commands and options in docs/command-line.md from the help texts."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import fill, indent

import click

from stream_perceptron_cli.command import SECTIONS
from stream_perceptron_cli.main import COMMANDS, main

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"

_START = "<!-- scripts/update_docs creates the lines below from the help texts. -->\n"
_WIDTH = 120


def render() -> str:
    """Return the page."""
    start, _, _ = PAGE.read_text().partition(_START)
    return "\n".join([start + _START, *_describe_commands(), *_describe_options()])


def _describe_commands() -> Iterator[str]:
    """Yield the usage and the description of each command."""
    for name, context in _make_contexts().items():
        yield f"## {name}\n"
        yield indent(
            f"stream-perceptron {name} {' '.join(context.command.collect_usage_pieces(context))}\n",
            "    ",
        )
        for paragraph in cleandoc(context.command.help or "").split("\n\n"):
            if paragraph.startswith("\b"):
                yield indent(paragraph.removeprefix("\b\n"), "    ") + "\n"
            else:
                text = fill(paragraph, _WIDTH, break_on_hyphens=False, break_long_words=False)
                yield f"{text}\n"


def _describe_options() -> Iterator[str]:
    """Yield a table of the options in each section, with the commands that have them."""
    rows: dict[str, dict[tuple[str, str], list[str]]] = {name: {} for name in SECTIONS}
    contexts = _make_contexts()
    for name, context in contexts.items():
        for parameter in context.command.get_params(context):
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Option) and record is not None:
                section = getattr(parameter, "section", SECTIONS[-1])
                rows[section].setdefault(record, []).append(name)
    yield "## Options\n"
    for section, options in rows.items():
        yield f"### {section}\n"
        yield "| option | meaning | commands |\n| --- | --- | --- |"
        for (flags, meaning), names in options.items():
            users = "all" if len(names) == len(contexts) else ", ".join(names)
            cells = (f"`{flags}`", meaning, users)
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def _make_contexts() -> dict[str, click.Context]:
    parent = click.Context(main, **main.context_settings)
    commands = {name: main.get_command(parent, name) for name in COMMANDS}
    return {name: click.Context(each, parent) for name, each in commands.items() if each}


if __name__ == "__main__":
    PAGE.write_text(render())
