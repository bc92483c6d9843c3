# cython: language_level=3, boundscheck=False, wraparound=False
"""The natural order of names, as `natural_key` in vocabulary.py defines it."""

from libc.stdint cimport int32_t, intptr_t
from libc.stdlib cimport free, malloc, qsort

import numpy as np

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    int PyUnicode_KIND(object)
    void* PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    int32_t PyUnicode_READ(int, void*, Py_ssize_t) nogil

cdef enum:
    LARGEST_CHARACTER = 0x10FFFF  # numbers with more digits are compared as if they had this many

cdef struct Name:
    intptr_t group
    int kind
    void* data
    Py_ssize_t length
    Py_ssize_t index


cdef inline int32_t _read_character(const Name* name, Py_ssize_t i) noexcept nogil:
    """Return the character at i, -1 after the end."""
    return PyUnicode_READ(name.kind, name.data, i) if i < name.length else -1


cdef inline bint _is_digit(int32_t c) noexcept nogil:
    return c >= 48 and c <= 57


cdef inline int32_t _rank_character(int32_t c) noexcept nogil:
    """Rank a character that follows equal texts: the end, then digits, then other characters."""
    return 0 if c < 0 else 1 if _is_digit(c) else c + 2


cdef Py_ssize_t _find_number_end(const Name* name, Py_ssize_t* i) noexcept nogil:
    """Move i past leading zeros, and return the end of the digits."""
    cdef Py_ssize_t end
    while _read_character(name, i[0]) == 48:
        i[0] += 1
    end = i[0]
    while _is_digit(_read_character(name, end)):
        end += 1
    return end


cdef int _compare(const void* first, const void* second) noexcept nogil:
    """Compare names by group, then by alternating texts and numbers, then as plain texts."""
    cdef const Name* a = <const Name*>first
    cdef const Name* b = <const Name*>second
    cdef Py_ssize_t i = 0, j = 0, end_a, end_b, n_a, n_b
    cdef int32_t c, d
    if a.group != b.group:
        return -1 if a.group < b.group else 1
    while True:
        c, d = _read_character(a, i), _read_character(b, j)
        if _rank_character(c) != _rank_character(d):
            return -1 if _rank_character(c) < _rank_character(d) else 1
        if c < 0:
            break
        if not _is_digit(c):
            i, j = i + 1, j + 1
            continue
        end_a, end_b = _find_number_end(a, &i), _find_number_end(b, &j)
        n_a, n_b = min(end_a - i, LARGEST_CHARACTER), min(end_b - j, LARGEST_CHARACTER)
        if n_a != n_b:
            return -1 if n_a < n_b else 1
        while i < end_a and j < end_b:
            c, d = _read_character(a, i), _read_character(b, j)
            if c != d:
                return -1 if c < d else 1
            i, j = i + 1, j + 1
        if i < end_a or j < end_b:
            return -1 if j < end_b else 1
    for i in range(min(a.length, b.length)):
        c, d = _read_character(a, i), _read_character(b, i)
        if c != d:
            return -1 if c < d else 1
    return -1 if a.length < b.length else a.length > b.length


def argsort_names(list names, const intptr_t[::1] groups):
    """Return the indices that sort names as vocabulary.py does; None if any is not a string."""
    cdef Py_ssize_t i, n = len(names)
    cdef intptr_t[::1] indices = np.empty(n, np.intp)
    cdef Name* items = <Name*>malloc(n * sizeof(Name) + 1)
    if items == NULL:
        raise MemoryError
    try:
        for i in range(n):
            name = names[i]
            if not PyUnicode_CheckExact(name):
                return None
            items[i].group, items[i].index = groups[i], i
            items[i].kind, items[i].data = PyUnicode_KIND(name), PyUnicode_DATA(name)
            items[i].length = PyUnicode_GET_LENGTH(name)
        qsort(items, n, sizeof(Name), _compare)
        for i in range(n):
            indices[i] = items[i].index
        return np.asarray(indices)
    finally:
        free(items)
