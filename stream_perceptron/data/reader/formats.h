/* The formats CSV, JSON and LIBSVM: each splits a record into cells and passes them to record.h.

   A record ends with a newline, at which all searches stop. */

#ifndef FORMATS_H
#define FORMATS_H

#include "record.h"

enum { CSV, JSON, LIBSVM };
enum { MAX_DEPTH = 64, MAX_RECORD_LINES = 64, MAX_RECORD_BYTES = 1 << 16 };
enum { OPEN_QUOTE = -1 };

static inline const uint8_t *skip_spaces(const uint8_t *p) {
    while (*p == ' ' || *p == '\t' || *p == '\r') p++;
    return p;
}

/* --- CSV */

static inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* Return whether a string is a number, even if `read_number` cannot round it with certainty. */
static int is_number(const uint8_t *p, const uint8_t *end) {
    if (p < end && (*p == '+' || *p == '-')) p++;
    const uint8_t *start = p;
    p = skip_digits(p, end);
    ptrdiff_t n = p - start;
    if (p < end && *p == '.') {
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

/* Use a field that is not simply a number. */
static int on_field(Reader *r, ptrdiff_t entry, const uint8_t *from, const uint8_t *to) {
    const int is_quoted = *from == '"' && from < to;
    const uint8_t *first = from + is_quoted, *last = to - is_quoted;
    double number = NAN;
    while (first < last && is_space(*first)) first++;
    while (last > first && is_space(last[-1])) last--;
    if (first == last) return on_cell(r, entry, NUL, NAN, from, to);
    if (matches_word(first, last, "true")) return on_cell(r, entry, BOOL, 1.0, from, to);
    if (matches_word(first, last, "false")) return on_cell(r, entry, BOOL, 0.0, from, to);
    uint8_t copy[64];
    const uint8_t *limit = r->limit;
    const uint8_t *comma = r->decimal == ',' ? memchr(first, ',', last - first) : NULL;
    if (comma != NULL && last - first < (ptrdiff_t)sizeof copy) {
        memcpy(copy, first, last - first);
        copy[comma - first] = '.';
        copy[last - first] = '\n';
        last = copy + (last - first);
        first = copy;
        limit = copy + sizeof copy;
    }
    int kind = NUMBER;
    if (read_number(first, limit, 0, &number) != last) {
        kind = is_number(first, last) ? NUMBER : TEXT;
        number = kind == NUMBER ? r->round(first, last) : NAN;
    }
    return on_cell(r, entry, kind, number, from, to);
}

/* Return the end of a field; NULL if it is malformed. Set `is_open` if a quote is open. */
static const uint8_t *find_field_end(const Reader *r, const uint8_t *p, int *is_open) {
    const uint8_t *end = r->end;
    if (*p != '"') {
        while (p < end && *p != r->delimiter && *p != '\r' && *p != '\n') p++;
    } else {
        for (p++;; p += 2) {
            p = memchr(p, '"', end - p);
            if (p == NULL) *is_open = 1;
            if (p == NULL) return NULL;
            if (p[1] != '"') break;
        }
        p++;
    }
    return p == end || *p == r->delimiter ? p : NULL;
}

/* Count the consecutive columns from each one on that are features whose zeros need no attention. */
static int count_runs(Reader *r) {
    if (!resize(&r->runs, (r->n_columns + 1) * sizeof(int32_t))) return 0;
    r->runs[r->n_columns] = 0;
    for (int32_t c = r->n_columns - 1; c >= 0; c--) {
        const Entry *e = &r->table.entries[r->root + c];
        const int is_plain = e->action == CELL && e->id >= 0 && e->slot < 0 && !r->keeps_zeros && !r->has_null_numbers;
        r->runs[c] = is_plain ? r->runs[c + 1] + 1 : 0;
    }
    return 1;
}

static int scan_csv(Reader *r, const uint8_t *p) {
    const uint8_t delimiter = r->delimiter;
    const uint64_t zeros = (0x30 | (uint64_t)delimiter << 8) * UINT64_C(0x0001000100010001);
    if (!r->runs && !count_runs(r)) return 0;
    if (!reserve(r, r->n_columns)) return 0;
    if (delimiter == ' ')
        while (r->end > p && r->end[-1] == ' ') r->end--;
    for (int32_t c = 0;; c++, p++) {
        while (delimiter == ' ' && *p == ' ') p++;
        if (c == r->n_columns) return 0;
        if (r->runs && load_word(p, r->limit) == zeros && r->runs[c] >= 5) {
            c += 3; /* four zeros, which are frequent in images and counts */
            p += 7;
            continue;
        }
        const ptrdiff_t entry = r->root + c;
        uint64_t whole = 0;
        double number;
        int is_open = 0;
        const uint8_t *stop = read_short_integer(p, delimiter, &whole);
        number = (double)whole;
        if (stop == NULL) {
            stop = read_number(p, r->limit, 0, &number);
            if (stop != NULL && stop != r->end && *stop != delimiter) stop = NULL;
        }
        if (stop != NULL) {
            if (!on_number(r, entry, number, p, stop)) return 0;
        } else {
            stop = find_field_end(r, p, &is_open);
            if (stop == NULL) return is_open ? OPEN_QUOTE : 0;
            if (!on_field(r, entry, p, stop)) return 0;
        }
        p = stop;
        if (p == r->end) return c + 1 == r->n_columns;
    }
}

/* Move the end of a record to the line that closes its open quote; return whether there is one,
   or -1 if it may be in the next block. */
static int extend_record(Reader *r, const uint8_t *p) {
    for (int n = 1; n < MAX_RECORD_LINES; n++) {
        const uint8_t *line = (const uint8_t *)memchr(r->end, '\n', r->limit - r->end) + 1;
        const uint8_t *end = memchr(line, '\n', r->limit - line);
        if (end == NULL) return !r->is_last && r->limit - p < MAX_RECORD_BYTES ? -1 : 0;
        if (end - p > MAX_RECORD_BYTES) return 0;
        int n_quotes = 0;
        for (const uint8_t *q = line; q < end; q++) n_quotes += *q == '"';
        r->end = end - (end[-1] == '\r');
        if (n_quotes & 1) return 1;
    }
    return 0;
}

/* --- JSON */

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

/* Return the end of an escape; NULL if it is invalid. Python decodes it, and checks surrogates. */
static const uint8_t *skip_escape(const uint8_t *p, const uint8_t *end) {
    if (end - p < 2 || p[1] == 0 || strchr("\"\\/bfnrtu", p[1]) == NULL) return NULL;
    if (p[1] != 'u') return p + 2;
    for (int i = 2; i < 6; i++)
        if (p + i >= end || !((p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'f')))
            return NULL;
    return p + 6;
}

/* Return the end of a string, after its closing quote; NULL if it is invalid. */
static const uint8_t *skip_string(const Reader *r, const uint8_t *p) {
    for (p++; p != NULL;) {
        p = skip_plain(p, r->limit, '"', '\\', 32);
        if (p >= r->end || *p < 32) return NULL;
        if (*p == '"') return p + 1;
        p = *p == '\\' ? skip_escape(p, r->end) : *p == 127 ? p + 1 : skip_character(p, r->end);
    }
    return NULL;
}

/* Read a number, string or constant: return its end and set its kind and number; NULL if it is invalid. */
static const uint8_t *read_scalar(const Reader *r, const uint8_t *p, int *kind, double *number) {
    const ptrdiff_t left = r->end - p;
    *number = NAN;
    *kind = TEXT;
    if (*p == '"') return skip_string(r, p);
    *kind = NUL;
    if (left >= 4 && memcmp(p, "null", 4) == 0) return p + 4;
    *kind = BOOL;
    *number = *p == 't';
    if (left >= 4 && memcmp(p, "true", 4) == 0) return p + 4;
    if (left >= 5 && memcmp(p, "false", 5) == 0) return p + 5;
    *kind = NUMBER;
    const uint8_t *stop = read_number(p, r->limit, 1, number);
    if (stop != NULL) return stop;
    for (stop = p; *stop && strchr("+-.0123456789Ee", *stop) != NULL;) stop++;
    const uint8_t *digits = p + (*p == '-');
    const int has_zero = *digits == '0' && digits[1] >= '0' && digits[1] <= '9';
    if (*digits < '0' || *digits > '9' || has_zero || !is_number(p, stop) || stop[-1] == '.') return NULL;
    *number = r->round(p, stop);
    return stop;
}

/* Return the end of a value that is not used; NULL if it is invalid. */
static const uint8_t *skip_value(const Reader *r, const uint8_t *p, int depth) {
    int kind;
    double number;
    if (*p != '[' && *p != '{') return read_scalar(r, p, &kind, &number);
    const uint8_t close = *p == '[' ? ']' : '}';
    if (depth > MAX_DEPTH) return NULL;
    p = skip_spaces(p + 1);
    if (*p == close) return p + 1;
    for (;; p = skip_spaces(p + 1)) {
        if (close == '}') {
            if (*p != '"' || (p = skip_string(r, p)) == NULL) return NULL;
            p = skip_spaces(p);
            if (*p != ':') return NULL;
            p = skip_spaces(p + 1);
        }
        p = skip_value(r, p, depth + 1);
        if (p == NULL) return NULL;
        p = skip_spaces(p);
        if (*p == close) return p + 1;
        if (*p != ',') return NULL;
    }
}

/* Read a list of features, which may be nested to a uniform depth; NULL if it cannot be used. */
static const uint8_t *scan_vector(Reader *r, const uint8_t *p) {
    const int32_t n = r->n_members;
    int32_t i = 0;
    int depth = 0, depth_of_members = 0;
    if (!reserve(r, n)) return NULL;
    for (;; p = skip_spaces(p + 1)) { /* at the start, or after a bracket or a comma */
        if (*p == '[' && (depth < depth_of_members || !depth_of_members)) {
            if (++depth > MAX_DEPTH) return NULL;
            continue;
        }
        if (!depth_of_members) depth_of_members = depth;
        if (depth != depth_of_members || i == n) return NULL;
        uint64_t whole = 0;
        double number;
        int kind = NUMBER;
        const uint8_t *stop = read_short_integer(p, ',', &whole);
        number = (double)whole;
        if (stop == NULL) stop = read_scalar(r, p, &kind, &number);
        if (stop == NULL || kind == TEXT || !use_member(r, i++, kind == NUL, number)) return NULL;
        for (p = skip_spaces(stop); *p == ']'; p = skip_spaces(p + 1))
            if (--depth == 0) return i == n ? p + 1 : NULL;
        if (*p != ',') return NULL;
    }
}

/* Use the elements of a list as categories if one of them is a string, or if the column is categorical; any other
   list has no features. NULL if it is malformed. */
static const uint8_t *scan_list(Reader *r, const uint8_t *p, ptrdiff_t entry, int depth) {
    const uint8_t *const from = p, *to = skip_value(r, p, depth);
    if (to == NULL) return NULL;
    int has_category = r->table.entries[entry].action == CATEGORICAL, is_scalar = 1, kind;
    double number;
    ptrdiff_t n = 0; /* elements other than null */
    for (p = skip_spaces(p + 1); p < to - 1; p = skip_spaces(p)) {
        kind = LIST;
        p = *p == '[' || *p == '{' ? skip_value(r, p, depth + 1) : read_scalar(r, p, &kind, &number);
        is_scalar &= kind != LIST;
        has_category |= kind == TEXT;
        n += kind != NUL;
        p = skip_spaces(p);
        p += *p == ',';
    }
    if (n == 0) return to;
    if (!is_scalar || !has_category) return report(r, entry, LIST, NAN, from, to) ? to : NULL;
    for (p = skip_spaces(from + 1); p < to - 1; p = skip_spaces(p)) {
        const uint8_t *stop = read_scalar(r, p, &kind, &number);
        if (kind != NUL && !use_category(r, entry, kind, number, p, stop)) return NULL;
        p = skip_spaces(stop);
        p += *p == ',';
    }
    return to;
}

static const uint8_t *scan_object(Reader *r, const uint8_t *p, ptrdiff_t parent, int depth);

/* Decide whether the members of an object are read; Python is asked unless they are features. */
static int resolve_object(Reader *r, ptrdiff_t entry, const uint8_t *p) {
    const Entry *e = &r->table.entries[entry];
    if (e->path < 0) return 1; /* the key is invalid, so the record is rejected */
    if (e->action != CELL && e->action != CATEGORICAL) return r->resolve(r, entry, OBJECT, NAN, p, p);
    return set_entry(r, entry, e->action, e->id, READ_MEMBERS);
}

/* Read the value under a name. */
static const uint8_t *scan_value(Reader *r, const uint8_t *p, ptrdiff_t entry, int depth) {
    int kind = *p == '{' ? OBJECT : LIST;
    double number = NAN;
    const uint8_t *stop = NULL;
    if ((*p == '[' || *p == '{') && r->table.entries[entry].action == UNKNOWN && !resolve_key(r, entry, kind, p))
        return NULL;
    if (*p == '{' && r->table.entries[entry].members == ASK_ABOUT_OBJECT && !resolve_object(r, entry, p)) return NULL;
    const int32_t slot = r->table.entries[entry].slot;
    if (kind == OBJECT && slot >= 0) {
        stop = skip_value(r, p, depth);
        if (stop == NULL) return NULL;
        r->kept[slot] = (Kept){OBJECT, p, stop};
    }
    if (kind == OBJECT && r->table.entries[entry].members == READ_MEMBERS)
        return scan_object(r, p, entry, depth + 1);
    if (*p == '[') {
        const ptrdiff_t n = r->n;
        const int action = r->is_rejected ? IGNORE : r->table.entries[entry].action;
        if (action == VECTOR) stop = scan_vector(r, p);
        if (action == CELL || action == CATEGORICAL) stop = scan_list(r, p, entry, depth);
        if (stop != NULL && slot >= 0) r->kept[slot] = (Kept){LIST, p, stop};
        if (stop != NULL) return stop;
        r->n = n;
    }
    stop = *p == '{' || *p == '[' ? skip_value(r, p, depth) : read_scalar(r, p, &kind, &number);
    if (stop == NULL || kind == OBJECT) return stop;
    return on_cell(r, entry, kind, number, p, stop) ? stop : NULL;
}

/* Read an object, whose names are under `parent`. */
static const uint8_t *scan_object(Reader *r, const uint8_t *p, ptrdiff_t parent, int depth) {
    if (depth > MAX_DEPTH) return NULL;
    p = skip_spaces(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = skip_spaces(p + 1)) {
        if (*p != '"') return NULL;
        const uint8_t *stop;
        ptrdiff_t entry = guess(&r->table, r->last, parent, p + 1, r->limit, '"');
        if (entry >= 0) {
            stop = p + r->table.entries[entry].length + 2;
        } else {
            stop = skip_string(r, p);
            if (stop == NULL) return NULL;
            entry = intern(&r->table, parent, p + 1, stop - p - 2, r->limit);
            if (entry < 0) return NULL;
            r->table.entries[r->last].next = entry;
        }
        if (!stamp(r, entry) || has_respelling(r, entry)) return NULL;
        r->last = entry;
        p = skip_spaces(stop);
        if (*p != ':') return NULL;
        p = skip_spaces(p + 1);
        uint64_t whole = 0;
        stop = read_short_integer(p, ',', &whole);
        if (stop != NULL) {
            if (!on_number(r, entry, (double)whole, p, stop)) return NULL;
            p = stop;
            continue;
        }
        p = scan_value(r, p, entry, depth);
        if (p == NULL) return NULL;
        p = skip_spaces(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
    }
}

static int scan_json(Reader *r, const uint8_t *p) {
    p = skip_spaces(p);
    if (*p == '[' && r->list >= 0) {
        p = scan_value(r, p, r->list, 0);
    } else {
        p = *p == '{' ? scan_object(r, p, r->root, 0) : NULL;
    }
    return p != NULL && skip_spaces(p) >= r->end;
}

/* --- LIBSVM: an optional label, and pairs such as 3:0.5 */

static const uint8_t *skip_token(const Reader *r, const uint8_t *p) {
    for (;; p++) {
        p = skip_plain(p, r->limit, ':', '#', 33);
        if (p >= r->end || *p == ':' || *p == '#' || *p <= 32) return p;
    }
}

static int scan_libsvm(Reader *r, const uint8_t *p) {
    const ptrdiff_t label = r->root + 1;
    const uint8_t *comment = memchr(p, '#', r->end - p), *stop;
    if (comment != NULL) r->end = comment;
    p = skip_spaces(p);
    stop = skip_token(r, p);
    if (*stop != ':' || stop >= r->end) {
        if (!on_cell(r, label, stop > p ? TEXT : NUL, NAN, p, stop)) return 0;
        p = stop;
    }
    for (;;) {
        for (; is_space(*p) && p < r->end;) p++;
        if (p >= r->end) return 1;
        ptrdiff_t entry = guess(&r->table, r->last, r->root, p, r->limit, ':');
        if (entry >= 0) {
            stop = p + r->table.entries[entry].length;
        } else {
            stop = skip_token(r, p);
            if (stop >= r->end || stop == p || *stop != ':') return 0;
            entry = intern(&r->table, r->root, p, stop - p, r->limit);
            if (entry < 0) return 0;
            r->table.entries[r->last].next = entry;
        }
        if (!stamp(r, entry)) return 0;
        r->last = entry;
        double number;
        const uint8_t *from = stop + 1;
        p = read_number(from, r->limit, 0, &number);
        if (p == NULL) {
            p = skip_token(r, from);
            if (!is_number(from, p)) return 0;
            number = r->round(from, p);
        }
        if ((p < r->end && !is_space(*p)) || !on_number(r, entry, number, from, p)) return 0;
    }
}

/* --- Blocks */

/* Read a CSV record, which may span several lines; return POSTPONED if it may end in the next block. */
static int scan_csv_record(Reader *r, const uint8_t *p, int *is_usable) {
    const uint8_t *const line_end = r->end;
    *is_usable = scan_csv(r, p);
    if (*is_usable != OPEN_QUOTE) return ENDED;
    const int is_closed = extend_record(r, p);
    if (!roll_back(r)) return FAILED;
    if (is_closed < 0) return POSTPONED;
    r->n = r->starts[r->n_rows];
    if (!begin_record(r)) return FAILED;
    *is_usable = is_closed && scan_csv(r, p) == 1;
    if (*is_usable) return ENDED;
    /* A quote that is the last byte for now may be the first of two. */
    const int may_go_on = is_closed && !r->is_last && r->limit - r->end <= 2;
    r->end = line_end;
    return may_go_on ? (roll_back(r) ? POSTPONED : FAILED) : ENDED;
}

/* Read at most `max_rows` records; return the end of the last one, or NULL after an error. Reading
   stops before a record that changes the schema, or whose end may be in the next block. */
static const uint8_t *read_records(Reader *r, int format, const uint8_t *data, const uint8_t *p,
                                   ptrdiff_t max_rows) {
    for (r->n = r->n_rows = r->n_added = 0; r->n_rows < max_rows && p < r->limit;) {
        const uint8_t *line_end = memchr(p, '\n', r->limit - p), *record = p;
        if (line_end == NULL) break;
        p = line_end + 1;
        r->begin = record;
        r->end = line_end - (line_end > record && line_end[-1] == '\r');
        if (r->end == record || (format == LIBSVM && *record == '#')) continue;
        if (!begin_record(r)) return NULL;
        int is_usable = 0, outcome = ENDED;
        if (format == CSV)
            outcome = scan_csv_record(r, record, &is_usable);
        else
            is_usable = format == JSON ? scan_json(r, record) : scan_libsvm(r, record);
        if (outcome == ENDED) {
            /* A comment ends a LIBSVM record before its line ends. */
            if (r->end > line_end) p = (const uint8_t *)memchr(r->end, '\n', r->limit - r->end) + 1;
            outcome = end_record(r, is_usable == 1, record - data, p - data);
        }
        if (outcome == FAILED) return NULL;
        if (outcome == POSTPONED) {
            r->n = r->starts[r->n_rows];
            p = record;
            break;
        }
    }
    if (!reserve_row(r)) return NULL;
    r->starts[r->n_rows] = r->n;
    return p;
}

#endif
