# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled scanners for text, which unpack Python objects for scanner.h and release the GIL."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, intptr_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memchr, memset

import numpy as np

from stream_perceptron.model.buffers cimport get_address

cdef extern from *:
    void __builtin_prefetch(const void*) nogil

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)

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
    ptrdiff_t add_name(CNames*, const uint8_t*, ptrdiff_t, const uint8_t*)
    ctypedef struct CellArrays:
        ptrdiff_t m
        ptrdiff_t room
        uint8_t* kinds
        int32_t* begins
        uint8_t* bytes
        double* numbers
        int are_bytes
        int is_full
    ctypedef struct CScanner "Scanner":
        const uint8_t* data
        const uint8_t* limit
        ptrdiff_t begin
        ptrdiff_t n
        const intptr_t* ends
        CNames* names
        int has_named_cells
        ptrdiff_t n_fields
        uint8_t delimiter
        uint8_t decimal
        intptr_t* starts
        uint8_t* is_deferred
        CellArrays cells
        int32_t* name_ids
        CellArrays members
        intptr_t* list_starts
        ptrdiff_t n_lists
    const uint8_t* find_end(int, const uint8_t*, uint8_t)
    ptrdiff_t scan_records(CScanner*, int, ptrdiff_t)

CSV, JSON, LIBSVM = _CSV, _JSON, _LIBSVM
cdef int MAX_POOL = 8
cdef enum:
    PREFETCH_DISTANCE = 8  # how many cells ahead contents are prefetched into the cache


cdef class Scanner:
    """Scans blocks of records of one format; the names of cells get IDs in order of appearance.

    Parameters
    ----------
    format
        CSV, JSON or LIBSVM.
    first_name
        The name of a bare list.
    n_fields, delimiter, decimal
        The number of fields of a CSV record, their delimiter, and the decimal mark.

    """

    cdef int format
    cdef CNames names
    cdef CScanner scanner
    cdef ptrdiff_t room, member_room
    cdef list pool  # arrays to reuse once no cells refer to them, because new memory must be cleared

    def __cinit__(self, int format, bytes first_name=b"", ptrdiff_t n_fields=0,
                  bytes delimiter=b",", bytes decimal=b"."):
        memset(&self.names, 0, sizeof(self.names))
        memset(&self.scanner, 0, sizeof(self.scanner))
        self.format = format
        self.room = self.member_room = 1 << 12
        self.pool = []
        self.scanner.names = &self.names
        self.scanner.n_fields = n_fields
        self.scanner.delimiter, self.scanner.decimal = delimiter[0], decimal[0]
        self.scanner.has_named_cells = format == _JSON
        if format == _JSON:
            self.intern_name(first_name)

    def __dealloc__(self):
        free(self.names.pool)
        free(self.names.items)
        free(self.names.slots)
        free(self.names.numbered)

    def intern_name(self, bytes name):
        """Return the ID of a name; add the name if it is new."""
        cdef const uint8_t* p = name
        cdef ptrdiff_t length = len(name), name_id = find_name(&self.names, p, length, p + length)
        if name_id < 0:
            name_id = add_name(&self.names, p, length, p + length)
        if name_id < 0:
            raise MemoryError
        return name_id

    def list_names(self, ptrdiff_t first):
        """Return the names from ID `first` on, as bytes."""
        cdef ptrdiff_t i
        cdef list names = []
        for i in range(first, self.names.n):
            names.append(PyBytes_FromStringAndSize(
                <const char*>self.names.pool + self.names.items[i].begin,
                self.names.items[i].length,
            ))
        return names

    def scan(self, bytes data, ptrdiff_t begin, ends):
        """Return the cells of the records that end at `ends`, the first of which begins at `begin`.

        Returns
        -------
        starts, deferred
            The index of the first cell of each record, and a mask of the records that are deferred
            to Python; None if there are none.
        name_ids
            The name IDs of the cells in JSON, or of the members in LIBSVM; None for CSV.
        cells
            The kinds, begins and numbers of the cells.
        list_starts, members
            The index of the first member of each list, and the kinds, begins and numbers of the
            members; None for CSV.

        """
        cdef ptrdiff_t n = len(ends), i = 0
        cdef CScanner* s = &self.scanner
        starts, is_deferred = np.zeros(n + 1, np.intp), np.zeros(n, bool)
        cdef list arrays
        if self.format == _CSV:
            self.room = max(n * s.n_fields, self.room)
        arrays = self._take_arrays()
        s.cells.m = s.members.m = s.n_lists = 0
        s.cells.are_bytes = s.members.are_bytes = 1
        s.data, s.limit = data, <const uint8_t*>data + len(data)
        s.begin, s.n, s.ends = begin, n, <const intptr_t*>get_address(ends)
        s.starts = <intptr_t*>get_address(starts)
        s.is_deferred = <uint8_t*>get_address(is_deferred)
        while True:
            self._point_at(arrays)
            with nogil:
                i = scan_records(s, self.format, i)
            if i == n:
                break
            self.room <<= s.cells.is_full
            self.member_room <<= s.members.is_full
            arrays = self._grow_arrays(arrays)
        if len(self.pool) < MAX_POOL:
            self.pool.append(arrays)
        cells = _trim_arrays(&s.cells, arrays[:4])
        name_ids = list_starts = members = None
        if self.format != _CSV:
            name_ids = arrays[4][: s.cells.m if s.has_named_cells else s.members.m]
            list_starts = arrays[5][: s.n_lists + 1]
            members = _trim_arrays(&s.members, arrays[6:])
        deferred = is_deferred if memchr(s.is_deferred, 1, n) != NULL else None
        return starts, deferred, name_ids, cells, list_starts, members

    cdef list _take_arrays(self):
        """Take arrays that nothing else refers to from the pool, or allocate new ones."""
        cdef ptrdiff_t i
        cdef list arrays
        for i in range(len(self.pool) - 1, -1, -1):
            arrays = self.pool[i]
            if len(arrays[0]) < self.room or (len(arrays) > 6 and len(arrays[6]) < self.member_room):
                del self.pool[i]
            elif _are_unreferenced(arrays):
                del self.pool[i]
                return arrays
        return self._grow_arrays([])

    cdef list _grow_arrays(self, list arrays):
        """Allocate arrays with room for cells, and copy the contents of the smaller arrays."""
        cdef list grown = _allocate_arrays(self.room)
        if self.format != _CSV:
            room = self.room if self.scanner.has_named_cells else self.member_room
            grown.append(np.empty(room, np.int32))
            grown.append(np.zeros(self.room + 1, np.intp))
            grown += _allocate_arrays(self.member_room)
        for new, old in zip(grown, arrays):
            new[: len(old)] = old
        return grown

    cdef int _point_at(self, list arrays) except -1:
        """Point the scanner at the arrays to write into."""
        _assign_arrays(&self.scanner.cells, arrays[:4])
        if self.format != _CSV:
            self.scanner.name_ids = <int32_t*>get_address(arrays[4])
            self.scanner.list_starts = <intptr_t*>get_address(arrays[5])
            _assign_arrays(&self.scanner.members, arrays[6:])
        return 0


cdef list _allocate_arrays(ptrdiff_t room):
    """Allocate arrays for the kinds, begins, bytes and numbers of cells."""
    return [np.empty(room, np.uint8), np.empty(room, np.int32), np.empty(room, np.uint8), np.empty(room)]


cdef int _assign_arrays(CellArrays* cells, list arrays) except -1:
    """Point cells at the arrays to write into."""
    kinds, begins, bytes_, numbers = arrays
    cells.kinds, cells.begins = <uint8_t*>get_address(kinds), <int32_t*>get_address(begins)
    cells.bytes, cells.numbers = <uint8_t*>get_address(bytes_), <double*>get_address(numbers)
    cells.room, cells.is_full = len(numbers), 0
    return 0


cdef tuple _trim_arrays(CellArrays* cells, list arrays):
    """Return the written part of arrays: kinds, begins and numbers."""
    return arrays[0][: cells.m], arrays[1][: cells.m], arrays[2 if cells.are_bytes else 3][: cells.m]


cdef bint _are_unreferenced(list arrays):
    """Return whether only this list refers to its arrays; views count as references."""
    cdef ptrdiff_t i
    for i in range(len(arrays)):
        if Py_REFCNT(<PyObject*>arrays[i]) > 1:
            return False
    return True


def find_line_ends(const uint8_t[::1] data):
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


def extract_content(int format, bytes delimiter, bytes data, ptrdiff_t begin):
    """Return the content of the cell that begins at an offset, as bytes."""
    cdef const uint8_t* start = <const uint8_t*>data + begin
    cdef const uint8_t* end = find_end(format, start, delimiter[0])
    return PyBytes_FromStringAndSize(<const char*>start, end - start)


def find_ends(int format, bytes delimiter, const uint8_t[::1] data, const int32_t[::1] begins):
    """Return the ends of the cell contents that begin at these offsets."""
    cdef ptrdiff_t i, n = begins.shape[0]
    cdef int32_t[::1] ends = np.empty(n, np.int32)
    for i in range(n):
        if i + PREFETCH_DISTANCE < n:
            __builtin_prefetch(&data[0] + begins[i + PREFETCH_DISTANCE])
        ends[i] = <int32_t>(find_end(format, &data[0] + begins[i], delimiter[0]) - &data[0])
    return np.asarray(ends)
