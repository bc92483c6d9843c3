"""Where a run is in its sources, and whether it may go on with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.codec import Fields
from stream_perceptron.data.batch import Place
from stream_perceptron.data.identity import Identity
from stream_perceptron.errors import CheckpointError

__all__ = ["Output", "Position", "Shards"]


@dataclass(frozen=True)
class Output:
    """A file of predictions.

    Parameters
    ----------
    path
        Its path from the folder of the checkpoint on.
    size
        The number of bytes in it that belong to the rows that were learned.

    """

    path: str
    size: int


@dataclass(frozen=True)
class Shards:
    """How a run that is shared out over machines goes through its sources.

    Parameters
    ----------
    n
        The number of shards.
    rows
        The rows that each of them learns in a round.
    rounds
        The rounds done in the pass.

    """

    n: int
    rows: int
    rounds: int = 0

    def __str__(self) -> str:
        return f"in {self.n:,} shards by rounds of {self.rows:,} rows"


@dataclass
class Position:
    """Where a run is: rows before it were learned, those after it were not.

    Parameters
    ----------
    sources
        What is read, in order.
    at_random
        Whether rows are drawn at random from all sources.
    turn
        The pass over the sources, from 0.
    index
        The source within the pass; the number of sources when the pass is over.
    row
        The rows read of that source, or the draws made in the pass. A stream goes on over all runs,
        and rows that come again do not count in it.
    read
        The rows read of these sources in all passes.
    finished
        Whether the run ended by itself, so that other sources may follow.
    stopped_below
        The epsilon below which an error ended the run, if one did.
    output
        The file that predictions are written to, up to here.
    offsets
        The highest offset read of each part, by the values that name the part, as text.
    shards
        How rows are shared out, if they are; `index` and `row` are 0 then.

    """

    sources: list[Identity] = field(default_factory=list)
    at_random: bool = False
    turn: int = 0
    index: int = 0
    row: int = 0
    read: int = 0
    finished: bool = True
    stopped_below: float | None = None
    output: Output | None = None
    offsets: dict[tuple[str, ...], int] = field(default_factory=dict)
    shards: Shards | None = None

    def go_on_with(
        self,
        sources: Sequence[Identity],
        at_random: bool,
        go_next: bool = False,
        shards: Shards | None = None,
    ) -> Position:
        """Return the position from which to read these sources.

        The sources of before go on where they were, also when others were added behind them. Others
        are begun if those of before are finished, or with `go_next`.

        Raises
        ------
        CheckpointError
            If these are others, and those of before are not finished.

        """
        begin = Position(
            list(sources), at_random, output=self.output, offsets=self.offsets, shards=shards
        )
        known = len(self.sources)
        how = self._how(at_random, shards)
        same = self.sources == list(sources[:known]) and how == self._how(
            self.at_random, self.shards
        )
        if same and known and not ((at_random or shards) and len(sources) > known):
            return replace(self, sources=list(sources))
        if self.finished or go_next or any(source.is_stream for source in self.sources):
            return begin
        difference = self._difference(sources, how)
        raise CheckpointError(f"{difference}; --next leaves the rest out")

    @staticmethod
    def _how(at_random: bool, shards: Shards | None) -> str:
        return "at random" if at_random else "in order" if shards is None else str(shards)

    def _difference(self, sources: Sequence[Identity], how: str) -> str:
        here = self.sources[min(self.index, len(self.sources) - 1)]
        where = f"row {self.row:,} of {here.name} is not the end of it"
        if self.shards is not None:
            where = f"round {self.shards.rounds:,} of {here.name} is not the last one"
        before = self._how(self.at_random, self.shards)
        if how != before:
            return f"{where}, and rows were read {before}, now {how}"
        for i, known in enumerate(self.sources):
            if i >= len(sources):
                return f"{where}, and {known.name} is missing"
            now = sources[i]
            if now == known:
                continue
            if now in self.sources or known in sources:
                return f"{where}, and source {i + 1} is {now.name}, not {known.name}"
            if now.name != known.name:
                return f"{where}, and {now.name} is another source"
            if now.size != known.size:
                sizes = f"from {known.size:,} to {now.size:,} bytes"
                return f"{where}, and the file has changed {sizes}"
            return f"{where}, and the file's content has changed"
        return f"{where}, and there are more files than before"

    def replayed(self, places: Sequence[Place | None]) -> NDArray[np.bool_]:
        """Return which rows are at or below the highest offset of their part, in this order."""
        highest = dict(self.offsets)
        replayed = np.zeros(len(places), bool)
        for i, place in enumerate(places):
            if place is not None:
                part, offset = _part_of(place)
                replayed[i] = offset <= highest.get(part, offset - 1)
                highest[part] = max(offset, highest.get(part, offset))
        return replayed

    def advance(self, places: Sequence[Place | None]) -> None:
        """Take note of rows that were read."""
        for place in places:
            if place is not None:
                part, offset = _part_of(place)
                self.offsets[part] = max(offset, self.offsets.get(part, offset))

    def to_json(self) -> dict[str, Any]:
        """Return the position as JSON."""
        return vars(self) | {
            "sources": [vars(source) for source in self.sources],
            "output": None if self.output is None else vars(self.output),
            "offsets": [[*part, offset] for part, offset in sorted(self.offsets.items())],
            "shards": None if self.shards is None else vars(self.shards),
        }

    @classmethod
    def from_json(cls, value: Any) -> Position:
        """Return the position that `to_json` was called on.

        Raises
        ------
        CheckpointError
            If it does not hold together.

        """
        fields = Fields(value, "position")
        sources = []
        for source in fields.take("sources", list):
            each = Fields(source, "source")
            sources.append(
                Identity(each.take("name", str), each.count("size"), each.take("digest", str))
            )
            each.finish()
        output = fields.take("output", dict, type(None))
        if output is not None:
            each = Fields(output, "output")
            output = Output(each.take("path", str), each.count("size"))
            each.finish()
        shards = fields.take("shards", dict, type(None))
        if shards is not None:
            each = Fields(shards, "shards")
            shards = Shards(*(each.count(name) for name in ("n", "rows", "rounds")))
            each.finish()
            if shards.n < 1 or shards.rows < 1:
                raise CheckpointError("position has no shards, or none with rows")
        offsets = {}
        for offset in fields.take("offsets", list):
            if not isinstance(offset, list) or [type(part) for part in offset] != [
                *[str] * (len(offset) - 1), int,
            ]:  # fmt: skip
                raise CheckpointError("position has an offset that is none")
            offsets[tuple(offset[:-1])] = offset[-1]
        position = cls(
            sources=sources,
            at_random=fields.take("at_random", bool),
            **{name: fields.count(name) for name in ("turn", "index", "row", "read")},
            finished=fields.take("finished", bool),
            stopped_below=fields.take("stopped_below", float, type(None)),
            output=output,
            offsets=offsets,
            shards=shards,
        )
        fields.finish()
        if position.index > len(sources):
            raise CheckpointError("position lies behind its sources")
        return position


def _part_of(place: Place) -> tuple[tuple[str, ...], int]:
    """Return the part that a position is in, and its offset there."""
    return tuple(map(str, place[:-1])), place[-1]
