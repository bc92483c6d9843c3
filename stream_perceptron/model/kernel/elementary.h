/* exp, tanh and atan in the four operations of IEEE 754 on doubles, each rounded once: the same bits
   wherever these are kept, by any compiler, in vectors or not. Nothing is taken from the C library.

   Error bounds are in units in the last place of the result (ulp), of subnormal ones too. The
   polynomials interpolate at the Chebyshev nodes of their interval, in 300 bits, which is near the
   best of their degree. Reductions: W. J. Cody and W. Waite, Software Manual for the Elementary
   Functions, 1980. */

#ifndef ELEMENTARY_H
#define ELEMENTARY_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "arithmetic here has excess precision, so the bits would differ from those elsewhere"
#endif
#if defined(__FAST_MATH__)
#error "-ffast-math changes the order of operations, so the bits would differ from those elsewhere"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

static inline double double_of(uint64_t bits) {
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline uint64_t bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

/* y, which is not negative, with the sign of x */
static inline double with_sign_of(double x, double y) {
    return double_of(bits_of(y) | (bits_of(x) & UINT64_C(1) << 63));
}

static inline double size_of(double x) {
    return double_of(bits_of(x) & ~(UINT64_C(1) << 63));
}

/* Added to a number of less than 2^51, this leaves the nearest whole one in the last bits. */
#define ROUNDER 0x1.8p52

/* e^x; error below 1 ulp.

   x = n ln 2 + r with |r| <= ln 2 / 2. n times the upper part of ln 2 is exact, and what the
   subtraction of the lower one loses is kept. */
static inline double ieee_exp(double x) {
    x = 710.0 < x ? 710.0 : x;
    x = -746.0 > x ? -746.0 : x;
    const double rounded = x * 0x1.71547652b82fep+0 + ROUNDER, n = rounded - ROUNDER;
    const double upper = x - n * 0x1.62e42feep-1, lower = n * 0x1.a39ef35793c76p-33;
    const double r = upper - lower, lost = (upper - r) - lower;
    const double r2 = r * r, r4 = r2 * r2;
    /* In pairs, which do not wait for each other. */
    const double p = (0.5 + 0.1666666666666667 * r) +
                     r2 * (0.04166666666666667 + 0.008333333333326136 * r) +
                     r4 * ((0.0013888888888883748 + 0.00019841269874820627 * r) +
                           r2 * (2.4801587325547743e-05 + 2.7557255400206422e-06 * r) +
                           r4 * ((2.75572736431103e-07 + 2.5105217004720745e-08 * r) +
                                 r2 * 2.0914686968086876e-09));
    const double y = 1.0 + (r + (r2 * p + lost));
    /* By two powers of two, as 2^n may be beyond the largest number or below the smallest: the
       exponents of both, as they stand in a double, have the sum n + 2046. */
    const uint64_t sum = bits_of(rounded) - bits_of(ROUNDER) + 2046, half = sum >> 1;
    return y * double_of(half << 52) * double_of((sum - half) << 52);
}

/* The hyperbolic tangent; error below 2 ulp. */
static inline double ieee_tanh(double x) {
    const double size = size_of(x);
    if (size < 0.55) {
        const double z = size * size;
        double p = -2.060276537636634e-05;
        p = p * z + 8.511313685577672e-05;
        p = p * z - 0.0002346347410887237;
        p = p * z + 0.0005889360520074057;
        p = p * z - 0.001455661830100716;
        p = p * z + 0.003592110378689024;
        p = p * z - 0.008863234397814355;
        p = p * z + 0.021869488493666944;
        p = p * z - 0.053968253967434016;
        p = p * z + 0.13333333333332714;
        p = p * z - 0.3333333333333333;
        return with_sign_of(x, size + size * (z * p));
    }
    return with_sign_of(x, 1.0 - 2.0 / (ieee_exp(2.0 * size) + 1.0));
}

/* The arc tangent; error below 1 ulp.

   |x| is brought below 7/16 by atan x = atan c + atan ((x - c) / (1 + c x)) for c = 1/2, 1, 3/2
   and infinity, whose own arc tangents are kept in two parts. */
static inline double ieee_atan(double x) {
    const double size = size_of(x);
    double t = size, upper = 0.0, lower = 0.0;
    if (size >= 0.4375) {
        if (size < 0.6875) {
            t = (2.0 * size - 1.0) / (2.0 + size);
            upper = 0x1.dac670561bb4fp-2;
            lower = 0x1.a2b7f222f65e2p-56;
        } else if (size < 1.1875) {
            t = (size - 1.0) / (size + 1.0);
            upper = 0x1.921fb54442d18p-1;
            lower = 0x1.1a62633145c07p-55;
        } else if (size < 2.4375) {
            t = (size - 1.5) / (1.0 + 1.5 * size);
            upper = 0x1.f730bd281f69bp-1;
            lower = 0x1.007887af0cbbdp-56;
        } else {
            t = -1.0 / size;
            upper = 0x1.921fb54442d18p+0;
            lower = 0x1.1a62633145c07p-54;
        }
    }
    const double z = t * t;
    double p = 0.014773184616983806;
    p = p * z - 0.033128134256069586;
    p = p * z + 0.04492259293193656;
    p = p * z - 0.05216679739313656;
    p = p * z + 0.05876946456755061;
    p = p * z - 0.06666241923359964;
    p = p * z + 0.07692285554889286;
    p = p * z - 0.09090908355602592;
    p = p * z + 0.11111111096645038;
    p = p * z - 0.14285714285566806;
    p = p * z + 0.1999999999999941;
    p = p * z - 0.3333333333333333;
    return with_sign_of(x, upper + (t + (t * (z * p) + lower)));
}

#endif
