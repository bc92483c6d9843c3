"""What can go wrong, for callers who want to tell the cases apart.

All have a message of one line: what, where, what to do.
"""

from __future__ import annotations


class StreamPerceptronError(ValueError):
    """What all errors of this package are.

    Examples
    --------
    >>> issubclass(SampleError, StreamPerceptronError)
    True

    """


class SampleError(StreamPerceptronError):
    """A sample was refused: a feature, label or weight that cannot be used.

    The model is as it was before the sample.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> SGDPerceptron(seed=0).learn_one({"a": float("inf")}, "left")
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.SampleError: feature 'a' is inf, not finite: clean or drop it

    """


class FullError(SampleError):
    """A sample was refused, as the model would become larger than `max_weights` allows.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> SGDPerceptron(max_weights=60).learn_one({"a": 1.0}, "left")
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.FullError: 1 labels and 1 features would take 66 weights, ...

    """


class DivergedError(StreamPerceptronError):
    """A weight, a net input or an error would have stopped being finite.

    The model is as it was before the sample.

    Parameters
    ----------
    sample
        The number of the labelled sample, counted from 1 over the life of the model.
    where
        Where it came from.

    Examples
    --------
    >>> print(DivergedError(3, "s.csv: row 3"))
    s.csv: row 3: diverged at sample 3: lower lr or scale the features

    """

    def __init__(self, sample: int, where: str = "") -> None:
        super().__init__(sample, where)
        self.sample = sample
        self.where = where

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}diverged at sample {self.sample:,}: lower lr or scale the features"


class CheckpointError(StreamPerceptronError):
    """A checkpoint cannot be read or written, or does not fit what is asked of it.

    Examples
    --------
    >>> import io
    >>> from stream_perceptron import load
    >>> load(io.BytesIO(b"no model"))
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.CheckpointError: the file: not a stream-perceptron model, or damaged

    """


class SourceError(StreamPerceptronError):
    """A file or a stream cannot be read, or does not hold what was asked for.

    Examples
    --------
    >>> from stream_perceptron.stream import iter_source
    >>> next(iter(iter_source("no.csv")))
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.SourceError: no.csv: No such file or directory

    """


class ClusterError(StreamPerceptronError):
    """Ray is not there, or could not do what it was asked for.

    Examples
    --------
    >>> print(ClusterError("Ray is not there"))
    Ray is not there

    """


class VerificationError(StreamPerceptronError):
    """A model does not follow from what it says it was learned from.

    Examples
    --------
    >>> from stream_perceptron import LiveModel, SGDPerceptron
    >>> from stream_perceptron.verification import verify
    >>> model = SGDPerceptron(seed=0)
    >>> model.learn_one({"a": 1.0}, "left")
    >>> verify(LiveModel(model), [])
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.VerificationError: was partly learned in Python, so there is ...

    """


class UpdateError(StreamPerceptronError):
    """An update that somebody wrote differs from the delta rule.

    Examples
    --------
    >>> from stream_perceptron import check_update
    >>> check_update(lambda *given: None)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.UpdateError: sample 1: update(x, d, weights, bias) ...

    """
