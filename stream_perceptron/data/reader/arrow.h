/* Rows of Arrow record batches, as cells. */

#ifndef ARROW_H
#define ARROW_H

#include "record.h"

/* A column without nesting, or with lists of numbers or strings. */
typedef struct {
    int32_t entry;
    char type; /* a code of Python's struct module; s: text, S: text with long offsets */
    char list; /* l: list, L: list with long offsets, F: list of fixed size, 0: none */
    const uint8_t *values, *validity, *member_validity; /* bitmaps are NULL if nothing is null */
    const void *offsets, *member_offsets; /* the latter of the strings in lists */
    ptrdiff_t offset, member_offset, size; /* the size of lists */
    double scale;
} ArrowColumn;

static inline int is_valid(const uint8_t *bitmap, ptrdiff_t i) {
    return bitmap == NULL || (bitmap[i >> 3] >> (i & 7) & 1);
}

/* Return number i, and point `from` and `to` at its bytes. */
static inline double read_arrow_number(const ArrowColumn *c, ptrdiff_t i, const uint8_t **from,
                                       const uint8_t **to) {
    static const uint8_t bools[2] = {0, 1};
#define NUMBER_OF(CODE, TYPE)                                           \
    case CODE:                                                          \
        *from = c->values + i * sizeof(TYPE);                           \
        *to = *from + sizeof(TYPE);                                     \
        return (double)((const TYPE *)c->values)[i]
    switch (c->type) {
        NUMBER_OF('b', int8_t);
        NUMBER_OF('B', uint8_t);
        NUMBER_OF('h', int16_t);
        NUMBER_OF('H', uint16_t);
        NUMBER_OF('i', int32_t);
        NUMBER_OF('I', uint32_t);
        NUMBER_OF('q', int64_t);
        NUMBER_OF('Q', uint64_t);
        NUMBER_OF('f', float);
        NUMBER_OF('d', double);
    default: *from = bools + is_valid(c->values, i), *to = *from + 1; return **from;
    }
}

static inline ptrdiff_t offset_at(const void *offsets, int is_long, ptrdiff_t i) {
    return is_long ? ((const int64_t *)offsets)[i] : ((const int32_t *)offsets)[i];
}

/* Return the first member of list i, which is also the end of list i - 1. */
static inline ptrdiff_t begin_of_list(const ArrowColumn *c, ptrdiff_t i) {
    return c->member_offset + (c->list == 'F' ? i * c->size : offset_at(c->offsets, c->list == 'L', i));
}

/* Return the end of string i, and point `from` at its first byte. */
static inline const uint8_t *find_arrow_string(Reader *r, const ArrowColumn *c, const void *offsets,
                                               ptrdiff_t i, const uint8_t **from) {
    *from = c->values + offset_at(offsets, c->type == 'S', i);
    return r->limit = c->values + offset_at(offsets, c->type == 'S', i + 1);
}

/* Append the pixels that are not 0, scaled. Most pixels of an image are 0, so zeros are skipped eight at
   a time. */
static void append_pixels(Reader *r, const uint8_t *pixels, int32_t n) {
    const int32_t *member_ids = r->member_ids;
    const double scale = r->scale;
    int32_t *ids = r->feature_ids, k = 0;
    double *values = r->values;
    ptrdiff_t m = r->n;
#define APPEND_PIXEL(K) (ids[m] = member_ids[K], values[m] = pixels[K] * scale, m += pixels[K] != 0)
    for (; k + 8 <= n; k += 8) {
        uint64_t word;
        memcpy(&word, pixels + k, 8);
        for (int32_t j = k; word != 0 && j < k + 8; j++) APPEND_PIXEL(j);
    }
    for (; k < n; k++) APPEND_PIXEL(k);
    r->n = m;
}

/* Read the list in row i; return 0 if it cannot be used. */
static int read_arrow_list(Reader *r, const ArrowColumn *c, ptrdiff_t i) {
    const int32_t n = r->n_members;
    const ptrdiff_t start = begin_of_list(c, i), end = begin_of_list(c, i + 1);
    const uint8_t *from, *to;
    if (end - start != n || n == 0 || !reserve(r, n)) return 0;
    const int are_pixels = c->type == 'B' && c->member_validity == NULL && r->n_unknown_members == 0;
    if (are_pixels && !r->keeps_zeros && r->scale != 0 && isfinite(255 * r->scale)) {
        append_pixels(r, c->values + start, n);
        return 1;
    }
    for (int32_t k = 0; k < n; k++) {
        const double x = read_arrow_number(c, start + k, &from, &to);
        if (!use_member(r, k, isnan(x) || !is_valid(c->member_validity, start + k), x)) return 0;
    }
    return 1;
}

static int read_arrow_cell(Reader *r, const ArrowColumn *c, ptrdiff_t i) {
    const uint8_t *from = c->values, *to = from;
    const int action = r->table.entries[c->entry].action, is_text = (c->type | 32) == 's';
    if (!is_valid(c->validity, i)) return on_cell(r, c->entry, NUL, NAN, from, from);
    r->scale = c->scale;
    if (c->list && is_text) {
        if (action == IGNORE || r->is_rejected) return 1;
        for (ptrdiff_t j = begin_of_list(c, i); j < begin_of_list(c, i + 1); j++) {
            if (!is_valid(c->member_validity, j)) continue;
            to = find_arrow_string(r, c, c->member_offsets, j, &from);
            if (!use_category(r, c->entry, 1, TEXT, NAN, from, to)) return 0;
        }
        return 1;
    }
    if (c->list) {
        const ptrdiff_t n = r->n;
        if (read_arrow_list(r, c, i)) return 1;
        r->n = n;
        return r->ask(r, c->entry, LIST, (double)(i - c->offset), from, from);
    }
    if (is_text) {
        to = find_arrow_string(r, c, c->offsets, i, &from);
        return on_cell(r, c->entry, TEXT, NAN, from, to);
    }
    const double x = read_arrow_number(c, i, &from, &to);
    r->limit = to;
    if (isnan(x)) return on_cell(r, c->entry, NUL, NAN, from, from);
    return c->type == '?' ? on_cell(r, c->entry, BOOL, x, from, to) : on_number(r, c->entry, x, from, to);
}

/* Read the rows from `first` on, of which those marked in `is_rejected` cannot be used; return the end
   of the last row that was read, or -1 after an error. */
static ptrdiff_t read_arrow(Reader *r, const ArrowColumn *columns, ptrdiff_t n_columns, ptrdiff_t first,
                            ptrdiff_t end, const uint8_t *is_rejected) {
    ptrdiff_t i = first;
    for (r->n = r->n_rows = r->n_added = 0; i < end; i++) {
        if (!begin_record(r)) return -1;
        r->is_rejected = is_rejected[i];
        for (ptrdiff_t c = 0; c < n_columns; c++)
            if (!read_arrow_cell(r, &columns[c], columns[c].offset + i)) return -1;
        const int outcome = end_record(r, 1, i, i + 1);
        if (outcome == FAILED) return -1;
        if (outcome == POSTPONED) break;
    }
    if (!reserve_row(r)) return -1;
    r->starts[r->n_rows] = r->n;
    return i;
}

#endif
