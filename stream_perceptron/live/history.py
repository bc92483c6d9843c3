"""What a model was trained on, and where each file continues."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NamedTuple, NoReturn

from stream_perceptron.checkpoint.objects import decode, encode_lr
from stream_perceptron.data.byte_input import (
    get_display_name,
    is_remote,
    is_stream,
    open_bytes,
)
from stream_perceptron.data.notices import build_warning
from stream_perceptron.data.position import FileContent, FilePosition, PositionIndex, resolve_name
from stream_perceptron.data.source import Source
from stream_perceptron.errors import CheckpointError, SourceError

ROWS, ROUNDS = "rows", "rounds"
IN_ORDER, IN_SHARDS = "in order", "in shards"


@dataclass(frozen=True)
class Shards:
    """The split of a run into shards, and the rounds completed so far."""

    n: int  # the number of shards
    rows: int  # the number of rows of each shard in a round
    rounds: int = 0  # the number of rounds completed in the pass
    # The number of rows, up to the first labeled one, that are learned before the first round.
    first_rows: int = 0


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass
class Entry:
    """Consecutive rows learned with the same settings, or an average of models."""

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
    # Whether the shards learned with lr itself, rather than with lr times the number of shards.
    kept_lr: bool = False
    # The only field set in an average: the entries added by each model, in averaging order.
    models: tuple[tuple[Entry, ...], ...] = ()

    @property
    def is_stream(self) -> bool:
        """Whether the rows came from a pipe."""
        return any(position.is_stream for position in self.files)

    @property
    def row_range(self) -> str:
        """The files and the range of rows or rounds, for a message."""
        names = ", ".join(position.display_name for position in self.files)
        return f"{names}: {self.unit} {self.start + 1:,} to {self.end:,}"

    def format_lines(self) -> Iterator[str]:
        """Yield the lines that describe the entry to users."""
        if self.models:
            yield f"mean of {len(self.models):,} models:"
            for i, entries in enumerate(self.models):
                yield f"  model {i + 1:,}:"
                for entry in entries:
                    yield from (f"    {line}" for line in entry.format_lines())
            return
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
_get_settings = attrgetter(
    "unit", "lr", "epsilon", "keep", "is_repeated", "shards", "kept_lr", "models"
)


class GivenFile(NamedTuple):
    """A file or pipe given to a run, and where the run continues in it."""

    path: str
    position: FilePosition
    continued: FilePosition | None = None  # the saved position, perhaps under an earlier name
    is_learned: bool = False  # whether the file has no further rows
    notice: str | None = None


@dataclass
class Run:
    """The progress of a run through its files, apart from the positions of the files."""

    files: list[str] = field(default_factory=list)  # the names of the files, in order
    order: str = IN_ORDER
    passes: int = 0  # the number of complete passes
    source: int = 0  # the index of the current file in the pass
    # Where the current file is being read, in a pass or part of a pass that repeats rows.
    position: FilePosition | None = None
    shards: Shards | None = None
    # The number of rows of these files that were read, in all passes and in earlier runs.
    read: int = 0
    rejected: int = 0  # rejected rows among them
    is_finished: bool = True  # whether its files or its limit ended it, not an interrupt or error
    stopped_below: float | None = None  # the epsilon, if an error below it ended the run
    # The files given to the run; their positions advance with the run.
    given: list[GivenFile] = field(default_factory=list, metadata={"saved": False})
    # The last run over the same files, which this one continues if they have no new rows.
    continued: Run | None = field(default=None, metadata={"saved": False})

    def is_over(self, other: Run) -> bool:
        """Whether this is a run over the same files in the same order as another one."""
        return (self.files, self.order) == (other.files, other.order)

    @property
    def has_only_rejected(self) -> bool:
        """Whether rows of these files were read, and all of them were rejected."""
        return 0 < self.read == self.rejected

    @property
    def has_stream(self) -> bool:
        """Whether a source is a pipe or a device, which can be read only once."""
        return any(is_stream(file.path) for file in self.given)

    def continue_if_nothing_is_new(self) -> bool:
        """Continue the last run if the files, now read to their ends, have no new rows.

        Comments, or an empty file, may look like new rows until they are read.
        """
        last = self.continued
        if last is None or not last.passes:
            return False
        rows_before = [file.continued.rows if file.continued else 0 for file in self.given]
        if rows_before != [file.position.rows for file in self.given]:
            return False
        self.passes, self.source, self.position = last.passes, last.source, last.position
        self.read, self.rejected, self.continued = last.read, last.rejected, None
        return True


@dataclass(eq=False)
class History:
    """The entries for everything that a model learned, and the positions of its files.

    Entries do not depend on how often a run was stopped and resumed.

    Examples
    --------
    >>> history, position = History(), FilePosition("digits.csv", "1f", "2e")
    >>> for start in (0, 100, 0):
    ...     end = replace(position, offset=start + 100, rows=start + 100)
    ...     history.add(Entry((end,), start=start, end=end.rows), replace(end, rows=start,
    ...                 offset=start))
    >>> [(entry.start, entry.end) for entry in history.entries]
    [(0, 200), (0, 100)]

    """

    # Where files continue, in the order in which they were last read. A replaced file keeps
    # its position, because it may have a new name.
    positions: list[FilePosition] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    # Whether the entries cover everything learned; learning in Python is not recorded.
    is_complete: bool = True
    run: Run = field(default_factory=Run)  # the last one

    def identify(self, sources: Iterable[Source], is_strict: bool = True) -> list[GivenFile]:
        """Find, before reading any file, those that earlier runs read, under these or other names.

        A file continues at a saved position whose two windows both match: one under the file's own
        name or, failing that, one under another name whose file no longer has that content. A file
        has changed if only one window of the newest position under its name matches. Otherwise, it
        is new.

        Parameters
        ----------
        sources
            The sources, in the order in which to read them.
        is_strict
            Whether a changed file is an error; if not, it counts as new.

        Raises
        ------
        SourceError
            If a file has changed since it was learned, or cannot be read.

        """
        given: dict[str, GivenFile] = {}
        index = _Index(self.positions)
        for source in sources:
            name = resolve_name(source.path)
            if name in given:
                given[name] = given[name]._replace(
                    notice=f"{source.name}: given more than once, but read only once"
                )
            elif source.is_stream:
                position = next((p for p in index.by_name[name] if p.is_stream), None)
                given[name] = GivenFile(source.path, position or FilePosition(name), position)
            else:
                given[name] = self._identify_file(source, name, index, is_strict)
                source.release()
        return list(given.values())

    def _identify_file(
        self, source: Source, name: str, index: _Index, is_strict: bool
    ) -> GivenFile:
        """Find where a file continues."""
        path, content = source.path, source.content
        continued = index.take(content, name)
        if continued is not None:
            position = replace(continued, name=name)
            if not content.ends_line():
                if is_strict:
                    reason = (
                        f"row {position.rows:,} has changed since it was learned: the file ended "
                        "within it"
                    )
                    _raise_changed(path, reason)
                return GivenFile(path, content.begin())
            if content.has_more(position):
                return GivenFile(path, position, continued)
            learned = f"{get_display_name(path)}: already learned ({_format_rows(position)})"
            position = replace(position, is_finished=True)
            return GivenFile(path, position, continued, is_learned=True, notice=learned)
        newest, notice = index.find_newest(name), ""
        if newest is not None:
            are = "was" if newest.rows == 1 else "were"
            if is_strict and (content.matches_start(newest) or content.matches_end(newest)):
                _raise_changed(
                    path, f"it has changed since {_format_rows(newest)} of it {are} learned"
                )
            notice = build_warning(
                f"{get_display_name(path)}: new file; {_format_rows(newest)} of an earlier file of "
                f"this name {are} learned"
            )
        elif index.original is not None:
            notice = (
                f"{get_display_name(path)}: new file, though it begins like "
                f"{index.original.display_name}, which was learned"
            )
        return GivenFile(path, content.begin(), notice=notice or None)

    def begin_run(
        self,
        given: list[GivenFile],
        passes: int | None = 1,
        *,
        order: str = IN_ORDER,
        shards: Shards | None = None,
    ) -> Run:
        """Return a run over these files: the last one if it continues, else a new one.

        Raises
        ------
        CheckpointError
            If the last run read rows of some of these files in another order and is unfinished.

        """
        last, names = self.run, [file.position.name for file in given]
        renamed = {file.continued.name: file.position.name for file in given if file.continued}
        is_same = (
            [renamed.get(name, name) for name in last.files] == names
            and last.order == order
            and _round_size(last.shards) == _round_size(shards)
        )
        # A first pass in order need not be saved: the positions of its files are enough.
        is_in_first_pass = order == IN_ORDER and last.passes == 0
        has_pass_left = passes is None or last.passes < passes
        has_new_rows = not all(file.is_learned for file in given)
        if order == IN_ORDER:
            is_within_pass = has_pass_left and not last.is_finished
            continues = not is_in_first_pass and (is_within_pass or not has_new_rows)
        else:
            continues = True
        if is_same and continues:
            return replace(last, files=names, given=given)
        is_open = last.order != IN_ORDER and not last.is_finished
        if is_open and not set(names).isdisjoint(last.files):
            raise CheckpointError(
                f"{names[0]}: a run that reads rows {last.order} is unfinished: repeat its "
                "command to finish it, or start over with --overwrite"
            )
        counted = [file.position for file in given if order == IN_ORDER]
        return Run(
            names, order, shards=shards, read=sum(p.rows for p in counted),
            rejected=sum(p.rejected for p in counted), given=given,
            stopped_below=last.stopped_below if is_same else None,
            continued=replace(last, given=[], continued=None) if is_same and counted else None,
        )  # fmt: skip

    def adopt(self, run: Run) -> None:
        """Begin a run, if it has not begun: give its files their current names."""
        if self.run is run:
            return
        self.run = run
        for i, file in enumerate(run.given):
            if file.continued is not None and file.continued != file.position:
                self.positions[self.positions.index(file.continued)] = file.position
                run.given[i] = file._replace(continued=file.position)

    def move(self, before: FilePosition, after: FilePosition) -> None:
        """Move the position of a file past rows that were learned for the first time."""
        if before in self.positions[-1:]:
            self.positions.pop()
        elif before.rows and before in self.positions:
            self.positions.remove(before)
        self.positions.append(after)

    def finish(self, position: FilePosition, n_left_bytes: int) -> FilePosition:
        """Record that nothing but an incomplete line, if any, follows a position."""
        finished = replace(position, is_finished=True, left=n_left_bytes)
        if finished != position:
            self.move(position, finished)
        return finished

    def mark_learned(self, run: Run, files: Sequence[FilePosition]) -> None:
        """Record that all rows of the files of a run were learned, in any order."""
        self.adopt(run)
        continued = {file.position.name: file.continued for file in run.given}
        for position in files:
            before = continued.get(position.name) or FilePosition(position.name)
            # A later pass has nothing to add.
            if before.rows < position.rows and position not in self.positions:
                self.move(before, position)

    def ends_in(self, files: Sequence[FilePosition]) -> bool:
        """Whether the last entry ends at these positions, whatever the names of the files."""
        last = self.entries[-1].files if self.entries else ()
        return len(last) == len(files) and all(map(FilePosition.is_same_place, last, files))

    def add(self, entry: Entry, *before: FilePosition) -> None:
        """Add an entry, or extend the last one if the new one continues it.

        `before` contains the positions of the entry's files before its rows were read.
        """
        if not (self.ends_in(before) and self.entries[-1].extend(entry)):
            self.entries.append(entry)

    def format_lines(self) -> list[str]:
        """Return the lines that describe the entries to users."""
        lines = [] if self.is_complete else ["samples learned in Python, without a record"]
        for entry in self.entries:
            lines += entry.format_lines()
        if (shards := self.run.shards) is not None:
            lines.append(
                f"now in {shards.n:,} shards in rounds of {shards.rows:,} rows, "
                f"{shards.rounds:,} done in this pass"
            )
        return lines

    def find_entries_since(self, base: History) -> tuple[Entry, ...] | None:
        """Return the entries added since `base`; None if this history does not continue it."""
        earlier = base.entries
        if self.entries[: len(earlier)] == earlier:
            return tuple(self.entries[len(earlier) :])
        *first, last = earlier
        if len(self.entries) < len(earlier) or self.entries[: len(first)] != first:
            return None
        grown, *rest = self.entries[len(first) :]
        added = replace(
            grown, start=last.end, offset=last.files[0].offset if last.files else 0,
            rejected=grown.rejected - last.rejected,
        )  # fmt: skip
        whole = replace(last)
        if added.start >= added.end or added.rejected < 0 or not whole.extend(added):
            return None
        return (added, *rest) if whole == grown else None

    def build_average(self, histories: Sequence[History]) -> History:
        """Return the history of an average of models whose histories continue this one."""
        added = [history.find_entries_since(self) for history in histories]
        is_complete = None not in added and all(
            history.is_complete for history in (self, *histories)
        )
        own, learned = set(self.positions), [set(history.positions) for history in histories]
        kept = [p for p in self.positions if all(p in positions for positions in learned)]
        new = [p for history in histories for p in history.positions if p not in own]
        entry = Entry(models=tuple(entries or () for entries in added))
        positions = list(dict.fromkeys([*kept, *new]))
        return History(positions, deepcopy([*self.entries, entry]), is_complete)


class _Index:
    """The positions of a history, by name and by content."""

    def __init__(self, positions: Sequence[FilePosition]) -> None:
        self.by_name: dict[str, list[FilePosition]] = defaultdict(list)
        self._all = PositionIndex(positions)
        self._taken: set[FilePosition] = set()  # at most one file continues at each position
        # The position that a new file matches because it is a copy of another file.
        self.original: FilePosition | None = None
        for position in reversed(positions):
            self.by_name[position.name].append(position)

    def find_newest(self, name: str) -> FilePosition | None:
        """Return the newest position under a name at which no other file continues."""
        return next((p for p in self.by_name[name] if p not in self._taken), None)

    def take(self, content: FileContent, name: str) -> FilePosition | None:
        """Return the position at which a file continues; None for a new file."""
        self.original = None
        own = sorted(self.by_name[name], key=lambda position: -position.offset)
        for position in own:
            if position not in self._taken and content.matches(position):
                self._taken.add(position)
                return position
        for position in self._all.find(content):
            if position not in self._taken and not _has_content(position):
                self._taken.add(position)
                return position
            self.original = self.original or position
        return None


def _round_size(shards: Shards | None) -> tuple[int, int] | None:
    return None if shards is None else (shards.n, shards.rows)


def _has_content(position: FilePosition) -> bool:
    """Whether the file with a position's name still has the content that was read."""
    if is_remote(position.name):
        return True  # not read, because that may take a long time
    with suppress(SourceError, OSError):
        if os.path.isfile(position.name):
            return FileContent(open_bytes(position.name)).matches(position)
    return False


def _raise_changed(path: str, reason: str) -> NoReturn:
    """Raise the error for a file whose learned rows have changed."""
    raise SourceError(
        f"{get_display_name(path)}: {reason}; start over with --overwrite, or give the current "
        "file another name"
    )


def _format_rows(position: FilePosition) -> str:
    return "1 row" if position.rows == 1 else f"{position.rows:,} rows"


def flatten_entries(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield entries, with each average followed by the entries of its models."""
    for entry in entries:
        yield entry
        for model_entries in entry.models:
            yield from flatten_entries(model_entries)


def format_lr(lr: object) -> str:
    """Return a learning rate or a schedule as text."""
    return f"{lr:g}" if isinstance(lr, float | int) else repr(lr)


def try_encode_lr(lr: object) -> object:
    """Return a learning rate as JSON for an entry; None if a schedule cannot be saved."""
    try:
        return encode_lr(lr)
    except CheckpointError:
        return None
