/* To be loaded before the C library: its functions, one unit in the last place off. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>

#define MOVED(name)                                             \
    double name(double x) {                                     \
        double (*real)(double) = dlsym(RTLD_NEXT, #name);       \
        return nextafter(real(x), INFINITY);                    \
    }

MOVED(exp)
MOVED(tanh)
MOVED(atan)

double pow(double x, double y) {
    double (*real)(double, double) = dlsym(RTLD_NEXT, "pow");
    return nextafter(real(x, y), INFINITY);
}
