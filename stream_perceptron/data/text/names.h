/* A hash table of the names in records. */

#ifndef NAMES_H
#define NAMES_H

#include <stdlib.h>

#include "number.h"

enum { MOST_WRONG = 3, MOST_NUMBER = 1000000 };

/* Half a cache line, because look-ups among many names are frequent. */
typedef struct {
    uint64_t head, tail; /* the first and the last eight bytes */
    uint32_t begin;      /* in the pool */
    uint32_t length;
    uint32_t stamp;      /* the last record with it */
    int32_t after;       /* the name that last followed it */
} Name;

typedef struct {
    int32_t name; /* -1 for none */
    uint32_t stamp;
} Numbered;

typedef struct {
    uint32_t name; /* place of the name plus 1; 0 for none */
    uint32_t tag;  /* upper half of its hash */
} Slot;

typedef struct {
    uint8_t *pool; /* the names, one after another */
    Name *items;
    Slot *slots;
    Numbered *numbered; /* names that are numbers */
    ptrdiff_t n, room, pool_size, pool_room, n_numbered;
    uint32_t serial; /* of the record */
    int n_wrong;     /* wrong guesses at the next name in this record; a few end the guessing */
} Names;

/* The first eight bytes of a name, filled up with zeros. */
static inline uint64_t head_of(const uint8_t *p, ptrdiff_t length, const uint8_t *limit) {
    const uint64_t word = word_at(p, limit);
    return length >= 8 ? word : word & ((UINT64_C(1) << 8 * length) - 1);
}

/* The last eight bytes of a name; zero if it has at most eight. */
static inline uint64_t tail_of(const uint8_t *p, ptrdiff_t length) {
    uint64_t word = 0;
    if (length > 8) memcpy(&word, p + length - 8, 8);
    return word;
}

/* The hash of a name with this head and tail. */
static inline uint64_t hash_of(uint64_t head, uint64_t tail, const uint8_t *p, ptrdiff_t length) {
    const uint64_t odd = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t value = (length * odd ^ head) * odd;
    value ^= value >> 32;
    if (length > 8) {
        value = (value ^ tail) * odd;
        value ^= value >> 32;
        for (ptrdiff_t i = 8; i < length - 8; i += 8) {
            uint64_t word;
            memcpy(&word, p + i, 8);
            value = (value ^ word) * odd;
            value ^= value >> 32;
        }
    }
    /* Mix once more, so that the last bytes reach the lowest bits, which choose a slot. */
    value *= odd;
    return value ^ value >> 32;
}

/* The value of a name that is a number of at most six digits without leading zeros; else -1. */
static inline ptrdiff_t number_of(const uint8_t *p, ptrdiff_t length) {
    ptrdiff_t number = 0;
    if (length == 0 || length > 6 || (*p == '0' && length > 1)) return -1;
    for (ptrdiff_t i = 0; i < length; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        number = number * 10 + (p[i] - '0');
    }
    return number;
}

static inline int is_name(const Names *names, ptrdiff_t i, uint64_t head, uint64_t tail,
                          const uint8_t *p, ptrdiff_t length) {
    const Name *name = &names->items[i];
    return name->head == head && name->tail == tail && name->length == length &&
           (length <= 16 || memcmp(names->pool + name->begin + 8, p + 8, length - 16) == 0);
}

/* The place among the items of a name with this head and tail; -1 if it is unknown. */
static inline ptrdiff_t look_up(const Names *names, uint64_t head, uint64_t tail, const uint8_t *p,
                                ptrdiff_t length) {
    if (names->room == 0) return -1;
    const uint64_t hash = hash_of(head, tail, p, length);
    for (uint64_t place = hash;; place++) {
        const Slot slot = names->slots[place & (2 * names->room - 1)];
        if (slot.name == 0) return -1;
        if (slot.tag == hash >> 32 && is_name(names, slot.name - 1, head, tail, p, length))
            return slot.name - 1;
    }
}

/* The place of a name among the items; -1 if it is unknown. */
static inline ptrdiff_t find_name(const Names *names, const uint8_t *p, ptrdiff_t length,
                                  const uint8_t *limit) {
    return look_up(names, head_of(p, length, limit), tail_of(p, length), p, length);
}

/* The place of a name in two parts that have 9 to 16 bytes together, the first at least 8 and the
   second 1 to 7; -1 if it is unknown. Words that were just written are slow to read again, so the
   parts are joined in registers. */
static inline ptrdiff_t find_joined_name(const Names *names, const uint8_t *first,
                                         ptrdiff_t first_length, const uint8_t *second,
                                         ptrdiff_t length, const uint8_t *limit) {
    uint64_t head, before;
    memcpy(&head, first, 8);
    memcpy(&before, first + first_length - 8, 8);
    const uint64_t tail = before >> 8 * length | word_at(second, limit) << 8 * (8 - length);
    return look_up(names, head, tail, NULL, first_length + length);
}

static uint64_t hash_of_item(const Names *names, const Name *name) {
    return hash_of(name->head, name->tail, names->pool + name->begin, name->length);
}

static void put_name(Names *names, ptrdiff_t i) {
    const uint64_t hash = hash_of_item(names, &names->items[i]);
    uint64_t place = hash;
    while (names->slots[place & (2 * names->room - 1)].name) place++;
    names->slots[place & (2 * names->room - 1)] = (Slot){(uint32_t)(i + 1), (uint32_t)(hash >> 32)};
}

static void rebuild_slots(Names *names) {
    memset(names->slots, 0, 2 * names->room * sizeof(Slot));
    for (ptrdiff_t i = 0; i < names->n; i++) put_name(names, i);
}

static int resize(void *block, size_t size) {
    void **memory = block, *new = realloc(*memory, size);
    if (new != NULL) *memory = new;
    return new != NULL;
}

/* Store the place of a name that is a number, or -1; skip this if memory is short. */
static void set_numbered(Names *names, const Name *name, int32_t place) {
    const ptrdiff_t number = number_of(names->pool + name->begin, name->length);
    if (number < 0) return;
    if (number >= names->n_numbered) {
        ptrdiff_t room = number < 512 ? 1024 : 2 * number;
        if (room > MOST_NUMBER) room = MOST_NUMBER;
        if (!resize(&names->numbered, room * sizeof(Numbered))) return;
        for (ptrdiff_t i = names->n_numbered; i < room; i++)
            names->numbered[i] = (Numbered){-1, 0};
        names->n_numbered = room;
    }
    names->numbered[number].name = place;
}

/* Add a new name; return its place, -1 if memory is short. */
static ptrdiff_t add_name(Names *names, const uint8_t *p, ptrdiff_t length, const uint8_t *limit) {
    if (names->n == names->room) {
        const ptrdiff_t room = names->room ? 2 * names->room : 64;
        if (room > INT32_MAX || !resize(&names->items, room * sizeof(Name)) ||
            !resize(&names->slots, 2 * room * sizeof(Slot)))
            return -1;
        names->room = room;
        rebuild_slots(names);
    }
    if (names->pool_size + length > names->pool_room) {
        const ptrdiff_t room = 2 * (names->pool_size + length) + 1024;
        if (room > UINT32_MAX || !resize(&names->pool, room)) return -1;
        names->pool_room = room;
    }
    if (length > 0) memcpy(names->pool + names->pool_size, p, length);
    Name *name = &names->items[names->n];
    *name = (Name){head_of(p, length, limit), tail_of(p, length), (uint32_t)names->pool_size,
                   (uint32_t)length, 0, -1};
    names->pool_size += length;
    put_name(names, names->n);
    set_numbered(names, name, (int32_t)names->n);
    return names->n++;
}

/* Remove all names after the first n, the last one first: no other name was placed after it. */
static void truncate_names(Names *names, ptrdiff_t n) {
    while (names->n > n) {
        const Name *name = &names->items[--names->n];
        uint64_t place = hash_of_item(names, name);
        while (names->slots[place & (2 * names->room - 1)].name != names->n + 1) place++;
        names->slots[place & (2 * names->room - 1)].name = 0;
        names->pool_size = name->begin;
        set_numbered(names, name, -1);
    }
}

/* The name that last followed another, if it stands at p before the byte `stop`; else -1. */
static inline ptrdiff_t guess_name(Names *names, ptrdiff_t before, const uint8_t *p,
                                   const uint8_t *limit, uint8_t stop) {
    const ptrdiff_t guess = before < 0 ? -1 : names->items[before].after;
    if (guess < 0 || guess >= names->n || names->n_wrong == MOST_WRONG) return -1;
    const ptrdiff_t length = names->items[guess].length;
    if (limit - p > length && p[length] == stop &&
        is_name(names, guess, head_of(p, length, limit), tail_of(p, length), p, length))
        return guess;
    names->n_wrong++;
    return -1;
}

/* Whether a name occurred in this record before; stamps it. */
static inline int is_twice(uint32_t *stamp, uint32_t serial) {
    const int twice = *stamp == serial;
    *stamp = serial;
    return twice;
}

#endif
