"""stream-perceptron report."""

from __future__ import annotations

import click

from .command import Options, command
from .files import OVERWRITE_ADVICE, require_distinct_files, require_expected_content
from .options import FILE, make_format_option, option, overwrite_option
from .reading import change_read_options, require_runnable
from .signals import exit_on_signal
from .terminal import OneLineError, make_printable, print_line


@command(short_help="Write an HTML page that shows how models learned.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=FILE)
@make_format_option()
@option(
    "-o", "--output", metavar="FILE", type=FILE, default="report.html", show_default=True,
    help="Where to write the page.",
)  # fmt: skip
@option(
    "--examples", metavar="SOURCE",
    help="Labeled samples; the page shows the most confident mistakes on them.",
)  # fmt: skip
@overwrite_option
def report(options: Options) -> None:
    """Write an HTML page that shows how models learned: a single file without scripts, which needs
    no network.

    For one model, the page shows the key figures, the learning curve, the diagnosis, the confusion
    matrix, the classes by recall, and the strongest features of each class or, for images, a
    picture of its weights. With --examples, it also shows the most confident mistakes on the given
    samples, and whether the model was trained on them. Several models are shown side by side.

    \b
    stream-perceptron report mnist.npz --examples mnist-test.parquet
    stream-perceptron report monday.npz tuesday.npz
    """
    from importlib.util import find_spec

    from stream_perceptron import LiveModel
    from stream_perceptron.checkpoint.atomic import open_replacement
    from stream_perceptron.data.opening import open_source
    from stream_perceptron.diagnostics.report import render_report

    output, examples = options.output, options.examples
    require_distinct_files(
        MODEL=list(map(str, options.models)), the_page=output, the_examples=examples
    )
    if examples is not None and len(options.models) > 1:
        raise click.UsageError("--examples shows the mistakes of one model: name one")
    models = {make_printable(str(path)): LiveModel.load(path) for path in options.models}
    if find_spec("jinja2") is None:
        raise OneLineError("the report needs jinja2; to install it", ["pip install jinja2"])
    if not options.overwrite:
        require_expected_content(output, (b"<!doctype html",), "a report", *OVERWRITE_ADVICE)
    live = models[make_printable(str(options.models[0]))]
    read_options = None
    if examples is not None:
        require_runnable(live, options.models[0])
        read_options = change_read_options(live)

    def make_page() -> str:
        source = None if examples is None else open_source(examples, options.file_format, signals)
        page = render_report(models, source, read_options)
        return "\n".join(map(make_printable, page.split("\n")))

    with exit_on_signal() as signals:
        page = signals.call_interruptibly(make_page, [examples or ""])
    with open_replacement(output) as file:
        file.write(page.encode())
    print_line(f"report written to {output}: open it in a browser")
