/* Rows of Arrow record batches, as cells. */

#ifndef ARROW_H
#define ARROW_H

#include "record.h"

/* A column of numbers or strings, or of lists of these. */
typedef struct {
    int32_t entry;
    char kind;                     /* d: doubles, B: bytes, s: strings */
    const void *values;            /* the numbers, or the bytes of the strings */
    const int64_t *string_begins;  /* string i is values[string_begins[i]] to values[string_ends[i] - 1] */
    const int64_t *string_ends;
    const uint8_t *is_null;        /* of numbers and strings; NULL if none is null */
    const int64_t *list_begins;    /* list i has the elements list_begins[i] to list_begins[i + 1] - 1 */
    const uint8_t *is_null_list;
    double scale;
} ArrowColumn;

/* Return the end of string i, and point `from` at its first byte. */
static inline const uint8_t *find_arrow_string(Reader *r, const ArrowColumn *c, ptrdiff_t i,
                                               const uint8_t **from) {
    *from = (const uint8_t *)c->values + c->string_begins[i];
    return r->limit = (const uint8_t *)c->values + c->string_ends[i];
}

/* Append the pixels that are not 0, scaled. Most pixels of an image are 0, so zeros are skipped eight at
   a time. */
static void append_pixels(Reader *r, const uint8_t *pixels, int32_t n) {
    const int32_t *element_ids = r->element_ids;
    const double scale = r->scale;
    int32_t *ids = r->feature_ids, k = 0;
    double *values = r->values;
    ptrdiff_t m = r->n;
#define APPEND_PIXEL(K) (ids[m] = element_ids[K], values[m] = pixels[K] * scale, m += pixels[K] != 0)
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
    const int32_t n = r->n_elements;
    const ptrdiff_t begin = c->list_begins[i];
    const uint8_t *bytes = (const uint8_t *)c->values + begin;
    const double *doubles = (const double *)c->values + begin;
    if (c->list_begins[i + 1] - begin != n || n == 0 || !reserve(r, n)) return 0;
    const int drops_zeros = !r->keeps_zeros && r->scale != 0 && isfinite(255 * r->scale);
    if (c->kind == 'B' && drops_zeros && r->n_unknown_elements == 0) {
        append_pixels(r, bytes, n);
        r->has_vector = 1;
        return 1;
    }
    for (int32_t k = 0; k < n; k++) {
        const double x = c->kind == 'B' ? bytes[k] : doubles[k];
        if (!use_element(r, k, isnan(x) || (c->is_null && c->is_null[begin + k]), x)) return 0;
    }
    return 1;
}

/* Use the elements of the list in row i: strings and whole numbers as categories, other numbers as features. */
static int use_arrow_elements(Reader *r, const ArrowColumn *c, ptrdiff_t i) {
    const uint8_t *from = c->values, *to;
    const ptrdiff_t begin = c->list_begins[i], end = c->list_begins[i + 1];
    for (ptrdiff_t j = begin; j < end; j++) {
        const int is_null = c->is_null != NULL && c->is_null[j];
        if (c->kind == 'd') {
            const double x = ((const double *)c->values)[j];
            r->missing[r->n_rows] += is_null || isnan(x);
            if (is_null || isnan(x)) continue;
            if (!use_numbered(r, c->entry, (int32_t)(j - begin), x, from, from)) return 0;
        } else if (!is_null) {
            to = find_arrow_string(r, c, j, &from);
            if (!use_category(r, c->entry, c->kind == 's' ? TEXT : NUMBER, NAN, from, to)) return 0;
        }
    }
    return 1;
}

static int read_arrow_cell(Reader *r, const ArrowColumn *c, ptrdiff_t i) {
    const uint8_t *from = c->values, *to = from;
    const int action = r->table.entries[c->entry].action;
    const int is_null_list = c->is_null_list != NULL && c->is_null_list[i];
    if (is_null_list || (!c->list_begins && c->is_null && c->is_null[i]))
        return on_cell(r, c->entry, NUL, NAN, from, from);
    r->scale = c->scale;
    if (c->list_begins && action != VECTOR)
        return action == IGNORE || r->is_rejected || use_arrow_elements(r, c, i);
    if (c->list_begins) {
        const ptrdiff_t n = r->n;
        if (r->is_rejected || read_arrow_list(r, c, i)) return 1;
        r->n = n;
        const int kind = c->list_begins[i] == c->list_begins[i + 1] ? NUL : LIST;
        return on_cell(r, c->entry, kind, (double)i, from, from);
    }
    if (c->kind == 's' || c->kind == 'n') {
        to = find_arrow_string(r, c, i, &from);
        return on_cell(r, c->entry, c->kind == 's' ? TEXT : NUMBER, NAN, from, to);
    }
    const double x = ((const double *)c->values)[i];
    r->limit = from;
    return isnan(x) ? on_cell(r, c->entry, NUL, NAN, from, from) : on_number(r, c->entry, x, from, from);
}

/* Read the rows from `first` on, of which those marked in `is_rejected` cannot be used; return the end
   of the last row that was read, or -1 after an error. */
static ptrdiff_t read_arrow(Reader *r, const ArrowColumn *columns, ptrdiff_t n_columns, ptrdiff_t first,
                            ptrdiff_t end, const uint8_t *is_rejected) {
    ptrdiff_t i = first;
    for (begin_block(r); i < end; i++) {
        if (!begin_record(r)) return -1;
        r->is_rejected = is_rejected[i];
        for (ptrdiff_t c = 0; c < n_columns; c++)
            if (!read_arrow_cell(r, &columns[c], i)) return -1;
        const int outcome = end_record(r, 1, i, i + 1);
        if (outcome == FAILED) return -1;
        if (outcome == POSTPONED) break;
    }
    if (!reserve_row(r)) return -1;
    r->starts[r->n_rows] = r->n;
    return i;
}

#endif
