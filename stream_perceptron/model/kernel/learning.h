/* The delta rule, step by step, for one sample after another.

   A row becomes a sample: the m nonzero features that the model knows, in the order of the row. With a
   scaler, the sample is built from the row's standardized features twice: once to predict the row, and
   once to learn it after the row has been added to the statistics. Absent features are neither counted
   nor standardized; explicit zeros are both; indicators are counted but not standardized. */

enum { COUNTS, MEANS, VARIANCES, INDICATORS, N_STATISTICS };

/* The working memory for one call to `learn`. Arrays of outputs are padded like a weight row, and
   arrays of features have room for the longest row. The second group is used only with a scaler. */
typedef struct {
    double *nets, *y, *slopes, *deltas, *steps; /* (k,), of the current sample */
    Sample sample;                              /* the current one */
    int32_t *falling; /* (m,), the indices in the sample of the features whose rates still fall */

    Sample raw;             /* the row before it is standardized, with zeros */
    double *standardized;   /* (m,), the standardized values of the raw row */
    double *before, *after; /* (4, m), the statistics of its features, without and with this row */
} Scratch;

/* Append the features of row i that are in [low, high) to a sample; skip zeros, unless `with_zeros`.
   The sample has room for one more feature, which is overwritten. */
static void append_features(const Rows *rows, ptrdiff_t i, ptrdiff_t low, ptrdiff_t high,
                            int with_zeros, Sample *sample) {
    ptrdiff_t m = sample->m;
    for (ptrdiff_t c = rows->starts[i]; c < rows->starts[i + 1]; c++) {
        const int32_t id = rows->feature_ids[c];
        sample->feature_ids[m] = id;
        sample->x[m] = rows->values[c];
        m += (id >= low) & (id < high) & (with_zeros | (rows->values[c] != 0.0));
    }
    sample->m = m;
}

/* Read the features of row i that the model of d features knows once the row is learned. Those that
   the row adds come last, so the others keep their partial sums. */
static void read_row(const Rows *rows, ptrdiff_t i, ptrdiff_t d, int with_zeros, Sample *sample) {
    const intptr_t *const n_features = rows->n_features;
    const ptrdiff_t known = n_features != NULL ? n_features[i - rows->start] : d;
    const ptrdiff_t end = n_features != NULL ? n_features[i + 1 - rows->start] : d;
    sample->m = 0;
    append_features(rows, i, 0, known, with_zeros, sample);
    if (end > known) append_features(rows, i, known, end, with_zeros, sample);
}

/* z = x standardized by the statistics (4, m). */
FOR_EACH_PROCESSOR
static void standardize(const double *restrict x, const double *statistics, ptrdiff_t m,
                        double *restrict z) {
    const double *means = statistics + MEANS * m, *variances = statistics + VARIANCES * m;
    const double *indicators = statistics + INDICATORS * m;
    for (ptrdiff_t r = 0; r < m; r++) {
        const double quotient = (x[r] - means[r]) / sqrt(variances[r]);
        const double standardized = variances[r] > 0.0 ? quotient : 0.0;
        z[r] = indicators[r] > 0.0 ? x[r] : standardized;
    }
}

/* Build the sample from the raw row, standardized with the given statistics of its features. */
static void standardize_row(const double *statistics, Scratch *scratch) {
    const Sample *raw = &scratch->raw;
    Sample *sample = &scratch->sample;
    standardize(raw->x, statistics, raw->m, scratch->standardized);
    sample->m = 0;
    for (ptrdiff_t r = 0; r < raw->m; r++) {
        sample->feature_ids[sample->m] = raw->feature_ids[r];
        sample->x[sample->m] = scratch->standardized[r];
        sample->m += scratch->standardized[r] != 0.0;
    }
}

/* Build the sample that predicts row i. */
static void build_sample(const Model *model, const Rows *rows, ptrdiff_t i, Scratch *scratch) {
    if (model->statistics == NULL) {
        read_row(rows, i, model->d, 0, &scratch->sample);
        return;
    }
    const Sample *raw = &scratch->raw;
    read_row(rows, i, model->d, 1, &scratch->raw);
    for (int s = 0; s < N_STATISTICS; s++)
        for (ptrdiff_t r = 0; r < raw->m; r++)
            scratch->before[s * raw->m + r] =
                model->statistics[s * model->statistics_width + raw->feature_ids[r]];
    standardize_row(scratch->before, scratch);
}

/* after = the statistics (4, m) including x, by Welford's recurrences; return whether all are
   finite. */
FOR_EACH_PROCESSOR
static int count_features(const double *restrict x, const double *before, ptrdiff_t m,
                          double *restrict after) {
    int64_t n_not_finite = 0; /* as wide as a double, so that the loop can be vectorized */
    for (ptrdiff_t r = 0; r < m; r++) {
        const double n = before[r] + 1.0, old_mean = before[MEANS * m + r];
        const double old_variance = before[VARIANCES * m + r], deviation = x[r] - old_mean;
        const double mean = old_mean + deviation / n;
        const double variance = old_variance + (deviation * (x[r] - mean) - old_variance) / n;
        after[r] = n;
        after[MEANS * m + r] = mean;
        after[VARIANCES * m + r] = variance;
        after[INDICATORS * m + r] = x[r] == 0.0 || x[r] == 1.0 ? before[INDICATORS * m + r] : 0.0;
        n_not_finite += !(fabs(mean) <= DBL_MAX) | !(variance <= DBL_MAX);
    }
    return n_not_finite == 0;
}

/* Store the statistics that include the raw row. */
static void store_statistics(const Model *model, const Scratch *scratch) {
    const Sample *raw = &scratch->raw;
    for (int s = 0; s < N_STATISTICS; s++)
        for (ptrdiff_t r = 0; r < raw->m; r++)
            model->statistics[s * model->statistics_width + raw->feature_ids[r]] =
                scratch->after[s * raw->m + r];
}

/* Write the prediction for row i among the first k labels: the output with the largest net input, the
   first in a tie, and the scores. */
static void predict_row(const Model *model, ptrdiff_t i, ptrdiff_t k, const Results *results,
                        Scratch *scratch) {
    const double *nets = scratch->nets;
    double *y = scratch->y;
    intptr_t best = 0;
    if (k == 0) return;
    for (ptrdiff_t j = 1; j < k; j++) best = nets[j] > nets[best] ? j : best;
    if (results->predicted != NULL) results->predicted[i] = best;
    if (results->scores == NULL && results->all_scores == NULL) return;
    activate(model->function, nets, k, y, scratch->slopes);
    to_scores(y, k, model->low);
    if (results->all_scores != NULL)
        memcpy(results->all_scores + i * results->scores_width, y, k * sizeof(double));
    double largest = y[0];
    for (ptrdiff_t j = 1; j < k; j++) largest = y[j] > largest ? y[j] : largest;
    if (results->scores != NULL) results->scores[i] = largest;
}

/* deltas = (t - y) f'(net) of the first k outputs, where t is high for the target's output and low for
   the others; return the error, 1/2 sum (t - y)^2. */
static double compute_deltas(const Model *model, ptrdiff_t k, intptr_t target, Scratch *scratch) {
    double *deltas = scratch->deltas, sum = 0.0;
    /* Whole vectors are faster than partial ones, and a stride of at least 4 has room for them. */
    activate(model->function, scratch->nets, k < 4 ? k : (k + 3) / 4 * 4, scratch->y,
             scratch->slopes);
    for (ptrdiff_t j = 0; j < k; j++) {
        const double difference = (j == target ? model->high : model->low) - scratch->y[j];
        sum += difference * difference;
        deltas[j] = difference * scratch->slopes[j];
    }
    for (ptrdiff_t j = k; j < model->k; j++) deltas[j] = 0.0; /* labels that later rows add */
    return 0.5 * sum;
}

/* Record the mean slope of k outputs, and the largest output minus the smallest. */
static void record_probe(const Scratch *scratch, ptrdiff_t k, double *probe) {
    double sum = 0.0, smallest = scratch->y[0], largest = smallest;
    for (ptrdiff_t j = 0; j < k; j++) {
        sum += scratch->slopes[j];
        smallest = scratch->y[j] < smallest ? scratch->y[j] : smallest;
        largest = scratch->y[j] > largest ? scratch->y[j] : largest;
    }
    probe[0] = sum / k;
    probe[1] = largest - smallest;
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

/* Return the learning rate after n updates, divided by its end. */
static double compute_rate_factor(const Model *model, double n) {
    const double factor = model->first_factor / sqrt(1.0 + n / 30.0);
    return n < model->n_falling && factor > 1.0 ? factor : 1.0;
}

/* Multiply the values of a sample by the factors of their features' rates, so that the same steps
   update all weights. List the features whose rates still fall, and return their number. */
static ptrdiff_t scale_by_rates(const Model *model, Sample *sample, int32_t *falling) {
    const int32_t *feature_ids = sample->feature_ids;
    const double *counts = model->update_counts + 1;
    ptrdiff_t n = 0;
    for (ptrdiff_t r = 0; r < sample->m; r++) {
        falling[n] = (int32_t)r;
        n += counts[feature_ids[r]] < model->n_falling;
    }
    for (ptrdiff_t q = 0; q < n; q++)
        sample->x[falling[q]] *= compute_rate_factor(model, counts[feature_ids[falling[q]]]);
    sample->x_0 = compute_rate_factor(model, model->update_counts[0]);
    return n;
}

/* Count an update of the bias and of the n listed features. */
static void count_update(const Model *model, const Sample *sample, const int32_t *falling,
                         ptrdiff_t n) {
    model->update_counts[0] += model->update_counts[0] < model->n_falling;
    for (ptrdiff_t q = 0; q < n; q++) model->update_counts[1 + sample->feature_ids[falling[q]]] += 1.0;
}

/* Return a number that is, up to rounding, at least as large as x_0 and each |x|. */
FOR_EACH_PROCESSOR
static double bound_values(const double *x, double x_0, ptrdiff_t m) {
    double squares[8] = {x_0 * x_0};
    ptrdiff_t r = 0;
    for (; r + 8 <= m; r += 8)
        for (int l = 0; l < 8; l++) squares[l] += x[r + l] * x[r + l];
    for (; r < m; r++) squares[0] += x[r] * x[r];
    for (int l = 1; l < 8; l++) squares[0] += squares[l];
    return sqrt(squares[0]);
}

/* Return whether the weights and biases, which are finite now, remain finite after an update
   by `steps`. */
static int stay_finite(const Model *model, const Sample *sample, const double *steps) {
    double largest = 0.0;
    if (!are_finite(steps, model->k)) return 0;
    for (ptrdiff_t j = 0; j < model->k; j++)
        largest = fabs(steps[j]) > largest ? fabs(steps[j]) : largest;
    /* A change of less than half the spacing of the largest numbers cannot make a number overflow;
       `safe` is less than a quarter of the spacing, to allow for the rounding of the bound. */
    const double safe = DBL_MAX * DBL_EPSILON / 8;
    if (largest * bound_values(sample->x, sample->x_0, sample->m) < safe) return 1;
    for (ptrdiff_t j = 0; j < model->k; j++) {
        if (!isfinite(model->biases[j] + sample->x_0 * steps[j])) return 0;
        for (ptrdiff_t r = 0; r < sample->m; r++) {
            const double weight = model->weights[sample->feature_ids[r] * model->stride + j];
            if (!isfinite(weight + sample->x[r] * steps[j])) return 0;
        }
    }
    return 1;
}

/* Return the factor for the weight of the next sample of a class. Balanced factors are n / (k * n_class),
   but at most 100, where the current sample counts. */
static double compute_class_factor(const Model *model, ptrdiff_t target) {
    if (model->class_factors != NULL) return model->class_factors[target];
    if (model->class_counts == NULL) return 1.0;
    const int64_t count = model->class_counts[target] + 1;
    int64_t n = 1, n_classes = count == 1;
    for (ptrdiff_t j = 0; j < model->k; j++) {
        n += model->class_counts[j];
        n_classes += model->class_counts[j] > 0;
    }
    const double factor = (double)n / (double)(n_classes * count);
    return factor < MAX_BALANCED_FACTOR ? factor : MAX_BALANCED_FACTOR;
}

/* Learn the rows; return the end of the rows processed. It is less than `end` if the next row would
   make the model diverge, or if the last row ended the training. */
static ptrdiff_t learn_rows(const Model *model, const Rows *rows, const Results *results,
                            Scratch *scratch) {
    const ptrdiff_t k = model->k;
    const int is_scaled = model->statistics != NULL;
    double *nets = scratch->nets, *steps = scratch->steps;
    Sample *sample = &scratch->sample;
    ptrdiff_t n_updates = 0, n_falling = 0, i = rows->start;
    int has_stopped_below_epsilon = 0;
    sample->x_0 = 1.0;
    const intptr_t *const n_labels = rows->n_labels;
    for (; i < rows->end && !has_stopped_below_epsilon; i++) {
        const intptr_t target = rows->targets != NULL ? rows->targets[i] : -1;
        if (rows->status != NULL && rows->status[i] >= REJECTED) continue;
        build_sample(model, rows, i, scratch);

        compute_nets(model, sample, nets);
        if (results->nets != NULL) memcpy(results->nets + i * k, nets, k * sizeof(double));
        predict_row(model, i, n_labels != NULL ? n_labels[i - rows->start] : k, results, scratch);
        int all_finite = are_finite(nets, k), is_update = 0;

        double error = 0.0;
        if (target >= 0) {
            if (is_scaled) {
                all_finite &=
                    count_features(scratch->raw.x, scratch->before, scratch->raw.m, scratch->after);
                standardize_row(scratch->after, scratch);
                compute_nets(model, sample, nets);
                all_finite &= are_finite(nets, k);
            }
            const ptrdiff_t known = n_labels != NULL ? n_labels[i + 1 - rows->start] : k;
            error = compute_deltas(model, known, target, scratch);
            if (results->probes != NULL && results->counts[0] % PROBE_INTERVAL == 0)
                record_probe(scratch, known, results->probes + 2 * i);
            is_update = error >= model->epsilon;
            if (is_update) {
                const double weight = rows->sample_weights[i] * compute_class_factor(model, target);
                compute_steps(model, rows->rates[n_updates] * weight, scratch);
                if (model->n_falling > 0.0)
                    n_falling = scale_by_rates(model, sample, scratch->falling);
                all_finite &= stay_finite(model, sample, steps);
            }
        }
        /* A row that would make the model diverge leaves it unchanged. */
        if (!all_finite || !isfinite(error)) break;
        if (target < 0) continue;

        if (is_update) {
            for (ptrdiff_t j = 0; j < k; j++) model->biases[j] += sample->x_0 * steps[j];
            add_update(model, sample, steps);
            if (model->n_falling > 0.0) count_update(model, sample, scratch->falling, n_falling);
            results->updated[i] = 1;
            n_updates++;
        }
        if (is_scaled) store_statistics(model, scratch);
        results->errors[i] = *results->last_error = error;
        if (model->class_counts != NULL) model->class_counts[target]++;
        results->counts[0] += 1;
        results->counts[1] += is_update;
        has_stopped_below_epsilon = model->stop && !is_update;
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

/* Learn or predict rows, one after another; return the end of those processed, or -1 if memory
   runs out. */
static ptrdiff_t learn(const Model *model, const Rows *rows, const Results *results) {
    const size_t width = model->stride;
    const size_t room = rows->longest + 1;
    const size_t room_raw = model->statistics != NULL ? room : 0;
    const size_t n_doubles = 5 * width + room + (room + 1) / 2 * 2 + room_raw +
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
    scratch.falling = (int32_t *)take_doubles(&rest, (room + 1) / 2);
    scratch.raw = take_sample(&rest, room_raw);
    scratch.standardized = take_doubles(&rest, room_raw);
    scratch.before = take_doubles(&rest, N_STATISTICS * room_raw);
    scratch.after = take_doubles(&rest, N_STATISTICS * room_raw);
    const ptrdiff_t n_done = learn_rows(model, rows, results, &scratch);
    free(memory);
    return n_done;
}
