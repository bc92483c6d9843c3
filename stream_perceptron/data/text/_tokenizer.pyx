# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The tokenizer of text records, run without the GIL: unpacks Python objects for tokenizer.h."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, intptr_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memset

import numpy as np

cdef extern from "tokenizer.h" nogil:
    int _CSV "CSV", _JSON "JSON", _LIBSVM "LIBSVM"
    int _SKIP "SKIP", _BLANK "BLANK", _WEIGHT "WEIGHT", _OBJECT "OBJECT", _LIST "LIST"
    int _ODD "ODD", _WORD "WORD", _EITHER "EITHER"
    ctypedef struct Name:
        unsigned int begin, length
        int32_t role
    ctypedef struct CNames "Names":
        uint8_t* pool
        Name* items
        void *slots, *numbered
        ptrdiff_t n, n_features
    ptrdiff_t find_name(CNames*, const uint8_t*, ptrdiff_t, const uint8_t*)
    ptrdiff_t add_name(CNames*, const uint8_t*, ptrdiff_t, const uint8_t*, int32_t, int32_t)
    ctypedef struct State "Tokenizer":
        int form, is_utf8, is_open, is_inside_open, needs_label, are_texts_blank, are_blanks_numbers
        uint64_t bits
        uint8_t delimiter
        const int32_t *roles, *slots
        CNames *names, *inside
        const uint8_t *blanks, *data, *limit
        const intptr_t *blank_ends, *ends
        ptrdiff_t n_roles, n_blanks, begin, n, first
        intptr_t *starts, *spans, *missing
        int32_t* columns
        double *values, *weights
    ptrdiff_t read_records(State*)

CSV, JSON, LIBSVM, EITHER = _CSV, _JSON, _LIBSVM, _EITHER
SKIP, BLANK, WEIGHT, OBJECT, LIST, ODD, WORD = (
    _SKIP, _BLANK, _WEIGHT, _OBJECT, _LIST, _ODD, _WORD
)


cdef class NameTable:
    """Names in records, each with its role; features are numbered in order of arrival."""

    cdef CNames table

    def __cinit__(self):
        memset(&self.table, 0, sizeof(self.table))

    def __dealloc__(self):
        free(self.table.pool)
        free(self.table.items)
        free(self.table.slots)
        free(self.table.numbered)

    def __len__(self):
        """Return the number of features."""
        return self.table.n_features

    def add(self, bytes name, int role, int slot=-1):
        """Add a name unless it is known; a role of 0 or more means the next feature."""
        cdef const uint8_t* p = name
        cdef ptrdiff_t length = len(name)
        if find_name(&self.table, p, length, p + length) < 0 and (
            add_name(&self.table, p, length, p + length, role, slot) < 0
        ):
            raise MemoryError

    def features(self, ptrdiff_t first):
        """Return the names of the features from number `first` on."""
        cdef ptrdiff_t i
        cdef list found = []
        for i in range(first, self.table.n):  # a feature's place is at least its number
            if self.table.items[i].role >= first:
                found.append(PyBytes_FromStringAndSize(
                    <const char*>self.table.pool + self.table.items[i].begin,
                    self.table.items[i].length,
                ))
        return found


cdef class Tokenizer:
    """Reads records of one form, given the roles of values by place or by name.

    Parameters
    ----------
    form
        CSV, JSON or LIBSVM.
    roles
        The roles by place, each with the slot that records the value's place, or -1.
    names, inside
        The names of members or pairs, and those in the object with the features; or None.
    is_open
        Whether records may have other features.
    needs_label
        Whether JSON objects must have a value in the first slot; EITHER that or features.
    blanks
        The texts that mean a missing value.
    delimiter
        The delimiter of CSV.
    are_texts_blank, are_blanks_numbers
        Whether texts in a list, and numbers of CSV, may be missing values.

    """

    cdef State state
    cdef object owned
    cdef NameTable names, inside

    def __init__(
        self, int form, list roles, NameTable names, NameTable inside, bint is_open,
        int needs_label, list blanks, bytes delimiter, bint are_texts_blank,
        bint are_blanks_numbers,
    ):
        memset(&self.state, 0, sizeof(self.state))
        # One more element each, so that a first one exists.
        cdef const int32_t[::1] by_place = np.array([role for role, _ in roles] + [0], np.int32)
        cdef const int32_t[::1] slots = np.array([slot for _, slot in roles] + [0], np.int32)
        cdef const intptr_t[::1] blank_ends = np.cumsum([*map(len, blanks), 0]).astype(np.intp)
        cdef const uint8_t[::1] texts = np.frombuffer(b"".join(blanks) + b" ", np.uint8)
        self.owned = by_place, slots, blank_ends, texts
        self.state.form, self.state.delimiter = form, delimiter[0]
        self.state.roles, self.state.slots = &by_place[0], &slots[0]
        self.state.n_roles = len(roles)
        self.names, self.inside = names, inside
        self.state.names = NULL if names is None else &names.table
        self.state.inside = NULL if inside is None else &inside.table
        self.state.is_open = is_open and inside is None
        self.state.is_inside_open = is_open
        self.state.needs_label = needs_label
        self.state.are_texts_blank = are_texts_blank
        self.state.blanks, self.state.blank_ends = &texts[0], &blank_ends[0]
        self.state.n_blanks = len(blanks)
        self.state.are_blanks_numbers = are_blanks_numbers

    @property
    def are_bytes(self):
        """Whether all features of the last read are integers from 0 to 255."""
        return self.state.bits < 256

    def read(
        self, const uint8_t[::1] data, ptrdiff_t begin, const intptr_t[::1] ends, ptrdiff_t first,
        bint is_utf8, intptr_t[::1] starts, int32_t[::1] columns, double[::1] values,
        intptr_t[:, :, ::1] spans, intptr_t[::1] missing, double[::1] weights,
    ):
        """Read lines from `first` on; return the first that is left to the reference parser.

        The first line of the data begins at `begin`, and `ends` are the ends of all lines. Written:
        `starts` (n + 1,), the bounds of each line's features in `columns` and `values`; `spans`,
        the places of values by slot and line; `missing`, the numbers of missing features; and
        `weights`, the sample weights.
        """
        cdef State* state = &self.state
        cdef ptrdiff_t done
        state.data, state.limit = &data[0], &data[0] + data.shape[0]
        state.begin, state.n, state.first = begin, ends.shape[0], first
        state.ends, state.is_utf8, state.starts = &ends[0], is_utf8, &starts[0]
        state.columns, state.values = &columns[0], &values[0]
        state.spans = &spans[0, 0, 0] if spans.shape[0] else NULL
        state.missing, state.weights = &missing[0], &weights[0]
        with nogil:
            done = read_records(state)
        return done


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
