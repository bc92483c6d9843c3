/* The inner loops for numbers of type T; OF(name) is what a name is called for this type.

   A sum over features is made in LANES parts: the product of column c goes to part c mod LANES, in
   ascending order, and the parts are folded in halves. So the result does not depend on the width of
   the machine's vectors, nor on whether zeros are skipped.

   W is a matrix of k rows, `stride` numbers apart; x is a row of d features. Its columns come in
   blocks of BLOCK numbers, a cache line, and blocks of zeros are passed over: most of a digit is
   paper. Blocks take turns in the lanes. What is behind the last block takes longer; so rows are
   filled up with zeros where W has finite numbers to go with them. */

#define BLOCK ((ptrdiff_t)(BLOCK_BYTES / sizeof(T)))
#define TURNS (LANES / BLOCK)

#if defined(__GNUC__) && !defined(PLAIN_C)
typedef T OF(block) __attribute__((vector_size(BLOCK_BYTES), aligned(sizeof(T)), may_alias));
#define SUM(a, b) ((a) + (b))
#define PRODUCT(a, b) ((a) * (b))
#define MULTIPLE(s, a) ((s) * (a))
#else
typedef struct { T at[BLOCK_BYTES / sizeof(T)]; } OF(block);

static inline OF(block) OF(sum)(OF(block) a, OF(block) b) {
    for (int l = 0; l < BLOCK; l++) a.at[l] += b.at[l];
    return a;
}

static inline OF(block) OF(product)(OF(block) a, OF(block) b) {
    for (int l = 0; l < BLOCK; l++) a.at[l] *= b.at[l];
    return a;
}

static inline OF(block) OF(multiple)(T s, OF(block) a) {
    for (int l = 0; l < BLOCK; l++) a.at[l] *= s;
    return a;
}

#define SUM(a, b) OF(sum)(a, b)
#define PRODUCT(a, b) OF(product)(a, b)
#define MULTIPLE(s, a) OF(multiple)(s, a)
#endif

/* For ROWS rows of W from row j on, which share what is read of x: W += steps x^T, where STEP is 1,
   then out = W next. Several sums at once keep the adders busy. */
#define ROWS_AT_ONCE(ROWS, STEP)                                                                  \
    for (; j + ROWS <= k; j += ROWS) {                                                            \
        T *w = (T *)W + j * stride;                                                               \
        T parts[ROWS][LANES];                                                                     \
        const ptrdiff_t *block = blocks;                                                          \
        for (int turn = 0; turn < TURNS; turn++) {                                                \
            OF(block) sums[ROWS];                                                                 \
            for (int r = 0; r < ROWS; r++) sums[r] = (OF(block)){0};                              \
            for (const ptrdiff_t *end = block + counts[turn]; block < end; block++) {             \
                const OF(block) there = *(const OF(block) *)(next + *block);                      \
                for (int r = 0; r < ROWS; r++) {                                                  \
                    OF(block) *cells = (OF(block) *)(w + r * stride + *block);                    \
                    OF(block) now = *cells;                                                       \
                    if (STEP) {                                                                   \
                        const OF(block) here = *(const OF(block) *)(x + *block);                  \
                        now = SUM(now, MULTIPLE(steps[j + r], here));                             \
                        *cells = now;                                                             \
                    }                                                                             \
                    sums[r] = SUM(sums[r], PRODUCT(now, there));                                  \
                }                                                                                 \
            }                                                                                     \
            for (int r = 0; r < ROWS; r++)                                                        \
                memcpy(parts[r] + turn * BLOCK, &sums[r], BLOCK_BYTES);                           \
        }                                                                                         \
        for (int r = 0; r < ROWS; r++) {                                                          \
            for (ptrdiff_t c = d - d % BLOCK; c < d; c++) {                                       \
                T *cell = w + r * stride + c;                                                     \
                if (STEP) *cell += steps[j + r] * x[c];                                           \
                parts[r][c % LANES] += *cell * next[c];                                           \
            }                                                                                     \
            out[j + r] = OF(fold)(parts[r]);                                                      \
        }                                                                                         \
    }

/* Returns how many of the columns of W are used with d features: if its rows begin with a cache line
   there is room for whole blocks. */
static inline ptrdiff_t OF(columns)(const T *W, ptrdiff_t stride, ptrdiff_t d) {
    const ptrdiff_t whole = (d + BLOCK - 1) / BLOCK * BLOCK;
    const int has_room =
        stride >= whole && stride % BLOCK == 0 && (uintptr_t)W % BLOCK_BYTES == 0;
    return has_room ? whole : d;
}

static inline T OF(fold)(T *parts) {
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) parts[l] += parts[l + half];
    return parts[0];
}

/* x = scale * bytes */
FOR_EACH_PROCESSOR
static void OF(scaled)(const uint8_t *bytes, double scale, ptrdiff_t d, T *x) {
    for (ptrdiff_t c = 0; c < d; c++) x[c] = (T)(bytes[c] * scale);
}

/* Whether each block of x has a number other than 0; what is behind the last is no block. */
static void OF(find_blocks)(const T *x, ptrdiff_t d, uint8_t *has) {
    for (ptrdiff_t c = 0; c + BLOCK <= d; c += BLOCK) {
        int l = 0;
        while (l < BLOCK && x[c + l] == 0) l++;
        *has++ = l < BLOCK;
    }
}

/* The same for bytes that stand for numbers of type T, of a row that may have been filled up. */
static void OF(find_byte_blocks)(const uint8_t *bytes, ptrdiff_t d, ptrdiff_t filled,
                                 uint8_t *has) {
    for (ptrdiff_t c = 0; c + BLOCK <= d; c += BLOCK) {
        uint64_t any = 0, eight;
        for (int l = 0; l < BLOCK; l += 8) {
            memcpy(&eight, bytes + c + l, 8);
            any |= eight;
        }
        *has++ = any != 0;
    }
    if (filled > d) *has = 1;
}

/* List where the blocks begin that `a` or `b` has, those of each turn together, and count
   them. */
static void OF(list_blocks)(const uint8_t *a, const uint8_t *b, ptrdiff_t d,
                            ptrdiff_t *blocks, ptrdiff_t *counts) {
    for (int turn = 0; turn < TURNS; turn++) {
        ptrdiff_t count = 0;
        for (ptrdiff_t i = turn; i < d / BLOCK; i += TURNS) {
            blocks[count] = i * BLOCK;
            count += a[i] | b[i];
        }
        counts[turn] = count;
        blocks += count;
    }
}

/* out = W next */
FOR_EACH_PROCESSOR
static void OF(dots)(const T *W, ptrdiff_t stride, const T *next, const ptrdiff_t *blocks,
                     const ptrdiff_t *counts, ptrdiff_t k, ptrdiff_t d, T *out) {
    const T *x = NULL, *steps = NULL;
    ptrdiff_t j = 0;
    ROWS_AT_ONCE(5, 0)
    ROWS_AT_ONCE(2, 0)
    ROWS_AT_ONCE(1, 0)
}

/* W += steps x^T, then out = W next: the same in one reading of W */
FOR_EACH_PROCESSOR
static void OF(steps_and_dots)(T *restrict W, ptrdiff_t stride, const T *restrict x,
                               const T *restrict steps, const T *restrict next,
                               const ptrdiff_t *blocks, const ptrdiff_t *counts,
                               ptrdiff_t k, ptrdiff_t d, T *restrict out) {
    ptrdiff_t j = 0;
    ROWS_AT_ONCE(5, 1)
    ROWS_AT_ONCE(2, 1)
    ROWS_AT_ONCE(1, 1)
}

/* W += steps x^T */
FOR_EACH_PROCESSOR
static void OF(steps)(T *W, ptrdiff_t stride, const T *x, const T *steps,
                      const ptrdiff_t *blocks, const ptrdiff_t *counts, ptrdiff_t k,
                      ptrdiff_t d) {
    ptrdiff_t count = 0;
    for (int turn = 0; turn < TURNS; turn++) count += counts[turn];
    for (ptrdiff_t j = 0; j < k; j++) {
        T *w = W + j * stride;
        for (ptrdiff_t i = 0; i < count; i++) {
            const OF(block) here = *(const OF(block) *)(x + blocks[i]);
            OF(block) *cells = (OF(block) *)(w + blocks[i]);
            *cells = SUM(*cells, MULTIPLE(steps[j], here));
        }
        for (ptrdiff_t c = d - d % BLOCK; c < d; c++) w[c] += steps[j] * x[c];
    }
}

/* out = W x for the m features at ascending columns */
static void OF(sparse_dots)(const T *W, ptrdiff_t stride, const intptr_t *columns,
                            const T *x, ptrdiff_t k, ptrdiff_t m, T *out) {
    for (ptrdiff_t j = 0; j < k; j++) {
        const T *w = W + j * stride;
        T parts[LANES] = {0};
        for (ptrdiff_t i = 0; i < m; i++)
            parts[columns[i] % LANES] += w[columns[i]] * x[i];
        out[j] = OF(fold)(parts);
    }
}

/* W += steps x^T for these */
static void OF(sparse_steps)(T *W, ptrdiff_t stride, const intptr_t *columns, const T *x,
                             const T *steps, ptrdiff_t k, ptrdiff_t m) {
    for (ptrdiff_t j = 0; j < k; j++) {
        T *w = W + j * stride;
        for (ptrdiff_t i = 0; i < m; i++) w[columns[i]] += steps[j] * x[i];
    }
}

/* z = x scaled by counts, means and variances, each of m numbers; 0 where x is NaN */
FOR_EACH_PROCESSOR
static void OF(standardize)(const double *restrict x, const double *counts,
                            const double *means, const double *variances, ptrdiff_t m,
                            T *restrict z) {
    for (ptrdiff_t i = 0; i < m; i++) {
        const double scaled = (x[i] - means[i]) / sqrt(variances[i]);
        const double moved = variances[i] > 0.0 ? scaled : 0.0;
        const double here = counts[i] < 0.0 ? x[i] : moved;
        z[i] = (T)(x[i] == x[i] ? here : 0.0);
    }
}

#undef ROWS_AT_ONCE
#undef SUM
#undef PRODUCT
#undef MULTIPLE
#undef BLOCK
#undef TURNS
