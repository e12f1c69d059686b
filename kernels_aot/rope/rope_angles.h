// The angles of rotary embedding, as fractions of a turn: (pos + s) * theta^(-2i / dim) / 2 pi mod 1.
//
// In fixed point an angle is exact to about 2^-63 turns times the position, however many turns it has made, and the
// next position's is one addition away.

#ifndef ROPE_ANGLES_H
#define ROPE_ANGLES_H

#include "kernel_abi.h"
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

// theta^(-1 / half), at most 2^-26 (1 + 1 / half) of itself too low and never too high: 2^-(log / half).
static inline struct fraction rope_estimate_ratio(float theta, uint32_t half) {
    uint32_t log = rope_log2(theta) + 2;
    uint32_t quotient = log / half;
    uint32_t power = quotient << 6 | ((log - quotient * half) << 6) / half;
    uint32_t value = (exp_minus_fixed(mul_high(power, 0xB17217F7)) - 8) << 1;
    uint32_t whole = quotient >> 26;
    struct fraction ratio = {{0, 0, value}};
    if (whole >= 32) {
        ratio = (struct fraction){{0, value, 0}};
        whole -= 32;
    }
    ratio.word[1] = ratio.word[1] >> whole | ratio.word[2] << 1 << (31 - whole);
    ratio.word[2] >>= whole;
    return ratio;
}

// 1 - theta * ratio^half, mod 1.
static inline struct fraction rope_ratio_error(struct fraction ratio, float theta, uint32_t half) {
    struct fraction mantissa = {{0, 0, float_bits(theta) << 8 | 0x80000000}};
    uint32_t exponent = (float_bits(theta) >> 23) - 127;
    struct fraction power = fraction_power(ratio, half);
    fraction_multiply(&power, &power, &mantissa);
    return fraction_negate(fraction_shift_left(power, exponent + 1));
}

// theta^(-1 / half): the root of theta * ratio^half = 1. With an error e, that is ratio * (1 - e)^(-1 / half) =
// ratio * (1 + u + u * (e + u) / 2 + ...) where u = e / half, and what is left out is about u * e^2 / 3.
KERNEL_LOOP void rope_ratio(struct fraction *out, float theta, uint32_t half) {
    if (theta == 1.0f) {
        // Then the ratio is 1, which is no fraction: the largest there is.
        *out = (struct fraction){{0xffffffff, 0xffffffff, 0xffffffff}};
        return;
    }
    struct fraction ratio = rope_estimate_ratio(theta, half);
    struct fraction error;
    do {
        error = rope_ratio_error(ratio, theta, half);
        if (error.word[2] >> 31) {
            break; // below 0, which is to say that only roundings are left
        }
        struct fraction part = fraction_divide(error, half);
        struct fraction next = fraction_half(fraction_add(error, part));
        fraction_multiply(&next, &next, &part);
        next = fraction_add(next, part);
        fraction_multiply(&next, &next, &ratio);
        ratio = fraction_add(ratio, next);
    } while (error.word[2] >> 12 != 0);
    *out = ratio;
}

// For each of `half` pairs, what one position adds, and the angle at position `pos`.
KERNEL_LOOP void rope_steps(
    struct fraction64 *steps, struct fraction64 *turns, uint32_t half, const struct fraction *ratio, uint32_t pos) {
    // 1 / 2 pi: one radian.
    struct fraction step = {{0x7F09D5F4, 0x9391054A, 0x28BE60DB}};
    struct fraction factor = *ratio;
    for (uint32_t i = 0; i < half; i++) {
        struct fraction64 turn = fraction_top(fraction_scale(step, pos));
        steps[i].high = step.word[2];
        steps[i].low = step.word[1];
        turns[i].high = turn.high;
        turns[i].low = turn.low;
        step = fraction_product(step, factor);
    }
}

static inline void rope_start(
    struct fraction64 *steps, struct fraction64 *turns, uint32_t half, float theta, uint32_t pos) {
    struct fraction ratio;
    rope_ratio(&ratio, theta, half);
    rope_steps(steps, turns, half, &ratio, pos);
}

#endif
