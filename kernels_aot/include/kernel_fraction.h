// Fractions in [0, 1) of 96 bits, and the few operations on them that angles need.
//
// Words of 32 bits, least significant first. Products are of 16-bit limbs, two of a word: they need no multiply wider
// than 32 bits, which small processors do not have. For hosts there is a product in simd128/ that does.

#ifndef KERNEL_FRACTION_H
#define KERNEL_FRACTION_H

#include <stdbool.h>
#include <stdint.h>

#define FRACTION_WORDS 3
#define FRACTION_LIMBS (2 * FRACTION_WORDS)

// Inlined: a fraction that no function is given the address of is in registers, not in memory.
#define FRACTION_INLINE static inline __attribute__((always_inline))

// Before a loop whose counts are constants: no counter is left, and what it goes over is in registers.
#ifdef __clang__
#define FRACTION_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define FRACTION_UNROLLED _Pragma("GCC unroll 8")
#endif

struct fraction {
    uint32_t word[FRACTION_WORDS];
};

// A fraction's first 64 bits.
struct fraction64 {
    uint32_t high;
    uint32_t low;
};

static inline struct fraction64 fraction_top(struct fraction a) {
    return (struct fraction64){a.word[2], a.word[1]};
}

// *a = (*a + b) mod 1. Word by word: a whole fraction64 is something that LLVM puts together in an i64, with shifts that
// are calls of a library.
static inline void fraction64_advance(struct fraction64 *a, const struct fraction64 *b) {
    uint32_t low = a->low + b->low;
    a->high += b->high + (low < a->low);
    a->low = low;
}

// The first word of a:b << bits; 0 <= bits < 32.
static inline uint32_t fraction_word_at(uint32_t a, uint32_t b, uint32_t bits) {
    return a << bits | b >> 1 >> (31 - bits);
}

// fraction_product and fraction_scale, for a processor with or without wide products.
#include "kernel_fraction_product.h"

// The same as a function, for what is needed a few times in a call of a kernel.
static __attribute__((noinline, unused)) void fraction_multiply(
    struct fraction *out, const struct fraction *a, const struct fraction *b) {
    *out = fraction_product(*a, *b);
}

// a / divisor, rounded down; 0 < divisor < 65536.
FRACTION_INLINE struct fraction fraction_divide(struct fraction a, uint32_t divisor) {
    struct fraction quotient;
    uint32_t rest = 0;
    FRACTION_UNROLLED
    for (int i = FRACTION_WORDS - 1; i >= 0; i--) {
        uint32_t dividend = rest << 16 | a.word[i] >> 16;
        uint32_t first = dividend / divisor;
        dividend = (dividend - first * divisor) << 16 | (a.word[i] & 0xffff);
        uint32_t second = dividend / divisor;
        rest = dividend - second * divisor;
        quotient.word[i] = first << 16 | second;
    }
    return quotient;
}

// a * 2^bits mod 1; 0 <= bits < 64.
FRACTION_INLINE struct fraction fraction_shift_left(struct fraction a, uint32_t bits) {
    if (bits >= 32) {
        a = (struct fraction){{0, a.word[0], a.word[1]}};
        bits -= 32;
    }
    return (struct fraction){{
        a.word[0] << bits,
        fraction_word_at(a.word[1], a.word[0], bits),
        fraction_word_at(a.word[2], a.word[1], bits),
    }};
}

// a / 2, rounded down.
FRACTION_INLINE struct fraction fraction_half(struct fraction a) {
    return (struct fraction){{a.word[0] >> 1 | a.word[1] << 31, a.word[1] >> 1 | a.word[2] << 31, a.word[2] >> 1}};
}

// (a + b) mod 1.
FRACTION_INLINE struct fraction fraction_add(struct fraction a, struct fraction b) {
    uint32_t carry = 0;
    FRACTION_UNROLLED
    for (int i = 0; i < FRACTION_WORDS; i++) {
        uint32_t sum = a.word[i] + b.word[i];
        a.word[i] = sum + carry;
        carry = (sum < b.word[i]) | (a.word[i] < carry);
    }
    return a;
}

// -a mod 1.
FRACTION_INLINE struct fraction fraction_negate(struct fraction a) {
    return fraction_add((struct fraction){{~a.word[0], ~a.word[1], ~a.word[2]}}, (struct fraction){{1, 0, 0}});
}

// a to the power n, each multiplication rounded down; n > 0.
static inline struct fraction fraction_power(struct fraction a, uint32_t n) {
    struct fraction power = a;
    for (uint32_t bit = 0x80000000u >> __builtin_clz(n) >> 1; bit != 0; bit >>= 1) {
        fraction_multiply(&power, &power, &power);
        if (n & bit) {
            fraction_multiply(&power, &power, &a);
        }
    }
    return power;
}

#endif
