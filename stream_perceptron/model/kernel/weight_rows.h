/* The loops over the weight rows of a sample's features.

   A sum over features has four partial sums: the product of the r-th feature is added to partial sum
   r mod 4, and the total is (0 + 2) + (1 + 3), plus the bias. Vectors run over the outputs, so neither
   their width nor the storage format of a row affects any bit of the results.

   The macros generate a loop for each vector width and keep all sums in registers. The same loop
   over arrays, in plain C, takes 1.6 to 3 times as long for ten outputs. */

#if defined(__GNUC__) && !defined(PLAIN_C)
typedef double eight __attribute__((vector_size(64), aligned(8), may_alias));
typedef double four __attribute__((vector_size(32), aligned(8), may_alias));
typedef double two __attribute__((vector_size(16), aligned(8), may_alias));

/* Handle outputs in groups of eight. The last group takes up to four more; the registers have no room
   for a larger group. */
#define FOR_ALL_OUTPUTS(ADDS, SUMS)                          \
    ptrdiff_t j = 0;                                         \
    for (; k - j > 12; j += 8) OUTPUTS(ONE, eight, eight, ADDS, SUMS) \
    if (k - j > 10)                                          \
        OUTPUTS(TWO, eight, four, ADDS, SUMS)                \
    else if (k - j > 8)                                      \
        OUTPUTS(TWO, eight, two, ADDS, SUMS)                 \
    else if (k - j > 4)                                      \
        OUTPUTS(ONE, eight, eight, ADDS, SUMS)               \
    else if (k - j > 2)                                      \
        OUTPUTS(ONE, four, four, ADDS, SUMS)                 \
    else if (k - j > 0)                                      \
        OUTPUTS(ONE, two, two, ADDS, SUMS)
#else
#define FOR_ALL_OUTPUTS(ADDS, SUMS) \
    for (ptrdiff_t j = 0; j < k; j++) OUTPUTS(ONE, double, double, ADDS, SUMS)
#endif

#define ONE(...)
#define TWO(...) __VA_ARGS__

/* One vector of a weight row: if ADDS, w += x step; if SUMS, sum += w next. */
#define WEIGHTS(V, address, step, sum, ADDS, SUMS)       \
    {                                                    \
        V *const weights = (V *)(address);               \
        V w = *weights;                                  \
        if (ADDS) *weights = w = w + x[r] * step;        \
        if (SUMS) sum += w * next[r];                    \
    }

/* The r-th feature, whose products belong to partial sum i. */
#define FEATURE(MORE, V, U, i, ADDS, SUMS)                                \
    {                                                                     \
        double *const row = weights + feature_ids[r] * stride + j;        \
        WEIGHTS(V, row, step, sum##i, ADDS, SUMS)                         \
        MORE(WEIGHTS(U, row + 8, more_step, more_sum##i, ADDS, SUMS))     \
        r++;                                                              \
    }

/* All features, for a vector V of outputs that begins at j and, with TWO, a vector U after it. */
#define OUTPUTS(MORE, V, U, ADDS, SUMS)                                                          \
    {                                                                                            \
        V sum0 = (V){0}, sum1 = sum0, sum2 = sum0, sum3 = sum0;                                  \
        MORE(U more_sum0 = (U){0}, more_sum1 = more_sum0, more_sum2 = more_sum0,                 \
               more_sum3 = more_sum0;)                                                           \
        const V step = ADDS ? *(const V *)(steps + j) : sum0;                                    \
        MORE(const U more_step = ADDS ? *(const U *)(steps + j + 8) : more_sum0;)                \
        ptrdiff_t r = 0;                                                                         \
        while (r + 4 <= m) {                                                                     \
            FEATURE(MORE, V, U, 0, ADDS, SUMS)                                                   \
            FEATURE(MORE, V, U, 1, ADDS, SUMS)                                                   \
            FEATURE(MORE, V, U, 2, ADDS, SUMS)                                                   \
            FEATURE(MORE, V, U, 3, ADDS, SUMS)                                                   \
        }                                                                                        \
        if (r < m) FEATURE(MORE, V, U, 0, ADDS, SUMS)                                            \
        if (r < m) FEATURE(MORE, V, U, 1, ADDS, SUMS)                                            \
        if (r < m) FEATURE(MORE, V, U, 2, ADDS, SUMS)                                            \
        if (SUMS)                                                                                \
            *(V *)(nets + j) = (sum0 + sum2) + (sum1 + sum3) + *(const V *)(biases + j);         \
        MORE(if (SUMS) *(U *)(nets + j + 8) = (more_sum0 + more_sum2) + (more_sum1 + more_sum3) + \
                                              *(const U *)(biases + j + 8);)                     \
    }

/* nets = W x + b: the net inputs of a sample, padded like a weight row. */
FOR_EACH_PROCESSOR
static void compute_nets(const Model *model, const Sample *sample, double *nets) {
    const ptrdiff_t m = sample->m, k = model->k, stride = model->stride;
    const int32_t *feature_ids = sample->feature_ids;
    double *weights = model->weights;
    const double *biases = model->biases, *next = sample->x, *x = NULL, *steps = NULL;
    FOR_ALL_OUTPUTS(0, 1)
}

/* W += x steps^T: add an update to the weight rows of a sample. */
FOR_EACH_PROCESSOR
static void add_update(const Model *model, const Sample *sample, const double *steps) {
    const ptrdiff_t m = sample->m, k = model->k, stride = model->stride;
    const int32_t *feature_ids = sample->feature_ids;
    double *weights = model->weights, *nets = NULL;
    const double *biases = NULL, *next = NULL, *x = sample->x;
    FOR_ALL_OUTPUTS(1, 0)
}

#undef FOR_ALL_OUTPUTS
#undef OUTPUTS
#undef FEATURE
#undef WEIGHTS
#undef ONE
#undef TWO
