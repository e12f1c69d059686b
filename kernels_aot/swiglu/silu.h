// silu(g) = g / (1 + exp(-g)), rounded to f32. Its special values are those of the formula: silu(+inf) is +inf,
// silu(-inf) is NaN (-inf / inf), silu(+-0) is +-0, and far below 0 it goes to -0.

#ifndef SILU_H
#define SILU_H

#include "kernel_abi.h"
#include "kernel_math.h"

static inline float silu(float g) {
    uint32_t bits = float_bits(g);
    uint32_t magnitude = bits & 0x7fffffff;
    if (bits > 0xc2000000) {
        // Below -32 (and NaN) 1 + exp(-g) is exp(-g). Times 2^64, so that no step before the last is a denormal.
        return g * exp_minus(magnitude, 64) * 0x1p-64f;
    }
    // exp(-g) itself could overflow; exp(-|g|) cannot.
    float e = exp_minus(magnitude, 0);
    float numerator = g;
    if (bits >> 31) {
        numerator = g * e;
        KERNEL_KEEP_BRANCH();
    }
    return numerator / (1.0f + e);
}

#endif
