/* The numbers that C and Python share. */

#ifndef CODES_H
#define CODES_H

#include "status.h"

/* Kinds of cells. */
enum { NUL, NUMBER, BOOL, TEXT, LIST, OBJECT };

/* What to do with a cell. */
enum {
    UNKNOWN, /* a key whose meaning is not decided, or a path without a role in options */
    IGNORE,
    CELL,        /* a number is the value of feature `id`: UNNAMED before the first */
    CATEGORICAL, /* a number, too, is a category */
    VECTOR,      /* a list holds the values of the features in `element_ids` */
    LABEL,       /* the content is an entry of its own, whose ID is a label */
    WEIGHT
};

enum { UNNAMED = -1, ABSENT = -2 };

/* Why a record is rejected. */
enum {
    DUPLICATE_FEATURE, /* two values for one feature */
    INVALID_NAME,      /* a key that cannot be decoded */
    INVALID_STRING,
    INVALID_NUMBER, /* out of range, or not finite */
    INVALID_LABEL,  /* a list or an object */
    INVALID_WEIGHT,
    INVALID_LIST, /* a list that cannot hold the features of a row */
    NO_LIST
};

/* What is noted about a column. */
enum {
    FIRST_STRING,
    IGNORED_LIST,
    FULL_COLUMN /* its strings have added as many features as they may */
};

#endif
