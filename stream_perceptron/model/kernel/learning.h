/* The delta rule, step by step, for one sample after another.

   A row becomes a sample: its m nonzero features in ascending order. With a scaler, the row's raw
   features are read first; the sample is made of their standardized values, once to predict it, and
   again, with the row counted, to learn it. */

/* Counts, means and variances of features; a count below 0 marks a feature that is left as it is. */
typedef struct {
    double *counts, *means, *variances;
} Statistics;

/* The memory that one call of `learn` works in. Arrays of outputs are padded like a weight row, those
   of features have room for the longest row. */
typedef struct {
    double *nets, *y, *slopes, *deltas, *steps; /* (k,), of the current sample */
    Sample samples[2];                          /* the current one and the last one, in turns */
    Sample spare;                               /* for sorting */
    Sample raw, spare_raw;                      /* with a scaler: a row before standardizing, */
    int is_table;                               /* whether it has the model's first m features, */
    double *standardized;                       /* (m,), its standardized values, */
    Statistics before, after;                   /* and its statistics without and with it, */
    double *gathered, *counted;                 /* (3, m) each, in this memory if not the model's */
} Scratch;

static Statistics split_statistics(double *table, ptrdiff_t width) {
    return (Statistics){table, table + width, table + 2 * width};
}

/* z = x standardized by the statistics of m features. */
FOR_EACH_PROCESSOR
static void standardize(const double *restrict x, const Statistics *statistics, ptrdiff_t m,
                        double *restrict z) {
    const double *counts = statistics->counts, *means = statistics->means;
    const double *variances = statistics->variances;
    for (ptrdiff_t r = 0; r < m; r++) {
        const double scaled = (x[r] - means[r]) / sqrt(variances[r]);
        const double moved = variances[r] > 0.0 ? scaled : 0.0;
        z[r] = counts[r] < 0.0 ? x[r] : moved;
    }
}

/* Make the sample of the raw row, standardized by some statistics of its features. */
static void standardize_row(const Statistics *statistics, const Scratch *scratch, Sample *sample) {
    const Sample *raw = &scratch->raw;
    standardize(raw->x, statistics, raw->m, scratch->standardized);
    if (scratch->is_table) {
        take_nonzero(scratch->standardized, NULL, NULL, raw->m, sample);
        return;
    }
    sample->m = 0;
    for (ptrdiff_t r = 0; r < raw->m; r++)
        append(sample, raw->feature_ids[r], scratch->standardized[r], 0);
}

/* Make the sample of row i. */
static void make_sample(const Model *model, const Rows *rows, ptrdiff_t i, Scratch *scratch,
                        Sample *sample) {
    if (model->statistics == NULL) {
        read_row(rows, i, model->d, 0, sample, &scratch->spare);
        return;
    }
    Sample *raw = &scratch->raw;
    read_row(rows, i, model->d, 1, raw, &scratch->spare_raw);
    scratch->is_table = is_table_of(rows);
    scratch->before = split_statistics(model->statistics, model->statistics_width);
    if (!scratch->is_table) {
        const Statistics all = scratch->before;
        scratch->before = split_statistics(scratch->gathered, raw->m);
        for (ptrdiff_t r = 0; r < raw->m; r++) {
            const int32_t id = raw->feature_ids[r];
            scratch->before.counts[r] = all.counts[id];
            scratch->before.means[r] = all.means[id];
            scratch->before.variances[r] = all.variances[id];
        }
    }
    standardize_row(&scratch->before, scratch, sample);
}

/* after = the statistics (3, m) with x counted, by Welford's recurrences; return whether all are
   finite. */
FOR_EACH_PROCESSOR
static int count_features(const double *restrict x, const Statistics *before, ptrdiff_t m,
                          double *restrict after) {
    const double *counts = before->counts, *means = before->means, *variances = before->variances;
    int64_t n_not_finite = 0; /* as wide as a double, for vectors */
    for (ptrdiff_t r = 0; r < m; r++) {
        const int is_counted = counts[r] >= 0.0;
        const double n = counts[r] + 1.0, apart = x[r] - means[r];
        const double mean = means[r] + apart / n;
        const double variance = variances[r] + (apart * (x[r] - mean) - variances[r]) / n;
        after[r] = is_counted ? n : counts[r];
        after[m + r] = is_counted ? mean : means[r];
        after[2 * m + r] = is_counted ? variance : variances[r];
        n_not_finite += !(fabs(after[m + r]) <= DBL_MAX) | !(after[2 * m + r] <= DBL_MAX);
    }
    return n_not_finite == 0;
}

/* Store the statistics that count the raw row. */
static void store_statistics(const Model *model, const Scratch *scratch) {
    const Statistics all = split_statistics(model->statistics, model->statistics_width);
    const Sample *raw = &scratch->raw;
    if (scratch->is_table) {
        memcpy(all.counts, scratch->after.counts, raw->m * sizeof(double));
        memcpy(all.means, scratch->after.means, raw->m * sizeof(double));
        memcpy(all.variances, scratch->after.variances, raw->m * sizeof(double));
        return;
    }
    for (ptrdiff_t r = 0; r < raw->m; r++) {
        const int32_t id = raw->feature_ids[r];
        all.counts[id] = scratch->after.counts[r];
        all.means[id] = scratch->after.means[r];
        all.variances[id] = scratch->after.variances[r];
    }
}

/* deltas = (d - y) f'(net), where d is high for the target's output and low for the others; return
   the error, 1/2 sum (d - y)^2. */
static double compute_deltas(const Model *model, intptr_t target, Scratch *scratch) {
    const ptrdiff_t k = model->k;
    double *deltas = scratch->deltas, sum = 0.0;
    /* Whole vectors are faster than parts of one; the padding is 0. */
    activate(model->function, scratch->nets, k < 4 ? k : (k + 3) / 4 * 4, scratch->y,
             scratch->slopes);
    for (ptrdiff_t j = 0; j < k; j++) {
        const double difference = (j == target ? model->high : model->low) - scratch->y[j];
        sum += difference * difference;
        deltas[j] = difference * scratch->slopes[j];
    }
    return 0.5 * sum;
}

/* steps = rate deltas: the update of each output for a feature of value 1. */
static void compute_steps(const Model *model, double rate, Scratch *scratch) {
    for (ptrdiff_t j = 0; j < model->k; j++) scratch->steps[j] = rate * scratch->deltas[j];
}

static int are_finite(const double *numbers, ptrdiff_t n) {
    int are = 1;
    for (ptrdiff_t j = 0; j < n; j++) are &= fabs(numbers[j]) <= DBL_MAX;
    return are;
}

/* Return a number that is at least 1 and at least each |x|. */
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

/* Return whether all weights and biases would be finite after the update by the current steps. */
static int stay_finite(const Model *model, const Sample *sample, const double *steps) {
    double largest = 0.0;
    if (!are_finite(steps, model->k)) return 0;
    for (ptrdiff_t j = 0; j < model->k; j++)
        largest = fabs(steps[j]) > largest ? fabs(steps[j]) : largest;
    /* A change of less than half the spacing of the largest numbers cannot make one overflow. */
    const double safe = DBL_MAX * DBL_EPSILON / 8;
    if (largest * bound_values(sample->x, sample->m) < safe) return 1;
    for (ptrdiff_t j = 0; j < model->k; j++) {
        if (!isfinite(model->biases[j] + steps[j])) return 0;
        for (ptrdiff_t r = 0; r < sample->m; r++) {
            const double weight = model->weights[sample->feature_ids[r] * model->stride + j];
            if (!isfinite(weight + sample->x[r] * steps[j])) return 0;
        }
    }
    return 1;
}

static int have_same_features(const Sample *one, const Sample *other) {
    return one->m == other->m &&
           memcmp(one->feature_ids, other->feature_ids, one->m * sizeof(int32_t)) == 0;
}

/* Learn the rows; return the number learned. It is less than n if the next row would diverge, or if
   the last one ended the training. */
static ptrdiff_t learn_rows(const Model *model, const Rows *rows, const Results *results,
                            Scratch *scratch) {
    const ptrdiff_t k = model->k;
    const int is_scaled = model->statistics != NULL;
    double *nets = scratch->nets, *steps = scratch->steps;
    const Sample *last = NULL; /* the last sample, if the weights lack its update */
    ptrdiff_t n_updates = 0, i = 0;
    int has_stopped = 0;
    for (; i < rows->n && !has_stopped; i++) {
        const intptr_t target = rows->targets[i];
        Sample *sample = &scratch->samples[i & 1];
        make_sample(model, rows, i, scratch, sample);

        /* The net inputs, after the last sample's update. */
        if (last != NULL && have_same_features(last, sample)) {
            add_update_and_compute_nets(model, last, steps, sample, nets);
        } else {
            if (last != NULL) add_update(model, last, steps);
            compute_nets(model, sample, nets);
        }
        last = NULL;
        memcpy(results->nets + i * k, nets, k * sizeof(double));
        int is_finite = are_finite(nets, k), updates = 0;

        double error = 0.0;
        if (target >= 0) {
            if (is_scaled) {
                const ptrdiff_t m = scratch->raw.m;
                scratch->after = split_statistics(scratch->counted, m);
                is_finite &= count_features(scratch->raw.x, &scratch->before, m, scratch->counted);
                standardize_row(&scratch->after, scratch, sample);
                compute_nets(model, sample, nets);
                is_finite &= are_finite(nets, k);
            }
            error = compute_deltas(model, target, scratch);
            updates = error >= model->epsilon;
            if (updates) {
                compute_steps(model, rows->rates[n_updates] * rows->sample_weights[i], scratch);
                is_finite &= stay_finite(model, sample, steps);
            }
        }
        if (!(is_finite && isfinite(error))) break; /* it diverges, and nothing is changed */
        if (target < 0) continue;

        if (updates) {
            for (ptrdiff_t j = 0; j < k; j++) model->biases[j] += steps[j];
            last = sample;
            results->updated[i] = 1;
            n_updates++;
        }
        if (is_scaled) store_statistics(model, scratch);
        results->errors[i] = *results->last_error = error;
        results->counts[0] += 1;
        results->counts[1] += updates;
        has_stopped = model->stop && !updates;
    }
    if (last != NULL) add_update(model, last, steps);
    return i;
}

/* Return the first part of `memory`, n doubles or IDs, and move on behind it. */
static double *take_doubles(char **memory, size_t n) {
    double *doubles = (double *)*memory;
    *memory += n * sizeof(double);
    return doubles;
}

static Sample take_sample(char **memory, size_t m) {
    Sample sample = {0, NULL, take_doubles(memory, m)};
    sample.feature_ids = (int32_t *)*memory;
    *memory += (m + 1) / 2 * sizeof(double);
    return sample;
}

/* Learn or predict rows, one after another; return the number done, or -1 if memory is short. */
static ptrdiff_t learn(const Model *model, const Rows *rows, const Results *results) {
    const size_t k = model->stride, m = rows->longest + 16; /* 16 more for find_nonzero */
    const size_t m_raw = model->statistics != NULL ? m : 0;
    const size_t n_doubles = 5 * k + 3 * (m + (m + 1) / 2) + 2 * (m_raw + (m_raw + 1) / 2) + 7 * m_raw;
    char *const memory = malloc(n_doubles * sizeof(double)), *rest = memory;
    if (memory == NULL) return -1;
    Scratch scratch;
    scratch.nets = take_doubles(&rest, k);
    scratch.y = take_doubles(&rest, k);
    scratch.slopes = take_doubles(&rest, k);
    scratch.deltas = take_doubles(&rest, k);
    scratch.steps = take_doubles(&rest, k);
    /* Padding must not hold what would slow arithmetic down or be written to weights. */
    memset(memory, 0, 5 * k * sizeof(double));
    scratch.samples[0] = take_sample(&rest, m);
    scratch.samples[1] = take_sample(&rest, m);
    scratch.spare = take_sample(&rest, m);
    scratch.raw = take_sample(&rest, m_raw);
    scratch.spare_raw = take_sample(&rest, m_raw);
    scratch.standardized = take_doubles(&rest, m_raw);
    scratch.gathered = take_doubles(&rest, 3 * m_raw);
    scratch.counted = take_doubles(&rest, 3 * m_raw);
    const ptrdiff_t n_done = learn_rows(model, rows, results, &scratch);
    free(memory);
    return n_done;
}
