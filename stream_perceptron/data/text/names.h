/* A hash table of the names in records. */

#ifndef NAMES_H
#define NAMES_H

#include <stdlib.h>

#include "number.h"

enum { MAX_WRONG_GUESSES = 3, MAX_NUMBERED = 1000000 };

/* Half a cache line, because look-ups among many names are frequent. */
typedef struct {
    uint64_t head, tail; /* the first and the last eight bytes */
    uint32_t begin;      /* in the pool */
    uint32_t length;
    uint32_t stamp;      /* the serial number of the last record with this name */
    int32_t next;        /* the name that last followed it */
} Name;

typedef struct {
    int32_t name; /* -1 for none */
    uint32_t stamp;
} Numbered;

typedef struct {
    uint32_t name; /* the index of the name plus 1; 0 for none */
    uint32_t tag;  /* the upper half of its hash */
} Slot;

typedef struct {
    uint8_t *pool; /* the names, one after another */
    Name *items;
    Slot *slots;
    Numbered *numbered; /* names that are numbers */
    ptrdiff_t n, room, pool_size, pool_room, n_numbered;
    uint32_t serial; /* the serial number of the current record */
    int n_wrong_guesses;     /* of the next name in this record; guessing stops after a few */
} Names;

/* Return the first eight bytes of a name, padded with zeros. */
static inline uint64_t load_head(const uint8_t *p, ptrdiff_t length, const uint8_t *limit) {
    const uint64_t word = load_word(p, limit);
    return length >= 8 ? word : word & ((UINT64_C(1) << 8 * length) - 1);
}

/* Return the last eight bytes of a name; 0 if it has at most eight. */
static inline uint64_t load_tail(const uint8_t *p, ptrdiff_t length) {
    uint64_t word = 0;
    if (length > 8) memcpy(&word, p + length - 8, 8);
    return word;
}

/* Return the hash of a name with this head and tail. */
static inline uint64_t hash_name(uint64_t head, uint64_t tail, const uint8_t *p, ptrdiff_t length) {
    const uint64_t multiplier = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t value = (length * multiplier ^ head) * multiplier;
    value ^= value >> 32;
    if (length > 8) {
        value = (value ^ tail) * multiplier;
        value ^= value >> 32;
        for (ptrdiff_t i = 8; i < length - 8; i += 8) {
            uint64_t word;
            memcpy(&word, p + i, 8);
            value = (value ^ word) * multiplier;
            value ^= value >> 32;
        }
    }
    /* Mix once more, so that the last bytes reach the lowest bits, which choose a slot. */
    value *= multiplier;
    return value ^ value >> 32;
}

/* Return the value of a name that is a number of up to six digits without leading zeros, or -1. */
static inline ptrdiff_t parse_index(const uint8_t *p, ptrdiff_t length) {
    ptrdiff_t number = 0;
    if (length == 0 || length > 6 || (*p == '0' && length > 1)) return -1;
    for (ptrdiff_t i = 0; i < length; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        number = number * 10 + (p[i] - '0');
    }
    return number;
}

static inline int equals_name(const Names *names, ptrdiff_t i, uint64_t head, uint64_t tail,
                          const uint8_t *p, ptrdiff_t length) {
    const Name *name = &names->items[i];
    return name->head == head && name->tail == tail && name->length == length &&
           (length <= 16 || memcmp(names->pool + name->begin + 8, p + 8, length - 16) == 0);
}

/* Return the index of a name with this head and tail; -1 if it is unknown. */
static inline ptrdiff_t look_up(const Names *names, uint64_t head, uint64_t tail, const uint8_t *p,
                                ptrdiff_t length) {
    if (names->room == 0) return -1;
    const uint64_t hash = hash_name(head, tail, p, length);
    for (uint64_t probe = hash;; probe++) {
        const Slot slot = names->slots[probe & (2 * names->room - 1)];
        if (slot.name == 0) return -1;
        if (slot.tag == hash >> 32 && equals_name(names, slot.name - 1, head, tail, p, length))
            return slot.name - 1;
    }
}

/* Return the index of a name; -1 if it is unknown. */
static inline ptrdiff_t find_name(const Names *names, const uint8_t *p, ptrdiff_t length,
                                  const uint8_t *limit) {
    return look_up(names, load_head(p, length, limit), load_tail(p, length), p, length);
}

/* Return the index of a name in two parts that together have 9 to 16 bytes, at least 8 in the first and
   1 to 7 in the second; -1 if it is unknown. The parts are joined in registers, because words that
   have just been written are slow to read again. */
static inline ptrdiff_t find_joined_name(const Names *names, const uint8_t *first,
                                         ptrdiff_t first_length, const uint8_t *second,
                                         ptrdiff_t length, const uint8_t *limit) {
    uint64_t head, first_tail;
    memcpy(&head, first, 8);
    memcpy(&first_tail, first + first_length - 8, 8);
    const uint64_t tail = first_tail >> 8 * length | load_word(second, limit) << 8 * (8 - length);
    return look_up(names, head, tail, NULL, first_length + length);
}

static uint64_t hash_item(const Names *names, const Name *name) {
    return hash_name(name->head, name->tail, names->pool + name->begin, name->length);
}

static void insert_slot(Names *names, ptrdiff_t i) {
    const uint64_t hash = hash_item(names, &names->items[i]);
    uint64_t probe = hash;
    while (names->slots[probe & (2 * names->room - 1)].name) probe++;
    names->slots[probe & (2 * names->room - 1)] = (Slot){(uint32_t)(i + 1), (uint32_t)(hash >> 32)};
}

static void rebuild_slots(Names *names) {
    memset(names->slots, 0, 2 * names->room * sizeof(Slot));
    for (ptrdiff_t i = 0; i < names->n; i++) insert_slot(names, i);
}

static int resize(void *block, size_t size) {
    void **memory = block, *new = realloc(*memory, size);
    if (new != NULL) *memory = new;
    return new != NULL;
}

/* Store the index of a name that is a number, or -1; do nothing if memory runs out. */
static void set_numbered_name(Names *names, const Name *name, int32_t index) {
    const ptrdiff_t number = parse_index(names->pool + name->begin, name->length);
    if (number < 0) return;
    if (number >= names->n_numbered) {
        ptrdiff_t room = number < 512 ? 1024 : 2 * number;
        if (room > MAX_NUMBERED) room = MAX_NUMBERED;
        if (!resize(&names->numbered, room * sizeof(Numbered))) return;
        for (ptrdiff_t i = names->n_numbered; i < room; i++)
            names->numbered[i] = (Numbered){-1, 0};
        names->n_numbered = room;
    }
    names->numbered[number].name = index;
}

/* Add a new name; return its index, or -1 if memory runs out. */
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
    *name = (Name){load_head(p, length, limit), load_tail(p, length), (uint32_t)names->pool_size,
                   (uint32_t)length, 0, -1};
    names->pool_size += length;
    insert_slot(names, names->n);
    set_numbered_name(names, name, (int32_t)names->n);
    return names->n++;
}

/* Remove all names after the first n, starting with the last, whose slot no other name depends on. */
static void truncate_names(Names *names, ptrdiff_t n) {
    while (names->n > n) {
        const Name *name = &names->items[--names->n];
        uint64_t probe = hash_item(names, name);
        while (names->slots[probe & (2 * names->room - 1)].name != names->n + 1) probe++;
        names->slots[probe & (2 * names->room - 1)].name = 0;
        names->pool_size = name->begin;
        set_numbered_name(names, name, -1);
    }
}

/* Return the name that last followed `previous` if it is at p and `stop` follows it, or -1. */
static inline ptrdiff_t guess_name(Names *names, ptrdiff_t previous, const uint8_t *p,
                                   const uint8_t *limit, uint8_t stop) {
    const ptrdiff_t guess = previous < 0 ? -1 : names->items[previous].next;
    if (guess < 0 || guess >= names->n || names->n_wrong_guesses == MAX_WRONG_GUESSES) return -1;
    const ptrdiff_t length = names->items[guess].length;
    if (limit - p > length && p[length] == stop &&
        equals_name(names, guess, load_head(p, length, limit), load_tail(p, length), p, length))
        return guess;
    names->n_wrong_guesses++;
    return -1;
}

/* Return whether a name has already occurred in this record, and stamp it. */
static inline int check_and_stamp(uint32_t *stamp, uint32_t serial) {
    const int is_duplicate = *stamp == serial;
    *stamp = serial;
    return is_duplicate;
}

#endif
