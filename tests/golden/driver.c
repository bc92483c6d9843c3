/* Learns what a test has recorded, with the headers of the kernel and nothing else of the project.

   stdin has calls one after another: the numbers of struct Call, then the arrays in the order in
   which they are read below. The results of each call are written in the order of the last lines. */

#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

struct Call {
    int64_t function, stop, start, end, n, k, d, stride, n_values, adds_features, adds_labels, statistics_width;
    double low, high, epsilon, n_falling, first_factor;
};

static void *get(size_t count, size_t size) {
    void *numbers = malloc(count * size + 1);
    if (numbers == NULL || fread(numbers, size, count, stdin) != count) exit(1);
    return numbers;
}

static void put(const void *numbers, size_t count, size_t size) {
    if (fwrite(numbers, size, count, stdout) != count) exit(1);
}

int main(void) {
    struct Call call;
    while (fread(&call, sizeof call, 1, stdin) == 1) {
        const size_t n = call.n, k = call.k, d = call.d, stride = call.stride;
        Model model = {.k = call.k, .d = call.d, .stride = call.stride,
                       .function = (Function)call.function, .low = call.low, .high = call.high,
                       .epsilon = call.epsilon, .n_falling = call.n_falling,
                       .first_factor = call.first_factor, .stop = (int)call.stop,
                       .statistics_width = call.statistics_width};
        const double *given = get(k * d, sizeof(double));
        model.weights = calloc(d * stride + 1, sizeof(double));
        for (size_t i = 0; i < d; i++)
            memcpy(model.weights + i * stride, given + i * k, k * sizeof(double));
        given = get(k, sizeof(double));
        model.biases = calloc(stride, sizeof(double));
        memcpy(model.biases, given, k * sizeof(double));
        model.update_counts = get(1 + d, sizeof(double));

        Rows rows = {.start = call.start, .end = call.end, .starts = get(n + 1, sizeof(intptr_t))};
        rows.values = get(call.n_values, sizeof(double));
        rows.feature_ids = get(call.n_values, sizeof(int32_t));
        rows.status = get(n, 1);
        for (size_t i = 0; i < n; i++) {
            const ptrdiff_t length = rows.starts[i + 1] - rows.starts[i];
            if (length > rows.longest) rows.longest = length;
        }
        const size_t n_learned = call.end - call.start;
        if (call.adds_features) rows.n_features = get(n_learned + 1, sizeof(intptr_t));
        if (call.adds_labels) rows.n_labels = get(n_learned + 1, sizeof(intptr_t));
        rows.targets = get(n, sizeof(intptr_t));
        rows.sample_weights = get(n, sizeof(double));
        rows.rates = get(n_learned, sizeof(double));
        if (call.statistics_width) model.statistics = get(4 * call.statistics_width, sizeof(double));

        int64_t counts[2] = {0, 0};
        double last_error = 0.0;
        const Results results = {.predicted = calloc(n + 1, sizeof(intptr_t)),
                                 .scores = calloc(n + 1, sizeof(double)),
                                 .errors = calloc(n + 1, sizeof(double)),
                                 .updated = calloc(n + 1, 1),
                                 .counts = counts, .last_error = &last_error};
        const int64_t end = learn(&model, &rows, &results);
        put(&end, 1, sizeof end);
        for (size_t i = 0; i < d; i++) put(model.weights + i * stride, k, sizeof(double));
        put(model.biases, k, sizeof(double));
        put(model.update_counts, 1 + d, sizeof(double));
        const size_t start = call.start;
        put(results.predicted + start, n_learned, sizeof(intptr_t));
        put(results.scores + start, n_learned, sizeof(double));
        put(results.errors + start, n_learned, sizeof(double));
        put(results.updated + start, n_learned, 1);
        put(counts, 2, sizeof(int64_t));
        put(model.statistics, 4 * call.statistics_width, sizeof(double));
    }
    return 0;
}
