/* The compiled kernel: the delta rule, one sample after another.

   `learn` takes a model and rows, and writes results. learning.h has the steps of the rule,
   weight_rows.h has the loops over weights, and elementary.h has exp, tanh and atan.

   Every build performs the same IEEE 754 operations in the same order: the four basic operations and
   the square root, which are correctly rounded. Contraction to fused multiply-add must be off:
   -ffp-contract=off.

   GCC on Linux compiles a version of each inner loop for each of several processor generations; the
   version to run is chosen when the program starts. Other compilers compile each loop once. */

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
#include "status.h"

#ifdef FOR_EACH_PROCESSOR
/* set by a test */
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && \
    !defined(__clang__)
#define FOR_EACH_PROCESSOR \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

typedef enum { SIGMOID, TANH, ARCTAN, IDENTITY } Function;

/* A model with k outputs and d features, its rule, and a scaler's statistics. Learning changes the
   weights, the biases, the counts and the statistics. */
typedef struct {
    ptrdiff_t k, d;
    double *weights;            /* weight rows, each with one feature's weights for all outputs */
    ptrdiff_t stride;           /* doubles from one feature's row to the next's: 2, 4 or a multiple
                                   of 8, at least k; the rest of a row is padding */
    double *biases;             /* (k,), padded like a weight row */
    double *update_counts;      /* (1 + d,), the number of updates of the bias, and those in which each
                                   feature was nonzero; counted below n_falling */
    Function function;          /* the activation, with the targets of its outputs: */
    double low, high;           /* high for the label's output, low for all others */
    double epsilon;             /* samples with a smaller error cause no update */
    double n_falling;           /* the count from which a falling rate is its end; 0 if rates are
                                   constant */
    double first_factor;        /* the start of a falling rate, divided by its end */
    int stop;                   /* whether the first such sample ends the training */
    double *statistics;         /* counts, means, variances and indicators of features; NULL without a
                                   scaler */
    ptrdiff_t statistics_width; /* doubles from the counts to the means, and so on */
    const double *class_factors; /* (k,), for the weights of samples of each class; may be NULL */
    int64_t *class_counts;       /* (k,), the samples learned from, if classes are balanced; else NULL */
} Model;

/* n rows in compressed sparse form, of which those from `start` to `end` - 1 are learned. Row i has
   the values from index starts[i] to index starts[i + 1] - 1. */
typedef struct {
    ptrdiff_t start, end;
    const intptr_t *starts;       /* (n + 1,) */
    ptrdiff_t longest;            /* the number of values in the longest of the rows learned */
    const double *values;
    const int32_t *feature_ids;   /* unique in a row; outside [0, d) if unknown */
    const uint8_t *status;        /* (n,), rows from REJECTED on are skipped; NULL if all are usable */
    const intptr_t *n_features;   /* (end - start + 1,), the number of features known before each row,
                                     and after the last; NULL if no row adds features */
    const intptr_t *n_labels;     /* the same for labels */
    const intptr_t *targets;      /* (n,), the output of each row's label, below k; negative: only
                                     predict the row; NULL: predict all */
    const double *sample_weights; /* (n,) */
    const double *rates;          /* (end - start,), learning rates, indexed by the number of updates
                                     so far; the ends of falling ones */
} Rows;

/* Written by `learn`, row by row. Arrays other than `errors`, `updated` and `counts` are NULL if not
   requested. With a scaler, the statistics include the row when its error is computed, but not when it
   is predicted. */
typedef struct {
    double *nets;        /* (n, k), net inputs before the row is learned */
    intptr_t *predicted; /* (n,), the output with the largest net input; unchanged without labels */
    double *scores;      /* (n,), the score of that output; unchanged without labels */
    double *all_scores;  /* (n, scores_width), the score of each output; unchanged for labels not known
                            yet */
    ptrdiff_t scores_width;
    double *errors;      /* (n,), half the squared error; unchanged for a row without a target */
    uint8_t *updated;    /* (n,), set to 1 where the error is at least epsilon; else unchanged */
    double *probes;      /* (n, 2), for one row in PROBE_INTERVAL with a target: the mean of f', and
                            the largest output minus the smallest; else unchanged */
    int64_t *counts;     /* (2,), incremented by the numbers of rows with a target and of updates */
    double *last_error;  /* the error of the last row with a target */
} Results;

enum { PROBE_INTERVAL = 32, MAX_BALANCED_FACTOR = 100 };

/* m features and their values, and x_0, the value for the bias. */
typedef struct {
    ptrdiff_t m;
    int32_t *feature_ids;
    double *x, x_0;
} Sample;

/* y = f(net) and slopes = f'(net) of k outputs. */
FOR_EACH_PROCESSOR
static void activate(Function function, const double *nets, ptrdiff_t k, double *restrict y,
                     double *restrict slopes) {
    switch (function) {
    case SIGMOID:
        /* Two loops, because the processor overlaps more iterations of short loops. */
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_exp(-nets[j]);
        for (ptrdiff_t j = 0; j < k; j++) {
            y[j] = 1.0 / (1.0 + y[j]);
            slopes[j] = (1.0 - y[j]) * y[j];
        }
        break;
    case TANH:
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_tanh(nets[j]);
        for (ptrdiff_t j = 0; j < k; j++) slopes[j] = 1.0 - y[j] * y[j];
        break;
    case ARCTAN:
        for (ptrdiff_t j = 0; j < k; j++) y[j] = ieee_atan(nets[j]);
        for (ptrdiff_t j = 0; j < k; j++) slopes[j] = 1.0 / (1.0 + nets[j] * nets[j]);
        break;
    case IDENTITY:
        for (ptrdiff_t j = 0; j < k; j++) {
            y[j] = nets[j];
            slopes[j] = 1.0;
        }
        break;
    }
}

/* Turn a sample's outputs into scores: subtract the low target, then the smallest difference if
   it is negative; scale the results to a sum of 1. If all are zero, the scores are uniform. */
static void to_scores(double *y, ptrdiff_t k, double low) {
    double smallest = 0.0, largest = 0.0, sum = 0.0;
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] -= low;
        smallest = y[j] < smallest ? y[j] : smallest;
        largest = y[j] > largest ? y[j] : largest;
    }
    const double factor = largest - smallest <= DBL_MAX ? 1.0 : 0.5; /* against overflow */
    largest = 0.0;
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] = factor * y[j] - factor * smallest;
        largest = y[j] > largest ? y[j] : largest;
    }
    /* Dividing by the largest value first keeps the sum finite. */
    for (ptrdiff_t j = 0; j < k; j++) {
        y[j] = largest > 0.0 ? y[j] / largest : 1.0;
        sum += y[j];
    }
    for (ptrdiff_t j = 0; j < k; j++) y[j] /= sum;
}

#include "weight_rows.h"
#include "learning.h"

#endif
