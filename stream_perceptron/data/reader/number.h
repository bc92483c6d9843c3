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

/* Return a word of eight bytes, the first one lowest, with zeros beyond the limit. */
static inline uint64_t load_word(const uint8_t *p, const uint8_t *limit) {
    uint64_t word = 0;
    if (limit - p >= 8)
        memcpy(&word, p, 8);
    else
        memcpy(&word, p, limit - p);
    return word;
}

/* Return the value of eight digits, the first one in the lowest byte. */
static inline uint64_t parse_eight_digits(uint64_t digits) {
    digits = digits * 10 + (digits >> 8);
    return ((digits & UINT64_C(0xFF000000FF)) * UINT64_C(0xF424000000064) +
            (digits >> 16 & UINT64_C(0xFF000000FF)) * UINT64_C(0x271000000001)) >> 32;
}

/* Append the digits at p to a number, modulo 2^64; return their end. They are read eight at a time,
   because the end of a loop over single digits is often mispredicted. */
static inline const uint8_t *read_digits(const uint8_t *p, const uint8_t *limit, uint64_t *number) {
    for (;;) {
        const uint64_t digits = load_word(p, limit) ^ UINT64_C(0x3030303030303030);
        const uint64_t is_other = ((digits + UINT64_C(0x7676767676767676)) | digits) & HIGH_BITS;
        if (is_other != 0) {
            /* Two shifts, because one shift by 64 bits, for no digits, would be undefined. */
            const int bits = __builtin_ctzll(is_other) & ~7;
            const uint64_t rest = digits << 8 << (56 - bits);
            *number = *number * SHORT_TENS[bits >> 3] + parse_eight_digits(rest);
            return p + (bits >> 3);
        }
        *number = *number * 100000000 + parse_eight_digits(digits);
        p += 8;
    }
}

static inline double bits_to_double(uint64_t bits) {
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

/* Return the double nearest to w * 10^q, for w > 0; -1 if it is infinite or cannot be determined.

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
    /* log2 of 10^q, rounded down: 217706 / 2^16 is approximately log2(10) */
    int exponent = (int)((217706 * (int64_t)q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) { /* subnormal */
        if (exponent < -62) return 0.0;
        mantissa >>= 1 - exponent;
        mantissa = (mantissa + (mantissa & 1)) >> 1;
        return bits_to_double(mantissa);
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
    return bits_to_double((mantissa & ~(UINT64_C(1) << 52)) | (uint64_t)exponent << 52);
}

/* Return the double nearest to the digits from p to end (a point among them is skipped) times
   10^exponent, for more than 19 digits; -1 as in `eisel_lemire`. */
static double round_many_digits(const uint8_t *p, const uint8_t *end, int exponent) {
    uint64_t w = 0;
    int n = 0, has_more = 0; /* whether an omitted digit is not 0 */
    for (; p < end; p++) {
        if (*p == '.') continue;
        if (n < 19) {
            w = w * 10 + (*p - '0');
            n += w != 0;
        } else {
            has_more |= *p != '0';
            exponent++;
        }
    }
    if (w == 0) return 0.0;
    const double lower = eisel_lemire(w, exponent);
    /* The omitted digits are worth less than one unit in the last digit kept. */
    return has_more && lower != eisel_lemire(w + 1, exponent) ? -1.0 : lower;
}

/* Finish `read_number` after the n digits from start to p, whose value is w modulo 2^64;
   `n_fraction_digits` of them follow the decimal point. */
static const uint8_t *finish_number(const uint8_t *start, const uint8_t *p, const uint8_t *limit,
                                ptrdiff_t n, ptrdiff_t n_fraction_digits, uint64_t w, double *value) {
    const uint8_t *end = p;
    if (n_fraction_digits > 1000) return NULL;
    int exponent = -(int)n_fraction_digits;
    if ((*p | 32) == 'e') {
        uint64_t magnitude = 0;
        const int is_negative = *++p == '-';
        p += is_negative || *p == '+';
        const uint8_t *first = p;
        p = read_digits(p, limit, &magnitude);
        if (p == first || p - first > 8) return NULL;
        exponent += is_negative ? -(int)magnitude : (int)magnitude;
    }
    if (n > 19)
        *value = round_many_digits(start, end, exponent);
    else if (w == 0)
        *value = 0.0;
    else if (n <= 15 && exponent >= -22 && exponent <= 22)
        *value = exponent < 0 ? (double)w / TENS[-exponent] : (double)w * TENS[exponent];
    else
        *value = eisel_lemire(w, exponent);
    return *value < 0.0 ? NULL : p;
}

/* Read [+-]digits[.digits][e[+-]digits], where the digits before or after the point may be omitted, or
   a JSON number; return its end, or NULL if there is no number, or if it is infinite or its
   rounding is undecided. A byte that cannot belong to a number must follow it.

   For at most 15 digits, one operation with a power of ten up to 10^22 rounds correctly: William D.
   Clinger, How to read floating point numbers accurately, PLDI 1990. */
static inline const uint8_t *read_number(const uint8_t *p, const uint8_t *limit, int is_json,
                                         double *value) {
    const int is_negative = *p == '-';
    p += is_negative || (*p == '+' && !is_json);
    const uint8_t *start = p;
    uint64_t w = 0;
    for (; *p >= '0' && *p <= '9'; p++) w = w * 10 + (*p - '0');
    ptrdiff_t n = p - start, n_fraction_digits = 0;
    if (is_json && (n == 0 || (*start == '0' && n > 1))) return NULL;
    int is_whole = 1;
    if (*p == '.') {
        const uint8_t *point = p + 1;
        p = read_digits(point, limit, &w);
        n_fraction_digits = p - point;
        if (is_json && n_fraction_digits == 0) return NULL;
        n += n_fraction_digits;
        is_whole = 0;
    }
    if (n == 0) return NULL;
    if (n > 15 || (*p | 32) == 'e') {
        is_whole &= (*p | 32) != 'e';
        p = finish_number(start, p, limit, n, n_fraction_digits, w, value);
    } else {
        *value = (double)w / TENS[n_fraction_digits];
    }
    /* The JSON integer -0 is 0, without a sign. */
    if (is_negative && !(is_json && is_whole && *value == 0.0)) *value = -*value;
    return p;
}

/* The fast path: read an integer of at most 15 digits that is followed by the byte `stop`; return
   its end, or NULL if there is none. */
static inline const uint8_t *read_short_integer(const uint8_t *p, uint8_t stop, uint64_t *value) {
    const uint8_t *start = p;
    uint64_t w = 0;
    unsigned digit;
    for (; (digit = (unsigned)*p - '0') <= 9; p++) w = w * 10 + digit;
    if (*p != stop || p == start || p - start > 15 || (*start == '0' && p - start > 1)) return NULL;
    *value = w;
    return p;
}

static inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* Return whether a string is a number, even if `read_number` cannot round it with certainty. */
static inline int is_decimal(const uint8_t *p, const uint8_t *end) {
    if (p < end && (*p == '+' || *p == '-')) p++;
    const uint8_t *start = p;
    p = skip_digits(p, end);
    ptrdiff_t n = p - start;
    if (p < end && *p == '.') {
        start = ++p;
        p = skip_digits(p, end);
        n += p - start;
    }
    if (n == 0) return 0;
    if (p < end && (*p | 32) == 'e') {
        if (++p < end && (*p == '+' || *p == '-')) p++;
        start = p;
        p = skip_digits(p, end);
        if (p == start) return 0;
    }
    return p == end;
}

#endif
