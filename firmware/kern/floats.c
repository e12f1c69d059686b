// Integer-only implementations of WebAssembly's float operators that libgcc does not have.
#include "floats.h"

#include <stdbool.h>

#define SIGN (0x80000000u)
#define INFINITE (0x7f800000u)
#define QUIET (0x00400000u)
#define NAN_CANONICAL (0x7fc00000u)
#define ONE (0x3f800000u)

// Called in every inner loop: kept in RAM, as are libgcc's.
#define HOT(name) __attribute__((section(".time_critical.kern_" #name))) name

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

int32_t HOT(f32_compare)(enum f32_condition condition, f32 a, f32 b) {
    if (is_nan(a) || is_nan(b)) {
        return condition == F32_NOT_EQUAL || condition == F32_UNORDERED;
    }
    bool equal = a == b || (a | b) << 1 == 0;
    bool less = !equal && order(a) < order(b);
    switch (condition) {
        case F32_EQUAL:
            return equal;
        case F32_LESS:
            return less;
        case F32_GREATER:
            return !less && !equal;
        case F32_LESS_EQUAL:
            return less || equal;
        case F32_GREATER_EQUAL:
            return !less;
        case F32_NOT_EQUAL:
            return !equal;
        default:
            return false;
    }
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

// Round to an integer: `up` decides what is added to the magnitude before its fraction is cut off.
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

// Digit by digit; a tie cannot occur, since a root with one bit more than a fraction has would square to more bits than `a` has.
f32 HOT(f32_sqrt)(f32 a) {
    if (is_nan(a) || a == INFINITE || a << 1 == 0) {
        return is_nan(a) ? a | QUIET : a;
    }
    if (a & SIGN) {
        return NAN_CANONICAL;
    }
    int exponent = (int)(a >> 23);
    uint32_t rest = a & 0x7fffff;
    if (exponent == 0) {
        exponent = 1;
        while (!(rest & 0x800000)) {
            rest <<= 1;
            exponent--;
        }
    }
    rest |= 0x800000;
    exponent -= 127;
    if (exponent & 1) {
        rest <<= 1;
    }
    rest <<= 1;
    uint32_t root = 0, sum = 0;
    for (uint32_t bit = 0x1000000; bit != 0; bit >>= 1) {
        uint32_t trial = sum + bit;
        if (trial <= rest) {
            sum = trial + bit;
            rest -= trial;
            root += bit;
        }
        rest <<= 1;
    }
    // The last bit is the half: the fraction's leading bit adds one to the exponent.
    root += root & 1;
    return (root >> 1) + ((uint32_t)((exponent >> 1) + 126) << 23);
}

f32 f32_from_u64(uint64_t a) {
    if (a >> 32 == 0) {
        return f32_from_u32((uint32_t)a);
    }
    int shift = 0;
    uint32_t sticky = 0;
    while (a >> 32 != 0) {
        sticky |= (uint32_t)a & 1;
        a >>= 1;
        shift++;
    }
    return f32_from_u32((uint32_t)a | sticky) + ((uint32_t)shift << 23);
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
