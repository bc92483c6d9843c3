# cython: language_level=3
"""Counts the results of samples one by one; NumPy would take a dozen calls for a single sample."""

from libc.stdint cimport int64_t, intptr_t, uint8_t
from libc.string cimport memmove

import numpy as np

from stream_perceptron.model.buffers cimport get_address

cdef double MAX_SUM = 1.7976931348623157e308  # of numbers that may be too large to add up


cdef inline double add(double total, double term) noexcept:
    """Return the sum, or the largest number if it is too large."""
    total += term
    return total if total < MAX_SUM else MAX_SUM


def count_pairs(targets, predicted, dict counts, int64_t pair_base):
    """Count pairs of a label and a predicted label; `pair_base` is the factor of a label in a key.

    Return how many pairs have equal labels.
    """
    cdef const intptr_t* c_targets = <const intptr_t*>get_address(targets)
    cdef const intptr_t* c_predicted = <const intptr_t*>get_address(predicted)
    cdef Py_ssize_t i, n_right = 0
    for i in range(len(targets)):
        key = c_targets[i] * pair_base + c_predicted[i]
        counts[key] = counts.get(key, 0) + 1
        n_right += c_targets[i] == c_predicted[i]
    return n_right


def count_samples(
    result, rows, curve, window, double error_sum, intptr_t last_label_id
):
    """Count samples, in order.

    Parameters
    ----------
    result, rows
        A TrainResult of n samples, and the numbers of their rows.
    curve
        The LearningCurve to which labeled samples are added.
    window
        Whether each of the last predictions was right, the latest one last; unused elements come
        first. The array is updated in place.
    error_sum, last_label_id
        The sum of all errors, and the last label, before these samples.

    Returns
    -------
    The numbers of labeled samples, of samples that changed the weights, and of samples with the
    same label as the labeled sample before; the sum of all errors; the last label; the labels, the
    predictions and the rows of the tested samples; and the indices of the probed samples.

    """
    cdef const intptr_t* targets = <const intptr_t*>get_address(result.targets)
    cdef const intptr_t* predicted = <const intptr_t*>get_address(result.predicted)
    cdef const intptr_t* numbers = <const intptr_t*>get_address(rows)
    cdef const double* errors = <const double*>get_address(result.errors)
    cdef const uint8_t* updated = <const uint8_t*>get_address(result.updated)
    cdef const double* probes = <const double*>get_address(result.probes)
    cdef Py_ssize_t n = len(result.targets), n_columns = len(curve.COLUMNS)
    cdef Py_ssize_t i, n_labeled = 0, n_updated = 0, n_repeats = 0, n_tested = 0
    tested = np.empty((3, n), np.intp)
    cdef intptr_t* c_tested = <intptr_t*>get_address(tested)
    cdef double* bin_sums = NULL
    cdef double bin_size = curve.bin
    cdef uint8_t* outcomes = <uint8_t*>get_address(window)
    cdef Py_ssize_t n_outcomes = len(window), n_moved
    cdef bint is_right
    sums, probed = curve.sums, []
    if len(sums):
        bin_sums = <double*>get_address(sums) + (len(sums) - 1) * n_columns
    for i in range(n):
        if targets[i] < 0:
            continue
        if bin_sums == NULL or bin_sums[0] >= bin_size:
            sums, bin_size = curve.add_bin(), curve.bin
            bin_sums = <double*>get_address(sums) + (len(sums) - 1) * n_columns
        is_right = targets[i] == predicted[i]
        bin_sums[0] += 1.0
        bin_sums[1] += is_right
        bin_sums[2] = add(bin_sums[2], errors[i])
        bin_sums[3] += updated[i]
        if probes[2 * i] == probes[2 * i]:
            bin_sums[4] += 1.0
            bin_sums[5] = add(bin_sums[5], probes[2 * i])
            bin_sums[6] = add(bin_sums[6], probes[2 * i + 1])
            probed.append(i)
        n_labeled += 1
        n_updated += updated[i]
        n_repeats += targets[i] == last_label_id
        last_label_id = targets[i]
        error_sum = add(error_sum, errors[i])
        if predicted[i] >= 0:
            c_tested[n_tested], c_tested[n + n_tested] = targets[i], predicted[i]
            c_tested[2 * n + n_tested] = numbers[i]
            n_tested += 1
    n_moved = min(n_tested, n_outcomes)
    memmove(outcomes, outcomes + n_moved, n_outcomes - n_moved)
    for i in range(n_moved):
        outcomes[n_outcomes - n_moved + i] = (
            c_tested[n_tested - n_moved + i] == c_tested[n + n_tested - n_moved + i]
        )
    return (
        n_labeled, n_updated, n_repeats, error_sum, last_label_id, *tested[:, :n_tested], probed
    )
