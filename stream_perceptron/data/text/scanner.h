/* Scanners for CSV, JSON and LIBSVM, which split records into cells without interpreting them.

   A record that is not well-formed, or cannot be read with certainty, is deferred to Python; its cells
   are null or missing. Each record ends with a newline, at which all searches stop. */

#ifndef SCANNER_H
#define SCANNER_H

#include <math.h>

#include "names.h"

enum { NUL, NUMBER, BOOL, TEXT, LIST_HEAD, OBJECT_HEAD };

enum { MAX_PATH = 1024, MAX_DEPTH = 64, MAX_KEYS = 64 };

/* Cells, without names. Numbers are stored as bytes as long as all are whole numbers from 0 to 255, which
   takes an eighth of the memory and time. */
typedef struct {
    ptrdiff_t m, room;       /* the number of cells, and the room for them */
    uint8_t *kinds;          /* (room,) */
    int32_t *begins;         /* (room,), where each cell's content begins in the data */
    uint8_t *bytes;          /* (room,), 0 for a cell that is not a number */
    double *numbers;         /* (room,), NaN for a cell that is not a number; written unless `are_bytes` */
    int are_bytes, is_full;
} CellArrays;

/* A block of records, and where to write their cells. */
typedef struct {
    const uint8_t *data, *limit;
    ptrdiff_t begin, n;      /* the start of the first record, and the number of records */
    const intptr_t *ends;    /* (n,), the end of each record, after its newline */
    Names *names;            /* of all records so far; NULL for CSV */
    int has_named_cells;         /* whether cells have names, as in JSON */
    ptrdiff_t n_fields;      /* of a CSV record */
    uint8_t delimiter, decimal;
    intptr_t *starts;        /* (n + 1,), written */
    uint8_t *is_deferred;         /* (n,), written */
    CellArrays cells;
    int32_t *name_ids;       /* of the cells in JSON, and of the members in LIBSVM */
    /* The members of lists, in the order of the lists; the pairs of a LIBSVM record form a list. */
    CellArrays members;
    intptr_t *list_starts;   /* (cells.room + 1,), written except for CSV */
    ptrdiff_t n_lists;
    /* State of the current record. */
    ptrdiff_t last;          /* the ID of the previous name; -1 for none */
    const uint8_t *end;
    int is_full;             /* whether a cell did not fit */
    uint8_t path[MAX_PATH + 8];
} Scanner;

static inline const uint8_t *skip_spaces(const uint8_t *p) {
    while (*p <= ' ' && (*p == ' ' || *p == '\t')) p++;
    return p;
}

static inline int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Skip bytes from `min_byte` to 126 that are neither `stop` nor `other_stop`, eight at a time, to avoid
   mispredicted branches at the ends of names. */
static inline const uint8_t *skip_plain(const uint8_t *p, const uint8_t *limit, uint64_t stop,
                                        uint64_t other_stop, uint64_t min_byte) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;; p += 8) {
        const uint64_t word = load_word(p, limit);
        const uint64_t stops = word ^ stop * ones, other_stops = word ^ other_stop * ones;
        /* The highest bit of each byte to stop at, and perhaps of bytes after it. */
        uint64_t is_stop = ((stops - ones) & ~stops) | ((other_stops - ones) & ~other_stops);
        is_stop = (is_stop | (word - min_byte * ones) | (word + ones) | word) & HIGH_BITS;
        if (is_stop) return p + (__builtin_ctzll(is_stop) >> 3);
    }
}

/* Return the end of a non-ASCII character in UTF-8; NULL if the character is invalid. */
static const uint8_t *skip_character(const uint8_t *p, const uint8_t *end) {
    const uint8_t first = *p;
    const int n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || end - p < n) return NULL;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return NULL;
    /* Overlong encodings, surrogates, and code points above U+10FFFF. */
    if ((first == 0xE0 && p[1] < 0xA0) || (first == 0xED && p[1] > 0x9F) ||
        (first == 0xF0 && p[1] < 0x90) || (first == 0xF4 && p[1] > 0x8F))
        return NULL;
    return p + n;
}

/* Store numbers as doubles from now on; convert those written so far. */
static void widen_numbers(CellArrays *c) {
    for (ptrdiff_t i = 0; i < c->m; i++)
        c->numbers[i] = c->kinds[i] == NUMBER || c->kinds[i] == BOOL ? (double)c->bytes[i] : NAN;
    c->are_bytes = 0;
}

/* Write a cell with a number from 0 to 255, or with 0 if the cell is not a number. There must be
   room for it. */
static inline void put_byte(CellArrays *c, int kind, uint8_t number, const uint8_t *from,
                            const uint8_t *data) {
    c->kinds[c->m] = (uint8_t)kind;
    c->begins[c->m] = (int32_t)(from - data);
    if (c->are_bytes)
        c->bytes[c->m] = number;
    else
        c->numbers[c->m] = kind == NUMBER || kind == BOOL ? (double)number : NAN;
    c->m++;
}

/* Write a cell. There must be room for it. */
static inline void put_number(CellArrays *c, int kind, double number, const uint8_t *from,
                              const uint8_t *data) {
    if (c->are_bytes) {
        const int is_number = kind == NUMBER || kind == BOOL;
        const uint8_t byte = is_number && number >= 0 && number <= 255 ? (uint8_t)number : 0;
        if (!is_number || (byte == number && !signbit(number))) {
            put_byte(c, kind, byte, from, data);
            return;
        }
        widen_numbers(c);
    }
    c->kinds[c->m] = (uint8_t)kind;
    c->begins[c->m] = (int32_t)(from - data);
    c->numbers[c->m++] = number;
}

/* Whether there is room for one more cell. */
static inline int has_room(Scanner *s, CellArrays *c) {
    if (c->m < c->room) return 1;
    s->is_full = c->is_full = 1;
    return 0;
}

/* Write a cell with a name, or a member of the last list if `name` is -1. */
static inline void put_cell(Scanner *s, ptrdiff_t name, int kind, double number, const uint8_t *from) {
    CellArrays *c = name < 0 ? &s->members : &s->cells;
    if (!has_room(s, c)) return;
    if (name >= 0 && s->has_named_cells) s->name_ids[c->m] = (int32_t)name;
    put_number(c, kind, number, from, s->data);
}

/* --- CSV */

static int is_word(const uint8_t *p, const uint8_t *end, const char *word) {
    for (; p < end && *word; p++, word++)
        if ((*p | 32) != (uint8_t)*word) return 0;
    return p == end && !*word;
}

static inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* Return whether a text is a number, even if `read_number` cannot round it with certainty. */
static int is_number(const uint8_t *p, const uint8_t *end, uint8_t decimal) {
    if (p < end && (*p == '+' || *p == '-')) p++;
    const uint8_t *start = p;
    p = skip_digits(p, end);
    ptrdiff_t n = p - start;
    if (p < end && *p == decimal) {
        start = ++p;
        p = skip_digits(p, end);
        n += p - start;
    }
    if (n == 0) return 0;
    if (p < end && (*p | 32) == 'e') {
        if (++p < end && (*p == '+' || *p == '-')) p++;
        start = p;
        p = skip_digits(p, end);
        if (p == start) return 0;
    }
    return p == end;
}

/* Return the kind of a CSV field and set its number; return -1 to defer the record. */
static int classify_field(const Scanner *s, const uint8_t *p, const uint8_t *end, double *number) {
    *number = NAN;
    const uint8_t *from = p, *to = end;
    while (from < to && *from == ' ') from++;
    while (to > from && to[-1] == ' ') to--;
    const uint8_t *first = from, *last = to;
    while (first < last && is_space(*first)) first++;
    while (last > first && is_space(last[-1])) last--;
    if (first == last) return NUL;
    if (last - first == 4 && is_word(first, last, "true")) return *number = 1.0, BOOL;
    if (last - first == 5 && is_word(first, last, "false")) return *number = 0.0, BOOL;
    const uint8_t *comma = s->decimal == ',' ? memchr(from, ',', to - from) : NULL;
    if (comma != NULL) {
        /* Replace the decimal comma with a point to read the number. */
        uint8_t copy[64];
        if (to - from >= (ptrdiff_t)sizeof copy) return is_number(from, to, ',') ? -1 : TEXT;
        memcpy(copy, from, to - from);
        copy[comma - from] = '.';
        copy[to - from] = '\n';
        if (memchr(copy, ',', to - from) == NULL &&
            read_number(copy, copy + sizeof copy, 0, number) == copy + (to - from))
            return NUMBER;
        *number = NAN;
        return is_number(from, to, ',') ? -1 : TEXT;
    }
    if (read_number(from, s->limit, 0, number) == to) return NUMBER;
    *number = NAN;
    return is_number(from, to, '.') ? -1 : TEXT;
}

/* Read the fields of a CSV record; return whether it is well-formed and has `n_fields` fields. */
static int scan_fields(Scanner *s, const uint8_t *p) {
    const ptrdiff_t d = s->n_fields;
    const uint8_t *end = s->end, delimiter = s->delimiter;
    const int are_spaces = delimiter == ' ';
    CellArrays *cells = &s->cells;
    const ptrdiff_t start = cells->m;
    /* Locals, because a compiler must assume that writing a byte may change any other memory. */
    uint8_t *const kinds = cells->kinds + start, *const bytes = cells->bytes + start;
    int32_t *const begins = cells->begins + start;
    const uint8_t *const data = s->data;
    int are_bytes = cells->are_bytes;
    const uint64_t zeros = (0x30 | (uint64_t)delimiter << 8) * UINT64_C(0x0001000100010001);
    if (are_spaces) {
        while (end > p && end[-1] == ' ') end--;
        if (p == end) return 0;
    }
    for (ptrdiff_t c = 0;; p++) {
        uint64_t whole;
        if (are_spaces)
            while (p < end && *p == ' ') p++;
        if (are_bytes && c + 4 <= d && load_word(p, s->limit) == zeros) {
            /* Four zeros, which are frequent in images and counts. */
            memset(kinds + c, NUMBER, 4);
            memset(bytes + c, 0, 4);
            for (int i = 0; i < 4; i++) begins[c + i] = (int32_t)(p - data) + 2 * i;
            c += 4;
            p += 7;
            continue;
        }
        const uint8_t *stop = c < d ? read_short_integer(p, delimiter, &whole) : NULL;
        if (stop != NULL) {
            if (whole <= 255 && are_bytes) {
                kinds[c] = NUMBER;
                begins[c] = (int32_t)(p - data);
                bytes[c] = (uint8_t)whole;
            } else {
                cells->m = start + c;
                put_number(cells, NUMBER, (double)whole, p, data);
                are_bytes = cells->are_bytes;
            }
            c++;
            p = stop;
            continue;
        }
        const uint8_t *const begin = p;
        double number = NAN;
        int kind = NUMBER;
        stop = c < d ? read_number(p, s->limit, 0, &number) : NULL;
        if (stop != NULL && (stop == end || *stop == delimiter)) {
            p = stop;
        } else {
            const uint8_t *from = p, *to;
            int has_doubled_quotes = 0;
            if (p < end && *p == '"') {
                for (from = ++p;; p++) {
                    p = memchr(p, '"', end - p);
                    if (p == NULL) return 0;
                    if (p + 1 == end || p[1] != '"') break;
                    has_doubled_quotes = 1;
                    p++;
                }
                to = p++;
                if (p < end && *p != delimiter) return 0;
            } else {
                while (p < end && *p != delimiter && *p != '\r' && *p != '\n') p++;
                to = p;
                if (p < end && *p != delimiter) return 0;
            }
            if (c == d) return 0;
            number = NAN;
            kind = has_doubled_quotes ? TEXT : classify_field(s, from, to, &number);
            if (kind < 0) return 0;
        }
        cells->m = start + c;
        put_number(cells, kind, number, begin, data);
        are_bytes = cells->are_bytes;
        c++;
        if (p == end) {
            cells->m = start + c;
            return c == d;
        }
    }
}

/* --- JSON */

static int parse_hex(const uint8_t *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const uint8_t c = p[i], letter = c | 32;
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            value = value * 16 + (letter - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Read the escape at a backslash: return its end, or NULL if it is invalid, and set its
   character. */
static const uint8_t *read_escape(const uint8_t *p, const uint8_t *end, uint32_t *character) {
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2) return NULL;
    const char *letter = p[1] ? strchr(letters, p[1]) : NULL;
    if (letter != NULL) {
        *character = (uint8_t)values[letter - letters];
        return p + 2;
    }
    if (p[1] != 'u' || end - p < 6) return NULL;
    const int high = parse_hex(p + 2);
    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF)) return NULL;
    *character = (uint32_t)high;
    if (high < 0xD800 || high > 0xDFFF) return p + 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u') return NULL;
    const int low = parse_hex(p + 8);
    if (low < 0xDC00 || low > 0xDFFF) return NULL;
    *character = 0x10000 + (((uint32_t)high - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
    return p + 12;
}

/* Return the end of a string, after its closing quote, or NULL if it is invalid; set
   `has_escapes`. */
static const uint8_t *read_string(const Scanner *s, const uint8_t *p, int *has_escapes) {
    *has_escapes = 0;
    for (p++;;) {
        p = skip_plain(p, s->limit, '"', '\\', 32);
        if (p >= s->end || *p < 32) return NULL;
        if (*p == '"') return p + 1;
        uint32_t character;
        if (*p == '\\') {
            p = read_escape(p, s->end, &character);
            *has_escapes = 1;
        } else {
            p = *p == 127 ? p + 1 : skip_character(p, s->end);
        }
        if (p == NULL) return NULL;
    }
}

static ptrdiff_t encode_utf8(uint32_t c, uint8_t *to) {
    if (c < 0x80) return to[0] = (uint8_t)c, 1;
    if (c < 0x800) return to[0] = 0xC0 | c >> 6, to[1] = 0x80 | (c & 63), 2;
    if (c < 0x10000)
        return to[0] = 0xE0 | c >> 12, to[1] = 0x80 | (c >> 6 & 63), to[2] = 0x80 | (c & 63), 3;
    to[0] = 0xF0 | c >> 18, to[1] = 0x80 | (c >> 12 & 63);
    to[2] = 0x80 | (c >> 6 & 63), to[3] = 0x80 | (c & 63);
    return 4;
}

/* Append a key (from p to stop, without its quotes) to a path of `length` bytes; return the new
   length, or -1 if it is too long. */
static ptrdiff_t append_key(Scanner *s, ptrdiff_t length, const uint8_t *p, const uint8_t *stop,
                            int has_escapes) {
    if (length + (stop - p) + 1 > MAX_PATH) return -1;
    if (!has_escapes) {
        /* Copy whole words, because most keys are short; the path has room for one more word. */
        for (const uint8_t *from = p; from < stop; from += 8) {
            const uint64_t word = load_word(from, s->limit);
            memcpy(s->path + length + (from - p), &word, 8);
        }
        return length + (stop - p);
    }
    while (p < stop) {
        uint32_t character;
        if (*p == '\\') {
            p = read_escape(p, stop, &character);
            length += encode_utf8(character, s->path + length);
        } else {
            s->path[length++] = *p++;
        }
    }
    return length;
}

/* Return the ID of a name, adding the name if it is new; -1 if memory runs out. */
static ptrdiff_t intern_name(Scanner *s, const uint8_t *path, ptrdiff_t length, const uint8_t *limit) {
    ptrdiff_t name = find_name(s->names, path, length, limit);
    if (name < 0) name = add_name(s->names, path, length, limit);
    if (name >= 0 && s->last >= 0) s->names->items[s->last].next = (int32_t)name;
    return name;
}

static const uint8_t *scan_value(Scanner *s, const uint8_t *p, ptrdiff_t name, ptrdiff_t length,
                                 int depth);

/* Read the members of an object; their names follow the first `length` bytes of the path. */
static const uint8_t *scan_object(Scanner *s, const uint8_t *p, ptrdiff_t length, int depth) {
    CellArrays *cells = &s->cells;
    uint8_t *const kinds = cells->kinds, *const bytes = cells->bytes;
    int32_t *const begins = cells->begins, *const name_ids = s->name_ids;
    const uint8_t *const data = s->data;
    const ptrdiff_t room = cells->room;
    Names *const names = s->names;
    if (depth > MAX_DEPTH) return NULL;
    p = skip_spaces(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = skip_spaces(p + 1)) {
        if (*p != '"') return NULL;
        ptrdiff_t name = length ? -1 : guess_name(names, s->last, p + 1, s->limit, '"');
        const uint8_t *key = p + 1, *stop;
        ptrdiff_t whole = -1; /* the length of the path, once it is written */
        if (name >= 0) {
            stop = p + names->items[name].length + 2;
        } else {
            int has_escapes;
            stop = read_string(s, p, &has_escapes);
            if (stop == NULL) return NULL;
            const ptrdiff_t key_length = stop - 1 - key;
            if (!length && !has_escapes) {
                name = intern_name(s, key, key_length, s->limit);
            } else if (length >= 8 && length + key_length <= 16 && key_length && key_length < 8 &&
                       !has_escapes) {
                name = find_joined_name(names, s->path, length, key, key_length, s->limit);
            }
            if (name < 0) {
                whole = append_key(s, length, key, stop - 1, has_escapes);
                if (whole < 0) return NULL;
                name = intern_name(s, s->path, whole, s->path + MAX_PATH);
            }
            if (name < 0) return NULL;
        }
        if (check_and_stamp(&names->items[name].stamp, names->serial)) return NULL;
        s->last = name;
        p = skip_spaces(stop);
        if (*p != ':') return NULL;
        p = skip_spaces(p + 1);
        uint64_t number;
        stop = read_short_integer(p, ',', &number);
        if (stop != NULL) {
            const ptrdiff_t m = cells->m;
            if (number <= 255 && cells->are_bytes && m < room) {
                name_ids[m] = (int32_t)name;
                begins[m] = (int32_t)(p - data);
                kinds[m] = NUMBER;
                bytes[m] = (uint8_t)number;
                cells->m = m + 1;
            } else {
                put_cell(s, name, NUMBER, (double)number, p);
            }
            p = stop;
            continue;
        }
        if (*p == '{' && whole < 0) {
            whole = names->items[name].length;
            if (whole + 1 > MAX_PATH) return NULL;
            memcpy(s->path, names->pool + names->items[name].begin, whole);
        }
        p = scan_value(s, p, name, whole, depth);
        if (p == NULL) return NULL;
        p = skip_spaces(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
    }
}

static const uint8_t *skip_value(const Scanner *s, const uint8_t *p, int depth, int is_in_object,
                                 int *depth_of_members);

/* Return the end of an object, without writing cells. Return NULL also if it has too many keys to
   compare, or keys with escapes, which may be duplicates. */
static const uint8_t *skip_object(const Scanner *s, const uint8_t *p, int depth) {
    const uint8_t *keys[MAX_KEYS];
    ptrdiff_t lengths[MAX_KEYS];
    int ignored = 0, has_escapes;
    p = skip_spaces(p + 1);
    if (*p == '}') return p + 1;
    for (int n = 0; n < MAX_KEYS; n++, p = skip_spaces(p + 1)) {
        if (*p != '"') return NULL;
        keys[n] = p;
        p = read_string(s, p, &has_escapes);
        if (p == NULL || has_escapes) return NULL;
        lengths[n] = p - keys[n];
        for (int i = 0; i < n; i++)
            if (lengths[i] == lengths[n] && memcmp(keys[i], keys[n], lengths[n]) == 0) return NULL;
        p = skip_spaces(p);
        if (*p != ':') return NULL;
        p = skip_value(s, skip_spaces(p + 1), depth + 1, 1, &ignored);
        if (p == NULL) return NULL;
        p = skip_spaces(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
    }
    return NULL;
}

/* Return the end of a value, without writing cells. Lower `depth_of_members` to the depth of the
   shallowest member that is not a list. */
static const uint8_t *skip_value(const Scanner *s, const uint8_t *p, int depth, int is_in_object,
                                 int *depth_of_members) {
    if (depth > MAX_DEPTH) return NULL;
    if (*p != '[' && !is_in_object && depth < *depth_of_members) *depth_of_members = depth;
    if (*p != '[' && *p != '{') {
        double number;
        int has_escapes;
        const ptrdiff_t left = s->end - p;
        if (*p == '"') return read_string(s, p, &has_escapes);
        if (left >= 4 && (memcmp(p, "null", 4) == 0 || memcmp(p, "true", 4) == 0)) return p + 4;
        if (left >= 5 && memcmp(p, "false", 5) == 0) return p + 5;
        return read_number(p, s->limit, 1, &number);
    }
    if (*p == '{') return skip_object(s, p, depth);
    p = skip_spaces(p + 1);
    if (*p == ']') return p + 1;
    for (;; p = skip_spaces(p + 1)) {
        p = skip_value(s, p, depth + 1, is_in_object, depth_of_members);
        if (p == NULL) return NULL;
        p = skip_spaces(p);
        if (*p == ']') return p + 1;
        if (*p != ',') return NULL;
    }
}

/* Read any list. As long as all members are lists, they are flattened. */
static const uint8_t *scan_nested_list(Scanner *s, const uint8_t *p) {
    int depth_of_members = MAX_DEPTH + 2, depth = 0;
    const uint8_t *end = skip_value(s, p, 0, 0, &depth_of_members);
    if (end == NULL) return NULL;
    while (p < end) {
        if (*p == '[' && depth < depth_of_members) {
            depth++;
            p++;
        } else if (*p == ']') {
            depth--;
            p++;
        } else if (*p == ',' || *p == ' ' || *p == '\t') {
            p++;
        } else if (*p == '[' || *p == '{') {
            int ignored = 0;
            put_cell(s, -1, *p == '[' ? LIST_HEAD : OBJECT_HEAD, NAN, p);
            p = skip_value(s, p, 0, 1, &ignored);
        } else {
            p = scan_value(s, p, -1, 0, 0);
        }
    }
    return end;
}

/* Read a list, and write its members in order. */
static const uint8_t *scan_list(Scanner *s, const uint8_t *start) {
    CellArrays *members = &s->members;
    uint8_t *const kinds = members->kinds, *const bytes = members->bytes;
    int32_t *const begins = members->begins;
    const uint8_t *const data = s->data;
    const ptrdiff_t first = members->m, room = members->room;
    const uint8_t *p = start;
    int depth = 0, depth_of_members = 0;
    for (;; p = skip_spaces(p + 1)) { /* at the first bracket, or after a bracket or a comma */
        if (*p == '[') {
            if (++depth > MAX_DEPTH) return NULL;
            continue;
        }
        if (*p == ']' && depth == 1 && depth_of_members == 0) return p + 1;
        if (depth_of_members == 0) depth_of_members = depth;
        if (depth != depth_of_members || *p == '{' || *p == ']') break;
        uint64_t number;
        const uint8_t *stop = read_short_integer(p, ',', &number);
        if (stop != NULL) {
            const ptrdiff_t m = members->m;
            if (number <= 255 && members->are_bytes && m < room) {
                begins[m] = (int32_t)(p - data);
                kinds[m] = NUMBER;
                bytes[m] = (uint8_t)number;
                members->m = m + 1;
            } else {
                put_cell(s, -1, NUMBER, (double)number, p);
            }
            p = stop;
            continue;
        }
        p = scan_value(s, p, -1, 0, 0);
        if (p == NULL) return NULL;
        for (p = skip_spaces(p); *p == ']'; p = skip_spaces(p + 1))
            if (--depth == 0) return p + 1;
        if (*p != ',') return NULL;
    }
    /* The members are objects, or are nested to different depths. */
    members->m = first;
    return scan_nested_list(s, start);
}

/* Read a value, which is a member of the last list if `name` is -1; if it is an object, its path
   has `length` bytes. */
static const uint8_t *scan_value(Scanner *s, const uint8_t *p, ptrdiff_t name, ptrdiff_t length,
                                 int depth) {
    const uint8_t *stop;
    double number = NAN;
    int kind = NUMBER, has_escapes;
    const ptrdiff_t left = s->end - p;
    if (*p == '{') {
        put_cell(s, name, OBJECT_HEAD, NAN, p);
        s->path[length] = '.';
        return scan_object(s, p, length + 1, depth + 1);
    }
    if (*p == '[') {
        put_cell(s, name, LIST_HEAD, NAN, p);
        stop = scan_list(s, p);
        if (!s->is_full) s->list_starts[++s->n_lists] = s->members.m;
        return stop;
    }
    if (*p == '"') {
        stop = read_string(s, p, &has_escapes);
        kind = TEXT;
    } else if (left >= 4 && memcmp(p, "null", 4) == 0) {
        stop = p + 4;
        kind = NUL;
    } else if (left >= 4 && memcmp(p, "true", 4) == 0) {
        stop = p + 4;
        kind = BOOL;
        number = 1.0;
    } else if (left >= 5 && memcmp(p, "false", 5) == 0) {
        stop = p + 5;
        kind = BOOL;
        number = 0.0;
    } else {
        stop = read_number(p, s->limit, 1, &number);
    }
    if (stop != NULL) put_cell(s, name, kind, number, p);
    return stop;
}

/* Read a record: an object, or a list, which gets the name `bare`. */
static int scan_json(Scanner *s, const uint8_t *p, ptrdiff_t bare) {
    p = skip_spaces(p);
    if (*p == '[')
        p = scan_value(s, p, bare, 0, 0);
    else
        p = *p == '{' ? scan_object(s, p, 0, 0) : NULL;
    return p != NULL && skip_spaces(p) == s->end;
}

/* --- LIBSVM */

/* Return the end of a LIBSVM token, at a colon or a space; NULL if it contains other whitespace, or is
   not UTF-8. */
static const uint8_t *read_token(const Scanner *s, const uint8_t *p) {
    while (p < s->end && *p != ':' && *p != ' ' && *p != '\t') {
        if (*p < 32) return NULL;
        if (*p < 128) {
            p++;
            continue;
        }
        const uint8_t *stop = skip_character(p, s->end);
        if (stop == NULL) return NULL;
        const uint32_t c = stop - p == 2 ? (uint32_t)p[0] << 8 | p[1]
                                         : (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        /* Unicode spaces from U+0085 to U+3000. */
        if (c == 0xC285 || c == 0xC2A0 || c == 0xE19A80 || (c >= 0xE28080 && c <= 0xE2808A) ||
            c == 0xE280A8 || c == 0xE280A9 || c == 0xE280AF || c == 0xE2819F || c == 0xE38080)
            return NULL;
        p = stop;
    }
    return p;
}

/* End a record before its comment; return whether the comment is valid UTF-8. */
static int strip_comment(Scanner *s, const uint8_t *p) {
    const uint8_t *comment = memchr(p, '#', s->end - p);
    if (comment == NULL) return 1;
    for (p = comment; p < s->end && p != NULL;) p = *p < 128 ? p + 1 : skip_character(p, s->end);
    s->end = comment;
    return p != NULL;
}

/* Read an optional label, and pairs such as 3:0.5. */
static int scan_pairs(Scanner *s, const uint8_t *p) {
    Names *names = s->names;
    if (!strip_comment(s, p)) return 0;
    p = skip_spaces(p);
    const uint8_t *start = p;
    p = read_token(s, p);
    if (p == NULL) return 0;
    if (p < s->end && *p == ':') p = start; /* no label */
    put_cell(s, 0, p > start ? TEXT : NUL, NAN, p > start ? start : s->end);
    put_cell(s, 0, LIST_HEAD, NAN, s->end);
    for (;;) {
        while (p < s->end && (*p == ' ' || *p == '\t')) p++;
        if (p == s->end) return 1;
        const uint8_t *stop = p;
        uint64_t number = 0;
        for (; *stop >= '0' && *stop <= '9'; stop++) number = number * 10 + (*stop - '0');
        const int is_number = *stop == ':' && stop - p < 7 && (*p != '0' || stop == p + 1) &&
                              stop > p && number < (uint64_t)names->n_numbered;
        ptrdiff_t name;
        if (is_number && names->numbered[number].name >= 0) {
            name = names->numbered[number].name;
            if (check_and_stamp(&names->numbered[number].stamp, names->serial)) return 0;
        } else {
            name = guess_name(names, s->last, p, s->limit, ':');
            if (name >= 0) {
                stop = p + names->items[name].length;
            } else {
                stop = skip_plain(p, s->limit, ':', '#', 33);
                if (*stop != ':') stop = read_token(s, p);
                if (stop == NULL || stop >= s->end || stop == p || *stop != ':') return 0;
                name = intern_name(s, p, stop - p, s->limit);
                if (name < 0) return 0;
            }
            s->last = name;
            if (check_and_stamp(&names->items[name].stamp, names->serial)) return 0;
            /* If the name occurs again in this record, it may be found by its number. */
            if (number < (uint64_t)names->n_numbered &&
                parse_index(p, stop - p) == (ptrdiff_t)number)
                names->numbered[number].stamp = names->serial;
        }
        double value;
        const uint8_t *from = stop + 1;
        p = read_number(from, s->limit, 0, &value);
        if (p == NULL || p > s->end || (p != s->end && *p != ' ' && *p != '\t')) return 0;
        if (has_room(s, &s->members)) {
            s->name_ids[s->members.m] = (int32_t)name;
            put_number(&s->members, NUMBER, value, from, s->data);
        }
    }
}

enum { CSV, JSON, LIBSVM };

/* Scan the records from index `first` on; return the index of the first record that does not fit,
   or n. */
static ptrdiff_t scan_records(Scanner *s, int format, ptrdiff_t first) {
    CellArrays *cells = &s->cells;
    for (ptrdiff_t i = first; i < s->n; i++) {
        const uint8_t *p = s->data + (i ? s->ends[i - 1] : s->begin);
        const ptrdiff_t start = cells->m, n_members = s->members.m, n_lists = s->n_lists;
        s->end = s->data + s->ends[i];
        if (s->end > p && s->end[-1] == '\n') s->end--;
        if (s->end > p && s->end[-1] == '\r') s->end--;
        int is_read;
        if (format == CSV) {
            if (start + s->n_fields > cells->room) {
                cells->is_full = 1;
                return i;
            }
            is_read = scan_fields(s, p);
            if (!is_read) {
                cells->m = start;
                while (cells->m < start + s->n_fields) put_byte(cells, NUL, 0, p, s->data);
            }
        } else {
            const ptrdiff_t n_names = s->names->n;
            s->names->serial++;
            s->names->n_wrong_guesses = 0;
            s->last = -1;
            s->is_full = 0;
            is_read = format == JSON ? scan_json(s, p, 0) : scan_pairs(s, p);
            if (!is_read || s->is_full) {
                cells->m = start;
                s->members.m = n_members;
                s->n_lists = n_lists;
            }
            if (s->is_full) return i;
            if (!is_read) truncate_names(s->names, n_names);
            if (format == LIBSVM) {
                if (!is_read) {
                    put_cell(s, 0, NUL, NAN, s->end);
                    put_cell(s, 0, LIST_HEAD, NAN, s->end);
                }
                s->list_starts[++s->n_lists] = s->members.m;
            }
        }
        s->is_deferred[i] = !is_read;
        s->starts[i + 1] = cells->m;
    }
    return s->n;
}

/* Return the end of the content of the cell at p, whose record must end with a newline. */
static const uint8_t *find_end(int format, const uint8_t *p, uint8_t delimiter) {
    if (format == LIBSVM) {
        while (*p > ' ' && *p != '#') p++;
        return p;
    }
    if (format == CSV && *p != '"') {
        while (*p != delimiter && *p != '\r' && *p != '\n') p++;
        return p;
    }
    if (format == CSV) {
        for (p++; *p != '"' || p[1] == '"'; p++) p += *p == '"';
        return p + 1;
    }
    int depth = 0;
    do {
        if (*p == '"') {
            for (p++; *p != '"'; p++) p += *p == '\\';
            p++;
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (depth) {
            p++;
        } else {
            while (*p > ' ' && *p != ',' && *p != ']' && *p != '}') p++;
        }
    } while (depth);
    return p;
}

#endif
