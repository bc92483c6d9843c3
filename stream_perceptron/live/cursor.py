"""The cursor of a run in its sources, and the rules of resuming with other sources."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.identity import Identity, PipeHeader
from stream_perceptron.errors import CheckpointError


@dataclass(frozen=True)
class Shards:
    """The split of a run into shards, and its place."""

    n: int = field(metadata={"least": 1})  # the number of shards
    rows: int = field(metadata={"least": 1})  # the rows of each shard in a round
    rounds: int = 0  # the rounds done in the epoch
    # The rows up to the first learned one, which were learned before the first round.
    first_rows: int = 0

    def __str__(self) -> str:
        return f"in {self.n:,} shards by rounds of {self.rows:,} rows"


@dataclass
class Cursor:
    """The place of a run: rows before it are learned, rows after it are not."""

    sources: list[Identity] = field(default_factory=list)  # in order
    at_random: bool = False  # whether rows are drawn at random from all sources
    epoch: int = 0  # counted from 0
    index: int = 0  # the source within the epoch; the number of sources after the last
    # The rows read of that source, or the epoch's draws; of a pipe those read in all runs, without
    # redelivered ones.
    row: int = 0
    # The bytes of a text file up to the end of its last row that was read.
    offset: int = field(default=0, metadata={"optional": True})
    read: int = 0  # the rows read of these sources in all epochs
    rejected: int = field(default=0, metadata={"optional": True})  # the rejected rows among these
    finished: bool = True  # whether the run ended by itself, so that other sources may follow
    stopped_below: float | None = None  # the epsilon, if an error below it ended the run
    # Files of predictions, by path relative to the checkpoint: their bytes for learned rows.
    outputs: dict[str, int] = field(default_factory=dict)
    # Predictions of learned rows that no reader has taken from the output pipe.
    untaken: str = field(default="", metadata={"optional": True})
    # Of the last pipe, if it may go on.
    header: PipeHeader | None = field(default=None, metadata={"optional": True})
    redeliveries: Redeliveries = field(default_factory=Redeliveries)
    # The split into shards, if any; `index` and `row` are then 0.
    shards: Shards | None = None

    def begun(self, epsilon: float, stop: bool) -> Cursor:
        """Return the cursor of a run from here on; it is finished if the run already stopped."""
        here = replace(
            self, sources=list(self.sources), redeliveries=copy.deepcopy(self.redeliveries)
        )
        if self.is_of_stream:
            here.redeliveries.begin_source()
        here.finished = stop and self.stopped_below == epsilon
        if not here.finished:
            here.stopped_below = None
        return here

    @property
    def has_only_rejected(self) -> bool:
        """Whether rows of these sources were read, and all of them were rejected."""
        return 0 < self.read == self.rejected

    @property
    def is_of_stream(self) -> bool:
        """Whether it stands in a source that can be read only once."""
        return any(source.is_stream for source in self.sources)

    def to_be_saved(self) -> Cursor:
        """Return the part of the cursor that a further run can use."""
        if not self.sources:
            return self.without_place()
        saved = replace(self, redeliveries=copy.copy(self.redeliveries))
        if self.is_of_stream:  # the next row may be any row
            saved.redeliveries.begin_source()
        return saved

    def without_place(self) -> Cursor:
        """Return a cursor that keeps no place, for sources without an identity."""
        return Cursor(
            read=self.read, rejected=self.rejected, outputs=self.outputs, untaken=self.untaken,
            redeliveries=self.redeliveries, header=self.header,
        )  # fmt: skip

    def require_fit(self, position: tuple[str, ...]) -> None:
        """Check that the cursor fits a run with these position columns."""
        if self.index > len(self.sources):
            raise CheckpointError("cursor lies beyond its sources")
        if not self.sources and self != self.without_place():
            raise CheckpointError("cursor has a place, but no sources")
        if any(len(key) != len(position) - 1 for key in self.offsets):
            raise CheckpointError("cursor has offsets that do not fit the position columns")

    def resumed(
        self,
        sources: Sequence[Identity],
        new: Sequence[Identity],
        at_random: bool,
        go_next: bool = False,
        shards: Shards | None = None,
    ) -> Cursor:
        """Return the cursor from which to read these sources.

        The earlier sources continue where they stopped, also if others were added. Other sources
        begin if the earlier ones are finished, or with `go_next`; `new` are then their identities.
        """
        begin = Cursor(
            list(new), at_random, redeliveries=self.redeliveries, shards=shards,
            outputs=self.outputs, untaken=self.untaken, header=self.header,
        )  # fmt: skip
        known = len(self.sources)
        how = self._how(at_random, shards)
        same = self.sources == list(sources[:known]) and how == self._how(
            self.at_random, self.shards
        )
        if same and known and not ((at_random or shards) and len(sources) > known):
            return replace(self, sources=list(sources))
        names = [source.name for source in sources]
        for source in self.sources:
            if source.has_changed and source.name in names and not go_next:
                raise CheckpointError(
                    f"{source.name}: the file was changed while its rows were learned, so where to "
                    "continue is not known; start over with --overwrite, or read it as a new one "
                    "with --next"
                )
        if not known or self.finished or go_next or self.is_of_stream:
            return begin
        difference = self._difference(sources, how)
        raise CheckpointError(f"{difference}; --next leaves the rest out")

    @staticmethod
    def _how(at_random: bool, shards: Shards | None) -> str:
        return "at random" if at_random else "in order" if shards is None else str(shards)

    def _difference(self, sources: Sequence[Identity], how: str) -> str:
        here = self.sources[min(self.index, len(self.sources) - 1)]
        where = f"{here.name} was learned only up to row {self.row:,}"
        if self.shards is not None:
            where = f"{here.name} was learned only up to round {self.shards.rounds:,}"
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
            if now.digest and not now.size:
                return (
                    f"{where}, and the file's content has changed in its first {known.size:,} bytes"
                )
            if now.size != known.size:
                sizes = f"from {known.size:,} to {now.size:,} bytes"
                return f"{where}, and the file has changed {sizes}"
            return f"{where}, and the file's content has changed"
        return f"{where}, and there are more files than before"

    @property
    def offsets(self) -> dict[tuple[str, ...], int]:
        """The highest offset read of each partition, by the partition's values as text."""
        return self.redeliveries.offsets

    def move(self, batch: Batch, is_stream: bool) -> int:
        """Move over learned rows; return how many count: redelivered rows of a stream do not."""
        rows = len(batch)
        if is_stream and batch.redelivered is not None:
            rows -= int(np.count_nonzero(batch.redelivered))
        self.row += rows
        self.read += rows
        if batch.ends is not None and len(batch):
            self.offset = int(batch.ends[-1])
        self.rejected += len(batch.rejected)
        for offset in batch.offsets:
            self.redeliveries.update(offset)
        return rows
