/* What has become of a row. Python uses the same numbers; see model/rows.py. */

#ifndef STATUS_H
#define STATUS_H

/* Rows from REJECTED on are skipped. A malformed row has no reason for its rejection yet. */
enum { LEARNED, UNLABELED, REJECTED, MALFORMED, REDELIVERED };

#endif
