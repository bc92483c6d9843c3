/* The delta rule, step by step, for one sample after another.

   A row becomes a sample: its m nonzero features, in the order of the row. With a scaler, the row's raw
   features, including zeros, are read first. The sample is built from their standardized values twice:
   once to predict the row, and once to learn it after the row has been added to the statistics. Absent
   features are neither counted nor standardized; indicators are counted, but not standardized. */

enum { N_STATISTICS = 4 };

/* Counts, means and variances of features; `indicators` is 1 for a feature that has only been 0 or 1,
   else 0. */
typedef struct {
    double *counts, *means, *variances, *indicators;
} Statistics;

/* The working memory for one call to `learn`. Arrays of outputs are padded like a weight row, and
   arrays of features have room for the longest row. The second group is used only with a scaler. */
typedef struct {
    double *nets, *y, *slopes, *deltas, *steps; /* (k,), of the current sample */
    Sample sample;                              /* the current one */

    Sample raw;                /* the row before it is standardized */
    int is_table;              /* whether the raw row has the model's first m features */
    double *standardized;      /* (m,), the standardized values of the raw row */
    Statistics before, after;  /* of the raw row's features, without and with this row */
    double *gathered;          /* (4, m), the memory for `before`, unless `is_table` */
    double *counted;           /* (4, m), the memory for `after` */
} Scratch;

static Statistics split_statistics(double *table, ptrdiff_t width) {
    return (Statistics){table, table + width, table + 2 * width, table + 3 * width};
}

/* z = x standardized by the statistics of m features. */
FOR_EACH_PROCESSOR
static void standardize(const double *restrict x, const Statistics *statistics, ptrdiff_t m,
                        double *restrict z) {
    const double *means = statistics->means, *variances = statistics->variances;
    const double *indicators = statistics->indicators;
    for (ptrdiff_t r = 0; r < m; r++) {
        const double quotient = (x[r] - means[r]) / sqrt(variances[r]);
        const double standardized = variances[r] > 0.0 ? quotient : 0.0;
        z[r] = indicators[r] > 0.0 ? x[r] : standardized;
    }
}

/* Build the sample from the raw row, standardized with the given statistics of its features. */
static void standardize_row(const Statistics *statistics, const Scratch *scratch, Sample *sample) {
    const Sample *raw = &scratch->raw;
    standardize(raw->x, statistics, raw->m, scratch->standardized);
    if (scratch->is_table) {
        copy_nonzero(scratch->standardized, NULL, NULL, raw->m, sample);
        return;
    }
    sample->m = 0;
    for (ptrdiff_t r = 0; r < raw->m; r++)
        append(sample, raw->feature_ids[r], scratch->standardized[r], WITHOUT_ZEROS);
}

/* Build the sample from row i. */
static void build_sample(const Model *model, const Rows *rows, ptrdiff_t i, Scratch *scratch,
                        Sample *sample) {
    if (model->statistics == NULL) {
        read_row(rows, i, model->d, WITHOUT_ZEROS, sample);
        return;
    }
    Sample *raw = &scratch->raw;
    read_row(rows, i, model->d, WITH_ZEROS, raw);
    scratch->is_table = is_aligned_table(rows);
    scratch->before = split_statistics(model->statistics, model->statistics_width);
    if (!scratch->is_table) {
        const Statistics all = scratch->before;
        scratch->before = split_statistics(scratch->gathered, raw->m);
        for (ptrdiff_t r = 0; r < raw->m; r++) {
            const int32_t id = raw->feature_ids[r];
            scratch->before.counts[r] = all.counts[id];
            scratch->before.means[r] = all.means[id];
            scratch->before.variances[r] = all.variances[id];
            scratch->before.indicators[r] = all.indicators[id];
        }
    }
    standardize_row(&scratch->before, scratch, sample);
}

/* after = the statistics (4, m) including x, by Welford's recurrences; return whether all are
   finite. */
FOR_EACH_PROCESSOR
static int count_features(const double *restrict x, const Statistics *before, ptrdiff_t m,
                          double *restrict after) {
    const double *counts = before->counts, *means = before->means, *variances = before->variances;
    int64_t n_not_finite = 0; /* as wide as a double, so that the loop can be vectorized */
    for (ptrdiff_t r = 0; r < m; r++) {
        const double n = counts[r] + 1.0, deviation = x[r] - means[r];
        const double mean = means[r] + deviation / n;
        const double variance = variances[r] + (deviation * (x[r] - mean) - variances[r]) / n;
        after[r] = n;
        after[m + r] = mean;
        after[2 * m + r] = variance;
        after[3 * m + r] = x[r] == 0.0 || x[r] == 1.0 ? before->indicators[r] : 0.0;
        n_not_finite += !(fabs(after[m + r]) <= DBL_MAX) | !(after[2 * m + r] <= DBL_MAX);
    }
    return n_not_finite == 0;
}

/* Store the statistics that include the raw row. */
static void store_statistics(const Model *model, const Scratch *scratch) {
    const Statistics all = split_statistics(model->statistics, model->statistics_width);
    const Sample *raw = &scratch->raw;
    if (scratch->is_table) {
        memcpy(all.counts, scratch->after.counts, raw->m * sizeof(double));
        memcpy(all.means, scratch->after.means, raw->m * sizeof(double));
        memcpy(all.variances, scratch->after.variances, raw->m * sizeof(double));
        memcpy(all.indicators, scratch->after.indicators, raw->m * sizeof(double));
        return;
    }
    for (ptrdiff_t r = 0; r < raw->m; r++) {
        const int32_t id = raw->feature_ids[r];
        all.counts[id] = scratch->after.counts[r];
        all.means[id] = scratch->after.means[r];
        all.variances[id] = scratch->after.variances[r];
        all.indicators[id] = scratch->after.indicators[r];
    }
}

/* Write the prediction for row i: the output with the largest net input, the first in a tie, and its
   score. */
static void predict_row(const Model *model, ptrdiff_t i, const Results *results, Scratch *scratch) {
    const double *nets = scratch->nets;
    intptr_t best = 0;
    for (ptrdiff_t j = 1; j < model->k; j++) best = nets[j] > nets[best] ? j : best;
    results->predicted[i] = best;
    if (results->scores == NULL) return;
    activate(model->function, nets, model->k, scratch->y, scratch->slopes);
    to_scores(scratch->y, model->k, model->low);
    double largest = scratch->y[0];
    for (ptrdiff_t j = 1; j < model->k; j++)
        largest = scratch->y[j] > largest ? scratch->y[j] : largest;
    results->scores[i] = largest;
}

/* deltas = (t - y) f'(net), where t is high for the target's output and low for the others; return
   the error, 1/2 sum (t - y)^2. */
static double compute_deltas(const Model *model, intptr_t target, Scratch *scratch) {
    const ptrdiff_t k = model->k;
    double *deltas = scratch->deltas, sum = 0.0;
    /* Whole vectors are faster than partial ones, and a stride of at least 4 has room for them. */
    activate(model->function, scratch->nets, k < 4 ? k : (k + 3) / 4 * 4, scratch->y,
             scratch->slopes);
    for (ptrdiff_t j = 0; j < k; j++) {
        const double difference = (j == target ? model->high : model->low) - scratch->y[j];
        sum += difference * difference;
        deltas[j] = difference * scratch->slopes[j];
    }
    return 0.5 * sum;
}

/* steps = rate deltas: the update of each output's weight for a feature with the value 1. */
static void compute_steps(const Model *model, double rate, Scratch *scratch) {
    for (ptrdiff_t j = 0; j < model->k; j++) scratch->steps[j] = rate * scratch->deltas[j];
}

static int are_finite(const double *numbers, ptrdiff_t n) {
    int all = 1;
    for (ptrdiff_t j = 0; j < n; j++) all &= fabs(numbers[j]) <= DBL_MAX;
    return all;
}

/* Return a number that is at least 1 and, up to rounding, at least as large as each |x|. */
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

/* Return whether the weights and biases, which are finite now, remain finite after an update
   by `steps`. `bound` is at least 1 and, up to rounding, at least as large as each |x|. */
static int stay_finite(const Model *model, const Sample *sample, const double *steps,
                       double bound) {
    double largest = 0.0;
    if (!are_finite(steps, model->k)) return 0;
    for (ptrdiff_t j = 0; j < model->k; j++)
        largest = fabs(steps[j]) > largest ? fabs(steps[j]) : largest;
    /* A change of less than half the spacing of the largest numbers cannot make a number overflow;
       `safe` is less than a quarter of the spacing, to allow for the rounding of the bound. */
    const double safe = DBL_MAX * DBL_EPSILON / 8;
    if (largest * bound < safe) return 1;
    for (ptrdiff_t j = 0; j < model->k; j++) {
        if (!isfinite(model->biases[j] + steps[j])) return 0;
        for (ptrdiff_t r = 0; r < sample->m; r++) {
            const double weight = model->weights[sample->feature_ids[r] * model->stride + j];
            if (!isfinite(weight + sample->x[r] * steps[j])) return 0;
        }
    }
    return 1;
}

/* Learn the rows; return the number of rows processed. It is less than n if the next row would make the
   model diverge, or if the last row ended the training. */
static ptrdiff_t learn_rows(const Model *model, const Rows *rows, const Results *results,
                            Scratch *scratch) {
    const ptrdiff_t k = model->k;
    const int is_scaled = model->statistics != NULL, are_bytes = rows->bytes != NULL && !is_scaled;
    const double byte_bound = are_bytes ? 1.0 + fabs(rows->byte_values[255]) : 0.0;
    double *nets = scratch->nets, *steps = scratch->steps;
    Sample *sample = &scratch->sample;
    ptrdiff_t n_updates = 0, i = 0;
    int has_stopped = 0;
    for (; i < rows->n && !has_stopped; i++) {
        const intptr_t target = rows->targets[i];
        build_sample(model, rows, i, scratch, sample);

        compute_nets(model, sample, nets);
        memcpy(results->nets + i * k, nets, k * sizeof(double));
        if (results->predicted != NULL) predict_row(model, i, results, scratch);
        int all_finite = are_finite(nets, k), is_update = 0;

        double error = 0.0;
        if (target >= 0) {
            if (is_scaled) {
                const ptrdiff_t m = scratch->raw.m;
                scratch->after = split_statistics(scratch->counted, m);
                all_finite &= count_features(scratch->raw.x, &scratch->before, m, scratch->counted);
                standardize_row(&scratch->after, scratch, sample);
                compute_nets(model, sample, nets);
                all_finite &= are_finite(nets, k);
            }
            error = compute_deltas(model, target, scratch);
            is_update = error >= model->epsilon;
            if (is_update) {
                compute_steps(model, rows->rates[n_updates] * rows->sample_weights[i], scratch);
                const double bound = are_bytes ? byte_bound : bound_values(sample->x, sample->m);
                all_finite &= stay_finite(model, sample, steps, bound);
            }
        }
        /* A row that would make the model diverge leaves it unchanged. */
        if (!all_finite || !isfinite(error)) break;
        if (target < 0) continue;

        if (is_update) {
            for (ptrdiff_t j = 0; j < k; j++) model->biases[j] += steps[j];
            add_update(model, sample, steps);
            results->updated[i] = 1;
            n_updates++;
        }
        if (is_scaled) store_statistics(model, scratch);
        results->errors[i] = *results->last_error = error;
        results->counts[0] += 1;
        results->counts[1] += is_update;
        has_stopped = model->stop && !is_update;
    }
    return i;
}

/* Take n doubles from `memory`, and advance it. */
static double *take_doubles(char **memory, size_t n) {
    double *doubles = (double *)*memory;
    *memory += n * sizeof(double);
    return doubles;
}

/* Take a sample with room for m features, in m + (m + 1) / 2 doubles. */
static Sample take_sample(char **memory, size_t m) {
    double *x = take_doubles(memory, m);
    return (Sample){.feature_ids = (int32_t *)take_doubles(memory, (m + 1) / 2), .x = x};
}

/* Learn or predict rows, one after another; return the number processed, or -1 if memory runs out. */
static ptrdiff_t learn(const Model *model, const Rows *rows, const Results *results) {
    const size_t width = model->stride;
    const size_t room = rows->longest + 1;
    const size_t room_raw = model->statistics != NULL ? room : 0;
    const size_t n_doubles = 5 * width + room + (room + 1) / 2 + room_raw +
                             (room_raw + 1) / 2 + (1 + 2 * N_STATISTICS) * room_raw;
    char *const memory = malloc(n_doubles * sizeof(double)), *rest = memory;
    if (memory == NULL) return -1;
    /* Clear the padding of outputs: arbitrary numbers could slow down arithmetic or get into the
       weights. */
    memset(memory, 0, 5 * width * sizeof(double));
    Scratch scratch;
    scratch.nets = take_doubles(&rest, width);
    scratch.y = take_doubles(&rest, width);
    scratch.slopes = take_doubles(&rest, width);
    scratch.deltas = take_doubles(&rest, width);
    scratch.steps = take_doubles(&rest, width);
    scratch.sample = take_sample(&rest, room);
    scratch.raw = take_sample(&rest, room_raw);
    scratch.standardized = take_doubles(&rest, room_raw);
    scratch.gathered = take_doubles(&rest, N_STATISTICS * room_raw);
    scratch.counted = take_doubles(&rest, N_STATISTICS * room_raw);
    const ptrdiff_t n_done = learn_rows(model, rows, results, &scratch);
    free(memory);
    return n_done;
}
