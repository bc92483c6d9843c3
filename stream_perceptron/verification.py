"""Verify that every bit of a model follows from the files in its history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np

from stream_perceptron.checkpoint.encoding import decode
from stream_perceptron.data.input.bytes import get_display_name, is_stream
from stream_perceptron.data.input.positions import FilePosition, PositionIndex
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import Source
from stream_perceptron.distributed.rounds import (
    average_shard_results,
    count_rounds,
    learn_row_ranges,
    plan_round,
)
from stream_perceptron.errors import DivergedError, ModelSizeError, VerificationError
from stream_perceptron.live.files import FileProgress, SourceSegment
from stream_perceptron.live.history import ROUNDS, Entry
from stream_perceptron.live.loop import learn_segments
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.segments import Learner, RowCount
from stream_perceptron.live.state import LiveState
from stream_perceptron.perceptron import SGDPerceptron

# Besides the arrays, what the sources determine in the model and in the live model.
_VERIFIED_MODEL_KEYS = (
    "n_seen", "n_updates", "last_error", "labels", "features", "n_drawn_labels",
    "n_drawn_features", "scaled_features",
)  # fmt: skip
_VERIFIED_LIVE_KEYS = "schema", "string_columns", "progress", "redeliveries", "pending"
# The dimensions of arrays.
_DIMENSIONS = {
    "weights": ("class", "feature"), "biases": ("class",), "class_counts": ("class",),
    "statistics": ("statistic", "feature"),
}  # fmt: skip
_STATISTICS = "count", "mean", "variance", "indicator flag"

# Called with the number of rows learned so far and the total number of rows.
Advance = Callable[[int, int], None]


def verify(
    live: LiveModel, sources: Sequence[Source], advance: Advance = lambda done, total: None
) -> None:
    """Train a model again from its history, and check that every bit is the same.

    Parameters
    ----------
    live
        The model with its history.
    sources
        The files that the model learned from. Names do not matter: each file is identified by its
        digests. A text file may have grown. Files whose digests are not in the history stand in for
        the pipes that were read, in the same order.
    advance
        Called with the number of rows learned so far and the total number of rows.

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
    >>> from stream_perceptron.live import learn
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, seed=0)
    >>> results = list(learn(live, sources))
    >>> verify(live, sources)
    >>> live.model.learn_one({"pixel400": 1.0}, 3)
    >>> verify(live, sources)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.VerificationError: n_seen: 5001, but the sources give 5000

    """
    refuse_pipes(source.path for source in sources)
    if not live.history.is_complete:
        raise VerificationError(
            "was partly trained in Python, so there is no complete record of its rows"
        )
    replay = _Replay(live.history.entries, sources, advance)
    _require_equal_models(live, replay.learn(_create_initial_model(live), live.history.entries))


def refuse_pipes(paths: Iterable[str]) -> None:
    """Raise a VerificationError if one of the paths is that of a pipe."""
    for path in filter(is_stream, paths):
        raise VerificationError(
            f"{get_display_name(path)} can be read only once: save its data to a file and pass the "
            "file"
        )


def _create_initial_model(live: LiveModel) -> LiveModel:
    """Return a copy of a model as it was before its first row."""
    original = live.model
    model: SGDPerceptron = original.clone({"seed": original.seed_})
    if original.network.scaler is not None:
        model.network.scaler = original.network.scaler.create_empty()
    # Without classes, the first learned label determines the type of all labels.
    label_type = None if original.classes is None else live.schema.label_type
    # An encoder in Python may have decided whether rows are lists before the first row.
    schema = Schema(label_type=label_type, is_list=live.schema.is_list)
    return LiveModel(model, LiveState(live.read_options, schema))


class _Replay:
    """Learns the entries of a history again."""

    def __init__(
        self, entries: Sequence[Entry], sources: Sequence[Source], advance: Advance
    ) -> None:
        self._advance = advance
        self._done, self._total = 0, sum(map(_count_rows, entries))
        # The file that each position is in, whatever its name.
        self._sources: dict[FilePosition, Source] = {}
        positions = dict.fromkeys(
            position for entry in entries for position in entry.files if not position.is_stream
        )
        used: set[Source] = set()
        index = PositionIndex(positions)
        for source in sources:
            for position in index.find(source.content):
                self._sources.setdefault(position, source)
                used.add(source)
            source.close_if_many_files()
        names = {os.path.realpath(source.path): source.name for source in sources}
        for position in positions:
            if position not in self._sources and position.name in names:
                raise VerificationError(f"{names[position.name]} has changed since it was learned")
            if position not in self._sources:
                raise VerificationError(f"{position} is not among the given sources")
        unused = [source for source in sources if source not in used and _has_rows(source)]
        if unused and not any(entry.is_stream for entry in entries):
            raise VerificationError(
                f"{unused[0].name} is not one of the sources that it learned from"
            )
        # Files that stand in for pipes, and the position reached in the first one.
        self._pipe_files = unused
        self._pipe_position: FilePosition | None = None

    def learn(self, live: LiveModel, entries: Sequence[Entry]) -> LiveModel:
        """Train a model on entries; return it, or a new model after rounds."""
        for entry in entries:
            _require_valid_entry(entry)
            skipped = live.progress.skipped
            try:
                live.model.mutate({"lr": decode(entry.lr), "epsilon": entry.epsilon})
                read_options = replace(live.read_options, keep=entry.keep)
                live = LiveModel(live.model, replace(live.state, read_options=read_options))
                if entry.unit == ROUNDS:
                    live = self._learn_in_rounds(live, entry)
                else:
                    self._learn_rows(live, entry)
            except VerificationError:
                raise
            except DivergedError as error:
                raise VerificationError(f"{entry.row_range}: {error.where}: diverged") from None
            except (ModelSizeError, MemoryError):
                raise VerificationError(f"{entry.row_range}: does not fit in memory") from None
            except ValueError as error:
                raise VerificationError(
                    f"{entry.row_range}: cannot be learned again: {error}"
                ) from None
            skipped = live.progress.skipped - skipped
            if skipped != entry.rejected:
                raise VerificationError(
                    f"{entry.row_range}: rejected rows: {skipped:,} now, "
                    f"{entry.rejected:,} when learned"
                )
        return live

    def _learn_rows(self, live: LiveModel, entry: Entry) -> None:
        """Learn rows of a file, or rows of files that stand in for a pipe."""
        n_rows = entry.end - entry.start
        if entry.is_stream:
            self._learn_files_for_pipes(live, entry)
        else:
            source = self._sources[entry.files[0]]
            position = FilePosition(
                source.name, header_size=entry.files[0].header_size, offset=entry.offset,
                rows=entry.start,
            )  # fmt: skip
            progress = FileProgress(position, further_pass=position)
            n_read = self._learn_segment(
                live, SourceSegment(source, progress, entry.end, entry.is_repeated)
            )
            _require_no_missing_rows(entry, n_rows - n_read, f"{source.name} lacks")

    def _learn_files_for_pipes(self, live: LiveModel, entry: Entry) -> None:
        """Learn rows of the files that stand in for a pipe; do not count redelivered rows."""
        n_left, position, files = entry.end - entry.start, self._pipe_position, self._pipe_files
        if entry.start == 0 and position is not None:
            del files[0]
            position = None
        while n_left and files:
            position = position or FilePosition(files[0].name)
            end = position.rows + n_left
            segment = SourceSegment(files[0], FileProgress(position), end, is_stream=True)
            n_left -= self._learn_segment(live, segment)
            position = segment.position
            if n_left:
                del files[0]
                position = None
        self._pipe_position = position
        _require_no_missing_rows(entry, n_left, "the files that stand for it lack")

    def _learn_segment(self, live: LiveModel, segment: SourceSegment) -> int:
        """Learn the rows of a segment; return how many were read, not counting redelivered rows."""
        count = RowCount()
        results = learn_segments(Learner(live), [segment], count, skip_rejected=True)
        with closing(results):
            for result in results:
                self._report_progress(len(result.batch))
        return count.read

    def _learn_in_rounds(self, live: LiveModel, entry: Entry) -> LiveModel:
        """Learn rounds of shards one after another; return the average after the final round."""
        files = [replace(each, name=self._sources[each].path) for each in entry.files]
        shards = entry.shards
        assert shards is not None
        n_rounds = count_rounds(files, shards)
        if not n_rounds:
            raise VerificationError(f"{entry.row_range}: the sources have no rows")
        for number in range(entry.start, entry.end):
            ranges_by_shard = plan_round(files, shards, number)
            if not ranges_by_shard:
                continue
            results = [
                learn_row_ranges(
                    live, row_ranges, len(ranges_by_shard), True, is_repeated=number >= n_rounds
                )
                for row_ranges in ranges_by_shard
            ]
            mean = average_shard_results(live, results)
            self._report_progress(mean.progress.rows - live.progress.rows)
            live = mean
        return live

    def _report_progress(self, rows: int) -> None:
        self._done += rows
        self._advance(self._done, self._total)


def _has_rows(source: Source) -> bool:
    return any(batch for batch in source.batches(ReadRequest(to_learn=False)))


def _require_valid_entry(entry: Entry) -> None:
    """Check that a run could have written an entry."""
    is_sharded = entry.unit == ROUNDS
    if not entry.files or entry.start >= entry.end or is_sharded != (entry.shards is not None):
        raise VerificationError("has an inconsistent history")


def _require_no_missing_rows(entry: Entry, n_missing: int, problem: str) -> None:
    """Check that the source contained all rows of an entry."""
    if n_missing:
        raise VerificationError(
            f"{entry.row_range}: {problem} the last {n_missing:,} of these rows"
        )


def _count_rows(entry: Entry) -> int:
    """Return the number of rows in an entry; for an entry of shards, return an upper bound."""
    shards = entry.shards
    return (entry.end - entry.start) * (1 if shards is None else shards.n * shards.rows)


def _require_equal_models(live: LiveModel, replayed: LiveModel) -> None:
    """Check that two models are bit-identical.

    Raises
    ------
    VerificationError
        If they are not; the message names the first difference.

    """
    parts = zip(_list_verified_values(live), _list_verified_values(replayed), strict=True)
    for (name, value), (_, expected) in parts:
        for place, ours, theirs in _find_differences(value, expected):
            keys = f" ({', '.join(_iterate_key_names(live, name, place))})" if place else ""
            raise VerificationError(f"{name}{keys}: {ours!r}, but the sources give {theirs!r}")


def _list_verified_values(live: LiveModel) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each part of a checkpoint that the sources determine."""
    meta, arrays = live.encode()
    yield from ((name, meta["model"][name]) for name in _VERIFIED_MODEL_KEYS)
    yield from sorted(arrays.items())
    yield from ((name, meta["state"][name]) for name in _VERIFIED_LIVE_KEYS)


def _find_differences(value: Any, expected: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Yield the place of each difference between arrays or JSON values, and the two values."""
    if isinstance(value, np.ndarray):
        if (value.dtype, value.shape) != (expected.dtype, expected.shape):
            yield ("shape",), value.shape, expected.shape
            return
        bits = [np.ascontiguousarray(a).view(f"u{a.itemsize}") for a in (value, expected)]
        for index in map(tuple, np.argwhere(bits[0] != bits[1]).tolist()):
            yield index, value[index].item(), expected[index].item()
        return
    if type(value) is type(expected) and isinstance(value, dict | list) and len(value):
        keys = value if isinstance(value, dict) else range(len(value))
        if isinstance(value, dict) or len(value) == len(expected):
            for key in keys:
                for place, *values in _find_differences(value[key], expected[key]):
                    yield (key, *place), *values
            return
    # Unlike ==, repr distinguishes 0.0 from -0.0, and 1 from True.
    if repr(value) != repr(expected):
        yield (), value, expected


def _iterate_key_names(live: LiveModel, part: str, keys: tuple[Any, ...]) -> Iterator[str]:
    """Yield the names of the keys that lead to a difference."""
    names = {
        "class": live.model.classes_, "feature": live.model.features_, "statistic": _STATISTICS
    }  # fmt: skip
    kinds = () if keys == ("shape",) else _DIMENSIONS.get(part, ())
    for kind, key in zip_longest(kinds, keys):
        yield str(key) if kind is None else f"{kind} {names[kind][key]!r}"
