"""What can go wrong, for callers who want to tell the cases apart.

All have a message of one line: what, where, what to do.
"""

from __future__ import annotations


class StreamPerceptronError(ValueError):
    """What all errors of this package are."""


class SampleError(StreamPerceptronError):
    """A sample was refused: a feature, label or weight that cannot be used.

    The model is as it was before the sample.
    """


class FullError(SampleError):
    """A sample was refused, as the model would become larger than `max_weights` allows."""


class DivergedError(StreamPerceptronError):
    """A weight, a net input or an error would have stopped being finite.

    The model is as it was before the sample.

    Parameters
    ----------
    sample
        The number of the labelled sample, counted from 1 over the life of the model.
    where
        Where it came from.

    """

    def __init__(self, sample: int, where: str = "") -> None:
        super().__init__(sample, where)
        self.sample = sample
        self.where = where

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}diverged at sample {self.sample:,}: lower lr or scale the features"


class CheckpointError(StreamPerceptronError):
    """A checkpoint cannot be read or written, or does not fit what is asked of it."""


class SourceError(StreamPerceptronError):
    """A file or a stream cannot be read, or does not hold what was asked for."""


class ClusterError(StreamPerceptronError):
    """Ray is not there, or could not do what it was asked for."""


class VerificationError(StreamPerceptronError):
    """A model does not follow from what it says it was learned from."""


class UpdateError(StreamPerceptronError):
    """An update that somebody wrote differs from the delta rule."""
