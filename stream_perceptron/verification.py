"""Verify that every bit of a model follows from the sources in its lineage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.codec import encode_class_weight
from stream_perceptron.checkpoint.objects import decode_lr
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import Source
from stream_perceptron.distributed.averaging import average_live
from stream_perceptron.distributed.shards import (
    learn_pieces,
    mean_of,
    parts_of_round,
    require_parquet,
    rounds_in,
)
from stream_perceptron.errors import DivergedError, FullError, VerificationError
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.lineage import DRAWS, ROUNDS, Entry, Lineage
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

# Called with the number of rows learned so far and the number of all rows.
Advance = Callable[[int, int], None]


def verify(
    live: LiveModel, sources: Sequence[Source], advance: Advance = lambda done, total: None
) -> None:
    """Train a model again from its lineage, and compare every bit.

    Parameters
    ----------
    live
        The model with its lineage.
    sources
        The files that the model learned from. Names do not matter: each file is found by its
        digest, a text file that has grown by the digest of its first rows. All other files stand
        for the pipes that were read, in order.
    advance
        Called with the number of rows learned so far and the number of all rows.

    Raises
    ------
    VerificationError
        If the model does not follow from these sources; the message names the first difference.
    SourceError
        If a source cannot be read.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, seed=0)
    >>> results = list(live.run(sources, live.resume(sources)))
    >>> verify(live, sources)
    >>> live.model.learn_one({"pixel400": 1.0}, 3)
    >>> verify(live, sources)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.VerificationError: the number of its samples is 5001, but the \
sources give 5000

    """
    _require_verifiable(live.lineage, sources)
    again = _Again(live.lineage.entries, sources, advance)
    _compare(live, again.learn(_begin(live), live.lineage.entries))


def _require_verifiable(lineage: Lineage, sources: Sequence[Source]) -> None:
    """Check that this program can learn a lineage again from these sources."""
    if not lineage.is_complete:
        raise VerificationError(
            "was partly learned in Python, so there is no record of all its rows"
        )
    others = [name for name in lineage.kernels if name != KERNEL]
    if others:
        raise VerificationError(
            f"was learned with the {others[0]} kernel, which agrees only to rounding with "
            f"the {KERNEL} kernel of this program"
        )
    pipes = [source.name for source in sources if source.is_stream]
    if pipes:
        raise VerificationError(
            f"{pipes[0]} can be read only once: save its data to a file and give that"
        )


def _begin(live: LiveModel) -> LiveModel:
    """Return a model in the state before its first row."""
    was = live.model
    model = SGDPerceptron(
        activation=was.activation,
        init_range=was.init_range,
        classes=was.classes,
        seed=was.seed_,
        max_weights=was.max_weights,
        class_weight=was.class_weight,
    )
    if live.selection.standardize:
        model.network.scaler = Scaler()
    # Without classes the first learned label decides the type of all.
    label_type = None if was.classes is None else live.schema.label_type
    return LiveModel(model, live.selection, Schema(label_type=label_type))


@dataclass
class _Pipe:
    """Files that stand for pipes, and the place reached in them."""

    sources: list[Source]
    index: int = 0
    row: int = 0  # rows read of the current file

    def begin_next(self) -> None:
        """Move to the next file, unless no row of this one was read."""
        if self.row:
            self.index, self.row = self.index + 1, 0


class _Again:
    """Learns a lineage's entries again."""

    def __init__(
        self, entries: Sequence[Entry], sources: Sequence[Source], advance: Advance
    ) -> None:
        self._advance = advance
        self._done, self._total = 0, sum(map(_rows_in, entries))
        flat = list(_flat(entries))
        wanted = {source: None for entry in flat for source in entry.sources if source.digest}
        self._found: dict[Identity, Source] = {}
        used: list[Source] = []
        for source in sources:
            for identity in source.matching(wanted):
                self._found.setdefault(identity, source)
                used.append(source)
        for identity in wanted:
            if identity not in self._found:
                raise VerificationError(f"{identity} is not among the given sources")
        rest = [source for source in sources if source not in used]
        if rest and not any(entry.is_stream for entry in flat):
            raise VerificationError(
                f"{rest[0].name} is not one of the sources that it learned from"
            )
        self._pipe = _Pipe(rest)
        # The cursor after the last segment of each file, and the file of the last entry.
        self._cursors: dict[Source, Cursor] = {}
        self._last: Source | None = None  # None if that was not of a file

    def learn(self, live: LiveModel, entries: Sequence[Entry]) -> LiveModel:
        """Learn entries into a model; return it, or a new one if they average models."""
        for entry in entries:
            last, self._last = self._last, None
            if entry.models:
                branches = [self.learn(copy.deepcopy(live), part) for part in entry.models]
                live = average_live(live, branches)
                continue
            _require_possible(entry, live.model)
            skipped = live.progress.skipped
            try:
                live.model.mutate({"lr": decode_lr(entry.lr), "epsilon": entry.epsilon})
                live.selection = replace(live.selection, keep=entry.keep)
                if entry.unit == ROUNDS:
                    live = self._learn_rounds(live, entry)
                else:
                    self._learn_rows(live, entry, last)
            except VerificationError:
                raise
            except DivergedError as error:
                raise VerificationError(f"{entry.place}: {error.where}: diverged") from None
            except (FullError, MemoryError):
                raise VerificationError(f"{entry.place}: does not fit in memory") from None
            except ValueError as error:
                raise VerificationError(
                    f"{entry.place}: cannot be learned again: {error}"
                ) from None
            skipped = live.progress.skipped - skipped
            if skipped != entry.rejected:
                raise VerificationError(
                    f"{entry.place}: rejected rows: {skipped:,} now, {entry.rejected:,} when "
                    "learned"
                )
        return live

    def _learn_rows(self, live: LiveModel, entry: Entry, last: Source | None) -> None:
        """Learn rows of a file, of files that stand for a pipe, or random draws.

        `last` is the file of the entry before, if it was one of rows of a file.
        """
        n_rows = entry.end - entry.start
        if entry.is_stream:
            self._learn_pipe(live, entry)
        elif entry.unit == DRAWS:
            draws = RandomDraws([self._found[one] for one in entry.sources], entry.seed)
            epoch, row = divmod(entry.start, len(draws.read(live.request())))
            self._run(live, draws, Cursor(at_random=True, epoch=epoch, row=row), n_rows)
        else:
            source = self._found[entry.sources[0]]
            cursor, before = Cursor(row=entry.start), self._cursors.get(source)
            cursor.is_again, cursor.n_known = entry.is_again, entry.start + entry.n_repeated
            is_contiguous = before is not None and before.row == entry.start
            if before is not None and is_contiguous:
                cursor.offset = before.offset  # saves cutting the lines before it
            if not (is_contiguous and source is last):
                live.cursor.redeliveries.begin_source()
            self._run(live, source, cursor, n_rows)
            self._cursors[source], self._last = live.cursor, source
            _require_rows(entry, n_rows - live.cursor.read, f"{source.name} lacks")

    def _learn_pipe(self, live: LiveModel, entry: Entry) -> None:
        """Learn rows of the files that stand for a pipe; redelivered ones do not count."""
        left, pipe = entry.end - entry.start, self._pipe
        if entry.start == 0:
            pipe.begin_next()
        while left and pipe.index < len(pipe.sources):
            source = pipe.sources[pipe.index]
            source.stands_for_pipe = True
            pipe.row += self._run(live, source, Cursor(row=pipe.row), left)
            left -= live.cursor.read
            if left:
                pipe.index, pipe.row = pipe.index + 1, 0
        _require_rows(entry, left, "the files that stand for it lack")

    def _run(self, live: LiveModel, source: Source, cursor: Cursor, limit: int) -> int:
        """Learn at most `limit` rows of a source from a cursor on; return the rows read."""
        cursor.redeliveries = live.cursor.redeliveries
        live.ledger.cursor = cursor  # also if there are no rows
        n_taken, epochs = 0, None if source.is_random else 1
        results = live.run([source], epochs=epochs, limit=limit, skip_rejected=True)
        with closing(results):
            for result in results:
                n_taken += result.taken
                self._tell(result.taken)
        return n_taken

    def _learn_rounds(self, live: LiveModel, entry: Entry) -> LiveModel:
        files = require_parquet([self._found[one] for one in entry.sources])
        groups = [source.groups for source in files]
        paths = [source.path for source in files]
        shards = Shards(entry.shards, entry.round_rows, first_rows=entry.first_rows)
        n_rounds = rounds_in(groups, shards)
        if not n_rounds:
            raise VerificationError(f"{entry.place}: the sources have no rows")
        for number in range(entry.start, entry.end):
            here = replace(shards, rounds=number % n_rounds)
            is_first_pass = number < n_rounds
            dealt, factor = parts_of_round(groups, here, entry.kept_lr, is_first_pass)
            if not dealt:
                continue
            is_repeated = entry.is_again or not is_first_pass
            outcomes = [
                learn_pieces(live, paths, pieces, factor, True, is_repeated) for pieces in dealt
            ]
            mean = mean_of(live, outcomes)
            self._tell(mean.progress.rows - live.progress.rows)
            live = mean
        return live

    def _tell(self, rows: int) -> None:
        self._done += rows
        self._advance(self._done, self._total)


def _flat(entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        for part in entry.models:
            yield from _flat(part)


def _require_possible(entry: Entry, model: SGDPerceptron) -> None:
    """Check that a run of this model can have written an entry."""
    deals = entry.unit == ROUNDS
    if (
        not entry.sources
        or entry.start >= entry.end
        or entry.class_weight != encode_class_weight(model.class_weight)
        or (deals and not entry.shards * entry.round_rows)
    ):
        raise VerificationError("has an inconsistent lineage")


def _require_rows(entry: Entry, n_missing: int, lacks: str) -> None:
    """Check that no rows of an entry were missing."""
    if n_missing:
        raise VerificationError(f"{entry.place}: {lacks} the last {n_missing:,} of these rows")


def _rows_in(entry: Entry) -> int:
    """Return the number of an entry's rows; for shards an upper bound."""
    if entry.models:
        return sum(_rows_in(each) for part in entry.models for each in part)
    return (entry.end - entry.start) * max(entry.shards * entry.round_rows, 1)


def _compare(live: LiveModel, again: LiveModel) -> None:
    """Check that two models are bit-identical."""
    model, other = live.model, again.model
    pairs: list[tuple[str, Any, Any]] = [
        ("the number of its samples", model.n_seen, other.n_seen),
        ("the number of its updates", model.n_updates, other.n_updates),
    ]
    n_drawn, other_n_drawn = (
        model.network.store.n_drawn,
        other.network.store.n_drawn,
    )
    for i, (what, here, there) in enumerate(
        (("class", model.classes_, other.classes_), ("feature", model.features_, other.features_))
    ):
        pairs.append((f"the number of its {what} names", len(here), len(there)))
        pairs += [
            (f"{what} {j + 1:,}", *names) for j, names in enumerate(zip(here, there, strict=False))
        ]
        what = f"the number of its {what} names with drawn weights"
        pairs.append((what, n_drawn[i], other_n_drawn[i]))
    for what, here, there in pairs:
        _require_same(what, here, there)
    classes, features = model.classes_, model.features_
    for name, of_weights in (("bias", False), ("weight", True)):
        mine = model.weights if of_weights else model.biases[:, np.newaxis]
        its = other.weights if of_weights else other.biases[:, np.newaxis]
        place = _first_difference(mine, its)
        if place is not None:
            row, column = place
            of = f" for feature {features[column]!r}" if of_weights else ""
            _require_same(
                f"the {name} of class {classes[row]!r}{of}", mine[row, column], its[row, column]
            )
    scaler, of_other = model.network.scaler, other.network.scaler
    if scaler is not None and of_other is not None:
        mine, its = scaler.at(slice(len(features))), of_other.at(slice(len(features)))
        place = _first_difference(mine, its)
        if place is not None:
            what = ("count", "mean", "variance")[place[0]]
            _require_same(f"the {what} of feature {features[place[1]]!r}", mine[place], its[place])
    class_counts = (
        None if counts is None else counts.tolist()
        for counts in (model.network.class_counts, other.network.class_counts)
    )
    _require_same("its counts of classes", *class_counts)
    _require_same("its last error", model.last_error, other.last_error)
    _compare_fields("its schema", live.schema, again.schema)
    _require_same("the highest offset of each partition", *map(_offsets_of, (live, again)))
    _compare_progress(live.progress, again.progress)
    waits = live.waiting, again.waiting
    _require_same("its count of forgotten samples", *(each.forgotten for each in waits))
    there = [
        ([a.tobytes() for a in w.arrays().values()], w.ids, w.columns, w.indicators) for w in waits
    ]
    if there[0] != there[1]:
        raise VerificationError("its samples that wait for labels differ from the sources'")


def _compare_progress(mine: Progress, its: Progress) -> None:
    # An older version detected drift, and counted missing values, by other rules.
    omitted: set[str] = set()
    if mine.drift.n_untested:
        omitted = {"drift_tests", "events", "missing", "untyped_nulls"}
    for field in fields(mine):
        rules = field.metadata
        # A count is None if it was not kept when the model was saved.
        if (
            rules.get("saved", True)
            and rules.get("verified", True)
            and getattr(mine, field.name) is not None
            and field.name not in omitted
        ):
            name = field.name.replace("_", " ")
            counts = (getattr(each, field.name) for each in (mine, its))
            _require_same(
                f"its count of {name}",
                *(dict(sorted(x.items())) if isinstance(x, dict) else x for x in counts),
            )
    for what, here in mine.arrays.items():
        there = its.arrays.get(what)
        if what not in omitted and (there is None or here.tobytes() != there.tobytes()):
            raise VerificationError(f"its {what} differs from that of the sources")


def _compare_fields(what: str, mine: Any, its: Any) -> None:
    """Check that two dataclasses have equal fields."""
    for field in fields(mine):
        name = field.name.replace("_", " ")
        _require_same(f"{what}, {name},", getattr(mine, field.name), getattr(its, field.name))


def _offsets_of(live: LiveModel) -> list[tuple[tuple[str, ...], int]]:
    """Return the highest offset of each partition, in the order of the partitions."""
    return sorted(live.cursor.offsets.items())


def _first_difference(mine: NDArray[Any], its: NDArray[Any]) -> tuple[int, int] | None:
    """Return the first place where the bits of two matrices differ."""
    mine, its = np.ascontiguousarray(mine), np.ascontiguousarray(its)
    if mine.tobytes() == its.tobytes():
        return None
    kind = f"u{mine.itemsize}"
    places = np.argwhere(mine.view(kind) != its.view(kind))
    return int(places[0, 0]), int(places[0, 1])


def _require_same(what: str, here: Any, there: Any) -> None:
    here, there = (x.item() if isinstance(x, np.generic) else x for x in (here, there))
    # repr tells 0.0 from -0.0, and 1 from True.
    if repr(here) != repr(there):
        raise VerificationError(f"{what} is {here!r}, but the sources give {there!r}")
