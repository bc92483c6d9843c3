/* Convert a row to a sample: the features that the model knows, in ascending order. */

#ifdef HAS_AVX512
#include <immintrin.h>
#endif

enum {
    MAX_SHORT = 128, /* the maximum number of features that are sorted by comparing all pairs */
    LANES = 32,      /* the number of features that are compared with another one at a time */
    MAX_MARKS = 16   /* the maximum number of marks to search for each feature */
};

/* m features in ascending order, and their values; there is room for LANES more. */
typedef struct {
    ptrdiff_t m;
    int32_t *feature_ids;
    double *x;
} Sample;

/* The working memory for sorting samples by their features. */
typedef struct {
    Sample spare;
    ptrdiff_t n_marks;
    uint8_t *marks; /* (n_marks,), a mark for each of the first features; 0 between two sorts */
    double *x;      /* (n_marks,), the value of each marked feature */
} Sorter;

#ifdef HAS_AVX512
/* `find_nonzero` for sixteen values at a time, because compilers do not vectorize it; return the number
   of values examined, a multiple of sixteen. */
__attribute__((target("avx512f,avx512vl,avx512bw"))) static ptrdiff_t find_nonzero_avx512(
    const double *values, const uint8_t *bytes, ptrdiff_t d, int32_t *indices, ptrdiff_t *m) {
    const __m512i sixteen = _mm512_set1_epi32(16);
    const __m512d zero = _mm512_setzero_pd();
    __m512i next = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    ptrdiff_t n = 0, i = 0;
    for (; i + 16 <= d; i += 16, next = _mm512_add_epi32(next, sixteen)) {
        __mmask16 is_nonzero;
        if (bytes != NULL) {
            const __m128i x = _mm_loadu_si128((const __m128i *)(bytes + i));
            is_nonzero = _mm_test_epi8_mask(x, x);
        } else {
            const __m512d x = _mm512_loadu_pd(values + i), y = _mm512_loadu_pd(values + i + 8);
            is_nonzero = (__mmask16)(_mm512_cmp_pd_mask(x, zero, _CMP_NEQ_OQ) |
                                     _mm512_cmp_pd_mask(y, zero, _CMP_NEQ_OQ) << 8);
        }
        _mm512_storeu_si512(indices + n, _mm512_maskz_compress_epi32(is_nonzero, next));
        n += __builtin_popcount(is_nonzero);
    }
    *m = n;
    return i;
}
#endif

/* Write the indices of the nonzero values among d doubles or bytes; return their number. `indices` has
   room for 16 more. */
static ptrdiff_t find_nonzero(const double *values, const uint8_t *bytes, ptrdiff_t d,
                              int32_t *indices) {
    ptrdiff_t m = 0, i = 0;
    uint64_t bits[8];
#ifdef HAS_AVX512
    if (HAS_AVX512) i = find_nonzero_avx512(values, bytes, d, indices, &m);
#endif
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

/* Sort a short sample by its features into `sorted`: the index of a feature is the number of smaller
   features. Several features are compared at a time, without branches; lanes after the last feature
   hold arbitrary values and are not used. Vector types wider than the processor's vectors would take
   ten times as long as these arrays. */
FOR_EACH_PROCESSOR
static void sort_short_sample(const Sample *sample, Sample *sorted) {
    const ptrdiff_t m = sample->m;
    const int32_t *restrict ids = sample->feature_ids;
    const double *restrict x = sample->x;
    int32_t *restrict to_ids = sorted->feature_ids;
    double *restrict to_x = sorted->x;
    for (ptrdiff_t first = 0; first < m; first += LANES) {
        const ptrdiff_t n = m - first < LANES ? m - first : LANES;
        int32_t lanes[LANES], ranks[LANES] = {0};
        memcpy(lanes, ids + first, sizeof(lanes));
        for (ptrdiff_t r = 0; r < m; r++)
            for (int l = 0; l < LANES; l++) ranks[l] += ids[r] < lanes[l];
        for (ptrdiff_t l = 0; l < n; l++) {
            to_ids[ranks[l]] = ids[first + l];
            to_x[ranks[l]] = x[first + l];
        }
    }
    sorted->m = m;
}

/* Sort a sample by eight bits of its features into `sorted`; the sort is stable. */
static void sort_by_byte(const Sample *sample, int shift, Sample *sorted) {
    ptrdiff_t begins[257] = {0};
    for (ptrdiff_t r = 0; r < sample->m; r++) begins[(sample->feature_ids[r] >> shift & 255) + 1]++;
    for (int byte = 0; byte < 255; byte++) begins[byte + 1] += begins[byte];
    for (ptrdiff_t r = 0; r < sample->m; r++) {
        const ptrdiff_t index = begins[sample->feature_ids[r] >> shift & 255]++;
        sorted->feature_ids[index] = sample->feature_ids[r];
        sorted->x[index] = sample->x[r];
    }
    sorted->m = sample->m;
}

/* Sort a sample, whose features are below `end`, by marking its features and searching the marks. */
static void sort_by_marks(Sample *sample, ptrdiff_t end, const Sorter *sorter) {
    int32_t *restrict ids = sample->feature_ids;
    double *restrict x = sample->x, *restrict x_of_feature = sorter->x;
    for (ptrdiff_t r = 0; r < sample->m; r++) {
        sorter->marks[ids[r]] = 1;
        x_of_feature[ids[r]] = x[r];
    }
    find_nonzero(NULL, sorter->marks, end, ids);
    for (ptrdiff_t r = 0; r < sample->m; r++) x[r] = x_of_feature[ids[r]];
    memset(sorter->marks, 0, end);
}

/* Sort a sample by its features; the sample and the sorter's spare one may swap their memory. */
static void sort_sample(Sample *sample, Sorter *sorter) {
    Sample *spare = &sorter->spare;
    int32_t largest = 0;
    for (ptrdiff_t r = 0; r < sample->m; r++)
        largest = sample->feature_ids[r] > largest ? sample->feature_ids[r] : largest;
    if (largest < sorter->n_marks && largest < MAX_MARKS * sample->m) {
        sort_by_marks(sample, largest + 1, sorter);
        return;
    }
    const int is_short = sample->m <= MAX_SHORT;
    for (int shift = 0; shift < 32 && largest >> shift; shift += is_short ? 32 : 8) {
        if (is_short)
            sort_short_sample(sample, spare);
        else
            sort_by_byte(sample, shift, spare);
        const Sample sorted = *spare;
        *spare = *sample;
        *sample = sorted;
    }
}

/* Return whether each row has values for the model's first features, in order. */
static int is_aligned_table(const Rows *rows) {
    return rows->name_ids == NULL && rows->feature_ids == NULL;
}

/* Read the known features of row i; skip zeros, unless WITH_ZEROS. */
static void read_row(const Rows *rows, ptrdiff_t i, ptrdiff_t d, Zeros zeros, Sample *sample,
                     Sorter *sorter) {
    const ptrdiff_t start = rows->starts[i], n = rows->starts[i + 1] - start;
    const double *values = rows->values != NULL ? rows->values + start : NULL;
    const uint8_t *bytes = rows->bytes != NULL ? rows->bytes + start : NULL;
    sample->m = 0;
    if (is_aligned_table(rows)) {
        const ptrdiff_t m = n < d ? n : d;
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
        return;
    }
    int32_t last = -1, is_sorted = 1;
    for (ptrdiff_t c = 0; c < n; c++) {
        int32_t id = rows->name_ids != NULL ? rows->name_ids[start + c] : (int32_t)c;
        if (rows->feature_ids != NULL) id = rows->feature_ids[id];
        if (id < 0 || id >= d) continue;
        is_sorted &= id > last;
        last = id;
        append(sample, id, bytes != NULL ? rows->byte_values[bytes[c]] : values[c], zeros);
    }
    if (!is_sorted) sort_sample(sample, sorter);
}
