"""The cursor, which holds the position of a run in its sources, and the rules for resuming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.data.source import Source
from stream_perceptron.errors import CheckpointError


@dataclass(frozen=True)
class Shards:
    """The split of a run into shards, and the rounds completed so far."""

    n: int = field(metadata={"least": 1})  # the number of shards
    rows: int = field(metadata={"least": 1})  # the number of rows of each shard in a round
    rounds: int = 0  # the number of rounds completed in the epoch
    # The number of rows up to the first labeled one, which are learned before the first round.
    first_rows: int = 0

    def __str__(self) -> str:
        return f"in {self.n:,} shards in rounds of {self.rows:,} rows"


@dataclass
class Cursor:
    """The position of a run in its sources: rows before it are learned; rows after it are not."""

    # In the order given. The fingerprint of a text file covers the file up to the last row that
    # was read, unless its rows are drawn at random.
    sources: list[Fingerprint] = field(default_factory=list)
    at_random: bool = False  # whether rows are drawn at random from all sources
    epoch: int = 0  # counted from 0
    index: int = 0  # the source's position in the epoch; the number of sources once all are read
    # The number of rows read from this source, or of draws in the epoch. For a pipe, the number of
    # rows in all runs, excluding redelivered rows.
    row: int = 0
    # The number of rows at the start of the current file that were learned before this pass.
    n_known: int = field(default=0, compare=False, metadata={"saved": False})
    # The number of bytes in a text file up to the end of the last row read.
    offset: int = 0
    # The number of rows read from these sources in all epochs, including earlier runs.
    read: int = 0
    rejected: int = 0  # rejected rows among them
    finished: bool = True  # whether the run ended without an interrupt or an error
    stopped_below: float | None = None  # the epsilon, if an error below it ended the run
    # The size in bytes of each output file up to the last learned row, keyed by the file's path
    # relative to the checkpoint.
    outputs: dict[str, int] = field(default_factory=dict)
    redeliveries: Redeliveries = field(default_factory=Redeliveries)
    # The split into shards, if any; `index` and `row` are then 0.
    shards: Shards | None = None
    # Whether the files are read from the start, even if they were learned before.
    is_again: bool = False

    def copy_for_run(self, epsilon: float, stop: bool) -> Cursor:
        """Return a copy for a new run.

        The copy is marked as finished if an error below epsilon ended the last run.
        """
        cursor = replace(self, sources=list(self.sources), redeliveries=self.redeliveries.copy())
        cursor.finished = stop and self.stopped_below == epsilon
        if not cursor.finished:
            cursor.stopped_below = None
            if cursor.begins_at_marks and not all(source.is_stream for source in cursor.sources):
                # Rows before a mark are counted when the mark is reached.
                cursor.read = cursor.rejected = 0
        return cursor

    def compute_end(self, limit: int | None) -> int | None:
        """Return the value of `read` at which a run with this limit ends.

        For a pipe, the limit counts only the rows of this run.
        """
        return None if limit is None else limit + (self.read if self.has_stream else 0)

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
        """Whether the pass repeats rows, in which case redelivered rows are not detected."""
        return self.epoch > 0 or self.is_again

    def count_repeated(self, n: int) -> int:
        """Return how many of the next n rows were learned before; these rows come first."""
        repeats_all = self.epoch > 0 or self.at_random
        return n if repeats_all else min(n, max(0, self.n_known - self.row))

    @property
    def has_only_rejected(self) -> bool:
        """Whether rows of these sources were read, and all of them were rejected."""
        return 0 < self.read == self.rejected

    @property
    def has_stream(self) -> bool:
        """Whether a source is a pipe or a device, which can be read only once."""
        return any(source.is_stream for source in self.sources)

    def copy_for_saving(self) -> Cursor:
        """Return the state that a later run can use."""
        return self if self.sources else self.copy_without_position()

    def copy_without_position(self) -> Cursor:
        """Return a copy without a position, for sources without a fingerprint."""
        return Cursor(
            read=self.read, rejected=self.rejected, outputs=self.outputs,
            redeliveries=self.redeliveries,
        )  # fmt: skip

    def resume(self, sources: Sequence[Source], again: bool, passes: int | None) -> Cursor:
        """Return the cursor of a run that reads these sources in order.

        In the first pass, files resume at their marks. Further passes, passes with `again`, and
        pipes resume at the position of this cursor, if it has the same sources.

        Raises
        ------
        CheckpointError
            If an unfinished run read rows of some of these files at random or in shards.

        """
        unread = [
            Fingerprint.of_stream(source.name)
            if source.is_stream
            else Fingerprint.of_unread(source.name)
            for source in sources
        ]
        new = self._create_at_start(unread, is_again=again)
        if not (again or self.finished or self.is_in_order):
            shared = [
                fingerprint
                for source in sources
                for fingerprint in source.find_matching(self.sources)
            ]
            self._require_finished(shared, new)
        if not self._is_continued_by(sources, again):
            return new
        if (again and self.finished) or (self.epoch and not self._continues_pass(sources, passes)):
            return new
        return replace(self, sources=[*self.sources, *unread[len(self.sources) :]])

    def resume_unordered(
        self, sources: Sequence[Fingerprint], at_random: bool, shards: Shards | None, again: bool
    ) -> Cursor:
        """Return the cursor of a run that reads rows of these files at random or in shards.

        Raises
        ------
        CheckpointError
            If a different kind of run over some of these files is unfinished.

        """
        new = self._create_at_start(sources, at_random, shards, again)
        if (
            self.sources == new.sources
            and self._row_order == new._row_order
            and not (again and self.finished)
        ):
            return replace(self, sources=new.sources)
        if not (again or self.finished or self.is_in_order):
            shared = [fingerprint for fingerprint in self.sources if fingerprint in sources]
            self._require_finished(shared, new)
        return new

    def _create_at_start(
        self,
        sources: Sequence[Fingerprint],
        at_random: bool = False,
        shards: Shards | None = None,
        is_again: bool = False,
    ) -> Cursor:
        """Return a cursor before the first row of these sources."""
        return Cursor(
            list(sources), at_random, redeliveries=self.redeliveries, shards=shards,
            outputs=self.outputs, is_again=is_again,
        )  # fmt: skip

    def _is_continued_by(self, sources: Sequence[Source], again: bool) -> bool:
        """Return whether a run over these sources resumes at the position of this cursor."""
        needs_position = again or self.epoch or self.has_stream or self.stopped_below is not None
        has_same_order = self.is_in_order and self.is_again == again
        if not (self.sources and needs_position and has_same_order):
            return False
        if len(self.sources) > len(sources):
            return False
        for fingerprint, source in zip(self.sources, sources, strict=False):
            if fingerprint.is_stream != source.is_stream:
                return False
            if fingerprint.size and not source.find_matching([fingerprint]):
                return False
        return True

    def _continues_pass(self, sources: Sequence[Source], passes: int | None) -> bool:
        """Return whether the current pass continues; if not, a first pass over new rows begins."""
        if len(sources) > len(self.sources):
            return False
        has_pass_left = passes is None or self.epoch < passes
        pairs = zip(sources, self.sources, strict=True)
        return has_pass_left or not any(
            source.has_grown(fingerprint) for source, fingerprint in pairs
        )

    @property
    def _row_order(self) -> str:
        """A description of the order in which rows are read."""
        order = "in order" if self.shards is None else str(self.shards)
        order = "at random" if self.at_random else order
        return f"{order}, again" if self.is_again else order

    def _require_finished(self, shared: Sequence[Fingerprint], new: Cursor) -> None:
        """Reject a new run over files that an unfinished run was reading at random or in shards."""
        if not shared:
            return
        position = f"row {self.row:,}" if self.shards is None else f"round {self.shards.rounds:,}"
        difference = (
            "reads other files"
            if self._row_order == new._row_order
            else f"reads them {new._row_order}"
        )
        raise CheckpointError(
            f"{shared[0].name} was learned only up to {position}, with rows read "
            f"{self._row_order}, and this run {difference}; to learn these files from the "
            "start: --again"
        )

    def move_to_source(self, epoch: int, index: int, row: int = 0, offset: int = 0) -> None:
        """Move to a source, by default to its start."""
        self.epoch, self.index, self.row, self.offset = epoch, index, row, offset

    @property
    def offsets(self) -> dict[tuple[str, ...], int]:
        """The highest offset read in each partition, keyed by the partition's values as text."""
        return self.redeliveries.offsets

    def move(self, batch: Batch, is_stream: bool) -> int:
        """Move past learned rows; return their number, excluding redelivered rows of a stream."""
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
