# cython: language_level=3, boundscheck=False, wraparound=False
"""Searches of rows in compiled code, without the GIL."""

from libc.stdint cimport int32_t, intptr_t, uint8_t

import numpy as np

from stream_perceptron.model.buffers cimport get_address


def find_first_rows(starts_, name_ids_, is_used_, int32_t lowest, int32_t n_names):
    """Return the first used row that has each name from ID `lowest` on, or -1 if there is none.

    Parameters
    ----------
    starts_, name_ids_
        The fields of `Rows`: intp of shape (n + 1,), and int32.
    is_used_
        Which rows are used, bool of shape (n,).
    lowest, n_names
        The lowest ID to search for, and the number of names.

    """
    first_ = np.full(n_names - lowest, -1, np.intp)
    cdef const intptr_t* starts = <const intptr_t*>get_address(starts_)
    cdef const int32_t* name_ids = <const int32_t*>get_address(name_ids_)
    cdef const uint8_t* is_used = <const uint8_t*>get_address(is_used_)
    cdef intptr_t* first = <intptr_t*>get_address(first_)
    cdef Py_ssize_t n = len(is_used_), i, c
    with nogil:
        for i in range(n):
            if is_used[i]:
                for c in range(starts[i], starts[i + 1]):
                    if name_ids[c] >= lowest and first[name_ids[c] - lowest] < 0:
                        first[name_ids[c] - lowest] = i
    return first_
