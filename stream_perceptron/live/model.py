"""A model at work on a stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.archive import naming, read_checkpoint, write_checkpoint
from stream_perceptron.checkpoint.codec import from_json, to_json
from stream_perceptron.checkpoint.scalers import absorb
from stream_perceptron.checkpoint.state import (
    ARRAYS,
    STATISTICS,
    model_from_state,
    model_state,
)
from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.schema import KnownNames, Schema, Selection
from stream_perceptron.data.source import Request, Source
from stream_perceptron.errors import (
    CheckpointError,
    DivergedError,
    SampleError,
    SourceError,
    StreamPerceptronError,
)
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.lineage import DRAWS, ROWS, Entry, Lineage, saved_lr
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.notes import notes_about
from stream_perceptron.live.reading import ahead, cut, read, singly
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model import kernel
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.model.kernel.types import BlockResult
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import MAX_WEIGHTS, NAME_COST
from stream_perceptron.perceptron import SGDPerceptron

# Blocks, and samples in them, that wait to be counted at once: many cost hardly more than one.
_MOST_BLOCKS, _MOST_SAMPLES = 256, 2**12


@dataclass(eq=False, repr=False)
class _Run:
    """What is saved of a run beside the model and the arrays."""

    selection: Selection
    schema: Schema
    progress: Progress
    curve_bin: int
    cursor: Cursor
    lineage: Lineage


class LiveModel:
    """A model with what it takes from its sources and how it has done so far.

    Parameters
    ----------
    model
        The perceptron.
    selection
        What it was asked to take from its sources.
    schema
        What it has found in the rows that it has learned.
    progress
        How it has done so far.
    cursor
        Where it is in its sources.
    lineage
        What it was learned from.

    Attributes
    ----------
    kernel : str
        The kernel that the model was saved with.
    needs_label : bool
        Whether a table without a label column is refused where it is to be learned.
    replayed : int
        Rows that came again and were left out, since the model was made or loaded.
    is_whole : bool
        Whether the model, its progress, its cursor and its lineage belong together. If not, a step
        ended in an error that nobody foresaw, and nothing can be saved.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, lr=0.1, seed=0)
    >>> results = list(live.run(sources))
    >>> live.progress.samples, f"{live.progress.accuracy:.1%}"
    (5000, '84.4%')

    """

    def __init__(
        self,
        model: SGDPerceptron,
        selection: Selection | None = None,
        schema: Schema | None = None,
        progress: Progress | None = None,
        cursor: Cursor | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        self.model = model
        self.selection = selection or Selection()
        self.schema = schema or Schema()
        self._uncounted: list[BlockResult] = []  # what the progress does not have yet
        self._n_uncounted = 0
        self._progress = progress or Progress()
        self.cursor = cursor or Cursor()
        self.lineage = lineage or Lineage(is_complete=model.n_seen == 0)
        self.kernel = KERNEL
        self.needs_label = False
        self.replayed = 0
        self.is_whole = True

    @classmethod
    def start(
        cls,
        sources: Sequence[Source],
        selection: Selection | None = None,
        classes: Sequence[str] | None = None,
        needs_label: bool = False,
        **parameters: Any,
    ) -> LiveModel:
        """Make a new model for some sources.

        Parameters
        ----------
        sources
            What will be read.
        selection
            What to take from it.
        classes
            The labels to know from the start, as text; None for those that the first source names.
        needs_label
            As the attribute.
        parameters
            Parameters of `SGDPerceptron`.

        Raises
        ------
        SourceError
            If a source does not hold what is asked for.
        ValueError
            If a parameter is out of its range, or a class is not of the labels' type.

        """
        most = parameters.get("max_weights", MAX_WEIGHTS) // NAME_COST
        request = Request(selection or Selection(), needs_label=needs_label, most_features=most)
        declared = None
        for i, source in enumerate(sources):
            fit = source.fit(request)
            if fit is None:
                raise SourceError(f"{source.name}: it has no rows")
            if i == 0 and fit.label is not None:
                declared = source.classes
            request = request.after(fit.schema)
        schema = Schema()
        if classes is not None:
            declared, typed = request.schema.with_classes(classes)
            schema = Schema(label_type=typed.label_type)
        asked = selection or Selection()
        live = cls(SGDPerceptron(classes=declared, **parameters), asked, schema)
        live.needs_label = needs_label
        if asked.standardize:
            live.model.network.scaler = Scaler()
        return live

    @classmethod
    def load(cls, path: Path) -> LiveModel:
        """Load a live model, or one that `stream_perceptron.save` wrote.

        Raises
        ------
        CheckpointError
            If the file is damaged, forged or of a newer version.
        OSError
            If it cannot be read.

        """
        with naming(path):
            meta, arrays = read_checkpoint(path)
            run = meta.pop("run", None)
            kernel = meta.get("kernel")
            of_model = {*ARRAYS, STATISTICS}
            counts = {name: arrays.pop(name) for name in list(arrays) if name not in of_model}
            model = model_from_state(meta, arrays)
            absorb(meta.get("steps"), model)
            if run is None:
                if counts:
                    raise CheckpointError(f"members {sorted(counts)} are of no run")
                names = tuple(str(name) for name in model.features_)
                asked = Selection(standardize=model.network.scaler is not None)
                live = cls(model, asked, Schema(features=names or None))
            else:
                saved = from_json(_Run, run, "run")
                live = cls(
                    model, saved.selection, saved.schema, saved.progress, saved.cursor,
                    saved.lineage,
                )  # fmt: skip
                live.progress.restore(counts, saved.curve_bin, len(model.classes_))
                live.cursor.require_fit(saved.selection.position)
                if saved.selection.standardize != (model.network.scaler is not None):
                    raise CheckpointError("has a scaler that was not asked for, or lacks it")
            live.kernel = str(kernel)
            return live

    def save(self, path: Path) -> None:
        """Save everything that is needed to resume, in one step; see `write_checkpoint`.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved, or a step did not come to its end.
        OSError
            If the file cannot be written; the old one is unchanged.

        """
        if not self.is_whole:
            raise CheckpointError(f"{path}: not saved, as an error ended a step in its midst")
        meta, arrays = model_state(self.model)
        meta["extra"] = {}
        curve_bin = self.progress.curve.bin
        run = _Run(self.selection, self.schema, self.progress, curve_bin, self.cursor, self.lineage)
        meta["run"] = to_json(run)
        write_checkpoint(path, meta, arrays | self.progress.arrays)

    @property
    def progress(self) -> Progress:
        """How it has done so far, up to the last row."""
        self._count()
        return self._progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self._progress, self._uncounted, self._n_uncounted = progress, [], 0

    def __getstate__(self) -> dict[str, Any]:
        self._count()
        return vars(self) | {"_uncounted": []}

    @property
    def rows(self) -> int:
        """All rows that were read."""
        return self._progress.rows + self._n_uncounted

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.cursor.stopped_below == self.model.epsilon

    def resume(
        self, sources: Sequence[Source], go_next: bool = False, shards: Shards | None = None
    ) -> Cursor:
        """Return where to resume in some sources; the model stays as it is."""
        request = self.request()
        for source in sources:
            fit = source.fit(request)
            request = request if fit is None else request.after(fit.schema)
        before, identities, new = self.cursor.sources, [], []
        for i, source in enumerate(sources):
            found = source.identities(before[i : i + 1])
            identities += found
            new += [Identity.of_text(source.name)] if source.grows else found
        at_random = any(source.is_random for source in sources)
        return self.cursor.resumed(identities, new, at_random, go_next, shards)

    def grown_but_passed(self, sources: Sequence[Source], cursor: Cursor | None) -> list[str]:
        """Return the sources that have grown, but are not read from a cursor on in this pass."""
        if cursor is None or cursor.at_random or cursor.shards is not None:
            return []
        before = zip(sources[: cursor.index], cursor.sources, strict=False)
        return [source.name for source, known in before if source.has_grown(known)]

    def step(
        self,
        batch: Batch,
        stop: bool = False,
        with_probabilities: bool = False,
        with_every: bool = False,
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        The model, its progress and its schema change together. `with_every` asks for the
        probability of each label, `with_probabilities` for that of the predicted one.
        """
        self.is_whole = False
        result = self._step(batch, stop, with_probabilities, with_every)
        self.is_whole = True
        return result

    def _step(
        self, batch: Batch, stop: bool, with_probabilities: bool, with_every: bool
    ) -> StepResult:
        seen = self.model.n_seen
        try:
            result = self.model.train(
                batch.features, batch.labels, batch.weights, stop, with_probabilities,
                batch.indicators, with_every,
            )  # fmt: skip
        except StreamPerceptronError:
            self.is_whole = self.model.n_seen == seen
            raise
        n = len(result)
        taken = len(batch)
        if result.diverged or result.refused is not None:
            taken = int(batch.rows[n])
        elif result.stopped:
            taken = int(batch.rows[n - 1]) + 1
        done = batch[:taken]
        before = self.rows
        rows = before + 1 + batch.rows[:n]
        if batch.replayed is not None:
            # Rows that came again have no number.
            rows = before + np.cumsum(~batch.replayed)[batch.rows[:n]]
            self.replayed += int(np.count_nonzero(batch.replayed[:taken]))
        every = self._every_probability(result)
        self._take(batch, result, len(done.rejected))
        if any(label is not None for label in batch.labels[:n]):
            self.schema = batch.schema
        return StepResult(
            rows=rows,
            predicted=result.predicted,
            classes=self.model.classes_,
            probabilities=result.probability,
            every_probability=every,
            labels=batch.labels[:n],
            updated=result.updated,
            taken=taken,
            rejected=done.rejections(),
            notes=notes_about(batch, self),
            carried=self._carried(batch, n),
            diverged=result.diverged,
            stopped=result.stopped,
            refused=result.refused,
        )

    def _take(self, batch: Batch, result: BlockResult, n_rejected: int) -> None:
        """Take note of how the first rows of a batch did."""
        n, progress = len(result), self._progress
        # The result is kept for a while, and its arrays are lent to the caller.
        result.nets = None
        result.predicted.flags.writeable = result.updated.flags.writeable = False
        self._uncounted.append(result)
        self._n_uncounted += n
        if len(self._uncounted) == _MOST_BLOCKS or self._n_uncounted >= _MOST_SAMPLES:
            self._count()
        progress.skipped += n_rejected
        if batch.missing is not None:
            progress.missing += int(batch.missing[:n].sum())
        probed = np.flatnonzero(~np.isnan(result.slope))
        if len(probed):
            progress.largest = max(progress.largest, batch.features[probed].largest())

    def _count(self) -> None:
        """Take the results that wait into the progress."""
        if self._uncounted:
            result = BlockResult.joined(self._uncounted)
            self._uncounted, self._n_uncounted = [], 0
            self._progress.update(result)

    def predict(self, batch: Batch, with_every: bool = False) -> StepResult:
        """Predict the rows of a batch, and learn nothing; they have the numbers of their source.

        `with_every` asks for the probability of each label.
        """
        n = len(batch.rows)
        result = self.model.train(
            batch.features, [None] * n, batch.weights, with_probability=True, with_nets=with_every
        )
        return StepResult(
            rows=batch.first_row + batch.rows,
            predicted=result.predicted,
            classes=self.model.classes_,
            probabilities=result.probability,
            every_probability=self._every_probability(result),
            labels=batch.labels,
            updated=result.updated,
            taken=len(batch),
            rejected=batch.rejections(),
            carried=self._carried(batch, n),
        )

    def run(
        self,
        sources: Sequence[Source],
        cursor: Cursor | None = None,
        epochs: int | None = 1,
        limit: int | None = None,
        stop: bool = False,
        skip_rejected: bool = False,
        with_probabilities: bool = False,
        with_every: bool = False,
        every: int | None = None,
        idle: Idle | None = None,
        one_by_one: int = 0,
        around: Callable[[Batch, Callable[[], StepResult]], StepResult] | None = None,
    ) -> Generator[StepResult, None, None]:
        """Test and train on the rows of some sources; yield after every batch.

        Whenever it yields, the model, its progress and its cursor belong together, and may be
        saved. Before the first row is learned nothing of the model has changed.

        Parameters
        ----------
        sources
            What to read, in order.
        cursor
            Where to begin, as `resume` returned it; None for where the model is.
        epochs
            How often to read all of it; None for without end.
        limit
            The number of rows to read of these sources at most, with those read before; of a
            stream, of this run.
        stop
            End with the first sample whose error is below epsilon; `stopped` tells that it did.
        skip_rejected
            Leave rows out that cannot be used, rather than end with an error.
        with_probabilities
            Whether to compute the probability of each prediction.
        with_every
            Whether to compute that of each label.
        every
            Yield, if not before, when the number of rows read is a multiple of this.
        idle
            Is called before and while rows are waited for, when all may be saved too; returns the
            seconds until it is to be called again, None for never.
        one_by_one
            The number of rows, from here on, that are learned one by one.
        around
            Is called with each batch and what learns it, to look at the model before and after.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit.
        SampleError
            If a row cannot be used. The model is as after the row before.
        DivergedError
            If a weight or an error would stop being finite. The model is as after the row before.

        """
        here = replace(self.cursor if cursor is None else cursor)
        if stop and here.stopped_below == self.model.epsilon:
            here.finished, self.cursor = True, here  # it was ended before it could say so
            return
        here.finished, here.stopped_below = False, None
        here.sources, here.offsets = list(here.sources), dict(here.offsets)
        request = self.request()
        batches = ahead(read(sources, request, here, epochs), sources, idle)
        batches = cut(batches, here, limit, every)
        for batch in singly(batches, one_by_one) if one_by_one else batches:
            usable = batch if skip_rejected else batch.before_rejected()
            end = len(usable)

            def learn(usable: Batch = usable) -> StepResult:
                self.is_whole = False
                result = self._step(usable, stop, with_probabilities, with_every)
                if result.taken:
                    self._move(here, sources, usable[: result.taken])
                    if result.stopped:
                        here.stopped_below = float(self.model.epsilon)
                self.is_whole = True
                return result

            result = learn() if around is None else around(usable, learn)
            yield result
            if result.diverged:
                raise DivergedError(self.model.n_seen + 1, batch.place(result.taken))
            result.require_room(batch)
            if result.stopped:
                break
            if end in batch.rejected:
                raise SampleError(f"{batch.place(end)}: {batch.rejected[end]}")
        here.finished, here.output = True, self.cursor.output
        self.cursor = here

    def request(self, to_learn: bool = True) -> Request:
        """Return what to ask of a source; no row is left out as one that came before."""
        most = self.model.max_weights // NAME_COST
        dtype = self.model.dtype
        numbers = KnownNames(self.model.features_ if self.schema.is_open else ())
        return Request(
            roles.named(self.selection, self.schema) if to_learn else self.selection,
            replace(self.schema, numbers=numbers),
            to_learn,
            needs_label=to_learn and self.needs_label,
            dtype=dtype,
            most_features=most,
        )

    def _move(self, cursor: Cursor, sources: Sequence[Source], batch: Batch) -> None:
        """Move a cursor over rows that were learned, and take it over."""
        source = sources[batch.index]
        rows = len(batch)
        if source.is_stream and batch.replayed is not None:
            rows -= int(np.count_nonzero(batch.replayed))
        start, before = cursor.row, list(cursor.sources)
        cursor.row += rows
        cursor.read += rows
        cursor.pass_offsets(batch.offsets)
        if batch.text is not None:
            cursor.sources[cursor.index] = batch.text.identity
        unit, seed, here = ROWS, 0, slice(cursor.index, cursor.index + 1)
        if isinstance(source, RandomDraws):
            unit, seed, here = DRAWS, source.seed, slice(None)
            start += cursor.epoch * (source.n_rows or 0)
        if not cursor.sources:
            self.lineage.is_complete = False
        elif rows:
            entry = Entry(
                saved_lr(self.model.lr), float(self.model.epsilon), tuple(cursor.sources[here]),
                unit, start, start + rows, len(batch.rejected), seed,
            )  # fmt: skip
            self.lineage.add(entry, before[here])
        cursor.output = self.cursor.output
        self.cursor = cursor

    def batches(
        self, source: Source, most: int | None = None, idle: Idle | None = None
    ) -> Generator[Batch, None, None]:
        """Yield the rows of a source that is to be predicted, at most so many at once.

        `idle` is as for `run`.
        """
        request = self.request(to_learn=False)
        for batch in ahead(read([source], request, Cursor(), 1), [source], idle):
            size = most or max(len(batch), 1)
            for start in range(0, len(batch), size):
                yield batch[start : start + size]

    def _every_probability(self, result: BlockResult) -> NDArray[np.float64] | None:
        if result.nets is None:
            return None
        activation, k = self.model.network.activation, len(self.model.classes_)
        every = np.full((len(result), k), np.nan)
        for rows, nets in result.nets:
            every[rows] = np.nan
            if nets.size:
                every[rows, : nets.shape[1]] = kernel.probabilities(activation, nets)
        return every

    def _carried(self, batch: Batch, n: int) -> list[dict[str, Any]] | None:
        """Return the offsets of the first n usable rows, and what is kept of them."""
        asked = self.selection
        offsets = [batch.offsets[i] for i in batch.rows[:n].tolist()] if batch.offsets else []
        carried = [
            dict(zip(asked.position, [*offset.partition, offset.value], strict=True))
            for offset in offsets
            if offset is not None
        ]
        if not batch.kept:
            return carried or None
        kept = [dict(zip(asked.keep, values, strict=True)) for values in batch.kept[:n]]
        if not carried:
            return kept
        return [one | other for one, other in zip(carried, kept, strict=True)]
