/* Learning one sample after another.

   W holds a feature's weights for all k outputs together; the next feature's are `stride` numbers on.
   A sample is its m nonzero features in ascending order: the r-th is feature at[r] with value x[r]. A
   sum over them has four parts: the r-th product is added to part r mod 4, and the parts are summed as
   (0 + 2) + (1 + 3). Vectors run over the outputs, so neither their width nor the form of a sample
   changes a bit. */

#if defined(__GNUC__) && !defined(PLAIN_C)
typedef double eight __attribute__((vector_size(64), aligned(8), may_alias));
typedef double four __attribute__((vector_size(32), aligned(8), may_alias));
typedef double two __attribute__((vector_size(16), aligned(8), may_alias));

/* Outputs by eights; up to four more join the last eight: registers hold no more. */
#define ALL_OUTPUTS(STEP, SUM)                                                                     \
    for (; k - j > 12; j += 8) OUTPUTS(ONE, eight, eight, STEP, SUM)                       \
    if (k - j > 10)                                                                                \
        OUTPUTS(TWO, eight, four, STEP, SUM)                                               \
    else if (k - j > 8)                                                                            \
        OUTPUTS(TWO, eight, two, STEP, SUM)                                                \
    else if (k - j > 4)                                                                            \
        OUTPUTS(ONE, eight, eight, STEP, SUM)                                              \
    else if (k - j > 2)                                                                            \
        OUTPUTS(ONE, four, four, STEP, SUM)                                                \
    else if (k - j > 0)                                                                            \
        OUTPUTS(ONE, two, two, STEP, SUM)
#else
#define ALL_OUTPUTS(STEP, SUM) \
    for (; j < k; j++) OUTPUTS(ONE, double, double, STEP, SUM)
#endif

#define ONE(...)
#define TWO(...) __VA_ARGS__

/* For the r-th feature: W += step x^T if STEP, then part += W next if SUM. */
#define CELLS(V, place, step, part, STEP, SUM)                                                     \
    {                                                                                              \
        V *cells = (V *)(place), now = *cells;                                                     \
        if (STEP) *cells = now = now + x[r] * step;                                                \
        if (SUM) part += now * next[r];                                                            \
    }

#define FEATURE(MORE, V, U, i, STEP, SUM)                                                          \
    {                                                                                              \
        double *w = W + at[r] * stride + j;                                                        \
        CELLS(V, w, step, part##i, STEP, SUM)                                                      \
        MORE(CELLS(U, w + 8, more_step, more##i, STEP, SUM))                                       \
        r++;                                                                                       \
    }

/* The same for all features, for the outputs of a vector V from j on and, if MORE, of U after them. */
#define OUTPUTS(MORE, V, U, STEP, SUM)                                                             \
    {                                                                                              \
        V part0 = (V){0}, part1 = part0, part2 = part0, part3 = part0;                             \
        MORE(U more0 = (U){0}, more1 = more0, more2 = more0, more3 = more0;)                       \
        const V step = STEP ? *(const V *)(steps + j) : part0;                                     \
        MORE(const U more_step = STEP ? *(const U *)(steps + j + 8) : more0;)                      \
        ptrdiff_t r = 0;                                                                           \
        while (r + 4 <= m) {                                                                       \
            FEATURE(MORE, V, U, 0, STEP, SUM)                                                      \
            FEATURE(MORE, V, U, 1, STEP, SUM)                                                      \
            FEATURE(MORE, V, U, 2, STEP, SUM)                                                      \
            FEATURE(MORE, V, U, 3, STEP, SUM)                                                      \
        }                                                                                          \
        if (r < m) FEATURE(MORE, V, U, 0, STEP, SUM)                                               \
        if (r < m) FEATURE(MORE, V, U, 1, STEP, SUM)                                               \
        if (r < m) FEATURE(MORE, V, U, 2, STEP, SUM)                                               \
        if (SUM) *(V *)(net + j) = (part0 + part2) + (part1 + part3) + *(const V *)(biases + j);   \
        MORE(if (SUM) *(U *)(net + j + 8) =                                                        \
                 (more0 + more2) + (more1 + more3) + *(const U *)(biases + j + 8);)                \
    }

/* W += steps x^T if steps is given, then net = W next + biases if net is given: both in one pass over
   W, for two rows with the same features. */
FOR_EACH_PROCESSOR
static void update_and_sum(double *W, ptrdiff_t stride, const int32_t *at, const double *x,
                           const double *next, ptrdiff_t m, ptrdiff_t k, const double *steps,
                           const double *biases, double *net) {
    ptrdiff_t j = 0;
    if (steps == NULL) {
        ALL_OUTPUTS(0, 1)
    } else if (net == NULL) {
        ALL_OUTPUTS(1, 0)
    } else {
        ALL_OUTPUTS(1, 1)
    }
}

/* A sample's features in ascending order, and their values. */
typedef struct {
    ptrdiff_t m;
    int32_t *at;
    double *x;
} Row;

/* Sort a row by its features: up to 64 by counting smaller ones without branches; more by radix. */
FOR_EACH_PROCESSOR
static void sort_row(Row *row, Row *spare) {
    const ptrdiff_t m = row->m;
    const int is_short = m <= 64;
    int32_t largest = 0;
    for (ptrdiff_t r = 0; r < m; r++) largest = row->at[r] > largest ? row->at[r] : largest;
    for (int shift = 0; shift < 32 && largest >> shift; shift += is_short ? 32 : 8) {
        ptrdiff_t begins[257] = {0};
        if (!is_short) {
            for (ptrdiff_t r = 0; r < m; r++) begins[(row->at[r] >> shift & 255) + 1]++;
            for (int byte = 0; byte < 255; byte++) begins[byte + 1] += begins[byte];
        }
        for (ptrdiff_t r = 0; r < m; r++) {
            int32_t place = 0;
            if (is_short)
                for (ptrdiff_t s = 0; s < m; s++) place += row->at[s] < row->at[r];
            else
                place = (int32_t)begins[row->at[r] >> shift & 255]++;
            spare->at[place] = row->at[r];
            spare->x[place] = row->x[r];
        }
        const Row sorted = {m, spare->at, spare->x};
        *spare = *row;
        *row = sorted;
    }
}

/* Append a feature to a row; zeros only with_zeros. */
#define APPEND(place, value, with_zeros)                                                           \
    {                                                                                              \
        const double number = (value);                                                               \
        row->at[row->m] = (int32_t)(place);                                                        \
        row->x[row->m] = number;                                                                   \
        row->m += (with_zeros) | (fabs(number) > 0);                                               \
    }

/* Make a row of the nonzero ones of the first d features, given as doubles or bytes. */
static void find_nonzero(const double *values, const uint8_t *bytes, const double *of_byte,
                     ptrdiff_t d, Row *row) {
    const int32_t *restrict at = row->at;
    double *restrict x = row->x;
    const ptrdiff_t n = row->m = nonzero(values, bytes, d, row->at);
    if (bytes == NULL) {
        if (n == d)
            for (ptrdiff_t r = 0; r < n; r++) x[r] = values[r];
        else
            for (ptrdiff_t r = 0; r < n; r++) x[r] = values[at[r]];
    } else {
        for (ptrdiff_t r = 0; r < n; r++) x[r] = of_byte[bytes[at[r]]];
        if (of_byte[1] != 0.0) return;
        row->m = 0;
        for (ptrdiff_t r = 0; r < n; r++) APPEND(at[r], x[r], 0)
    }
}

/* Read the features of row i below `width` into a sorted row; zeros only with_zeros. */
static void read_row(const Samples *samples, ptrdiff_t i, ptrdiff_t width, int with_zeros,
                     Row *row, Row *spare) {
    const ptrdiff_t end = samples->starts[i + 1];
    const int32_t *columns = samples->columns, *places = samples->places;
    int32_t last = -1, is_sorted = 1;
    row->m = 0;
    for (ptrdiff_t c = samples->starts[i]; c < end; c++) {
        int32_t place = (int32_t)(c - samples->starts[i]);
        if (columns != NULL) place = places != NULL ? places[columns[c]] : columns[c];
        if (place < 0 || place >= width) continue;
        is_sorted &= place > last;
        last = place;
        APPEND(place,
               samples->bytes != NULL ? samples->of_byte[samples->bytes[c]] : samples->values[c],
               with_zeros)
    }
    if (!is_sorted) sort_row(row, spare);
}

typedef struct {
    double *y, *slopes, *delta;
    double *steps, *net;
    Row rows[2], spare; /* this row and the last one */
    Given given;            /* with a scaler: this row before scaling, */
    double *z, *gathered, *after; /* its scaled values, and its statistics before and after */
    Row raw, spare_raw;
} Scratch;

/* Make a row of the given numbers, scaled by statistics. */
static void scale_row(const double *statistics, ptrdiff_t apart, const Scratch *scratch,
                      Row *row) {
    const Given *given = &scratch->given;
    standardize(given->x, statistics, statistics + apart, statistics + 2 * apart, given->m,
                scratch->z);
    row->m = 0;
    if (given->at == NULL)
        find_nonzero(scratch->z, NULL, NULL, given->m, row);
    else
        for (ptrdiff_t r = 0; r < given->m; r++) APPEND(given->at[r], scratch->z[r], 0)
}

/* Make a row of the features of row i below `width`, scaled if there is a scaler. */
static void take_row(const Samples *samples, ptrdiff_t i, ptrdiff_t width, Scratch *scratch,
                     Row *row) {
    const ptrdiff_t start = samples->starts[i], length = samples->starts[i + 1] - start;
    const ptrdiff_t d = length < width ? length : width;
    const double *values = samples->values != NULL ? samples->values + start : NULL;
    const uint8_t *bytes = samples->bytes != NULL ? samples->bytes + start : NULL;
    const int is_table = samples->columns == NULL;
    if (samples->statistics == NULL) {
        if (is_table)
            find_nonzero(values, bytes, samples->of_byte, d, row);
        else
            read_row(samples, i, width, 0, row, &scratch->spare);
        return;
    }
    Row *raw = &scratch->raw;
    Given given = {d, samples->apart, values, samples->statistics, NULL};
    if (!is_table || values == NULL) {
        read_row(samples, i, width, 1, raw, &scratch->spare_raw);
        given.m = raw->m;
        given.x = raw->x;
    }
    if (!is_table) {
        given.at = raw->at;
        for (int part = 0; part < 3; part++)
            for (ptrdiff_t r = 0; r < raw->m; r++)
                scratch->gathered[part * raw->m + r] =
                    samples->statistics[part * samples->apart + raw->at[r]];
        given.statistics = scratch->gathered;
        given.apart = raw->m;
    }
    scratch->given = given;
    scale_row(given.statistics, given.apart, scratch, row);
}

/* Count the given row and scale it again; return whether its statistics stay finite. */
static int count_row(const Scratch *scratch, Row *row) {
    const Given *given = &scratch->given;
    const double *before = given->statistics;
    if (!welford(given->x, before, before + given->apart, before + 2 * given->apart, given->m,
                 scratch->after))
        return 0;
    scale_row(scratch->after, given->m, scratch, row);
    return 1;
}

/* Whether all weights would be finite after the steps. */
static int would_be_finite(const Samples *samples, const Row *row, const double *steps) {
    const double *W = samples->W, *biases = samples->biases;
    for (ptrdiff_t j = 0; j < samples->k; j++) {
        if (!isfinite(biases[j] + steps[j])) return 0;
        for (ptrdiff_t r = 0; r < row->m; r++)
            if (!isfinite(W[row->at[r] * samples->stride + j] + row->x[r] * steps[j])) return 0;
    }
    return 1;
}

/* Return a bound of all |x|, at least 1. */
FOR_EACH_PROCESSOR
static double bound_values(const double *x, ptrdiff_t m) {
    double squares[8] = {1.0};
    ptrdiff_t r = 0;
    for (; r + 8 <= m; r += 8)
        for (int l = 0; l < 8; l++) squares[l] += x[r + l] * x[r + l];
    for (; r < m; r++) squares[0] += x[r] * x[r];
    for (int l = 1; l < 8; l++) squares[0] += squares[l];
    return sqrt(squares[0]);
}

static int are_finite(const double *net, ptrdiff_t k) {
    int finite = 1;
    for (ptrdiff_t j = 0; j < k; j++) finite = finite && isfinite(net[j]);
    return finite;
}

/* Compute eps and the errors of a sample; return whether nets and eps are finite. */
static int compute_errors(const Samples *samples, intptr_t target, const Scratch *scratch,
                    double *eps) {
    const ptrdiff_t k = samples->k;
    double total = 0.0, *delta = scratch->delta;
    for (ptrdiff_t j = 0; j < k; j++) delta[j] = scratch->net[j];
    /* Whole vectors are faster than parts of one; zeros follow the last output. */
    activate(samples->function, delta, k < 4 ? k : (k + 3) / 4 * 4, scratch->y, scratch->slopes);
    for (ptrdiff_t j = 0; j < k; j++) {
        delta[j] = (j == target ? samples->high : samples->low) - scratch->y[j];
        total += delta[j] * delta[j];
    }
    *eps = 0.5 * total;
    return are_finite(scratch->net, k) && isfinite(*eps);
}

/* Compute the steps of the outputs at a rate; return whether all weights stay finite. */
static int make_steps(const Samples *samples, const Row *row, double rate,
                          const Scratch *scratch) {
    double *steps = scratch->steps;
    double largest = 0.0;
    for (ptrdiff_t j = 0; j < samples->k; j++) {
        steps[j] = rate * (scratch->delta[j] * scratch->slopes[j]);
        largest = fabs(steps[j]) > largest ? fabs(steps[j]) : largest;
    }
    /* A step below half the spacing of the largest numbers cannot make a finite weight overflow. */
    const double reach = samples->bytes != NULL && samples->statistics == NULL
                             ? 1.0 + fabs(samples->of_byte[255])
                             : bound_values(row->x, row->m);
    if (isfinite(rate) && largest * reach < SAFE_STEP) return 1;
    return would_be_finite(samples, row, steps);
}

/* Learn rows until one would diverge or ends the training; return the number learned. */
static ptrdiff_t learn_rows(Samples *samples, Scratch *scratch) {
    const ptrdiff_t k = samples->k, stride = samples->stride;
    const int is_scaled = samples->statistics != NULL;
    ptrdiff_t width = PTRDIFF_MAX, n_updates = 0, i = 0;
    const Row *waiting = NULL; /* the last row, if its steps are not yet added to W */
    const double *steps = scratch->steps;
    double *W = samples->W, *biases = samples->biases;
    double *net = scratch->net, *nets = samples->nets, *test = samples->tests;
    for (; i < samples->n; i++) {
        Row *row = &scratch->rows[i & 1];
        if (samples->widths != NULL) width = samples->widths[i + 1];
        take_row(samples, i, width, scratch, row);
        if (waiting != NULL && waiting->m == row->m &&
            memcmp(waiting->at, row->at, row->m * sizeof(int32_t)) == 0) {
            update_and_sum(W, stride, row->at, waiting->x, row->x, row->m, k, steps, biases, net);
        } else {
            if (waiting != NULL)
                update_and_sum(W, stride, waiting->at, waiting->x, NULL, waiting->m, k, steps, NULL,
                               NULL);
            update_and_sum(W, stride, row->at, NULL, row->x, row->m, k, NULL, biases, net);
        }
        waiting = NULL;
        memcpy(nets, net, k * sizeof(double));
        nets += k;
        if (samples->widths != NULL && samples->widths[i] < width) {
            ptrdiff_t n = row->m;
            while (n > 0 && row->at[n - 1] >= samples->widths[i]) n--;
            update_and_sum(W, stride, row->at, NULL, row->x, n, k, NULL, biases, net);
            memcpy(test, net, k * sizeof(double));
            samples->diverged = !are_finite(test, k);
            if (samples->diverged) break;
            memcpy(net, nets - k, k * sizeof(double));
            test += k;
        }
        if (samples->targets[i] < 0 || is_scaled) {
            samples->diverged = !are_finite(net, k);
            if (samples->diverged) break;
            if (samples->targets[i] < 0) continue;
        }
        if (is_scaled) {
            samples->diverged = !count_row(scratch, row);
            if (samples->diverged) break;
            update_and_sum(W, stride, row->at, NULL, row->x, row->m, k, NULL, biases, net);
        }
        samples->diverged = !compute_errors(samples, samples->targets[i], scratch, &samples->eps[i]);
        if (samples->diverged) break;
        const int updates = samples->eps[i] >= samples->epsilon;
        if (updates) {
            const double rate = samples->rates[n_updates] * samples->sample_weights[i];
            samples->diverged = !make_steps(samples, row, rate, scratch);
            if (samples->diverged) break;
            for (ptrdiff_t j = 0; j < k; j++) biases[j] += steps[j];
            waiting = row;
            samples->updated[i] = 1;
            n_updates++;
        }
        if (is_scaled) keep(&scratch->given, scratch->after, samples);
        samples->last[0] = samples->eps[i];
        samples->counts[0] += 1;
        samples->counts[1] += updates;
        if (samples->stop && !updates) {
            i++;
            break;
        }
    }
    if (waiting != NULL)
        update_and_sum(W, stride, waiting->at, waiting->x, NULL, waiting->m, k, steps, NULL, NULL);
    return i;
}

/* Allocate the scratch arrays, with room for a last whole vector; return NULL if memory is short. */
static char *make_scratch(Scratch *scratch, const Samples *samples) {
    const size_t m = samples->longest + 16, k = samples->stride;
    const size_t raw = samples->statistics != NULL ? m : 0;
    char *start = malloc((5 * k + 9 * raw + 3 * m) * sizeof(double) +
                         (2 * raw + 3 * m) * sizeof(int32_t));
    if (start == NULL) return NULL;
    scratch->y = (double *)start;
    scratch->slopes = scratch->y + k;
    scratch->delta = scratch->slopes + k;
    scratch->z = scratch->delta + k;
    scratch->gathered = scratch->z + raw;
    scratch->after = scratch->gathered + 3 * raw;
    scratch->raw.x = scratch->after + 3 * raw;
    scratch->spare_raw.x = scratch->raw.x + raw;
    scratch->steps = scratch->spare_raw.x + raw;
    scratch->net = scratch->steps + k;
    scratch->rows[0].x = scratch->net + k;
    scratch->rows[1].x = scratch->rows[0].x + m;
    scratch->spare.x = scratch->rows[1].x + m;
    scratch->rows[0].at = (int32_t *)(scratch->spare.x + m);
    scratch->rows[1].at = scratch->rows[0].at + m;
    scratch->spare.at = scratch->rows[1].at + m;
    scratch->raw.at = scratch->spare.at + m;
    scratch->spare_raw.at = scratch->raw.at + raw;
    memset(scratch->steps, 0, k * sizeof(double));
    memset(scratch->delta, 0, k * sizeof(double));
    return start;
}

static ptrdiff_t learn(Samples *samples) {
    Scratch scratch;
    char *start = make_scratch(&scratch, samples);
    if (start == NULL) return -1;
    samples->diverged = 0;
    const ptrdiff_t done = learn_rows(samples, &scratch);
    free(start);
    return done;
}

#undef APPEND
#undef ALL_OUTPUTS
#undef ONE
#undef TWO
#undef CELLS
#undef FEATURE
#undef OUTPUTS
