/* Records, which are built from cells one by one: every format calls `on_number` and `on_cell`.

   A record is a transaction. Its names, strings and labels stay only if it is accepted and labeled;
   otherwise, `roll_back` removes them. Functions that return an int return 0 after an error, such as
   running out of memory. */

#ifndef RECORD_H
#define RECORD_H

#include <math.h>

#include "table.h"

/* Kinds of cells. */
enum { NUL, NUMBER, BOOL, TEXT, LIST, OBJECT, WORD };

/* What to do with a cell. Contents have parents of their own, below -2; see `find_parent`. */
enum {
    UNKNOWN, /* a name whose role is asked before its first cell is used, or an undecided content */
    IGNORE,
    CELL,        /* a number is the value of feature `id`: UNNAMED before the first, ABSENT if unknown */
    CATEGORICAL, /* the content is an entry of its own, even of a number */
    VECTOR,      /* a list holds the values of the features in `member_ids` */
    LABEL,       /* the content is an entry of its own, whose ID is a label */
    WEIGHT,
    CONTENT /* `id` is its only feature, with the value 1, ABSENT, or -3 - the place of its pairs */
};

enum { UNNAMED = -1, ABSENT = -2 };

/* What to do with the members of an object. */
enum { ASK_ABOUT_OBJECT, READ_MEMBERS, SKIP_MEMBERS };

/* What has become of a record. A malformed record has no reason for its rejection yet. */
enum { LEARNED, UNLABELED, REJECTED, MALFORMED, REDELIVERED };

/* The maximum number of bytes in a word; a longer word is asked about. A string of more than three words is
   not a category. */
enum { MAX_WORD_BYTES = 255, MAX_CATEGORY_WORDS = 3 };

/* Entries that unlearned records may add, so that their unknown names and contents are asked about
   only once. */
enum { MAX_UNLEARNED_ENTRIES = 1 << 16 };

typedef struct {
    uint8_t kind;
    const uint8_t *from, *to;
} Kept;

/* A new feature: -1 if Python has named it, else the place of a list's element; and its row. */
typedef struct {
    int32_t member, row;
} Added;

/* A feature of a content, and its value; the first pair of a content has their number. */
typedef struct {
    int32_t id;
    double value;
} Pair;

/* An older entry as it was before the current record changed it. */
typedef struct {
    int32_t entry, id;
    uint8_t action, members;
} Change;

typedef struct Reader {
    Table table;
    int32_t root;           /* the parent of names; the first column of a table */
    int32_t nulls;          /* the parent of strings that mean a missing value */
    const uint8_t *limit;   /* the end of the data */
    uint8_t delimiter, decimal;
    int has_quotes;         /* whether strings may be in quotes, which do not belong to them */
    int is_last;            /* whether the data ends with the block */
    int learns;             /* whether labeled records add names, strings and labels */
    int keeps_unlabeled;    /* whether unlabeled records add names and strings, too */
    int keeps_zeros, has_null_numbers, has_aliases;
    int needs_vector;       /* whether each record must have a list of features */
    int32_t n_columns, n_members, n_slots;
    int32_t *runs;          /* (n_columns,), how many columns from each on are features; may be NULL */
    int32_t *member_ids;    /* (n_members,), the feature of each element of a list; -1 for none yet */
    int32_t n_unknown_members;
    int32_t list;           /* the entry of a record that is itself a list; -1 if it is rejected */
    double scale;
    /* The rows so far. */
    ptrdiff_t n, room, n_rows, row_room;
    int32_t *feature_ids;   /* (room,) */
    double *values;         /* (room,) */
    intptr_t *starts;       /* (row_room + 1,), of each row's values */
    intptr_t *begins, *ends; /* (row_room,), of each record in the data */
    int32_t *labels, *missing;
    double *weights;
    uint8_t *status;
    /* The current record. */
    const uint8_t *begin, *end;
    uint32_t serial;
    ptrdiff_t last;         /* the entry of the previous name */
    ptrdiff_t n_entries;    /* before this record */
    int32_t n_features;     /* so far */
    int32_t max_features;   /* from which on new names are ignored, because the model is full */
    int ignores_members;    /* whether elements of the list were ignored for this reason */
    int32_t n_before;       /* the features before this record */
    ptrdiff_t n_added, added_room; /* features added by the block's records, including this one */
    Added *added;
    ptrdiff_t n_changes, change_room;
    Change *changes;
    Kept *kept;             /* (n_slots,) */
    ptrdiff_t n_unlearned;  /* entries that unlearned records have added */
    ptrdiff_t n_pairs, pair_room, n_pairs_before;
    Pair *pairs;            /* of contents with other features than one category */
    int changes_schema;     /* whether this record changes the schema */
    int has_asked;
    int is_rejected;        /* whether a cell cannot be used; the rest of the record is still read */
    int has_vector;
    uint32_t *feature_stamps; /* the serial of the last record with each feature, if `has_aliases` */
    ptrdiff_t n_stamps;
    /* Returns the double nearest to a decimal number. */
    double (*round)(const uint8_t *from, const uint8_t *to);
    /* Lets Python use a cell, or reject the record. */
    int (*resolve)(struct Reader *, ptrdiff_t entry, int kind, double number, const uint8_t *from,
               const uint8_t *to);
    /* Returns the status given the kept cells; called if there are any. */
    int (*judge)(struct Reader *, int status);
    /* Keeps or drops what Python has added for this record. */
    int (*finish)(struct Reader *, int outcome);
    void *self;
} Reader;

/* Make room for m more values. */
static inline int reserve(Reader *r, ptrdiff_t m) {
    if (r->n + m <= r->room) return 1;
    r->room = 2 * (r->n + m) + 256;
    return resize(&r->feature_ids, r->room * sizeof(int32_t)) &&
           resize(&r->values, r->room * sizeof(double));
}

static int reserve_row(Reader *r) {
    if (r->n_rows < r->row_room) return 1;
    const ptrdiff_t room = r->row_room = 2 * r->n_rows + 16;
    return resize(&r->starts, (room + 1) * sizeof(intptr_t)) &&
           resize(&r->begins, room * sizeof(intptr_t)) && resize(&r->ends, room * sizeof(intptr_t)) &&
           resize(&r->labels, 4 * room) && resize(&r->missing, 4 * room) &&
           resize(&r->weights, 8 * room) && resize(&r->status, room);
}

/* Append the value of a feature, for which there is room; return whether it is finite. */
static inline int append(Reader *r, int32_t id, double x) {
    x *= r->scale;
    r->feature_ids[r->n] = id;
    r->values[r->n] = x;
    const int is_finite = isfinite(x) != 0;
    r->n += is_finite & ((x != 0.0) | r->keeps_zeros);
    return is_finite;
}

/* Append the value of a feature without scaling it. */
static inline void append_plain(Reader *r, int32_t id, double x) {
    r->feature_ids[r->n] = id;
    r->values[r->n] = x;
    r->n += (x != 0.0) | r->keeps_zeros;
}

/* Set what to do with an entry; an older entry can be restored. */
static int set_entry(Reader *r, ptrdiff_t entry, int action, int32_t id, int members) {
    Entry *e = &r->table.entries[entry];
    if (entry < r->n_entries) {
        if (r->n_changes == r->change_room) {
            r->change_room = 2 * r->n_changes + 16;
            if (!resize(&r->changes, r->change_room * sizeof(Change))) return 0;
        }
        r->changes[r->n_changes++] = (Change){(int32_t)entry, e->id, e->action, e->members};
    }
    e->action = (uint8_t)action;
    e->id = id;
    e->members = (uint8_t)members;
    free(r->runs);
    r->runs = NULL;
    return 1;
}

/* Add a feature; return its ID, or -1 if memory runs out. */
static int32_t add_feature(Reader *r, ptrdiff_t member) {
    if (r->n_added == r->added_room) {
        r->added_room = 2 * r->n_added + 64;
        if (!resize(&r->added, r->added_room * sizeof(Added))) return -1;
    }
    r->added[r->n_added++] = (Added){(int32_t)member, (int32_t)r->n_rows};
    return r->n_features++;
}

/* Make room for n pairs, and count them in the first one; return its place, or -1 if memory runs out. */
static ptrdiff_t add_pairs(Reader *r, ptrdiff_t n) {
    if (r->n_pairs + n + 1 > r->pair_room) {
        r->pair_room = 2 * (r->n_pairs + n + 1);
        if (!resize(&r->pairs, r->pair_room * sizeof(Pair))) return -1;
    }
    r->pairs[r->n_pairs].id = (int32_t)n;
    r->n_pairs += n + 1;
    return r->n_pairs - n - 1;
}

/* Return whether new names are ignored, because nothing is learned or the model is full. */
static inline int is_closed(const Reader *r) { return !r->learns || r->n_features >= r->max_features; }

/* Return the feature of element i of a list, adding it if it is new; -1 if it is ignored. */
static inline int32_t find_member(Reader *r, int32_t i) {
    if (r->member_ids[i] < 0 && !is_closed(r)) {
        r->member_ids[i] = add_feature(r, i);
        r->n_unknown_members--;
    } else if (r->member_ids[i] < 0 && r->learns) {
        r->ignores_members = 1;
    }
    return r->member_ids[i];
}

/* Use element i of a list; return 0 if it is not finite, or if memory runs out. */
static inline int use_member(Reader *r, int32_t i, int is_null, double number) {
    r->has_vector = 1;
    if (is_null) {
        r->missing[r->n_rows]++;
        return 1;
    }
    const int32_t id = find_member(r, i);
    return id < 0 ? is_closed(r) && isfinite(number) : append(r, id, number);
}

static int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Whether a spelling has an entry. */
static int has_entry(const Reader *r, int32_t parent, const uint8_t *from, const uint8_t *to) {
    const uint64_t head = load_head(from, to - from, r->limit), tail = load_tail(from, to - from);
    return r->table.slots[find_slot(&r->table, parent, head, tail, from, to - from)] != 0;
}

static int is_null_text(const Reader *r, const uint8_t *from, const uint8_t *to) {
    if (r->has_quotes && to - from > 1 && *from == '"') from++, to--;
    while (from < to && is_space(*from)) from++;
    while (to > from && is_space(to[-1])) to--;
    return has_entry(r, r->nulls, from, to);
}

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

/* Stamp an entry; return whether it has not yet occurred in this record. */
static inline int stamp(Reader *r, ptrdiff_t entry) {
    const int is_new = r->table.entries[entry].stamp != r->serial;
    r->table.entries[entry].stamp = r->serial;
    return is_new;
}

/* Return the parent of a column's contents, or of the elements of its lists, which are always categories. */
static inline int32_t find_parent(ptrdiff_t column, int is_element) {
    return (int32_t)(-3 - 2 * column - is_element);
}

/* Append the features of a content, once for each record. */
static int use_content(Reader *r, ptrdiff_t content) {
    const Entry *e = &r->table.entries[content];
    if (e->id == ABSENT || !stamp(r, content)) return 1;
    const Pair *pairs = e->id >= 0 ? NULL : r->pairs - 3 - e->id;
    const int32_t n = pairs == NULL ? 1 : pairs[0].id;
    if (!reserve(r, n)) return 0;
    if (pairs == NULL) append_plain(r, e->id, 1.0);
    for (int32_t i = 1; pairs != NULL && i <= n; i++) append_plain(r, pairs[i].id, pairs[i].value);
    return 1;
}

/* Find a content among the entries of its parent, or ask about it; return -1 after an error, and -2 if Python
   has used the content without keeping it. */
static ptrdiff_t find_content(Reader *r, int32_t parent, int kind, double number, const uint8_t *from,
                              const uint8_t *to) {
    const ptrdiff_t n = r->table.n, content = intern(&r->table, parent, from, to - from, r->limit);
    if (content < n) return content;
    if (!r->resolve(r, content, kind, number, from, to)) return -1;
    if (r->table.entries[content].action != UNKNOWN) return content;
    truncate_table(&r->table, n);
    return -2;
}

/* Find a content and append its features. */
static int use_cell_content(Reader *r, int32_t parent, int kind, double number, const uint8_t *from,
                            const uint8_t *to) {
    const ptrdiff_t content = find_content(r, parent, kind, number, from, to);
    return content == -2 || (content >= 0 && use_content(r, content));
}

static inline int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static inline int is_word_byte(uint8_t byte) {
    return is_digit(byte) || ((byte | 32) >= 'a' && (byte | 32) <= 'z');
}

/* What a string is: a category that is spelled in the usual way, words, or something that only Python can
   tell, such as a date. */
enum { PLAIN_CATEGORY, LONG_STRING, ODD_STRING };

static int classify(const Reader *r, const uint8_t *from, const uint8_t *to) {
    if (r->has_quotes && to - from > 1 && *from == '"') from++, to--;
    int n = 0, is_inside = 0, is_odd = from == to || is_space(*from) || is_space(to[-1]);
    for (const uint8_t *p = from; p < to; p++) {
        if (*p >= 128 || *p == '\\') return ODD_STRING;
        const int is_word = is_word_byte(*p);
        n += is_word && !is_inside;
        is_inside = is_word;
        is_odd |= *p == '"';
    }
    while (from < to && is_space(*from)) from++;
    if (to - from >= 10 && from[4] == '-' && from[7] == '-') return ODD_STRING;
    return n > MAX_CATEGORY_WORDS ? LONG_STRING : is_odd ? ODD_STRING : PLAIN_CATEGORY;
}

/* Use the words of an ASCII string. */
static int use_words(Reader *r, ptrdiff_t column, const uint8_t *from, const uint8_t *to) {
    const uint8_t *const limit = r->limit;
    const int32_t parent = find_parent(column, 0);
    uint8_t word[MAX_WORD_BYTES + 1];
    for (const uint8_t *p = from; p < to; p++) {
        ptrdiff_t n = 0;
        for (; p < to && is_word_byte(*p); p++) {
            if (n == MAX_WORD_BYTES) return use_cell_content(r, parent, TEXT, NAN, from, to);
            word[n++] = is_digit(*p) ? *p : *p | 32;
        }
        if (n == 0) continue;
        r->limit = word + n;
        const int is_used = (r->table.entries[column].is_full && !has_entry(r, parent, word, word + n)) ||
                            use_cell_content(r, parent, WORD, NAN, word, word + n);
        r->limit = limit;
        if (!is_used) return 0;
    }
    return 1;
}

static int use_number(Reader *r, ptrdiff_t entry, int kind, double number, const uint8_t *from,
                      const uint8_t *to) {
    if (!reserve(r, 1)) return 0;
    if (r->table.entries[entry].id == UNNAMED && !r->resolve(r, entry, kind, number, from, to)) return 0;
    const int32_t id = r->table.entries[entry].id;
    return r->is_rejected || id == ABSENT || append(r, id, number) || r->resolve(r, entry, kind, number, from, to);
}

/* Count a cell as missing if its text means null; return whether it does. */
static int is_missing(Reader *r, int kind, const uint8_t *from, const uint8_t *to) {
    const int is_null = (kind == TEXT || r->has_null_numbers) && is_null_text(r, from, to);
    r->missing[r->n_rows] += is_null;
    return is_null;
}

/* Use a number or a string of an ordinary column. */
static int use_value(Reader *r, ptrdiff_t entry, int kind, double number, const uint8_t *from,
                     const uint8_t *to) {
    if (is_missing(r, kind, from, to)) return 1;
    if (kind != TEXT) return use_number(r, entry, kind, number, from, to);
    const int class = classify(r, from, to);
    if (class == LONG_STRING) return use_words(r, entry, from, to);
    const int32_t parent = find_parent(entry, 0);
    if (class == PLAIN_CATEGORY && r->table.entries[entry].is_full && !has_entry(r, parent, from, to)) return 1;
    return use_cell_content(r, parent, TEXT, NAN, from, to);
}

/* Use a number or a string as a category: a cell of a categorical column, or an element of a list. */
static int use_category(Reader *r, ptrdiff_t entry, int is_element, int kind, double number,
                        const uint8_t *from, const uint8_t *to) {
    return is_missing(r, kind, from, to) ||
           use_cell_content(r, find_parent(entry, is_element), kind, number, from, to);
}

/* Use a cell whose content extends from `from` to `to`. */
static int on_cell(Reader *r, ptrdiff_t entry, int kind, double number, const uint8_t *from,
                   const uint8_t *to) {
    if (r->table.entries[entry].action == UNKNOWN && !r->resolve(r, entry, kind, number, from, to)) return 0;
    const Entry *e = &r->table.entries[entry];
    if (e->slot >= 0) r->kept[e->slot] = (Kept){kind, from, to};
    if (r->is_rejected || e->action == IGNORE) return 1;
    const int is_number = kind == NUMBER || kind == BOOL;
    if (kind == NUL && e->action != VECTOR) {
        r->missing[r->n_rows] += e->action == CELL || e->action == CATEGORICAL;
        return 1;
    }
    ptrdiff_t content;
    switch (e->action) {
    case CELL:
        if (kind <= TEXT) return use_value(r, entry, kind, number, from, to);
        break;
    case CATEGORICAL:
        if (kind <= TEXT) return use_category(r, entry, 0, kind, number, from, to);
        break;
    case LABEL:
        content = find_content(r, find_parent(entry, 0), kind, number, from, to);
        if (content >= 0) r->labels[r->n_rows] = r->table.entries[content].id;
        return content != -1;
    case WEIGHT:
        if (is_number && number >= 0 && number < INFINITY && !r->has_null_numbers) {
            r->weights[r->n_rows] = number;
            return 1;
        }
    }
    return r->resolve(r, entry, kind, number, from, to);
}

/* `on_cell` for numbers, most of which are the values of features. */
static inline int on_number(Reader *r, ptrdiff_t entry, double number, const uint8_t *from,
                            const uint8_t *to) {
    const Entry *e = &r->table.entries[entry];
    if (e->action == CELL && e->id >= 0 && e->slot < 0 && !r->has_null_numbers && r->n < r->room &&
        append(r, e->id, number))
        return 1;
    return on_cell(r, entry, NUMBER, number, from, to);
}

static int begin_record(Reader *r) {
    if (!reserve_row(r)) return 0;
    const ptrdiff_t i = r->n_rows;
    r->starts[i] = r->n;
    r->labels[i] = -1;
    r->missing[i] = 0;
    r->weights[i] = 1.0;
    for (ptrdiff_t k = 0; k < r->n_slots; k++) r->kept[k] = (Kept){NUL, NULL, NULL};
    r->last = r->root;
    r->n_entries = r->table.n;
    r->n_before = r->n_features;
    r->n_changes = 0;
    r->n_pairs_before = r->n_pairs;
    r->has_asked = r->is_rejected = r->changes_schema = r->has_vector = 0;
    r->serial++;
    return 1;
}

/* Return the feature that has two different values in this record, under names that mean the same; -1
   if there is none, or -2 if memory runs out. Repeated values are dropped. */
static int32_t find_duplicate(Reader *r) {
    const ptrdiff_t start = r->starts[r->n_rows];
    ptrdiff_t n = start;
    for (ptrdiff_t k = start; k < r->n; k++) {
        const int32_t id = r->feature_ids[k];
        if (id >= r->n_stamps) {
            const ptrdiff_t m = 2 * (ptrdiff_t)id + 64;
            if (!resize(&r->feature_stamps, m * sizeof(uint32_t))) return -2;
            memset(r->feature_stamps + r->n_stamps, 0, (m - r->n_stamps) * sizeof(uint32_t));
            r->n_stamps = m;
        }
        if (r->feature_stamps[id] == r->serial) {
            ptrdiff_t first = start;
            while (r->feature_ids[first] != id) first++;
            if (r->values[first] != r->values[k]) return id;
            continue;
        }
        r->feature_stamps[id] = r->serial;
        r->feature_ids[n] = id;
        r->values[n++] = r->values[k];
    }
    r->n = n;
    return -1;
}

/* What becomes of what a record has added. */
enum { DROPPED, KEPT, FORGOTTEN /* kept, but asked about again */ };

/* Take back the features, changes and entries of this record. */
static int roll_back(Reader *r) {
    for (; r->n_changes > 0; r->n_changes--) {
        const Change *c = &r->changes[r->n_changes - 1];
        Entry *e = &r->table.entries[c->entry];
        e->action = c->action, e->id = c->id, e->members = c->members;
        free(r->runs);
        r->runs = NULL;
    }
    for (; r->n_features > r->n_before; r->n_features--) {
        const int32_t member = r->added[--r->n_added].member;
        if (member < 0) continue;
        r->member_ids[member] = -1;
        r->n_unknown_members++;
    }
    truncate_table(&r->table, r->n_entries);
    r->n_pairs = r->n_pairs_before;
    return !r->has_asked || r->finish(r, DROPPED);
}

/* Keep the entries of a record that is not learned, unless there are too many. */
static int end_unlearned(Reader *r) {
    const ptrdiff_t n = r->table.n - r->n_entries;
    const int has_room = r->n_unlearned + n <= MAX_UNLEARNED_ENTRIES;
    if (has_room)
        r->n_unlearned += n;
    else
        truncate_table(&r->table, r->n_entries);
    return !r->has_asked || r->finish(r, has_room ? KEPT : FORGOTTEN);
}

/* Drop the values of features that an unlabeled record would have added. */
static void drop_new_features(Reader *r) {
    ptrdiff_t n = r->starts[r->n_rows];
    for (ptrdiff_t k = n; k < r->n; k++) {
        r->feature_ids[n] = r->feature_ids[k];
        r->values[n] = r->values[k];
        n += r->feature_ids[k] < r->n_before;
    }
    r->n = n;
}

/* What `end_record` returns. */
enum { FAILED, ENDED, POSTPONED };

/* End a record: keep what it has added, or roll back. A record that changes the schema is postponed
   unless it is the block's first one. */
static int end_record(Reader *r, int is_usable, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t i = r->n_rows;
    if (is_usable && r->needs_vector && !r->has_vector && !r->is_rejected &&
        !r->resolve(r, -2, NUL, NAN, r->begin, r->begin))
        return FAILED;
    if (is_usable && r->has_aliases && !r->is_rejected) {
        const int32_t id = find_duplicate(r);
        if (id < -1 || (id >= 0 && !r->resolve(r, -1, NUMBER, id, r->begin, r->begin))) return FAILED;
    }
    const int has_label = r->labels[i] >= 0;
    int status = !is_usable ? MALFORMED : r->is_rejected ? REJECTED : has_label ? LEARNED : UNLABELED;
    const int is_learnable = r->learns && (status == LEARNED || (status == UNLABELED && r->keeps_unlabeled));
    if (is_learnable && r->changes_schema && i > 0) {
        r->n = r->starts[i];
        return roll_back(r) ? POSTPONED : FAILED;
    }
    if (r->n_slots && (status = r->judge(r, status)) < 0) return FAILED;
    r->status[i] = (uint8_t)status;
    if (status >= REJECTED) {
        r->n = r->starts[i];
        r->labels[i] = -1;
        if (!roll_back(r)) return FAILED;
    } else if (is_learnable && !is_closed(r)) {
        if (r->has_asked && !r->finish(r, KEPT)) return FAILED;
    } else if (is_learnable || !r->learns) {
        if (!end_unlearned(r)) return FAILED;
    } else {
        if (r->n_features > r->n_before) drop_new_features(r);
        if (!roll_back(r)) return FAILED;
    }
    r->begins[i] = begin;
    r->ends[i] = end;
    r->starts[++r->n_rows] = r->n;
    return ENDED;
}

#endif
