"""A model at work on a stream."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint
from stream_perceptron.checkpoint.codec import Fields
from stream_perceptron.checkpoint.state import model_from_state, model_state
from stream_perceptron.data.batch import Rows, largest_of
from stream_perceptron.data.prefetch import Idle, ahead
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import BATCH_ROWS, RowLayout, Source
from stream_perceptron.errors import CheckpointError, DivergedError, SampleError, SourceError
from stream_perceptron.live.cursor import Position, Shards
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.reading import cut, decode, singly
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.perceptron import SGDPerceptron, names_of

__all__ = ["LiveModel", "Step"]

# Beyond this net inputs are far out where bounded activations are flat.
_LARGE_FEATURE = 16.0


@dataclass
class Step:
    """What one batch of rows brought.

    Parameters
    ----------
    rows
        The number of each sample in the run, counted from 1 with the rows that were skipped;
        shape (n,).
    predicted
        The number of the label predicted for each sample before it was learned; -1 where none was
        known. Shape (n,).
    classes
        The labels by their number.
    probabilities
        The probability of each prediction if it was asked for, else NaN. Shape (n,).
    labels
        The label of each sample; None where there is none.
    skipped
        What was wrong with each row that was skipped, with its place.
    notes
        What a user should be told, one line each.
    places
        The position of each sample by column, if the schema names columns for it and they are
        there.
    before
        The model before the one sample, if that was asked for.
    sample
        That sample.

    """

    rows: NDArray[np.intp]
    predicted: NDArray[np.intp]
    classes: list[Hashable]
    probabilities: NDArray[np.float64]
    labels: list[Hashable]
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: list[dict[str, Any]] | None = None
    before: SGDPerceptron | None = None
    sample: Rows | None = None

    @property
    def predictions(self) -> list[Hashable]:
        """The label predicted for each sample; None where none was known."""
        return names_of(self.predicted, self.classes)


class LiveModel:
    """A model with what it takes from its sources and how it has done so far.

    Parameters
    ----------
    model
        The perceptron.
    schema
        What it takes from its sources.
    progress
        How it has done so far.
    position
        Where it is in its sources.

    Attributes
    ----------
    kernel : str
        The kernel that the model was saved with.
    replayed : int
        Rows that came again and were left out, since the model was made or loaded.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, Schema(), lr=0.1, seed=0)
    >>> for step in live.run(sources):
    ...     pass
    >>> live.progress.samples, f"{live.progress.accuracy:.1%}"
    (5000, '84.4%')

    """

    def __init__(
        self,
        model: SGDPerceptron,
        schema: Schema,
        progress: Progress | None = None,
        position: Position | None = None,
    ) -> None:
        self.model = model
        self.schema = schema
        self.progress = Progress() if progress is None else progress
        self.position = Position() if position is None else position
        self.kernel = KERNEL
        self.replayed = 0

    @classmethod
    def start(
        cls,
        sources: Sequence[Source],
        schema: Schema,
        classes: Sequence[str] | None = None,
        **parameters: Any,
    ) -> LiveModel:
        """Make a new model for some sources.

        Parameters
        ----------
        sources
            What will be read.
        schema
            What to take from it.
        classes
            The labels to know from the start, as text; None for those that the first source names.
        parameters
            Parameters of `SGDPerceptron`.

        Raises
        ------
        SourceError
            If a source does not hold what the schema asks for.
        ValueError
            If a parameter is out of its range, or a class is not of the labels' type.

        """
        declared = None
        for i, source in enumerate(sources):
            layout = source.layout(schema)
            if layout is None:
                raise SourceError(f"{source.name}: it has no rows")
            if i == 0 and layout.label is not None:
                declared = source.classes
        if classes is not None:
            declared = schema.classes_of(classes)
        return cls(SGDPerceptron(classes=declared, **parameters), schema)

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
        meta, arrays = read_checkpoint(path)
        try:
            run = meta.pop("run", None)
            counts = [arrays.pop(name, None) for name in ("confusion", "window", "curve")]
            kernel = meta.get("kernel")
            model = model_from_state(meta, arrays)
            if not isinstance(model, SGDPerceptron):
                raise CheckpointError("holds a pipeline, which only Python code can run")
            if run is None:
                names = [str(name) for name in model.features_]
                live = cls(model, Schema(features=tuple(names) or None))
            else:
                fields = Fields(run, "run")
                live = cls(
                    model,
                    Schema.from_json(fields.take("schema", dict)),
                    Progress.from_json(fields.take("progress", dict), *counts),
                    Position.from_json(fields.take("position", dict)),
                )
                fields.finish()
            live.kernel = str(kernel)
            return live
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Save everything that is needed to go on, in one step; see `write_checkpoint`.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved.
        OSError
            If the file cannot be written; the old one is unchanged.

        """
        meta, arrays = model_state(self.model)
        progress, counts = self.progress.to_json()
        meta["extra"] = {}
        meta["run"] = {
            "schema": vars(self.schema),
            "progress": progress,
            "position": self.position.to_json(),
        }
        write_checkpoint(path, meta, arrays | counts)

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.position.stopped_below == self.model.epsilon

    def go_on_with(
        self, sources: Sequence[Source], go_next: bool = False, shards: Shards | None = None
    ) -> None:
        """Turn to some sources, at the place in them where the model is.

        Parameters
        ----------
        sources
            What will be read.
        go_next
            Whether other sources may be begun while those of before are not finished.
        shards
            How their rows are shared out, if they are; see `stream_perceptron.mixing`.

        Raises
        ------
        CheckpointError
            If these are not the sources of before, and those are not finished.

        """
        at_random = isinstance(sources[0], RandomDraws)
        before = self.position.sources
        identities = [
            identity
            for i, source in enumerate(sources)
            for identity in source.identities(before[i : i + 1])
        ]
        self.position = self.position.go_on_with(identities, at_random, go_next, shards)

    def run(
        self,
        sources: Sequence[Source],
        passes: int | None = 1,
        limit: int | None = None,
        stop: bool = False,
        skip_bad: bool = False,
        with_probabilities: bool = False,
        every: int | None = None,
        idle: Idle | None = None,
        explain: int = 0,
    ) -> Generator[Step, None, None]:
        """Test and train on the rows of some sources from `position` on; yield after every batch.

        Whenever it yields, the model, its progress and its position belong together, and may be
        saved.

        Parameters
        ----------
        sources
            What to read, in order; those of `go_on_with`, if that was called.
        passes
            How often; None for without end.
        limit
            The number of rows to read of these sources at most, with those read before; of a
            stream, of this run.
        stop
            End with the first sample whose error is below epsilon; `stopped` tells that it did.
        skip_bad
            Skip rows that cannot be used, rather than end with an error.
        with_probabilities
            Whether to compute the probability of each prediction.
        every
            Yield, if not before, when the number of rows read is a multiple of this.
        idle
            Is called before and while rows are waited for, when all may be saved too; returns the
            seconds until it is to be called again, None for never.
        explain
            The number of rows, from here on, that are learned one by one and explained.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit.
        SampleError
            If a row cannot be used. The model is as after the row before.
        DivergedError
            If a weight or an error would stop being finite. The model is as after the row before.

        """
        if stop and self.stopped:
            return
        position = self.position
        position.finished, position.stopped_below = False, None
        # A bad row that came before does not end the run, so that all must be looked at.
        until_bad = not skip_bad and not self.schema.position
        decoded = decode(sources, self.schema, position, passes, until_bad, self.model.dtype)
        for part in singly(cut(ahead(decoded, idle), position, limit, every), explain):
            source, layout, rows, n_rows = part.source, part.layout, part.rows, part.n_rows
            notes = []
            if part.first == 1 and len(rows.index):
                notes = self.notes(layout, largest_of(rows.X))
            replayed = np.zeros(n_rows, bool)
            if rows.places:
                replayed = position.replayed(rows.places)
                rows = rows.without(replayed)
            end = min(rows.bad) if rows.bad and not skip_bad else n_rows
            n = int(np.searchsorted(rows.index, end))
            explains = explain > 0 and n == 1
            explain -= n_rows
            before = copy.deepcopy(self.model) if explains else None
            trace = self.model.trace(
                rows.X[:n],
                rows.labels[:n],
                rows.features,
                stop,
                rows.weights[:n],
                with_probabilities,
            )
            n = len(trace)
            if trace.diverged:
                end = int(rows.index[n])
            elif stop and n and trace.eps[-1] < self.model.epsilon:
                end = int(rows.index[n - 1]) + 1
                position.stopped_below = float(self.model.epsilon)
            skipped = {row: why for row, why in rows.bad.items() if row < end}

            # Rows that came again have no number.
            numbers = self.progress.rows + np.cumsum(~replayed)[rows.index[:n]]
            n_replayed = int(np.count_nonzero(replayed[:end]))
            self.replayed += n_replayed
            self.progress.update(trace)
            probed = np.flatnonzero(~np.isnan(trace.slope))
            self.progress.largest = max(self.progress.largest, largest_of(rows.X[probed]))
            self.progress.skipped += len(skipped)
            taken = end - n_replayed if source.is_stream else end
            position.row += taken
            position.read += taken
            position.advance(rows.places[:end])
            if position.turn == 0 and position.sources:
                identity = source.passed(part.batch.slice(0, end))
                if identity is not None:
                    position.sources[position.index] = identity
            yield Step(
                rows=numbers,
                predicted=trace.predicted,
                classes=self.model.classes_,
                probabilities=trace.probability,
                labels=rows.labels[:n],
                skipped=[
                    f"{layout.where}: row {part.first + i}: {why}" for i, why in skipped.items()
                ],
                notes=notes,
                places=self._places(rows, n),
                before=before if n else None,
                sample=rows if explains else None,
            )
            where = f"{layout.where}: row {part.first + end}"
            if trace.diverged:
                raise DivergedError(self.model.n_seen + 1, where)
            if self.stopped:
                break
            if end in rows.bad:
                raise SampleError(f"{where}: {rows.bad[end]}")
        position.finished = True

    def predict(
        self,
        source: Source,
        skip_bad: bool = False,
        most: int = BATCH_ROWS,
        before: Callable[[], None] | None = None,
    ) -> Generator[Step, None, None]:
        """Predict the rows of a source, and learn nothing.

        Parameters
        ----------
        source
            What to read; the label need not be there.
        skip_bad
            Skip rows that cannot be used, rather than end with an error.
        most
            The number of rows to predict at once.
        before
            Is called before rows are predicted, and may replace the model.

        Raises
        ------
        SourceError
            If the source is damaged or does not have the model's features.
        SampleError
            If a row cannot be used.

        """
        decoded = decode(
            [source], self.schema, Position(), 1, not skip_bad, self.model.dtype, to_learn=False
        )
        for whole in ahead(decoded):
            for start in range(0, whole.n_rows, most):
                part = whole.cut(start, start + most)
                rows = part.rows
                bad = [f"{source.name}: row {part.first + i}: {why}" for i, why in rows.bad.items()]
                n = len(rows.index)
                if bad and not skip_bad:
                    n = int(np.searchsorted(rows.index, min(rows.bad)))
                if before is not None:
                    before()
                trace = self.model.trace(
                    rows.X[:n], [None] * n, rows.features, with_probability=True
                )
                yield Step(
                    rows=part.first + rows.index[:n],
                    predicted=trace.predicted,
                    classes=self.model.classes_,
                    probabilities=trace.probability,
                    labels=rows.labels[:n],
                    skipped=bad if skip_bad else [],
                    places=self._places(rows, n),
                )
                if bad and not skip_bad:
                    raise SampleError(bad[0])

    def _places(self, rows: Rows, n: int) -> list[dict[str, Any]] | None:
        """Return the positions of the first n usable rows."""
        if not rows.places:
            return None
        places = [rows.places[i] or () for i in rows.index[:n].tolist()]
        return [dict(zip(self.schema.position, place, strict=True)) for place in places]

    def notes(self, layout: RowLayout, largest: float) -> list[str]:
        """Say what is used of a source whose features reach so far, and whether that is too far."""
        notes = layout.describe()
        if self.model.activation != "identity" and largest > _LARGE_FEATURE:
            notes.append(
                f"warning: features reach {largest:g}, where {self.model.activation} is flat and "
                "hardly learns: scale them, as with --scale 1/255 for pixels"
            )
        return notes
