# cython: language_level=3, boundscheck=False, wraparound=False
"""exp, tanh and atan, bit-identical on every machine; see elementary.h."""

import numpy as np

__all__ = ["arctan", "exp", "tanh"]

cdef extern from "elementary.h" nogil:
    double ieee_exp(double)
    double ieee_tanh(double)
    double ieee_atan(double)


cdef _apply(double (*function)(double) noexcept nogil, x, out):
    numbers = np.array(x, np.float64, order="C")
    # A memoryview would take seconds to compile.
    cdef double *y = <double *><size_t>numbers.__array_interface__["data"][0]
    cdef Py_ssize_t i, n = numbers.size
    with nogil:
        for i in range(n):
            y[i] = function(y[i])
    np.copyto(out, numbers, casting="same_kind")
    return out


def exp(x, out):
    """Write e^x elementwise into `out`, an array of the same shape; return it."""
    return _apply(ieee_exp, x, out)


def tanh(x, out):
    """Write the hyperbolic tangent of x into `out`, as `exp` does."""
    return _apply(ieee_tanh, x, out)


def arctan(x, out):
    """Write the arc tangent of x into `out`, as `exp` does."""
    return _apply(ieee_atan, x, out)
