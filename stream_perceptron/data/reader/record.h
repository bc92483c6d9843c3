/* Records, which are built from cells: every scanner calls `on_number` and `on_cell`.

   The protocol between C and Python. Python (`Columns`) sets up a reader: the columns of a table, the paths that
   options name with their actions, the names of known features, the strings that mean null, and the names of the
   default label. From then on, C decides what names and strings mean, and numbers features. It calls Python

     ask_name    about a key that may be the label, or that is reported because the model lacks it;
     ask_label   about each new spelling of a label;
     reject      when a cell cannot be used: Python builds the reason;
     read_kept   about the kept cells of a record, if any: Python returns the status, which may be REDELIVERED;
     set_list    when the first record to be learned shows that rows are lists, before the record is postponed;
     truncate    when a record is dropped that has added labels or found the label's key.

   A record is a transaction. What it adds stays only if it is accepted and labeled; otherwise, `roll_back` removes
   its entries, features, labels and notes. After each block, Python takes the names of new features, the rows that
   added features and labels, and the notes, such as the first string of a column. A record that changes the schema
   ends the block before it, so that it is the first record of the next block.

   Functions that return an int return 0 after an error, such as running out of memory. */

#ifndef RECORD_H
#define RECORD_H

#include <math.h>

#include "codes.h"
#include "text.h"

/* Parents other than entries: of columns, of strings that mean null, of the names of features and the paths of
   cells, which are names of numbers, of labels, of the names of the default label in lower case, and of the names
   of lists that always hold the features. */
enum { COLUMNS = -1, NULLS = -2, NAMES = -3, LABELS = -4, CANDIDATES = -5, IMAGES = -6 };

/* Entries that unlearned records may add, so that their unknown keys are asked about only once. */
enum { MAX_UNLEARNED_ENTRIES = 1 << 16 };

typedef struct {
    uint8_t kind;
    const uint8_t *from, *to;
} Kept;

/* A new feature: the entry of its name, its index in the list of features or -1, the path of the column whose
   strings added it or -1, and its row. */
typedef struct {
    int32_t name, element, column, row;
} Added;

/* Something about a column to report, with the content of a cell. */
typedef struct {
    int32_t code, column, row;
    int is_category, had_number;
    const uint8_t *from, *to;
} Note;

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
    int keeps_zeros;        /* whether features that are zero are among the values */
    int wants_zeros;        /* `keeps_zeros` once it is decided whether rows are lists */
    int has_null_numbers, has_aliases;
    int has_missing;        /* whether strings other than the empty one mean null */
    int needs_vector;       /* whether each record must have the list of features */
    int default_action;     /* of keys without a role in options; UNKNOWN if they are reported */
    int seeks_list;         /* whether the next record to be learned decides if rows are lists */
    int seeks_label;        /* whether keys at the top level may be the label */
    int32_t label_records;  /* the number of records in which they may be */
    int32_t n_columns, n_elements, n_kept;
    int32_t *runs;          /* (n_columns,), how many columns from each on are features; may be NULL */
    int32_t *element_ids;   /* (n_elements,), the feature of each element of a list; -1 for none yet */
    int32_t *element_names; /* (n_elements,), the entries of their names */
    int32_t n_unknown_elements;
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
    /* What the rows so far have added, including the current record. */
    ptrdiff_t n_added, added_room;
    Added *added;
    ptrdiff_t n_notes, note_room;
    Note *notes;
    ptrdiff_t n_label_rows, label_room;
    int32_t *label_rows;    /* (n_label_rows,), the row that added each new label */
    /* The current record. */
    const uint8_t *begin, *end;
    uint32_t serial;
    ptrdiff_t last;         /* the entry of the previous name */
    ptrdiff_t n_entries;    /* before this record */
    int32_t n_features;     /* so far */
    int32_t n_labels;       /* so far */
    int32_t n_found_labels; /* the keys that were found to be the label: 0 or 1 */
    int32_t max_features, next_max_features; /* from which on new names are ignored, now and in the next record */
    int ignores_features;   /* whether features were ignored because the model is full */
    int32_t max_strings;    /* the number of features that the strings of a column may add */
    int32_t n_before;       /* the features before this record */
    int32_t n_labels_before;
    ptrdiff_t n_notes_before;
    ptrdiff_t n_changes, change_room;
    Change *changes;
    Kept *kept;             /* (n_kept,) */
    ptrdiff_t column;       /* of the current string */
    Buffer text, name;      /* its text, if it is not in the data as it is; the name of its feature */
    ptrdiff_t n_unlearned;  /* entries that unlearned records have added */
    int has_found_label;    /* whether this record shows which key is the label */
    int changes_schema;     /* whether this record changes the schema */
    int is_rejected;        /* whether a cell cannot be used; the rest of the record is still read */
    int has_vector;
    ptrdiff_t number_list;  /* the last list of numbers at the top level; -1 for none */
    int32_t n_number_lists; /* their number */
    int32_t list_length;    /* the number of its elements */
    ptrdiff_t n_list_values; /* the values that these lists have added */
    int is_image;           /* whether a list has a name in IMAGES */
    uint32_t *feature_stamps; /* the serial of the last record with each feature, if `has_aliases` */
    ptrdiff_t n_stamps;
    /* Returns the double nearest to a decimal number. */
    double (*round)(const uint8_t *from, const uint8_t *to);
    int (*ask_name)(struct Reader *, ptrdiff_t entry, int is_candidate);
    int (*ask_label)(struct Reader *, int kind, const uint8_t *from, const uint8_t *to, int32_t *id);
    int (*reject)(struct Reader *, int code, ptrdiff_t entry, double number, const uint8_t *from,
                  const uint8_t *to);
    int (*read_kept)(struct Reader *, int status); /* returns the status; -1 after an error */
    int (*set_list)(struct Reader *, ptrdiff_t entry, int32_t n);
    int (*truncate)(struct Reader *);
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
static int set_entry(Reader *r, ptrdiff_t entry, int action, int32_t id) {
    Entry *e = change_entry(r, entry);
    if (e == NULL) return 0;
    e->action = (uint8_t)action;
    e->id = id;
    free(r->runs);
    r->runs = NULL;
    return 1;
}

/* Return whether new names are ignored, because nothing is learned or the model is full. */
static inline int is_closed(const Reader *r) { return !r->learns || r->n_features >= r->max_features; }

/* Return the ID of a feature, given the entry of its name, adding the feature if it is new; ABSENT if it is
   ignored, or -1 if memory runs out. */
static int32_t add_feature(Reader *r, ptrdiff_t name, int32_t element, int32_t column) {
    if (r->table.entries[name].id >= 0) return r->table.entries[name].id;
    if (is_closed(r)) {
        r->ignores_features |= r->learns;
        return ABSENT;
    }
    if (r->n_added == r->added_room) {
        r->added_room = 2 * r->n_added + 64;
        if (!resize(&r->added, r->added_room * sizeof(Added))) return -1;
    }
    r->added[r->n_added++] = (Added){(int32_t)name, element, column, (int32_t)r->n_rows};
    if (column >= 0) r->table.entries[column].n_strings++;
    return r->table.entries[name].id = r->n_features++;
}

/* Return the feature of element i of a list, adding it if it is new; a negative number if it is ignored. */
static inline int32_t find_element(Reader *r, int32_t i) {
    if (r->element_ids[i] >= 0) return r->element_ids[i];
    const int32_t id = add_feature(r, r->element_names[i], i, -1);
    if (id < 0) return id;
    r->n_unknown_elements--;
    return r->element_ids[i] = id;
}

/* Use element i of a list; return 0 if it is out of range, or if memory runs out. */
static inline int use_element(Reader *r, int32_t i, int is_null, double number) {
    r->has_vector = 1;
    if (is_null) {
        r->missing[r->n_rows]++;
        return 1;
    }
    const int32_t id = find_element(r, i);
    return id < 0 ? id == ABSENT && fabs(number * r->scale) <= r->max_number : append(r, id, number);
}

/* Stamp an entry; return whether it has not yet occurred in this record. */
static inline int stamp(Reader *r, ptrdiff_t entry) {
    const int is_new = r->table.entries[entry].stamp != r->serial;
    r->table.entries[entry].stamp = r->serial;
    return is_new;
}

/* Add a label whose number is new. */
static int add_label(Reader *r) {
    if (r->n_label_rows == r->label_room) {
        r->label_room = 2 * r->n_label_rows + 16;
        if (!resize(&r->label_rows, r->label_room * sizeof(int32_t))) return 0;
    }
    r->label_rows[r->n_label_rows++] = (int32_t)r->n_rows;
    r->changes_schema |= r->n_labels == 0; /* the first label has the type of all */
    r->n_labels++;
    return 1;
}

/* Use the label of a record; Python is asked about each new spelling. */
static int use_label(Reader *r, int kind, const uint8_t *from, const uint8_t *to) {
    const ptrdiff_t n = r->table.n, label = intern(&r->table, LABELS, from, to - from, r->limit);
    if (label < 0) return 0;
    if (label == n) {
        int32_t id = -1;
        if (!r->ask_label(r, kind, from, to, &id) || (id == r->n_labels && !add_label(r))) return 0;
        r->table.entries[label].id = id;
    }
    r->labels[r->n_rows] = r->table.entries[label].id;
    return 1;
}

/* Note something about a column, once unless the record is dropped. */
static int note(Reader *r, ptrdiff_t column, int code, int is_category, const uint8_t *from, const uint8_t *to) {
    if (r->table.entries[column].noted >> code & 1) return 1;
    Entry *e = change_entry(r, column);
    if (e == NULL) return 0;
    e->noted |= 1 << code;
    if (r->n_notes == r->note_room) {
        r->note_room = 2 * r->n_notes + 16;
        if (!resize(&r->notes, r->note_room * sizeof(Note))) return 0;
    }
    e = &r->table.entries[column];
    r->notes[r->n_notes++] = (Note){code, e->path, (int32_t)r->n_rows, is_category, e->id >= 0, from, to};
    return 1;
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
        return note(r, r->column, FULL_COLUMN, 0, b->bytes, b->bytes) ? ABSENT : -1;
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
    if (e->column < 0) e->column = (int32_t)column;
    r->has_aliases |= e->column != column;
    return e->column == column;
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

/* Return whether a text means null. */
static int is_null_text(const Reader *r, const uint8_t *from, const uint8_t *to) {
    return from == to || (r->has_missing && find_entry(&r->table, NULLS, from, to - from, to) >= 0);
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
    if (!decode_text(r, &first, &last)) return r->reject(r, INVALID_STRING, column, NAN, from, to);
    if (is_null_text(r, first, last)) {
        r->missing[r->n_rows]++;
        return 1;
    }
    if (r->learns && !note(r, column, FIRST_STRING, is_category, from, to)) return 0;
    if (!is_category) return begin_name(r, column) && encode_text(first, last, &r->name, use_feature, r);
    const ptrdiff_t name = find_category(r, column, first, last);
    return name == ABSENT || (name >= 0 && append_name(r, name, 1.0));
}

/* Return whether a number means null. */
static int is_null_number(Reader *r, const uint8_t *from, const uint8_t *to) {
    return r->has_null_numbers && decode_text(r, &from, &to) && is_null_text(r, from, to);
}

/* Use the number of a feature. */
static int use_number(Reader *r, ptrdiff_t column, double number, const uint8_t *from, const uint8_t *to) {
    if (is_null_number(r, from, to)) {
        r->missing[r->n_rows]++;
        return 1;
    }
    if (!reserve(r, 1)) return 0;
    if (r->table.entries[column].id < 0) {
        const ptrdiff_t name = begin_name(r, column) ? find_feature(r, &r->name) : -1;
        if (name < 0) return name == ABSENT;
        claim(r, column, name);
        if (!set_entry(r, column, CELL, r->table.entries[name].id)) return 0;
    }
    return append(r, r->table.entries[column].id, number) || r->reject(r, INVALID_NUMBER, column, number, from, to);
}

/* Use a number or a string as a category: a cell of a categorical column, or an element of a list. */
static int use_category(Reader *r, ptrdiff_t column, int kind, double number, const uint8_t *from,
                        const uint8_t *to) {
    if (kind == TEXT) return use_string(r, column, 1, from, to);
    if (is_null_number(r, from, to)) {
        r->missing[r->n_rows]++;
        return 1;
    }
    if (r->learns && !note(r, column, FIRST_STRING, 1, from, to)) return 0;
    if (!decode_text(r, &from, &to) || !begin_name(r, column) || !add_bytes(&r->name, "=", 1)) return 0;
    if (kind == BOOL ? !add_bytes(&r->name, number ? "true" : "false", number ? 4 : 5)
                     : !add_number(&r->name, from, to, number))
        return 0;
    const ptrdiff_t name = find_feature(r, &r->name);
    return name == ABSENT || (name >= 0 && append_name(r, name, 1.0));
}

/* Use element i of a list of numbers that has a feature for each element. */
static int use_numbered(Reader *r, ptrdiff_t column, int32_t i, double number, const uint8_t *from,
                        const uint8_t *to) {
    if (!reserve(r, 1) || !begin_name(r, column) || !add_index(&r->name, i)) return 0;
    const ptrdiff_t name = find_feature(r, &r->name);
    if (name < 0) return name == ABSENT;
    claim(r, column, name);
    return append(r, r->table.entries[name].id, number) || r->reject(r, INVALID_NUMBER, column, number, from, to);
}

/* Use a sample weight; return 0 if it is invalid. */
static int use_weight(Reader *r, int kind, double number, const uint8_t *from, const uint8_t *to) {
    const uint8_t *first = from, *last = to;
    if (kind == TEXT ? decode_text(r, &first, &last) && is_null_text(r, first, last) : is_null_number(r, from, to))
        return 1;
    if (kind >= TEXT || !(number >= 0 && number < INFINITY)) return 0;
    r->weights[r->n_rows] = number;
    return 1;
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

/* Return whether a key may be the label: its name, in lower case, is one of the default label's. */
static int is_candidate(Reader *r, const Entry *e) {
    if (!(r->seeks_label || r->has_found_label) || e->parent != r->root) return 0;
    const Entry *path = &r->table.entries[e->path];
    r->name.n = 0;
    if (!add_bytes(&r->name, r->table.pool + path->begin, path->length)) return 0;
    for (ptrdiff_t i = 0; i < r->name.n; i++)
        if (r->name.bytes[i] >= 'A' && r->name.bytes[i] <= 'Z') r->name.bytes[i] |= 32;
    return find_entry(&r->table, CANDIDATES, r->name.bytes, r->name.n, r->name.bytes + r->name.room) >= 0;
}

/* Decide what a key means, given the kind of its value: what options say of its path; in an object that is ignored,
   nothing; else a cell. A null or an object does not decide about a candidate for the label. */
static int resolve_key(Reader *r, ptrdiff_t entry, int kind, const uint8_t *at) {
    if (!find_path(r, entry)) return r->reject(r, INVALID_NAME, entry, NAN, at, at);
    if (has_respelling(r, entry)) return 0;
    Entry *e = &r->table.entries[entry];
    const Entry *path = &r->table.entries[e->path];
    const int is_nested = e->parent != r->root;
    int action = path->action;
    e->kept = path->kept;
    if (action == UNKNOWN && is_nested && r->table.entries[e->parent].action == IGNORE) action = IGNORE;
    if (action == UNKNOWN && is_candidate(r, e)) return kind == NUL || kind == OBJECT || r->ask_name(r, entry, 1);
    if (action == UNKNOWN) action = r->default_action;
    if (action == UNKNOWN) return kind == OBJECT || r->ask_name(r, entry, 0);
    const int32_t id = action == CELL ? path->id : UNNAMED;
    if (id >= 0) claim(r, entry, e->path);
    return set_entry(r, entry, action, id);
}

/* Use a cell whose content extends from `from` to `to`. */
static int on_cell(Reader *r, ptrdiff_t entry, int kind, double number, const uint8_t *from,
                   const uint8_t *to) {
    if (r->table.entries[entry].action == UNKNOWN && !resolve_key(r, entry, kind, from)) return 0;
    const Entry *e = &r->table.entries[entry];
    if (e->kept >= 0) r->kept[e->kept] = (Kept){kind, from, to};
    if (r->is_rejected || e->action == IGNORE || e->action == UNKNOWN) return 1;
    if (kind == NUL && e->action != VECTOR) {
        r->missing[r->n_rows] += e->action == CELL || e->action == CATEGORICAL;
        return 1;
    }
    switch (e->action) {
    case CELL:
        if (kind == TEXT) return use_string(r, entry, 0, from, to);
        return kind < TEXT && use_number(r, entry, number, from, to);
    case CATEGORICAL:
        return kind <= TEXT && use_category(r, entry, kind, number, from, to);
    case LABEL:
        return kind < LIST ? use_label(r, kind, from, to) : r->reject(r, INVALID_LABEL, entry, NAN, from, to);
    case WEIGHT:
        return use_weight(r, kind, number, from, to) || r->reject(r, INVALID_WEIGHT, entry, number, from, to);
    default: /* VECTOR */
        if (kind == NUL) return !r->needs_vector || r->reject(r, NO_LIST, entry, NAN, from, to);
        return r->reject(r, kind == LIST ? INVALID_LIST : NO_LIST, entry, number, from, to);
    }
}

/* `on_cell` for numbers, most of which are the values of features. */
static inline int on_number(Reader *r, ptrdiff_t entry, double number, const uint8_t *from,
                            const uint8_t *to) {
    const Entry *e = &r->table.entries[entry];
    if (e->action == CELL && e->id >= 0 && e->kept < 0 && !r->has_null_numbers && r->n < r->room &&
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
    for (ptrdiff_t k = 0; k < r->n_kept; k++) r->kept[k] = (Kept){NUL, NULL, NULL};
    r->last = r->root;
    r->n_entries = r->table.n;
    r->n_before = r->n_features;
    r->n_labels_before = r->n_labels;
    r->n_notes_before = r->n_notes;
    r->max_features = r->next_max_features;
    r->n_changes = r->n_list_values = r->n_number_lists = 0;
    r->number_list = -1;
    r->has_found_label = r->is_rejected = r->changes_schema = r->has_vector = r->is_image = 0;
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

/* Take back what this record has added and changed. */
static int roll_back(Reader *r) {
    for (; r->n_features > r->n_before; r->n_features--) {
        const Added *added = &r->added[--r->n_added];
        Entry *name = &r->table.entries[added->name];
        name->id = -1;
        if (added->column >= 0) r->table.entries[added->column].n_strings--;
        if (added->element >= 0) {
            r->element_ids[added->element] = -1;
            r->n_unknown_elements++;
        }
    }
    restore_entries(r);
    r->n_notes = r->n_notes_before;
    if (r->n_labels == r->n_labels_before && !r->has_found_label) return 1;
    r->n_label_rows -= r->n_labels - r->n_labels_before;
    r->n_labels = r->n_labels_before;
    r->n_found_labels -= r->has_found_label;
    r->next_max_features = r->max_features;
    r->seeks_label |= r->has_found_label;
    r->has_found_label = 0;
    return r->truncate(r);
}

/* Keep the entries of a record that is not learned, unless there are too many. */
static void end_unlearned(Reader *r) {
    const ptrdiff_t n = r->table.n - r->n_entries;
    if (r->n_unlearned + n <= MAX_UNLEARNED_ENTRIES) {
        r->n_unlearned += n;
    } else {
        restore_entries(r);
        r->n_notes = r->n_notes_before;
    }
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

/* Drop zeros that were kept until the record decided whether rows are lists. */
static void drop_zeros(Reader *r) {
    ptrdiff_t n = r->starts[r->n_rows];
    for (ptrdiff_t k = n; k < r->n; k++) {
        r->feature_ids[n] = r->feature_ids[k];
        r->values[n] = r->values[k];
        n += r->values[k] != 0.0;
    }
    r->n = n;
}

/* What becomes of a record that was scanned, and of one that has ended. */
enum { FAILED, SKIPPED, POSTPONED, UNUSABLE, USABLE, ENDED };

/* Return whether rows are lists, as this record shows: it has a list of numbers and no other feature, or one that
   is named as an image. */
static int has_only_list(const Reader *r) {
    return r->is_image || (r->n_number_lists == 1 && r->n - r->starts[r->n_rows] == r->n_list_values);
}

/* End a record: keep what it has added, or roll back. A record that changes the schema is postponed unless it is
   the block's first one. */
static int end_record(Reader *r, int is_usable, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t i = r->n_rows;
    if (is_usable && r->needs_vector && !r->has_vector && !r->is_rejected &&
        !r->reject(r, NO_LIST, -1, NAN, r->begin, r->begin))
        return FAILED;
    if (is_usable && r->has_aliases && !r->is_rejected) {
        const int32_t id = find_duplicate(r);
        if (id < -1 || (id >= 0 && !r->reject(r, DUPLICATE_FEATURE, -1, id, r->begin, r->begin))) return FAILED;
    }
    const int has_label = r->labels[i] >= 0;
    int status = !is_usable ? MALFORMED : r->is_rejected ? REJECTED : has_label ? LEARNED : UNLABELED;
    const int is_learnable = r->learns && (status == LEARNED || (status == UNLABELED && r->keeps_unlabeled));
    const int decides_list = is_learnable && r->seeks_list && r->n > r->starts[i];
    const int is_list = decides_list && has_only_list(r);
    if (is_list && !r->set_list(r, r->number_list, r->list_length)) return FAILED;
    if (is_list || (is_learnable && (r->changes_schema || decides_list) && i > 0)) {
        r->n = r->starts[i];
        return roll_back(r) ? POSTPONED : FAILED;
    }
    if (r->n_kept && (status = r->read_kept(r, status)) < 0) return FAILED;
    r->status[i] = (uint8_t)status;
    if (status >= REJECTED) {
        r->n = r->starts[i];
        r->labels[i] = -1;
        if (!roll_back(r)) return FAILED;
    } else if (is_learnable && (!is_closed(r) || r->n_features > r->n_before)) {
        if (decides_list) {
            r->seeks_list = 0;
            r->keeps_zeros = r->wants_zeros;
            if (!r->keeps_zeros) drop_zeros(r);
        }
    } else if (is_learnable || !r->learns) {
        end_unlearned(r);
    } else {
        if (r->n_features > r->n_before) drop_new_features(r);
        if (!roll_back(r)) return FAILED;
    }
    if (status != REDELIVERED && r->seeks_label) r->seeks_label = --r->label_records > 0;
    r->begins[i] = begin;
    r->ends[i] = end;
    r->starts[++r->n_rows] = r->n;
    return ENDED;
}

/* Begin a block of rows. */
static void begin_block(Reader *r) { r->n = r->n_rows = r->n_added = r->n_notes = r->n_label_rows = 0; }

#endif
