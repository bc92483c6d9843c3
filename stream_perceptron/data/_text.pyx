# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Plain records of text, many at once, without the GIL.

Each function reads records from one on, as far as it can with certainty, and returns the number of
the first that it cannot; that one is for the reference parser, which defines the format. What it
does read is what the reference parser would say.
"""

from cpython.object cimport PyObject
from libc.math cimport NAN
from libc.stdint cimport int64_t, intptr_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "Python.h":
    double PyOS_string_to_double(const char*, char**, PyObject*) except? -1.0

cdef double[23] _TENS
cdef int _i
_TENS[0] = 1.0
for _i in range(1, 23):
    _TENS[_i] = 10.0 * _TENS[_i - 1]

cdef enum Role:  # of a cell or a key, if it is no feature, whose role is its place
    SKIP = -1
    LABEL = -2
    BLANK = -3  # must have no value
    VECTOR = -4  # a list of features


cdef inline bint _is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - 48) <= 9


cdef double _slow(const uint8_t* start, ptrdiff_t length) noexcept nogil:
    """Return a number that the fast way cannot round rightly; NaN if it is too long."""
    cdef char[128] text
    cdef double value = NAN
    if length > 127:
        return NAN
    memcpy(text, start, length)
    text[length] = 0
    with gil:
        try:
            value = PyOS_string_to_double(text, NULL, NULL)
        except ValueError:
            value = NAN
    return value


cdef inline const uint8_t* _number(const uint8_t* p, const uint8_t* end, bint is_json,
                                   double* value) noexcept nogil:
    """Read a number; most are whole and short."""
    cdef const uint8_t* start = p
    cdef uint64_t whole = 0
    while p < end and _is_digit(p[0]):
        whole = whole * 10 + (p[0] - 48)
        p += 1
    if 0 < p - start < 4 and (p == end or (p[0] != c"." and (p[0] | 32) != c"e")) and (
        not is_json or start[0] != 48 or p - start == 1
    ):
        value[0] = <double>whole
        return p
    return _any_number(start, end, is_json, value)


cdef const uint8_t* _any_number(const uint8_t* p, const uint8_t* end, bint is_json,
                                double* value) noexcept nogil:
    """Read [+-]digits[.digits][e[+-]digits]; return where it ends, NULL if it is none, or infinite.

    An integer of at most 2^53 times or by a power of ten up to 10^22 is exact in one operation, as
    Clinger showed in 1990; other numbers are read by Python.
    """
    cdef const uint8_t* start = p
    cdef const uint8_t* digits
    cdef uint64_t mantissa = 0
    cdef int n_digits = 0, exponent = 0, written = 0
    cdef bint negative = False, negative_exponent = False, is_whole = True
    if p < end and (p[0] == c"-" or (p[0] == c"+" and not is_json)):
        negative = p[0] == c"-"
        p += 1
    digits = p
    while p < end and _is_digit(p[0]):
        if n_digits < 19:
            mantissa = mantissa * 10 + (p[0] - 48)
        if mantissa:
            n_digits += 1
        p += 1
    if p == digits or (is_json and digits[0] == 48 and p - digits > 1):
        return NULL
    if p < end and p[0] == c".":
        is_whole = False
        p += 1
        digits = p
        while p < end and _is_digit(p[0]):
            if n_digits < 19:
                mantissa = mantissa * 10 + (p[0] - 48)
            if mantissa:
                n_digits += 1
            p += 1
        if p == digits:
            return NULL
        exponent = -<int>min(p - digits, 1000)
    if p < end and (p[0] == c"e" or p[0] == c"E"):
        is_whole = False
        p += 1
        if p < end and (p[0] == c"-" or p[0] == c"+"):
            negative_exponent = p[0] == c"-"
            p += 1
        digits = p
        while p < end and _is_digit(p[0]):
            if written < 100000:
                written = written * 10 + (p[0] - 48)
            p += 1
        if p == digits:
            return NULL
        exponent += -written if negative_exponent else written
    if n_digits <= 19 and mantissa <= (<uint64_t>1 << 53) and -22 <= exponent <= 22:
        value[0] = <double>mantissa
        if exponent < 0:
            value[0] /= _TENS[-exponent]
        else:
            value[0] *= _TENS[exponent]
        # A whole number of JSON has no sign where it is 0.
        if negative and not (is_json and is_whole and mantissa == 0):
            value[0] = -value[0]
        return p
    value[0] = _slow(start, p - start)
    # What is not a number here was too long, or too large.
    if not (value[0] - value[0] == 0.0):
        return NULL
    return p


cdef inline ptrdiff_t _start(const intptr_t* ends, ptrdiff_t i) noexcept nogil:
    return ends[i - 1] if i else 0


cdef inline const uint8_t* _end(const uint8_t* data, const intptr_t* ends,
                                ptrdiff_t i) noexcept nogil:
    """Return where a record ends, without its newline."""
    cdef const uint8_t* start = data + _start(ends, i)
    cdef const uint8_t* end = data + ends[i]
    if end > start and end[-1] == 10:
        end -= 1
    if end > start and end[-1] == 13:
        end -= 1
    return end


def csv(const uint8_t[::1] data, const intptr_t[::1] ends, ptrdiff_t first, uint8_t delimiter,
        const intptr_t[::1] roles, double[:, ::1] out, intptr_t[:, ::1] labels,
        intptr_t[::1] missing):
    """Read records of CSV into the rows of `out` of the same numbers, NaN where a cell is blank.

    `roles` has one for each column, `labels` gets where the label of each row is, and `missing` how
    many features it lacks.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], c, m = roles.shape[0]
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef intptr_t role
    cdef bint is_good
    with nogil:
        while i < n:
            p = &data[0] + _start(&ends[0], i)
            end = _end(&data[0], &ends[0], i)
            if memchr(p, c'"', end - p) != NULL or memchr(p, 13, end - p) != NULL:
                break
            missing[i] = 0
            is_good = True
            for c in range(m):
                role = roles[c]
                if role >= 0:
                    while p < end and p[0] == 32:
                        p += 1
                    if p == end or p[0] == delimiter:
                        out[i, role] = NAN
                        missing[i] += 1
                        stop = p
                    else:
                        stop = _number(p, end, False, &out[i, role])
                        if stop == NULL:
                            is_good = False
                            break
                        while stop < end and stop[0] == 32:
                            stop += 1
                else:
                    stop = <const uint8_t*>memchr(p, delimiter, end - p)
                    if stop == NULL:
                        stop = end
                    if role == LABEL:
                        labels[i, 0] = p - &data[0]
                        labels[i, 1] = stop - &data[0]
                    elif role == BLANK:
                        missing[i] += 1
                        while p < stop and p[0] == 32:
                            p += 1
                        if p < stop:
                            is_good = False
                            break
                if c == m - 1:
                    is_good = stop == end
                elif stop == end or stop[0] != delimiter:
                    is_good = False
                    break
                p = stop + 1
            if not is_good:
                break
            i += 1
    return i


cdef inline const uint8_t* _blanks(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and (p[0] == 32 or p[0] == 9):
        p += 1
    return p


cdef const uint8_t* _plain_string(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return where a string of ASCII without escapes ends, behind its quote; NULL if it is other."""
    if p == end or p[0] != c'"':
        return NULL
    p += 1
    while p < end and p[0] != c'"':
        if p[0] < 32 or p[0] > 126 or p[0] == c"\\":
            return NULL
        p += 1
    return p + 1 if p < end else NULL


cdef const uint8_t* _null(const uint8_t* p, const uint8_t* end) noexcept nogil:
    return p + 4 if end - p >= 4 and memcmp(p, b"null", 4) == 0 else NULL


cdef const uint8_t* _scalar(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return where a plain string, a number, null or a bool ends."""
    cdef double ignored
    cdef const uint8_t* stop
    if p < end and p[0] == c'"':
        return _plain_string(p, end)
    stop = _null(p, end)
    if stop == NULL and end - p >= 4 and memcmp(p, b"true", 4) == 0:
        stop = p + 4
    if stop == NULL and end - p >= 5 and memcmp(p, b"false", 5) == 0:
        stop = p + 5
    return stop if stop != NULL else _number(p, end, True, &ignored)


def json(const uint8_t[::1] data, const intptr_t[::1] ends, ptrdiff_t first,
         const uint8_t[::1] keys, const intptr_t[::1] key_ends, const intptr_t[::1] roles,
         double[:, ::1] out, intptr_t[:, ::1] labels, intptr_t[::1] missing, bint is_bare):
    """Read records of JSON; as `csv`.

    They are objects whose keys come in the order of `keys`, which has each with its quotes, or
    bare lists of features.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], c, m = roles.shape[0], d = out.shape[1]
    cdef ptrdiff_t length, place
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef const uint8_t* key
    cdef intptr_t role
    cdef bint is_good
    with nogil:
        while i < n:
            end = _end(&data[0], &ends[0], i)
            p = _blanks(&data[0] + _start(&ends[0], i), end)
            while end > p and (end[-1] == 32 or end[-1] == 9):
                end -= 1
            missing[i] = 0
            is_good = is_bare or (p < end and p[0] == c"{")
            if not is_bare:
                p += 1
            for c in range(m):
                if not is_good:
                    break
                is_good = False
                p = _blanks(p, end)
                if not is_bare:
                    key = &keys[0] + _start(&key_ends[0], c)
                    length = key_ends[c] - _start(&key_ends[0], c)
                    if end - p < length or memcmp(p, key, length) != 0:
                        break
                    p = _blanks(p + length, end)
                    if p == end or p[0] != c":":
                        break
                    p = _blanks(p + 1, end)
                role = roles[c]
                if role >= 0:
                    stop = _number(p, end, True, &out[i, role])
                elif role == VECTOR:
                    stop = p
                    if p == end or p[0] != c"[":
                        break
                    for place in range(d):
                        p = _blanks(stop + 1, end)
                        stop = _null(p, end)
                        if stop != NULL:
                            out[i, place] = NAN
                            missing[i] += 1
                        else:
                            stop = _number(p, end, True, &out[i, place])
                        if stop == NULL:
                            break
                        stop = _blanks(stop, end)
                        if stop == end or stop[0] != (c"]" if place == d - 1 else c","):
                            stop = NULL
                            break
                    if stop != NULL:
                        stop += 1
                else:
                    stop = _scalar(p, end)
                    if role == LABEL:
                        labels[i, 0] = p - &data[0]
                        labels[i, 1] = stop - &data[0] if stop != NULL else 0
                if stop == NULL:
                    break
                p = _blanks(stop, end)
                if is_bare:
                    is_good = p == end
                    break
                if p == end or p[0] != (c"}" if c == m - 1 else c","):
                    break
                p += 1
                is_good = c < m - 1 or p == end
            if not is_good:
                break
            i += 1
    return i


def libsvm(const uint8_t[::1] data, const intptr_t[::1] ends, ptrdiff_t first,
           intptr_t[::1] starts, int64_t[::1] features, double[::1] values,
           intptr_t[:, ::1] labels):
    """Read records of LIBSVM whose features are whole numbers in ascending order.

    `starts` gets where the features of each row end among all that were read, in the place after
    the row's.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], count = starts[first], before
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* start
    cdef int64_t feature, last
    cdef bint is_good
    with nogil:
        while i < n:
            end = _end(&data[0], &ends[0], i)
            p = _blanks(&data[0] + _start(&ends[0], i), end)
            start = p
            while p < end and 32 < p[0] < 127 and p[0] != c":" and p[0] != c"#":
                p += 1
            if p == start or (p < end and p[0] != 32 and p[0] != 9):
                break
            labels[i, 0] = start - &data[0]
            labels[i, 1] = p - &data[0]
            before, last, is_good = count, -1, True
            while True:
                p = _blanks(p, end)
                if p == end:
                    break
                start = p
                feature = 0
                while p < end and _is_digit(p[0]) and p - start < 9:
                    feature = feature * 10 + (p[0] - 48)
                    p += 1
                # A zero in front makes another name.
                if p == start or p == end or p[0] != c":" or feature <= last or (
                    start[0] == 48 and p - start > 1
                ):
                    is_good = False
                    break
                last = feature
                p = _number(p + 1, end, False, &values[count])
                if p == NULL or (p < end and p[0] != 32 and p[0] != 9):
                    is_good = False
                    break
                features[count] = feature
                count += 1
            if not is_good:
                count = before
                break
            i += 1
            starts[i] = count
    return i
