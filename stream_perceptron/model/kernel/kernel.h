/* The compiled kernel: the delta rule, one sample after another.

   Its arithmetic is IEEE 754, in the same order in every build, without functions of the C library that
   round. Contraction to fused multiply-add must be off: -ffp-contract=off.

   GCC on Linux compiles each inner loop for several generations of processors and picks one when the
   program starts; other compilers compile it once. */

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

/* HAS_AVX512, if defined, tells whether this processor can compress vectors. */
#if defined(__AVX512VL__) && defined(__AVX512BW__)
#define HAS_AVX512 1
#endif
#ifdef FOR_EACH_PROCESSOR
/* set by a test */
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && \
    !defined(__clang__)
#define FOR_EACH_PROCESSOR \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#ifndef HAS_AVX512
#define HAS_AVX512 (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
#endif
#else
#define FOR_EACH_PROCESSOR
#endif
#ifdef HAS_AVX512
#include <immintrin.h>
#endif

typedef enum { SIGMOID, TANH, ARCTAN, IDENTITY } Function;

/* A model, rows of features, the inputs that come with them, and where to write the results. */
typedef struct {
    ptrdiff_t k, d, stride;   /* outputs; features; numbers from one feature's weights to the next's */
    double *W, *biases;       /* biases: filled up like a feature's weights */
    Function function;
    double low, high;         /* targets: of the label's output high, of the others low */
    double epsilon;
    int stop;
    ptrdiff_t n;              /* rows */
    const intptr_t *starts;   /* the first value of each row, and the end of the last row */
    const int32_t *columns;   /* column of each value; NULL if each row has the first ones */
    const double *values;     /* NULL if the values are bytes */
    const uint8_t *bytes;     /* values as indices into */
    const double *of_byte;    /* 256 numbers */
    const int32_t *places;    /* the feature of each column, negative if unknown; or NULL */
    ptrdiff_t longest;        /* number of values in the longest row */
    const intptr_t *targets;  /* the label's output; negative: predict only */
    const double *sample_weights;
    const double *rates;      /* by the number of updates */
    double *statistics;       /* a scaler's counts, then means, then variances; or NULL */
    ptrdiff_t apart;          /* numbers from the first of one kind to that of the next */
    const intptr_t *widths;   /* number of features known before the first row and after each */
    double *tests;            /* written: nets of rows with new features, without these; or NULL */
    double *nets;             /* written: net inputs before the update, (n, k) */
    double *eps;
    uint8_t *updated;
    int64_t *counts;          /* samples learned, and updates */
    double *last;             /* the last eps */
    int diverged;             /* written: whether a row was refused because it would diverge */
} Samples;

/* y = f(net) and slopes = f'(net) of k outputs, in doubles. */
FOR_EACH_PROCESSOR
static void activate(Function function, const double *net, ptrdiff_t k, double *restrict y,
                     double *restrict slopes) {
    switch (function) {
    case SIGMOID:
        /* Two loops: the processor overlaps more turns of each. */
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

/* Turn a sample's outputs into probabilities: subtract the low target, then the smallest if that is
   negative; scale to a sum of 1. If all are zero, the probabilities are uniform. */
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

/* after = counts, means and variances (m numbers each) with x counted, by Welford's recurrences.
   Returns whether all are finite. */
FOR_EACH_PROCESSOR
static int welford(const double *restrict x, const double *counts, const double *means,
                   const double *variances, ptrdiff_t m, double *restrict after) {
    int64_t n_odd = 0; /* as wide as a double, for vectors */
    for (ptrdiff_t i = 0; i < m; i++) {
        const int is_counted = counts[i] >= 0.0;
        const double n = counts[i] + 1.0, apart = x[i] - means[i];
        const double mean = means[i] + apart / n;
        const double variance = variances[i] + (apart * (x[i] - mean) - variances[i]) / n;
        after[i] = is_counted ? n : counts[i];
        after[m + i] = is_counted ? mean : means[i];
        after[2 * m + i] = is_counted ? variance : variances[i];
        n_odd += !(fabs(after[m + i]) <= DBL_MAX) | !(after[2 * m + i] <= DBL_MAX);
    }
    return n_odd == 0;
}

/* z = x scaled by counts, means and variances, each of m numbers */
FOR_EACH_PROCESSOR
static void standardize(const double *restrict x, const double *counts, const double *means,
                        const double *variances, ptrdiff_t m, double *restrict z) {
    for (ptrdiff_t i = 0; i < m; i++) {
        const double scaled = (x[i] - means[i]) / sqrt(variances[i]);
        const double moved = variances[i] > 0.0 ? scaled : 0.0;
        z[i] = counts[i] < 0.0 ? x[i] : moved;
    }
}

#ifdef HAS_AVX512
/* `nonzero` for sixteen at a time, which no compiler does by itself; returns how many it examined. */
__attribute__((target("avx512f,avx512vl,avx512bw"))) static ptrdiff_t nonzero_avx512(
    const double *values, const uint8_t *bytes, ptrdiff_t d, int32_t *at, ptrdiff_t *m) {
    const __m512i sixteen = _mm512_set1_epi32(16);
    const __m512d zero = _mm512_setzero_pd();
    __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    ptrdiff_t n = 0, c = 0;
    for (; c + 16 <= d; c += 16, places = _mm512_add_epi32(places, sixteen)) {
        __mmask16 there;
        if (bytes != NULL) {
            const __m128i x = _mm_loadu_si128((const __m128i *)(bytes + c));
            there = _mm_test_epi8_mask(x, x);
        } else {
            const __m512d x = _mm512_loadu_pd(values + c), y = _mm512_loadu_pd(values + c + 8);
            there = (__mmask16)(_mm512_cmp_pd_mask(x, zero, _CMP_NEQ_OQ) |
                                _mm512_cmp_pd_mask(y, zero, _CMP_NEQ_OQ) << 8);
        }
        _mm512_storeu_si512(at + n, _mm512_maskz_compress_epi32(there, places));
        n += __builtin_popcount(there);
    }
    *m = n;
    return c;
}
#endif

/* Write to `at` the places of nonzero doubles or bytes among d; return their number. `at` has room for
   16 more. */
static ptrdiff_t nonzero(const double *values, const uint8_t *bytes, ptrdiff_t d, int32_t *at) {
    ptrdiff_t m = 0, c = 0;
    uint64_t any[8];
#ifdef HAS_AVX512
    if (HAS_AVX512) c = nonzero_avx512(values, bytes, d, at, &m);
#endif
    /* Most of a picture is blank: skip eight zeros at a time. */
    for (; c + 8 <= d; c += 8) {
        if (bytes != NULL) {
            memcpy(any, bytes + c, 8);
            if (any[0] == 0) continue;
        } else {
            memcpy(any, values + c, 64);
            for (int l = 1; l < 8; l++) any[0] |= any[l];
            if (any[0] << 1 == 0) continue;
        }
        for (int l = 0; l < 8; l++) {
            at[m] = (int32_t)(c + l);
            m += bytes != NULL ? bytes[c + l] != 0 : values[c + l] != 0.0;
        }
    }
    for (; c < d; c++) {
        at[m] = (int32_t)c;
        m += bytes != NULL ? bytes[c] != 0 : values[c] != 0.0;
    }
    return m;
}

/* A row before scaling: m numbers x, their features `at` (NULL: the first m), and the statistics of
   these, the three kinds `apart` numbers apart. */
typedef struct {
    ptrdiff_t m, apart;
    const double *x, *statistics;
    const int32_t *at;
} Given;

/* Store the new statistics `after` of a row's features, shape (3, m). */
static void keep(const Given *given, const double *after, const Samples *samples) {
    for (int part = 0; part < 3; part++, after += given->m) {
        double *there = samples->statistics + part * samples->apart;
        if (given->at == NULL)
            memcpy(there, after, given->m * sizeof(double));
        else
            for (ptrdiff_t r = 0; r < given->m; r++) there[given->at[r]] = after[r];
    }
}

/* Steps times values below this cannot make a finite weight overflow. */
#define SAFE_STEP (DBL_MAX * DBL_EPSILON / 8)

#include "learning.h"

#endif
