/* The compiled kernel, and with LIBM defined the same with the functions of the C library. */

#include "elementary.h"

#ifdef LIBM
#include <math.h>
#define ieee_exp exp
#define ieee_exp_within exp
#define ieee_tanh tanh
#define ieee_atan atan
#endif

#include "kernel.h"

/* Learn n rows of 784 bytes with 10 outputs; all arrays are the caller's. */
void learn_digits(int function, double low, ptrdiff_t n, const uint8_t *pixels,
                  const intptr_t *targets, const double *ones, const double *rates, double *W,
                  double *biases, double *nets, double *eps, uint8_t *updated) {
    int64_t counts[2] = {0, 0};
    double last;
    int diverged;
    const Rule rule = {(Function)function, low, function == ARCTAN ? -low : 1.0, 3e-6, 0};
    const Samples samples = {
        .n = n, .k = 10, .d = 784, .bytes = pixels, .scale = 1.0 / 255, .targets = targets,
        .sample_weights = ones, .rates = rates, .nets = nets, .eps = eps, .updated = updated,
        .counts = counts, .last = &last,
    };
    learn_double(W, 784, biases, &samples, &rule, &diverged);
}
