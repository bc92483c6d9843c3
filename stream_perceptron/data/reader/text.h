/* What a string means, and what numbers are called as categories, for all formats and for Python. */

#ifndef TEXT_H
#define TEXT_H

#include <math.h>

#include <Python.h>

#include "table.h"

/* A string of more words is not a category. */
enum { MAX_CATEGORY_WORDS = 3 };

static const char *const WEEKDAYS[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday"};
static const double DAYS_PER_YEAR = 365.0;

typedef struct {
    uint8_t *bytes;
    ptrdiff_t n, room;
} Buffer;

/* A date; the hour is -1 if it has no time. */
typedef struct {
    int hour, month, days; /* since 2020-01-01 */
} Date;

/* Uses a feature of a string, given its name. */
typedef int (*UseFeature)(void *self, const Buffer *name, double value);

/* Make room for n more bytes. */
static int reserve_bytes(Buffer *b, ptrdiff_t n) {
    if (b->n + n <= b->room) return 1;
    const ptrdiff_t room = 2 * (b->n + n);
    if (!resize(&b->bytes, room)) return 0;
    b->room = room;
    return 1;
}

static int add_bytes(Buffer *b, const void *from, ptrdiff_t n) {
    if (!reserve_bytes(b, n + 8)) return 0;
    if (n) memcpy(b->bytes + b->n, from, n);
    b->n += n;
    return 1;
}

/* --- Bytes */

static inline const uint8_t *skip_spaces(const uint8_t *p) {
    while (*p == ' ' || *p == '\t' || *p == '\r') p++;
    return p;
}

/* Skip bytes from `min_byte` to 126 that are neither `stop` nor `other_stop`, eight at a time. */
static inline const uint8_t *skip_plain(const uint8_t *p, const uint8_t *limit, uint64_t stop,
                                        uint64_t other_stop, uint64_t min_byte) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;; p += 8) {
        const uint64_t word = load_word(p, limit);
        const uint64_t stops = word ^ stop * ones, other_stops = word ^ other_stop * ones;
        uint64_t is_stop = ((stops - ones) & ~stops) | ((other_stops - ones) & ~other_stops);
        is_stop = (is_stop | (word - min_byte * ones) | (word + ones) | word) & HIGH_BITS;
        if (is_stop) return p + (__builtin_ctzll(is_stop) >> 3);
    }
}

/* --- UTF-8 */

/* Return the end of a non-ASCII character in UTF-8; NULL if the character is invalid. */
static const uint8_t *skip_character(const uint8_t *p, const uint8_t *end) {
    const uint8_t first = *p;
    const int n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || end - p < n) return NULL;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return NULL;
    if ((first == 0xE0 && p[1] < 0xA0) || (first == 0xED && p[1] > 0x9F) ||
        (first == 0xF0 && p[1] < 0x90) || (first == 0xF4 && p[1] > 0x8F))
        return NULL; /* overlong encodings, surrogates, and code points above U+10FFFF */
    return p + n;
}

static inline int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        if (!(load_word(p, end) & HIGH_BITS))
            p += 8;
        else if (*p < 128)
            p++;
        else if ((p = skip_character(p, end)) == NULL)
            return 0;
    }
    return 1;
}

/* Return the character at p in valid UTF-8, and move p to its end. */
static inline Py_UCS4 read_character(const uint8_t **p) {
    const uint8_t *q = *p;
    const int n = *q < 0x80 ? 1 : *q < 0xE0 ? 2 : *q < 0xF0 ? 3 : 4;
    Py_UCS4 c = n == 1 ? *q : *q & (0x7Fu >> n);
    for (int i = 1; i < n; i++) c = c << 6 | (q[i] & 0x3F);
    *p += n;
    return c;
}

/* Write a character in UTF-8; return its end. */
static inline uint8_t *write_character(uint8_t *p, Py_UCS4 c) {
    const int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) p[i] = 0x80 | (c & 0x3F);
    *p = (uint8_t)((n == 1 ? 0 : 0xF00 >> n) | c);
    return p + n;
}

/* Return whether a character is a space; `Py_UNICODE_ISSPACE` may be a macro that uses its argument twice. */
static inline int is_unicode_space(Py_UCS4 c) { return Py_UNICODE_ISSPACE(c); }

/* Remove the spaces around a text in valid UTF-8, as `str.strip` does. */
static inline void trim(const uint8_t **from, const uint8_t **to) {
    for (const uint8_t *p = *from; p < *to && is_unicode_space(read_character(&p));) *from = p;
    while (*from < *to) {
        const uint8_t *last = *to - 1, *p;
        while ((*last & 0xC0) == 0x80) last--;
        p = last;
        if (!is_unicode_space(read_character(&p))) return;
        *to = last;
    }
}

/* Return the code unit that four hexadecimal digits spell. */
static inline Py_UCS4 read_hex(const uint8_t *p) {
    Py_UCS4 c = 0;
    for (int i = 0; i < 4; i++) c = c << 4 | (p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return c;
}

/* Decode the escapes of a valid JSON string; return the end, or NULL after half of a surrogate pair. */
static inline uint8_t *decode_escapes(const uint8_t *p, const uint8_t *end, uint8_t *out) {
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        const char *const control = strchr("b\bf\fn\nr\rt\t", p[1]);
        p += 2;
        if (p[-1] != 'u') {
            *out++ = control ? control[1] : p[-1];
            continue;
        }
        Py_UCS4 c = read_hex(p);
        p += 4;
        if (c >> 10 == 0xD800 >> 10 && end - p >= 6 && *p == '\\' && p[1] == 'u') {
            const Py_UCS4 low = read_hex(p + 2);
            if (low >> 10 == 0xDC00 >> 10) {
                c = 0x10000 + ((c & 0x3FF) << 10 | (low & 0x3FF));
                p += 6;
            }
        }
        if (c >> 11 == 0xD800 >> 11) return NULL;
        out = write_character(out, c);
    }
    return out;
}

/* --- Dates */

static int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static inline int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

/* Return whether a text is a word in lower case, ignoring the case of the text. */
static inline int matches_word(const uint8_t *p, const uint8_t *end, const char *word) {
    for (; p < end && *word; p++, word++)
        if ((*p | 32) != (uint8_t)*word) return 0;
    return p == end && !*word;
}

/* Read two digits, and move p to their end; return -1 if there are none, or if they exceed `max`. */
static int read_pair(const uint8_t **p, const uint8_t *end, int max) {
    const uint8_t *q = *p;
    if (end - q < 2 || !is_digit(q[0]) || !is_digit(q[1])) return -1;
    const int n = 10 * (q[0] - '0') + q[1] - '0';
    if (n > max) return -1;
    *p += 2;
    return n;
}

/* Read a time of day and its zone, which is ignored; return its hour, or -1 if it is not ISO 8601. */
static int read_time(const uint8_t *p, const uint8_t *end) {
    const int hour = read_pair(&p, end, 23);
    if (hour < 0) return -1;
    const int has_colon = p < end && *p == ':';
    const uint8_t *q = p + has_colon;
    if (read_pair(&q, end, 59) >= 0) {
        p = q;
        q += has_colon;
        if ((!has_colon || (p < end && *p == ':')) && read_pair(&q, end, 69) >= 0) {
            p = q;
            if (end - p > 1 && (*p == '.' || *p == ',') && is_digit(p[1]))
                for (p++; p < end && is_digit(*p);) p++;
        }
    }
    if (p < end && is_space(*p)) p++;
    if (p < end && *p == 'Z') {
        p++;
    } else if (p < end && (*p == '+' || *p == '-')) {
        p++;
        if (read_pair(&p, end, 23) < 0) return -1;
        q = p + (p < end && *p == ':');
        if (read_pair(&q, end, 59) >= 0) p = q;
    }
    return p == end ? hour : -1;
}

/* Read a date in ISO 8601 with dashes, with or without a time; return whether there is one. */
static int read_date(const uint8_t *p, const uint8_t *end, Date *date) {
    const uint8_t *const start = p;
    if (end - p < 10 || p[4] != '-' || p[7] != '-') return 0;
    const int century = read_pair(&p, end, 99), year = 100 * century + read_pair(&p, end, 99);
    p++;
    const int month = read_pair(&p, end, 12);
    p++;
    const int day = read_pair(&p, end, 31);
    if (p - start != 10 || year < 1 || month < 1 || day < 1) return 0;
    const int is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > (month == 2 ? 28 + is_leap : 30 + ((month + (month > 7)) & 1))) return 0;
    date->hour = -1;
    if (p < end) {
        if (*p != 'T' && *p != ' ') return 0;
        date->hour = read_time(p + 1, end);
        if (date->hour < 0) return 0;
    }
    date->month = month;
    /* Years begin in March, so that a leap day is the last day of its year. */
    const int y = year - (month < 3), m = month + (month < 3 ? 9 : -3);
    date->days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 737730;
    return 1;
}

/* Use a part of a date, named by a label and a word or a number of at most two digits. */
static int use_part(Buffer *name, UseFeature use, void *self, const char *label, const char *word,
                    int number, double value) {
    const ptrdiff_t n = name->n;
    const char digits[] = {(char)('0' + number / 10), (char)('0' + number % 10)};
    const int is_short = number < 10, n_digits = word ? 0 : 2 - is_short;
    const int is_used = add_bytes(name, label, strlen(label)) &&
                        add_bytes(name, word, word ? strlen(word) : 0) &&
                        add_bytes(name, digits + is_short, n_digits) && use(self, name, value);
    name->n = n;
    return is_used;
}

/* Add the decimal of an index, which is not negative. */
static inline int add_index(Buffer *b, int32_t i) {
    char digits[10];
    int n = 0;
    do digits[9 - n++] = (char)('0' + i % 10);
    while (i /= 10);
    return add_bytes(b, digits + 10 - n, n);
}

/* --- Words */

static inline int is_word_byte(uint8_t byte) {
    return is_digit(byte) || ((byte | 32) >= 'a' && (byte | 32) <= 'z');
}

/* Write the next word in lower case, and move p to its end; return where the written word ends: at `out`
   if there is none. A word is a run of letters and digits of `str.lower`. */
static uint8_t *write_word(const uint8_t **p, const uint8_t *end, uint8_t *out) {
    const uint8_t *q = *p;
    uint8_t *const first = out;
    while (q < end) {
        const uint8_t *next = q + 1;
        int is_word = is_word_byte(*q), is_last = 0;
        if (*q < 128) {
            if (is_word) *out++ = *q | 32;
        } else {
            next = q;
            Py_UCS4 c = read_character(&next);
            is_last = c == 0x130; /* its lower case is i and a combining dot, which ends the word */
            c = is_last ? 'i' : Py_UNICODE_TOLOWER(c);
            is_word = Py_UNICODE_ISALNUM(c);
            if (is_word) out = write_character(out, c);
        }
        q = next;
        if ((!is_word && out > first) || is_last) break;
    }
    *p = q;
    return out;
}

/* Write `str.lower` of a text with a capital sigma, whose lower case depends on its neighbors. */
static int write_lower(const uint8_t *from, const uint8_t *to, Buffer *lower) {
    const PyGILState_STATE state = PyGILState_Ensure();
    PyObject *text = PyUnicode_DecodeUTF8((const char *)from, to - from, "surrogatepass"), *result = NULL;
    if (text) result = PyObject_CallMethod(text, "lower", NULL);
    Py_XDECREF(text);
    text = result ? PyUnicode_AsEncodedString(result, "utf-8", "surrogatepass") : NULL;
    const int is_written = text && add_bytes(lower, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text));
    Py_XDECREF(result);
    Py_XDECREF(text);
    PyErr_Clear();
    PyGILState_Release(state);
    return is_written;
}

static int use_words(const uint8_t *p, const uint8_t *end, Buffer *name, UseFeature use, void *self) {
    const ptrdiff_t n = name->n;
    Buffer lower = {NULL, 0, 0};
    for (const uint8_t *q = p; (q = memchr(q, 0xCE, end - q)) != NULL; q++)
        if (end - q > 1 && q[1] == 0xA3) {
            if (!write_lower(p, end, &lower)) return 0;
            p = lower.bytes;
            end = p + lower.n;
            break;
        }
    int is_used = reserve_bytes(name, 2 * (end - p) + 8);
    while (is_used) {
        uint8_t *const first = name->bytes + n, *const last = write_word(&p, end, first);
        if (last == first) break;
        name->n = last - name->bytes;
        is_used = use(self, name, 1.0);
    }
    name->n = n;
    free(lower.bytes);
    return is_used;
}

/* Use the features of a string, given without the spaces around it; `name` begins with its column. */
static int encode_text(const uint8_t *from, const uint8_t *to, Buffer *name, UseFeature use, void *self) {
    Date date;
    const ptrdiff_t n = name->n;
    if (read_date(from, to, &date))
        return (date.hour < 0 || use_part(name, use, self, ".hour=", NULL, date.hour, 1.0)) &&
               use_part(name, use, self, ".weekday=", WEEKDAYS[(date.days % 7 + 9) % 7], 0, 1.0) &&
               use_part(name, use, self, ".month=", NULL, date.month, 1.0) &&
               use_part(name, use, self, ".days", "", 0, date.days / DAYS_PER_YEAR);
    if (!add_bytes(name, "=", 1) || !reserve_bytes(name, 2 * (to - from) + 8)) return 0;
    int n_words = 0;
    uint8_t *const word = name->bytes + name->n;
    for (const uint8_t *p = from; n_words <= MAX_CATEGORY_WORDS && write_word(&p, to, word) > word;)
        n_words++;
    const int is_used = n_words > MAX_CATEGORY_WORDS ? use_words(from, to, name, use, self)
                                                     : add_bytes(name, from, to - from) && use(self, name, 1.0);
    name->n = n;
    return is_used;
}

/* --- Numbers as categories */

/* Add the shortest decimal of a number, as Python's `repr`; a whole number has no point and no exponent. */
static int add_decimal(Buffer *b, double number) {
    const PyGILState_STATE state = PyGILState_Ensure();
    /* Adding 0 turns -0 into 0. */
    char *const text = PyOS_double_to_string(number + 0.0, number == floor(number) ? 'f' : 'r', 0, 0, NULL);
    const int is_added = text && add_bytes(b, text, strlen(text));
    PyMem_Free(text);
    PyErr_Clear();
    PyGILState_Release(state);
    return is_added;
}

/* Add the name of a number, given its spelling: that of a whole number without a plus sign, or the shortest decimal.
   Numbers that are not finite or begin with zeros, such as codes, keep their spelling. */
static int add_number(Buffer *b, const uint8_t *from, const uint8_t *to, double number) {
    const int is_signed = from < to && (*from == '+' || *from == '-');
    const uint8_t *const digits = from + is_signed, *end = digits;
    while (end < to && is_digit(*end)) end++;
    if (!isfinite(number) || (end - digits > 1 && *digits == '0')) return add_bytes(b, from, to - from);
    if (end < to || number == 0.0) return add_decimal(b, number);
    from += is_signed && *from == '+';
    return add_bytes(b, from, to - from);
}

#endif
