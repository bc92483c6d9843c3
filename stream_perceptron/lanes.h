/* The inner loops of the compiled kernel.

   A sum over features is made in LANES parts: the product of column c goes to part c mod LANES, in
   ascending order, and the parts are folded in halves. So the result does not depend on the width of
   the machine's vectors, nor on whether zeros are skipped. Contraction to fused multiply-add must be
   off. GCC on Linux compiles each loop for several generations of processors and picks one when the
   program starts; others compile it once.

   W is a matrix of k rows, `stride` numbers apart; x is a row of d features. */

#ifndef LANES_H
#define LANES_H

#include <stddef.h>
#include <stdint.h>

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

#define DEFINE_LOOPS(T)                                                                           \
    static inline T fold_##T(T *parts) {                                                          \
        for (int half = LANES / 2; half; half /= 2)                                               \
            for (int l = 0; l < half; l++) parts[l] += parts[l + half];                           \
        return parts[0];                                                                          \
    }                                                                                             \
                                                                                                  \
    /* out = W x */                                                                               \
    FOR_EACH_PROCESSOR                                                                            \
    static void dots_##T(const T *W, ptrdiff_t stride, const T *x, ptrdiff_t k, ptrdiff_t d,      \
                         T *out) {                                                                \
        for (ptrdiff_t j = 0; j < k; j++) {                                                       \
            const T *w = W + j * stride;                                                          \
            T parts[LANES] = {0};                                                                 \
            ptrdiff_t c = 0;                                                                      \
            for (; c + LANES <= d; c += LANES)                                                    \
                for (int l = 0; l < LANES; l++) parts[l] += w[c + l] * x[c + l];                  \
            for (int l = 0; c + l < d; l++) parts[l] += w[c + l] * x[c + l];                      \
            out[j] = fold_##T(parts);                                                             \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* W += steps x^T */                                                                          \
    FOR_EACH_PROCESSOR                                                                            \
    static void steps_##T(T *W, ptrdiff_t stride, const T *x, const T *steps, ptrdiff_t k,        \
                          ptrdiff_t d) {                                                          \
        for (ptrdiff_t j = 0; j < k; j++) {                                                       \
            T *w = W + j * stride;                                                                \
            const T step = steps[j];                                                              \
            for (ptrdiff_t c = 0; c < d; c++) w[c] += step * x[c];                                \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* W += steps x^T, then out = W next: the same in one reading of W */                         \
    FOR_EACH_PROCESSOR                                                                            \
    static void steps_and_dots_##T(T *restrict W, ptrdiff_t stride, const T *restrict x,          \
                                   const T *restrict steps, const T *restrict next, ptrdiff_t k,  \
                                   ptrdiff_t d, T *restrict out) {                                \
        for (ptrdiff_t j = 0; j < k; j++) {                                                       \
            T *restrict w = W + j * stride;                                                       \
            const T step = steps[j];                                                              \
            T parts[LANES] = {0};                                                                 \
            ptrdiff_t c = 0;                                                                      \
            for (; c + LANES <= d; c += LANES)                                                    \
                for (int l = 0; l < LANES; l++) {                                                 \
                    const T moved = w[c + l] + step * x[c + l];                                   \
                    w[c + l] = moved;                                                             \
                    parts[l] += moved * next[c + l];                                              \
                }                                                                                 \
            for (int l = 0; c + l < d; l++) {                                                     \
                w[c + l] += step * x[c + l];                                                      \
                parts[l] += w[c + l] * next[c + l];                                               \
            }                                                                                     \
            out[j] = fold_##T(parts);                                                             \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* the largest |x|, at least 1 */                                                             \
    FOR_EACH_PROCESSOR                                                                            \
    static T reach_##T(const T *x, ptrdiff_t d) {                                                 \
        T parts[LANES];                                                                           \
        for (int l = 0; l < LANES; l++) parts[l] = 1;                                             \
        ptrdiff_t c = 0;                                                                          \
        for (; c + LANES <= d; c += LANES)                                                        \
            for (int l = 0; l < LANES; l++) {                                                     \
                const T size = x[c + l] < 0 ? -x[c + l] : x[c + l];                               \
                parts[l] = size > parts[l] ? size : parts[l];                                     \
            }                                                                                     \
        T reach = 1;                                                                              \
        for (; c < d; c++) {                                                                      \
            const T size = x[c] < 0 ? -x[c] : x[c];                                               \
            reach = size > reach ? size : reach;                                                  \
        }                                                                                         \
        for (int l = 0; l < LANES; l++) reach = parts[l] > reach ? parts[l] : reach;              \
        return reach;                                                                             \
    }                                                                                             \
                                                                                                  \
    /* out = W x for the m features at ascending columns */                                       \
    static void sparse_dots_##T(const T *W, ptrdiff_t stride, const intptr_t *columns,            \
                                const T *x, ptrdiff_t k, ptrdiff_t m, T *out) {                   \
        for (ptrdiff_t j = 0; j < k; j++) {                                                       \
            const T *w = W + j * stride;                                                          \
            T parts[LANES] = {0};                                                                 \
            for (ptrdiff_t i = 0; i < m; i++)                                                     \
                parts[columns[i] % LANES] += w[columns[i]] * x[i];                                \
            out[j] = fold_##T(parts);                                                             \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* W += steps x^T for these */                                                                \
    static void sparse_steps_##T(T *W, ptrdiff_t stride, const intptr_t *columns, const T *x,     \
                                 const T *steps, ptrdiff_t k, ptrdiff_t m) {                      \
        for (ptrdiff_t j = 0; j < k; j++) {                                                       \
            T *w = W + j * stride;                                                                \
            for (ptrdiff_t i = 0; i < m; i++) w[columns[i]] += steps[j] * x[i];                   \
        }                                                                                         \
    }

DEFINE_LOOPS(double)
DEFINE_LOOPS(float)

#endif
