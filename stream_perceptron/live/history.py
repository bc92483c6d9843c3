"""What a model was trained on, and where each file continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from stream_perceptron.checkpoint.encoding import decode, encode_lr
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.files import FileProgress, GivenFile
from stream_perceptron.model.rates import format_lr

ROWS, ROUNDS = "rows", "rounds"


@dataclass(frozen=True)
class Shards:
    """The split of the rows of some files into shards."""

    n: int  # the number of shards
    rows: int  # the number of rows of each shard in a round
    # The number of rows, up to the first labeled one, that are learned before the first round.
    first_rows: int = 0


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass
class Entry:
    """Consecutive rows learned with the same settings."""

    # The file or pipe and how far it was read; all files if rows were split into shards.
    files: tuple[FilePosition, ...] = ()
    # The unit of `start` and `end`: rows of the file, or rounds over all passes.
    unit: str = ROWS
    start: int = 0  # the first row or round, counted from 0
    end: int = 0  # one past the last
    offset: int = 0  # the offset of the first row in the file
    rejected: int = 0  # rejected rows among them
    lr: object = field(default=None, metadata={"is_json": True})  # as returned by `encode_lr`
    epsilon: float = 0.0
    # The passthrough columns: a row with an unreadable value in one of them was rejected.
    keep: tuple[str, ...] = ()
    is_repeated: bool = False  # whether the rows were learned before
    shards: Shards | None = None  # for rounds

    @property
    def is_stream(self) -> bool:
        """Whether the rows came from a pipe."""
        return any(position.is_stream for position in self.files)

    def ends_at(self, files: Sequence[FilePosition]) -> bool:
        """Whether the files of the entry are at these positions, whatever their names."""
        is_same = map(FilePosition.is_same_place, self.files, files)
        return len(self.files) == len(files) and all(is_same)

    @property
    def row_range(self) -> str:
        """The files and the range of rows or rounds, for a message."""
        names = ", ".join(position.display_name for position in self.files)
        return f"{names}: {self.unit} {self.start + 1:,} to {self.end:,}"

    def format_lines(self) -> Iterator[str]:
        """Yield the lines that describe the entry to users."""
        phrases = [self.row_range]
        if self.shards is not None:
            phrases[0] += f" of {self.shards.n:,} shards of {self.shards.rows:,} rows"
        if self.is_repeated:
            phrases.append("again")
        if self.rejected:
            phrases.append(f"{self.rejected:,} rejected")
        rate = "not saved" if self.lr is None else format_lr(decode(self.lr))
        yield ", ".join([*phrases, f"lr {rate}", f"epsilon {self.epsilon:g}"])

    def extend(self, entry: Entry) -> bool:
        """Add the rows of another entry if they continue this one; return whether they do."""
        if entry.start != self.end or _get_settings(self) != _get_settings(entry):
            return False
        self.files, self.end = entry.files, entry.end
        self.rejected += entry.rejected
        return True


# The settings that consecutive rows of an entry share.
_get_settings = attrgetter("unit", "lr", "epsilon", "keep", "is_repeated", "shards")


@dataclass(eq=False, repr=False)
class History:
    """The entries for everything that a model learned, and the positions of its files.

    Entries do not depend on how often a run was stopped and resumed.

    Examples
    --------
    >>> history = History()
    >>> for n in (0, 100, 0):
    ...     before = FilePosition("digits.csv", "1f", "2e", offset=n, rows=n)
    ...     after = FilePosition("digits.csv", "1f", "2e", offset=n + 100, rows=n + 100)
    ...     history.add(Entry((after,), start=n, end=n + 100), before)
    >>> [(entry.start, entry.end) for entry in history.entries]
    [(0, 200), (0, 100)]

    """

    # The progress of each file, in the order in which they were last read. That of a replaced file
    # stays, because the file may have a new name.
    files: list[FileProgress] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    # Whether the entries cover everything learned; learning in Python is not recorded.
    is_complete: bool = True
    # The epsilon of a run that an error below it ended, if no row was learned since.
    stopped_below: float | None = None

    def __repr__(self) -> str:
        return f"History(files={len(self.files)}, entries={self.format_lines()})"

    @property
    def is_empty(self) -> bool:
        """Whether the model has not been trained on any source."""
        return not (self.entries or self.files)

    def has_stopped_below_epsilon(self, files: Sequence[GivenFile], epsilon: float) -> bool:
        """Whether an error below epsilon ended the last run, in one of these files."""
        last = self.files[-1:]
        return self.stopped_below == epsilon and any(file.progress in last for file in files)

    def set_last_file(self, progress: FileProgress) -> None:
        """Note that a file is the last one read."""
        if self.files and self.files[-1] is progress:
            return
        self.files = [*(file for file in self.files if file is not progress), progress]

    def find_rounds_entry(self, files: Sequence[FilePosition], shards: Shards) -> Entry | None:
        """Return the last entry for rounds over these whole files in as many shards, or None."""
        for entry in reversed(self.entries):
            if entry.shards is not None and entry.ends_at(files):
                is_same = (entry.shards.n, entry.shards.rows) == (shards.n, shards.rows)
                return entry if is_same else None
        return None

    def require_no_open_round(self, files: Sequence[GivenFile]) -> None:
        """Check that no pass in shards over any of these files is unfinished.

        Raises
        ------
        CheckpointError
            If there is one: its rows have no positions yet, so they would be learned again.

        """
        names = {file.progress.position.name for file in files}
        ends = [file.position for file in self.files if file.passes]
        complete = {(end.end_digest, end.rows) for end in ends}
        for entry in self.entries:
            for position in entry.files if entry.shards is not None else ():
                is_open = position.rows and (position.end_digest, position.rows) not in complete
                if is_open and position.name in names:
                    raise CheckpointError(
                        f"{position.display_name}: a run that learns it in shards is unfinished: "
                        "repeat its command to finish it, or start over with --overwrite"
                    )

    def ends_at(self, files: Sequence[FilePosition]) -> bool:
        """Whether the last entry ends at these positions, whatever the names of the files."""
        return bool(self.entries) and self.entries[-1].ends_at(files)

    def add(self, entry: Entry, *before: FilePosition) -> None:
        """Add an entry, or extend the last one if the new one continues it.

        `before` contains the positions of the entry's files before its rows were read.
        """
        if not (self.ends_at(before) and self.entries[-1].extend(entry)):
            self.entries.append(entry)

    def format_lines(self) -> list[str]:
        """Return the lines that describe the entries to users."""
        lines = [] if self.is_complete else ["samples learned in Python, without a record"]
        for entry in self.entries:
            lines += entry.format_lines()
        return lines


def try_encode_lr(lr: object) -> object:
    """Return a learning rate as JSON for an entry; None if a schedule cannot be saved."""
    try:
        return encode_lr(lr)
    except CheckpointError:
        return None
