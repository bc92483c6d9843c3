# cython: language_level=3, boundscheck=False, wraparound=False
"""Search rows in compiled code, without the GIL."""

from libc.stdint cimport int32_t, intptr_t, uint8_t

import numpy as np

from stream_perceptron.model.buffers cimport get_address


def find_first_rows(starts, name_ids, is_used, int32_t lowest, int32_t n_names):
    """Return the first used row that has each name from ID `lowest` on, or -1 if there is none.

    Parameters
    ----------
    starts, name_ids
        The fields of `Rows`: intp of shape (n + 1,), and int32.
    is_used
        Which rows are used, bool of shape (n,).
    lowest, n_names
        The lowest ID to search for, and the number of names.

    """
    first = np.full(n_names - lowest, -1, np.intp)
    cdef const intptr_t* c_starts = <const intptr_t*>get_address(starts)
    cdef const int32_t* c_name_ids = <const int32_t*>get_address(name_ids)
    cdef const uint8_t* c_is_used = <const uint8_t*>get_address(is_used)
    cdef intptr_t* c_first = <intptr_t*>get_address(first)
    cdef Py_ssize_t n = len(is_used), i, c
    cdef int32_t name_id
    with nogil:
        for i in range(n):
            if c_is_used[i]:
                for c in range(c_starts[i], c_starts[i + 1]):
                    name_id = c_name_ids[c]
                    if lowest <= name_id < n_names and c_first[name_id - lowest] < 0:
                        c_first[name_id - lowest] = i
    return first
