"""Marks: how far each file has been learned."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NoReturn

from stream_perceptron.data.byte_stream import is_remote
from stream_perceptron.data.identity import (
    START_BYTES,
    FileState,
    Identity,
    hash_bytes,
    hash_file,
)
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.source import Interpreter, Opening, RawRows, Request, Source
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.errors import SourceError


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """How far a file has been learned."""

    # The bytes of text up to the mark; Parquet and Arrow files as a whole.
    source: Identity
    n_rows: int  # up to the mark
    n_rejected: int  # rejected rows among them
    # The SHA-256 of the first 4,096 of these bytes; empty for Parquet and Arrow.
    start: str
    # Of a local file, when it was last read.
    state: FileState | None = field(default=None, metadata={"optional": True})
    is_finished: bool = False  # whether the file had no further rows

    def __deepcopy__(self, memo: dict[int, Any]) -> Mark:
        return self


class Marks:
    """The marks of a model, by content, name and state of the files.

    A file may have several marks of one name, if its content was replaced: one for each content.

    Examples
    --------
    >>> identity = Identity("day1.csv", 3000, "1f")
    >>> marks = Marks([Mark(identity, 120, 0, "ab")])
    >>> [(mark.source.name, mark.n_rows) for mark in marks]
    [('day1.csv', 120)]

    """

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks: dict[Mark, None] = {}
        # By the SHA-256 of the first bytes of text, and of whole other files.
        self._by_digest: dict[str, list[Mark]] = defaultdict(list)
        self._by_name: dict[str, list[Mark]] = defaultdict(list)
        self._by_inode: dict[int, list[Mark]] = defaultdict(list)
        self._sizes: Counter[int] = Counter()  # of the starts of text
        for mark in marks:
            self.put(mark)

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks

    def __reduce__(self) -> tuple[Any, ...]:
        return Marks, (list(self),)

    def put(self, mark: Mark, replaced: Mark | None = None) -> None:
        """Add a mark, in place of another one if given."""
        if replaced is not None:
            self._remove(replaced)
        self._marks[mark] = None
        for index, key in self._keys(mark):
            index[key].append(mark)
        self._sizes[_start_size(mark)] += 1

    def _remove(self, mark: Mark) -> None:
        del self._marks[mark]
        for index, key in self._keys(mark):
            index[key].remove(mark)
            if not index[key]:
                del index[key]
        self._sizes[_start_size(mark)] -= 1

    def _keys(self, mark: Mark) -> list[tuple[dict[Any, list[Mark]], Any]]:
        """Return the indexes that have a mark, with its key in each."""
        digest = mark.start or mark.source.digest
        keys: list[tuple[dict[Any, list[Mark]], Any]] = [
            (self._by_digest, digest), (self._by_name, mark.source.name)
        ]  # fmt: skip
        if mark.state is not None:
            keys.append((self._by_inode, mark.state.inode))
        return keys

    def find(self, source: Source, identity: Identity) -> Mark | None:
        """Return the mark with the most rows that the content of a file begins with.

        `identity` is that of the whole file, unless the file may grow.
        """
        if not source.grows:
            return self._find_same(identity, identity.digest, source.name)
        candidates = {
            mark.source: mark
            for digest in self._start_digests(source.read_start())
            for mark in self._by_digest.get(digest, ())
        }
        for matching in reversed(source.matching(candidates)):
            if source.ends_row_at(matching.size):
                return self._find_same(matching, candidates[matching].start, source.name)
        return None

    def find_finished(self, paths: Sequence[str]) -> Iterator[LearnedFile | None]:
        """Yield each file that has no further rows, if that shows before it is opened, or None.

        Files in the state of their marks are not read; several others are read at once.
        """
        if len(paths) == 1:
            yield self._find_finished(paths[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # late: most runs have one file

        pool = ThreadPoolExecutor()
        try:
            yield from pool.map(self._find_finished, paths)
        finally:
            pool.shutdown(cancel_futures=True)

    def _find_finished(self, path: str) -> LearnedFile | None:
        with suppress(OSError):  # opening the file reports it
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

    def find_same(self, mark: Mark) -> Mark | None:
        """Return the mark of the same content with the most rows, if possible of this name."""
        digest = mark.start or mark.source.digest
        return self._find_same(mark.source, digest, mark.source.name)

    def adopt(self, mark: Mark, source: Source) -> Mark:
        """Return a mark under the name of a source that has its content.

        The mark is copied if the file that it came from still has that content, else moved.
        """
        if mark.source.name == source.name:
            return mark
        for shorter in list(self._by_name.get(source.name, ())):
            if shorter.source == mark.source:
                self._remove(shorter)
        identity = replace(mark.source, name=source.name)
        named = replace(mark, source=identity, state=source.state, is_finished=False)
        self.put(named, None if _is_still_there(mark) else mark)
        return named

    def check_new(self, source: Source) -> str | None:
        """Return a notice if a file whose content has no mark has a known name.

        Raises
        ------
        SourceError
            If the file was changed, other than by growth or rotation.

        """
        same_name = self._by_name.get(source.name)
        if not same_name or (source.grows and not source.read_start()):
            return None
        mark = same_name[-1]
        if source.grows and mark.start and not _is_rotated(mark, source):
            _refuse_changed(mark, source)
        return f"{source.name}: new content; {_count_learned(mark, 'of the old one')}"

    def _find_same(self, identity: Identity, digest: str, name: str) -> Mark | None:
        """Return the mark of this content with the most rows, if possible with this name."""
        same = [mark for mark in self._by_digest.get(digest, ()) if mark.source == identity]
        return max(same, key=lambda mark: (mark.n_rows, mark.source.name == name), default=None)

    def _start_digests(self, start: bytes) -> Iterator[str]:
        """Yield the SHA-256 of the first bytes of text, for each size that a mark may have."""
        from hashlib import sha256  # late: runs without a checkpoint do not need it

        digest, done = sha256(), 0
        for size in sorted(self._sizes):
            if self._sizes[size] and 0 < size <= len(start):
                digest.update(start[done:size])
                done = size
                yield digest.hexdigest()


class LearnedFile(Source):
    """A file without further rows, which is not opened.

    `state` is the state in which it had no further rows; since then it may have changed.
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

    def identities(self) -> list[Identity]:
        return [self.mark.source]

    def rows(self, request: Request) -> Iterator[RawRows]:
        return iter(())

    def interpreter(self, request: Request) -> Interpreter:
        raise NotImplementedError


def may_repeat(sources: Sequence[Source]) -> bool:
    """Return whether some files may have the same content, or begin with that of another.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> source = open_source(str(sample_path()))
    >>> may_repeat([source]), may_repeat([source, source])
    (False, True)

    """
    files = [source for source in sources if not source.is_stream]
    if len(files) < 2:
        return False
    # In sorted order, bytes that begin with others follow them.
    starts = sorted(map(_read_start, files))
    return any(after.startswith(before) for before, after in pairwise(starts))


def _read_start(source: Source) -> bytes:
    """Return the first bytes of a file; of a remote Parquet or Arrow file, its path."""
    if source.grows:
        return source.read_start()
    if is_remote(source.path):
        return source.path.encode()
    with open(source.path, "rb") as file:
        return file.read(START_BYTES)


def count_rows(mark: Mark) -> str:
    """Return the number of rows up to a mark as text."""
    return "1 row" if mark.n_rows == 1 else f"{mark.n_rows:,} rows"


def _start_size(mark: Mark) -> int:
    """Return the number of bytes in the start of a mark; 0 for Parquet and Arrow."""
    return min(mark.source.size, START_BYTES) if mark.start else 0


def _count_learned(mark: Mark, of_file: str) -> str:
    """Return a clause that says how many rows of a file were learned."""
    return f"{count_rows(mark)} {of_file} {'was' if mark.n_rows == 1 else 'were'} learned"


def _is_still_there(mark: Mark) -> bool:
    """Return whether the file that a mark came from still begins with that content."""
    name = mark.source.name
    if is_remote(name):
        return True  # as far as can be told without reading it
    state = FileState.find(name)
    if state is None:
        return False
    if mark.is_finished and mark.state == state:
        return True
    with suppress(SourceError):
        if mark.start:
            hasher = PrefixHasher(name)
            hasher.identify(min(mark.source.size, START_BYTES))
            is_alike = hasher.start_digest == mark.start
            return is_alike and hasher.identify(mark.source.size) == mark.source
        return state.size == mark.source.size and bool(open_source(name).matching([mark.source]))
    return False


def _is_rotated(mark: Mark, source: Source) -> bool:
    """Return whether text of a known name is new, rather than changed."""
    if _begins_alike(mark, source):
        return False
    before, now = mark.state, source.state
    if before is None or now is None or not now.is_at_place_of(before):
        return True
    return source.is_shorter_than(mark.source.size)


def _begins_alike(mark: Mark, source: Source) -> bool:
    """Return whether text begins with the first few bytes of a mark."""
    return hash_bytes(source.read_start()[: mark.source.size]) == mark.start


def _refuse_changed(mark: Mark, source: Source) -> NoReturn:
    reason = f"it has changed since {_count_learned(mark, 'of it')}"
    if source.matching([mark.source]):
        reason = f"row {mark.n_rows:,} has changed since it was learned: the file ended within it"
    raise SourceError(f"{source.name}: {reason}; to learn the present file from its start: --again")
