# cython: language_level=3, boundscheck=False, wraparound=False
"""Searches of rows in compiled code, without the GIL."""

from libc.stdint cimport int32_t, intptr_t, uint8_t

import numpy as np

from stream_perceptron.model.buffers cimport get_address


def find_first_rows(starts_, name_ids_, is_used_, Py_ssize_t n_names):
    """Return, for each name, the first used row that has it, or -1 if there is none.

    Parameters
    ----------
    starts_, name_ids_
        The fields of `Rows`: intp of shape (n + 1,), and int32.
    is_used_
        Which rows are used, bool of shape (n,).
    n_names
        The number of names.

    """
    first_ = np.full(n_names, -1, np.intp)
    cdef const intptr_t* starts = <const intptr_t*>get_address(starts_)
    cdef const int32_t* name_ids = <const int32_t*>get_address(name_ids_)
    cdef const uint8_t* is_used = <const uint8_t*>get_address(is_used_)
    cdef intptr_t* first = <intptr_t*>get_address(first_)
    cdef Py_ssize_t n = len(is_used_), i, c
    with nogil:
        for i in range(n):
            if is_used[i]:
                for c in range(starts[i], starts[i + 1]):
                    if first[name_ids[c]] < 0:
                        first[name_ids[c]] = i
    return first_
