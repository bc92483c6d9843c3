# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Select cells in compiled code, without the GIL."""

from libc.stdint cimport int32_t, intptr_t, uint8_t

import numpy as np

cdef enum:
    NUMBER = 1  # as in `Kind`

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
