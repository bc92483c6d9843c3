/* The inner loops of the compiled kernel.

   A sum over features is made in LANES parts: the product of column c goes to part c mod LANES, in
   ascending order, and the parts are folded in halves. So the result does not depend on the width of
   the machine's vectors, nor on whether zeros are skipped. Contraction to fused multiply-add must be
   off. GCC on Linux compiles each loop for several generations of processors and picks one when the
   program starts; others compile it once.

   W is a matrix of k rows, `stride` numbers apart; x is a row of d features. Its columns come in
   blocks of 64 bytes, a cache line, and blocks of zeros are passed over: most of a digit is paper. */

#ifndef LOOPS_H
#define LOOPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__linux__)
#include <features.h>
#endif

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
#define BLOCK(T) ((ptrdiff_t)(BLOCK_BYTES / sizeof(T)))
/* Blocks take turns in the lanes. */
#define TURNS(T) (LANES / BLOCK(T))

#if defined(__GNUC__) && !defined(PLAIN_C)
#define DEFINE_BLOCK(T) \
    typedef T block_##T __attribute__((vector_size(BLOCK_BYTES), aligned(sizeof(T)), may_alias));
#define SUM(T, a, b) ((a) + (b))
#define PRODUCT(T, a, b) ((a) * (b))
#define MULTIPLE(T, s, a) ((s) * (a))
#else
#define DEFINE_BLOCK(T)                                                     \
    typedef struct { T at[BLOCK_BYTES / sizeof(T)]; } block_##T;            \
    static inline block_##T sum_##T(block_##T a, block_##T b) {             \
        for (int l = 0; l < BLOCK(T); l++) a.at[l] += b.at[l];              \
        return a;                                                           \
    }                                                                       \
    static inline block_##T product_##T(block_##T a, block_##T b) {         \
        for (int l = 0; l < BLOCK(T); l++) a.at[l] *= b.at[l];              \
        return a;                                                           \
    }                                                                       \
    static inline block_##T multiple_##T(T s, block_##T a) {                \
        for (int l = 0; l < BLOCK(T); l++) a.at[l] *= s;                    \
        return a;                                                           \
    }
#define SUM(T, a, b) sum_##T(a, b)
#define PRODUCT(T, a, b) product_##T(a, b)
#define MULTIPLE(T, s, a) multiple_##T(s, a)
#endif

/* For ROWS rows of W from row j on, which share what is read of x: W += steps x^T, where STEP is 1,
   then out = W next. Several sums at once keep the adders busy. */
#define ROWS_AT_ONCE(T, ROWS, STEP)                                                              \
    for (; j + ROWS <= k; j += ROWS) {                                                           \
        T *w = (T *)W + j * stride;                                                              \
        T parts[ROWS][LANES];                                                                    \
        const ptrdiff_t *block = blocks;                                                         \
        for (int turn = 0; turn < TURNS(T); turn++) {                                            \
            block_##T sums[ROWS];                                                                \
            for (int r = 0; r < ROWS; r++) sums[r] = (block_##T){0};                             \
            for (const ptrdiff_t *end = block + counts[turn]; block < end; block++) {            \
                const block_##T there = *(const block_##T *)(next + *block);                     \
                for (int r = 0; r < ROWS; r++) {                                                 \
                    block_##T *cells = (block_##T *)(w + r * stride + *block);                   \
                    block_##T now = *cells;                                                      \
                    if (STEP) {                                                                  \
                        const block_##T here = *(const block_##T *)(x + *block);                 \
                        now = SUM(T, now, MULTIPLE(T, steps[j + r], here));                      \
                        *cells = now;                                                            \
                    }                                                                            \
                    sums[r] = SUM(T, sums[r], PRODUCT(T, now, there));                           \
                }                                                                                \
            }                                                                                    \
            for (int r = 0; r < ROWS; r++)                                                       \
                memcpy(parts[r] + turn * BLOCK(T), &sums[r], BLOCK_BYTES);                       \
        }                                                                                        \
        for (int r = 0; r < ROWS; r++) {                                                         \
            for (ptrdiff_t c = d - d % BLOCK(T); c < d; c++) {                                   \
                T *cell = w + r * stride + c;                                                    \
                if (STEP) *cell += steps[j + r] * x[c];                                          \
                parts[r][c % LANES] += *cell * next[c];                                          \
            }                                                                                    \
            out[j + r] = fold_##T(parts[r]);                                                     \
        }                                                                                        \
    }

#define DEFINE_LOOPS(T)                                                                          \
    DEFINE_BLOCK(T)                                                                              \
                                                                                                 \
    static inline T fold_##T(T *parts) {                                                         \
        for (int half = LANES / 2; half; half /= 2)                                              \
            for (int l = 0; l < half; l++) parts[l] += parts[l + half];                          \
        return parts[0];                                                                         \
    }                                                                                            \
                                                                                                 \
    /* x = scale * bytes */                                                                      \
    FOR_EACH_PROCESSOR                                                                           \
    static void scaled_##T(const uint8_t *bytes, double scale, ptrdiff_t d, T *x) {              \
        for (ptrdiff_t c = 0; c < d; c++) x[c] = (T)(bytes[c] * scale);                          \
    }                                                                                            \
                                                                                                 \
    /* Whether each block of x has a number other than 0; what is behind the last is no block. */ \
    static void find_blocks_##T(const T *x, ptrdiff_t d, uint8_t *has) {                         \
        for (ptrdiff_t c = 0; c + BLOCK(T) <= d; c += BLOCK(T)) {                                \
            int l = 0;                                                                           \
            while (l < BLOCK(T) && x[c + l] == 0) l++;                                           \
            *has++ = l < BLOCK(T);                                                               \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* The same for bytes that stand for numbers of type T. */                                   \
    static void find_byte_blocks_##T(const uint8_t *bytes, ptrdiff_t d, uint8_t *has) {          \
        for (ptrdiff_t c = 0; c + BLOCK(T) <= d; c += BLOCK(T)) {                                \
            uint64_t any = 0, eight;                                                             \
            for (int l = 0; l < BLOCK(T); l += 8) {                                              \
                memcpy(&eight, bytes + c + l, 8);                                                \
                any |= eight;                                                                    \
            }                                                                                    \
            *has++ = any != 0;                                                                   \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* List where the blocks begin that `a` or `b` has, those of each turn together, and count   \
       them. */                                                                                  \
    static void list_blocks_##T(const uint8_t *a, const uint8_t *b, ptrdiff_t d,                 \
                                ptrdiff_t *blocks, ptrdiff_t *counts) {                          \
        for (int turn = 0; turn < TURNS(T); turn++) {                                            \
            ptrdiff_t count = 0;                                                                 \
            for (ptrdiff_t i = turn; i < d / BLOCK(T); i += TURNS(T)) {                          \
                blocks[count] = i * BLOCK(T);                                                    \
                count += a[i] | b[i];                                                            \
            }                                                                                    \
            counts[turn] = count;                                                                \
            blocks += count;                                                                     \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* out = W next */                                                                           \
    FOR_EACH_PROCESSOR                                                                           \
    static void dots_##T(const T *W, ptrdiff_t stride, const T *next, const ptrdiff_t *blocks,   \
                         const ptrdiff_t *counts, ptrdiff_t k, ptrdiff_t d, T *out) {            \
        const T *x = NULL, *steps = NULL;                                                        \
        ptrdiff_t j = 0;                                                                         \
        ROWS_AT_ONCE(T, 5, 0)                                                                    \
        ROWS_AT_ONCE(T, 2, 0)                                                                    \
        ROWS_AT_ONCE(T, 1, 0)                                                                    \
    }                                                                                            \
                                                                                                 \
    /* W += steps x^T, then out = W next: the same in one reading of W */                        \
    FOR_EACH_PROCESSOR                                                                           \
    static void steps_and_dots_##T(T *restrict W, ptrdiff_t stride, const T *restrict x,         \
                                   const T *restrict steps, const T *restrict next,              \
                                   const ptrdiff_t *blocks, const ptrdiff_t *counts,             \
                                   ptrdiff_t k, ptrdiff_t d, T *restrict out) {                  \
        ptrdiff_t j = 0;                                                                         \
        ROWS_AT_ONCE(T, 5, 1)                                                                    \
        ROWS_AT_ONCE(T, 2, 1)                                                                    \
        ROWS_AT_ONCE(T, 1, 1)                                                                    \
    }                                                                                            \
                                                                                                 \
    /* W += steps x^T */                                                                         \
    FOR_EACH_PROCESSOR                                                                           \
    static void steps_##T(T *W, ptrdiff_t stride, const T *x, const T *steps,                    \
                          const ptrdiff_t *blocks, const ptrdiff_t *counts, ptrdiff_t k,         \
                          ptrdiff_t d) {                                                         \
        ptrdiff_t count = 0;                                                                     \
        for (int turn = 0; turn < TURNS(T); turn++) count += counts[turn];                       \
        for (ptrdiff_t j = 0; j < k; j++) {                                                      \
            T *w = W + j * stride;                                                               \
            for (ptrdiff_t i = 0; i < count; i++) {                                              \
                const block_##T here = *(const block_##T *)(x + blocks[i]);                      \
                block_##T *cells = (block_##T *)(w + blocks[i]);                                 \
                *cells = SUM(T, *cells, MULTIPLE(T, steps[j], here));                            \
            }                                                                                    \
            for (ptrdiff_t c = d - d % BLOCK(T); c < d; c++) w[c] += steps[j] * x[c];            \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* out = W x for the m features at ascending columns */                                      \
    static void sparse_dots_##T(const T *W, ptrdiff_t stride, const intptr_t *columns,           \
                                const T *x, ptrdiff_t k, ptrdiff_t m, T *out) {                  \
        for (ptrdiff_t j = 0; j < k; j++) {                                                      \
            const T *w = W + j * stride;                                                         \
            T parts[LANES] = {0};                                                                \
            for (ptrdiff_t i = 0; i < m; i++)                                                    \
                parts[columns[i] % LANES] += w[columns[i]] * x[i];                               \
            out[j] = fold_##T(parts);                                                            \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* W += steps x^T for these */                                                               \
    static void sparse_steps_##T(T *W, ptrdiff_t stride, const intptr_t *columns, const T *x,    \
                                 const T *steps, ptrdiff_t k, ptrdiff_t m) {                     \
        for (ptrdiff_t j = 0; j < k; j++) {                                                      \
            T *w = W + j * stride;                                                               \
            for (ptrdiff_t i = 0; i < m; i++) w[columns[i]] += steps[j] * x[i];                  \
        }                                                                                        \
    }                                                                                            \
                                                                                                 \
    /* z = x scaled by counts, means and variances, each of m numbers; 0 where x is NaN */                         \
    FOR_EACH_PROCESSOR                                                                           \
    static void standardise_##T(const double *restrict x, const double *counts,                  \
                                const double *means, const double *variances, ptrdiff_t m,       \
                                T *restrict z) {                                                 \
        for (ptrdiff_t i = 0; i < m; i++) {                                                      \
            const double scaled = (x[i] - means[i]) / sqrt(variances[i]);                        \
            const double moved = variances[i] > 0.0 ? scaled : 0.0;                              \
            const double here = counts[i] < 0.0 ? x[i] : moved;                                  \
            z[i] = (T)(x[i] == x[i] ? here : 0.0);                                               \
        }                                                                                        \
    }

DEFINE_LOOPS(double)
DEFINE_LOOPS(float)

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

#endif
