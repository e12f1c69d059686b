// Integer-only implementations of WebAssembly's float operators that firmware/softfloat does not have.
#include "floats.h"

#include <stdbool.h>

#define SIGN (0x80000000u)
#define INFINITE (0x7f800000u)
#define QUIET (0x00400000u)
#define NAN_CANONICAL (0x7fc00000u)
#define ONE (0x3f800000u)

// Called in every inner loop: kept in RAM, as is the arithmetic.
#ifndef KERN_HOT_SECTION
#define KERN_HOT_SECTION ".time_critical."
#endif
#define HOT(name) __attribute__((section(KERN_HOT_SECTION "kern_" #name))) name

static inline bool is_nan(f32 a) {
    return a << 1 > INFINITE << 1;
}

// Orders all floats but NaN, -0 below +0.
static inline int32_t order(f32 a) {
    return (int32_t)(a & SIGN ? a ^ 0x7fffffff : a);
}

f32 HOT(f32_abs)(f32 a) {
    return a & ~SIGN;
}

f32 HOT(f32_min)(f32 a, f32 b) {
    if (is_nan(a) || is_nan(b)) {
        return NAN_CANONICAL;
    }
    return order(a) < order(b) ? a : b;
}

f32 HOT(f32_max)(f32 a, f32 b) {
    if (is_nan(a) || is_nan(b)) {
        return NAN_CANONICAL;
    }
    return order(a) > order(b) ? a : b;
}

// Round to an integer: `rounding` decides what is added to the magnitude before its fraction is cut off.
enum rounding { DOWN, UP, ZERO, EVEN };

static f32 round_to(f32 a, enum rounding rounding) {
    uint32_t sign = a & SIGN, magnitude = a & ~SIGN;
    int exponent = (int)(magnitude >> 23) - 127;
    if (exponent >= 23 || magnitude == 0) {
        return is_nan(a) ? a | QUIET : a;
    }
    bool away = rounding == (sign ? DOWN : UP);
    if (exponent < 0) {
        bool to_one = away || (rounding == EVEN && magnitude > 0x3f000000);
        return sign | (to_one ? ONE : 0);
    }
    uint32_t unit = 1u << (23 - exponent), fraction = unit - 1;
    if (away) {
        magnitude += fraction;
    } else if (rounding == EVEN) {
        magnitude += (unit >> 1) - 1 + (magnitude & unit ? 1 : 0);
    }
    return sign | (magnitude & ~fraction);
}

f32 f32_ceil(f32 a) {
    return round_to(a, UP);
}

f32 f32_floor(f32 a) {
    return round_to(a, DOWN);
}

f32 f32_trunc(f32 a) {
    return round_to(a, ZERO);
}

f32 f32_nearest(f32 a) {
    return round_to(a, EVEN);
}

f32 f32_from_u64(uint64_t a) {
    if (a >> 32 == 0) {
        return sf_from_u32((uint32_t)a);
    }
    int shift = 0;
    uint32_t sticky = 0;
    while (a >> 32 != 0) {
        sticky |= (uint32_t)a & 1;
        a >>= 1;
        shift++;
    }
    return sf_from_u32((uint32_t)a | sticky) + ((uint32_t)shift << 23);
}

f32 f32_from_i64(int64_t a) {
    return a < 0 ? f32_from_u64(-(uint64_t)a) | SIGN : f32_from_u64((uint64_t)a);
}

uint64_t f32_to_u64(f32 a) {
    int exponent = (int)(a >> 23 & 0xff) - 150;
    uint64_t fraction = (a & 0x7fffff) | 0x800000;
    return exponent < -23 ? 0 : exponent < 0 ? fraction >> -exponent : fraction << exponent;
}

int64_t f32_to_i64(f32 a) {
    uint64_t magnitude = f32_to_u64(a & ~SIGN);
    return (int64_t)(a & SIGN ? -magnitude : magnitude);
}
