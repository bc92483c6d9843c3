/* Convert a row to a sample: the features that the model knows, in the order of the row. Features that the
   row adds come last. */

/* m features and their values; there is room for one more, because zeros are overwritten. */
typedef struct {
    ptrdiff_t m;
    int32_t *feature_ids;
    double *x;
} Sample;

/* Write the indices of the nonzero values among d doubles or bytes; return their number. `indices` has
   room for one more. */
static ptrdiff_t find_nonzero(const double *values, const uint8_t *bytes, ptrdiff_t d,
                              int32_t *indices) {
    ptrdiff_t m = 0, i = 0;
    uint64_t bits[8];
    /* Most pixels of a picture are 0: skip eight zeros at a time. */
    for (; i + 8 <= d; i += 8) {
        if (bytes != NULL) {
            memcpy(bits, bytes + i, 8);
            if (bits[0] == 0) continue;
        } else {
            memcpy(bits, values + i, 64);
            for (int l = 1; l < 8; l++) bits[0] |= bits[l];
            if (bits[0] << 1 == 0) continue;
        }
        for (int l = 0; l < 8; l++) {
            indices[m] = (int32_t)(i + l);
            m += bytes != NULL ? bytes[i + l] != 0 : values[i + l] != 0.0;
        }
    }
    for (; i < d; i++) {
        indices[m] = (int32_t)i;
        m += bytes != NULL ? bytes[i] != 0 : values[i] != 0.0;
    }
    return m;
}

typedef enum { WITHOUT_ZEROS, WITH_ZEROS } Zeros;

/* Append a feature to a sample; skip it if it is zero, unless WITH_ZEROS. */
static inline void append(Sample *sample, int32_t feature_id, double x, Zeros zeros) {
    sample->feature_ids[sample->m] = feature_id;
    sample->x[sample->m] = x;
    sample->m += zeros == WITH_ZEROS || fabs(x) > 0;
}

/* Set the sample to the nonzero values of the first d features. */
static void copy_nonzero(const double *values, const uint8_t *bytes, const double *byte_values,
                         ptrdiff_t d, Sample *sample) {
    const int32_t *restrict ids = sample->feature_ids;
    double *restrict x = sample->x;
    const ptrdiff_t m = sample->m = find_nonzero(values, bytes, d, sample->feature_ids);
    if (bytes == NULL) {
        if (m == d)
            for (ptrdiff_t r = 0; r < m; r++) x[r] = values[r];
        else
            for (ptrdiff_t r = 0; r < m; r++) x[r] = values[ids[r]];
        return;
    }
    for (ptrdiff_t r = 0; r < m; r++) x[r] = byte_values[bytes[ids[r]]];
    if (byte_values[1] != 0.0) return;
    /* The scale is so small that nonzero bytes can stand for 0. */
    sample->m = 0;
    for (ptrdiff_t r = 0; r < m; r++) append(sample, ids[r], x[r], WITHOUT_ZEROS);
}

/* Return whether each row has values for the model's first features, in order. */
static int is_aligned_table(const Rows *rows) {
    return rows->name_ids == NULL && rows->feature_ids == NULL;
}

/* Append the features of row i that are in [low, high). */
static void append_features(const Rows *rows, ptrdiff_t i, ptrdiff_t low, ptrdiff_t high, Zeros zeros,
                            Sample *sample) {
    const ptrdiff_t start = rows->starts[i], n = rows->starts[i + 1] - start;
    for (ptrdiff_t c = 0; c < n; c++) {
        ptrdiff_t id = rows->name_ids != NULL ? rows->name_ids[start + c] : c;
        if (rows->feature_ids != NULL) id = rows->feature_ids[id];
        if (id < low || id >= high) continue;
        const double x =
            rows->bytes != NULL ? rows->byte_values[rows->bytes[start + c]] : rows->values[start + c];
        append(sample, (int32_t)id, x, zeros);
    }
}

/* Read the features of row i that the model of d features knows once the row is learned; skip zeros,
   unless WITH_ZEROS. Those that the row adds come last, so the others keep their partial sums. */
static void read_row(const Rows *rows, ptrdiff_t i, ptrdiff_t d, Zeros zeros, Sample *sample) {
    const ptrdiff_t known = rows->n_known != NULL ? rows->n_known[i] : d;
    const ptrdiff_t end = rows->n_known != NULL ? rows->n_known[i + 1] : d;
    sample->m = 0;
    if (!is_aligned_table(rows)) {
        append_features(rows, i, 0, known, zeros, sample);
        if (end > known) append_features(rows, i, known, end, zeros, sample);
        return;
    }
    const ptrdiff_t start = rows->starts[i], n = rows->starts[i + 1] - start, m = n < end ? n : end;
    const double *values = rows->values != NULL ? rows->values + start : NULL;
    const uint8_t *bytes = rows->bytes != NULL ? rows->bytes + start : NULL;
    if (zeros == WITHOUT_ZEROS) {
        copy_nonzero(values, bytes, rows->byte_values, m, sample);
        return;
    }
    sample->m = m;
    for (ptrdiff_t r = 0; r < m; r++) sample->feature_ids[r] = (int32_t)r;
    if (bytes == NULL)
        memcpy(sample->x, values, m * sizeof(double));
    else
        for (ptrdiff_t r = 0; r < m; r++) sample->x[r] = rows->byte_values[bytes[r]];
}
