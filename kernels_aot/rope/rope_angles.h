// The angles of rotary embedding, as fractions of a turn: (pos + s) * theta^(-2i / dim) / 2 pi mod 1.
//
// In fixed point an angle is exact to about 2^-63 turns times the position, however many turns it has made, and the
// next position's is one addition away.

#ifndef ROPE_ANGLES_H
#define ROPE_ANGLES_H

#include "kernel_fraction.h"
#include "kernel_math.h"

#define ROPE_MAX_HALF 65535u

// theta from 1 to 2^40; beyond, the ratio below would lose accuracy. Positive floats are ordered as their bits are.
static inline bool rope_theta_is_valid(float theta) {
    return float_bits(theta) >= 0x3f800000 && float_bits(theta) <= 0x53800000;
}

// log2 theta in units of 2^-26: bit by bit, squaring the mantissa.
static inline uint32_t rope_log2(float theta) {
    uint32_t bits = float_bits(theta);
    uint32_t x = bits << 8 | 0x80000000;
    uint32_t log = (bits >> 23) - 127;
    for (int i = 0; i < 26; i++) {
        x = mul_high(x, x);
        uint32_t bit = x >> 31;
        x <<= 1 - bit;
        log = log << 1 | bit;
    }
    return log;
}

// theta^(-1 / half) to about 28 bits: 2^-(log / half).
static inline void rope_estimate_ratio(struct fraction *out, float theta, uint32_t half) {
    uint32_t log = rope_log2(theta);
    uint32_t quotient = log / half;
    uint32_t power = quotient << 6 | (log % half << 6) / half;
    uint32_t value = exp_minus_fixed(mul_high(power, 0xB17217F7)) << 1;
    struct fraction ratio = {{0, 0, 0, 0, value & 0xffff, value >> 16}};
    fraction_shift(out, &ratio, quotient >> 26);
}

// 1 - theta * ratio^half, mod 1.
static inline void rope_ratio_error(struct fraction *out, const struct fraction *ratio, float theta, uint32_t half) {
    uint32_t mantissa = (float_bits(theta) & 0x7fffff) | 0x800000;
    uint32_t exponent = (float_bits(theta) >> 23) - 127;
    fraction_power(out, ratio, half);
    if (exponent < 23) {
        fraction_shift(out, out, 23 - exponent);
    } else {
        fraction_scale(out, out, 1u << (exponent - 23));
    }
    fraction_scale(out, out, mantissa);
    fraction_negate(out, out);
}

// theta^(-1 / half): two steps of Newton's method for the root of theta * ratio^half = 1. A relative error e becomes
// about half / 2 * e^2.
static inline void rope_ratio(struct fraction *ratio, float theta, uint32_t half) {
    if (theta == 1.0f) {
        // Then the ratio is 1, which is no fraction: the largest there is.
        *ratio = (struct fraction){{0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff}};
        return;
    }
    rope_estimate_ratio(ratio, theta, half);
    for (int step = 0; step < 2; step++) {
        struct fraction error;
        rope_ratio_error(&error, ratio, theta, half);
        bool negative = error.limb[FRACTION_LIMBS - 1] >> 15;
        if (negative) {
            fraction_negate(&error, &error);
        }
        fraction_multiply(&error, &error, ratio);
        fraction_divide(&error, &error, half);
        if (negative) {
            fraction_negate(&error, &error);
        }
        fraction_add(ratio, ratio, &error);
    }
}

// For each of `half` pairs, what one position adds, and the angle at position `pos`.
static inline void rope_start(
    struct fraction64 *steps, struct fraction64 *turns, uint32_t half, float theta, uint32_t pos) {
    // 1 / 2 pi: one radian.
    struct fraction step = {{0xD5F4, 0x7F09, 0x054A, 0x9391, 0x60DB, 0x28BE}};
    struct fraction ratio;
    struct fraction turn;
    rope_ratio(&ratio, theta, half);
    for (uint32_t i = 0; i < half; i++) {
        steps[i] = fraction_top(&step);
        fraction_scale(&turn, &step, pos);
        turns[i] = fraction_top(&turn);
        fraction_multiply(&step, &step, &ratio);
    }
}

#endif
