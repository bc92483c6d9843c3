"""Why a record is rejected, in one sentence."""

from __future__ import annotations

from stream_perceptron.data.values import NOT_UTF8
from stream_perceptron.errors import Reason, SampleError

_MAX_REASON = 3000  # characters

LABEL_DOES_NOT_FIT = Reason("its label does not fit into the model: raise --max-weights")


def describe_error(error: Exception) -> Reason:
    """Return the reason of a rejection, given the error that decoding a record has raised.

    Examples
    --------
    >>> describe_error(RecursionError())
    'it is nested too deeply'

    """
    if isinstance(error, SampleError):
        return Reason(str(error)[:_MAX_REASON], error.code)
    if isinstance(error, UnicodeEncodeError):
        return Reason("an escape in it is half of a surrogate pair")
    if isinstance(error, UnicodeError):
        return Reason(NOT_UTF8)
    if isinstance(error, RecursionError):
        return Reason("it is nested too deeply")
    return Reason("it has a number that is too long or not valid in JSON")
