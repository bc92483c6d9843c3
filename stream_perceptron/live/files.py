"""The files given to a run: which of them were learned before, and how far."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.input.bytes import get_display_name, is_remote, open_bytes
from stream_perceptron.data.input.positions import (
    FileContent,
    FilePosition,
    PositionIndex,
    resolve_source_name,
)
from stream_perceptron.data.notices import build_warning
from stream_perceptron.data.source import Source
from stream_perceptron.errors import SourceError


@dataclass(eq=False)
class FileProgress:
    """How far a file or a pipe has been learned."""

    position: FilePosition  # the end of the rows learned
    rejected: int = 0  # rejected rows among them
    # The number of complete passes over these rows; 0 if more rows may follow.
    passes: int = 0
    # The size of an incomplete last record that followed the last pass.
    n_unread_bytes: int = 0
    # How far these rows have been learned in a further pass; None between two passes.
    further_pass: FilePosition | None = None
    n_repeated_rows: int = 0  # rows learned again, in all further passes

    @property
    def n_rows_read(self) -> int:
        """The number of rows read in all passes."""
        return self.position.rows + self.n_repeated_rows

    @property
    def is_stream(self) -> bool:
        """Whether this is a pipe from which rows were read."""
        return self.position.is_stream

    def finish_pass(self, n_passes: int, n_unread_bytes: int) -> None:
        """Record a complete pass, which nothing but an incomplete record, if any, followed."""
        self.passes, self.n_unread_bytes, self.further_pass = n_passes, n_unread_bytes, None


@dataclass(eq=False)
class GivenFile:
    """A file or pipe given to a run, with its progress in all runs."""

    source: Source
    progress: FileProgress
    notice: str | None = None


@dataclass(eq=False)
class SourceSegment:
    """Consecutive rows of a source, to be learned in one go."""

    source: Source
    progress: FileProgress
    end: int | None = None  # the number of rows before the segment's end; None for the source's end
    is_repeated: bool = False  # whether the rows were learned before
    # Whether redelivered rows are left uncounted, as in a pipe or a file that stands in for one.
    is_stream: bool = False
    # Whether all rows of the segment were read without an interrupt.
    is_complete: bool = False
    n_rows_read: int = 0  # rows read so far

    @property
    def position(self) -> FilePosition:
        """The position of the next row."""
        position = self.progress.position
        if not self.is_repeated:
            return position
        start = FilePosition(position.name, position.start_digest, position.end_digest)
        return self.progress.further_pass or start

    @property
    def is_at_end(self) -> bool:
        """Whether the last row of the segment has been read."""
        return self.end is not None and self.position.rows == self.end

    def advance(self, batch: Batch) -> tuple[FilePosition, FilePosition]:
        """Move past the rows of a batch; return the positions before and after them."""
        progress, before = self.progress, self.position
        after = batch.advance_position(before, self.is_stream)
        self.n_rows_read += after.rows - before.rows
        if self.is_repeated:
            progress.n_repeated_rows += after.rows - before.rows
            progress.further_pass = after
        else:
            progress.position = after
            progress.rejected += len(batch.rejected)
            progress.finish_pass(0, 0)
        return before, after


def identify_files(
    learned: Sequence[FileProgress],
    sources: Iterable[Source],
    passes: int | None = 1,
    is_strict: bool = True,
) -> list[GivenFile]:
    """Find, before reading any file, those that earlier runs learned, under these or other names.

    A file continues at a saved position whose two windows both match: one under the file's own
    name or, failing that, one under another name, if that is a hard link of the file or no longer
    has that content; the progress then has the new name. A file has changed if only one window of
    the newest position under its name matches. Otherwise, it is new.

    Parameters
    ----------
    learned
        The progress of files that were learned before, in the order in which they were read.
    sources
        The sources, in the order in which to read them.
    passes
        The number of passes requested; None for no limit. A file that has had as many passes has
        none left. New rows of a file that has grown are learned in a single pass.
    is_strict
        Whether a changed file is an error; if not, it counts as new.

    Raises
    ------
    SourceError
        If a file has changed since it was learned, or cannot be read, or has grown and several
        passes are requested.

    """
    given: dict[object, GivenFile] = {}
    index = _ProgressIndex(learned)
    for source in sources:
        name = resolve_source_name(source.path)
        file_id = _find_file_id(name)
        if file_id in given:
            given[file_id].notice = f"{source.name}: given more than once, but read only once"
        elif source.is_stream:
            streams = (progress for progress in index.by_name[name] if progress.is_stream)
            progress = next(streams, None) or FileProgress(FilePosition(name))
            progress.finish_pass(0, 0)  # a pipe never ends
            given[file_id] = GivenFile(source, progress)
        else:
            given[file_id] = _identify_file(source, name, index, passes, is_strict)
            source.close_if_many_files()
    return list(given.values())


def _identify_file(
    source: Source, name: str, index: _ProgressIndex, passes: int | None, is_strict: bool
) -> GivenFile:
    """Find how far a file has been learned."""
    path, content = source.path, source.content
    progress = index.take(content, name)
    if progress is not None:
        if content.ends_line():
            return _continue_file(source, progress, content, passes, name)
        if is_strict:
            _raise_changed(
                path,
                f"row {progress.position.rows:,} has changed since it was learned: the file ended "
                "within it",
            )
        return GivenFile(source, FileProgress(content.get_start_position()))
    newest = index.find_newest(name)
    notice: str | None = None
    if newest is not None:
        position = newest.position
        are = "was" if position.rows == 1 else "were"
        if is_strict and (
            content.matches_first_window(position) or content.matches_last_window(position)
        ):
            reason = f"it has changed since {_format_rows(position)} of it {are} learned"
            _raise_changed(path, reason)
        notice = build_warning(
            f"{source.name}: new file; {_format_rows(position)} of an earlier file of this name "
            f"{are} learned"
        )
    elif index.original is not None:
        notice = (
            f"{source.name}: new file, though it begins like "
            f"{index.original.position.display_name}, which was learned"
        )
    return GivenFile(source, FileProgress(content.get_start_position()), notice)


def _continue_file(
    source: Source, progress: FileProgress, content: FileContent, passes: int | None, name: str
) -> GivenFile:
    """Return a file that continues where it was learned, perhaps under another name."""
    has_more = (
        content.has_more_text(progress.n_unread_bytes) if content.is_text else not progress.passes
    )
    if has_more and progress.passes and passes != 1:
        raise SourceError(
            f"{source.name}: it has grown since it was learned: learn its new rows in a run "
            "without --passes"
        )
    progress.position = replace(progress.position, name=name)
    if has_more:
        progress.finish_pass(0, 0)
    else:
        progress.passes = max(1, progress.passes)
    notice = None
    if passes is not None and progress.passes >= passes:
        notice = f"{source.name}: already learned ({_format_rows(progress.position)})"
    return GivenFile(source, progress, notice)


@dataclass
class _ProgressIndex:
    """The progress of files, by name and by content."""

    learned: Sequence[FileProgress]
    # The progress that a new file matches because it is a copy of another file.
    original: FileProgress | None = None
    _taken: set[int] = field(default_factory=set)  # by ID: at most one file continues each

    def __post_init__(self) -> None:
        self.by_name: dict[str, list[FileProgress]] = defaultdict(list)
        for progress in reversed(self.learned):
            self.by_name[progress.position.name].append(progress)
        self._by_position = {id(progress.position): progress for progress in self.learned}
        self._index = PositionIndex(progress.position for progress in self.learned)

    def find_newest(self, name: str) -> FileProgress | None:
        """Return the newest progress under a name with which no other file continues."""
        free = (progress for progress in self.by_name[name] if id(progress) not in self._taken)
        return next(free, None)

    def take(self, content: FileContent, name: str) -> FileProgress | None:
        """Return the progress with which a file continues; None for a new file."""
        self.original = None
        own = sorted(self.by_name[name], key=lambda progress: -progress.position.offset)
        for progress in own:
            if id(progress) not in self._taken and content.matches(progress.position):
                self._taken.add(id(progress))
                return progress
        for position in self._index.find(content):
            progress = self._by_position[id(position)]
            is_same_file = _find_file_id(position.name) == _find_file_id(name)
            is_free = id(progress) not in self._taken
            if is_free and (is_same_file or not _has_unchanged_file(position)):
                self._taken.add(id(progress))
                return progress
            self.original = self.original or progress
        return None


def _find_file_id(name: str) -> object:
    """Return what hard links of a file have in common; the name of a source that is not a file."""
    if is_remote(name) or not os.path.isfile(name):
        return name
    status = os.stat(name)
    return status.st_dev, status.st_ino


def _has_unchanged_file(position: FilePosition) -> bool:
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
