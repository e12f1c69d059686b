// Functions of kernel_math.h on four lanes, with its bits in each.

#ifndef KERNEL_MATH_X4_H
#define KERNEL_MATH_X4_H

#include "kernel_math.h"
#include "kernel_vectors.h"

static inline u32x4 mul_high_x4(u32x4 a, u32x4 b) {
    u32x4 a_high = a >> 16;
    u32x4 b_high = b >> 16;
    return a_high * b_high + (a_high * (b & 0xffff) >> 16) + ((a & 0xffff) * b_high >> 16);
}

static inline u32x4 alternating_polynomial_x4(u32x4 z, const uint32_t *c, int degree) {
    u32x4 value = u32x4_splat(c[degree]);
    UNROLLED
    for (int i = degree - 1; i >= 0; i--) {
        value = c[i] - mul_high_x4(z, value);
    }
    return value;
}

// exp_minus: what comes before and after its polynomial.
struct exp_minus_x4 {
    u32x4 rest;
    i32x4 exponent; // biased
};

// `shift` may differ from lane to lane.
static inline struct exp_minus_x4 exp_minus_split_x4(f32x4 a, i32x4 shift) {
    // 255 gives 0 already, and stands for all beyond and for NaN.
    a = (f32x4)wasm_f32x4_pmin((v128_t)f32x4_splat(255.0f), (v128_t)a);
    f32x4 floor = f32x4_trunc(a);
    f32x4 high = f32x4_trunc((a - floor) * 0x1p16f);
    f32x4 low = f32x4_trunc((a - floor) * 0x1p32f - high * 0x1p16f);
    // a mod 1 in units of 2^-32, and all of a in units of 2^-24.
    u32x4 fraction = (u32x4)i32x4_of_whole(high) << 16 | (u32x4)i32x4_of_whole(low);
    u32x4 whole = (u32x4)i32x4_of_whole(floor) << 24 | fraction >> 8;
    u32x4 n = mul_high_x4(whole, u32x4_splat(0xB8AA3B29)) >> 23;
    return (struct exp_minus_x4){fraction - n * 0xB17217F7 - (n * 0xD1CF >> 16), 126 + shift - (i32x4)n};
}

// The float of the polynomial's value, as float_from_high_parts makes it.
static inline f32x4 exp_minus_join_x4(u32x4 value, i32x4 exponent) {
    // From 2^30 on there is one zero to shift out; just below, where `rest` was rounded up from ln 2, there are two.
    i32x4 two_zeros = (i32x4)value < 0x40000000;
    value += value & (u32x4)two_zeros;
    exponent += two_zeros;
    u32x4 bits = ((u32x4)(exponent - 1) << 23) + (value >> 7) + (value >> 6 & 1);
    return (f32x4)(bits & (u32x4)(exponent > 0));
}

#define EXP_MINUS_VECTORS 8

// e^-a * 2^shift for `count` vectors, at most EXP_MINUS_VECTORS. All take a step of the polynomial before any takes the
// next: a step waits for the one before it, and a processor does not look far enough ahead to fill the time.
VECTOR_TEMPLATE void exp_minus_x4(f32x4 *e, const f32x4 *a, const i32x4 *shift, uint32_t count) {
    struct exp_minus_x4 parts[EXP_MINUS_VECTORS];
    u32x4 value[EXP_MINUS_VECTORS];
    UNROLLED
    for (uint32_t v = 0; v < count; v++) {
        parts[v] = exp_minus_split_x4(a[v], shift[v]);
        value[v] = u32x4_splat(exp_coefficients[6]);
    }
    // It stays a loop: without its end in between, Wasmtime would compute one vector after the other.
    _Pragma("clang loop unroll_count(2)")
    for (int i = 5; i >= 0; i--) {
        UNROLLED
        for (uint32_t v = 0; v < count; v++) {
            value[v] = exp_coefficients[i] - mul_high_x4(parts[v].rest, value[v]);
        }
    }
    UNROLLED
    for (uint32_t v = 0; v < count; v++) {
        e[v] = exp_minus_join_x4(value[v], parts[v].exponent);
    }
}

#endif
