"""What a model was learned from: enough to train it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stream_perceptron.checkpoint.objects import decode_lr, encode_lr
from stream_perceptron.data.identity import Identity
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.kernel import NAME as KERNEL

ROWS, DRAWS, ROUNDS = "rows", "draws", "rounds"


@dataclass(frozen=True)
class Entry:
    """What was learned one after another, with one learning rate and one epsilon; or a mean."""

    lr: Any = field(default=None, metadata={"is_json": True})  # by `encode_lr`
    epsilon: float = 0.0
    # The source; all sources where rows were drawn from them or dealt out to shards.
    sources: tuple[Identity, ...] = ()
    # Whether `start` and `end` count rows of the source, draws or rounds over all passes.
    unit: str = field(default=ROWS, metadata={"one_of": (ROWS, DRAWS, ROUNDS)})
    start: int = 0  # the first, counted from 0
    end: int = 0  # the first that does not belong to it
    rejected: int = 0  # rows among them that could not be used
    seed: int = field(default=0, metadata={"optional": True, "below": 2**64})  # of draws
    shards: int = field(default=0, metadata={"optional": True})
    round_rows: int = field(default=0, metadata={"optional": True})  # of each shard in a round
    # Whether the shards learned with lr itself, rather than as many times lr as there are shards.
    kept_lr: bool = field(default=False, metadata={"optional": True})
    # What each model added, in the order in which they were averaged; of a mean that is all.
    models: tuple[tuple[Entry, ...], ...] = field(default=(), metadata={"optional": True})

    @property
    def place(self) -> str:
        """Which rows it is about, for a message."""
        names = ", ".join(source.name for source in self.sources)
        return f"{names}: {self.unit} {self.start + 1:,} to {self.end:,}"

    def lines(self) -> Iterator[str]:
        """Yield what a person wants to know of it, a line each."""
        if self.models:
            yield f"mean of {len(self.models):,} models:"
            for i, part in enumerate(self.models):
                yield f"  model {i + 1:,}:"
                for entry in part:
                    yield from (f"    {line}" for line in entry.lines())
            return
        parts = [f"{self.unit} {self.start + 1:,} to {self.end:,}"]
        if self.unit == ROUNDS:
            parts[0] += f" of {self.shards:,} shards of {self.round_rows:,} rows"
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        rate = "that was not saved" if self.lr is None else shown_lr(decode_lr(self.lr))
        parts += [f"lr {rate}", f"epsilon {self.epsilon:g}"]
        yield f"{', '.join(map(str, self.sources))}: {', '.join(parts)}"

    @property
    def is_stream(self) -> bool:
        """Whether the rows came from a pipe."""
        return any(source.is_stream for source in self.sources)

    def follows(self, before: Entry) -> bool:
        """Whether this continues where another entry ends, in the same way but for the source."""
        return self.start == before.end and self._circumstances == before._circumstances

    @property
    def _circumstances(self) -> tuple[Any, ...]:
        return (
            self.lr, self.epsilon, self.unit, self.seed, self.shards, self.round_rows,
            self.kept_lr, self.models,
        )  # fmt: skip


@dataclass(eq=False, repr=False)
class Lineage:
    """What a model was learned from, in order.

    The entries are the same however often a run was stopped and went on.

    Examples
    --------
    >>> lineage = Lineage()
    >>> source = Identity("digits.csv", 3000, "1f")
    >>> for start in (0, 100, 0):
    ...     lineage.add(Entry(0.1, 0.0, (source,), start=start, end=start + 100), (source,))
    >>> [(entry.start, entry.end) for entry in lineage.entries]
    [(0, 200), (0, 100)]

    """

    entries: list[Entry] = field(default_factory=list)
    # Whether they are all that was learned: a model may have learned in Python before.
    is_complete: bool = True
    kernels: tuple[str, ...] = ()  # that have learned it

    def add(self, entry: Entry, before: Sequence[Identity]) -> None:
        """Take note of what was learned, of sources that were `before` what is said of them here.

        What is said of a text file changes, as that is of its rows so far.
        """
        if KERNEL not in self.kernels:
            self.kernels = (*self.kernels, KERNEL)
        last = self.entries[-1] if self.entries else None
        if last is not None and last.sources == tuple(before) and entry.follows(last):
            del self.entries[-1]
            rejected = last.rejected + entry.rejected
            entry = replace(entry, start=last.start, rejected=rejected)
        self.entries.append(entry)

    def require_rates(self) -> None:
        """Require that each learning rate is one."""
        parts = list(self.entries)
        while parts:
            entry = parts.pop()
            parts += [each for part in entry.models for each in part]
            if not entry.models and entry.lr is not None:
                decode_lr(entry.lr)

    def lines(self) -> list[str]:
        """Return what a person wants to know of it, a line each."""
        lines = [line for entry in self.entries for line in entry.lines()]
        return (
            lines
            if self.is_complete
            else ["samples in Python, of which there is no record", *lines]
        )

    def since(self, before: Lineage) -> tuple[Entry, ...] | None:
        """Return what was learned since; None if this does not continue it."""
        known = before.entries
        if self.entries[: len(known)] == known:
            return tuple(self.entries[len(known) :])
        *first, last = known
        rest = self.entries[len(first) :]
        if not rest or self.entries[: len(first)] != first:
            return None
        part = replace(rest[0], start=last.end, rejected=rest[0].rejected - last.rejected)
        is_same = [s.name for s in part.sources] == [s.name for s in last.sources]
        if not (is_same and part.follows(last) and part.start < part.end and part.rejected >= 0):
            return None
        return (part, *rest[1:])

    def mean_of(self, lineages: Sequence[Lineage]) -> Lineage:
        """Return the lineage of the mean of models that went on from this one."""
        models = [lineage.since(self) for lineage in lineages]
        is_complete = None not in models and all(
            lineage.is_complete for lineage in (self, *lineages)
        )
        kernels = tuple(
            dict.fromkeys(name for lineage in (self, *lineages) for name in lineage.kernels)
        )
        return Lineage(
            [*self.entries, Entry(models=tuple(each or () for each in models))],
            is_complete,
            kernels,
        )


def shown_lr(lr: Any) -> str:
    """Return a learning rate, or its schedule, for people."""
    return f"{lr:g}" if isinstance(lr, float | int) else repr(lr)


def saved_lr(lr: Any) -> Any:
    """Return a learning rate as an entry has it; None for a schedule that cannot be saved."""
    try:
        return encode_lr(lr)
    except CheckpointError:
        return None
