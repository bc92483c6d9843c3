/* CSV: fields between delimiters, in quotes or not. */

#ifndef CSV_H
#define CSV_H

#include "record.h"

enum { MAX_RECORD_LINES = 64, MAX_RECORD_BYTES = 1 << 16 };
enum { OPEN_QUOTE = -1 };

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
        kind = is_decimal(first, last) ? NUMBER : TEXT;
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
        const int is_plain = e->action == CELL && e->id >= 0 && e->kept < 0 && !r->keeps_zeros && !r->has_null_numbers;
        r->runs[c] = is_plain ? r->runs[c + 1] + 1 : 0;
    }
    return 1;
}

static int scan_fields(Reader *r, const uint8_t *p) {
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

/* Read a CSV record, which may span several lines and end in the next block. */
static int scan_csv(Reader *r, const uint8_t *p) {
    const uint8_t *const line_end = r->end;
    int is_usable = scan_fields(r, p);
    if (is_usable != OPEN_QUOTE) return is_usable ? USABLE : UNUSABLE;
    const int is_closed = extend_record(r, p);
    if (!roll_back(r)) return FAILED;
    if (is_closed < 0) return POSTPONED;
    r->n = r->starts[r->n_rows];
    if (!begin_record(r)) return FAILED;
    if (is_closed && scan_fields(r, p) == 1) return USABLE;
    /* A quote that is the last byte for now may be the first of two. */
    const int may_go_on = is_closed && !r->is_last && r->limit - r->end <= 2;
    r->end = line_end;
    return !may_go_on ? UNUSABLE : roll_back(r) ? POSTPONED : FAILED;
}

#endif
