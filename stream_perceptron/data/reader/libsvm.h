/* LIBSVM: an optional label, and pairs such as 3:0.5. */

#ifndef LIBSVM_H
#define LIBSVM_H

#include "record.h"

static const uint8_t *skip_token(const Reader *r, const uint8_t *p) {
    for (;; p++) {
        p = skip_plain(p, r->limit, ':', '#', 33);
        if (p >= r->end || *p == ':' || *p == '#' || *p <= 32) return p;
    }
}

static int scan_libsvm(Reader *r, const uint8_t *p) {
    if (*p == '#') return SKIPPED;
    const ptrdiff_t label = r->root + 1;
    const uint8_t *comment = memchr(p, '#', r->end - p), *stop;
    if (comment != NULL) r->end = comment;
    p = skip_spaces(p);
    stop = skip_token(r, p);
    if (*stop != ':' || stop >= r->end) {
        if (!on_cell(r, label, stop > p ? TEXT : NUL, NAN, p, stop)) return UNUSABLE;
        p = stop;
    }
    for (;;) {
        for (; is_space(*p) && p < r->end;) p++;
        if (p >= r->end) return USABLE;
        ptrdiff_t entry = guess(&r->table, r->last, r->root, p, r->limit, ':');
        if (entry >= 0) {
            stop = p + r->table.entries[entry].length;
        } else {
            stop = skip_token(r, p);
            if (stop >= r->end || stop == p || *stop != ':') return UNUSABLE;
            entry = intern(&r->table, r->root, p, stop - p, r->limit);
            if (entry < 0) return UNUSABLE;
            r->table.entries[r->last].next = entry;
        }
        if (!stamp(r, entry)) return UNUSABLE;
        r->last = entry;
        double number;
        const uint8_t *from = stop + 1;
        p = read_number(from, r->limit, 0, &number);
        if (p == NULL) {
            p = skip_token(r, from);
            if (!is_decimal(from, p)) return UNUSABLE;
            number = r->round(from, p);
        }
        if ((p < r->end && !is_space(*p)) || !on_number(r, entry, number, from, p)) return UNUSABLE;
    }
}

#endif
