"""The lineage of a model: a record of its sources, sufficient to train it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from stream_perceptron.checkpoint.codec import (
    decode_name,
    encode_class_weight,
)
from stream_perceptron.checkpoint.objects import decode_lr, encode_lr
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.class_weights import list_spellings

ROWS, DRAWS, ROUNDS = "rows", "draws", "rounds"

_MAX_PERIOD = 50  # the longest sequence of entries whose repetitions are shown as one

T = TypeVar("T")


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass
class Entry:
    """Consecutive rows learned with one learning rate and epsilon, or an average of models.

    Do not modify an entry of a lineage.
    """

    lr: object = field(default=None, metadata={"is_json": True})  # as returned by `encode_lr`
    epsilon: float = 0.0
    # The source; all sources if rows were drawn from them or split into shards.
    sources: tuple[Fingerprint, ...] = ()
    # The unit of `start` and `end`: rows of the source, or draws or rounds over all epochs.
    unit: str = field(default=ROWS, metadata={"one_of": (ROWS, DRAWS, ROUNDS)})
    start: int = 0  # the first one, counted from 0
    end: int = 0  # one past the last
    rejected: int = 0  # rejected rows among them
    seed: int = field(default=0, metadata={"below": 2**64})  # for draws
    shards: int = 0
    round_rows: int = 0  # rows of each shard in a round
    # The number of rows before the first round; the shards left these rows out in the first pass.
    first_rows: int = 0
    # Whether the shards learned with lr itself, rather than with lr times the number of shards.
    kept_lr: bool = False
    # The passthrough columns: a row with an unreadable value in one of them was rejected.
    keep: tuple[str, ...] = ()
    # Whether rows were learned again on purpose, without detecting redelivered rows.
    is_again: bool = False
    n_repeated: int = 0  # rows learned before
    # The class weights, as returned by `encode_class_weight`.
    class_weight: object = field(default=None, metadata={"is_json": True})
    # The only field set in an average: the entries added by each model, in averaging order.
    models: tuple[tuple[Entry, ...], ...] = ()

    @property
    def source_range(self) -> str:
        """The sources and the range of rows, draws or rounds, for a message."""
        names = ", ".join(source.name for source in self.sources)
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
        phrases = [f"{self.unit} {self.start + 1:,} to {self.end:,}"]
        if self.unit == ROUNDS:
            phrases[0] += f" of {self.shards:,} shards of {self.round_rows:,} rows"
        if self.is_again:
            phrases.append("again")
        if self.rejected:
            phrases.append(f"{self.rejected:,} rejected")
        rate = "not saved" if self.lr is None else format_lr(decode_lr(self.lr))
        phrases += [f"lr {rate}", f"epsilon {self.epsilon:g}"]
        if self.class_weight is not None:
            phrases.append(f"class weights {format_class_weight(self.class_weight)}")
        yield f"{', '.join(map(str, self.sources))}: {', '.join(phrases)}"

    @property
    def is_stream(self) -> bool:
        """Whether the rows came from a pipe."""
        return any(source.is_stream for source in self.sources)

    def follows(self, previous: Entry) -> bool:
        """Return whether this entry continues where another ends, with the same settings."""
        return self.start == previous.end and self._settings == previous._settings

    @property
    def _settings(self) -> tuple[object, ...]:
        """The settings that an entry must share with the entry that it follows."""
        return (
            self.lr, self.epsilon, self.unit, self.seed, self.shards, self.round_rows,
            self.first_rows, self.kept_lr, self.keep, self.is_again, self.class_weight,
            self.models,
        )  # fmt: skip


@dataclass(eq=False, repr=False)
class Lineage:
    """The entries for everything that a model learned, in order.

    They do not depend on how often a run was stopped and resumed.

    Examples
    --------
    >>> lineage = Lineage()
    >>> source = Fingerprint("digits.csv", 3000, "1f")
    >>> for start in (0, 100, 0):
    ...     lineage.add(Entry(0.1, 0.0, (source,), start=start, end=start + 100), (source,))
    >>> [(entry.start, entry.end) for entry in lineage.entries]
    [(0, 200), (0, 100)]

    """

    entries: list[Entry] = field(default_factory=list)
    # Whether the entries cover everything learned; learning in Python is not recorded.
    is_complete: bool = True

    def add(self, entry: Entry, sources_before: Sequence[Fingerprint]) -> None:
        """Add an entry, or extend the last entry if the new one continues it.

        `sources_before` contains the fingerprints of the sources before this step, because the step
        changes the fingerprint of a text file.
        """
        if self.is_continued_by(entry, sources_before):
            last = self.entries.pop()
            entry = replace(
                entry,
                start=last.start,
                rejected=last.rejected + entry.rejected,
                n_repeated=last.n_repeated + entry.n_repeated,
            )
        self.entries.append(entry)

    def is_continued_by(self, entry: Entry, sources_before: Sequence[Fingerprint]) -> bool:
        """Return whether an entry continues the last one, given its sources before this step."""
        last = self.entries[-1] if self.entries else None
        return last is not None and last.sources == tuple(sources_before) and entry.follows(last)

    def replace_last_fingerprint(self, old: Fingerprint, new: Fingerprint) -> None:
        """Replace the fingerprint of a source in the last entry."""
        if self.entries:
            entry = self.entries[-1]
            sources = tuple(new if source is old else source for source in entry.sources)
            self.entries[-1] = replace(entry, sources=sources)

    def format_lines(self) -> list[str]:
        """Return the lines that describe the lineage to users."""
        lines = [] if self.is_complete else ["samples learned in Python, without a record"]
        for group, n in group_repeats([tuple(entry.format_lines()) for entry in self.entries]):
            lines += [line for lines_of_entry in group for line in lines_of_entry]
            if n > 1 and len(group) == 1:
                lines[-1] += f", {n:,} times"
            elif n > 1:
                lines.append(f"the last {len(group):,} in turn, {n:,} times")
        return lines

    def find_entries_since(self, base: Lineage) -> tuple[Entry, ...] | None:
        """Return the entries added since `base`; None if this lineage does not continue it."""
        known = base.entries
        if self.entries[: len(known)] == known:
            return tuple(self.entries[len(known) :])
        *first, last = known
        rest = self.entries[len(first) :]
        if not rest or self.entries[: len(first)] != first:
            return None
        extension = replace(
            rest[0],
            start=last.end,
            rejected=rest[0].rejected - last.rejected,
            n_repeated=rest[0].n_repeated - last.n_repeated,
        )
        has_same_sources = [s.name for s in extension.sources] == [s.name for s in last.sources]
        has_more = (
            extension.start < extension.end and min(extension.rejected, extension.n_repeated) >= 0
        )
        if not (has_same_sources and extension.follows(last) and has_more):
            return None
        return (extension, *rest[1:])

    def build_average(self, lineages: Sequence[Lineage]) -> Lineage:
        """Return the lineage of an average of models that continue this lineage."""
        added = [lineage.find_entries_since(self) for lineage in lineages]
        is_complete = None not in added and all(
            lineage.is_complete for lineage in (self, *lineages)
        )
        return Lineage(
            [*self.entries, Entry(models=tuple(entries or () for entries in added))],
            is_complete,
        )


def group_repeats(items: Sequence[T]) -> Iterator[tuple[Sequence[T], int]]:
    """Yield groups of consecutive items, and the number of times each occurs in succession.

    Examples
    --------
    >>> list(group_repeats("abcbcbcdd"))
    [('a', 1), ('bc', 3), ('d', 2)]

    """
    start = 0
    while start < len(items):
        size, times = 1, 1
        for period in range(1, min(_MAX_PERIOD, (len(items) - start) // 2) + 1):
            group, n = items[start : start + period], 1
            while items[start + n * period : start + (n + 1) * period] == group:
                n += 1
            if n > 1 and n * period > size * times:
                size, times = period, n
        yield items[start : start + size], times
        start += size * times


def flatten_entries(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield lineage entries, with each average followed by the entries of its models."""
    for entry in entries:
        yield entry
        for model_entries in entry.models:
            yield from flatten_entries(model_entries)


def format_lr(lr: object) -> str:
    """Return a learning rate or a schedule as text."""
    return f"{lr:g}" if isinstance(lr, float | int) else repr(lr)


def format_class_weight(encoded: Any) -> str:
    """Return class weights, encoded by `encode_class_weight`, as text."""
    if isinstance(encoded, str):
        return encoded
    return ", ".join(
        f"{list_spellings(decode_name(label))[0]}={weight:g}" for label, weight in encoded
    )


def try_encode_class_weight(class_weight: Any) -> object:
    """Return class weights as JSON for an entry; None if a label cannot be saved."""
    try:
        return encode_class_weight(class_weight)
    except CheckpointError:
        return None


def try_encode_lr(lr: object) -> object:
    """Return a learning rate as JSON for an entry; None if a schedule cannot be saved."""
    try:
        return encode_lr(lr)
    except CheckpointError:
        return None
