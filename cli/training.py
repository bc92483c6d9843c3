"""The options of `learn` and `sweep`, and the sources that they name."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import TYPE_CHECKING, ClassVar

import click

from .options import COUNT, JsonOption, ReadingOptions, Rule, merge_pairs, option
from .signals import Signals
from .values import CLASS_WEIGHT, CLASSES, NAMES, SCALE

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.data.source import Source


# Options that name columns, and what they do with them.
_COLUMN_FLAGS = {
    "--one-hot": "encode",
    "--dates": "encode",
    "--words": "encode",
    "--ignore": "ignore",
}


def _merge_class_weights(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str | tuple[str, float], ...]
) -> dict[str, float] | str | None:
    """Return the class weights by label, or "balanced", or None if no weight is given."""
    flag = parameter.opts[-1]
    pairs = [value for value in values if not isinstance(value, str)]
    if len(pairs) < len(values):
        if len(values) > 1:
            raise click.UsageError(f"{flag} balanced cannot be combined with another {flag}")
        return "balanced"
    return merge_pairs(ctx, parameter, tuple(pairs))


@dataclass(init=False, eq=False, repr=False)
class TrainingOptions(ReadingOptions, JsonOption):
    """The options common to `learn` and `sweep`."""

    weight: str | None = option("--weight NAME", "Column with sample weights.", section="Input")
    position: tuple[str, ...] = option(
        "--position [PART,]OFFSET",
        "Columns with the partition and the offset of each row. Rows at or below the highest "
        "offset learned from their partition are skipped.",
        NAMES,
        (),
        section="Input",
    )
    scale: float | None = option(
        "--scale NUMBER|a/b",
        "Multiply features by this number. Default: 1/255 for pixels, otherwise 1.",
        SCALE,
        section="Input",
    )
    one_hot: tuple[str, ...] = option(
        "--one-hot NAMES",
        "Text columns to encode, with one feature for each value.",
        NAMES,
        (),
        section="Input",
        is_common=True,
    )
    dates: tuple[str, ...] = option(
        "--dates NAMES",
        "Columns of dates (ISO 8601) to encode, with features for hour, weekday, month and days.",
        NAMES,
        (),
        section="Input",
        is_common=True,
    )
    words: tuple[str, ...] = option(
        "--words NAMES",
        "Text columns to encode, with one feature for each word.",
        NAMES,
        (),
        section="Input",
        is_common=True,
    )
    at_random: bool = option("--random", "Draw rows at random, with replacement.", section="Input")
    epochs: int | None = option(
        "--passes N",
        "Read the sources N times. Default: once; with --random --stop, until --stop ends the run.",
        COUNT,
        section="Input",
        is_common=True,
    )
    limit: int | None = option(
        "--limit N", "Read at most N rows, labeled or not.", COUNT, section="Input", is_common=True
    )
    classes: tuple[str, ...] | None = option(
        "--classes a,b,c|0-9", "Labels known from the start.", CLASSES, section="Model"
    )
    class_weight: dict[str, float] | str | None = option(
        "--class-weight LABEL=NUMBER|balanced",
        "Multiply the sample weights of class LABEL by NUMBER; may be repeated. With balanced, "
        "rare classes have larger weights.",
        CLASS_WEIGHT,
        section="Model",
        is_common=True,
        multiple=True,
        callback=_merge_class_weights,
    )
    seed: int = option(
        "--seed N", "Seed for the initial weights and random draws.", int, 0, section="Advanced"
    )
    max_weights: int = option(
        "--max-weights N",
        "Maximum number of weights. Each label and each feature name counts as 32 weights.",
        COUNT,
        2**27,
        section="Advanced",
    )
    quiet: bool = option(
        "-q/--quiet",
        "Print only warnings, errors and results.",
        section="Output",
        is_common=True,
    )

    has_short_help: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "- (stdin) cannot be combined with other sources",
            lambda o: "-" in o.sources and len(o.sources) > 1,
        ),
        Rule(
            "stdin and pipes can be read only once: --random and --passes need files",
            lambda o: (o.at_random or o.n_passes > 1) and o.reads_stream,
        ),
        Rule(
            "--position cannot be combined with --random",
            lambda o: o.at_random and o.position,
        ),
    )

    @property
    def n_passes(self) -> int:
        """The number of passes, except for a run that continues until --stop ends it."""
        return self.epochs or 1

    @property
    def reads_stream(self) -> bool:
        """Whether any of the sources can be read only once."""
        from stream_perceptron.data.byte_input import is_stream

        return any(map(is_stream, self.sources))

    def require_files(self) -> None:
        """Check that no source is a column that was meant for the option before it."""
        arguments = sys.argv
        for flag, verb in _COLUMN_FLAGS.items():
            i = arguments.index(flag) + 2 if flag in arguments else len(arguments)
            columns = list(takewhile(self._is_missing_file, arguments[i:]))
            if columns:
                names = shlex.quote(",".join([arguments[i - 1], *columns]))
                many = "both" if len(columns) == 1 else "all"
                raise click.UsageError(
                    f"{columns[0]}: no such file; to {verb} {many} columns:\n  {flag} {names}"
                )

    def _is_missing_file(self, argument: str) -> bool:
        return argument in self.sources and "://" not in argument and not os.path.exists(argument)

    def make_read_options(self, sources: Sequence[Source], standardize: bool | None) -> ReadOptions:
        """Return the read options for these sources.

        By default, tables and JSON objects are standardized, and pixels are scaled.
        """
        from stream_perceptron.data.request import Request
        from stream_perceptron.data.schema import ReadOptions

        settings = {name: value for name, value in vars(self).items() if value is not None}
        settings["standardize"] = standardize is True
        names = {setting.name for setting in fields(ReadOptions)}.intersection(settings)
        read_options = ReadOptions(**{name: settings[name] for name in names})
        if self.scale is not None:
            return read_options
        openings = (source.open(Request(read_options)) for source in sources)
        opening = next((opening for opening in openings if opening is not None), None)
        if opening is None:
            return read_options
        if opening.is_table:
            return replace(read_options, scale=1.0, standardize=standardize is not False)
        return opening.scale_pixels(read_options)

    def open_sources(
        self,
        signals: Signals,
        seed: int,
        paths: Sequence[str],
    ) -> list[Source]:
        """Open the sources; with --random, return one source that draws from all of them."""
        from stream_perceptron.data.draws import RandomDraws
        from stream_perceptron.data.opening import open_source

        opened: list[Source] = []
        for path in paths:
            if opened:
                signals.check()
            opened.append(open_source(path, self.file_format, signals))
        return [RandomDraws(opened, seed)] if self.at_random else opened


def choose_default_lr(read_options: ReadOptions, has_class_weights: bool) -> float:
    """Return the default learning rate.

    It is lower with class weights, which make the steps for samples of rare classes much larger.
    """
    return 0.1 if read_options.standardize and not has_class_weights else 0.01
