/* Learns what a test has recorded, with the headers of the kernel and nothing else of the project.

   stdin has calls one after another: the numbers of struct Call, then the arrays in the order in
   which they are read below. What is written for each is in the order of the last lines. */

#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

struct Call {
    int64_t size, function, stop, n, k, d, n_values, is_bytes, is_sparse, apart, n_tests;
    double low, high, epsilon, scale;
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
        const size_t n = call.n, k = call.k, d = call.d, size = call.size;
        const size_t of_value = call.is_bytes ? 1 : call.apart ? sizeof(double) : size;
        const Rule rule = {(Function)call.function, call.low, call.high, call.epsilon,
                           (int)call.stop};
        Samples samples = {.n = call.n, .k = call.k, .d = call.d, .scale = call.scale};
        void *W = get(k * d, size), *biases = get(k, size);
        void *values = get(call.n_values, of_value);
        if (call.is_bytes)
            samples.bytes = values;
        else
            samples.values = values;
        if (call.is_sparse) {
            samples.starts = get(n + 1, sizeof(intptr_t));
            samples.columns = get(call.n_values, sizeof(intptr_t));
        }
        samples.targets = get(n, sizeof(intptr_t));
        samples.sample_weights = get(n, sizeof(double));
        samples.rates = get(n, sizeof(double));
        if (call.apart) samples.statistics = get(3 * call.apart, sizeof(double));
        samples.apart = call.apart;
        if (call.n_tests) samples.widths = get(n + 1, sizeof(intptr_t));
        samples.tests = calloc(call.n_tests * k + 1, size);
        samples.nets = calloc(n * k + 1, size);
        samples.eps = calloc(n + 1, sizeof(double));
        samples.updated = calloc(n + 1, 1);
        int64_t counts[2] = {0, 0};
        double last = 0.0;
        samples.counts = counts;
        samples.last = &last;

        int diverged;
        const int64_t done =
            size == sizeof(double)
                ? learn_double(W, call.d, biases, &samples, &rule, &diverged)
                : learn_float(W, call.d, biases, &samples, &rule, &diverged);
        put(&done, 1, sizeof done);
        put(W, k * d, size);
        put(biases, k, size);
        put(samples.nets, n * k, size);
        put(samples.eps, n, sizeof(double));
        put(samples.updated, n, 1);
        put(counts, 2, sizeof(int64_t));
        put(samples.tests, call.n_tests * k, size);
        put(samples.statistics, 3 * call.apart, sizeof(double));
    }
    return 0;
}
