"""Marks: how far each file has been learned."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NoReturn

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import is_remote
from stream_perceptron.data.columns import Columns
from stream_perceptron.data.fingerprint import (
    START_BYTES,
    FileState,
    Fingerprint,
    hash_bytes,
    hash_file,
)
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request
from stream_perceptron.data.source import Batches, Opening, Source
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.errors import SourceError


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """How far a file has been learned."""

    # The fingerprint of the text up to the mark, or of a whole Parquet or Arrow file.
    source: Fingerprint
    n_rows: int  # rows up to the mark
    n_rejected: int  # rejected rows among them
    # The SHA-256 of the first 4,096 bytes of this text; empty for Parquet and Arrow.
    start: str
    # The state of a local file when it was last read.
    state: FileState | None = None
    is_finished: bool = False  # whether the file had no further rows

    def __deepcopy__(self, memo: dict[int, object]) -> Mark:
        return self


class Marks:
    """The marks of a model, indexed by the content, name and state of the files.

    Several marks may have the same name: one for each version of the file's content.

    Examples
    --------
    >>> fingerprint = Fingerprint("day1.csv", 3000, "1f")
    >>> marks = Marks([Mark(fingerprint, 120, 0, "ab")])
    >>> [(mark.source.name, mark.n_rows) for mark in marks]
    [('day1.csv', 120)]

    """

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks: dict[Mark, None] = {}
        # By the SHA-256 of the first bytes of a text file, or of the whole file for other formats.
        self._by_digest: dict[str, list[Mark]] = defaultdict(list)
        self._by_name: dict[str, list[Mark]] = defaultdict(list)
        self._by_inode: dict[int, list[Mark]] = defaultdict(list)
        self._sizes: Counter[int] = Counter()  # how many marks have a start of each size
        for mark in marks:
            self.put(mark)

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks

    def __reduce__(self) -> tuple[object, ...]:
        return Marks, (list(self),)

    def put(self, mark: Mark, replaced: Mark | None = None) -> None:
        """Add a mark, which replaces another mark if one is given."""
        if replaced is not None:
            self._remove(replaced)
        self._marks[mark] = None
        for index, key in self._keys(mark):
            index[key].append(mark)
        self._sizes[_start_size(mark)] += 1

    def _remove(self, mark: Mark) -> None:
        """Remove a mark from all indexes."""
        del self._marks[mark]
        for index, key in self._keys(mark):
            index[key].remove(mark)
            if not index[key]:
                del index[key]
        self._sizes[_start_size(mark)] -= 1

    def _keys(self, mark: Mark) -> list[tuple[dict[object, list[Mark]], object]]:
        """Return the indexes that contain a mark, with the mark's key in each."""
        digest = mark.start or mark.source.digest
        keys: list[tuple[dict[Any, list[Mark]], Any]] = [
            (self._by_digest, digest), (self._by_name, mark.source.name)
        ]  # fmt: skip
        if mark.state is not None:
            keys.append((self._by_inode, mark.state.inode))
        return keys

    def find(self, source: Source, fingerprint: Fingerprint) -> Mark | None:
        """Return the mark with the most rows among those whose content a file begins with.

        `fingerprint` identifies the whole file; it is ignored if the file may grow.
        """
        if not source.can_grow:
            return self._find_by_content(fingerprint, fingerprint.digest, source.name)
        candidates = {
            mark.source: mark
            for digest in self._start_digests(source.read_start())
            for mark in self._by_digest.get(digest, ())
        }
        for matching in reversed(source.find_matching(candidates)):
            if source.ends_row_at(matching.size):
                return self._find_by_content(matching, candidates[matching].start, source.name)
        return None

    def find_finished(self, paths: Sequence[str]) -> Iterator[LearnedFile | None]:
        """Yield, for each path, a `LearnedFile` if its mark shows a finished file, else None.

        A file is not read if its state matches that of its mark. Other files are read in parallel.
        """
        if len(paths) == 1:
            yield self._find_finished(paths[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # imported late: most runs have one file

        pool = ThreadPoolExecutor()
        try:
            yield from pool.map(self._find_finished, paths)
        finally:
            pool.shutdown(cancel_futures=True)

    def _find_finished(self, path: str) -> LearnedFile | None:
        """Return a `LearnedFile` if the mark of a path shows a finished file, else None."""
        with suppress(OSError):  # opening the file will report the error
            state = FileState.find(path)
            if state is None:
                return None
            for mark in self._by_inode.get(state.inode, ()):
                if mark.is_finished and mark.state == state:
                    return LearnedFile(path, mark, state)
            for mark in self._by_name.get(path, ()):
                if mark.is_finished and mark.source.size == state.size:
                    digest = hash_file(path)
                    if digest == mark.source.digest and FileState.find(path) == state:
                        return LearnedFile(path, mark, state)
        return None

    def find_same_content(self, mark: Mark) -> Mark | None:
        """Return the mark with the same content and the most rows, preferably of the same name."""
        digest = mark.start or mark.source.digest
        return self._find_by_content(mark.source, digest, mark.source.name)

    def adopt(self, mark: Mark, source: Source) -> Mark:
        """Return a mark like the given one, but with the name of a source with the same content.

        The mark is copied if its original file still has this content; otherwise it is moved.
        """
        if mark.source.name == source.name:
            return mark
        for shorter in list(self._by_name.get(source.name, ())):
            if shorter.source == mark.source:
                self._remove(shorter)
        fingerprint = replace(mark.source, name=source.name)
        named = replace(mark, source=fingerprint, state=source.state, is_finished=False)
        self.put(named, None if _has_unchanged_content(mark) else mark)
        return named

    def check_new_content(self, source: Source) -> str | None:
        """Return a notice if a file has new content under a known name.

        Raises
        ------
        SourceError
            If the file has changed, other than by growth or rotation.

        """
        same_name = self._by_name.get(source.name)
        if not same_name or (source.can_grow and not source.read_start()):
            return None
        mark = same_name[-1]
        if source.can_grow and mark.start and not _is_rotated(mark, source):
            _raise_changed(mark, source)
        return f"{source.name}: new file; {_describe_learned_rows(mark, 'of the old file')}"

    def _find_by_content(self, fingerprint: Fingerprint, digest: str, name: str) -> Mark | None:
        """Return the mark with this content and the most rows, preferably with this name."""
        same = [mark for mark in self._by_digest.get(digest, ()) if mark.source == fingerprint]
        return max(same, key=lambda mark: (mark.n_rows, mark.source.name == name), default=None)

    def _start_digests(self, start: bytes) -> Iterator[str]:
        """Yield the SHA-256 of the first bytes of text, for each start size among the marks."""
        from hashlib import sha256  # imported late: runs without a checkpoint do not need it

        digest, done = sha256(), 0
        for size in sorted(self._sizes):
            if self._sizes[size] and 0 < size <= len(start):
                digest.update(start[done:size])
                done = size
                yield digest.hexdigest()


class LearnedFile(Source):
    """A file that is not opened, because it has no rows beyond its mark.

    `state` is the state of the file when it was checked; the file may have changed since then.
    """

    def __init__(self, path: str, mark: Mark, state: FileState) -> None:
        super().__init__(path)
        self.mark, self.state = mark, state

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.mark.n_rows

    def open(self, request: Request) -> Opening | None:
        return None

    def fingerprints(self) -> list[Fingerprint]:
        return [self.mark.source]

    def find_layout(self, request: Request) -> Layout:
        raise NotImplementedError

    def read_batches(self, batches: Batches, request: Request) -> Iterator[Batch]:
        raise NotImplementedError

    def describe(self, request: Request, columns: Columns) -> tuple[Notice, ...]:
        raise NotImplementedError


def may_share_content(sources: Sequence[Source]) -> bool:
    """Return whether any file may have the same content as another file, or begin with it.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> source = open_source(str(sample_path()))
    >>> may_share_content([source]), may_share_content([source, source])
    (False, True)

    """
    files = [source for source in sources if not source.is_stream]
    if len(files) < 2:
        return False
    # In sorted order, a start that begins with another one follows it.
    starts = sorted(map(_read_start, files))
    return any(after.startswith(before) for before, after in pairwise(starts))


def _read_start(source: Source) -> bytes:
    """Return the first bytes of a file, or the path of a remote Parquet or Arrow file."""
    if source.can_grow:
        return source.read_start()
    if is_remote(source.path):
        return source.path.encode()
    with open(source.path, "rb") as file:
        return file.read(START_BYTES)


def format_row_count(mark: Mark) -> str:
    """Return the number of rows up to a mark as text."""
    return "1 row" if mark.n_rows == 1 else f"{mark.n_rows:,} rows"


def _start_size(mark: Mark) -> int:
    """Return the number of bytes in the start of a mark; 0 for Parquet and Arrow."""
    return min(mark.source.size, START_BYTES) if mark.start else 0


def _describe_learned_rows(mark: Mark, of_file: str) -> str:
    """Return a clause that says how many rows of a file were learned."""
    return f"{format_row_count(mark)} {of_file} {'was' if mark.n_rows == 1 else 'were'} learned"


def _has_unchanged_content(mark: Mark) -> bool:
    """Return whether the original file of a mark still begins with the content of the mark."""
    name = mark.source.name
    if is_remote(name):
        return True  # assumed, to avoid reading a remote file
    state = FileState.find(name)
    if state is None:
        return False
    if mark.is_finished and mark.state == state:
        return True
    with suppress(SourceError):
        if mark.start:
            hasher = PrefixHasher(name)
            hasher.identify(min(mark.source.size, START_BYTES))
            has_same_start = hasher.start_digest == mark.start
            return has_same_start and hasher.identify(mark.source.size) == mark.source
        return state.size == mark.source.size and bool(
            open_source(name).find_matching([mark.source])
        )
    return False


def _is_rotated(mark: Mark, source: Source) -> bool:
    """Return whether a text file with a known name is a new file, rather than a changed one."""
    if _has_same_start(mark, source):
        return False
    before, now = mark.state, source.state
    if before is None or now is None or not now.is_same_file_as(before):
        return True
    return source.is_shorter_than(mark.source.size)


def _has_same_start(mark: Mark, source: Source) -> bool:
    """Return whether a text file has the same first bytes as the content of a mark."""
    return hash_bytes(source.read_start()[: mark.source.size]) == mark.start


def _raise_changed(mark: Mark, source: Source) -> NoReturn:
    """Raise the error for a file whose learned rows have changed."""
    reason = f"it has changed since {_describe_learned_rows(mark, 'of it')}"
    if source.find_matching([mark.source]):
        reason = f"row {mark.n_rows:,} has changed since it was learned: the file ended within it"
    raise SourceError(f"{source.name}: {reason}; to learn the current file from its start: --again")
