/* Learning one sample after another, for numbers of type T; OF(name) is as in loops.h.

   The update of a sample waits until the next one is there: then the weights are read once for
   both. */

/* Find the blocks of row x; the bytes of its d features may be known. */
static void OF(find)(Blocks *blocks, int turn, const T *x, const uint8_t *bytes, ptrdiff_t d,
                     ptrdiff_t filled) {
    if (bytes != NULL)
        OF(find_byte_blocks)(bytes, d, filled, blocks->has[turn]);
    else
        OF(find_blocks)(x, filled, blocks->has[turn]);
}

/* List the blocks that one of two rows has. */
static void OF(list)(Blocks *blocks, int turn, int other, ptrdiff_t d) {
    OF(list_blocks)(blocks->has[turn], blocks->has[other], d, blocks->starts, blocks->counts);
}

/* net = W x + biases, of a row of m features; the blocks of a dense one are found and listed. */
static void OF(forward)(const T *W, ptrdiff_t stride, const T *biases, const T *x,
                        const intptr_t *columns, ptrdiff_t m, ptrdiff_t k, Blocks *blocks, int turn,
                        T *net) {
    if (columns == NULL) {
        OF(find)(blocks, turn, x, NULL, m, m);
        OF(list)(blocks, turn, turn, m);
        OF(dots)(W, stride, x, blocks->starts, blocks->counts, k, m, net);
    } else {
        OF(sparse_dots)(W, stride, columns, x, k, m, net);
    }
    for (ptrdiff_t j = 0; j < k; j++) net[j] += biases[j];
}

/* Returns the length of x, or infinity, which no |x| exceeds; `blocks` are those of x at least. */
static double OF(reach)(const T *x, const Blocks *blocks, const intptr_t *columns, ptrdiff_t m) {
    T squares = 0;
    if (columns != NULL)
        for (ptrdiff_t i = 0; i < m; i++) squares += x[i] * x[i];
    else
        OF(dots)(x, 0, x, blocks->starts, blocks->counts, 1, m, &squares);
    return sqrt(squares);
}

/* Whether all weights are finite after the steps. */
static int OF(would_be_finite)(const T *W, ptrdiff_t stride, const T *biases, const T *x,
                               const intptr_t *columns, const T *steps, ptrdiff_t k, ptrdiff_t m) {
    for (ptrdiff_t j = 0; j < k; j++) {
        const T *w = W + j * stride;
        if (!isfinite((T)(biases[j] + steps[j]))) return 0;
        for (ptrdiff_t i = 0; i < m; i++)
            if (!isfinite((T)(w[columns != NULL ? columns[i] : i] + steps[j] * x[i]))) return 0;
    }
    return 1;
}

/* Write eps of a sample, and what it comes from; return whether it is finite. */
static int OF(test)(const Rule *rule, const T *net, ptrdiff_t k, intptr_t target,
                    const Scratch *scratch, double *eps) {
    double total = 0.0;
    int finite = 1;
    double *delta = scratch->delta;
    for (ptrdiff_t j = 0; j < k; j++) {
        finite = finite && isfinite(net[j]);
        delta[j] = net[j];
    }
    activate(rule->function, delta, k, scratch->y, scratch->slopes);
    for (ptrdiff_t j = 0; j < k; j++) {
        delta[j] = (j == target ? rule->high : rule->low) - scratch->y[j];
        total += delta[j] * delta[j];
    }
    *eps = 0.5 * total;
    return finite && isfinite(*eps);
}

/* Write the steps of the outputs at a rate; return whether all weights stay finite. */
static int OF(make_steps)(const T *W, ptrdiff_t stride, const T *biases, const T *x,
                          const intptr_t *columns, ptrdiff_t width, ptrdiff_t k, double rate,
                          double reach, const Scratch *scratch) {
    T *steps = scratch->steps;
    double largest = 0.0;
    for (ptrdiff_t j = 0; j < k; j++) {
        steps[j] = (T)(rate * (scratch->delta[j] * scratch->slopes[j]));
        largest = fabs(steps[j]) > largest ? fabs(steps[j]) : largest;
    }
    /* An increment below half the spacing of the largest numbers cannot make a finite weight
       overflow. */
    const double safe = (double)LARGEST * SPACING / 8;
    if (isfinite(rate) && largest * (1.0 + reach) < safe) return 1;
    return OF(would_be_finite)(W, stride, biases, x, columns, steps, k, width);
}

/* Returns the values of a row up to a width, dense or sparse, whichever is less work. */
static const T *OF(row)(const Samples *samples, Scratch *scratch, ptrdiff_t i, ptrdiff_t width,
                        Row *row) {
    const ptrdiff_t d = samples->d, filled = scratch->filled;
    const T *x, *X = samples->values;
    T *copy = scratch->rows[i & 1], *values = scratch->values;
    ptrdiff_t count = 0;
    row->bytes = NULL;
    row->at = NULL;
    row->width = filled;
    if (samples->starts != NULL) {
        row->at = samples->columns + samples->starts[i];
        row->width = samples->starts[i + 1] - samples->starts[i];
        x = X + samples->starts[i];
        if (!is_dense(row->width, d)) {
            row->width = up_to(row->at, row->width, width);
            return x;
        }
        memset(copy, 0, filled * sizeof(T));
        for (ptrdiff_t c = 0; c < row->width; c++)
            if (row->at[c] < width) copy[row->at[c]] = x[c];
        row->at = NULL;
        row->width = filled;
        return copy;
    }
    if (samples->bytes != NULL) {
        if (width == d) row->bytes = samples->bytes + i * d;
        OF(scaled)(samples->bytes + i * d, samples->scale, d, copy);
        x = copy;
    } else {
        x = X + i * d;
    }
    if (d > 1024) {
        for (ptrdiff_t c = 0; c < width; c++) {
            if (x[c] != 0) {
                scratch->places[count] = c;
                values[count++] = x[c];
            }
        }
        if (!is_dense(count, d)) {
            row->at = scratch->places;
            row->width = count;
            return values;
        }
    }
    if (width < filled) {
        if (samples->bytes == NULL) memcpy(copy, x, width * sizeof(T));
        memset(copy + width, 0, (filled - width) * sizeof(T));
        x = copy;
    }
    return x;
}

/* Write the net inputs of a row by the weights of the features up to a width. */
static void OF(test_narrow)(const T *W, ptrdiff_t stride, const T *biases, const T *x,
                            const intptr_t *columns, ptrdiff_t m, ptrdiff_t width, ptrdiff_t k,
                            ptrdiff_t d, Scratch *scratch, T *net) {
    if (columns == NULL) {
        T *part = scratch->rows[2];
        memcpy(part, x, width * sizeof(T));
        memset(part + width, 0, (d - width) * sizeof(T));
        x = part;
        m = d;
    } else {
        m = up_to(columns, m, width);
    }
    OF(forward)(W, stride, biases, x, columns, m, k, &scratch->blocks, 2, net);
}

/* Learn rows that need no scaler; return how many. */
static ptrdiff_t OF(learn_rows)(T *W, ptrdiff_t stride, T *biases, const Samples *samples,
                                const Rule *rule, Scratch *scratch, int *diverged) {
    const ptrdiff_t k = samples->k, d = samples->d, filled = scratch->filled;
    ptrdiff_t width = d, n_updates = 0;
    int turn = 0;
    const T *waiting = NULL; /* a dense row whose update waits */
    const T *steps = scratch->steps;
    T *test = samples->tests;
    Blocks *blocks = &scratch->blocks;
    for (ptrdiff_t i = 0; i < samples->n; i++) {
        turn = i & 1;
        if (samples->widths != NULL) width = samples->widths[i + 1];
        Row row;
        const T *x = OF(row)(samples, scratch, i, width, &row);
        T *net = (T *)samples->nets + i * k;
        if (row.at == NULL) {
            OF(find)(blocks, turn, x, row.bytes, d, filled);
            OF(list)(blocks, turn, waiting != NULL ? 1 - turn : turn, filled);
            if (waiting != NULL)
                OF(steps_and_dots)(W, stride, waiting, steps, x, blocks->starts, blocks->counts, k,
                                   filled, net);
            else
                OF(dots)(W, stride, x, blocks->starts, blocks->counts, k, filled, net);
        } else {
            if (waiting != NULL) {
                OF(list)(blocks, 1 - turn, 1 - turn, filled);
                OF(steps)(W, stride, waiting, steps, blocks->starts, blocks->counts, k, filled);
            }
            OF(sparse_dots)(W, stride, row.at, x, k, row.width, net);
        }
        waiting = NULL;
        for (ptrdiff_t j = 0; j < k; j++) net[j] += biases[j];
        if (samples->widths != NULL && samples->widths[i] < width) {
            OF(test_narrow)(W, stride, biases, x, row.at, row.width, samples->widths[i], k,
                            filled, scratch, test);
            test += k;
            if (row.at == NULL) OF(list)(blocks, turn, turn, filled);
        }
        if (samples->targets[i] < 0) continue;
        if (!OF(test)(rule, net, k, samples->targets[i], scratch, &samples->eps[i])) {
            *diverged = 1;
            return i;
        }
        const int updates = samples->eps[i] >= rule->epsilon;
        if (updates) {
            const double rate = samples->rates[n_updates] * samples->sample_weights[i];
            double reach = 255.0 * fabs(samples->scale);
            if (row.bytes == NULL) reach = OF(reach)(x, blocks, row.at, row.width);
            if (!OF(make_steps)(W, stride, biases, x, row.at, row.width, k, rate, reach, scratch)) {
                *diverged = 1;
                return i;
            }
            for (ptrdiff_t j = 0; j < k; j++) biases[j] += steps[j];
            if (row.at == NULL)
                waiting = x;
            else
                OF(sparse_steps)(W, stride, row.at, x, steps, k, row.width);
            samples->updated[i] = 1;
            n_updates++;
        }
        samples->last[0] = samples->eps[i];
        samples->counts[0] += 1;
        samples->counts[1] += updates;
        if (rule->stop && !updates) return i + 1;
    }
    if (waiting != NULL) {
        OF(list)(blocks, turn, turn, filled);
        OF(steps)(W, stride, waiting, steps, blocks->starts, blocks->counts, k, filled);
    }
    return samples->n;
}

/* Returns a row scaled by statistics of its m features, filled up if it is `dense`. */
static const T *OF(standardized)(const double *x, const double *statistics, ptrdiff_t apart,
                                 const intptr_t *columns, ptrdiff_t m, ptrdiff_t filled,
                                 int dense, T *row, T *sparse) {
    T *z = columns == NULL ? row : sparse;
    OF(standardize)(x, statistics, statistics + apart, statistics + 2 * apart, m, z);
    if (columns == NULL) memset(row + m, 0, (filled - m) * sizeof(T));
    if (columns == NULL || !dense) return z;
    memset(row, 0, filled * sizeof(T));
    for (ptrdiff_t i = 0; i < m; i++) row[columns[i]] = z[i];
    return row;
}

/* Learn rows as a scaler makes them, before and after it counts each; return how many. */
static ptrdiff_t OF(learn_scaled)(T *W, ptrdiff_t stride, T *biases, const Samples *samples,
                                  const Rule *rule, Scratch *scratch, int *diverged) {
    const ptrdiff_t k = samples->k, d = samples->d, filled = scratch->filled;
    ptrdiff_t total = d, n_updates = 0;
    T *row = scratch->rows[0], *sparse = scratch->rows[1], *test = samples->tests;
    const T *steps = scratch->steps;
    Blocks *blocks = &scratch->blocks;
    for (ptrdiff_t i = 0; i < samples->n; i++) {
        const intptr_t *columns = NULL;
        if (samples->widths != NULL) total = samples->widths[i + 1];
        const double *x = (const double *)samples->values + i * d;
        const double *before = samples->statistics;
        ptrdiff_t m = total, apart = samples->apart;
        if (samples->starts != NULL) {
            columns = samples->columns + samples->starts[i];
            m = up_to(columns, samples->starts[i + 1] - samples->starts[i], total);
            x = (const double *)samples->values + samples->starts[i];
            for (int part = 0; part < 3; part++)
                for (ptrdiff_t c = 0; c < m; c++)
                    scratch->before[part * m + c] =
                        samples->statistics[part * samples->apart + columns[c]];
            before = scratch->before;
            apart = m;
        }
        /* The columns of a row that is computed as a sparse one. */
        const intptr_t *at = columns == NULL || is_dense(m, d) ? NULL : columns;
        const ptrdiff_t width = at == NULL ? filled : m;
        const T *z = OF(standardized)(x, before, apart, columns, m, filled, at == NULL, row, sparse);
        T *net = (T *)samples->nets + i * k;
        OF(forward)(W, stride, biases, z, at, width, k, blocks, 0, net);
        if (samples->widths != NULL && samples->widths[i] < total) {
            OF(test_narrow)(W, stride, biases, z, at, width, samples->widths[i], k, filled,
                            scratch, test);
            test += k;
        }
        if (samples->targets[i] < 0) continue;
        if (welford(x, before, before + apart, before + 2 * apart, m, scratch->after) != 0.0) {
            *diverged = 1;
            return i;
        }
        z = OF(standardized)(x, scratch->after, m, columns, m, filled, at == NULL, row, sparse);
        net = scratch->net;
        OF(forward)(W, stride, biases, z, at, width, k, blocks, 0, net);
        if (!OF(test)(rule, net, k, samples->targets[i], scratch, &samples->eps[i])) {
            *diverged = 1;
            return i;
        }
        const int updates = samples->eps[i] >= rule->epsilon;
        if (updates) {
            const double rate = samples->rates[n_updates] * samples->sample_weights[i];
            const double reach = OF(reach)(z, blocks, at, width);
            if (!OF(make_steps)(W, stride, biases, z, at, width, k, rate, reach, scratch)) {
                *diverged = 1;
                return i;
            }
            for (ptrdiff_t j = 0; j < k; j++) biases[j] += steps[j];
            if (at == NULL)
                OF(steps)(W, stride, z, steps, blocks->starts, blocks->counts, k, filled);
            else
                OF(sparse_steps)(W, stride, at, z, steps, k, m);
            samples->updated[i] = 1;
            n_updates++;
        }
        for (int part = 0; part < 3; part++)
            for (ptrdiff_t c = 0; c < m; c++)
                samples->statistics[part * samples->apart + (columns == NULL ? c : columns[c])] =
                    scratch->after[part * m + c];
        samples->last[0] = samples->eps[i];
        samples->counts[0] += 1;
        samples->counts[1] += updates;
        if (rule->stop && !updates) return i + 1;
    }
    return samples->n;
}

/* Allocate what learning needs; return what is to be freed, NULL if memory is short. */
static char *OF(make_scratch)(Scratch *scratch, const Samples *samples) {
    const size_t k = samples->k, d = samples->d, filled = scratch->filled;
    const size_t n_blocks = filled * sizeof(T) / BLOCK_BYTES;
    const int is_scaled = samples->statistics != NULL;
    const int copies = samples->bytes != NULL || samples->starts != NULL || is_scaled ||
                       samples->widths != NULL || filled > d;
    const size_t gathered = samples->starts == NULL && d > 1024 && !is_scaled ? d : 0;
    const size_t statistics = is_scaled ? 3 * d : 0;
    const size_t row = copies ? (n_blocks + 1) * BLOCK_BYTES : 0;
    char *start = malloc(BLOCK_BYTES + 3 * row + (2 * statistics + 3 * k) * sizeof(double) +
                         gathered * sizeof(intptr_t) + (n_blocks + 1) * sizeof(ptrdiff_t) +
                         (2 * k + gathered) * sizeof(T) + 3 * n_blocks);
    if (start == NULL) return NULL;
    /* Rows begin with a cache line. */
    char *rest = start + BLOCK_BYTES - (uintptr_t)start % BLOCK_BYTES;
    for (int i = 0; i < 3; i++, rest += row) scratch->rows[i] = rest;
    scratch->before = (double *)rest;
    scratch->after = scratch->before + statistics;
    scratch->y = scratch->after + statistics;
    scratch->slopes = scratch->y + k;
    scratch->delta = scratch->slopes + k;
    scratch->places = (intptr_t *)(scratch->delta + k);
    scratch->blocks.starts = (ptrdiff_t *)(scratch->places + gathered);
    T *numbers = (T *)(scratch->blocks.starts + n_blocks + 1);
    scratch->values = numbers;
    scratch->steps = numbers + gathered;
    scratch->net = numbers + gathered + k;
    for (int i = 0; i < 3; i++)
        scratch->blocks.has[i] = (uint8_t *)(numbers + gathered + 2 * k) + i * n_blocks;
    return start;
}

/* Learn rows with weights W, whose rows are `stride` numbers apart; return how many, -1 if memory is
   short. `diverged` tells whether the next one was refused as a number would not be finite. Where a
   row of W begins with a cache line, its last one must be finite to the end, and is written to. */
static ptrdiff_t OF(learn)(T *W, ptrdiff_t stride, T *biases, const Samples *samples,
                           const Rule *rule, int *diverged) {
    Scratch scratch;
    scratch.filled = OF(columns)(W, stride, samples->d);
    char *start = OF(make_scratch)(&scratch, samples);
    if (start == NULL) return -1;
    *diverged = 0;
    const ptrdiff_t done =
        samples->statistics != NULL
            ? OF(learn_scaled)(W, stride, biases, samples, rule, &scratch, diverged)
            : OF(learn_rows)(W, stride, biases, samples, rule, &scratch, diverged);
    free(start);
    return done;
}

/* Write the net inputs of one row of m features; return whether there was memory to do so. */
static int OF(predict)(const T *W, ptrdiff_t stride, const T *biases, const T *x,
                       const intptr_t *columns, ptrdiff_t k, ptrdiff_t m, T *net) {
    const ptrdiff_t n_blocks = columns == NULL ? m * (ptrdiff_t)sizeof(T) / BLOCK_BYTES : 0;
    Blocks blocks;
    char *start = malloc((n_blocks + 1) * sizeof(ptrdiff_t) + n_blocks);
    if (start == NULL) return 0;
    blocks.starts = (ptrdiff_t *)start;
    blocks.has[0] = (uint8_t *)(blocks.starts + n_blocks + 1);
    OF(forward)(W, stride, biases, x, columns, m, k, &blocks, 0, net);
    free(start);
    return 1;
}
