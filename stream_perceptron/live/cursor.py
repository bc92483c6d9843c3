"""The cursor of a run in its sources, and the rules of resuming."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.identity import Identity, PipeHeader
from stream_perceptron.data.source import Source
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


class Turn(Enum):
    """What a run does with a source at its turn."""

    SKIP = "skip the source, as it has no further rows"
    BEGIN = "read rows that do not follow the last row learned"
    RESUME = "read rows that follow the last row learned"


@dataclass
class Cursor:
    """The place of a run: rows before it are learned, rows after it are not."""

    # In the order given. A text file is identified up to the last row that was read, unless its
    # rows are drawn at random.
    sources: list[Identity] = field(default_factory=list)
    at_random: bool = False  # whether rows are drawn at random from all sources
    epoch: int = 0  # counted from 0
    index: int = 0  # the source within the epoch; the number of sources after the last
    # The rows read of that source, or the epoch's draws; of a pipe those read in all runs, without
    # redelivered ones.
    row: int = 0
    # The rows at the start of that file that were learned before this pass.
    n_known: int = field(default=0, compare=False, metadata={"saved": False})
    # The bytes of a text file up to the end of its last row that was read.
    offset: int = field(default=0, metadata={"optional": True})
    # The rows read of these sources in all epochs, in earlier runs too.
    read: int = 0
    rejected: int = field(default=0, metadata={"optional": True})  # the rejected rows among these
    finished: bool = True  # whether the run ended by itself
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
    # Whether the files are read from their start, whatever was learned of them.
    is_again: bool = field(default=False, metadata={"optional": True})

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
            if here.begins_at_marks and not all(source.is_stream for source in here.sources):
                here.read = here.rejected = 0  # rows up to the marks are counted on the way
        return here

    def end_of(self, limit: int | None) -> int | None:
        """Return the number of rows read at which a run with a limit ends.

        The limit on a pipe counts only the rows of this run.
        """
        return None if limit is None else limit + (self.read if self.is_of_stream else 0)

    @property
    def is_in_order(self) -> bool:
        """Whether rows are read in the order of the sources."""
        return not self.at_random and self.shards is None

    @property
    def moves_marks(self) -> bool:
        """Whether the pass moves the marks of its files."""
        return bool(self.sources) and self.is_in_order and not self.epoch

    @property
    def begins_at_marks(self) -> bool:
        """Whether the pass reads each file from its mark."""
        return self.moves_marks and not self.is_again

    @property
    def is_repeating(self) -> bool:
        """Whether the pass repeats rows, and so ignores the offsets of redelivered ones."""
        return self.epoch > 0 or self.is_again

    def count_repeated(self, n: int) -> int:
        """Return how many of the next n rows were learned before; these come first."""
        is_whole = self.epoch > 0 or self.at_random
        return n if is_whole else min(n, max(0, self.n_known - self.row))

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

    def resume(self, sources: Sequence[Source], again: bool, passes: int | None) -> Cursor:
        """Return the cursor of a run that reads these sources in order.

        In the first pass, files resume at their marks. A further pass, that of `again`, and pipes
        resume where this cursor is, if it has the same sources.

        Raises
        ------
        CheckpointError
            If a run over some of these files at random or in shards is not finished.

        """
        unread = [
            Identity.of_stream(source.name) if source.is_stream else Identity.of_unread(source.name)
            for source in sources
        ]
        new = self._begin(unread, is_again=again)
        if not (again or self.finished or self.is_in_order):
            shared = [identity for source in sources for identity in source.matching(self.sources)]
            self._require_finished(shared, new)
        if not self._is_continued_by(sources, again):
            return new
        if (again and self.finished) or (self.epoch and not self._goes_on(sources, passes)):
            return new
        return replace(self, sources=[*self.sources, *unread[len(self.sources) :]])

    def resume_whole(
        self, sources: Sequence[Identity], at_random: bool, shards: Shards | None, again: bool
    ) -> Cursor:
        """Return the cursor of a run that reads these files at random or in shards.

        Raises
        ------
        CheckpointError
            If a run over some of these files in another way is not finished.

        """
        new = self._begin(sources, at_random, shards, again)
        if self.sources == new.sources and self._way == new._way and not (again and self.finished):
            return replace(self, sources=new.sources)
        if not (again or self.finished or self.is_in_order):
            shared = [identity for identity in self.sources if identity in sources]
            self._require_finished(shared, new)
        return new

    def _begin(
        self,
        sources: Sequence[Identity],
        at_random: bool = False,
        shards: Shards | None = None,
        is_again: bool = False,
    ) -> Cursor:
        """Return a cursor before the first row of some sources."""
        return Cursor(
            list(sources), at_random, redeliveries=self.redeliveries, shards=shards,
            outputs=self.outputs, untaken=self.untaken, header=self.header, is_again=is_again,
        )  # fmt: skip

    def _is_continued_by(self, sources: Sequence[Source], again: bool) -> bool:
        """Whether a run over these sources resumes where this cursor is."""
        is_needed = again or self.epoch or self.is_of_stream or self.stopped_below is not None
        is_alike = self.is_in_order and self.is_again == again
        if not (self.sources and is_needed and is_alike and len(self.sources) <= len(sources)):
            return False
        for identity, source in zip(self.sources, sources, strict=False):
            if identity.is_stream != source.is_stream:
                return False
            if identity.size and not source.matching([identity]):
                return False
        return True

    def _goes_on(self, sources: Sequence[Source], passes: int | None) -> bool:
        """Whether the present pass goes on, instead of a first pass over rows that are new."""
        if len(sources) > len(self.sources):
            return False
        has_pass_left = passes is None or self.epoch < passes
        pairs = zip(sources, self.sources, strict=True)
        return has_pass_left or not any(source.has_grown(identity) for source, identity in pairs)

    @property
    def _way(self) -> str:
        """How rows are read, as text."""
        way = "in order" if self.shards is None else str(self.shards)
        way = "at random" if self.at_random else way
        return f"{way}, again" if self.is_again else way

    def _require_finished(self, shared: Sequence[Identity], new: Cursor) -> None:
        """Check that a run at random or in shards is finished before files of it are begun anew."""
        if not shared:
            return
        end = f"row {self.row:,}" if self.shards is None else f"round {self.shards.rounds:,}"
        now = "has other files" if self._way == new._way else f"reads them {new._way}"
        raise CheckpointError(
            f"{shared[0].name} was learned only up to {end}, with rows read {self._way}, and this "
            f"run {now}; to learn these files from their start: --again"
        )

    def begin_source(self, epoch: int, index: int, row: int = 0, offset: int = 0) -> None:
        """Move to a source, by default to its start."""
        self.epoch, self.index, self.row, self.offset = epoch, index, row, offset

    @property
    def turn(self) -> Turn:
        """The turn of a source that is read from the cursor on."""
        return Turn.RESUME if self.row else Turn.BEGIN

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
        if self.is_repeating:
            self.redeliveries.raise_offsets(batch.offsets)
        else:
            for offset in batch.offsets:
                self.redeliveries.update(offset)
        return rows
