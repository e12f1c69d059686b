// Fractions in [0, 1) of 96 bits, and the few operations on them that angles need.
//
// Limbs of 16 bits, least significant first: a product of two plus two more limbs is just a uint32_t, so nothing here
// needs a multiply wider than 32 bits, which small processors do not have. For hosts there is a product in simd128/ that does.

#ifndef KERNEL_FRACTION_H
#define KERNEL_FRACTION_H

#include <stdbool.h>
#include <stdint.h>

#define FRACTION_LIMBS 6

// Not inlined: a kernel calls them from many places, a few times for each call of its own.
#define FRACTION_FUNCTION static __attribute__((noinline, unused))

struct fraction {
    uint32_t limb[FRACTION_LIMBS];
};

// A fraction's first 64 bits.
struct fraction64 {
    uint32_t high;
    uint32_t low;
};

static inline struct fraction64 fraction_top(const struct fraction *a) {
    return (struct fraction64){a->limb[5] << 16 | a->limb[4], a->limb[3] << 16 | a->limb[2]};
}

// *a = (*a + b) mod 1. Word by word: a whole fraction64 is something that LLVM puts together in an i64, with shifts that are
// calls of a library.
static inline void fraction64_advance(struct fraction64 *a, const struct fraction64 *b) {
    uint32_t low = a->low + b->low;
    a->high += b->high + (low < a->low);
    a->low = low;
}

// The first word of a:b << bits; 0 <= bits < 32.
static inline uint32_t fraction_word_at(uint32_t a, uint32_t b, uint32_t bits) {
    return a << bits | b >> 1 >> (31 - bits);
}

#include "kernel_fraction_product.h" // fraction_multiply, for a processor with or without wide products

// a * factor mod 1, exact.
FRACTION_FUNCTION void fraction_scale(struct fraction *out, const struct fraction *a, uint32_t factor) {
    struct fraction sum;
    uint32_t carry = 0;
    for (int i = 0; i < FRACTION_LIMBS; i++) {
        uint32_t column = a->limb[i] * (factor & 0xffff) + carry;
        sum.limb[i] = column & 0xffff;
        carry = column >> 16;
    }
    carry = 0;
    for (int i = 1; i < FRACTION_LIMBS; i++) {
        uint32_t column = sum.limb[i] + a->limb[i - 1] * (factor >> 16) + carry;
        sum.limb[i] = column & 0xffff;
        carry = column >> 16;
    }
    *out = sum;
}

// a / divisor, rounded down; 0 < divisor < 65536.
FRACTION_FUNCTION void fraction_divide(struct fraction *out, const struct fraction *a, uint32_t divisor) {
    uint32_t remainder = 0;
    for (int i = FRACTION_LIMBS - 1; i >= 0; i--) {
        uint32_t dividend = remainder << 16 | a->limb[i];
        out->limb[i] = dividend / divisor;
        remainder = dividend % divisor;
    }
}

// a / 2^bits, rounded down.
FRACTION_FUNCTION void fraction_shift(struct fraction *out, const struct fraction *a, uint32_t bits) {
    *out = *a;
    while (bits > 0) {
        uint32_t step = bits < 15 ? bits : 15;
        fraction_divide(out, out, 1u << step);
        bits -= step;
    }
}

// (a + b) mod 1.
FRACTION_FUNCTION void fraction_add(struct fraction *out, const struct fraction *a, const struct fraction *b) {
    uint32_t carry = 0;
    for (int i = 0; i < FRACTION_LIMBS; i++) {
        uint32_t column = a->limb[i] + b->limb[i] + carry;
        out->limb[i] = column & 0xffff;
        carry = column >> 16;
    }
}

// -a mod 1.
FRACTION_FUNCTION void fraction_negate(struct fraction *out, const struct fraction *a) {
    uint32_t carry = 1;
    for (int i = 0; i < FRACTION_LIMBS; i++) {
        uint32_t column = (a->limb[i] ^ 0xffff) + carry;
        out->limb[i] = column & 0xffff;
        carry = column >> 16;
    }
}

// a to the power n, each multiplication rounded down; n > 0.
FRACTION_FUNCTION void fraction_power(struct fraction *out, const struct fraction *a, uint32_t n) {
    struct fraction base = *a;
    struct fraction power = base;
    for (uint32_t bit = 0x80000000u >> __builtin_clz(n) >> 1; bit != 0; bit >>= 1) {
        fraction_multiply(&power, &power, &power);
        if (n & bit) {
            fraction_multiply(&power, &power, &base);
        }
    }
    *out = power;
}

#endif
