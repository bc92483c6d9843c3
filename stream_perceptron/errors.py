"""Exceptions of this package. Each message is one line: the place, the problem and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class StreamPerceptronError(ValueError):
    """Base class for this package's errors.

    Parameters
    ----------
    message
        The place, the problem and what to do, in one line.
    remedies
        Options or commands that do so, each to be copied to a shell.
    code
        The kind of the error, for programs; None if no program needs to recognize it.

    Examples
    --------
    >>> error = StreamPerceptronError("m.npz: it exists; to replace it", ["--overwrite"])
    >>> str(error), error.remedies
    ('m.npz: it exists; to replace it', ('--overwrite',))

    """

    def __init__(
        self, message: str = "", remedies: Sequence[str] = (), code: str | None = None
    ) -> None:
        super().__init__(message)
        self.remedies, self.code = tuple(remedies), code


class Reason(str):
    """Why a row is rejected, in one sentence.

    Attributes
    ----------
    code
        The kind of the reason; rows with the same kind of fault have the same code.

    Examples
    --------
    >>> Reason("it has 3 fields, not 2", "field_count").code
    'field_count'

    """

    code: str

    def __new__(cls, text: str, code: str | None = None) -> Self:
        """Create a reason; its code defaults to its text."""
        reason = super().__new__(cls, text)
        reason.code = code or text
        return reason


class SampleError(StreamPerceptronError):
    """A sample was rejected because one of its features, its label or its weight cannot be used.

    The model is unchanged.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> SGDPerceptron(seed=0).learn_one({"a": float("inf")}, "left")
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.SampleError: feature 'a' is inf, not finite: clean or drop it

    """


class ModelSizeError(SampleError):
    """A sample was rejected because its label does not fit into `max_weights`.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> SGDPerceptron(max_weights=20).learn_one({"a": 1.0}, "left")
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.ModelSizeError: the model would take 32 weights (labels: 1, ...

    """


class DivergedError(StreamPerceptronError):
    """A weight, a net input or an error would have become infinite or NaN.

    The sample that would have caused this left the model unchanged.

    Parameters
    ----------
    sample
        The number of the labeled sample, counted from 1 over the lifetime of the model.
    where
        The source and the row of the sample.

    Examples
    --------
    >>> print(DivergedError(3, "s.csv: row 3"))
    s.csv: row 3: diverged at sample 3: lower lr or scale the features

    """

    def __init__(self, sample: int, where: str = "") -> None:
        place = f"{where}: " if where else ""
        super().__init__(f"{place}diverged at sample {sample:,}: lower lr or scale the features")
        self.sample, self.where = sample, where

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.sample, self.where)


class CheckpointError(StreamPerceptronError):
    """A checkpoint cannot be read, written or used as requested.

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
    """A file or a stream cannot be read, or lacks a requested column.

    Examples
    --------
    >>> from stream_perceptron.stream import iter_source
    >>> next(iter(iter_source("no.csv")))
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.SourceError: no.csv: No such file or directory

    """


class ClusterError(StreamPerceptronError):
    """Ray is not installed, or a Ray task failed.

    Examples
    --------
    >>> print(ClusterError("Ray is not installed"))
    Ray is not installed

    """


class VerificationError(StreamPerceptronError):
    """A model does not follow from the sources in its history.

    Examples
    --------
    >>> from stream_perceptron import LiveModel, SGDPerceptron
    >>> from stream_perceptron.verification import verify
    >>> model = SGDPerceptron(seed=0)
    >>> model.learn_one({"a": 1.0}, "left")
    >>> verify(LiveModel(model), [])
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.VerificationError: was partly trained in Python, so there is ...

    """


class UpdateError(StreamPerceptronError):
    """A user's update function differs from the delta rule.

    Examples
    --------
    >>> from stream_perceptron.diagnostics import check_update
    >>> check_update(lambda *args: None)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.UpdateError: sample 1: update(x, d, weights, bias) ...

    """
