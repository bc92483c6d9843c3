/* exp, tanh and atan from the four basic IEEE 754 operations on doubles, each rounded once:
   bit-identical with any conforming compiler, vectorized or not. They do not use the math functions
   of the C library.

   Error bounds are in units in the last place of the result (ulp), subnormal results included. The
   polynomials, computed with 300-bit precision, interpolate at the Chebyshev nodes of their
   intervals and are nearly optimal for their degrees. Reductions: W. J. Cody and W. Waite, Software
   Manual for the Elementary Functions, 1980. */

#ifndef ELEMENTARY_H
#define ELEMENTARY_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "arithmetic here has excess precision, so results would differ from those of other builds"
#endif
#if defined(__FAST_MATH__)
#error "-ffast-math reorders operations, so results would differ from those of other builds"
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

/* y >= 0 with the sign of x */
static inline double with_sign_of(double x, double y) {
    return double_of(bits_of(y) | (bits_of(x) & UINT64_C(1) << 63));
}

static inline double absolute_value(double x) {
    return double_of(bits_of(x) & ~(UINT64_C(1) << 63));
}

/* Adding this to x, where |x| < 2^51, leaves the nearest integer in the last bits. */
#define ROUNDER 0x1.8p52

/* Pairs: 2^(i / 64), rounded, and the relative error by which the rounded value is too small. */
static const double POWERS[128] = {
    1.0, 0.0, 0x1.02c9a3e778061p+0, -0x1.160139cd8dc5dp-56,
    0x1.059b0d3158574p+0, 0x1.cd2523567f613p-55, 0x1.0874518759bc8p+0, 0x1.0f74e61e6c861p-57,
    0x1.0b5586cf9890fp+0, 0x1.79aa65d837b6dp-54, 0x1.0e3ec32d3d1a2p+0, 0x1.ebe3d702f9cd1p-60,
    0x1.11301d0125b51p+0, -0x1.556522a2fbd0ep-54, 0x1.1429aaea92de0p+0, -0x1.1c923b9d5f416p-54,
    0x1.172b83c7d517bp+0, -0x1.01b15eaa59348p-55, 0x1.1a35beb6fcb75p+0, 0x1.b898c3f1353bfp-55,
    0x1.1d4873168b9aap+0, 0x1.aecf73e3a2f60p-54, 0x1.2063b88628cd6p+0, 0x1.a6f4144a6c38dp-55,
    0x1.2387a6e756238p+0, 0x1.68efde3a8a894p-54, 0x1.26b4565e27cddp+0, 0x1.0472b981fe7f2p-55,
    0x1.29e9df51fdee1p+0, 0x1.2f7e16d09ab31p-55, 0x1.2d285a6e4030bp+0, 0x1.b3782720c0ab4p-55,
    0x1.306fe0a31b715p+0, 0x1.34d754db0abb6p-55, 0x1.33c08b26416ffp+0, 0x1.fdd395dd3f84ap-55,
    0x1.371a7373aa9cbp+0, -0x1.24aedcc4b5068p-54, 0x1.3a7db34e59ff7p+0, -0x1.1d1e83e9436d2p-56,
    0x1.3dea64c123422p+0, 0x1.59f48a72a4c6dp-55, 0x1.4160a21f72e2ap+0, -0x1.8a78f4817895bp-58,
    0x1.44e086061892dp+0, 0x1.363ed60c2ac11p-59, 0x1.486a2b5c13cd0p+0, 0x1.ecce1daa10379p-57,
    0x1.4bfdad5362a27p+0, 0x1.690cebb7aafb0p-56, 0x1.4f9b2769d2ca7p+0, -0x1.f94340071a38ep-55,
    0x1.5342b569d4f82p+0, -0x1.8dec6bd0f385fp-56, 0x1.56f4736b527dap+0, 0x1.3350518fdd78ep-54,
    0x1.5ab07dd485429p+0, 0x1.063e1e21c5409p-54, 0x1.5e76f15ad2148p+0, 0x1.432e62b64c035p-54,
    0x1.6247eb03a5585p+0, -0x1.c33c53bef4da8p-55, 0x1.6623882552225p+0, -0x1.3cedd78565858p-54,
    0x1.6a09e667f3bcdp+0, -0x1.3b3efbf5e2228p-54, 0x1.6dfb23c651a2fp+0, -0x1.367efb86da9eep-57,
    0x1.71f75e8ec5f74p+0, -0x1.81f647e5a3ecfp-56, 0x1.75feb564267c9p+0, -0x1.619321e55e68ap-55,
    0x1.7a11473eb0187p+0, -0x1.b32dcb94da51dp-56, 0x1.7e2f336cf4e62p+0, 0x1.5ebe1abd66c55p-57,
    0x1.82589994cce13p+0, -0x1.369b6f13b3734p-54, 0x1.868d99b4492edp+0, -0x1.4d450d872576ep-54,
    0x1.8ace5422aa0dbp+0, 0x1.db72fc1f0eab4p-55, 0x1.8f1ae99157736p+0, 0x1.bf68359f35f44p-56,
    0x1.93737b0cdc5e5p+0, -0x1.da9b88b6c1e29p-58, 0x1.97d829fde4e50p+0, -0x1.2434322f4f9aap-54,
    0x1.9c49182a3f090p+0, 0x1.1affc2b91ce27p-56, 0x1.a0c667b5de565p+0, -0x1.7c50422622263p-55,
    0x1.a5503b23e255dp+0, -0x1.1bbd1d3bcbb15p-54, 0x1.a9e6b5579fdbfp+0, 0x1.469846e735ab3p-55,
    0x1.ae89f995ad3adp+0, 0x1.c1a7792cb3387p-55, 0x1.b33a2b84f15fbp+0, -0x1.5c3d956dcaebap-58,
    0x1.b7f76f2fb5e47p+0, -0x1.8d6f438ad9334p-57, 0x1.bcc1e904bc1d2p+0, 0x1.4ffd70a5fddcdp-56,
    0x1.c199bdd85529cp+0, 0x1.36eae30af0cb3p-56, 0x1.c67f12e57d14bp+0, 0x1.4e08fd10959acp-55,
    0x1.cb720dcef9069p+0, 0x1.76b2c6c921968p-57, 0x1.d072d4a07897cp+0, -0x1.fad5d3ffffa6fp-55,
    0x1.d5818dcfba487p+0, 0x1.4a385a63d07a7p-56, 0x1.da9e603db3285p+0, 0x1.e5a50d5c192acp-55,
    0x1.dfc97337b9b5fp+0, -0x1.2d52107b43e1fp-55, 0x1.e502ee78b3ff6p+0, 0x1.4b604603a88d3p-56,
    0x1.ea4afa2a490dap+0, -0x1.ff7128fd391f0p-55, 0x1.efa1bee615a27p+0, 0x1.ec3bc41aa2008p-55,
    0x1.f50765b6e4540p+0, 0x1.a64a931d185eep-55, 0x1.fa7c1819e90d8p+0, 0x1.7893b4d91cd9dp-56,
};

/* e^x = mantissa 2^(steps >> 6), with 64 steps to a power of two, for x clipped to [-708, 709], so that
   neither e^x nor 1 + e^x is subnormal or infinite. Error below 1 ulp. x must not be NaN.

   x = steps ln 2 / 64 + r with |r| <= ln 2 / 128; steps times the upper part of ln 2 is exact.
   P. T. P. Tang, Table-driven implementation of the exponential function in IEEE floating-point
   arithmetic, ACM TOMS 15, 1989. */
static inline double ieee_exp(double x) {
    x = 709.0 < x ? 709.0 : x;
    x = -708.0 > x ? -708.0 : x;
    const double rounded = x * 0x1.71547652b82fep+6 + ROUNDER, n = rounded - ROUNDER;
    const double r = (x - n * 0x1.62e42feep-7) - n * 0x1.a39ef35793c76p-39, r2 = r * r;
    const int64_t steps = (int64_t)(bits_of(rounded) - bits_of(ROUNDER));
    const double *power = POWERS + 2 * (steps & 63);
    /* Pairs of terms can be computed in parallel. */
    const double p = (power[1] + r) + r2 * ((0.4999999999998506 + 0.16666666666664534 * r) +
                                            r2 * (0.041666707403338075 + 0.008333339152857227 * r));
    const double mantissa = power[0] + power[0] * p;
    return double_of(bits_of(mantissa) + ((uint64_t)steps >> 6 << 52));
}

/* The hyperbolic tangent; error below 2 ulp. */
static inline double ieee_tanh(double x) {
    const double size = absolute_value(x), z = size * size, z2 = z * z, z4 = z2 * z2;
    const double p = ((-0.3333333333333333 + 0.13333333333332714 * z) +
                      z2 * (-0.053968253967434016 + 0.021869488493666944 * z)) +
                     z4 * (((-0.008863234397814355 + 0.003592110378689024 * z) +
                            z2 * (-0.001455661830100716 + 0.0005889360520074057 * z)) +
                           z4 * ((-0.0002346347410887237 + 8.511313685577672e-05 * z) +
                                 z2 * -2.060276537636634e-05));
    const double near = size + size * (z * p);
    const double far = 1.0 - 2.0 / (ieee_exp(2.0 * size) + 1.0);
    return with_sign_of(x, size >= 0.55 ? far : near); /* near for NaN */
}

/* The arc tangent; error below 1 ulp.

   |x| is reduced to below 7/16 with atan x = atan c + atan ((x - c) / (1 + c x)) for c = 1/2, 1,
   3/2 and infinity, with atan c stored in two parts. Without branches, the function can be
   vectorized. */
static inline double ieee_atan(double x) {
    const double size = absolute_value(x);
    const int is_small = size < 0.4375, is_large = size >= 2.4375;
    double c = 0.5, upper = 0x1.dac670561bb4fp-2, lower = 0x1.a2b7f222f65e2p-56;
    c = size >= 0.6875 ? 1.0 : c;
    upper = size >= 0.6875 ? 0x1.921fb54442d18p-1 : upper;
    lower = size >= 0.6875 ? 0x1.1a62633145c07p-55 : lower;
    c = size >= 1.1875 ? 1.5 : c;
    upper = size >= 1.1875 ? 0x1.f730bd281f69bp-1 : upper;
    lower = size >= 1.1875 ? 0x1.007887af0cbbdp-56 : lower;
    upper = is_large ? 0x1.921fb54442d18p+0 : upper;
    lower = is_large ? 0x1.1a62633145c07p-54 : lower;
    upper = is_small ? 0.0 : upper;
    lower = is_small ? 0.0 : lower;
    const double above = is_small ? size : is_large ? -1.0 : size - c;
    const double below = is_small ? 1.0 : is_large ? size : 1.0 + c * size;
    const double t = above / below, z = t * t, z2 = z * z, z4 = z2 * z2;
    /* Pairs of terms can be computed in parallel. */
    const double p = ((-0.3333333333333333 + 0.1999999999999941 * z) +
                      z2 * (-0.14285714285566806 + 0.11111111096645038 * z)) +
                     z4 * (((-0.09090908355602592 + 0.07692285554889286 * z) +
                            z2 * (-0.06666241923359964 + 0.05876946456755061 * z)) +
                           z4 * ((-0.05216679739313656 + 0.04492259293193656 * z) +
                                 z2 * (-0.033128134256069586 + 0.014773184616983806 * z)));
    return with_sign_of(x, upper + (t + (t * (z * p) + lower)));
}

#endif
