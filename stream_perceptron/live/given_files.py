"""The files given to a run: which of them were read before, and how far."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from stream_perceptron.data.input.bytes import get_display_name, is_remote, open_bytes
from stream_perceptron.data.input.positions import (
    FileContent,
    FilePosition,
    PositionIndex,
    resolve_name,
)
from stream_perceptron.data.notices import build_warning
from stream_perceptron.data.source import Source
from stream_perceptron.errors import SourceError


@dataclass(eq=False)
class GivenFile:
    """A file or pipe given to a run."""

    source: Source
    position: FilePosition  # how far it has been read; it advances with the run
    # Its position in the history, perhaps under another name.
    saved_position: FilePosition | None = None
    passes: int = 0  # the number of complete passes; 0 if more rows follow
    notice: str | None = None

    @property
    def n_read(self) -> int:
        """The number of rows read in all passes and runs."""
        return self.position.rows + self.position.repeated


def identify_files(
    positions: Sequence[FilePosition],
    sources: Iterable[Source],
    passes: int | None = 1,
    is_strict: bool = True,
) -> list[GivenFile]:
    """Find, before reading any file, those that earlier runs read, under these or other names.

    A file continues at a saved position whose two windows both match: one under the file's own
    name or, failing that, one under another name, if that is a hard link of the file or no longer
    has that content. A file
    has changed if only one window of the newest position under its name matches. Otherwise, it
    is new.

    Parameters
    ----------
    positions
        The positions of files that were read before, in the order in which they were read.
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
    index = _SavedPositions(positions)
    for source in sources:
        name = resolve_name(source.path)
        file_id = _find_file_id(name)
        if file_id in given:
            given[file_id].notice = f"{source.name}: given more than once, but read only once"
        elif source.is_stream:
            position = next((p for p in index.by_name[name] if p.is_stream), None)
            given[file_id] = GivenFile(source, position or FilePosition(name), position)
        else:
            given[file_id] = _identify_file(source, name, index, passes, is_strict)
            source.release()
    return list(given.values())


def _identify_file(
    source: Source, name: str, index: _SavedPositions, passes: int | None, is_strict: bool
) -> GivenFile:
    """Find how far a file has been read."""
    path, content = source.path, source.content
    saved = index.take_position(content, name)
    if saved is not None:
        if content.ends_line():
            return _continue_file(source, saved, content.has_more(saved), passes, name)
        if is_strict:
            reason = (
                f"row {saved.rows:,} has changed since it was learned: the file ended within it"
            )
            _raise_changed(path, reason)
        return GivenFile(source, content.get_start_position())
    newest = index.find_newest(name)
    notice: str | None = None
    if newest is not None:
        are = "was" if newest.rows == 1 else "were"
        if is_strict and (
            content.matches_first_window(newest) or content.matches_last_window(newest)
        ):
            _raise_changed(path, f"it has changed since {_format_rows(newest)} of it {are} learned")
        notice = build_warning(
            f"{source.name}: new file; {_format_rows(newest)} of an earlier file of this name "
            f"{are} learned"
        )
    elif index.original is not None:
        notice = (
            f"{source.name}: new file, though it begins like {index.original.display_name}, which "
            "was learned"
        )
    return GivenFile(source, content.get_start_position(), notice=notice)


def _continue_file(
    source: Source, saved: FilePosition, has_more: bool, passes: int | None, name: str
) -> GivenFile:
    """Return a file that continues at its saved position."""
    position, notice = replace(saved, name=name), None
    if has_more and position.passes:
        if passes != 1:
            raise SourceError(
                f"{source.name}: it has grown since it was learned: learn its new rows in a run "
                "without --passes"
            )
        return GivenFile(source, replace(position, again=None), saved)
    if not has_more:
        position = replace(position, passes=max(1, position.passes))
    if passes is not None and position.passes >= passes:
        notice = f"{source.name}: already learned ({_format_rows(position)})"
    return GivenFile(source, position, saved, position.passes, notice)


class _SavedPositions:
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

    def take_position(self, content: FileContent, name: str) -> FilePosition | None:
        """Return the position at which a file continues; None for a new file."""
        self.original = None
        own = sorted(self.by_name[name], key=lambda position: -position.offset)
        for position in own:
            if position not in self._taken and content.matches(position):
                self._taken.add(position)
                return position
        for position in self._all.find(content):
            is_same_file = _find_file_id(position.name) == _find_file_id(name)
            if position not in self._taken and (is_same_file or not _has_unchanged_file(position)):
                self._taken.add(position)
                return position
            self.original = self.original or position
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
