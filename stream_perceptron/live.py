"""A model at work on a stream."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_perceptron.errors import DivergedError, SampleError
from stream_perceptron.perceptron import SGDPerceptron
from stream_perceptron.progressive import Progress
from stream_perceptron.schema import Layout, Rows, Schema
from stream_perceptron.sources import ParquetSource, RandomDraws

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
    predictions
        The label predicted for each sample before it was learned; None where none was known.
    probabilities
        The probability of each prediction if it was asked for, else NaN. Shape (n,).
    labels
        The label of each sample; None where there is none.
    skipped
        What was wrong with each row that was skipped, with its place.
    notes
        What a user should be told, one line each.

    """

    rows: NDArray[np.intp]
    predictions: list[Hashable]
    probabilities: NDArray[np.float64]
    labels: list[Hashable]
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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

    Examples
    --------
    >>> from stream_perceptron.mnist import sample_path
    >>> sources = [ParquetSource(str(sample_path()))]
    >>> live = LiveModel.start(sources, Schema(), lr=0.1, seed=0)
    >>> for step in live.run(sources):
    ...     pass
    >>> live.progress.samples, f"{live.progress.accuracy:.1%}"
    (5000, '84.4%')

    """

    def __init__(
        self, model: SGDPerceptron, schema: Schema, progress: Progress | None = None
    ) -> None:
        self.model = model
        self.schema = schema
        self.progress = Progress() if progress is None else progress
        self.stopped = False

    @classmethod
    def start(
        cls,
        sources: Sequence[ParquetSource],
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
        layouts = [schema.layout(source.columns, source.name) for source in sources]
        declared = None if layouts[0].label is None else sources[0].classes
        if classes is not None:
            declared = [schema.label_of(text) for text in classes]
        return cls(SGDPerceptron(classes=declared, **parameters), schema)

    def run(
        self,
        sources: Sequence[ParquetSource | RandomDraws],
        passes: int | None = 1,
        limit: int | None = None,
        stop: bool = False,
        skip_bad: bool = False,
        with_probabilities: bool = False,
    ) -> Iterator[Step]:
        """Test and train on all rows of some sources, and yield after every batch.

        Parameters
        ----------
        sources
            What to read, in order.
        passes
            How often; None for without end.
        limit
            The number of rows to read at most.
        stop
            End with the first sample whose error is below epsilon; `stopped` tells that it did.
        skip_bad
            Skip rows that cannot be used, rather than end with an error.
        with_probabilities
            Whether to compute the probability of each prediction.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit.
        SampleError
            If a row cannot be used. The model is as after the row before.
        DivergedError
            If a weight or an error would stop being finite. The model is as after the row before.

        """
        self.stopped = False
        for layout, batch, first in self._batches(sources, passes, limit):
            rows = layout.rows(batch)
            end = min(rows.bad) if rows.bad and not skip_bad else batch.num_rows
            n = int(np.searchsorted(rows.index, end))
            trace = self.model.trace(
                rows.X[:n],
                rows.labels[:n],
                self.schema.features,
                stop,
                rows.weights[:n],
                with_probabilities,
            )
            n = len(trace)
            self.stopped = stop and bool((trace.eps[-1:] < self.model.epsilon).any())
            if trace.diverged:
                end = int(rows.index[n])
            elif self.stopped:
                end = int(rows.index[n - 1]) + 1
            skipped = {row: why for row, why in rows.bad.items() if row < end}

            number = self.progress.rows + 1
            self.progress.update(trace)
            self.progress.skipped += len(skipped)
            yield Step(
                rows=number + rows.index[:n],
                predictions=self.model.names_of(trace.predicted),
                probabilities=trace.probability,
                labels=rows.labels[:n],
                skipped=[f"{layout.where}: row {first + i}: {why}" for i, why in skipped.items()],
                notes=self._notes(layout, rows) if first == 1 and self.schema.features else [],
            )
            where = f"{layout.where}: row {first + end}"
            if trace.diverged:
                raise DivergedError(self.model.n_seen + 1, where)
            if self.stopped:
                return
            if end in rows.bad:
                raise SampleError(f"{where}: {rows.bad[end]}")

    def _batches(
        self, sources: Sequence[ParquetSource | RandomDraws], passes: int | None, limit: int | None
    ) -> Iterator[tuple[Layout, pa.RecordBatch, int]]:
        """Yield batches, each with its layout and the number of its first row in its source."""
        left = limit
        for turn in itertools.count() if passes is None else range(passes):
            for source in sources:
                layout = self.schema.layout(source.columns, source.name)
                first = 1
                for batch in source.batches(turn):
                    if left is not None:
                        batch = batch.slice(0, left)
                        left -= batch.num_rows
                    if batch.num_rows:
                        yield layout, batch, first
                    if left == 0:
                        return
                    first += batch.num_rows

    def _notes(self, layout: Layout, rows: Rows) -> list[str]:
        notes = layout.describe()
        largest = float(np.abs(rows.X).max(initial=0.0))
        if self.model.activation != "identity" and largest > _LARGE_FEATURE:
            notes.append(
                f"warning: features reach {largest:g}, where {self.model.activation} is flat and "
                "hardly learns: scale them, as with --scale 1/255 for pixels"
            )
        return notes
