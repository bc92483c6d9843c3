# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled scanners of text, run without the GIL: unpacks Python objects for scanner.h."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, intptr_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memchr, memset

import numpy as np

cdef extern from "scanner.h" nogil:
    int _CSV "CSV", _JSON "JSON", _LIBSVM "LIBSVM"
    ctypedef struct Name:
        unsigned int begin
        unsigned int length
    ctypedef struct CNames "Names":
        uint8_t* pool
        Name* items
        void* slots
        void* numbered
        ptrdiff_t n
    ptrdiff_t find_name(CNames*, const uint8_t*, ptrdiff_t, const uint8_t*)
    ptrdiff_t add_name(CNames*, const uint8_t*, ptrdiff_t, const uint8_t*, int32_t, int32_t)
    ctypedef struct CScanner "Scanner":
        const uint8_t* data
        const uint8_t* limit
        ptrdiff_t begin
        ptrdiff_t n
        const intptr_t* ends
        CNames* names
        ptrdiff_t n_fields
        uint8_t delimiter
        uint8_t decimal
        ptrdiff_t room
        intptr_t* starts
        uint8_t* is_odd
        int32_t* name_ids
        int32_t* positions
        uint8_t* kinds
        double* numbers
        int32_t* spans
    ptrdiff_t scan_records(CScanner*, int, ptrdiff_t)

CSV, JSON, LIBSVM = _CSV, _JSON, _LIBSVM


cdef class Scanner:
    """Scans blocks of records of one form; the names of cells are numbered in order of arrival.

    Parameters
    ----------
    form
        CSV, JSON or LIBSVM.
    first_name
        The name of a list without a name, or of LIBSVM's label.
    n_fields, delimiter, decimal
        The number of fields of a record of CSV, their delimiter, and the decimal mark.

    """

    cdef int form
    cdef CNames names
    cdef CScanner scanner
    cdef ptrdiff_t room
    cdef list arrays  # used again for each block, as the system clears new memory

    def __cinit__(self, int form, bytes first_name=b"", ptrdiff_t n_fields=0,
                  bytes delimiter=b",", bytes decimal=b"."):
        memset(&self.names, 0, sizeof(self.names))
        memset(&self.scanner, 0, sizeof(self.scanner))
        self.form = form
        self.room = 1 << 12
        self.scanner.names = &self.names
        self.scanner.n_fields = n_fields
        self.scanner.delimiter, self.scanner.decimal = delimiter[0], decimal[0]
        if form != _CSV:
            self.number(first_name)

    def __dealloc__(self):
        free(self.names.pool)
        free(self.names.items)
        free(self.names.slots)
        free(self.names.numbered)

    def find(self, bytes name):
        """Return the number of a name, -1 if it is unknown."""
        cdef const uint8_t* p = name
        cdef ptrdiff_t length = len(name)
        return find_name(&self.names, p, length, p + length)

    def number(self, bytes name):
        """Return the number of a name, which is added if it is new."""
        cdef const uint8_t* p = name
        cdef ptrdiff_t length = len(name), number = find_name(&self.names, p, length, p + length)
        if number < 0:
            number = add_name(&self.names, p, length, p + length, 0, -1)
        if number < 0:
            raise MemoryError
        return number

    def names_from(self, ptrdiff_t first):
        """Return the names from number `first` on, as bytes."""
        cdef ptrdiff_t i
        cdef list names = []
        for i in range(first, self.names.n):
            names.append(PyBytes_FromStringAndSize(
                <const char*>self.names.pool + self.names.items[i].begin,
                self.names.items[i].length,
            ))
        return names

    def scan(self, const uint8_t[::1] data, ptrdiff_t begin, const intptr_t[::1] ends):
        """Return the cells of the records that end at `ends`, the first of which begins at `begin`.

        Returns
        -------
        The arrays starts, name_ids and positions (None for CSV), kinds, numbers and spans (m, 2) of
        the cells, and which records are odd.

        """
        cdef ptrdiff_t n = ends.shape[0], i = 0, m = 0
        cdef CScanner* s = &self.scanner
        cdef intptr_t[::1] starts = np.zeros(n + 1, np.intp)
        cdef uint8_t[::1] is_odd = np.zeros(n, np.uint8)
        cdef int32_t[::1] name_ids, positions, spans
        cdef uint8_t[::1] kinds
        cdef double[::1] numbers
        cdef bint is_table = self.form == _CSV
        if is_table:
            self.room = max(n * s.n_fields, self.room)
        if self.arrays is None or len(self.arrays[0]) < self.room:
            self.arrays = self._arrays(None)
        arrays = self.arrays
        while True:
            kinds, numbers, spans = arrays[:3]
            s.kinds, s.numbers, s.spans = &kinds[0], &numbers[0], &spans[0]
            if not is_table:
                name_ids, positions = arrays[3:]
                s.name_ids, s.positions = &name_ids[0], &positions[0]
            s.data, s.limit = &data[0], &data[0] + data.shape[0]
            s.begin, s.n, s.ends = begin, n, &ends[0]
            s.starts, s.is_odd = &starts[0], &is_odd[0]
            s.room = self.room
            with nogil:
                i = scan_records(s, self.form, i)
            if i == n:
                break
            self.room *= 2
            arrays = self.arrays = self._arrays(arrays)
        m = starts[n]
        kinds_, numbers_, spans_ = arrays[0][:m], arrays[1][:m], arrays[2][: 2 * m].reshape(m, 2)
        others = (None, None) if is_table else (arrays[3][:m], arrays[4][:m])
        return (
            np.asarray(starts), *others, kinds_, numbers_, spans_, np.asarray(is_odd).astype(bool)
        )

    def _arrays(self, before):
        """Return arrays with room for cells, and the content of arrays with less room."""
        cdef ptrdiff_t room = self.room
        arrays = [np.empty(room, np.uint8), np.empty(room), np.empty(2 * room, np.int32)]
        if self.form != _CSV:
            arrays += [np.empty(room, np.int32), np.empty(room, np.int32)]
        for new, old in zip(arrays, before or ()):
            new[: len(old)] = old
        return arrays


def line_ends(const uint8_t[::1] data):
    """Return the end of each line, after its newline."""
    cdef ptrdiff_t n = data.shape[0], count = 0, room = 1024 if n < 65536 else n // 64
    cdef const uint8_t* start = &data[0] if n else NULL
    cdef const uint8_t* p = start
    cdef intptr_t[::1] ends = np.empty(room, np.intp)
    while n:
        p = <const uint8_t*>memchr(p, 10, start + n - p)
        if p == NULL:
            break
        p += 1
        if count == ends.shape[0]:
            ends = np.concatenate([ends, np.empty(count, np.intp)])
        ends[count] = p - start
        count += 1
    return np.asarray(ends)[:count]


def cut(const uint8_t[::1] data, const intptr_t[:, ::1] spans):
    """Return the bytes of each span; None for one that ends before it begins."""
    cdef ptrdiff_t i
    cdef list found = []
    for i in range(spans.shape[0]):
        if spans[i, 1] < spans[i, 0]:
            found.append(None)
        else:
            found.append(PyBytes_FromStringAndSize(
                <const char*>&data[0] + spans[i, 0], spans[i, 1] - spans[i, 0]
            ))
    return found
