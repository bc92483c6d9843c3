/* Learns what a test has recorded, with the headers of the kernel and nothing else of the project.

   stdin has calls one after another: the numbers of struct Call, then the arrays in the order in
   which they are read below. What is written for each is in the order of the last lines. */

#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

struct Call {
    int64_t function, stop, n, k, d, stride, n_values, n_names, is_bytes, is_table, apart,
        n_tests;
    double low, high, epsilon;
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
        const size_t n = call.n, k = call.k, d = call.d;
        Samples samples = {.n = call.n, .k = call.k, .d = call.d, .stride = call.stride,
                           .function = (Function)call.function, .low = call.low,
                           .high = call.high, .epsilon = call.epsilon, .stop = (int)call.stop};
        const double *given = get(k * d, sizeof(double));
        double *W = calloc(d * call.stride + 1, sizeof(double));
        for (size_t i = 0; i < d; i++) memcpy(W + i * call.stride, given + i * k, k * sizeof(double));
        given = get(k, sizeof(double));
        double *biases = samples.biases = calloc(call.stride, sizeof(double));
        memcpy(biases, given, k * sizeof(double));
        samples.W = W;
        samples.starts = get(n + 1, sizeof(intptr_t));
        void *values = get(call.n_values, call.is_bytes ? 1 : sizeof(double));
        if (call.is_bytes) {
            samples.bytes = values;
            samples.of_byte = get(256, sizeof(double));
        } else {
            samples.values = values;
        }
        samples.places = get(call.n_names, sizeof(int32_t));
        if (!call.is_table) samples.columns = get(call.n_values, sizeof(int32_t));
        for (size_t i = 0; i < n; i++) {
            const ptrdiff_t length = samples.starts[i + 1] - samples.starts[i];
            if (length > samples.longest) samples.longest = length;
        }
        samples.targets = get(n, sizeof(intptr_t));
        samples.sample_weights = get(n, sizeof(double));
        samples.rates = get(n, sizeof(double));
        if (call.apart) samples.statistics = get(3 * call.apart, sizeof(double));
        samples.apart = call.apart;
        if (call.n_tests) samples.widths = get(n + 1, sizeof(intptr_t));
        samples.tests = calloc(call.n_tests * k + 1, sizeof(double));
        samples.nets = calloc(n * k + 1, sizeof(double));
        samples.eps = calloc(n + 1, sizeof(double));
        samples.updated = calloc(n + 1, 1);
        int64_t counts[2] = {0, 0};
        double last = 0.0;
        samples.counts = counts;
        samples.last = &last;

        const int64_t done = learn(&samples);
        put(&done, 1, sizeof done);
        for (size_t i = 0; i < d; i++) put(W + i * call.stride, k, sizeof(double));
        put(biases, k, sizeof(double));
        put(samples.nets, n * k, sizeof(double));
        put(samples.eps, n, sizeof(double));
        put(samples.updated, n, 1);
        put(counts, 2, sizeof(int64_t));
        put(samples.tests, call.n_tests * k, sizeof(double));
        put(samples.statistics, 3 * call.apart, sizeof(double));
    }
    return 0;
}
