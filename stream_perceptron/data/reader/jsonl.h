/* JSON Lines: an object in each line. */

#ifndef JSONL_H
#define JSONL_H

#include "record.h"

enum { MAX_DEPTH = 64 };

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
    if (*digits < '0' || *digits > '9' || has_zero || !is_decimal(p, stop) || stop[-1] == '.') return NULL;
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

/* Uses element i of a list. */
typedef int (*UseElement)(Reader *r, void *context, int32_t i, int kind, double number, const uint8_t *from,
                          const uint8_t *to);

/* Pass the elements of a list to `use`, flattening lists in it that are equally deep; set n to their number. Return
   the end of the list; NULL if it has objects or lists of other depths, or if `use` returns 0. */
static inline const uint8_t *walk_list(Reader *r, const uint8_t *p, UseElement use, void *context, int32_t *n) {
    int depth = 0, depth_of_elements = 0;
    for (*n = 0;; p = skip_spaces(p + 1)) { /* at the start, or after a bracket or a comma */
        if (*p == '[' && (depth < depth_of_elements || !depth_of_elements)) {
            if (++depth > MAX_DEPTH) return NULL;
            continue;
        }
        if (!depth_of_elements) depth_of_elements = depth;
        if (depth != depth_of_elements) return NULL;
        uint64_t whole = 0;
        double number;
        int kind = NUMBER;
        const uint8_t *stop = read_short_integer(p, ',', &whole);
        number = (double)whole;
        if (stop == NULL) stop = read_scalar(r, p, &kind, &number);
        if (stop == NULL || !use(r, context, (*n)++, kind, number, p, stop)) return NULL;
        for (p = skip_spaces(stop); *p == ']'; p = skip_spaces(p + 1))
            if (--depth == 0) return p + 1;
        if (*p != ',') return NULL;
    }
}

static inline int use_vector_element(Reader *r, void *context, int32_t i, int kind, double number,
                                     const uint8_t *from, const uint8_t *to) {
    (void)context, (void)from, (void)to;
    return i < r->n_elements && kind != TEXT && use_element(r, i, kind == NUL, number);
}

/* Read the list of features; NULL if it cannot be used. */
static const uint8_t *scan_vector(Reader *r, const uint8_t *p) {
    int32_t n;
    if (!reserve(r, r->n_elements)) return NULL;
    const uint8_t *const stop = walk_list(r, p, use_vector_element, NULL, &n);
    return n == r->n_elements ? stop : NULL;
}

/* What a list has. */
typedef struct {
    int has_string, has_fraction;
    int32_t n_values; /* the number of elements other than null */
} ListContent;

static int note_element(Reader *r, void *context, int32_t i, int kind, double number, const uint8_t *from,
                        const uint8_t *to) {
    (void)r, (void)i, (void)number;
    ListContent *const content = context;
    content->has_string |= kind == TEXT;
    for (; kind == NUMBER && from < to; from++) content->has_fraction |= *from == '.' || (*from | 32) == 'e';
    content->n_values += kind != NUL;
    return 1;
}

static int use_category_element(Reader *r, void *context, int32_t i, int kind, double number, const uint8_t *from,
                                const uint8_t *to) {
    (void)i;
    return kind == NUL || use_category(r, *(ptrdiff_t *)context, kind, number, from, to);
}

static int use_numbered_element(Reader *r, void *context, int32_t i, int kind, double number, const uint8_t *from,
                                const uint8_t *to) {
    if (kind == NUL) r->missing[r->n_rows]++;
    return kind == NUL || use_numbered(r, *(ptrdiff_t *)context, i, number, from, to);
}

/* Return whether a list of this name always holds the features of a row. */
static int is_image_name(const Reader *r, ptrdiff_t entry) {
    const Entry *path = &r->table.entries[r->table.entries[entry].path];
    const uint8_t *const name = r->table.pool + path->begin;
    return find_entry(&r->table, IMAGES, name, path->length, name + path->length) >= 0;
}

/* Use the elements of a list: as categories if one is a string, if all numbers are whole, or if the column is
   categorical; else, each number has a feature of its own. Other lists have no features. NULL if it is malformed. */
static const uint8_t *scan_list(Reader *r, const uint8_t *p, ptrdiff_t entry, int depth) {
    const uint8_t *const from = p, *const to = skip_value(r, p, depth);
    if (to == NULL) return NULL;
    p = skip_spaces(p + 1);
    if (*p == ']') return to;
    ListContent content = {0, 0, 0};
    int32_t n;
    const int is_flat = walk_list(r, from, note_element, &content, &n) != NULL;
    if (!is_flat || (content.has_string && *p == '['))
        return note(r, entry, IGNORED_LIST, 0, from, to) ? to : NULL;
    const int is_category = content.has_string || r->table.entries[entry].action == CATEGORICAL;
    const ptrdiff_t n_before = r->n;
    if (!walk_list(r, from, is_category || !content.has_fraction ? use_category_element : use_numbered_element,
                   &entry, &n))
        return NULL;
    if (r->seeks_list && !is_category && content.n_values && r->table.entries[entry].parent == r->root) {
        const int is_image = is_image_name(r, entry);
        r->n_number_lists++;
        r->n_list_values += r->n - n_before;
        if (is_image || !r->is_image) {
            r->number_list = entry;
            r->list_length = n;
        }
        r->is_image |= is_image;
    }
    return to;
}

static const uint8_t *scan_object(Reader *r, const uint8_t *p, ptrdiff_t parent, int depth);

/* Read an object under a name: its members, unless it is ignored. */
static const uint8_t *scan_members(Reader *r, const uint8_t *p, ptrdiff_t entry, int depth) {
    const Entry *e = &r->table.entries[entry];
    if (e->action == UNKNOWN && !resolve_key(r, entry, OBJECT, p)) return NULL;
    e = &r->table.entries[entry];
    const int action = e->path < 0 ? IGNORE : e->action, kept = e->kept; /* an invalid key has no path */
    const int is_used = action != LABEL && action != WEIGHT && action != VECTOR;
    if (is_used && kept < 0 && (action != IGNORE || (e->path >= 0 && r->table.entries[e->path].has_named)))
        return scan_object(r, p, entry, depth + 1);
    const uint8_t *const stop = skip_value(r, p, depth);
    if (stop == NULL) return NULL;
    if (kept >= 0) r->kept[kept] = (Kept){OBJECT, p, stop};
    if (is_used) return action == IGNORE ? stop : scan_object(r, p, entry, depth + 1);
    const int code = action == LABEL ? INVALID_LABEL : action == WEIGHT ? INVALID_WEIGHT : NO_LIST;
    return r->reject(r, code, entry, NAN, p, stop) ? stop : NULL;
}

/* Read the value under a name. */
static const uint8_t *scan_value(Reader *r, const uint8_t *p, ptrdiff_t entry, int depth) {
    int kind = LIST;
    double number = NAN;
    const uint8_t *stop = NULL;
    if (*p == '{') return scan_members(r, p, entry, depth);
    if (*p == '[') {
        if (r->table.entries[entry].action == UNKNOWN && !resolve_key(r, entry, LIST, p)) return NULL;
        const int kept = r->table.entries[entry].kept;
        const int action = r->is_rejected ? IGNORE : r->table.entries[entry].action;
        const ptrdiff_t n = r->n;
        if (action == VECTOR) stop = scan_vector(r, p);
        if (action == CELL || action == CATEGORICAL) stop = scan_list(r, p, entry, depth);
        if (stop != NULL && kept >= 0) r->kept[kept] = (Kept){LIST, p, stop};
        if (stop != NULL) return stop;
        r->n = n;
        if (action == VECTOR && *skip_spaces(p + 1) == ']') kind = NUL;
        stop = skip_value(r, p, depth);
    } else {
        stop = read_scalar(r, p, &kind, &number);
    }
    return stop != NULL && on_cell(r, entry, kind, number, p, stop) ? stop : NULL;
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
    if (*p != '{') return UNUSABLE;
    p = scan_object(r, p, r->root, 0);
    return p != NULL && skip_spaces(p) >= r->end ? USABLE : UNUSABLE;
}

#endif
