/* The compiled kernel: the delta rule, one sample after another, for doubles and for floats.

   Its arithmetic is IEEE 754, in an order that is the same in every build, without anything of the C
   library that rounds. Contraction to fused multiply-add must be off: -ffp-contract=off.

   GCC on Linux compiles each inner loop for several generations of processors and picks one when the
   program starts; others compile it once. */

#ifndef KERNEL_H
#define KERNEL_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <features.h>
#endif

#include "elementary.h"

#ifdef FOR_EACH_PROCESSOR
/* set by a test */
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && \
    !defined(__clang__)
#define FOR_EACH_PROCESSOR \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#define LANES 16
#define BLOCK_BYTES 64

typedef enum { SIGMOID, TANH, ARCTAN, IDENTITY } Function;

/* What does not change from sample to sample. */
typedef struct {
    Function function;
    double low, high; /* the target of every output but one, and of that one */
    double epsilon;
    int stop;
} Rule;

/* Rows of features and what comes with each, and where to write what becomes of it. */
typedef struct {
    ptrdiff_t n, k, d;        /* n rows of d features, k outputs */
    const void *values;       /* of the rows: doubles before a scaler, else numbers as the weights */
    const uint8_t *bytes;     /* the rows as bytes to be scaled, or NULL */
    double scale;
    const intptr_t *starts;   /* of sparse rows, or NULL: their columns ascend */
    const intptr_t *columns;
    const intptr_t *targets;  /* the output that stands for the label; negative: only predict */
    const double *sample_weights;
    const double *rates;      /* by the number of updates */
    double *statistics;       /* of a scaler, or NULL: counts, means and variances, */
    ptrdiff_t apart;          /* each so far apart */
    const intptr_t *widths;   /* how many columns are known before the first row and after each, */
    void *tests;              /* and nets of the rows that bring some, without these; or NULL */
    void *nets;               /* (n, k), written: net inputs before the update */
    double *eps;
    uint8_t *updated;
    int64_t *counts;          /* samples learned, and updates */
    double *last;             /* the last eps */
} Samples;

typedef struct {
    uint8_t *has[3];   /* whether each block of a row is not all zero: two rows in turn, and a part */
    ptrdiff_t *starts; /* of blocks to be read */
    ptrdiff_t counts[LANES];
} Blocks;

typedef struct {
    ptrdiff_t filled; /* the numbers of a dense row, with the zeros that fill its last block */
    double *y, *slopes, *delta;
    double *before, *after; /* statistics of a row, if they are scaled */
    void *steps;
    void *net;     /* of one sample */
    void *rows[3]; /* for two rows that had to be made, in turn, and for a part of one */
    void *values;  /* of the nonzero features of a row, */
    intptr_t *places; /* and their columns */
    Blocks blocks;
} Scratch;

typedef struct {
    const uint8_t *bytes; /* of a dense row, if it comes from them */
    const intptr_t *at;   /* the columns of a sparse row; NULL for all */
    ptrdiff_t width;
} Row;

/* As `features.wants_dense`. This is about speed alone: the bits are the same either way. */
static inline int is_dense(ptrdiff_t n_nonzero, ptrdiff_t n_features) {
    return n_features <= 1024 || n_nonzero * 8 >= n_features;
}

/* Returns how many of m ascending columns are below a width. */
static inline ptrdiff_t up_to(const intptr_t *columns, ptrdiff_t m, ptrdiff_t width) {
    while (m > 0 && columns[m - 1] >= width) m--;
    return m;
}

/* y = f(net) and slopes = f'(net) of k outputs, in doubles. */
FOR_EACH_PROCESSOR
static void activate(Function function, const double *net, ptrdiff_t k, double *restrict y,
                     double *restrict slopes) {
    switch (function) {
    case SIGMOID:
        /* In two loops, of which a processor has more turns under way at a time. */
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_exp_within(-net[j]);
        for (ptrdiff_t j = 0; j < k; j++) {
            y[j] = 1.0 / (1.0 + y[j]);
            slopes[j] = (1.0 - y[j]) * y[j];
        }
        break;
    case TANH:
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_tanh(net[j]);
        for (ptrdiff_t j = 0; j < k; j++) {
            slopes[j] = 1.0 - y[j] * y[j];
        }
        break;
    case ARCTAN:
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_atan(net[j]);
        for (ptrdiff_t j = 0; j < k; j++) {
            slopes[j] = 1.0 / (1.0 + net[j] * net[j]);
        }
        break;
    case IDENTITY:
        for (ptrdiff_t j = 0; j < k; j++) {
            y[j] = net[j];
            slopes[j] = 1.0;
        }
    }
}

/* Make the outputs of a sample into probabilities: minus the low target, minus the smallest if that is
   negative, scaled to a sum of 1; uniform if all are zero. */
static void to_probabilities(double *y, ptrdiff_t k, double low) {
    double least = 0.0, top = 0.0, sum = 0.0;
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] -= low;
        least = y[j] < least ? y[j] : least;
    }
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] -= least;
        top = y[j] > top ? y[j] : top;
    }
    /* Scaling by the largest first keeps the sum finite. */
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] = top > 0.0 ? y[j] / top : 1.0;
        sum += y[j];
    }
    for (ptrdiff_t j = 0; j < k; j++) y[j] /= sum;
}

/* after = counts, means and variances that have x in them, where it is not NaN, by Welford's
   recurrences; all three have m numbers each. Returns 0 if all are finite. */
FOR_EACH_PROCESSOR
static double welford(const double *restrict x, const double *counts, const double *means,
                      const double *variances, ptrdiff_t m, double *restrict after) {
    double odd = 0.0;
    for (ptrdiff_t i = 0; i < m; i++) {
        const int is_counted = counts[i] >= 0.0 && x[i] == x[i];
        const double n = counts[i] + 1.0, apart = x[i] - means[i];
        const double mean = means[i] + apart / n;
        const double variance = variances[i] + (apart * (x[i] - mean) - variances[i]) / n;
        after[i] = is_counted ? n : counts[i];
        after[m + i] = is_counted ? mean : means[i];
        after[2 * m + i] = is_counted ? variance : variances[i];
        odd += (after[m + i] - after[m + i]) + (after[2 * m + i] - after[2 * m + i]);
    }
    return odd;
}

#define T double
#define LARGEST DBL_MAX
#define SPACING DBL_EPSILON
#define OF(name) name##_double
#include "loops.h"
#include "learning.h"
#undef T
#undef LARGEST
#undef SPACING
#undef OF

#define T float
#define LARGEST FLT_MAX
#define SPACING FLT_EPSILON
#define OF(name) name##_float
#include "loops.h"
#include "learning.h"
#undef T
#undef LARGEST
#undef SPACING
#undef OF

#endif
