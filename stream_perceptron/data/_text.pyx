# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Plain records of text, many at once, without the GIL.

Each function reads records from one on, as far as it can with certainty, and returns the number of
the first that it cannot; that one is for the reference parser, which defines the format. What it
does read is what the reference parser would say. Every record ends with a newline, at which all
searches end.

Features become doubles, or bytes as long as all of them are whole numbers from 0 to 255.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from sys import byteorder

import numpy as np

# Bytes are looked at eight at a time, the first of them as the lowest.
if byteorder != "little":
    raise ImportError("the compiled reader of text is for little-endian processors")

# The decimal point is that of the C locale, whatever the program has set.
cdef extern from *:
    """
    #include <locale.h>
    #include <stdlib.h>
    #if defined(__APPLE__)
    #include <xlocale.h>
    #endif
    #if defined(_WIN32)
    static _locale_t c_locale;
    static void open_c_locale(void) { c_locale = _create_locale(LC_ALL, "C"); }
    static double nearest_double(const char *text) { return _strtod_l(text, NULL, c_locale); }
    #else
    static locale_t c_locale;
    static void open_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }
    static double nearest_double(const char *text) { return strtod_l(text, NULL, c_locale); }
    #endif
    """
    void open_c_locale()
    double nearest_double(const char*) nogil

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int lowest_bit(uint64_t word) {
        unsigned long place;
        _BitScanForward64(&place, word);
        return (int)place;
    }
    #else
    static int lowest_bit(uint64_t word) { return __builtin_ctzll(word); }
    #endif
    """
    int lowest_bit(uint64_t) noexcept nogil  # of a number that is not 0

open_c_locale()

cdef extern from "<math.h>" nogil:
    int signbit(double)

ctypedef fused Cell:
    uint8_t
    double

cdef double[23] _TENS
cdef int _i
_TENS[0] = 1.0
for _i in range(1, 23):
    _TENS[_i] = 10.0 * _TENS[_i - 1]

# The role of a value, if it is no feature, whose role is its place among the features.
cdef enum:
    MOST_WRONG = 3  # of guesses in a record, which a text without order is spared

cdef enum Role:
    SKIP = -1
    BLANK = -2  # must have no value
    WEIGHT = -3
    NESTED = -4  # an object whose keys are features
    ODD = -5  # its record is not plain
    SPAN = -10  # where it stands is wanted; the second such has -11, and so on
    KEPT = -1000000  # the same of one that stands here once more, with another role; and so on
    CELL = -2000000000  # of the first feature, where a number may mean no value; and so on


cdef inline bint _is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - 48) <= 9


cdef inline uint64_t _word(const void* p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint64_t _word_within(const uint8_t* p, const uint8_t* limit) noexcept nogil:
    """Return eight bytes, and zeros behind a limit."""
    cdef uint64_t word = 0
    if limit - p >= 8:
        return _word(p)
    memcpy(&word, p, limit - p)
    return word


cdef inline const uint8_t* _pass_plain(const uint8_t* p, const uint8_t* limit, uint64_t stop,
                                       uint64_t odd, uint64_t least) noexcept nogil:
    """Pass bytes of at least `least` and at most 126, up to a stop or an odd one.

    Eight at a time, as a processor guesses wrongly where a name ends.
    """
    cdef uint64_t ones = 0x0101010101010101ULL, word, stops, odds, found
    while True:
        word = _word_within(p, limit)
        stops = word ^ stop * ones
        odds = word ^ odd * ones
        # The highest bit of each byte that is not passed, and perhaps of some behind it.
        found = ((stops - ones) & ~stops) | ((odds - ones) & ~odds) | (word - least * ones)
        found = (found | (word + ones) | word) & 0x8080808080808080ULL
        if found:
            return p + (lowest_bit(found) >> 3)
        p += 8


def line_ends(const uint8_t[::1] data):
    """Return where each line ends, behind its newline."""
    cdef ptrdiff_t n = data.shape[0], count = 0, room = 1024
    cdef intptr_t* found = <intptr_t*>realloc(NULL, room * sizeof(intptr_t))
    cdef const uint8_t* start = &data[0] if n else NULL
    cdef const uint8_t* p = start
    cdef intptr_t* more
    cdef intptr_t[::1] out
    try:
        while n and found != NULL:
            p = <const uint8_t*>memchr(p, 10, start + n - p)
            if p == NULL:
                break
            p += 1
            found[count] = p - start
            count += 1
            if count == room:
                room *= 2
                more = <intptr_t*>realloc(found, room * sizeof(intptr_t))
                if more == NULL:
                    raise MemoryError
                found = more
        if found == NULL:
            raise MemoryError
        ends = np.empty(count, np.intp)
        out = ends
        if count:
            memcpy(&out[0], found, count * sizeof(intptr_t))
        return ends
    finally:
        free(found)


def cut(const uint8_t[::1] data, const intptr_t[:, ::1] spans):
    """Return the bytes of each span, None where it ends before it begins."""
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


cdef double _slow(const uint8_t* start, ptrdiff_t length) noexcept nogil:
    """Return a number that the fast way cannot round rightly; NaN if it is too long."""
    cdef char[128] text
    if length > 127:
        return NAN
    memcpy(text, start, length)
    text[length] = 0
    return nearest_double(text)


cdef const uint8_t* _number(const uint8_t* p, const uint8_t* end, bint is_json,
                            double* value) noexcept nogil:
    """Read [+-]digits[.digits][e[+-]digits]; return where it ends, NULL if it is none, or infinite.

    An integer of at most 2^53 times or by a power of ten up to 10^22 is exact in one operation, as
    Clinger showed in 1990; other numbers are for the C library, whose result is the nearest.
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


cdef inline const uint8_t* _small(const uint8_t* p, uint8_t stop,
                                  uint32_t* value) noexcept nogil:
    """Read a whole number of up to three digits in front of a byte; NULL if it is no such one."""
    cdef uint8_t a = p[0] - 48, b, c
    if a > 9:
        return NULL
    if p[1] == stop:
        value[0] = a
        return p + 1
    b = p[1] - 48
    if b > 9 or a == 0:
        return NULL
    if p[2] == stop:
        value[0] = a * 10 + b
        return p + 2
    c = p[2] - 48
    if c > 9 or p[3] != stop:
        return NULL
    value[0] = a * 100 + b * 10 + c
    return p + 3


cdef inline uint32_t _whole(uint32_t digits) noexcept nogil:
    """Return the number that four digits make, of which the lowest byte has the first."""
    digits = (digits * 10 + (digits >> 8)) & 0x00FF00FF
    return (digits * 100 + (digits >> 16)) & 0xFFFF


cdef inline bint _put(Cell* out, double value) noexcept nogil:
    """Write a value; return whether that is possible."""
    if Cell is double:
        out[0] = value
        return True
    else:
        if not (0.0 <= value <= 255.0) or signbit(value):
            return False
        out[0] = <uint8_t>value
        return out[0] == value


cdef inline ptrdiff_t _start(ptrdiff_t begin, const intptr_t* ends, ptrdiff_t i) noexcept nogil:
    return ends[i - 1] if i else begin


cdef inline const uint8_t* _end(const uint8_t* start, const uint8_t* end) noexcept nogil:
    """Return where a record ends, without its newline."""
    if end > start and (end - 1)[0] == 10:
        end -= 1
    if end > start and (end - 1)[0] == 13:
        end -= 1
    return end


cdef inline const uint8_t* _blanks(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and (p[0] == 32 or p[0] == 9):
        p += 1
    return p


cdef class Layout:
    """How the values of records stand that are alike: what is between them, and what they are.

    A record is `literals[0]`, a value, `literals[1]`, a value, and so on. It is of CSV if a
    delimiter is given, else of JSON.
    """

    cdef const uint8_t[::1] literals  # one after another
    cdef const intptr_t[::1] ends  # where each ends
    cdef const intptr_t[::1] roles  # of the values
    # From each value on, how many follow each other that are features in a row, with like literals.
    cdef const intptr_t[::1] runs
    cdef const uint8_t[::1] blanks  # the texts that mean no value, one after another
    cdef const intptr_t[::1] blank_ends
    cdef readonly bint is_json
    cdef bint blanks_first  # whether a number may mean no value
    cdef uint8_t delimiter

    def __init__(self, list literals, roles, blanks, bytes delimiter=b"", bint blanks_first=False):
        cdef ptrdiff_t i, m = len(roles)
        cdef list between = literals[1:]
        runs = np.zeros(m + 1, np.intp)
        # The last literal is none of a run, as a record ends there.
        for i in range(m - 2, -1, -1):
            if roles[i] >= 0:
                follows = roles[i + 1] == roles[i] + 1 and between[i + 1] == between[i]
                runs[i] = 1 + (runs[i + 1] if follows else 0)
        self.literals = _joined(literals)
        self.ends = _ends(literals)
        self.roles = np.array(
            [CELL - role if blanks_first and role >= 0 else role for role in roles], np.intp
        )
        self.runs = runs
        self.blanks = _joined(blanks)
        self.blank_ends = _ends(blanks)
        self.is_json = not delimiter
        self.blanks_first = blanks_first
        self.delimiter = ord(delimiter or b"\0")


def _joined(parts):
    return np.frombuffer(b"".join(parts) + b" ", np.uint8)


def _ends(parts):
    return np.cumsum([len(part) for part in parts]).astype(np.intp)


cdef bint _is_blank(Layout layout, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Whether a text means no value; blanks around it do not count."""
    cdef ptrdiff_t i, begin = 0
    while p < end and p[0] == 32:
        p += 1
    while end > p and (end - 1)[0] == 32:
        end -= 1
    for i in range(layout.blank_ends.shape[0]):
        if layout.blank_ends[i] - begin == end - p and (
            memcmp(&layout.blanks[0] + begin, p, end - p) == 0
        ):
            return True
        begin = layout.blank_ends[i]
    return False


cdef const uint8_t* _field(const uint8_t* p, const uint8_t* end, uint8_t delimiter,
                           const uint8_t** first, const uint8_t** last) noexcept nogil:
    """Return where a field of CSV ends, and its text; NULL if its quotes are not plain."""
    cdef const uint8_t* stop
    if p < end and p[0] == c'"':
        first[0] = p + 1
        stop = <const uint8_t*>memchr(p + 1, c'"', end - p - 1)
        if stop == NULL or (stop + 1 < end and stop[1] != delimiter):
            return NULL
        last[0] = stop
        return NULL if memchr(p, 13, stop - p) != NULL else stop + 1
    first[0] = p
    while p < end and p[0] != delimiter:
        if p[0] == c'"' or p[0] == 13:
            return NULL
        p += 1
    last[0] = p
    return p


cdef const uint8_t* _cell(const uint8_t* p, const uint8_t* end, Layout layout,
                          double* value) noexcept nogil:
    """Read a number of CSV, NaN where there is none; return where its field ends."""
    cdef const uint8_t* stop
    cdef const uint8_t* first
    cdef const uint8_t* last
    if not layout.blanks_first:
        first = p
        while first < end and first[0] == 32:
            first += 1
        stop = _number(first, end, False, value)
        if stop != NULL:
            while stop < end and stop[0] == 32:
                stop += 1
            if stop == end or stop[0] == layout.delimiter:
                return stop
    stop = _field(p, end, layout.delimiter, &first, &last)
    if stop == NULL:
        return NULL
    if _is_blank(layout, first, last):
        value[0] = NAN
        return stop
    while first < last and first[0] == 32:
        first += 1
    while last > first and (last - 1)[0] == 32:
        last -= 1
    if _number(first, last, False, value) == last:
        return stop
    if last - first == 4 and _is_word(first, b"true", 4):
        value[0] = 1.0
        return stop
    if last - first == 5 and _is_word(first, b"false", 5):
        value[0] = 0.0
        return stop
    return NULL


cdef bint _is_word(const uint8_t* p, const char* word, int length) noexcept nogil:
    """Whether ASCII letters are a word in lower case, whatever theirs is."""
    cdef int i
    for i in range(length):
        if (p[i] | 32) != <uint8_t>word[i]:
            return False
    return True


cdef const uint8_t* _string(const uint8_t* p, const uint8_t* end,
                            bint is_utf8) noexcept nogil:
    """Return where a string without escapes ends, behind its quote; NULL if it is another."""
    if p == end or p[0] != c'"':
        return NULL
    p = _pass_plain(p + 1, end, c'"', c"\\", 32)
    while p < end and p[0] != c'"':
        if p[0] < 32 or p[0] == c"\\" or (p[0] > 127 and not is_utf8):
            return NULL
        p += 1
    return p + 1 if p < end else NULL


cdef inline bint _begins(const uint8_t* p, const uint8_t* end, const char* word,
                         ptrdiff_t length) noexcept nogil:
    return end - p >= length and memcmp(p, word, length) == 0


cdef const uint8_t* _scalar(const uint8_t* p, const uint8_t* end, Layout layout, bint is_utf8,
                            double* value) noexcept nogil:
    """Read a value of JSON: NaN for one that means none, and infinity for another text."""
    cdef const uint8_t* stop
    if p < end and p[0] == c'"':
        stop = _string(p, end, is_utf8)
        if stop != NULL:
            value[0] = NAN if _is_blank(layout, p + 1, stop - 1) else INFINITY
        return stop
    if _begins(p, end, b"null", 4):
        value[0] = NAN
        return p + 4
    if _begins(p, end, b"true", 4):
        value[0] = 1.0
        return p + 4
    if _begins(p, end, b"false", 5):
        value[0] = 0.0
        return p + 5
    return _number(p, end, True, value)


cdef inline bint _matches(const uint8_t* p, const uint8_t* literal,
                          ptrdiff_t length) noexcept nogil:
    if length == 1:
        return p[0] == literal[0]
    if length < 8 or length > 16:
        return memcmp(p, literal, length) == 0
    return _word(p) == _word(literal) and _word(p + length - 8) == _word(literal + length - 8)


def table(const uint8_t[::1] data, ptrdiff_t begin, const intptr_t[::1] ends, ptrdiff_t first,
          bint is_utf8, Layout layout, Cell[:, ::1] out, intptr_t[:, :, ::1] spans,
          intptr_t[::1] missing, double[::1] weights):
    """Read records of one layout into the rows of `out` of the same numbers.

    The first line begins at `begin`, and each ends at its `ends`. A feature that is missing is NaN,
    and counted in `missing`.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], k, m = layout.roles.shape[0], length, c
    cdef ptrdiff_t zeros = 0
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef const uint8_t* limit = &data[0] + data.shape[0]
    cdef const uint8_t* a
    cdef const uint8_t* b
    cdef const uint8_t* literals = &layout.literals[0]
    cdef const intptr_t* literal_ends = &layout.ends[0]
    cdef const intptr_t* roles = &layout.roles[0]
    cdef const intptr_t* runs = &layout.runs[0]
    cdef const uint8_t* literal
    cdef Cell* row
    cdef uint32_t small
    cdef double value
    cdef intptr_t role
    cdef uint8_t[16] pattern  # four zeros with what is behind each
    cdef ptrdiff_t run_from = 0, run_to = 0  # the values for which it is
    cdef uint64_t word = 0, last_word = 0
    cdef bint is_json = layout.is_json
    with nogil:
        while i < n:
            p = &data[0] + _start(begin, &ends[0], i)
            end = _end(p, &data[0] + ends[i])
            row = &out[i, 0]
            missing[i] = 0
            weights[i] = 1.0
            length = literal_ends[0]
            if end - p < length or memcmp(p, literals, length) != 0:
                break
            p += length
            k = 0
            while k < m:
                role = roles[k]
                literal = literals + literal_ends[k]
                length = literal_ends[k + 1] - literal_ends[k]
                if role >= 0:
                    if p[0] == 48 and runs[k] >= 4 and length <= 3:
                        if k < run_from or k >= run_to:
                            run_from = k
                            run_to = k + runs[k]
                            zeros = 4 * (1 + length)
                            for c in range(4):
                                pattern[c * (1 + length)] = 48
                                memcpy(pattern + c * (1 + length) + 1, literal, length)
                            word = _word(pattern)
                            last_word = _word(pattern + zeros - 8)
                        if p + zeros <= limit and _word(p) == word and (
                            _word(p + zeros - 8) == last_word
                        ):
                            row[role] = 0
                            row[role + 1] = 0
                            row[role + 2] = 0
                            row[role + 3] = 0
                            p += zeros
                            k += 4
                            continue
                    stop = _small(p, literal[0] if length else end[0], &small)
                    if stop != NULL:
                        if Cell is uint8_t:
                            if small > 255:
                                break
                        row[role] = <Cell>small
                    else:
                        if is_json:
                            stop = _scalar(p, end, layout, is_utf8, &value)
                        else:
                            stop = _cell(p, end, layout, &value)
                        if stop == NULL or value == INFINITY or not _put(&row[role], value):
                            break
                        missing[i] += value != value
                elif role <= CELL:
                    stop = _cell(p, end, layout, &value)
                    if stop == NULL or not _put(&row[CELL - role], value):
                        break
                    missing[i] += value != value
                elif role == WEIGHT:
                    if is_json:
                        stop = _scalar(p, end, layout, is_utf8, &value)
                        if stop != NULL and p[0] != c"n" and not _is_digit(p[0]):
                            break
                    else:
                        stop = _cell(p, end, layout, &value)
                    if stop == NULL or value < 0.0:
                        break
                    weights[i] = 1.0 if value != value else value
                else:
                    if is_json:
                        a = p
                        stop = _scalar(p, end, layout, is_utf8, &value)
                        b = stop
                    else:
                        stop = _field(p, end, layout.delimiter, &a, &b)
                    if stop == NULL:
                        break
                    if role <= KEPT:
                        spans[KEPT - role, i, 0] = a - &data[0]
                        spans[KEPT - role, i, 1] = b - &data[0]
                        stop = p
                    elif role <= SPAN:
                        spans[SPAN - role, i, 0] = a - &data[0]
                        spans[SPAN - role, i, 1] = b - &data[0]
                    elif role == BLANK:
                        if not _is_blank(layout, a, b):
                            break
                        missing[i] += 1
                p = stop
                if end - p < length or not _matches(p, literal, length):
                    break
                p += length
                k += 1
            if k < m or p != end:
                break
            i += 1
    return i


def spans_of(const uint8_t[::1] record, bint is_utf8):
    """Return where each plain value of a record of JSON begins and ends, in an array (m, 2).

    None if it has one that is not plain.
    """
    cdef const uint8_t* start = &record[0]
    cdef const uint8_t* p = start
    cdef const uint8_t* end = _end(p, p + record.shape[0])
    cdef const uint8_t* stop
    cdef double value
    cdef list found = []
    cdef Layout none = Layout([b""], [], [])
    while p < end:
        if p[0] == 32 or p[0] == 9 or memchr(b"{}[]:,", p[0], 6) != NULL:
            p += 1
            continue
        stop = _scalar(p, end, none, is_utf8, &value)
        if stop == NULL:
            return None
        # A string in front of a colon is a key.
        if p[0] != c'"' or _blanks(stop, end) == end or _blanks(stop, end)[0] != c":":
            found.append((p - start, stop - start))
        p = stop
    return np.array(found, np.intp).reshape(-1, 2)


# Half a cache line, as each word of a text is looked for among many.
cdef struct Name:
    uint64_t head  # its first eight bytes
    intptr_t begin  # in the pool
    int32_t length
    int32_t role
    uint32_t stamp  # the record in which it was last
    int32_t after  # the name that last came after it


cdef struct Slot:
    uint32_t name  # and 1 more; 0 for none
    uint32_t tag  # the upper half of its hash


cdef class Names:
    """The names that occur in records, each with its role; a table of hashes, used without the GIL.

    A feature's role is its place: they are numbered as they come.
    """

    cdef uint8_t* pool  # the names, one after another
    cdef Name* items
    cdef Slot* slots
    cdef intptr_t* by_number  # the name that is a number, and 1 more; 0 for none
    cdef ptrdiff_t room, pool_size, pool_room, n_slots, n_numbers
    cdef uint32_t serial
    cdef int n_wrong  # guesses at the next name in this record
    cdef readonly ptrdiff_t n, n_features

    def __dealloc__(self):
        free(self.pool)
        free(self.items)
        free(self.slots)
        free(self.by_number)

    def add(self, bytes name, intptr_t role):
        """Add a name unless it is there; SPAN and the like are roles, any other a feature."""
        cdef const uint8_t* p = name
        cdef const uint8_t* limit = p + len(name)
        if self.find(p, len(name), limit) < 0 and self.append(p, len(name), limit, role) < 0:
            raise MemoryError

    def features(self, ptrdiff_t first):
        """Return the names of features from a place on."""
        cdef ptrdiff_t i
        cdef list found = []
        for i in range(first, self.n):  # no feature stands before its place
            if self.items[i].role >= first:
                found.append(PyBytes_FromStringAndSize(
                    <const char*>self.pool + self.items[i].begin, self.items[i].length
                ))
        return found

    cdef inline intptr_t find(self, const uint8_t* p, ptrdiff_t length,
                              const uint8_t* limit) noexcept nogil:
        """Return the number of a name, -1 if it is not there."""
        cdef uint64_t head = _head(p, length, limit), hash = _hash(head, p, length), place = hash
        cdef Slot slot
        if self.n_slots == 0:
            return -1
        while True:
            slot = self.slots[place & <uint64_t>(self.n_slots - 1)]
            if slot.name == 0:
                return -1
            if slot.tag == hash >> 32 and self.equals(&self.items[slot.name - 1], head, p, length):
                return slot.name - 1
            place += 1

    cdef inline bint equals(self, const Name* name, uint64_t head, const uint8_t* p,
                            ptrdiff_t length) noexcept nogil:
        return name.head == head and name.length == length and (
            length <= 8 or memcmp(self.pool + name.begin + 8, p + 8, length - 8) == 0
        )

    cdef inline intptr_t next_of(self, intptr_t before, const uint8_t* p, const uint8_t* limit,
                                 uint8_t stop) noexcept nogil:
        """Return the name that came after another, if it is the one at p in front of a byte."""
        cdef intptr_t guess
        cdef ptrdiff_t length
        if before < 0 or self.n_wrong == MOST_WRONG or self.items[before].after < 0:
            return -1
        guess = self.items[before].after
        length = self.items[guess].length
        if limit - p > length and p[length] == stop and self.equals(
            &self.items[guess], _head(p, length, limit), p, length
        ):
            return guess
        self.n_wrong += 1
        return -1

    cdef intptr_t append(self, const uint8_t* p, ptrdiff_t length, const uint8_t* limit,
                         intptr_t role) noexcept nogil:
        """Add a name that is not there, a feature if its role is not negative; -1 if memory is
        short.
        """
        cdef Name* name
        if not self.reserve(length):
            return -1
        memcpy(self.pool + self.pool_size, p, length)
        name = &self.items[self.n]
        name.head = _head(p, length, limit)
        name.begin = self.pool_size
        name.length = <int32_t>length
        name.role = <int32_t>(self.n_features if role >= 0 else role)
        name.stamp = 0
        name.after = -1
        self.pool_size += length
        self.n_features += role >= 0
        self.put(self.n)
        self.n += 1
        self.set_number(p, length, self.n)
        return self.n - 1

    cdef void set_number(self, const uint8_t* p, ptrdiff_t length, intptr_t value) noexcept nogil:
        """Note which name is a number, and 1 more, if it is one; without memory do without."""
        cdef const uint8_t* end = p
        cdef ptrdiff_t number = _index(&end, p + length), room, size
        if number < 0 or end != p + length:
            return
        if number >= self.n_numbers:
            room = min(max(1024, 2 * number), 1000000)
            if not _resize(<void**>&self.by_number, room * sizeof(intptr_t)):
                return
            size = (room - self.n_numbers) * sizeof(intptr_t)
            memset(self.by_number + self.n_numbers, 0, size)
            self.n_numbers = room
        self.by_number[number] = value

    cdef void put(self, intptr_t i) noexcept nogil:
        cdef const Name* name = &self.items[i]
        cdef uint64_t hash = _hash(name.head, self.pool + name.begin, name.length), place = hash
        cdef uint64_t last = <uint64_t>(self.n_slots - 1)
        while self.slots[place & last].name:
            place += 1
        self.slots[place & last].name = <uint32_t>(i + 1)
        self.slots[place & last].tag = <uint32_t>(hash >> 32)

    cdef bint reserve(self, ptrdiff_t length) noexcept nogil:
        """Make room for another name; return whether there is."""
        cdef ptrdiff_t room
        if self.n == self.room:
            room = max(64, 2 * self.room)
            if room > 0x7FFFFFFF or not (
                _resize(<void**>&self.items, room * sizeof(Name))
                and _resize(<void**>&self.slots, 2 * room * sizeof(Slot))
            ):
                return False
            self.room = room
            self.n_slots = 2 * room
            self.rebuild()
        if self.pool_size + length > self.pool_room:
            room = max(1024, 2 * (self.pool_size + length))
            if not _resize(<void**>&self.pool, room):
                return False
            self.pool_room = room
        return True

    cdef void rebuild(self) noexcept nogil:
        cdef intptr_t i
        memset(self.slots, 0, self.n_slots * sizeof(Slot))
        for i in range(self.n):
            self.put(i)

    cdef void truncate(self, ptrdiff_t n) noexcept nogil:
        """Forget all names after the first n."""
        cdef intptr_t i
        if n == self.n:
            return
        for i in range(n, self.n):
            self.n_features -= self.items[i].role >= 0
            self.set_number(self.pool + self.items[i].begin, self.items[i].length, 0)
        self.pool_size = self.items[n].begin
        self.n = n
        for i in range(n):
            if self.items[i].after >= n:
                self.items[i].after = -1
        self.rebuild()

    cdef inline bint is_twice(self, intptr_t i) noexcept nogil:
        """Take note of a name; return whether it was in this record before."""
        cdef bint twice = self.items[i].stamp == self.serial
        self.items[i].stamp = self.serial
        return twice


cdef inline uint64_t _head(const uint8_t* p, ptrdiff_t length, const uint8_t* limit) noexcept nogil:
    """Return the first eight bytes of a name, and zeros behind a shorter one."""
    cdef uint64_t word = _word_within(p, limit)
    return word if length >= 8 else word & ((<uint64_t>1 << (8 * length)) - 1)


cdef inline uint64_t _hash(uint64_t head, const uint8_t* p, ptrdiff_t length) noexcept nogil:
    """Return a hash of a name that begins with these eight bytes."""
    cdef uint64_t value = (<uint64_t>length * 0x9E3779B97F4A7C15ULL ^ head) * 0x9E3779B97F4A7C15ULL
    cdef const uint8_t* limit = p + length
    value ^= value >> 32
    p += 8
    while p < limit:
        value = (value ^ _word_within(p, limit)) * 0x9E3779B97F4A7C15ULL
        value ^= value >> 32
        p += 8
    # Once more, so that the last bytes of a name come to the lowest bits, which choose a slot.
    value *= 0x9E3779B97F4A7C15ULL
    return value ^ value >> 32


cdef bint _resize(void** block, size_t size) noexcept nogil:
    cdef void* new = realloc(block[0], size)
    if new != NULL:
        block[0] = new
    return new != NULL


cdef inline ptrdiff_t _index(const uint8_t** p, const uint8_t* end) noexcept nogil:
    """Pass the digits of a number without a zero in front; return it, -1 if it is none or large."""
    cdef const uint8_t* start = p[0]
    cdef ptrdiff_t number = 0
    while p[0] < end and _is_digit(p[0][0]) and p[0] - start < 6:
        number = number * 10 + (p[0][0] - 48)
        p[0] += 1
    if p[0] == start or (start[0] == 48 and p[0] - start > 1):
        return -1
    return number


cdef const uint8_t* _label(const uint8_t* base, const uint8_t* p, const uint8_t* end,
                           intptr_t* span) noexcept nogil:
    """Read the label of a record of LIBSVM, if it has one; return where its pairs begin, or NULL.

    The span of a label ends before it begins where there is none.
    """
    cdef const uint8_t* start = _blanks(p, end)
    p = start
    while p < end and 32 < p[0] < 127 and p[0] != c":" and p[0] != c"#":
        p += 1
    span[0] = start - base
    span[1] = p - base
    if p < end and p[0] == c":":
        span[1] = span[0] - 1
        return start
    return NULL if p == start or (p < end and p[0] != 32 and p[0] != 9) else p


cdef inline const uint8_t* _small_pair(const uint8_t* p, const uint8_t* end, const uint8_t* limit,
                                       uint32_t* index, uint32_t* value) noexcept nogil:
    """Read a pair such as `152:255`, of eight bytes at most; return where it ends, or NULL.

    All bytes are looked at together, as a processor guesses wrongly when a loop over digits ends.
    """
    cdef uint64_t word = _word_within(p, limit), digits, gaps, others
    cdef int colon, gap  # the numbers of bits
    # A bit that digits and colons have, and what may follow a pair has not.
    gaps = ~word & 0x1010101010101010ULL
    if gaps == 0:
        return NULL
    digits = word ^ 0x3030303030303030ULL
    # The highest bit of each byte in front of the gap that is no digit.
    others = ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL
    others &= gaps ^ (gaps - 1)
    if others == 0 or others & (others - 1):
        return NULL
    colon = lowest_bit(others)
    gap = lowest_bit(gaps)
    if not 8 <= colon < 40 or not 8 < gap - colon < 38 or p[colon >> 3] != c":":
        return NULL
    if p[0] == 48 and colon > 15:  # the name is another one than the number
        return NULL
    index[0] = _whole(<uint32_t>digits << (39 - colon))
    value[0] = _whole(<uint32_t>(digits >> (colon + 1)) << (37 - gap + colon))
    p += gap >> 3
    return p if p == end or p[0] == 32 or p[0] == 9 else NULL


def libsvm(const uint8_t[::1] data, ptrdiff_t begin, const intptr_t[::1] ends, ptrdiff_t first,
           Names names, bint is_open, intptr_t[::1] starts, int32_t[::1] columns, double[::1] values,
           intptr_t[:, :, ::1] spans):
    """Read records of LIBSVM; new features are added to `names` if it is open.

    `starts` gets where the features of each row end among all that were read, in the place after
    the row's. The span of a label ends before it begins where there is none.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], count = starts[first], before, n_names
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef const uint8_t* limit = &data[0] + data.shape[0]
    cdef intptr_t name
    cdef uint32_t index, small
    cdef double value
    cdef bint is_good
    with nogil:
        while i < n:
            p = &data[0] + _start(begin, &ends[0], i)
            end = _end(p, &data[0] + ends[i])
            p = _label(&data[0], p, end, &spans[0, i, 0])
            if p == NULL:
                break
            before, n_names, name, is_good = count, names.n, -1, True
            names.serial += 1
            names.n_wrong = 0
            while True:
                p = _blanks(p, end)
                if p == end:
                    break
                is_good = False
                stop = _small_pair(p, end, limit, &index, &small)
                if stop != NULL and index < names.n_numbers and names.by_number[index]:
                    name = names.by_number[index] - 1
                    value = small
                else:
                    name = _next_name(names, name, &p, end, limit, is_open)
                    if name < 0:
                        break
                    stop = _number(p, end, False, &value)
                    if stop == NULL or (stop < end and stop[0] != 32 and stop[0] != 9):
                        break
                if names.is_twice(name):
                    break
                p = stop
                is_good = True
                if names.items[name].role >= 0:
                    columns[count] = <int32_t>names.items[name].role
                    values[count] = value
                    count += 1
            if not is_good:
                count = before
                names.truncate(n_names)
                break
            i += 1
            starts[i] = count
    return i


cdef inline intptr_t _next_name(Names names, intptr_t before, const uint8_t** p,
                                const uint8_t* end, const uint8_t* limit,
                                bint is_open) noexcept nogil:
    """Return the number of the name in front of the next colon, which is passed; -1 for none."""
    cdef const uint8_t* start = p[0]
    cdef const uint8_t* stop = start
    cdef ptrdiff_t index = _index(&stop, end)
    cdef intptr_t name
    if 0 <= index < names.n_numbers and stop[0] == c":" and names.by_number[index]:
        p[0] = stop + 1
        return names.by_number[index] - 1
    stop = start
    name = names.next_of(before, start, limit, c":")
    if name >= 0:
        p[0] = start + names.items[name].length + 1
        return name
    stop = _pass_plain(stop, limit, c":", c"#", 33)
    while stop < end and 32 < stop[0] < 127 and stop[0] != c":" and stop[0] != c"#":
        stop += 1
    if stop == start or stop == end or stop[0] != c":":
        return -1
    name = names.find(start, stop - start, limit)
    if name < 0 and is_open:
        name = names.append(start, stop - start, limit, 0)
    if name >= 0 and before >= 0:
        names.items[before].after = <int32_t>name
    p[0] = stop + 1
    return name


cdef struct Members:
    ptrdiff_t count  # of the features so far
    intptr_t n_missing
    double weight
    bint has_label
    bint has_nested


cdef const uint8_t* _members(const uint8_t* base, const uint8_t* p, const uint8_t* end,
                             const uint8_t* limit, Layout layout, bint is_utf8, Names names,
                             Names nested, bint is_open, bint nested_is_open,
                             int32_t* columns, double* values, intptr_t* spans,
                             ptrdiff_t n_rows, Members* found) noexcept nogil:
    """Read the members of an object behind its brace; return where it ends, NULL if not plain."""
    cdef intptr_t name = -1, before, role
    cdef const uint8_t* stop
    cdef double value
    names.serial += 1
    names.n_wrong = 0
    p = _blanks(p, end)
    if p < end and p[0] == c"}":
        return p + 1
    while True:
        p = _blanks(p, end)
        if p == end or p[0] != c'"':
            return NULL
        before = name
        name = names.next_of(before, p + 1, limit, c'"')
        if name >= 0:
            stop = p + names.items[name].length + 2
        else:
            stop = _string(p, end, is_utf8)
            if stop == NULL:
                return NULL
            name = names.find(p + 1, stop - p - 2, limit)
            if name < 0:
                if not is_open:
                    return NULL
                name = names.append(p + 1, stop - p - 2, limit, 0)
                if name < 0:
                    return NULL
            if before >= 0:
                names.items[before].after = <int32_t>name
        role = names.items[name].role
        if names.is_twice(name) or role == ODD:
            return NULL
        p = _blanks(stop, end)
        if p == end or p[0] != c":":
            return NULL
        p = _blanks(p + 1, end)
        if role == NESTED:
            if p == end or p[0] != c"{":
                return NULL
            found.has_nested = True
            stop = _members(
                base, p + 1, end, limit, layout, is_utf8, nested, nested, nested_is_open,
                nested_is_open, columns, values, spans, n_rows, found,
            )
        else:
            stop = _scalar(p, end, layout, is_utf8, &value)
        if stop == NULL:
            return NULL
        if role >= 0:
            if value != value:
                found.n_missing += 1
            elif value == INFINITY:
                return NULL
            else:
                values[found.count] = value
                columns[found.count] = <int32_t>role
                found.count += 1
        elif role == WEIGHT:
            if p[0] != c"n" and not _is_digit(p[0]):
                return NULL
            found.weight = 1.0 if value != value else value
        elif role <= SPAN:
            spans[(SPAN - role) * 2 * n_rows] = p - base
            spans[(SPAN - role) * 2 * n_rows + 1] = stop - base
            found.has_label = found.has_label or role == SPAN
        p = _blanks(stop, end)
        if p == end:
            return NULL
        if p[0] == c"}":
            return p + 1
        if p[0] != c",":
            return NULL
        p += 1


def objects(const uint8_t[::1] data, ptrdiff_t begin, const intptr_t[::1] ends, ptrdiff_t first,
            bint is_utf8, Layout layout, Names names, Names nested, bint has_nested,
            bint is_open, bint needs_label, intptr_t[::1] starts, int32_t[::1] columns, double[::1] values,
            intptr_t[:, :, ::1] spans, intptr_t[::1] missing, double[::1] weights):
    """Read objects of JSON that have some of the features each; as `libsvm`.

    `nested` has the names in the object that holds the features, if there is one. New features come
    only in records with a label, if any have one.
    """
    cdef ptrdiff_t i = first, n = ends.shape[0], n_names, n_nested
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* limit = &data[0] + data.shape[0]
    cdef Members found
    cdef ptrdiff_t s, n_spans = spans.shape[0]
    with nogil:
        found.count = starts[first]
        while i < n:
            p = &data[0] + _start(begin, &ends[0], i)
            end = _end(p, &data[0] + ends[i])
            p = _blanks(p, end)
            for s in range(n_spans):
                spans[s, i, 0] = 0
                spans[s, i, 1] = -1
            n_names = names.n
            n_nested = nested.n
            found.n_missing = 0
            found.weight = 1.0
            found.has_label = False
            found.has_nested = False
            if p < end and p[0] == c"{":
                p = _members(
                    &data[0], p + 1, end, limit, layout, is_utf8, names, nested,
                    is_open and not has_nested, is_open, &columns[0], &values[0], &spans[0, i, 0], n, &found,
                )
            else:
                p = NULL
            if (
                p == NULL
                or _blanks(p, end) != end
                or found.has_label != needs_label
                or found.has_nested != has_nested
                or (found.count == starts[i] and found.n_missing == 0)
                or (not needs_label and names.n > n_names)
            ):
                names.truncate(n_names)
                nested.truncate(n_nested)
                found.count = starts[i]
                break
            missing[i] = found.n_missing
            weights[i] = found.weight
            i += 1
            starts[i] = found.count
    return i
