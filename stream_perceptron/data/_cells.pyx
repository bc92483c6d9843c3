# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Select cells and encode their contents in compiled code."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, intptr_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

cdef enum:
    NUMBER = 1  # as in `Kind`
    SLOT_BITS = 6
    SLOTS = 64

ctypedef fused number_t:
    uint8_t
    double


def select_cells(const intptr_t[::1] starts, const int32_t[::1] name_ids, const uint8_t[::1] kinds,
                 number_t[::1] numbers, const int32_t[::1] feature_of_name):
    """Select the numeric cells of features.

    Parameters
    ----------
    starts, name_ids, kinds, numbers
        The fields of `Cells`, which has m cells in n records.
    feature_of_name
        The feature of each name, or -1.

    Returns
    -------
    The starts of the selected cells, shape (n + 1,), their features and numbers; the other cells
    and their records.

    """
    cdef ptrdiff_t n = starts.shape[0] - 1, m = name_ids.shape[0], i, c, k = 0, n_outer = 0
    cdef int32_t feature
    cdef intptr_t[::1] feature_starts = np.zeros(n + 1, np.intp)
    cdef int32_t[::1] features = np.empty(m, np.int32)
    cdef intptr_t[::1] outer = np.empty(m, np.intp), rows = np.empty(m, np.intp)
    values_ = np.empty(m, np.uint8 if number_t is uint8_t else np.float64)
    cdef number_t[::1] values = values_
    with nogil:
        for i in range(n):
            for c in range(starts[i], starts[i + 1]):
                feature = feature_of_name[name_ids[c]]
                if feature >= 0 and kinds[c] == NUMBER:
                    features[k] = feature
                    values[k] = numbers[c]
                    k += 1
                else:
                    outer[n_outer] = c
                    rows[n_outer] = i
                    n_outer += 1
            feature_starts[i + 1] = k
    return (
        np.asarray(feature_starts), np.asarray(features)[:k], values_[:k],
        np.asarray(outer)[:n_outer], np.asarray(rows)[:n_outer],
    )


def encode_slices(const uint8_t[::1] data, const int32_t[::1] begins, const int32_t[::1] ends,
                  ptrdiff_t max_codes):
    """Dictionary-encode slices of data: return a code for each, and the bytes for each code.

    Return None if there are more than `max_codes` different slices.
    """
    cdef ptrdiff_t i, n = begins.shape[0], length
    cdef const uint8_t* start
    cdef int32_t[::1] codes = np.empty(n, np.int32)
    cdef uint64_t key
    cdef uint64_t[SLOTS] keys
    cdef int32_t[SLOTS] code_of_slot
    cdef int slot
    cdef dict codes_by_content = {}
    cdef list contents = []
    memset(code_of_slot, -1, sizeof(code_of_slot))
    for i in range(n):
        length = ends[i] - begins[i]
        start = &data[0] + begins[i] if length else NULL
        # Most labels are short; short contents are looked up without a Python object.
        key = 0
        if length < 8:
            if length:
                memcpy(&key, start, length)
            key |= <uint64_t>(length + 1) << 56
            slot = <int>((key * <uint64_t>0x9E3779B97F4A7C15) >> (64 - SLOT_BITS))
            if keys[slot] == key and code_of_slot[slot] >= 0:
                codes[i] = code_of_slot[slot]
                continue
        content = PyBytes_FromStringAndSize(<const char*>start, length)
        code = codes_by_content.get(content)
        if code is None:
            if len(contents) == max_codes:
                return None
            code = codes_by_content[content] = len(contents)
            contents.append(content)
        codes[i] = code
        if length < 8:
            keys[slot], code_of_slot[slot] = key, code
    return np.asarray(codes), contents
