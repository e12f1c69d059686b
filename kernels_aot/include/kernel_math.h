// Elementary functions for kernels, in 32-bit integer arithmetic: the same bits on every processor and compiler,
// with no library, and several times faster than soft floats where there is no FPU.
//
// Polynomials are minimax fits with a relative error below 2^-28 (kernels_aot/coefficients.py makes them); nearly all of
// an error is the last rounding.

#ifndef KERNEL_MATH_H
#define KERNEL_MATH_H

#include <stdint.h>

#include "kernel_fraction.h"

// Of polynomials as alternating_polynomial takes them.
static const uint32_t exp_coefficients[] = {
    0x7FFFFFFC, 0x7FFFFDF8, 0x3FFFD3A8, 0x1553E366, 0x054F7F1B, 0x0104B775, 0x00200F84,
};
static const uint32_t sin_coefficients[] = {0xC90FDA97, 0x14ABBB90, 0x00A32F49, 0x00025B26};
static const uint32_t cos_coefficients[] = {0x80000000, 0x277A798E, 0x020783B5, 0x000AAE27, 0x00001D9A};

static inline uint32_t float_bits(float x) {
    union { float f; uint32_t u; } both = {.f = x};
    return both.u;
}

static inline float float_from_bits(uint32_t bits) {
    union { uint32_t u; float f; } both = {.u = bits};
    return both.f;
}

// The high word of a * b, or up to 2 less: without the product of the low halves. The exact one from halves is
// something LLVM recognises and makes a 64-bit multiply, which on a Cortex-M0+ is a library call.
static inline uint32_t mul_high(uint32_t a, uint32_t b) {
    uint32_t a_high = a >> 16;
    uint32_t b_high = b >> 16;
    return a_high * b_high + (a_high * (b & 0xffff) >> 16) + ((a & 0xffff) * b_high >> 16);
}

// c[0] - z * (c[1] - z * (c[2] - ...)): z in units of 2^-32, coefficients and value in a common unit.
static inline uint32_t alternating_polynomial(uint32_t z, const uint32_t *c, int degree) {
    uint32_t value = c[degree];
    for (int i = degree - 1; i >= 0; i--) {
        value = c[i] - mul_high(z, value);
    }
    return value;
}

// The float nearest to value * 2^exponent (halves upwards), with a sign bit; 0 below 2^-126. The top bit of value is set.
static inline float float_from_normal(uint32_t sign, uint32_t value, int32_t exponent) {
    int32_t biased = 127 + 31 + exponent;
    if (biased <= 0) {
        return float_from_bits(sign);
    }
    // Adding lets a carry out of the fraction, whose top bit is set, reach the exponent.
    return float_from_bits(sign + ((uint32_t)(biased - 1) << 23) + (value >> 8) + (value >> 7 & 1));
}

// The same for a value from 2^29 on; to count zeros is a call where a processor cannot.
static inline float float_from_high_parts(uint32_t sign, uint32_t value, int32_t exponent) {
    while (value >> 31 == 0) {
        value <<= 1;
        exponent--;
    }
    return float_from_normal(sign, value, exponent);
}

// e^-z in units of 2^-31, for z from 0 to ln 2 in units of 2^-32.
static inline uint32_t exp_minus_fixed(uint32_t z) {
    return alternating_polynomial(z, exp_coefficients, 6);
}

// e^-a * 2^shift for the a >= 0 with these bits, within 0.6 ulp; 0 when that is below 2^-126, when a is at least 256, and for NaN.
static inline float exp_minus(uint32_t bits, int32_t shift) {
    int32_t exponent = (int32_t)(bits >> 23);
    if (exponent >= 127 + 8) {
        return 0.0f;
    }
    uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
    // a mod 1 in units of 2^-32, and all of a in units of 2^-24.
    int32_t left = exponent - 118;
    uint32_t fraction = left >= 0 ? mantissa << left : left > -24 ? mantissa >> -left : 0;
    uint32_t whole = left >= 8 ? mantissa << (left - 8) : left > -16 ? mantissa >> (8 - left) : 0;
    // a = n * ln 2 + rest. n is rounded down, so rest is not negative; being below 1, it comes right mod 1.
    uint32_t n = mul_high(whole, 0xB8AA3B29) >> 23;
    uint32_t rest = fraction - n * 0xB17217F7 - (n * 0xD1CF >> 16);
    return float_from_high_parts(0, exp_minus_fixed(rest), shift - 31 - (int32_t)n);
}

struct cos_sin {
    float cos;
    float sin;
};

// Cosine and sine of an angle given as a fraction of a turn, each within 0.6 ulp of the result for exactly that fraction.
// Always inlined: as a function its result would go through memory. No loops: what it is inlined into is one.
static inline __attribute__((always_inline)) struct cos_sin cos_sin_of_turn(struct fraction64 turn) {
    // The nearest quarter, and how far the angle is from it: at most an eighth of a turn, up or down.
    uint32_t quarter = (turn.high + 0x20000000) >> 30;
    uint32_t high = turn.high - (quarter << 30);
    uint32_t low = turn.low;
    uint32_t down = high & 0x80000000;
    if (down) {
        low = -low;
        high = ~high + (low == 0);
    }
    // z = (8 * distance)^2. The sine is distance * polynomial(z), which keeps its relative accuracy near 0.
    uint32_t eighths = high >= 0x20000000 ? 0xffffffff : high << 3 | low >> 29;
    uint32_t z = mul_high(eighths, eighths);
    uint32_t scale = 127 << 23;
    if (high == 0) {
        high = low;
        low = 0;
        scale -= 32 << 23;
    }
    uint32_t sine = 0;
    if (high != 0) {
        uint32_t zeros = (uint32_t)__builtin_clz(high);
        uint32_t distance = fraction_word_at(high, low, zeros);
        sine = mul_high(distance, alternating_polynomial(z, sin_coefficients, 3));
        // From sqrt(1/8) on, in units of 2^-32: at most one zero. The first bit is added to the exponent.
        sine = sine >> 31 ? ((sine + 128) >> 8) + (1 << 23) : (sine + 64) >> 7;
        sine += down + scale - (zeros << 23);
    }
    // From sqrt(1/2) to 1, in units of 2^-31: one zero, and for 1 what is right as well.
    uint32_t cosine = (125u << 23) + ((alternating_polynomial(z, cos_coefficients, 4) + 64) >> 7);
    uint32_t cos_sign = (quarter + 1) << 30 & 0x80000000;
    uint32_t sin_sign = quarter << 30 & 0x80000000;
    return (struct cos_sin){
        float_from_bits((quarter & 1 ? sine : cosine) ^ cos_sign),
        float_from_bits((quarter & 1 ? cosine : sine) ^ sin_sign),
    };
}

// x / 2 pi mod 1 for a finite x of at least 2^-12: its mantissa times those 96 bits of 1 / 2 pi that count.
static inline struct fraction64 turn_of_radians(float x) {
    // 1 / 2 pi, most significant word first, after two words of zeros.
    static const uint32_t inverse[9] = {
        0, 0, 0x28BE60DB, 0x9391054A, 0x7F09D5F4, 0x7D4D3770, 0x36D8A566, 0x4F10E410, 0x7F9458EA,
    };
    uint32_t bits = float_bits(x);
    // x is an integer times 2^exponent: bits of 1 / 2 pi above 2^-exponent only add whole turns.
    int32_t exponent = (int32_t)(bits >> 23 & 0xff) - 150;
    uint32_t start = (uint32_t)(exponent + 64);
    const uint32_t *word = inverse + (start >> 5);
    struct fraction window = {{
        fraction_word_at(word[2], word[3], start & 31),
        fraction_word_at(word[1], word[2], start & 31),
        fraction_word_at(word[0], word[1], start & 31),
    }};
    return fraction_top(fraction_scale(window, (bits & 0x7fffff) | 0x800000));
}

// Cosine and sine of any float, in radians, each within 0.6 ulp; NaN for infinities and NaN.
static inline struct cos_sin cos_sin_of(float x) {
    uint32_t magnitude = float_bits(x) & 0x7fffffff;
    if (magnitude >= 0x7f800000) {
        return (struct cos_sin){x - x, x - x};
    }
    if (magnitude < 0x39800000) {
        // Below 2^-12 the next terms, 1 - x^2 / 2 and x - x^3 / 6, are less than half an ulp away.
        return (struct cos_sin){1.0f, x};
    }
    struct cos_sin result = cos_sin_of_turn(turn_of_radians(float_from_bits(magnitude)));
    result.sin = float_from_bits(float_bits(result.sin) ^ (float_bits(x) & 0x80000000));
    return result;
}

#endif
