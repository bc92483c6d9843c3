# cython: language_level=3, boundscheck=False, wraparound=False
"""Search the labels of rows in compiled code."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport intptr_t
from libc.string cimport memset

import numpy as np

from stream_perceptron.model.buffers cimport get_address

cdef enum:
    N_CACHED = 64  # labels whose IDs are kept in a small table


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
