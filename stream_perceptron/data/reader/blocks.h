/* Blocks of text. A record ends with a newline, at which all searches stop. */

#ifndef BLOCKS_H
#define BLOCKS_H

#include "csv.h"
#include "jsonl.h"
#include "libsvm.h"

enum { CSV, JSON, LIBSVM, ARROW };

/* Scans a record; returns what becomes of it. Arrow has no text to scan. */
typedef int (*Scanner)(Reader *, const uint8_t *record);

static const Scanner SCANNERS[] = {scan_csv, scan_json, scan_libsvm};
static const uint8_t ESCAPES[] = {'"', '\\', 0, 0};

/* Read at most `max_rows` records; return the end of the last one, or NULL after an error. Reading
   stops before a record that changes the schema, or whose end may be in the next block. */
static const uint8_t *read_records(Reader *r, int format, const uint8_t *data, const uint8_t *p,
                                   ptrdiff_t max_rows) {
    begin_block(r);
    while (r->n_rows < max_rows && p < r->limit) {
        const uint8_t *line_end = memchr(p, '\n', r->limit - p), *record = p;
        if (line_end == NULL) break;
        p = line_end + 1;
        r->begin = record;
        r->end = line_end - (line_end > record && line_end[-1] == '\r');
        if (r->end == record) continue;
        if (!begin_record(r)) return NULL;
        int outcome = SCANNERS[format](r, record);
        if (outcome == SKIPPED) continue;
        if (outcome >= UNUSABLE) {
            /* A comment ends a LIBSVM record before its line ends. */
            if (r->end > line_end) p = (const uint8_t *)memchr(r->end, '\n', r->limit - r->end) + 1;
            outcome = end_record(r, outcome == USABLE, record - data, p - data);
        }
        if (outcome == FAILED) return NULL;
        if (outcome == POSTPONED) {
            r->n = r->starts[r->n_rows];
            p = record;
            break;
        }
    }
    if (!reserve_row(r)) return NULL;
    r->starts[r->n_rows] = r->n;
    return p;
}

#endif
