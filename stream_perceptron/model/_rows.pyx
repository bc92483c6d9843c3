# cython: language_level=3, boundscheck=False, wraparound=False
"""Search rows and their labels in compiled code."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int32_t, intptr_t, uint8_t
from libc.string cimport memset

import numpy as np

from stream_perceptron.model.buffers cimport get_address

cdef enum:
    N_CACHED = 64  # labels whose IDs are kept in a small table


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


def find_label_ids(labels, dict ids_by_name, intptr_t unknown_id):
    """Return the ID of each label, and the number of unknown labels.

    The ID of a missing label, None, is -1, and that of an unknown label is `unknown_id`.
    """
    # While these labels are kept, a label with the address of an earlier one is the same label.
    cdef tuple kept = tuple(labels)
    cdef Py_ssize_t n = len(kept), n_unknown = 0, i, slot
    cdef intptr_t label_id
    cdef PyObject* cached[N_CACHED]
    cdef intptr_t cached_ids[N_CACHED]
    cdef object label
    cdef PyObject* found
    label_ids = np.empty(n, np.intp)
    cdef intptr_t* c_label_ids = <intptr_t*>get_address(label_ids)
    memset(cached, 0, sizeof(cached))
    for i in range(n):
        label = <object>PyTuple_GET_ITEM(kept, i)
        slot = (<size_t><PyObject*>label >> 4) % N_CACHED
        if cached[slot] != <PyObject*>label:
            label_id = -1
            if label is not None:
                found = <PyObject*>PyDict_GetItemWithError(ids_by_name, label)
                label_id = unknown_id if found == NULL else <object>found
            cached[slot], cached_ids[slot] = <PyObject*>label, label_id
        c_label_ids[i] = cached_ids[slot]
        n_unknown += cached_ids[slot] == unknown_id
    return label_ids, n_unknown
