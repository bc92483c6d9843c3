/* Numbers in text, correctly rounded: to the nearest double, ties to even. */

#ifndef NUMBER_H
#define NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "powers_of_five.h" /* made by setup.py */

static const double TENS[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const uint32_t SHORT_TENS[8] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};

#define HIGH_BITS UINT64_C(0x8080808080808080) /* of eight bytes */

/* Eight bytes, the first one lowest; zeros beyond the limit. */
static inline uint64_t word_at(const uint8_t *p, const uint8_t *limit) {
    uint64_t word = 0;
    if (limit - p >= 8)
        memcpy(&word, p, 8);
    else
        memcpy(&word, p, limit - p);
    return word;
}

/* The value of eight digits, the first one in the lowest byte. */
static inline uint64_t eight_digits(uint64_t digits) {
    digits = digits * 10 + (digits >> 8);
    return ((digits & UINT64_C(0xFF000000FF)) * UINT64_C(0xF424000000064) +
            (digits >> 16 & UINT64_C(0xFF000000FF)) * UINT64_C(0x271000000001)) >> 32;
}

/* Append the digits at p to a number, modulo 2^64; return their end. Eight at a time, because the end
   of a loop over single digits is often mispredicted. */
static inline const uint8_t *read_digits(const uint8_t *p, const uint8_t *limit, uint64_t *number) {
    for (;;) {
        const uint64_t digits = word_at(p, limit) ^ UINT64_C(0x3030303030303030);
        const uint64_t others = ((digits + UINT64_C(0x7676767676767676)) | digits) & HIGH_BITS;
        if (others != 0) {
            const int bits = __builtin_ctzll(others) & ~7;
            if (bits == 0) return p;
            *number = *number * SHORT_TENS[bits >> 3] + eight_digits(digits << (64 - bits));
            return p + (bits >> 3);
        }
        *number = *number * 100000000 + eight_digits(digits);
        p += 8;
    }
}

static inline double double_of_bits(uint64_t bits) {
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

/* The double nearest to w 10^q, for w above 0; -1 if it is infinite or undecided here.

   Names follow Daniel Lemire, Number parsing at a gigabyte per second, Software: Practice and
   Experience 51(8), 2021. */
static double eisel_lemire(uint64_t w, int q) {
    if (q < -342) return 0.0;
    if (q > 308) return -1.0;
    const int zeros = __builtin_clzll(w);
    w <<= zeros;
    const uint64_t *power = POWERS_OF_FIVE[q + 342];
    __uint128_t product = (__uint128_t)w * power[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) {
        const uint64_t more = (uint64_t)((__uint128_t)w * power[1] >> 64);
        low += more;
        high += low < more;
    }
    if (low == UINT64_MAX && (q < -27 || q > 55)) return -1.0;
    const int upper = (int)(high >> 63), shift = upper + 64 - 52 - 3;
    uint64_t mantissa = high >> shift;
    /* log2 of 10^q, rounded down: 217706 / 2^16 is log2 10 */
    int exponent = (int)((217706 * (int64_t)q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) { /* subnormal */
        if (exponent < -62) return 0.0;
        mantissa >>= 1 - exponent;
        mantissa = (mantissa + (mantissa & 1)) >> 1;
        return double_of_bits(mantissa);
    }
    /* A tie: round to even. */
    if (low <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && mantissa << shift == high)
        mantissa &= ~UINT64_C(1);
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53) {
        mantissa = UINT64_C(1) << 52;
        exponent++;
    }
    if (exponent >= 2047) return -1.0;
    return double_of_bits((mantissa & ~(UINT64_C(1) << 52)) | (uint64_t)exponent << 52);
}

/* The double nearest to the digits from p to end (a point among them is skipped) times 10^exponent, for
   more than 19 digits; -1 as above. */
static double of_many_digits(const uint8_t *p, const uint8_t *end, int exponent) {
    uint64_t w = 0;
    int n = 0, is_more = 0;
    for (; p < end; p++) {
        if (*p == '.') continue;
        if (n < 19) {
            w = w * 10 + (*p - '0');
            n += w != 0;
        } else {
            is_more |= *p != '0';
            exponent++;
        }
    }
    if (w == 0) return 0.0;
    const double least = eisel_lemire(w, exponent);
    /* The omitted digits are worth less than one unit of the last digit. */
    return is_more && least != eisel_lemire(w + 1, exponent) ? -1.0 : least;
}

/* Finish `read_number` after n digits, w modulo 2^64, from start to p; `n_behind` follow the point. */
static const uint8_t *read_rest(const uint8_t *start, const uint8_t *p, const uint8_t *limit,
                                ptrdiff_t n, ptrdiff_t n_behind, uint64_t w, double *value) {
    const uint8_t *end = p;
    if (n_behind > 1000) return NULL;
    int exponent = -(int)n_behind;
    if ((*p | 32) == 'e') {
        uint64_t written = 0;
        const int is_below = *++p == '-';
        p += is_below || *p == '+';
        const uint8_t *first = p;
        p = read_digits(p, limit, &written);
        if (p == first || p - first > 8) return NULL;
        exponent += is_below ? -(int)written : (int)written;
    }
    if (n > 19)
        *value = of_many_digits(start, end, exponent);
    else if (w == 0)
        *value = 0.0;
    else if (w <= UINT64_C(1) << 53 && exponent >= -22 && exponent <= 22)
        *value = exponent < 0 ? (double)w / TENS[-exponent] : (double)w * TENS[exponent];
    else
        *value = eisel_lemire(w, exponent);
    return *value < 0.0 ? NULL : p;
}

/* Read [+-]digits[.digits][e[+-]digits], where the digits before or after the point may be omitted, or
   a JSON number; return its end, NULL if there is none, or if it is infinite or undecided. A byte that
   cannot belong to a number must follow.

   For at most 15 digits one operation with a power of ten up to 10^22 rounds correctly: William D.
   Clinger, How to read floating point numbers accurately, PLDI 1990. */
static inline const uint8_t *read_number(const uint8_t *p, const uint8_t *limit, int is_json,
                                         double *value) {
    const int is_negative = *p == '-';
    p += is_negative || (*p == '+' && !is_json);
    const uint8_t *start = p;
    uint64_t w = 0;
    for (; *p >= '0' && *p <= '9'; p++) w = w * 10 + (*p - '0');
    ptrdiff_t n = p - start, n_behind = 0;
    if (is_json && (n == 0 || (*start == '0' && n > 1))) return NULL;
    int is_whole = 1;
    if (*p == '.') {
        const uint8_t *point = p + 1;
        p = read_digits(point, limit, &w);
        n_behind = p - point;
        if (is_json && n_behind == 0) return NULL;
        n += n_behind;
        is_whole = 0;
    }
    if (n == 0) return NULL;
    if (n > 15 || (*p | 32) == 'e') {
        is_whole &= (*p | 32) != 'e';
        p = read_rest(start, p, limit, n, n_behind, w, value);
    } else {
        *value = (double)w / TENS[n_behind];
    }
    /* A JSON integer of 0 has no sign. */
    if (is_negative && !(is_json && is_whole && *value == 0.0)) *value = -*value;
    return p;
}

/* The fast path: read an integer of at most 15 digits before the byte `stop`; NULL if it is other. */
static inline const uint8_t *read_whole(const uint8_t *p, uint8_t stop, uint64_t *value) {
    const uint8_t *start = p;
    uint64_t w = 0;
    unsigned digit;
    for (; (digit = (unsigned)*p - '0') <= 9; p++) w = w * 10 + digit;
    if (*p != stop || p == start || p - start > 15 || (*start == '0' && p - start > 1)) return NULL;
    *value = w;
    return p;
}

#endif
