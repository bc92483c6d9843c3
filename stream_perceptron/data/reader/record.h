/* Records, which are built from cells one by one: every format calls `on_number` and `on_cell`.

   A record is a transaction. Its names, strings and labels stay only if it is accepted and labeled;
   otherwise, `roll_back` removes them. Functions that return an int return 0 after an error, such as
   running out of memory. */

#ifndef RECORD_H
#define RECORD_H

#include <math.h>

#include "text.h"

/* Kinds of cells; and what Python is told about a column: that a string is not valid, or not learned. */
enum { NUL, NUMBER, BOOL, TEXT, LIST, OBJECT, INVALID, FULL };

/* Parents other than entries: of columns, of strings that mean null, of the names of features and the paths of
   cells, which are names of numbers, and of labels. */
enum { COLUMNS = -1, NULLS = -2, NAMES = -3, LABELS = -4 };

/* What to do with a cell. */
enum {
    UNKNOWN, /* a key whose meaning is not decided, or a path without a role in options */
    IGNORE,
    CELL,        /* a number is the value of feature `id`: UNNAMED before the first */
    CATEGORICAL, /* a number, too, is a category */
    VECTOR,      /* a list holds the values of the features in `member_ids` */
    LABEL,       /* the content is an entry of its own, whose ID is a label */
    WEIGHT
};

enum { UNNAMED = -1, ABSENT = -2 };

/* What to do with the members of an object. */
enum { ASK_ABOUT_OBJECT, READ_MEMBERS, SKIP_MEMBERS };

/* What has become of a record. A malformed record has no reason for its rejection yet. */
enum { LEARNED, UNLABELED, REJECTED, MALFORMED, REDELIVERED };

/* Entries that unlearned records may add, so that their unknown keys are asked about only once. */
enum { MAX_UNLEARNED_ENTRIES = 1 << 16 };

typedef struct {
    uint8_t kind;
    const uint8_t *from, *to;
} Kept;

/* A new feature: the entry of its name, the place of a list's element or -1, the path of the column whose strings
   added it or -1, and its row. */
typedef struct {
    int32_t name, member, column, row;
} Added;

/* An older entry as it was before the current record changed it. */
typedef struct {
    ptrdiff_t entry;
    Entry before;
} Change;

typedef struct Reader {
    Table table;
    int32_t root;           /* the parent of names; the first column of a table */
    const uint8_t *limit;   /* the end of the data */
    uint8_t delimiter, decimal;
    uint8_t escape;         /* what escapes a byte in quotes, which do not belong to a string; 0 if there are none */
    int is_last;            /* whether the data ends with the block */
    int learns;             /* whether labeled records add names, strings and labels */
    int keeps_unlabeled;    /* whether unlabeled records add names and strings, too */
    int keeps_zeros, has_null_numbers, has_aliases;
    int has_missing;        /* whether strings other than the empty one mean null */
    int needs_vector;       /* whether each record must have a list of features */
    int default_action;     /* of keys without a role in options; UNKNOWN if Python is asked about them */
    int seeks_label;        /* whether keys at the top level may be the label */
    int32_t n_columns, n_members, n_slots;
    int32_t *runs;          /* (n_columns,), how many columns from each on are features; may be NULL */
    int32_t *member_ids;    /* (n_members,), the feature of each element of a list; -1 for none yet */
    int32_t *member_names;  /* (n_members,), the entries of their names */
    int32_t n_unknown_members;
    int32_t list;           /* the entry of a record that is itself a list; -1 if it is rejected */
    double scale, max_number; /* the largest absolute value of a scaled number */
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
    int ignores_features;   /* whether features were ignored for this reason */
    int32_t max_strings;    /* the number of features that the strings of a column may add */
    int32_t n_before;       /* the features before this record */
    ptrdiff_t n_added, added_room; /* features added by the block's records, including this one */
    Added *added;
    ptrdiff_t n_changes, change_room;
    Change *changes;
    Kept *kept;             /* (n_slots,) */
    ptrdiff_t column;       /* of the current string */
    Buffer text, name;      /* its text, if it is not in the data as it is; the name of its feature */
    ptrdiff_t n_unlearned;  /* entries that unlearned records have added */
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

/* Append the value of a feature, for which there is room; return whether it is in range. */
static inline int append(Reader *r, int32_t id, double x) {
    x *= r->scale;
    r->feature_ids[r->n] = id;
    r->values[r->n] = x;
    const int is_in_range = fabs(x) <= r->max_number;
    r->n += is_in_range & ((x != 0.0) | r->keeps_zeros);
    return is_in_range;
}

/* Append the value of a feature without scaling it. */
static inline void append_plain(Reader *r, int32_t id, double x) {
    r->feature_ids[r->n] = id;
    r->values[r->n] = x;
    r->n += (x != 0.0) | r->keeps_zeros;
}

/* Return an entry in order to change it, which `roll_back` undoes; NULL if memory runs out. */
static Entry *change_entry(Reader *r, ptrdiff_t entry) {
    Entry *e = &r->table.entries[entry];
    if (entry >= r->n_entries) return e;
    if (r->n_changes == r->change_room) {
        r->change_room = 2 * r->n_changes + 16;
        if (!resize(&r->changes, r->change_room * sizeof(Change))) return NULL;
    }
    r->changes[r->n_changes++] = (Change){entry, *e};
    return e;
}

/* Set what to do with an entry. */
static int set_entry(Reader *r, ptrdiff_t entry, int action, int32_t id, int members) {
    Entry *e = change_entry(r, entry);
    if (e == NULL) return 0;
    e->action = (uint8_t)action;
    e->id = id;
    e->members = (uint8_t)members;
    free(r->runs);
    r->runs = NULL;
    return 1;
}

/* Return whether new names are ignored, because nothing is learned or the model is full. */
static inline int is_closed(const Reader *r) { return !r->learns || r->n_features >= r->max_features; }

/* Return the ID of a feature, given the entry of its name, adding the feature if it is new; ABSENT if it is
   ignored, or -1 if memory runs out. */
static int32_t add_feature(Reader *r, ptrdiff_t name, int32_t member, int32_t column) {
    if (r->table.entries[name].id >= 0) return r->table.entries[name].id;
    if (is_closed(r)) {
        r->ignores_features |= r->learns;
        return ABSENT;
    }
    if (r->n_added == r->added_room) {
        r->added_room = 2 * r->n_added + 64;
        if (!resize(&r->added, r->added_room * sizeof(Added))) return -1;
    }
    r->added[r->n_added++] = (Added){(int32_t)name, member, column, (int32_t)r->n_rows};
    if (column >= 0) r->table.entries[column].n_strings++;
    return r->table.entries[name].id = r->n_features++;
}

/* Return the feature of element i of a list, adding it if it is new; a negative number if it is ignored. */
static inline int32_t find_member(Reader *r, int32_t i) {
    if (r->member_ids[i] >= 0) return r->member_ids[i];
    const int32_t id = add_feature(r, r->member_names[i], i, -1);
    if (id < 0) return id;
    r->n_unknown_members--;
    return r->member_ids[i] = id;
}

/* Use element i of a list; return 0 if it is out of range, or if memory runs out. */
static inline int use_member(Reader *r, int32_t i, int is_null, double number) {
    r->has_vector = 1;
    if (is_null) {
        r->missing[r->n_rows]++;
        return 1;
    }
    const int32_t id = find_member(r, i);
    return id < 0 ? id == ABSENT && fabs(number * r->scale) <= r->max_number : append(r, id, number);
}

/* Stamp an entry; return whether it has not yet occurred in this record. */
static inline int stamp(Reader *r, ptrdiff_t entry) {
    const int is_new = r->table.entries[entry].stamp != r->serial;
    r->table.entries[entry].stamp = r->serial;
    return is_new;
}

/* Use the label of a record; Python is asked about each new spelling. */
static int use_label(Reader *r, int kind, double number, const uint8_t *from, const uint8_t *to) {
    const ptrdiff_t n = r->table.n, label = intern(&r->table, LABELS, from, to - from, r->limit);
    if (label == n && !r->resolve(r, label, kind, number, from, to)) return 0;
    if (label >= 0) r->labels[r->n_rows] = r->table.entries[label].id;
    return label >= 0;
}

/* Tell Python something about a column, once unless the record is rejected. */
static int report(Reader *r, ptrdiff_t column, int kind, double number, const uint8_t *from, const uint8_t *to) {
    if (r->table.entries[column].reported >> kind & 1) return 1;
    Entry *e = change_entry(r, column);
    if (e == NULL) return 0;
    e->reported |= 1 << kind;
    return r->resolve(r, column, kind, number, from, to);
}

/* Begin the name of a feature with the path of a column. */
static int begin_name(Reader *r, ptrdiff_t column) {
    const Entry *path = &r->table.entries[r->table.entries[column].path];
    r->column = column;
    r->name.n = 0;
    return add_bytes(&r->name, r->table.pool + path->begin, path->length);
}

/* Return the entry of a feature's name, adding the feature if it is new; ABSENT if it is ignored, or -1 after an
   error. */
static ptrdiff_t find_feature(Reader *r, const Buffer *b) {
    const uint8_t *const limit = b->bytes + b->room;
    ptrdiff_t name = find_entry(&r->table, NAMES, b->bytes, b->n, limit);
    if (name >= 0 && r->table.entries[name].id >= 0) return name;
    const int32_t path = r->table.entries[r->column].path, n = r->table.entries[path].length;
    /* Parts of dates and numbers are few, so they are always added. */
    const int is_counted = b->n > n && b->bytes[n] == '=';
    if (is_counted && r->learns && r->table.entries[path].n_strings >= r->max_strings)
        return report(r, r->column, FULL, NAN, b->bytes, b->bytes) ? ABSENT : -1;
    if (name < 0 && is_closed(r)) {
        r->ignores_features |= r->learns;
        return ABSENT;
    }
    if (name < 0) name = intern(&r->table, NAMES, b->bytes, b->n, limit);
    if (name < 0) return -1;
    const int32_t id = add_feature(r, name, -1, is_counted ? path : -1);
    return id < 0 ? id : name;
}

/* Note that a column has a feature; return whether it is the only one. */
static inline int claim(Reader *r, ptrdiff_t column, ptrdiff_t name) {
    Entry *e = &r->table.entries[name];
    if (e->next < 0) e->next = (int32_t)column;
    r->has_aliases |= e->next != column;
    return e->next == column;
}

/* Append a feature of a string, once for each record. */
static int append_name(Reader *r, ptrdiff_t name, double value) {
    if (claim(r, r->column, name) & !stamp(r, name)) return 1;
    if (!reserve(r, 1)) return 0;
    append_plain(r, r->table.entries[name].id, value);
    return 1;
}

/* Use a feature of a string in the current column. */
static int use_feature(void *self, const Buffer *b, double value) {
    Reader *r = self;
    const ptrdiff_t name = find_feature(r, b);
    return name == ABSENT || (name >= 0 && append_name(r, name, value));
}

/* Return the entry of a category's name, adding the feature if it is new; ABSENT or -1, like `find_feature`. */
static ptrdiff_t find_category(Reader *r, ptrdiff_t column, const uint8_t *from, const uint8_t *to) {
    if (!begin_name(r, column) || !add_bytes(&r->name, "=", 1) || !add_bytes(&r->name, from, to - from)) return -1;
    return find_feature(r, &r->name);
}

/* Count a cell as missing if its text means null; return whether it does. */
static int is_missing(Reader *r, const uint8_t *from, const uint8_t *to) {
    const int is_null = from == to || (r->has_missing && find_entry(&r->table, NULLS, from, to - from, to) >= 0);
    r->missing[r->n_rows] += is_null;
    return is_null;
}

/* Point at the text of a string, without quotes, escapes and the spaces around it; return 0 if it is invalid. */
static int decode_text(Reader *r, const uint8_t **from, const uint8_t **to) {
    if (r->escape && *to - *from > 1 && **from == '"') {
        ++*from, --*to;
        if (memchr(*from, r->escape, *to - *from) != NULL) {
            r->text.n = 0;
            if (!reserve_bytes(&r->text, *to - *from)) return 0;
            uint8_t *end = r->text.bytes;
            if (r->escape == '"')
                for (const uint8_t *p = *from; p < *to; p += 1 + (*p == '"')) *end++ = *p;
            else
                end = decode_escapes(*from, *to, end);
            if (end == NULL) return 0;
            *from = r->text.bytes;
            *to = end;
        }
    }
    if (!is_utf8(*from, *to)) return 0;
    trim(from, to);
    return 1;
}

/* Use a string, which is a category if its cell says so. */
static int use_string(Reader *r, ptrdiff_t column, int is_category, const uint8_t *from, const uint8_t *to) {
    const uint8_t *first = from, *last = to;
    if (!decode_text(r, &first, &last)) return r->resolve(r, column, INVALID, NAN, from, to);
    if (is_missing(r, first, last)) return 1;
    if (r->learns && !report(r, column, TEXT, is_category, first, last)) return 0;
    if (!is_category) return begin_name(r, column) && encode_text(first, last, &r->name, use_feature, r);
    const ptrdiff_t name = find_category(r, column, first, last);
    return name == ABSENT || (name >= 0 && append_name(r, name, 1.0));
}

/* Count a number as missing if it means null; return whether it does. */
static int is_missing_number(Reader *r, const uint8_t *from, const uint8_t *to) {
    return r->has_null_numbers && decode_text(r, &from, &to) && is_missing(r, from, to);
}

/* Use the number of a feature. */
static int use_number(Reader *r, ptrdiff_t column, int kind, double number, const uint8_t *from,
                      const uint8_t *to) {
    if (is_missing_number(r, from, to)) return 1;
    if (!reserve(r, 1)) return 0;
    if (r->table.entries[column].id < 0) {
        const ptrdiff_t name = begin_name(r, column) ? find_feature(r, &r->name) : -1;
        if (name < 0) return name == ABSENT;
        claim(r, column, name);
        const Entry *e = &r->table.entries[column];
        if (!set_entry(r, column, CELL, r->table.entries[name].id, e->members)) return 0;
    }
    return append(r, r->table.entries[column].id, number) || r->resolve(r, column, kind, number, from, to);
}

/* Use a number or a string as a category: a cell of a categorical column, or an element of a list. */
static int use_category(Reader *r, ptrdiff_t column, int kind, double number, const uint8_t *from,
                        const uint8_t *to) {
    if (kind == TEXT) return use_string(r, column, 1, from, to);
    if (is_missing_number(r, from, to)) return 1;
    if (r->learns && !report(r, column, TEXT, 1, from, to)) return 0;
    if (!decode_text(r, &from, &to) || !begin_name(r, column) || !add_bytes(&r->name, "=", 1)) return 0;
    if (kind == BOOL ? !add_bytes(&r->name, number ? "true" : "false", number ? 4 : 5)
                     : !add_number(&r->name, from, to, number))
        return 0;
    const ptrdiff_t name = find_feature(r, &r->name);
    return name == ABSENT || (name >= 0 && append_name(r, name, 1.0));
}

/* Return whether this record has another key with the path of this one. */
static inline int has_respelling(const Reader *r, ptrdiff_t entry) {
    for (ptrdiff_t other = entry; (other = r->table.entries[other].respelling) >= 0 && other != entry;)
        if (r->table.entries[other].stamp == r->serial) return 1;
    return 0;
}

/* Set the path of a key, and join the ring of keys that have this path. */
static int set_path(Reader *r, ptrdiff_t entry, ptrdiff_t path) {
    const int32_t first = r->table.entries[path].respelling;
    Entry *e = change_entry(r, first < 0 ? path : first);
    if (e == NULL) return 0;
    if (first >= 0) r->table.entries[entry].respelling = e->respelling < 0 ? first : e->respelling;
    e->respelling = (int32_t)entry;
    r->table.entries[entry].path = (int32_t)path;
    r->table.entries[path].has_occurred = 1;
    return 1;
}

/* Find the path of a key: the path of its object, a dot, and the key without its escapes and the spaces around it.
   Return 0 if the key is invalid, or if memory runs out. */
static int find_path(Reader *r, ptrdiff_t entry) {
    Entry *e = &r->table.entries[entry];
    if (e->path >= 0) return 1;
    r->name.n = 0;
    if (e->parent != r->root && !(begin_name(r, e->parent) && add_bytes(&r->name, ".", 1))) return 0;
    if (!add_bytes(&r->name, r->table.pool + e->begin, e->length)) return 0;
    uint8_t *const key = r->name.bytes + r->name.n - e->length, *end = key + e->length;
    /* Decoding never writes beyond what it has read. */
    if (r->escape == '\\' && memchr(key, '\\', e->length)) end = decode_escapes(key, end, key);
    if (end == NULL || !is_utf8(key, end)) return 0;
    const uint8_t *from = key, *to = end;
    trim(&from, &to);
    memmove(key, from, to - from);
    const ptrdiff_t n = key + (to - from) - r->name.bytes;
    const ptrdiff_t path = intern(&r->table, NAMES, r->name.bytes, n, r->name.bytes + r->name.room);
    return path >= 0 && set_path(r, entry, path);
}

/* Return whether a path is one of the names of a label, ignoring case and the spaces around it. */
static int is_label_name(const Reader *r, ptrdiff_t path) {
    static const char *const names[] = {"label", "class", "target", "y"};
    const uint8_t *from = r->table.pool + r->table.entries[path].begin, *to = from + r->table.entries[path].length;
    trim(&from, &to);
    for (int i = 0; i < 4; i++)
        if (matches_word(from, to, names[i])) return 1;
    return 0;
}

/* Decide what a key means, given the kind of its value: what options say of its path; in an object that is ignored,
   nothing; else a cell. Python is asked about keys that may be the label, and about others if it reports them. */
static int resolve_key(Reader *r, ptrdiff_t entry, int kind, const uint8_t *at) {
    if (!find_path(r, entry)) return r->resolve(r, entry, INVALID, NAN, at, at);
    if (has_respelling(r, entry)) return 0;
    Entry *e = &r->table.entries[entry];
    const Entry *path = &r->table.entries[e->path];
    const int is_nested = e->parent != r->root;
    int action = path->action;
    e->slot = path->slot;
    if (action == UNKNOWN && is_nested && r->table.entries[e->parent].action == IGNORE) action = IGNORE;
    if (action == UNKNOWN && !(r->seeks_label && !is_nested && is_label_name(r, e->path))) action = r->default_action;
    if (action == UNKNOWN) return r->resolve(r, entry, kind == OBJECT ? OBJECT : NUL, NAN, at, at);
    const int32_t id = action == CELL ? path->id : UNNAMED;
    if (id >= 0) claim(r, entry, e->path);
    return set_entry(r, entry, action, id, e->members);
}

/* Use a cell whose content extends from `from` to `to`. */
static int on_cell(Reader *r, ptrdiff_t entry, int kind, double number, const uint8_t *from,
                   const uint8_t *to) {
    if (r->table.entries[entry].action == UNKNOWN && !resolve_key(r, entry, kind, from)) return 0;
    const Entry *e = &r->table.entries[entry];
    if (e->slot >= 0) r->kept[e->slot] = (Kept){kind, from, to};
    if (r->is_rejected || e->action == IGNORE) return 1;
    if (kind == NUL && e->action != VECTOR) {
        r->missing[r->n_rows] += e->action == CELL || e->action == CATEGORICAL;
        return 1;
    }
    switch (e->action) {
    case CELL:
        if (kind == TEXT) return use_string(r, entry, 0, from, to);
        if (kind < TEXT) return use_number(r, entry, kind, number, from, to);
        break;
    case CATEGORICAL:
        if (kind <= TEXT) return use_category(r, entry, kind, number, from, to);
        break;
    case LABEL:
        if (kind < LIST) return use_label(r, kind, number, from, to);
        break;
    case WEIGHT:
        if (kind != TEXT && kind < LIST && number >= 0 && number < INFINITY && !r->has_null_numbers) {
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
enum { DROPPED, KEPT };

/* Undo what this record has changed in older entries, and remove its own. */
static void restore_entries(Reader *r) {
    if (r->n_changes > 0) {
        free(r->runs);
        r->runs = NULL;
    }
    while (r->n_changes > 0) {
        const Change *c = &r->changes[--r->n_changes];
        r->table.entries[c->entry] = c->before;
    }
    truncate_table(&r->table, r->n_entries);
}

/* Take back the features, changes and entries of this record. */
static int roll_back(Reader *r) {
    for (; r->n_features > r->n_before; r->n_features--) {
        const Added *added = &r->added[--r->n_added];
        Entry *name = &r->table.entries[added->name];
        name->id = -1;
        if (added->column >= 0) r->table.entries[added->column].n_strings--;
        if (added->member >= 0) {
            r->member_ids[added->member] = -1;
            r->n_unknown_members++;
        }
    }
    restore_entries(r);
    return !r->has_asked || r->finish(r, DROPPED);
}

/* Keep the entries of a record that is not learned, unless there are too many. */
static int end_unlearned(Reader *r) {
    const ptrdiff_t n = r->table.n - r->n_entries;
    if (r->n_unlearned + n <= MAX_UNLEARNED_ENTRIES)
        r->n_unlearned += n;
    else
        restore_entries(r);
    return !r->has_asked || r->finish(r, KEPT);
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
    } else if (is_learnable && (!is_closed(r) || r->n_features > r->n_before)) {
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
