/* A hash table of spellings: bytes under a parent, such as a key in an object, the content of a cell,
   or a label. Each spelling says what to do with a cell that has it. */

#ifndef TABLE_H
#define TABLE_H

#include <stdlib.h>

#include "number.h"

typedef struct {
    uint64_t head, tail;    /* the first and the last eight bytes */
    uint32_t begin, length; /* in the pool */
    int32_t parent;         /* the entry of the object or column; -1 for none */
    int32_t next;           /* the entry that last followed this one in a record; -1 for none */
    int32_t column;         /* of a feature: the first column that had it; -1 for none */
    uint32_t stamp;         /* the serial number of the last record with this entry; 0 for none */
    int32_t id;             /* of a feature or a label */
    int32_t kept;           /* the index among the kept cells; -1 for none */
    int32_t path;           /* of a column or key: the entry of its path */
    int32_t respelling;     /* of a key: another key with its path; of a path: its first key; -1 for none */
    int32_t n_strings;      /* of a path: the number of features that its strings have added */
    uint8_t action;
    uint8_t noted;          /* what has been noted about a column, as bits */
    uint8_t has_occurred;   /* of a path: whether a record has had its key */
    uint8_t has_named;      /* of a path: whether options name paths below it */
} Entry;

typedef struct {
    uint8_t *pool; /* the spellings, one after another */
    Entry *entries;
    uint32_t *buckets; /* (2 * room,), the index of an entry plus 1; 0 for none */
    ptrdiff_t n, room, pool_size, pool_room;
} Table;

static inline uint64_t load_head(const uint8_t *p, ptrdiff_t length, const uint8_t *limit) {
    const uint64_t word = load_word(p, limit);
    return length >= 8 ? word : word & ((UINT64_C(1) << 8 * length) - 1);
}

static inline uint64_t load_tail(const uint8_t *p, ptrdiff_t length) {
    uint64_t word = 0;
    if (length > 8) memcpy(&word, p + length - 8, 8);
    return word;
}

static inline uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash * UINT64_C(0x9E3779B97F4A7C15) ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

static uint64_t hash_bytes(int32_t parent, uint64_t head, uint64_t tail, const uint8_t *p,
                           ptrdiff_t length) {
    uint64_t hash = mix((uint64_t)length << 32 | (uint32_t)parent, head);
    if (length > 8) hash = mix(hash, tail);
    for (ptrdiff_t i = 8; i < length - 8; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        hash = mix(hash, word);
    }
    return hash;
}

static inline int equals(const Table *t, ptrdiff_t i, int32_t parent, uint64_t head, uint64_t tail,
                         const uint8_t *p, ptrdiff_t length) {
    const Entry *e = &t->entries[i];
    return e->head == head && e->tail == tail && e->length == length && e->parent == parent &&
           (length <= 16 || memcmp(t->pool + e->begin + 8, p + 8, length - 16) == 0);
}

static ptrdiff_t find_bucket(const Table *t, int32_t parent, uint64_t head, uint64_t tail,
                           const uint8_t *p, ptrdiff_t length) {
    uint64_t probe = hash_bytes(parent, head, tail, p, length);
    for (;; probe++) {
        const ptrdiff_t i = probe & (2 * t->room - 1);
        if (!t->buckets[i] || equals(t, t->buckets[i] - 1, parent, head, tail, p, length)) return i;
    }
}

static ptrdiff_t bucket_of(const Table *t, const Entry *e) {
    return find_bucket(t, e->parent, e->head, e->tail, t->pool + e->begin, e->length);
}

/* Resize a block of memory, given the address of its pointer; return 0 if memory runs out. */
static int resize(void *block, size_t size) {
    void **memory = block, *new = realloc(*memory, size);
    if (new != NULL) *memory = new;
    return new != NULL;
}

static int grow_table(Table *t) {
    const ptrdiff_t room = t->room ? 2 * t->room : 64;
    if (room > INT32_MAX || !resize(&t->entries, room * sizeof(Entry)) ||
        !resize(&t->buckets, 2 * room * sizeof(uint32_t)))
        return 0;
    t->room = room;
    memset(t->buckets, 0, 2 * room * sizeof(uint32_t));
    for (ptrdiff_t i = 0; i < t->n; i++) t->buckets[bucket_of(t, &t->entries[i])] = i + 1;
    return 1;
}

/* Return the entry of a spelling, or -1. Bytes up to `limit` may be read. */
static inline ptrdiff_t find_entry(const Table *t, int32_t parent, const uint8_t *p, ptrdiff_t length,
                                   const uint8_t *limit) {
    const uint64_t head = load_head(p, length, limit), tail = load_tail(p, length);
    return (ptrdiff_t)t->buckets[find_bucket(t, parent, head, tail, p, length)] - 1;
}

/* Return the entry of a spelling; add one if there is none. Return -1 if memory runs out. Bytes up to
   `limit` may be read. */
static inline ptrdiff_t intern(Table *t, int32_t parent, const uint8_t *p, ptrdiff_t length,
                               const uint8_t *limit) {
    if (t->n == t->room && !grow_table(t)) return -1;
    const uint64_t head = load_head(p, length, limit), tail = load_tail(p, length);
    const ptrdiff_t bucket = find_bucket(t, parent, head, tail, p, length);
    if (t->buckets[bucket]) return t->buckets[bucket] - 1;
    if (t->pool_size + length > t->pool_room) {
        const ptrdiff_t room = 2 * (t->pool_size + length) + 1024;
        if (room > UINT32_MAX || !resize(&t->pool, room)) return -1;
        t->pool_room = room;
    }
    if (length) memcpy(t->pool + t->pool_size, p, length);
    t->entries[t->n] = (Entry){.head = head, .tail = tail, .begin = t->pool_size, .length = length,
                               .parent = parent, .next = -1, .column = -1, .id = -1, .kept = -1, .path = -1,
                               .respelling = -1};
    t->pool_size += length;
    t->buckets[bucket] = t->n + 1;
    return t->n++;
}

/* Remove all entries after the first n, starting with the last, on whose bucket no other depends. */
static inline void truncate_table(Table *t, ptrdiff_t n) {
    for (; t->n > n; t->n--) {
        const Entry *e = &t->entries[t->n - 1];
        t->buckets[bucket_of(t, e)] = 0;
        t->pool_size = e->begin;
    }
}

/* Return the entry that last followed `last` if it is spelled at p, before the byte `stop`; otherwise,
   -1. */
static inline ptrdiff_t guess(const Table *t, ptrdiff_t last, int32_t parent, const uint8_t *p,
                              const uint8_t *limit, uint8_t stop) {
    const ptrdiff_t i = t->entries[last].next;
    if (i < 0 || i >= t->n) return -1;
    const ptrdiff_t length = t->entries[i].length;
    if (limit - p <= length || p[length] != stop) return -1;
    return equals(t, i, parent, load_head(p, length, limit), load_tail(p, length), p, length) ? i : -1;
}

#endif
