"""The options of `learn` and `sweep`, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .signals import Signals

if TYPE_CHECKING:
    from stream_perceptron.data.identity import PipeHeader
    from stream_perceptron.data.schema import Selection
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.marks import Marks

Asked = TypeVar("Asked", bound="ReadingOptions")


@dataclass(frozen=True)
class ReadingOptions:
    """The options common to `learn` and `sweep`."""

    given: frozenset[str]  # the names of the options on the command line
    sources: tuple[str, ...]
    file_format: str | None
    label: str | None
    ignore: tuple[str, ...]
    weight: str | None
    position: tuple[str, ...]
    scale: float | None
    one_hot: tuple[str, ...]
    missing: tuple[str, ...]
    delimiter: str | None
    decimal: str
    at_random: bool
    epochs: int | None
    limit: int | None
    skip_rejected: bool
    classes: tuple[str, ...] | None
    seed: int
    max_weights: int
    as_json: bool
    quiet: bool

    def selection(self, sources: Sequence[Source]) -> Selection:
        """Return the selection for these sources; by default, tables are standardized, unscaled."""
        from stream_perceptron.data.schema import Selection
        from stream_perceptron.data.source import Request

        given = vars(self) | {"keep": getattr(self, "keep", ())}
        is_on = given["standardize"]  # None for the default
        given["standardize"] = is_on is True
        names = {each.name for each in fields(Selection)}.intersection(given)
        asked = Selection(**{name: given[name] for name in names})
        if self.scale is not None:
            return asked
        openings = (source.open(Request(asked)) for source in sources)
        opening = next((each for each in openings if each is not None), None)
        if opening is None or not opening.schema.is_table:
            return asked
        return replace(asked, scale=1.0, standardize=is_on is not False)

    def open_sources(
        self,
        signals: Signals,
        seed: int,
        header: PipeHeader | None = None,
        marks: Marks | None = None,
    ) -> list[Source]:
        """Open the sources; with --random, return one source that draws from all of them.

        Files that are finished, as their marks show, are not opened.
        """
        from stream_perceptron.data.opening import open_source
        from stream_perceptron.data.sampling import RandomDraws

        opened: list[Source] = []
        finished = repeat(None) if marks is None else marks.find_finished(self.sources)
        for path, learned in zip(self.sources, finished, strict=False):
            if opened:
                signals.check()
            opened.append(learned or open_source(path, self.file_format, signals, header))
        return [RandomDraws(opened, seed)] if self.at_random else opened

    @property
    def reads_a_stream(self) -> bool:
        """Whether a source can be read only once."""
        from stream_perceptron.data.byte_stream import is_stream

        return any(map(is_stream, self.sources))


@dataclass(frozen=True)
class LearnOptions(ReadingOptions):
    """The options of `learn`."""

    standardize: bool | None
    join: str | None
    waiting: int
    lr: float | None
    epsilon: float
    activation: str
    init_range: float
    stop: bool
    path: Path | None
    save_every: int | float  # rows, or seconds
    overwrite: bool
    again: bool
    ray: str | None
    shards: int | None
    round_rows: int
    keep_lr: bool
    output: str | None
    rejected: Path | None
    output_format: str | None
    probabilities: bool
    with_learned: bool
    keep: tuple[str, ...]
    n_traced: int | None

    @property
    def is_endless(self) -> bool:
        """Whether the run ends only by --stop."""
        return self.at_random and self.stop and self.epochs is None

    @property
    def reads_whole_files(self) -> bool:
        """Whether finished files are read, too."""
        return self.again or self.at_random or self.ray is not None or (self.epochs or 1) > 1

    @property
    def skips(self) -> bool:
        """Whether rejected rows are skipped."""
        return self.skip_rejected or self.rejected is not None


@dataclass(frozen=True)
class SweepOptions(ReadingOptions):
    """The options of `sweep`."""

    standardize: tuple[bool, ...] | None
    lr: tuple[float, ...] | None
    epsilon: tuple[float, ...]
    activation: tuple[str, ...]
    init_range: tuple[float, ...]
    n_threads: int | None


def usual_lr(selection: Selection) -> float:
    """Return the default learning rate."""
    return 0.1 if selection.standardize else 0.01


def asked_of(cls: type[Asked], ctx: click.Context) -> Asked:
    """Return the options of a command, checked against the rules."""
    default = ParameterSource.DEFAULT
    given = frozenset(name for name in ctx.params if ctx.get_parameter_source(name) is not default)
    options = cls(given=given, **ctx.params)
    for kind, rules in _RULES.items():
        for why, is_broken in rules.items() if isinstance(options, kind) else ():
            if found := is_broken(options):
                raise click.UsageError(why.format(found))
    return options


def _first(options: ReadingOptions, *names: str) -> str | None:
    """Return the flag of the first of these options that was given."""
    flags = {
        "at_random": "random", "output": "predictions", "n_traced": "trace",
        "with_learned": "learned",
    }  # fmt: skip
    name = next((name for name in sorted(names) if name in options.given), None)
    return name and "--" + flags.get(name, name).replace("_", "-")


# For each class: messages, and functions that return a true value if the message applies.
_RULES: dict[type[ReadingOptions], dict[str, Callable[[Any], object]]] = {
    ReadingOptions: {
        "- (stdin) cannot be combined with other sources": lambda o: (
            "-" in o.sources and len(o.sources) > 1
        ),
        "stdin and pipes can be read only once: --random and --passes need files": lambda o: (
            (o.at_random or (o.epochs or 1) > 1) and o.reads_a_stream
        ),
        "--position cannot be combined with --random": lambda o: o.at_random and o.position,
    },
    LearnOptions: {
        "--json and -p - both write to stdout: write predictions to a file": lambda o: (
            o.as_json and o.output == "-"
        ),
        "--ray takes {} as its address: put --ray after the files": lambda o: (
            o.ray and Path(o.ray).is_file() and o.ray
        ),
        "--ray needs --shards N: as many as the cluster has processors": lambda o: (
            o.ray is not None and o.shards is None
        ),
        "--join needs rows in order, once: it cannot be combined with {}": lambda o: (
            o.join
            and ("--passes" if (o.epochs or 1) > 1 else _first(o, "at_random", "stop", "ray"))
        ),
        "--waiting needs --join": lambda o: o.join is None and _first(o, "waiting"),
        "--rejected takes a file": lambda o: str(o.rejected) == "-",
        "{} cannot be combined with --random": lambda o: (
            o.at_random and _first(o, "keep", "rejected")
        ),
        "stdin and pipes cannot be split into shards: name Parquet files": lambda o: (
            o.ray is not None and o.reads_a_stream
        ),
        "{} needs a checkpoint: add -m MODEL": lambda o: (
            o.path is None and _first(o, "save_every", "overwrite", "again")
        ),
        "stdin and pipes can be read only once: --again needs files": lambda o: (
            o.again and o.reads_a_stream
        ),
        "{} needs predictions: add -p FILE": lambda o: (
            o.output is None and _first(o, "keep", "probabilities", "with_learned", "output_format")
        ),
        "{} needs --ray": lambda o: o.ray is None and _first(o, "shards", "round_rows", "keep_lr"),
        "{} needs rows in order: it cannot be combined with --ray": lambda o: (
            o.ray is not None
            and _first(
                o, "at_random", "stop", "limit", "position", "output", "rejected", "n_traced"
            )
        ),
    },
}
