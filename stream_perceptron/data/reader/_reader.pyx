# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled reader, which turns blocks of text and Arrow buffers into rows of features."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

cdef extern from "formats.h" nogil:
    int _CSV "CSV", _JSON "JSON", _LIBSVM "LIBSVM"
    int _NUL "NUL", _NUMBER "NUMBER", _TEXT "TEXT", _LIST "LIST", _OBJECT "OBJECT"
    int _INVALID "INVALID", _FULL "FULL", _UNKNOWN "UNKNOWN", _IGNORE "IGNORE", _CELL "CELL", _VECTOR "VECTOR"
    int _CATEGORICAL "CATEGORICAL", _LABEL "LABEL", _WEIGHT "WEIGHT"
    int _NULLS "NULLS", _NAMES "NAMES"
    int _UNNAMED "UNNAMED", _ABSENT "ABSENT"
    int _READ_MEMBERS "READ_MEMBERS", _SKIP_MEMBERS "SKIP_MEMBERS"
    int _REJECTED "REJECTED", _MALFORMED "MALFORMED", _REDELIVERED "REDELIVERED"
    int _DROPPED "DROPPED", _LABELS "LABELS"
    ctypedef struct Entry:
        uint32_t begin, length
        int32_t parent, id
        int32_t slot, path, n_strings
        uint8_t action, members, has_occurred
    ctypedef struct Table:
        uint8_t* pool
        Entry* entries
        uint32_t* slots
        ptrdiff_t n
    ctypedef struct Kept:
        uint8_t kind
        const uint8_t* begin "from"
        const uint8_t* end "to"
    ctypedef struct Added:
        int32_t name, member, column, row
    ctypedef struct Buffer:
        uint8_t* bytes
        ptrdiff_t n, room
    ctypedef struct CReader "Reader":
        Table table
        const uint8_t* limit
        uint8_t delimiter, decimal, escape
        int has_missing, is_last, learns, keeps_unlabeled, keeps_zeros, has_null_numbers, has_aliases
        int needs_vector, default_action, seeks_label
        int32_t root, n_columns, n_members, n_slots, n_unknown_members, list
        int32_t* runs
        int32_t* member_ids
        int32_t* member_names
        double scale, max_number
        ptrdiff_t n, n_rows
        int32_t* feature_ids
        double* values
        intptr_t* starts
        intptr_t* begins
        intptr_t* ends
        int32_t* labels
        int32_t* missing
        double* weights
        uint8_t* status
        Kept* kept
        const uint8_t* begin
        const uint8_t* end
        ptrdiff_t n_entries
        int32_t n_features, n_before, max_features
        int32_t max_strings
        int ignores_features
        ptrdiff_t n_added
        Added* added
        void* changes
        uint32_t* feature_stamps
        Buffer text, name
        int changes_schema, has_asked, is_rejected
        double (*round)(const uint8_t*, const uint8_t*) noexcept
        int (*resolve)(CReader*, ptrdiff_t, int, double, const uint8_t*, const uint8_t*) noexcept
        int (*judge)(CReader*, int) noexcept
        int (*finish)(CReader*, int) noexcept
        void* self
    ptrdiff_t _intern "intern"(Table*, int32_t, const uint8_t*, ptrdiff_t, const uint8_t*)
    ptrdiff_t find_entry(Table*, int32_t, const uint8_t*, ptrdiff_t, const uint8_t*)
    int claim(CReader*, ptrdiff_t, ptrdiff_t)
    int resize(void*, size_t)
    int set_entry(CReader*, ptrdiff_t, int, int32_t, int)
    const uint8_t* read_records(CReader*, int, const uint8_t*, const uint8_t*, ptrdiff_t)

cdef extern from "arrow.h" nogil:
    ctypedef struct ArrowColumn:
        int32_t entry
        char kind
        const void* values
        const int64_t* string_begins
        const int64_t* string_ends
        const uint8_t* is_null
        const int64_t* list_begins
        const uint8_t* is_null_list
        double scale
    ptrdiff_t _read_arrow "read_arrow"(CReader*, const ArrowColumn*, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                       const uint8_t*)

CSV, JSON, LIBSVM, ARROW = _CSV, _JSON, _LIBSVM, _LIBSVM + 1
NUL, NUMBER, TEXT, LIST, OBJECT = _NUL, _NUMBER, _TEXT, _LIST, _OBJECT
INVALID, FULL, NULLS, LABELS = _INVALID, _FULL, _NULLS, _LABELS
UNKNOWN, IGNORE, CELL, CATEGORICAL, VECTOR = _UNKNOWN, _IGNORE, _CELL, _CATEGORICAL, _VECTOR
LABEL, WEIGHT, UNNAMED = _LABEL, _WEIGHT, _UNNAMED
READ_MEMBERS, SKIP_MEMBERS = _READ_MEMBERS, _SKIP_MEMBERS
REJECTED, MALFORMED, REDELIVERED = _REJECTED, _MALFORMED, _REDELIVERED
DROPPED = _DROPPED

# What a record may raise while it is read; it is then rejected. SampleError is a ValueError.
REJECTING = ValueError, ArithmeticError, RecursionError

# Reading fewer bytes takes less time than releasing the GIL and waiting for it again.
cdef enum:
    MIN_BYTES_WITHOUT_GIL = 4096


cdef class Block:
    """The n records of a block; arrays are made when they are used."""

    cdef readonly Py_ssize_t end, n  # the end of the last record in the data
    cdef readonly dict reasons  # why records are rejected
    cdef readonly list added_rows  # the row that has added each new feature
    cdef Py_ssize_t m, n_missing
    cdef bytes memory

    cdef _take(self, Py_ssize_t n_doubles, Py_ssize_t n_integers, type, Py_ssize_t n):
        return np.frombuffer(self.memory, type, n, 8 * n_doubles + 4 * n_integers)

    @property
    def values(self):
        return self._take(0, 0, np.float64, self.m)

    @property
    def weights(self):
        return self._take(self.m, 0, np.float64, self.n)

    @property
    def begins(self):
        """The beginning of each record in the data."""
        return self._take(self.m + self.n, 0, np.intp, self.n)

    @property
    def ends(self):
        """The end of each record in the data."""
        return self._take(self.m + 2 * self.n, 0, np.intp, self.n)

    @property
    def starts(self):
        """Record i has the features starts[i] to starts[i + 1] - 1."""
        return self._take(self.m + 3 * self.n, 0, np.intp, self.n + 1)

    @property
    def feature_ids(self):
        return self._take(self.m + 4 * self.n + 1, 0, np.int32, self.m)

    @property
    def labels(self):
        """The ID of the label of each record, or -1."""
        return self._take(self.m + 4 * self.n + 1, self.m, np.int32, self.n)

    @property
    def missing(self):
        """The number of nulls in each record; None if there are none."""
        if self.n_missing == 0:
            return None
        return self._take(self.m + 4 * self.n + 1, self.m + self.n, np.int32, self.n)

    @property
    def status(self):
        """LEARNED, UNLABELED, REJECTED or REDELIVERED."""
        return self._take(self.m + 4 * self.n + 1, self.m + 2 * self.n, np.uint8, self.n)


cdef Block build_block(CReader* c, Py_ssize_t end, dict reasons):
    cdef Block block = Block.__new__(Block)
    cdef Py_ssize_t n = c.n_rows, m = c.n, i
    block.end, block.n, block.m = end, n, m
    for i in range(n):
        block.n_missing += c.missing[i]
    # A record that was postponed may have had a reason, too.
    block.reasons = {
        row: reason for row, reason in reasons.items() if row < n and c.status[row] == _REJECTED
    }
    block.added_rows = [c.added[i].row for i in range(c.n_added)]
    block.memory = PyBytes_FromStringAndSize(NULL, 12 * m + 41 * n + 8)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(block.memory)
    cdef void** sources = [c.values, c.weights, c.begins, c.ends, c.starts, c.feature_ids, c.labels,
                           c.missing, c.status]
    cdef size_t* sizes = [8 * m, 8 * n, 8 * n, 8 * n, 8 * (n + 1), 4 * m, 4 * n, 4 * n, n]
    if 12 * m < MIN_BYTES_WITHOUT_GIL:
        copy_arrays(to, sources, sizes)
    else:
        with nogil:
            copy_arrays(to, sources, sizes)
    return block


cdef void copy_arrays(uint8_t* to, void** sources, size_t* sizes) noexcept nogil:
    """Copy the arrays of a block, one after another."""
    cdef int i
    for i in range(9):
        if sizes[i]:
            memcpy(to, sources[i], sizes[i])
        to += sizes[i]


cdef class Reader:
    """Reads the records of a format; `columns` decides what cells mean (see columns.py).

    The reader assigns the IDs of features, in order of appearance. After each block, it appends the names of
    new ones to `columns.names`.
    """

    cdef CReader c
    cdef int format
    cdef object columns, error
    cdef dict reasons

    def __cinit__(self, columns, int format, *, bytes delimiter, bytes decimal, double scale, double max_number,
                  bint learns, bint keeps_unlabeled, bint keeps_zeros, bint has_null_numbers,
                  bint needs_vector, int default_action, bint seeks_label, int max_strings):
        memset(&self.c, 0, sizeof(self.c))
        self.format, self.columns = format, columns
        c = &self.c
        c.delimiter, c.decimal, c.scale = delimiter[0], decimal[0], scale
        c.max_number = max_number
        c.learns, c.keeps_unlabeled, c.keeps_zeros = learns, keeps_unlabeled, keeps_zeros
        c.has_null_numbers, c.needs_vector = has_null_numbers, needs_vector
        c.escape = {_CSV: b'"', _JSON: b"\\"}.get(format, b"\0")[0]
        c.default_action, c.seeks_label, c.max_strings = default_action, seeks_label, max_strings
        c.round, c.resolve, c.judge, c.finish, c.self = round_number, resolve, judge, finish, <void*>self
        c.list = -1

    def __dealloc__(self):
        for memory in (<size_t>self.c.table.pool, <size_t>self.c.table.entries,
                       <size_t>self.c.table.slots, <size_t>self.c.feature_ids,
                       <size_t>self.c.values, <size_t>self.c.starts, <size_t>self.c.begins, <size_t>self.c.ends,
                       <size_t>self.c.labels, <size_t>self.c.missing, <size_t>self.c.weights,
                       <size_t>self.c.status, <size_t>self.c.kept, <size_t>self.c.added,
                       <size_t>self.c.feature_stamps, <size_t>self.c.runs,
                       <size_t>self.c.member_ids, <size_t>self.c.member_names,
                       <size_t>self.c.changes, <size_t>self.c.text.bytes, <size_t>self.c.name.bytes):
            free(<void*><size_t>memory)

    def begin(self, int list, int n_columns, int n_slots, bint has_missing):
        """Set the entries that `columns` has added, before the first record."""
        c = &self.c
        c.list, c.n_columns, c.n_slots, c.has_missing = list, n_columns, n_slots, has_missing
        if not resize(&c.kept, n_slots * sizeof(Kept) + 1):
            raise MemoryError

    def add_names(self, names):
        """Add the names of the features that the model knows."""
        for name in names:
            entry = self.intern_path(name)
            self.c.table.entries[entry].id = self.c.n_features
            self.c.n_features += 1

    def has_feature(self, name):
        """Whether the model has a feature."""
        entry = self.find_path(name)
        return entry >= 0 and self.c.table.entries[entry].id >= 0

    def has_occurred(self, path):
        """Whether a key with a path has occurred in a record."""
        entry = self.find_path(path)
        return entry >= 0 and self.c.table.entries[entry].has_occurred != 0

    cdef ptrdiff_t find_path(self, path):
        cdef bytes spelling = path.encode("utf-8", "surrogatepass")
        cdef const uint8_t* p = spelling
        return find_entry(&self.c.table, _NAMES, p, len(spelling), p + len(spelling))

    def set_elements(self, list names):
        """Set the names of the elements of a list."""
        c = &self.c
        c.n_members, c.n_unknown_members = len(names), 0
        for array in (<size_t>&c.member_ids, <size_t>&c.member_names):
            if not resize(<void*><size_t>array, c.n_members * sizeof(int32_t) + 1):
                raise MemoryError
        for i, name in enumerate(names):
            c.member_names[i] = self.intern_path(name)
            c.member_ids[i] = c.table.entries[c.member_names[i]].id
            c.n_unknown_members += c.member_ids[i] < 0

    def intern(self, int parent, bytes spelling):
        """Return the entry of a spelling, adding it if it is new."""
        cdef const uint8_t* p = spelling
        entry = _intern(&self.c.table, parent, p, len(spelling), p + len(spelling))
        if entry < 0:
            raise MemoryError
        return entry

    cdef ptrdiff_t intern_path(self, path) except -1:
        return self.intern(_NAMES, path.encode("utf-8", "surrogatepass"))

    def get(self, ptrdiff_t entry):
        """Return the parent, action, ID and members of an entry."""
        cdef Entry* e = &self.c.table.entries[entry]
        return e.parent, e.action, e.id, e.members

    def get_spelling(self, ptrdiff_t entry):
        cdef Entry* e = &self.c.table.entries[entry]
        return PyBytes_FromStringAndSize(<char*>self.c.table.pool + e.begin, e.length)

    def get_path(self, ptrdiff_t entry):
        """Return the path of a column or key."""
        return self.read_spelling(self.c.table.entries[entry].path)

    def list_columns(self):
        """Return the paths of columns and keys, each with its action and the ID of its numbers."""
        cdef ptrdiff_t i
        cdef Entry* e
        columns = {}
        for i in range(self.c.table.n):
            e = &self.c.table.entries[i]
            if e.path >= 0 and (e.action != _UNKNOWN or e.members != 0):
                columns[self.read_spelling(e.path)] = e.action, e.id
        return columns

    def set(self, ptrdiff_t entry, int action, int id=_UNNAMED, int members=0):
        """Set what to do with cells of an entry."""
        if not set_entry(&self.c, entry, action, id, members):
            raise MemoryError

    def set_column(self, ptrdiff_t entry, int action, path, bint has_number=False):
        """Set the path of a column, and what to do with its cells; its numbers may be a known feature."""
        cdef ptrdiff_t name = self.intern_path(path)
        id = self.c.table.entries[name].id if has_number else _UNNAMED
        if id >= 0:
            claim(&self.c, entry, name)
        self.set(entry, action, id)
        self.c.table.entries[entry].path = name

    def set_role(self, path, int action):
        """Set what to do with cells under a path, whose keys have not occurred."""
        entry = self.intern_path(path)
        self.set(entry, action, self.c.table.entries[entry].id)

    def keep_path(self, path, int slot):
        """Keep the contents of cells under a path, whose keys have not occurred."""
        entry = self.intern_path(path)
        self.c.table.entries[entry].slot = slot

    def set_n_strings(self, path, int n):
        """Set the number of features that the strings under a path have added."""
        entry = self.intern_path(path)
        self.c.table.entries[entry].n_strings = n

    @property
    def seeks_label(self):
        """Whether keys at the top level may be the label."""
        return self.c.seeks_label != 0

    def seek_label(self, bint seeks_label):
        """Set whether keys at the top level may be the label."""
        self.c.seeks_label = seeks_label

    def set_slot(self, ptrdiff_t entry, int slot):
        """Keep the contents of an entry for `columns.determine_record_status`."""
        self.c.table.entries[entry].slot = slot

    @property
    def row(self):
        """The current record in its block."""
        return self.c.n_rows

    @property
    def n_before(self):
        """The number of features before the current record."""
        return self.c.n_before

    @property
    def ignores_features(self):
        """Whether new features were ignored because they do not fit into the model."""
        return self.c.ignores_features

    def set_max_features(self, n):
        """Set the number of features from which on new names are ignored."""
        self.c.max_features = n

    def use_weight(self, double weight):
        """Set the sample weight of the current record."""
        self.c.weights[self.c.n_rows] = weight

    def change_schema(self):
        """Note that the current record changes the schema other than by adding names."""
        self.c.changes_schema = True

    def read(self, bytes data, ptrdiff_t begin=0, ptrdiff_t max_rows=2**62, bint is_last=False):
        """Read whole records, each of which ends with a newline."""
        cdef CReader* c = &self.c
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef const uint8_t* stop
        cdef ptrdiff_t i
        c.is_last = is_last
        c.limit = p + PyBytes_GET_SIZE(data)
        self.reasons, self.error = {}, None
        if PyBytes_GET_SIZE(data) - begin < MIN_BYTES_WITHOUT_GIL:
            stop = read_records(c, self.format, p, p + begin, max_rows)
        else:
            with nogil:
                stop = read_records(c, self.format, p, p + begin, max_rows)
        self.check(stop != NULL)
        for i in range(c.n_rows):
            if c.status[i] == _MALFORMED:
                try:
                    self.reasons[i] = self.columns.explain(data[c.begins[i] : c.ends[i]])
                except REJECTING as error:
                    self.reasons[i] = self.columns.describe_error(error)
                c.status[i] = _REJECTED
        return build_block(c, stop - p, self.reasons)

    def read_arrow(self, list columns, ptrdiff_t first, ptrdiff_t end, const uint8_t[::1] is_rejected,
                   dict reasons):
        """Read rows of columns, given as the entry, the scale and the cells of each.

        The rows marked in `is_rejected` cannot be used, for the given reasons.
        """
        cdef ptrdiff_t i, stop, n = len(columns)
        cdef ArrowColumn* c = <ArrowColumn*>malloc(n * sizeof(ArrowColumn) + 1)
        cdef double scale = self.c.scale
        if c == NULL:
            raise MemoryError
        self.reasons, self.error = {
            row - first: reason for row, reason in reasons.items() if first <= row < end
        }, None
        try:
            for i, (entry, column_scale, cells) in enumerate(columns):
                c[i] = ArrowColumn(
                    entry, ord(cells.kind), address(cells.values),
                    <const int64_t*>address(cells.string_begins), <const int64_t*>address(cells.string_ends),
                    <const uint8_t*>address(cells.is_null), <const int64_t*>address(cells.list_begins),
                    <const uint8_t*>address(cells.is_null_list), column_scale)
            with nogil:
                stop = _read_arrow(&self.c, c, n, first, end, &is_rejected[0])
        finally:
            free(c)
            self.c.scale = scale
        self.check(stop >= 0)
        return build_block(&self.c, stop, self.reasons)

    cdef check(self, bint is_read):
        """Raise the error of a method of `columns`, or complete the names after a block."""
        if self.error is not None:
            raise self.error
        if not is_read:
            raise MemoryError
        c, names, strings = &self.c, self.columns.names, self.columns.string_columns
        for i in range(c.n_added - (c.n_features - len(names)), c.n_added):
            names.append(self.read_name(i))
            if c.added[i].column < 0:
                continue
            column = self.read_spelling(c.added[i].column)
            strings[column] += 1
            changes = self.columns.added_strings
            if changes and changes[len(changes) - 1][:2] == (c.added[i].row, column):
                changes.pop()
            changes.append((c.added[i].row, column, strings[column]))

    cdef bytes find_name(self, ptrdiff_t id):
        """Return the name of a feature."""
        cdef ptrdiff_t i = id - len(self.columns.names)
        return (self.columns.names[id] if i < 0 else self.read_name(i)).encode("utf-8", "surrogatepass")

    cdef str read_name(self, ptrdiff_t i):
        """Return the name of a feature that this block has added."""
        return self.read_spelling(self.c.added[i].name)

    cdef str read_spelling(self, ptrdiff_t entry):
        e = &self.c.table.entries[entry]
        return PyUnicode_DecodeUTF8(<char*>self.c.table.pool + e.begin, e.length, "surrogatepass")


cdef const void* address(buffer) except? NULL:
    """Return the address of an object with a buffer; NULL for None."""
    cdef Py_buffer view
    if buffer is None:
        return NULL
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef double round_number(const uint8_t* begin, const uint8_t* end) noexcept with gil:
    """Return the double nearest to a decimal number, which may be infinite."""
    return float(PyBytes_FromStringAndSize(<char*>begin, end - begin))


cdef int resolve(CReader* c, ptrdiff_t entry, int kind, double number, const uint8_t* begin,
             const uint8_t* end) noexcept with gil:
    """Let `columns` use a cell, or reject the record."""
    self = <Reader>c.self
    c.has_asked = True
    try:
        content = PyBytes_FromStringAndSize(<char*>begin, end - begin)
        if entry == -1:
            content = self.find_name(<ptrdiff_t>number)
        self.columns.resolve_cell(entry, kind, number, content)
        return True
    except REJECTING as error:
        self.reasons.setdefault(c.n_rows, self.columns.describe_error(error))
        c.is_rejected = True
        return True
    except BaseException as error:
        self.error = error
    return False


cdef int judge(CReader* c, int status) noexcept with gil:
    """Return the status of a record given its kept cells, or -1 after an error."""
    cdef ptrdiff_t i
    cdef Kept kept
    self = <Reader>c.self
    contents = []
    try:
        for i in range(c.n_slots):
            kept = c.kept[i]
            length = kept.end - kept.begin if kept.begin != NULL else 0
            contents.append((kept.kind, PyBytes_FromStringAndSize(<char*>kept.begin, length)))
        return self.columns.determine_record_status(status, c.n_rows, contents)
    except REJECTING as error:
        self.reasons.setdefault(c.n_rows, self.columns.describe_error(error))
        return max(status, <int>_REJECTED)
    except BaseException as error:
        self.error = error
    return -1


cdef int finish(CReader* c, int outcome) noexcept with gil:
    """Let `columns` keep or drop what the current record has added."""
    self = <Reader>c.self
    try:
        self.columns.finish_record(outcome)
        return True
    except BaseException as error:
        self.error = error
    return False
