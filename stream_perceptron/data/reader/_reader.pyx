# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled reader, which turns blocks of text and Arrow buffers into rows of features."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from stream_perceptron.data.reasons import describe_error

cdef extern from "blocks.h" nogil:
    int _CSV "CSV", _JSON "JSON", _LIBSVM "LIBSVM", _ARROW "ARROW"
    int _NUL "NUL", _NUMBER "NUMBER", _BOOL "BOOL", _TEXT "TEXT", _LIST "LIST", _OBJECT "OBJECT"
    int _UNKNOWN "UNKNOWN", _IGNORE "IGNORE", _CELL "CELL", _VECTOR "VECTOR"
    int _CATEGORICAL "CATEGORICAL", _LABEL "LABEL", _WEIGHT "WEIGHT"
    int _DUPLICATE_FEATURE "DUPLICATE_FEATURE", _INVALID_NAME "INVALID_NAME", _INVALID_STRING "INVALID_STRING"
    int _INVALID_NUMBER "INVALID_NUMBER", _INVALID_LABEL "INVALID_LABEL", _INVALID_WEIGHT "INVALID_WEIGHT"
    int _INVALID_LIST "INVALID_LIST", _NO_LIST "NO_LIST"
    int _FIRST_STRING "FIRST_STRING", _IGNORED_LIST "IGNORED_LIST", _FULL_COLUMN "FULL_COLUMN"
    int _COLUMNS "COLUMNS", _NULLS "NULLS", _NAMES "NAMES", _CANDIDATES "CANDIDATES", _IMAGES "IMAGES"
    int _UNNAMED "UNNAMED"
    int _REJECTED "REJECTED", _MALFORMED "MALFORMED", _REDELIVERED "REDELIVERED"
    ctypedef struct Entry:
        uint32_t begin, length
        int32_t id, kept, path, n_strings
        uint8_t action, has_occurred, has_named
    ctypedef struct Table:
        uint8_t* pool
        Entry* entries
        uint32_t* buckets
        ptrdiff_t n
    ctypedef struct Kept:
        uint8_t kind
        const uint8_t* begin "from"
        const uint8_t* end "to"
    ctypedef struct Added:
        int32_t name, column, row
    ctypedef struct Note:
        int32_t code, column, row
        bint is_category, had_number
        const uint8_t* begin "from"
        const uint8_t* end "to"
    ctypedef struct Buffer:
        uint8_t* bytes
        ptrdiff_t n, room
    ctypedef struct CReader "Reader":
        Table table
        const uint8_t* limit
        uint8_t delimiter, decimal, escape
        bint has_missing, is_last, learns, keeps_unlabeled, keeps_zeros, wants_zeros, has_null_numbers
        bint needs_vector, seeks_list, seeks_label
        int default_action
        int32_t label_records
        int32_t root, n_columns, n_elements, n_kept, n_unknown_elements
        int32_t* runs
        int32_t* element_ids
        int32_t* element_names
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
        ptrdiff_t n_added, n_notes, n_label_rows
        Added* added
        Note* notes
        int32_t* label_rows
        int32_t n_features, n_labels, n_found_labels, max_features, next_max_features
        int32_t max_strings, n_before
        bint ignores_features
        void* changes
        Kept* kept
        Buffer text, name
        bint has_found_label, changes_schema, is_rejected
        uint32_t* feature_stamps
        double (*round)(const uint8_t*, const uint8_t*) noexcept
        int (*ask_name)(CReader*, ptrdiff_t, int) noexcept
        int (*ask_label)(CReader*, int, const uint8_t*, const uint8_t*, int32_t*) noexcept
        int (*reject)(CReader*, int, ptrdiff_t, double, const uint8_t*, const uint8_t*) noexcept
        int (*read_kept)(CReader*, int) noexcept
        int (*set_list)(CReader*, ptrdiff_t, int32_t) noexcept
        int (*truncate)(CReader*) noexcept
        void* self
    const uint8_t* ESCAPES
    ptrdiff_t _intern "intern"(Table*, int32_t, const uint8_t*, ptrdiff_t, const uint8_t*)
    ptrdiff_t find_entry(Table*, int32_t, const uint8_t*, ptrdiff_t, const uint8_t*)
    int claim(CReader*, ptrdiff_t, ptrdiff_t)
    int resize(void*, size_t)
    int set_entry(CReader*, ptrdiff_t, int, int32_t)
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

CSV, JSON, LIBSVM, ARROW = _CSV, _JSON, _LIBSVM, _ARROW
NUL, NUMBER, BOOL, TEXT, LIST, OBJECT = _NUL, _NUMBER, _BOOL, _TEXT, _LIST, _OBJECT
COLUMNS, NULLS, CANDIDATES, IMAGES = _COLUMNS, _NULLS, _CANDIDATES, _IMAGES
UNKNOWN, IGNORE, CELL, CATEGORICAL, VECTOR = _UNKNOWN, _IGNORE, _CELL, _CATEGORICAL, _VECTOR
LABEL, WEIGHT = _LABEL, _WEIGHT
DUPLICATE_FEATURE, INVALID_NAME, INVALID_STRING = _DUPLICATE_FEATURE, _INVALID_NAME, _INVALID_STRING
INVALID_NUMBER, INVALID_LABEL, INVALID_WEIGHT = _INVALID_NUMBER, _INVALID_LABEL, _INVALID_WEIGHT
INVALID_LIST, NO_LIST = _INVALID_LIST, _NO_LIST
FIRST_STRING, IGNORED_LIST, FULL_COLUMN = _FIRST_STRING, _IGNORED_LIST, _FULL_COLUMN
MALFORMED, REDELIVERED = _MALFORMED, _REDELIVERED

# What a record may raise while it is read; it is then rejected. SampleError is a ValueError.
REJECTING = ValueError, ArithmeticError, RecursionError

# Reading fewer bytes takes less time than releasing the GIL and waiting for it again.
cdef enum:
    MIN_BYTES_WITHOUT_GIL = 4096


cdef class Records:
    """The n records of a block; arrays are made when they are used."""

    cdef readonly Py_ssize_t end, n  # the end of the last record in the data
    cdef readonly dict reasons  # why records are rejected
    cdef readonly list names  # of new features
    cdef readonly list feature_rows  # the row that has added each of them
    cdef readonly list label_rows  # the row that has added each new label
    # The rows that have added features of strings: the row, the column and the number of features.
    cdef readonly list string_features
    # What was noted: the row, the code, the column, whether it is categorical, whether it had numbers, and a cell.
    cdef readonly list notes
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


cdef Records build_records(CReader* c, Py_ssize_t end, dict reasons):
    cdef Records records = Records.__new__(Records)
    cdef Py_ssize_t n = c.n_rows, m = c.n, i
    cdef Note* note
    records.end, records.n, records.m = end, n, m
    for i in range(n):
        records.n_missing += c.missing[i]
    # A record that was postponed may have had a reason, too.
    records.reasons = {
        row: reason for row, reason in reasons.items() if row < n and c.status[row] == _REJECTED
    }
    records.feature_rows = [c.added[i].row for i in range(c.n_added)]
    records.names = [read_spelling(c, c.added[i].name) for i in range(c.n_added)]
    records.label_rows = [c.label_rows[i] for i in range(c.n_label_rows)]
    records.string_features = count_string_features(c)
    records.notes = []
    for i in range(c.n_notes):
        note = &c.notes[i]
        content = PyBytes_FromStringAndSize(<char*>note.begin, note.end - note.begin)
        records.notes.append((note.row, note.code, read_spelling(c, note.column), note.is_category,
                              note.had_number, content))
    records.memory = PyBytes_FromStringAndSize(NULL, 12 * m + 41 * n + 8)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(records.memory)
    cdef void** sources = [c.values, c.weights, c.begins, c.ends, c.starts, c.feature_ids, c.labels,
                           c.missing, c.status]
    cdef size_t* sizes = [8 * m, 8 * n, 8 * n, 8 * n, 8 * (n + 1), 4 * m, 4 * n, 4 * n, n]
    if 12 * m < MIN_BYTES_WITHOUT_GIL:
        copy_arrays(to, sources, sizes)
    else:
        with nogil:
            copy_arrays(to, sources, sizes)
    return records


cdef list count_string_features(CReader* c):
    """Return (row, column, number of new features) for each run of features from strings."""
    cdef Py_ssize_t i, k = 0
    counts = []
    for i in range(c.n_added):
        if c.added[i].column < 0:
            continue
        k += 1
        if i + 1 < c.n_added and c.added[i + 1].column == c.added[i].column and c.added[i + 1].row == c.added[i].row:
            continue
        counts.append((c.added[i].row, read_spelling(c, c.added[i].column), k))
        k = 0
    return counts


cdef str read_spelling(CReader* c, ptrdiff_t entry):
    cdef Entry* e = &c.table.entries[entry]
    return PyUnicode_DecodeUTF8(<char*>c.table.pool + e.begin, e.length, "surrogatepass")


cdef void copy_arrays(uint8_t* to, void** sources, size_t* sizes) noexcept nogil:
    """Copy the arrays of a block, one after another."""
    cdef int i
    for i in range(9):
        if sizes[i]:
            memcpy(to, sources[i], sizes[i])
        to += sizes[i]


cdef class Reader:
    """Reads the records of a format; `columns` answers its questions (see record.h).

    The reader assigns the IDs of features, in order of appearance.
    """

    cdef CReader c
    cdef int scanner
    cdef object columns, error
    cdef list names
    cdef dict reasons

    def __cinit__(self, columns, int scanner, list names, int n_labels, *, bytes delimiter, bytes decimal,
                  double scale, double max_number, bint learns, bint keeps_unlabeled, bint keeps_zeros,
                  bint has_null_numbers, bint has_missing, bint needs_vector, bint seeks_list, int default_action,
                  int label_records, int max_strings, int n_columns, int n_kept):
        memset(&self.c, 0, sizeof(self.c))
        self.scanner, self.columns, self.names = scanner, columns, names
        c = &self.c
        c.delimiter, c.decimal, c.scale = delimiter[0], decimal[0], scale
        c.escape = ESCAPES[scanner]
        c.max_number = max_number
        c.learns, c.keeps_unlabeled = learns, keeps_unlabeled
        c.wants_zeros, c.keeps_zeros = keeps_zeros, keeps_zeros or seeks_list
        c.has_null_numbers, c.has_missing, c.needs_vector = has_null_numbers, has_missing, needs_vector
        c.default_action, c.max_strings = default_action, max_strings
        c.seeks_list, c.seeks_label, c.label_records = seeks_list, label_records > 0, label_records
        c.n_columns, c.n_kept, c.n_labels = n_columns, n_kept, n_labels
        c.round, c.ask_name, c.ask_label, c.reject = round_number, ask_name, ask_label, reject
        c.read_kept, c.set_list, c.truncate, c.self = read_kept, set_list, truncate, <void*>self
        if not resize(&c.kept, n_kept * sizeof(Kept) + 1):
            raise MemoryError

    def __dealloc__(self):
        for memory in (<size_t>self.c.table.pool, <size_t>self.c.table.entries,
                       <size_t>self.c.table.buckets, <size_t>self.c.feature_ids,
                       <size_t>self.c.values, <size_t>self.c.starts, <size_t>self.c.begins, <size_t>self.c.ends,
                       <size_t>self.c.labels, <size_t>self.c.missing, <size_t>self.c.weights,
                       <size_t>self.c.status, <size_t>self.c.kept, <size_t>self.c.added, <size_t>self.c.notes,
                       <size_t>self.c.label_rows, <size_t>self.c.feature_stamps, <size_t>self.c.runs,
                       <size_t>self.c.element_ids, <size_t>self.c.element_names,
                       <size_t>self.c.changes, <size_t>self.c.text.bytes, <size_t>self.c.name.bytes):
            free(<void*><size_t>memory)

    # --- Names, before the first record

    def intern(self, int parent, bytes spelling):
        """Return the entry of a spelling, adding it if it is new."""
        cdef const uint8_t* p = spelling
        entry = _intern(&self.c.table, parent, p, len(spelling), p + len(spelling))
        if entry < 0:
            raise MemoryError
        return entry

    cdef ptrdiff_t intern_path(self, path) except -1:
        return self.intern(_NAMES, path.encode("utf-8", "surrogatepass"))

    def set_root(self, ptrdiff_t entry):
        """Set the parent of all names, or the first column of a table."""
        self.c.root = entry

    def number_features(self):
        """Number the features that the model knows."""
        for name in self.names:
            entry = self.intern_path(name)
            self.c.table.entries[entry].id = self.c.n_features
            self.c.n_features += 1

    def set_elements(self, names):
        """Set the names of the elements of the list of features."""
        c = &self.c
        c.n_elements, c.n_unknown_elements = len(names), 0
        for array in (<size_t>&c.element_ids, <size_t>&c.element_names):
            if not resize(<void*><size_t>array, c.n_elements * sizeof(int32_t) + 1):
                raise MemoryError
        for i, name in enumerate(names):
            c.element_names[i] = self.intern_path(name)
            c.element_ids[i] = c.table.entries[c.element_names[i]].id
            c.n_unknown_elements += c.element_ids[i] < 0

    def set_column(self, ptrdiff_t entry, int action, path, int kept=-1):
        """Set the path of a column, what to do with its cells, and where they are kept."""
        cdef ptrdiff_t name = self.intern_path(path)
        id = self.c.table.entries[name].id if action == _CELL else _UNNAMED
        if id >= 0:
            claim(&self.c, entry, name)
        if not set_entry(&self.c, entry, action, id):
            raise MemoryError
        self.c.table.entries[entry].path = name
        self.c.table.entries[entry].kept = kept

    def set_role(self, path, int action):
        """Set what to do with cells under a path."""
        entry = self.intern_path(path)
        if not set_entry(&self.c, entry, action, self.c.table.entries[entry].id):
            raise MemoryError
        self.name_ancestors(path)

    def keep_path(self, path, int kept):
        """Keep the contents of cells under a path."""
        self.c.table.entries[self.intern_path(path)].kept = kept
        self.name_ancestors(path)

    cdef name_ancestors(self, path):
        """Note that options name a path below other paths, so that objects there are read."""
        for i, character in enumerate(path):
            if character == ".":
                self.c.table.entries[self.intern_path(path[:i])].has_named = True

    def set_n_strings(self, path, int n):
        """Set the number of features that the strings under a path have added."""
        self.c.table.entries[self.intern_path(path)].n_strings = n

    def limit_features(self, n):
        """Set the number of features from which on new names are ignored, after the current record."""
        self.c.next_max_features = n

    # --- What records have shown

    cdef ptrdiff_t find_path(self, path):
        cdef bytes spelling = path.encode("utf-8", "surrogatepass")
        cdef const uint8_t* p = spelling
        return find_entry(&self.c.table, _NAMES, p, len(spelling), p + len(spelling))

    def has_feature(self, name):
        """Whether the model has a feature."""
        entry = self.find_path(name)
        return entry >= 0 and self.c.table.entries[entry].id >= 0

    def has_occurred(self, path):
        """Whether a key with a path has occurred in a record."""
        entry = self.find_path(path)
        return entry >= 0 and self.c.table.entries[entry].has_occurred != 0

    def get_action(self, ptrdiff_t entry):
        """Return what is done with the cells of a column."""
        return self.c.table.entries[entry].action

    def list_columns(self):
        """Return the paths of columns and keys, each with its action and the ID of its numbers."""
        cdef ptrdiff_t i
        cdef Entry* e
        columns = {}
        for i in range(self.c.table.n):
            e = &self.c.table.entries[i]
            if e.path >= 0 and e.action != _UNKNOWN:
                columns[read_spelling(&self.c, e.path)] = e.action, e.id
        return columns

    @property
    def seeks_list(self):
        """Whether the next record to be learned decides if rows are lists."""
        return self.c.seeks_list

    @property
    def max_features_before(self):
        """The number of features before the current record, at most those that fit into the model."""
        return min(self.c.n_before, self.c.max_features)

    @property
    def ignores_features(self):
        """Whether new features were ignored because they do not fit into the model."""
        return self.c.ignores_features

    # --- Records

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
            stop = read_records(c, self.scanner, p, p + begin, max_rows)
        else:
            with nogil:
                stop = read_records(c, self.scanner, p, p + begin, max_rows)
        self.check(stop != NULL)
        for i in range(c.n_rows):
            if c.status[i] == _MALFORMED:
                try:
                    record = data[c.begins[i] : c.ends[i]]
                    self.reasons[i] = self.columns.layout.format.explain_rejection(record)
                except REJECTING as error:
                    self.reasons[i] = describe_error(error)
                c.status[i] = _REJECTED
        return build_records(c, stop - p, self.reasons)

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
        return build_records(&self.c, stop, self.reasons)

    cdef check(self, bint is_read):
        """Raise the error of a method of `columns`."""
        if self.error is not None:
            raise self.error
        if not is_read:
            raise MemoryError

    cdef keep_error(self, error):
        """Keep the error that ends the reading, the first one of the block."""
        if self.error is None:
            self.error = error

    cdef reject_record(self, error):
        """Reject the current record because of an error."""
        self.reasons.setdefault(self.c.n_rows, describe_error(error))
        self.c.is_rejected = True


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


cdef int ask_name(CReader* c, ptrdiff_t entry, int is_candidate) noexcept with gil:
    """Let `columns` decide what a key means, which may be the label."""
    self = <Reader>c.self
    try:
        path = read_spelling(c, c.table.entries[entry].path)
        action = self.columns.ask_name(path, is_candidate)
        if action == _LABEL:
            self.set_role(path, _LABEL)  # for other keys with this path
            c.has_found_label, c.seeks_label, c.changes_schema = True, False, c.learns
            c.n_found_labels += 1
        self.set_column(entry, action, path, c.table.entries[entry].kept)
        return True
    except BaseException as error:
        self.keep_error(error)
    return False


cdef int ask_label(CReader* c, int kind, const uint8_t* begin, const uint8_t* end, int32_t* id) noexcept with gil:
    """Set the ID of a label, or reject the record."""
    self = <Reader>c.self
    try:
        id[0] = self.columns.ask_label(kind, PyBytes_FromStringAndSize(<char*>begin, end - begin))
        return True
    except REJECTING as error:
        self.reject_record(error)
        return True
    except BaseException as error:
        self.keep_error(error)
    return False


cdef int reject(CReader* c, int code, ptrdiff_t entry, double number, const uint8_t* begin,
                const uint8_t* end) noexcept with gil:
    """Reject the current record, whose reason `columns` builds from a column or feature and a cell."""
    self = <Reader>c.self
    cdef ptrdiff_t first_added = c.n_features - c.n_added
    cdef Entry* e
    name, content = "", PyBytes_FromStringAndSize(<char*>begin, end - begin)
    try:
        if code == _DUPLICATE_FEATURE and number < first_added:
            name = self.names[<ptrdiff_t>number]
        elif code == _DUPLICATE_FEATURE:
            name = read_spelling(c, c.added[<ptrdiff_t>number - first_added].name)
        elif code == _INVALID_NAME:
            e = &c.table.entries[entry]
            content = PyBytes_FromStringAndSize(<char*>c.table.pool + e.begin, e.length)
        elif entry >= 0:
            name = read_spelling(c, c.table.entries[entry].path)
        self.columns.reject(code, name, number, content)
    except REJECTING as error:
        self.reject_record(error)
        return True
    except BaseException as error:
        self.keep_error(error)
    return False


cdef int read_kept(CReader* c, int status) noexcept with gil:
    """Return the status of a record given its kept cells, or -1 after an error."""
    cdef ptrdiff_t i
    cdef Kept kept
    self = <Reader>c.self
    contents = []
    try:
        for i in range(c.n_kept):
            kept = c.kept[i]
            length = kept.end - kept.begin if kept.begin != NULL else 0
            contents.append((kept.kind, PyBytes_FromStringAndSize(<char*>kept.begin, length)))
        return self.columns.kept.read(status, c.n_rows, contents)
    except REJECTING as error:
        self.reject_record(error)
        return max(status, <int>_REJECTED)
    except BaseException as error:
        self.keep_error(error)
    return -1


cdef int set_list(CReader* c, ptrdiff_t entry, int32_t n) noexcept with gil:
    """Tell `columns` that rows are lists of n numbers."""
    self = <Reader>c.self
    try:
        self.columns.set_list(read_spelling(c, c.table.entries[entry].path), n)
        return True
    except BaseException as error:
        self.keep_error(error)
    return False


cdef int truncate(CReader* c) noexcept with gil:
    """Let `columns` remove the labels and the label's key that the current record has added."""
    self = <Reader>c.self
    try:
        self.columns.truncate(c.n_labels, c.n_found_labels)
        return True
    except BaseException as error:
        self.keep_error(error)
    return False
