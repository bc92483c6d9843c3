/* Reads text records as long as they are plain.

   The results equal those of the reference parsers; the first record that is not plain is left to
   them. Each record ends with a newline, which ends all searches. */

#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <math.h>

#include "names.h"

enum { CSV, JSON, LIBSVM };

enum { EITHER = 2 }; /* features, or a value in the first slot */

#define TEXT INFINITY /* the value of a text; NAN is that of a missing value */

/* The inputs of a read, and where to write its results. */
typedef struct {
    int form;
    uint8_t delimiter;         /* of CSV */
    int is_utf8;               /* whether JSON may have bytes beyond ASCII */
    const int32_t *roles;      /* roles by place, of CSV fields or a list, */
    const int32_t *slots;      /* and their slots, as in `Name` */
    ptrdiff_t n_roles;
    Names *names;              /* of a record's members or pairs; NULL for a list */
    Names *inside;             /* in the object with the features */
    int is_open;               /* whether other features may come */
    int is_inside_open;
    int needs_label;           /* whether JSON objects need a value in the first slot, or EITHER */
    int are_texts_blank;       /* whether texts in a list may be missing values */
    const uint8_t *blanks;     /* the texts that mean a missing value, joined */
    const intptr_t *blank_ends;
    ptrdiff_t n_blanks;
    int are_blanks_numbers;    /* whether one of them could be a number */
    const uint8_t *data, *limit;
    ptrdiff_t begin, n, first; /* start of the first line; number of lines; first line to read */
    const intptr_t *ends;      /* of the lines */
    intptr_t *starts;          /* written from first + 1 on: the end of each record's features */
    int32_t *restrict columns;
    double *restrict values;
    intptr_t *spans;           /* written for present values, (slots, n, 2) */
    intptr_t *missing;         /* written: number of missing features */
    double *weights;
    uint64_t bits;             /* written: bitwise or of all values; above 255 if one is not whole */
    /* of the current record */
    ptrdiff_t i, count, n_missing, n_words;
    int has_label;
    double weight;
} Tokenizer;

static inline const uint8_t *pass_spaces(const uint8_t *p) {
    while (*p <= ' ' && (*p == ' ' || *p == '\t')) p++;
    return p;
}

/* Pass bytes from `least` to 126, up to `stop`, `odd` or another byte: eight at a time, to avoid
   mispredicted branches at the ends of names. */
static inline const uint8_t *pass_plain(const uint8_t *p, const uint8_t *limit, uint64_t stop,
                                        uint64_t odd, uint64_t least) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;; p += 8) {
        const uint64_t word = word_at(p, limit), stops = word ^ stop * ones, odds = word ^ odd * ones;
        /* The highest bit of each byte to stop at, and perhaps of some after it. */
        uint64_t found = ((stops - ones) & ~stops) | ((odds - ones) & ~odds) | (word - least * ones);
        found = (found | (word + ones) | word) & HIGH_BITS;
        if (found) return p + (__builtin_ctzll(found) >> 3);
    }
}

/* Whether a text means a missing value; blanks around it are ignored. */
static int is_blank(const Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    while (p < end && *p == ' ') p++;
    while (end > p && end[-1] == ' ') end--;
    for (ptrdiff_t i = 0, begin = 0; i < t->n_blanks; begin = t->blank_ends[i++])
        if (t->blank_ends[i] - begin == end - p && memcmp(t->blanks + begin, p, end - p) == 0)
            return 1;
    return 0;
}

static inline void put(Tokenizer *t, int32_t role, double value) {
    t->columns[t->count] = role;
    t->values[t->count++] = value;
}

static inline void put_any(Tokenizer *t, int32_t role, double value) {
    const int is_whole = value >= 0.0 && value <= 255.0 && !signbit(value) && value == (int)value;
    t->bits |= is_whole ? (uint64_t)value : 256;
    put(t, role, value);
}

/* Use a value according to its role; return whether it fits. `value` is NAN if missing, TEXT for a
   text; roles that ignore it may get anything. */
static inline int take(Tokenizer *t, int32_t role, double value) {
    if (role >= 0) {
        if (value == TEXT) return 0;
        if (value == value)
            put_any(t, role, value);
        else
            t->n_missing++;
    } else if (role == WEIGHT) {
        if (!(value != value || (value >= 0.0 && value != TEXT))) return 0;
        t->weight = value != value ? 1.0 : value;
    }
    t->n_words += role == WORD;
    return role != ODD;
}

static inline void note_place(Tokenizer *t, int32_t slot, const uint8_t *from, const uint8_t *to) {
    if (slot < 0) return;
    t->has_label |= slot == 0;
    t->spans[2 * (slot * t->n + t->i)] = from - t->data;
    t->spans[2 * (slot * t->n + t->i) + 1] = to - t->data;
}

/* Find a field's text without quotes; return the end of the field, NULL if it is not plain. */
static const uint8_t *find_field(const uint8_t *p, const uint8_t *end, uint8_t delimiter,
                                 const uint8_t **from, const uint8_t **to) {
    *from = p;
    if (*p == '"') {
        *from = p + 1;
        const uint8_t *stop = memchr(p + 1, '"', end - p - 1);
        if (stop == NULL || (stop + 1 < end && stop[1] != delimiter)) return NULL;
        *to = stop;
        return memchr(p, '\r', stop - p) != NULL ? NULL : stop + 1;
    }
    while (p < end && *p != delimiter) {
        if (*p == '"' || *p == '\r') return NULL;
        p++;
    }
    return *to = p;
}

static int is_word(const uint8_t *p, const char *word, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((p[i] | 32) != (uint8_t)word[i]) return 0;
    return 1;
}

/* Read a field's number: NAN if missing, TEXT for any other text. */
static double field_value(const Tokenizer *t, const uint8_t *from, const uint8_t *to) {
    double value;
    if (is_blank(t, from, to)) return NAN;
    while (from < to && *from == ' ') from++;
    while (to > from && to[-1] == ' ') to--;
    if (from < to && read_number(from, t->limit, 0, &value) == to) return value;
    if (to - from == 4 && is_word(from, "true", 4)) return 1.0;
    if (to - from == 5 && is_word(from, "false", 5)) return 0.0;
    return TEXT;
}

/* Read a field that does not begin with a plain number, or whose role needs none. */
static const uint8_t *read_field(Tokenizer *t, const uint8_t *p, const uint8_t *end, int32_t role,
                                 int32_t slot) {
    const uint8_t *from, *to, *stop = find_field(p, end, t->delimiter, &from, &to);
    double value = NAN;
    if (stop == NULL) return NULL;
    note_place(t, slot, from, to);
    if (role >= 0 || role == WEIGHT)
        value = field_value(t, from, to);
    else if (role == BLANK && !is_blank(t, from, to))
        return NULL;
    t->n_missing += role == BLANK;
    return take(t, role, value) ? stop : NULL;
}

/* Read integers, each before `stop`, for features from *place on; return the first other value. */
static const uint8_t *read_wholes(Tokenizer *t, const uint8_t *p, uint8_t stop, ptrdiff_t *place) {
    const int32_t *roles = t->roles, *slots = t->slots;
    int32_t *restrict columns = t->columns + t->count;
    double *restrict values = t->values + t->count;
    const ptrdiff_t n = t->n_roles;
    ptrdiff_t c = *place;
    uint64_t bits = t->bits, whole;
    for (; c < n && roles[c] >= 0 && slots[c] < 0; c++) {
        const uint8_t *end = read_whole(p, stop, &whole);
        if (end == NULL) break;
        *columns++ = roles[c];
        *values++ = (double)whole;
        bits |= whole;
        p = end + 1;
        if (t->form == JSON) p = pass_spaces(p);
    }
    t->count += c - *place;
    t->bits = bits;
    *place = c;
    return p;
}

static const uint8_t *read_fields(Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    for (ptrdiff_t c = 0;; c++, p++) {
        if (!t->are_blanks_numbers) p = read_wholes(t, p, t->delimiter, &c);
        if (c == t->n_roles) return NULL;
        const int32_t role = t->roles[c], slot = t->slots[c];
        const uint8_t *stop = NULL;
        if (role >= 0 && slot < 0 && !t->are_blanks_numbers) {
            double value;
            const uint8_t *first = p;
            while (*first == ' ') first++;
            stop = read_number(first, t->limit, 0, &value);
            if (stop != NULL && *stop != t->delimiter && stop != end) stop = NULL;
            if (stop != NULL) put_any(t, role, value);
        }
        if (stop == NULL) stop = read_field(t, p, end, role, slot);
        if (stop == NULL) return NULL;
        p = stop;
        if (p == end) return c + 1 == t->n_roles ? p : NULL;
    }
}

/* The end of a JSON string, after its quote; NULL if it has escapes or invalid bytes. */
static const uint8_t *read_string(const Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    p = pass_plain(p + 1, t->limit, '"', '\\', 32);
    while (p < end && *p != '"') {
        if (*p < 32 || *p == '\\' || (*p > 127 && !t->is_utf8)) return NULL;
        p++;
    }
    return p < end ? p + 1 : NULL;
}

/* Read a number, a text, true, false or null. */
static inline const uint8_t *read_scalar(const Tokenizer *t, const uint8_t *p, const uint8_t *end,
                                         int are_texts_blank, double *value) {
    if (*p == '"') {
        const uint8_t *stop = read_string(t, p, end);
        if (stop != NULL) *value = are_texts_blank && is_blank(t, p + 1, stop - 1) ? NAN : TEXT;
        return stop;
    }
    const ptrdiff_t left = end - p;
    if (left >= 4 && memcmp(p, "null", 4) == 0) return *value = NAN, p + 4;
    if (left >= 4 && memcmp(p, "true", 4) == 0) return *value = 1.0, p + 4;
    if (left >= 5 && memcmp(p, "false", 5) == 0) return *value = 0.0, p + 5;
    return read_number(p, t->limit, 1, value);
}

/* Read a value of a given role; a bool is no weight. */
static inline const uint8_t *read_value(Tokenizer *t, const uint8_t *p, const uint8_t *end,
                                        int are_texts_blank, int32_t role, int32_t slot) {
    double value;
    const uint8_t *stop = read_scalar(t, p, end, are_texts_blank, &value);
    if (stop == NULL || (role == WEIGHT && *p != 'n' && (*p < '0' || *p > '9'))) return NULL;
    if (role == BLANK) {
        if (value == value) return NULL;
        t->n_missing++;
    }
    note_place(t, slot, p, stop);
    return take(t, role, value) ? stop : NULL;
}

/* Read a list, nested to an equal depth everywhere; its values have roles by place. */
static const uint8_t *read_list(Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    ptrdiff_t c = 0;
    int depth = 0, depth_of_values = 0;
    for (;; p = pass_spaces(p + 1)) { /* at the first bracket, or after a bracket or a comma */
        if (*p == '[') {
            depth++;
            continue;
        }
        if (depth_of_values == 0) depth_of_values = depth;
        if (depth != depth_of_values) return NULL;
        p = read_wholes(t, p, ',', &c);
        if (c == t->n_roles) return NULL;
        p = read_value(t, p, end, t->are_texts_blank, t->roles[c], t->slots[c]);
        if (p == NULL) return NULL;
        c++;
        for (p = pass_spaces(p); *p == ']'; p = pass_spaces(p + 1))
            if (--depth == 0) return c == t->n_roles ? p + 1 : NULL;
        if (*p != ',') return NULL;
    }
}

/* Read an object's members, with those of the object that has the features. */
static const uint8_t *read_object(Tokenizer *t, const uint8_t *p, const uint8_t *end, Names *names,
                                  int is_open) {
    ptrdiff_t name = -1;
    names->serial++;
    names->n_wrong = 0;
    p = pass_spaces(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = pass_spaces(p + 1)) {
        if (*p != '"') return NULL;
        const ptrdiff_t before = name;
        const uint8_t *stop;
        name = guess_name(names, before, p + 1, t->limit, '"');
        if (name >= 0) {
            stop = p + names->items[name].length + 2;
        } else {
            stop = read_string(t, p, end);
            if (stop == NULL) return NULL;
            name = find_name(names, p + 1, stop - p - 2, t->limit);
            if (name < 0 && is_open) name = add_name(names, p + 1, stop - p - 2, t->limit, 0, -1);
            if (name < 0) return NULL;
            if (before >= 0) names->items[before].after = (int32_t)name;
        }
        Name *found = &names->items[name];
        if (is_twice(&found->stamp, names->serial)) return NULL;
        p = pass_spaces(stop);
        if (*p != ':') return NULL;
        p = pass_spaces(p + 1);
        uint64_t whole;
        stop = found->role >= 0 && found->slot < 0 ? read_whole(p, ',', &whole) : NULL;
        if (stop != NULL) {
            put(t, found->role, (double)whole);
            p = stop;
            continue;
        }
        if (found->role == OBJECT)
            p = *p == '{' ? read_object(t, p, end, t->inside, t->is_inside_open) : NULL;
        else if (found->role == LIST)
            p = *p == '[' ? read_list(t, p, end) : NULL;
        else
            p = read_value(t, p, end, 1, found->role, found->slot);
        if (p == NULL) return NULL;
        p = pass_spaces(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
    }
}

/* Read an optional label, and pairs such as 3:0.5. */
static const uint8_t *read_pairs(Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    Names *names = t->names;
    ptrdiff_t name = -1;
    names->serial++;
    names->n_wrong = 0;
    p = pass_spaces(p);
    const uint8_t *start = p;
    while (*p > 32 && *p < 127 && *p != ':' && *p != '#') p++;
    if (p == start) return NULL;
    if (*p == ':')
        p = start; /* no label */
    else if (p == end || *p == ' ' || *p == '\t')
        note_place(t, 0, start, p);
    else
        return NULL;
    for (;;) {
        p = pass_spaces(p);
        if (p == end) return p;
        const uint8_t *stop = p;
        uint64_t number = 0;
        for (; *stop >= '0' && *stop <= '9'; stop++) number = number * 10 + (*stop - '0');
        const int is_number = *stop == ':' && stop - p < 7 && (*p != '0' || stop == p + 1) &&
                              stop > p && number < (uint64_t)names->n_numbered;
        int32_t role;
        if (is_number && names->numbered[number].role >= 0) {
            role = names->numbered[number].role;
            if (is_twice(&names->numbered[number].stamp, names->serial)) return NULL;
        } else {
            const ptrdiff_t before = name;
            name = guess_name(names, before, p, t->limit, ':');
            if (name >= 0) {
                stop = p + names->items[name].length;
            } else {
                stop = pass_plain(p, t->limit, ':', '#', 33);
                if (stop == p || *stop != ':') return NULL;
                name = find_name(names, p, stop - p, t->limit);
                if (name < 0 && t->is_open) name = add_name(names, p, stop - p, t->limit, 0, -1);
                if (name < 0) return NULL;
                if (before >= 0) names->items[before].after = (int32_t)name;
            }
            role = names->items[name].role;
            if (is_twice(&names->items[name].stamp, names->serial)) return NULL;
            /* The next time it may be found by its number. */
            if (number < (uint64_t)names->n_numbered &&
                number_of(p, stop - p) == (ptrdiff_t)number)
                names->numbered[number].stamp = names->serial;
        }
        double value;
        p = read_number(stop + 1, t->limit, 0, &value);
        if (p == NULL || (p != end && *p != ' ' && *p != '\t')) return NULL;
        if (role >= 0) put(t, role, value);
    }
}

/* The end of a record, before its newline. */
static const uint8_t *end_of(const uint8_t *p, const uint8_t *end) {
    if (end > p && end[-1] == '\n') end--;
    if (end > p && end[-1] == '\r') end--;
    return end;
}

static const uint8_t *read_record(Tokenizer *t, const uint8_t *p, const uint8_t *end) {
    if (t->form == CSV) return read_fields(t, p, end);
    if (t->form == LIBSVM) return read_pairs(t, p, end);
    p = pass_spaces(p);
    if (t->names == NULL)
        p = *p == '[' ? read_list(t, p, end) : NULL;
    else
        p = *p == '{' ? read_object(t, p, end, t->names, t->is_open) : NULL;
    return p == NULL ? NULL : pass_spaces(p);
}

/* Read records from t->first on; return the first that is not plain. */
static ptrdiff_t read_records(Tokenizer *t) {
    t->count = t->starts[t->first];
    t->bits = 0;
    for (t->i = t->first; t->i < t->n; t->i++) {
        const uint8_t *p = t->data + (t->i ? t->ends[t->i - 1] : t->begin);
        const uint8_t *end = end_of(p, t->data + t->ends[t->i]);
        const ptrdiff_t n_names = t->names ? t->names->n : 0, n_inside = t->inside ? t->inside->n : 0;
        t->n_missing = t->n_words = t->has_label = 0;
        t->weight = 1.0;
        p = read_record(t, p, end);
        const ptrdiff_t n_found = t->count - t->starts[t->i] + t->n_missing + t->n_words;
        const int is_odd = t->needs_label == EITHER ? n_found == 0 && !t->has_label
                                                    : n_found == 0 || (t->needs_label && !t->has_label);
        if (p != end || (t->form == JSON && is_odd)) {
            if (t->names) truncate_names(t->names, n_names);
            if (t->inside) truncate_names(t->inside, n_inside);
            break;
        }
        t->missing[t->i] = t->n_missing;
        t->weights[t->i] = t->weight;
        t->starts[t->i + 1] = t->count;
    }
    return t->i;
}

#endif
